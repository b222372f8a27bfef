"""The profile likelihood ratio with the estimate kept from falling below zero, which all test statistics share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from systwise.errors import FitError
from systwise.fit.inference._fit import fit_many, poi_number
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model

ROUNDING = 1e-12
"""Relative accuracy of an NLL."""
POINTS = 96
"""Tested values in one call."""


@dataclasses.dataclass(frozen=True)
class ProfileRatio:
    """What the test statistics are made of; leading axis: data sets.

    Attributes:
        values: tested values of the parameter of interest, `[value]`.
        nll: NLL profiled at them, `[data, value]`.
        best: estimate, not below zero, `[data]`.
        lowest: NLL there.
        converged: all of a data set's fits can be believed.
    """

    values: Float64[np.ndarray, " value"]
    nll: Float64[np.ndarray, "data value"]
    best: Float64[np.ndarray, " data"]
    lowest: Float64[np.ndarray, " data"]
    converged: Bool[np.ndarray, " data"]

    @property
    def twice_rise(self) -> Float64[np.ndarray, "data value"]:
        """`2 (NLL(mu) - NLL(best))`, not below zero."""
        twice = 2 * (self.nll - self.lowest[:, None])
        # NLLs are known to so many digits: what is smaller is no difference.
        return np.where(twice > ROUNDING * (1 + np.abs(self.lowest[:, None])), twice, 0.0)

    @property
    def q_mu_tilde(self) -> Float64[np.ndarray, "data value"]:
        """Eq. 16: the ratio to the best value not below zero, and zero where that lies above the tested one."""
        return np.where(self.best[:, None] <= self.values, self.twice_rise, 0.0)


def profile_ratio(
    model: Model, data: AbstractData, values: Sequence[float] | np.ndarray, poi: int | str = 0
) -> ProfileRatio:
    """Fit each data set with the parameter of interest at tested values, and free but not below zero.

    Args:
        model: the model.
        data: stacked data sets.
        values: tested values, not below zero.
        poi: number or name of the parameter of interest.

    Raises:
        FitError: a tested value is negative or outside the parameter's range, or that does not hold zero.
    """
    number, points = poi_number(model, poi), np.atleast_1d(np.asarray(values, dtype=np.float64))
    name, (low, high) = model.components.pois[number], model.components.ranges[number]
    if low > 0 or high <= 0:
        raise FitError(f"test of {name}: its range [{low:g}, {high:g}] must hold 0 and values above; widen it")
    outside = points[(points < 0) | (points > high) | ~np.isfinite(points)]
    if len(outside):
        raise FitError(f"test of {name} = {outside[0]:g}: give values from 0 to {high:g}, the end of its range")
    bounded = not_below_zero(model, number)
    free = fit_many(bounded, data, number, levels=(), stat_only=False)
    # Starts over the whole range may lead to a minimum above zero that those of the smaller range have missed.
    whole = fit_many(model, data, number, levels=(), stat_only=False)
    better = whole.minimum_found & (whole.estimate >= 0) & ((whole.nll < free.nll) | ~free.minimum_found)
    best, found = np.where(better, whole.estimate, free.estimate), better | free.minimum_found
    nll, good = _held(bounded, data, points, number)
    # The tested values are candidates too: a test statistic is never negative.
    lowest = np.fmin(np.where(better, whole.nll, free.nll), nll.min(axis=1))
    return ProfileRatio(points, nll, best, lowest, found & good.all(axis=1))


def _held(model: Model, data: AbstractData, points: np.ndarray, poi: int) -> tuple[np.ndarray, np.ndarray]:
    """Return NLL at the tested values and whether to believe it, each `[data, value]`."""
    name, sets = model.components.pois[poi], len(data)
    copies = data[np.repeat(np.arange(sets), len(points))]
    many = fit_many(model, copies, poi, fixed={name: np.tile(points, sets)}, levels=(), stat_only=False)
    return many.nll.reshape(sets, -1), many.minimum_found.reshape(sets, -1)


def not_below_zero(model: Model, poi: int) -> Model:
    """Return the model with the range of a parameter of interest cut at zero."""
    name, (_, high) = model.components.pois[poi], model.components.ranges[poi]
    return model.with_range(name, 0.0, high)
