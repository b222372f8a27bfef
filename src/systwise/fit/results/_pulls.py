"""Pulls and constraints: what the fit did to each nuisance, against what was known before."""

from __future__ import annotations

import dataclasses

import numpy as np

from systwise.errors import FitError
from systwise.fit.inference._fit import fit
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._auxiliary_shifts import centres, prefit_widths
from systwise.fit.results._printed import Printed, plain, row_of, signed
from systwise.fit.results._result import FitResult

HEADS = ("nuisance", "best fit", "sigma", "before", "pull", "constraint", "remark")


@dataclasses.dataclass(frozen=True)
class Pull:
    """One nuisance before and after the fit; None where a number does not exist.

    Attributes:
        nuisance: its name.
        estimate: best-fit value, in the nuisance's own unit.
        sigma: standard deviation after the fit, from the covariance.
        centre: value that the auxiliary observation alone prefers; None for a free nuisance.
        width: standard deviation before the fit, `information^-1/2` at the centre; None for a free nuisance.
        remark: why a number is missing, empty where none is.
    """

    nuisance: str
    estimate: float
    sigma: float | None
    centre: float | None
    width: float | None
    remark: str = ""

    @property
    def pull(self) -> float | None:
        """`(estimate - centre) / width`."""
        return None if self.centre is None or self.width is None else (self.estimate - self.centre) / self.width

    @property
    def constraint(self) -> float | None:
        """`sigma / width`: 1 where the data say nothing, below 1 where they constrain the nuisance."""
        return None if self.sigma is None or self.width is None else self.sigma / self.width


@dataclasses.dataclass(frozen=True)
class Pulls(Printed):
    """Pulls of all nuisances of a fit.

    Attributes:
        rows: one a nuisance, in the model's order.
        result: the fit that they belong to, with its verdict.
    """

    rows: tuple[Pull, ...]
    result: FitResult

    @property
    def converged(self) -> bool:
        """The fit can be believed."""
        return self.result.converged

    @property
    def verdict(self) -> str:
        """The fit's verdict."""
        return self.result.verdict

    def __getitem__(self, nuisance: str) -> Pull:
        """Return the pull of one nuisance."""
        return row_of(self.rows, nuisance, "pulls")

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""
        return [
            (
                row.nuisance,
                # A fit that leaves a nuisance where it was ends at 1e-19 as well as at 0.
                plain(0.0 if abs(row.estimate) < 1e-9 * (row.sigma or row.width or 0.0) else row.estimate),
                plain(row.sigma, 3),
                "free" if row.centre is None else f"{row.centre:.5g} +- {row.width:.3g}",
                signed(None if row.pull is None else round(row.pull, 9) + 0.0, 3),
                plain(row.constraint, 3),
                row.remark,
            )
            for row in self.rows
        ]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return HEADS


def pulls(model: Model, data: AbstractData, result: FitResult | None = None) -> Pulls:
    """Return for each nuisance the best fit, the pull and the constraint.

    Args:
        model: the model.
        data: one data set.
        result: its fit; made here where None.

    Raises:
        FitError: a stack of data sets was given.
    """
    if data.stacked:
        raise FitError(f"pulls: {len(data)} stacked data sets given; take one with data[i]")
    result = fit(model, data) if result is None else result
    centre = centres(model, data)
    widths, sigmas = prefit_widths(model, centre), result.nuisance_sigma
    rows = []
    for j, nuisance in enumerate(model.nuisances):
        known = bool(np.isfinite(widths[j]))
        sigma, remark = sigmas[nuisance.name], ""
        if nuisance.name in result.fixed:
            remark = "held fixed"
        elif nuisance.name in result.at_boundary:
            remark = "at an end of its range" + ("" if known else ", nothing but the data constrains it")
        elif sigma is None:
            remark = "no curvature: nothing constrains it, or the Hessian is not positive"
        rows.append(
            Pull(
                nuisance=nuisance.name,
                estimate=result.estimates[nuisance.name],
                sigma=sigma,
                centre=float(centre[j]) if known else None,
                width=float(widths[j]) if known else None,
                remark=remark,
            )
        )
    return Pulls(tuple(rows), result)
