"""Impacts: what one standard deviation of each auxiliary observation does to the parameter of interest.

Following arXiv:2307.04007 (and CMS's combine), a systematic uncertainty is the part of the estimate's spread
that an auxiliary observation causes when the measurement is repeated: its observation is shifted by one prefit
standard deviation and everything is fitted again. Contributions so defined add in quadrature to the total,
which those from shifting and freezing nuisance parameters do not. Free nuisances have no auxiliary observation:
their effect belongs to the statistical part. `stat_syst_split` gives the numbers of frozen nuisances instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from systwise.errors import FitError
from systwise.fit.inference._engine import poi_number
from systwise.fit.inference._fit import fit
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._auxiliary_shifts import prefit_widths, shifts_of
from systwise.fit.results._printed import Printed, plain, row_of, signed
from systwise.fit.results._result import FitResult
from systwise.fit.results._shifted_data import count_shifts, refitted, simulation_shifts

HEADS = ("source", "+1 sigma", "-1 sigma", "size", "of total", "remark")
CLOSED = 0.05
"""Relative difference of total and quadrature sum that is worth a word."""


@dataclasses.dataclass(frozen=True)
class Impact:
    """Change of the estimate when one auxiliary observation moves by one standard deviation.

    Attributes:
        nuisance: its name.
        up: change for the shift up; None where there is no auxiliary observation or no fit.
        down: change for the shift down.
        remark: why a number is missing or unusual, empty where none is.
    """

    nuisance: str
    up: float | None
    down: float | None
    remark: str = ""

    @property
    def size(self) -> float:
        """Root mean square of both changes: their size where the response is linear; 0 where there are none."""
        changes = [change for change in (self.up, self.down) if change is not None]
        return math.sqrt(sum(c * c for c in changes) / len(changes)) if changes else 0.0


@dataclasses.dataclass(frozen=True)
class Impacts(Printed):
    """Contributions to the uncertainty of a parameter of interest.

    Attributes:
        poi: its name.
        rows: one a nuisance, the largest first.
        groups: quadrature sum in each group, correlated constraints taken together.
        simulation: contribution of the templates' limited simulation; None for exact templates.
        systematic: quadrature sum of everything above.
        statistical: `sqrt(sigma^2 - systematic^2)`; None where there is no sigma or the sum exceeds it.
        statistical_by_shifts: the same from shifting the counts, `sqrt(sum_b nu_b (d estimate / d n_b)^2)`;
            None for a moving observable.
        result: the fit, with `result.sigma` as the total.
        converged: the fit and all shifted fits are minima that can be believed.
        verdict: in a sentence.
    """

    poi: str
    rows: tuple[Impact, ...]
    groups: dict[str, float]
    simulation: float | None
    systematic: float
    statistical: float | None
    statistical_by_shifts: float | None
    result: FitResult
    converged: bool
    verdict: str

    @property
    def total(self) -> float | None:
        """Half of the interval at a rise of 0.5."""
        return self.result.sigma

    @property
    def closure(self) -> float | None:
        """Quadrature sum of the shifts of counts and auxiliary data over the total: 1 where responses are linear."""
        if self.total is None or self.statistical_by_shifts is None:
            return None
        return math.hypot(self.systematic, self.statistical_by_shifts) / self.total

    def __getitem__(self, nuisance: str) -> Impact:
        """Return the impact of one nuisance."""
        return row_of(self.rows, nuisance, "impacts")

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""

        def share(value: float | None) -> str:
            return "-" if not self.total or value is None else f"{100 * value / self.total:.1f} %"

        cells: list[tuple[str, ...]] = [
            (r.nuisance, signed(r.up), signed(r.down), plain(r.size, 4), share(r.size), r.remark) for r in self.rows
        ]
        sums: list[tuple[str, float | None]] = [(f"group {name}", size) for name, size in self.groups.items()]
        if self.simulation is not None:
            sums.append(("simulation size", self.simulation))
        sums += [
            ("systematic", self.systematic),
            ("statistical", self.statistical),
            ("statistical, by shifts", self.statistical_by_shifts),
            (f"total on {self.poi}", self.total),
        ]
        return cells + [(name, "", "", plain(size, 4), share(size), "") for name, size in sums]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return HEADS


def impacts(
    model: Model, data: AbstractData, poi: int | str = 0, groups: Mapping[str, Sequence[str]] | None = None
) -> Impacts:
    """Return the impact of each nuisance, of groups, and the statistical part, all from one stacked call.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest.
        groups: names of nuisances in each group; by their `kind` where None. How an observation is
            shifted under each constraint says `shifts_of`; simulation factors move by their relative uncertainty.

    Raises:
        FitError: a stack of data sets was given, or no such parameter.
    """
    if data.stacked:
        raise FitError(f"impacts: {len(data)} stacked data sets given; take one with data[i]")
    number, names = poi_number(model, poi), [nuisance.name for nuisance in model.nuisances]
    groups = by_kind(model) if groups is None else groups
    check_groups(names, groups)
    if model.variance is not None and data.simulated is None:
        # All stacked data sets must say the same of their factors.
        data = dataclasses.replace(data, simulated=np.ones(model.bins))
    result = fit(model, data, number)
    jobs: dict[str, list[tuple[AbstractData, AbstractData]]] = {}
    for word, members in [
        *((f"nuisance {name}", [name]) for name in names),
        *((f"group {group}", list(members)) for group, members in groups.items()),
        ("all", names),
    ]:
        jobs[word] = [(s.apply(data, "up"), s.apply(data, "down")) for s in shifts_of(model, data, members)]
    jobs["simulation"] = simulation_shifts(model, data, result.estimates)
    steps, scale = count_shifts(model, data, result.estimates)
    jobs["statistics"] = steps
    changes, done = refitted(model, number, result.estimate, jobs)
    sizes = {word: math.sqrt(float(np.sum(np.mean(change**2, axis=1)))) for word, change in changes.items()}
    constrained = np.isfinite(prefit_widths(model, np.array([n.nominal for n in model.nuisances])))
    rows = [
        _impact(name, changes[f"nuisance {name}"], done[f"nuisance {name}"], bool(known))
        for name, known in zip(names, constrained, strict=True)
    ]
    simulation = None if model.variance is None else sizes["simulation"]
    systematic = math.hypot(sizes["all"], simulation or 0.0)
    slopes = 0.5 * (changes["statistics"][:, 0] - changes["statistics"][:, 1]) * scale
    by_shifts = None if model.moving else math.sqrt(float(np.sum(slopes**2)))
    statistical = None
    if result.sigma is not None and np.isfinite(systematic) and result.sigma > systematic:
        statistical = math.sqrt(result.sigma**2 - systematic**2)
    good = result.converged and all(bool(np.all(flags)) for flags in done.values())
    return Impacts(
        poi=model.components.pois[number],
        rows=tuple(sorted(rows, key=lambda row: -row.size)),
        groups={group: sizes[f"group {group}"] for group in groups},
        simulation=simulation,
        systematic=systematic,
        statistical=statistical,
        statistical_by_shifts=by_shifts,
        result=result,
        converged=good,
        verdict=_verdict(result, systematic, by_shifts, good, done),
    )


def by_kind(model: Model) -> dict[str, list[str]]:
    """Return the nuisances' names grouped by kind."""
    groups: dict[str, list[str]] = {}
    for nuisance in model.nuisances:
        groups.setdefault(nuisance.kind, []).append(nuisance.name)
    return groups


