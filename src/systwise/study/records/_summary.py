"""Mean and spread over seeds, and who competes for the smallest uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from systwise.study.records._results import Measurement


class Spread(BaseModel):
    """A quantity over several trainings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mean: float | None
    """Arithmetic mean of the values that exist."""
    spread: float | None
    """Sample standard deviation, n - 1 in the denominator; null below two values."""
    count: int
    """Number of values."""

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Summarise the values that are not None.

        >>> Spread.of([1.0, None, 3.0]).spread == 2.0 ** 0.5
        True
        """
        kept = [value for value in values if value is not None]
        if not kept:
            return cls(mean=None, spread=None, count=0)
        spread = float(np.std(kept, ddof=1)) if len(kept) > 1 else None
        return cls(mean=math.fsum(kept) / len(kept), spread=spread, count=len(kept))


class Summary(BaseModel):
    """All seeds of one strategy, observable, convention, binning and true point."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    strategy: str
    observable: str
    convention: str
    binning: str
    bins: tuple[int, int]
    """Fewest and most bins over the seeds."""
    true: dict[str, float]
    poi: str
    seeds: int
    """Number of trainings."""
    converged: int
    """Trainings whose fit converged."""
    competes: bool
    """Every fit converged with an interval, no yardstick, the first convention of its strategy, and no learned
    ratios whose estimate lies more than half a sigma off."""
    estimate: Spread
    """Over converged fits, as all quantities of the fit."""
    sigma: Spread
    sigma_stat_only: Spread
    sigma_simulation: Spread
    """What the limited size of the simulation adds in quadrature; no values where nobody computed it."""
    auc: Spread
    """Over all trainings, as `ks_background`."""
    ks_background: Spread
    bound: float | None
    bound_stat_only: float | None
    ratio_to_bound: float | None
    """Mean sigma over the profiled bound."""
    ratio_to_best: float | None
    """Mean sigma over the smallest one that competes at the same true point: with the same binning where that is
    prescribed, among optimised binnings, joint cells and unbinned likelihoods otherwise."""


Key = tuple[str, str, str, str, str, tuple[tuple[str, float], ...]]
FREE = ("optimised", "given", "joint", "none")
"""Binnings that each observable chooses for itself; they share one competition, as a measurement would choose."""


def _competition(key: Key) -> tuple:
    """Return what rows must share to be compared: kind of binning, parameter of interest and true point."""
    return ("free" if key[3] in FREE else key[3], *key[4:])


def _key(record: Measurement) -> Key:
    true = tuple(sorted((name, round(value, 9)) for name, value in record.true.items()))
    return (record.strategy, record.observable, record.convention, record.binning, record.poi, true)


BELIEVABLE = 0.5
"""Largest bias, in units of sigma, at which an unbinned fit competes."""


def believable(record: Measurement) -> bool:
    """Return whether a fit finds what was put in.

    Templates find their own Asimov data. Learned ratios meet events that they never saw: an estimate far
    from the truth says that they are not good enough, however small the uncertainty looks.
    """
    if record.observable != "unbinned" or record.estimate is None or record.sigma is None:
        return True
    return abs(record.estimate - record.true[record.poi]) <= BELIEVABLE * record.sigma


def _one(records: Sequence[Measurement], first_convention: bool, yardstick: bool) -> Summary:
    """Summarise the seeds of one key; the ratio to the best is filled in later."""
    good = [r for r in records if r.converged]
    first = records[0]
    sigma = Spread.of(r.sigma for r in good)
    bound = next((r.bound for r in records if r.bound), None)
    return Summary(
        strategy=first.strategy,
        observable=first.observable,
        convention=first.convention,
        binning=first.binning,
        bins=(min(r.bins for r in records), max(r.bins for r in records)),
        true=dict(first.true),
        poi=first.poi,
        seeds=len(records),
        converged=len(good),
        # One failed training is enough: a mean over the lucky ones flatters the strategy.
        competes=sigma.count == len(records)
        and first_convention
        and not yardstick
        and all(believable(record) for record in records),
        estimate=Spread.of(r.estimate for r in good),
        sigma=sigma,
        sigma_stat_only=Spread.of(r.sigma_stat_only for r in good),
        sigma_simulation=Spread.of(r.sigma_simulation for r in good),
        auc=Spread.of(r.auc for r in records),
        ks_background=Spread.of(r.ks_background for r in records),
        bound=bound,
        bound_stat_only=next((r.bound_stat_only for r in records if r.bound_stat_only), None),
        ratio_to_bound=sigma.mean / bound if sigma.mean is not None and bound else None,
        ratio_to_best=None,
    )


def summarise(measurements: Sequence[Measurement], yardsticks: Sequence[str]) -> list[Summary]:
    """Summarise measurements over their seeds.

    The best of a true point is the smallest mean sigma among rows that compete: all their fits
    converged with a two-sided interval, and their strategy needs nothing that a measurement does not
    have. Optimised binnings, anchored observables (joint cells) and unbinned likelihoods are compared
    with each other; a prescribed binning (`uniform`, the papers') only with itself. Where a moving
    observable was fitted in several conventions, the first one of the strategy competes: the smallest
    of four would be a choice made after the fact.

    Args:
        measurements: any order; the summaries keep the order of first appearance.
        yardsticks: strategies that do not compete.
    """
    groups: dict[Key, list[Measurement]] = {}
    first_convention: dict[tuple[str, str], str] = {}
    for record in measurements:
        groups.setdefault(_key(record), []).append(record)
        first_convention.setdefault((record.strategy, record.observable), record.convention)
    rows = {
        key: _one(records, first_convention[key[0], key[1]] == key[2], key[0] in yardsticks)
        for key, records in groups.items()
    }
    best: dict[tuple, float] = {}
    for key, row in rows.items():
        if row.competes and row.sigma.mean is not None:
            best[_competition(key)] = min(row.sigma.mean, best.get(_competition(key), math.inf))
    return [
        row.model_copy(update={"ratio_to_best": row.sigma.mean / best[_competition(key)]})
        if row.sigma.mean is not None and _competition(key) in best
        else row
        for key, row in rows.items()
    ]
