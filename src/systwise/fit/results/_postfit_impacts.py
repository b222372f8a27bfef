"""The other definition of impacts: nuisances held at their post-fit uncertainties, as combine and cabinetry rank them.

These do not add in quadrature to the systematic uncertainty (arXiv:2307.04007); `impacts` gives those that do. They
exist for free nuisances too.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from systwise.errors import FitError
from systwise.fit.inference._engine import ends_of_ranges, minima, poi_number, tasks_of
from systwise.fit.inference._fit import fit
from systwise.fit.minimise import Problems
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._impacts import Impact
from systwise.fit.results._printed import Printed, plain, row_of, signed
from systwise.fit.results._result import FitResult

HEADS = ("nuisance held at", "+1 post-fit sigma", "-1 post-fit sigma", "size", "remark")


@dataclasses.dataclass(frozen=True)
class PostfitImpacts(Printed):
    """Changes of the estimate where each nuisance is held at its post-fit value and uncertainty.

    Attributes:
        poi: the parameter of interest.
        rows: one a nuisance, the largest first.
        result: the fit.
        converged: the fit and all others are minima that can be believed.
        verdict: in a sentence.
    """

    poi: str
    rows: tuple[Impact, ...]
    result: FitResult
    converged: bool
    verdict: str

    def __getitem__(self, nuisance: str) -> Impact:
        """Return the row of one nuisance."""
        return row_of(self.rows, nuisance, "postfit_impacts")

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""
        return [(r.nuisance, signed(r.up), signed(r.down), plain(r.size, 4), r.remark) for r in self.rows]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return HEADS


def postfit_impacts(model: Model, data: AbstractData, poi: int | str = 0) -> PostfitImpacts:
    """Hold each nuisance one post-fit standard deviation up and down, and fit everything else again, in one call.

    The standard deviation is that of the covariance; a nuisance is held inside its range.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest.

    Raises:
        FitError: a stack of data sets was given, or no such parameter.
    """
    if data.stacked:
        raise FitError(f"postfit_impacts: {len(data)} stacked data sets given; take one with data[i]")
    number, pois = poi_number(model, poi), len(model.components.pois)
    result = fit(model, data, number)
    names = [nuisance.name for nuisance in model.nuisances]
    widths = np.array([result.nuisance_sigma[name] or np.nan for name in names], np.float64)
    known = np.flatnonzero(np.isfinite(widths)) if result.minimum_found else np.zeros(0, np.int64)
    changes, done, cut = (np.full((len(names), 2), fill) for fill in (np.nan, False, False))
    if len(known):
        lik = model.likelihood()
        low, high = ends_of_ranges(model.parameter_names, lik, {}, 2 * len(known))
        columns, rows = pois + np.repeat(known, 2), np.arange(2 * len(known))
        best = np.array([result.estimates[name] for name in names])
        wanted = (best[known, None] + widths[known, None] * np.array([1.0, -1.0])).ravel()
        held = np.clip(wanted, low[rows, columns], high[rows, columns])
        low[rows, columns] = high[rows, columns] = held
        (task,) = tasks_of(model, data)
        found = minima(task, Problems(np.zeros(2 * len(known), np.int64), low, high))
        changes[known] = (found.x[:, number] - result.estimate).reshape(-1, 2)
        done[known] = (found.done & found.positive & found.lowest & np.isfinite(found.value)).reshape(-1, 2)
        cut[known] = (held != wanted).reshape(-1, 2)
    impacts = [_row(*row) for row in zip(names, changes, done.astype(bool), cut.astype(bool), strict=True)]
    failed = [row.nuisance for row in impacts if row.up is None or row.down is None]
    notes = ["converged" if result.converged and not failed else "NOT converged"]
    if not result.converged:
        notes.append(f"the fit itself: {result.verdict}")
    if failed:
        notes.append(f"no number for {', '.join(failed)}")
    return PostfitImpacts(
        poi=model.components.pois[number],
        rows=tuple(sorted(impacts, key=lambda row: -row.size)),
        result=result,
        converged=result.converged and not failed,
        verdict="; ".join(notes),
    )


def _row(name: str, change: np.ndarray, done: np.ndarray, cut: np.ndarray) -> Impact:
    """Return the row of one nuisance; a fit that failed has no number."""
    up, down = (float(c) if flag and np.isfinite(c) else None for c, flag in zip(change, done, strict=True))
    if up is None or down is None:
        return Impact(name, up, down, "no post-fit uncertainty, or a fit without a minimum")
    return Impact(name, up, down, "held at an end of its range" if cut.any() else "")