def check_groups(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse groups of unknown nuisances.

    Raises:
        FitError: a name is unknown.
    """
    for group, members in groups.items():
        unknown = [name for name in members if name not in names]
        if unknown:
            raise FitError(f"group '{group}': unknown nuisance '{unknown[0]}' (known: {', '.join(names) or 'none'})")


def _impact(name: str, change: np.ndarray, done: np.ndarray, constrained: bool) -> Impact:
    """Return the row of one nuisance."""
    if not len(change):
        remark = "its auxiliary observation tells nothing" if constrained else "free: in the statistical part"
        return Impact(name, None, None, remark)
    up, down = (float(value) if np.isfinite(value) else None for value in change[0])
    remark = ""
    if up is None or down is None:
        remark = "a shifted fit has no minimum"
    elif not done.all():
        remark = "a shifted fit has NOT converged"
    elif up * down > 0 and abs(up) > 1e-6 < abs(down):
        remark = "both shifts move the estimate to one side"
    return Impact(name, up, down, remark)


def _verdict(
    result: FitResult, systematic: float, by_shifts: float | None, good: bool, done: Mapping[str, np.ndarray]
) -> str:
    failed = [word.removeprefix("nuisance ") for word, flags in done.items() if not np.all(flags) and word != "all"]
    notes = ["converged" if good else "NOT converged"]
    if not result.converged:
        notes.append(f"the fit itself: {result.verdict}")
    if failed:
        notes.append(f"shifted fits without a minimum to believe in: {', '.join(failed)}")
    if result.sigma is None:
        notes.append(f"{result.poi} has no two-sided interval, so no statistical part")
    elif not np.isfinite(systematic):
        notes.append("the systematic part is not a number because a shifted fit has no minimum")
    elif systematic >= result.sigma:
        notes.append("the shifts' sum exceeds the total: the response to them is not linear, or a minimum is twofold")
    elif by_shifts is not None and abs(math.hypot(systematic, by_shifts) / result.sigma - 1) > CLOSED:
        ratio = math.hypot(systematic, by_shifts) / result.sigma
        notes.append(f"shifts of counts and auxiliary data add up to {ratio:.2f} of the total: not linear")
    if result.second_minimum is not None and result.second_minimum.rise < 2:
        notes.append(
            f"a second minimum lies only {result.second_minimum.rise:.2g} higher, shifted fits may change over"
        )
    return "; ".join(notes)
