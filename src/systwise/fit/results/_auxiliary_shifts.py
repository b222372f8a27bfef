"""Shifts of auxiliary observations by one prefit standard deviation, and where constraints are centred.

A systematic uncertainty is what the fluctuation of an auxiliary observation does to the estimate
(arXiv:2307.04007): these are the shifted data sets, and `_impacts` refits them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True)
class Shift:
    """One direction in the auxiliary data.

    Attributes:
        number: number of the constraint in `Data.auxiliary`.
        up: auxiliary data shifted up by one prefit standard deviation, `[auxiliary]`.
        down: shifted down.
    """

    number: int
    up: Float64[np.ndarray, " auxiliary"]
    down: Float64[np.ndarray, " auxiliary"]

    def apply(self, data: AbstractData, side: str) -> AbstractData:
        """Return the data set with this auxiliary observation replaced."""
        auxiliary = list(data.auxiliary)
        auxiliary[self.number] = self.up if side == "up" else self.down
        return dataclasses.replace(data, auxiliary=tuple(auxiliary))


@in_float64
def centres(model: Model, data: AbstractData) -> Float64[np.ndarray, " nuisance"]:
    """Return the nuisance values that the auxiliary data alone prefer; nominal where there is no constraint."""
    names = [nuisance.name for nuisance in model.nuisances]
    found = np.array([nuisance.nominal for nuisance in model.nuisances], dtype=np.float64)
    for j, constraint in enumerate(model.constraints):
        if constraint.observed:
            found[j] = constraint.centre(data.auxiliary[j], model.nuisances[j].range)
    for term, auxiliary in zip(model.joint, data.auxiliary[len(model.constraints) :], strict=True):
        for name, value in zip(term.nuisances, auxiliary, strict=True):
            found[names.index(name)] = value
    return found


@in_float64
def prefit_widths(model: Model, centre: Float64[np.ndarray, " nuisance"]) -> Float64[np.ndarray, " nuisance"]:
    """Return each nuisance's standard deviation before the fit, `information^-1/2`; NaN where nothing constrains it.

    Args:
        model: the model.
        centre: what the auxiliary data prefer (`centres`).
    """
    names = [nuisance.name for nuisance in model.nuisances]
    widths = np.full(len(names), np.nan)
    for j, constraint in enumerate(model.constraints):
        if constraint.observed:
            information = float(constraint.information(jnp.asarray(float(centre[j]))))
            widths[j] = 1 / math.sqrt(information) if information > 0 else np.nan
    for term in model.joint:
        for name, variance in zip(term.nuisances, np.diag(np.asarray(term.covariance)), strict=True):
            widths[names.index(name)] = math.sqrt(variance)
    return widths


@in_float64
def shifts_of(model: Model, data: AbstractData, members: Sequence[str]) -> list[Shift]:
    """Return shifts by one prefit standard deviation whose effects add in quadrature to the members' together.

    Gaussian: centre +- width. Log-normal: ln centre +- ln kappa. Asymmetric: centre + up, centre - down.
    Counts n with expectation e(z): `n e(z0 +- w) / e(z0)` with z0 the value they prefer and
    `w = information(z0)^-1/2` (for Asimov counts that is e(z0 +- w)). Correlated Gaussian of covariance C
    restricted to the members G: columns of `C[:, G] L^-T`, `L L^T = C[G, G]`: for one member j the column
    `C[:, j] / sqrt(C_jj)`, for all members a square root of C.

    Args:
        model: the model.
        data: one data set.
        members: names of nuisances; those without an auxiliary observation add nothing.
    """
    shifts, centre = [], centres(model, data)
    widths = prefit_widths(model, centre)
    for j, constraint in enumerate(model.constraints):
        if constraint.observed and constraint.nuisance in members and np.isfinite(widths[j]):
            shifts.append(Shift(j, *constraint.shifted(data.auxiliary[j], float(centre[j]), float(widths[j]))))
    for number, term in enumerate(model.joint, start=len(model.constraints)):
        inside = [i for i, name in enumerate(term.nuisances) if name in members]
        if inside:
            covariance = np.asarray(term.covariance)
            root = np.linalg.cholesky(covariance[np.ix_(inside, inside)])
            columns = np.linalg.solve(root, covariance[inside]).T
            known = data.auxiliary[number]
            shifts += [Shift(number, known + column, known - column) for column in columns.T]
    return shifts
