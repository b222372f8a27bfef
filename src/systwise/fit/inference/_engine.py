"""What every fit is made of: the lowest minima of many data sets, and the ends of their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from systwise.errors import FitError
from systwise.fit.likelihood import Likelihood
from systwise.fit.minimise import Found, Prepared, Problems, Sets, Starts, find_ends, find_minima, polish
from systwise.fit.results._result import FitResults
from systwise.parameters import Components, Nuisance
from systwise.precision import in_float64

LEVELS = (0.5, 2.0)
"""Rises of the NLL: one and two standard deviations of one parameter."""
REPEATS = 6
"""Times that the end of an interval is searched on from a lower minimum found there."""

Fixed = Mapping[str, float | np.ndarray]
"""Parameters held at a value, or at one value a data set."""


@runtime_checkable
class Fitted(Protocol):
    """What the engine asks of a model, binned or not."""

    @property
    def components(self) -> Components:
        """Components and their coefficients."""

    @property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The nuisances."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Parameters of interest, then nuisances."""

    @property
    def convention(self) -> str:
        """Which terms in the data's counts the NLL keeps."""

    @property
    def moving(self) -> bool:
        """Whether the data's histogram depends on the hypothesised nuisances."""

    def starts(self, free: Sequence[bool] | None = None) -> Starts:
        """Return the nuisance values from which minimisations start."""

    def theta_starts(self) -> Float64[np.ndarray, "start poi"]:
        """Return values of the parameters of interest from which minimisations start."""

    def prepared(self, data: Any) -> list[Prepared]:
        """Return one data set or several, those that are fitted together in one entry."""


class Task(NamedTuple):
    """Data sets to fit with one likelihood.

    Attributes:
        model: the model, for names and starts.
        lik: its likelihood.
        sets: the data sets.
        sample: of unbinned data the part on which starts descend.
        first: values of the parameters of interest to start from.
    """

    model: Fitted
    lik: Likelihood
    sets: Sets
    sample: Sets | None
    first: np.ndarray


@in_float64
def tasks_of(model: Fitted, data: Any) -> list[Task]:
    """Return what is to be fitted, in the data's order."""
    return [Task(model, *prepared, model.theta_starts()) for prepared in model.prepared(data)]


class Intervals(NamedTuple):
    """Ends at each level, ends with nuisances fixed (NaN where there are none), and the lowest rise met."""

    levels: Float64[np.ndarray, "data 4"]
    statistical: Float64[np.ndarray, "data 2"]
    lowest: Float64[np.ndarray, " data"]


def minima(task: Task, problems: Problems) -> Found:
    """Return the lowest minimum of each problem, the starts over whatever is free in all of them."""
    pois = task.lik.pois
    free = np.any(problems.low != problems.high, axis=0)[pois:]
    starts = task.model.starts(tuple(bool(f) for f in free))
    return find_minima(task.lik, task.sets, task.sample, problems, starts, task.first)


def fitted(
    task: Task, poi: int, fixed: Fixed, levels: tuple[float, ...], stat_only: bool, search: bool
) -> tuple[Found, Intervals]:
    """Return minima and intervals of every data set.

    Args:
        task: likelihood and data sets.
        poi: number of the parameter whose intervals are wanted.
        fixed: parameters held at a value.
        levels: rises of the NLL, at most two.
        stat_only: find the interval with fixed nuisances as well.
        search: look for lower minima at the ends themselves (moving observables, whose terms in the data make
            minima that take turns).

    Raises:
        FitError: more than two levels, an unknown parameter or a value outside its range.
    """
    if len(levels) > 2:
        raise FitError(f"levels: {len(levels)} given; intervals are found at two rises at most")
    sets = task.sets.count
    low, high = ends_of_ranges(task.model.parameter_names, task.lik, fixed, sets)
    problems = Problems(np.arange(sets), low, high)
    found = minima(task, problems)
    full, statistical, lowest = np.full((sets, 4), np.nan), np.full((sets, 2), np.nan), np.zeros(sets)
    every = np.arange(sets)
    sides, rises = np.tile([-1.0, 1.0], len(levels)), np.repeat(np.array(levels), 2)
    if levels:
        at, met = ends_from(task, problems, every, poi, sides, rises, found.x, found.hessian, found.value, search)
        full[:, : len(sides)], lowest = at, np.minimum(lowest, met)
        # Where another minimum is about as low, the interval reaches as far as either's.
        rise = _rise(found)
        near = np.flatnonzero(rise < max(levels))
        if len(near) and not search:
            other = _hessians(task, problems, near, found.second_x)
            at, met = ends_from(task, problems, near, poi, sides, rises, found.second_x, other, found.value, False)
            full[near, : len(sides)] = united(full[near, : len(sides)], at, rise[near], sides, rises)
            lowest[near] = np.minimum(lowest[near], met)
    if levels and stat_only:
        pois = task.lik.pois
        held_low, held_high = low.copy(), high.copy()
        held_low[:, pois:] = held_high[:, pois:] = found.x[:, pois:]
        held = Problems(problems.owners, held_low, held_high)
        two = np.array([-1.0, 1.0])
        statistical, met = ends_from(
            task, held, every, poi, two, np.full(2, levels[0]), found.x, found.hessian, found.value, False
        )
        lowest = np.minimum(lowest, met)
    return found, Intervals(full, statistical, lowest)


def ends_from(
    task: Task,
    problems: Problems,
    some: np.ndarray,
    poi: int,
    sides: np.ndarray,
    rises: np.ndarray,
    centre: np.ndarray,
    hessian: np.ndarray,
    reference: np.ndarray,
    search: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends `[some, side]` of some problems, and the lowest rise met `[some]`."""
    rows = np.repeat(some, len(sides))
    own = Problems(problems.owners[rows], problems.low[rows], problems.high[rows])
    side, level = np.tile(sides, len(some)), np.tile(rises, len(some))
    ends = find_ends(task.lik, task.sets, own, poi, side, level, centre[rows], hessian[rows], reference[rows])
    at, lowest = np.array(ends.at), np.array(ends.lowest)
    pending = np.flatnonzero(np.isfinite(at)) if search else np.zeros(0, np.int64)
    for _ in range(REPEATS):
        if not len(pending):
            break
        # A lower minimum at the end of the interval: the interval goes on from there.
        low, high = own.low[pending].copy(), own.high[pending].copy()
        low[:, poi] = high[:, poi] = at[pending]
        there = minima(task, Problems(own.owners[pending], low, high))
        base = reference[rows][pending]
        lowest[pending] = np.fmin(lowest[pending], there.value - base)
        lower = np.isfinite(there.value) & (there.value < base + level[pending] - 1e-6)
        pending, there_x, there_h = pending[lower], there.x[lower], there.hessian[lower]
        if not len(pending):
            break
        again = Problems(own.owners[pending], own.low[pending], own.high[pending])
        on = find_ends(
            task.lik, task.sets, again, poi, side[pending], level[pending], there_x, there_h, reference[rows][pending]
        )
        farther = (on.at - at[pending]) * side[pending] > 0
        at[pending] = np.where(farther | ~np.isfinite(on.at), on.at, at[pending])
        pending = pending[farther & np.isfinite(on.at)]
    return at.reshape(len(some), -1), lowest.reshape(len(some), -1).min(axis=1)


def _hessians(task: Task, problems: Problems, some: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the Hessian of some problems at given parameters, in the place of theirs."""
    own = Problems(problems.owners[some], problems.low[some], problems.high[some])
    there = polish(task.lik, task.sets, own, x[some]).minimum
    result = np.zeros((len(x), x.shape[1], x.shape[1]))
    result[some] = there.hessian
    return result


def united(ends: np.ndarray, other: np.ndarray, rise: np.ndarray, sides: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return ends that hold the intervals of both minima, `[data, side]`.

    Args:
        ends: around the minimum.
        other: around a second one.
        rise: NLL of the second above the first, `[data]`.
        sides: -1 or +1, `[side]`.
        levels: rises of the ends, `[side]`.
    """
    farther = np.where(sides > 0, np.maximum(ends, other), np.minimum(ends, other))
    return np.where(rise[:, None] < levels, farther, ends)


def _rise(found: Found) -> np.ndarray:
    """Return the other candidate's NLL above the minimum, infinite where there is none or no minimum."""
    finite = np.isfinite(found.second_value) & np.isfinite(found.value)
    return np.where(finite, found.second_value, np.inf) - np.where(finite, found.value, 0.0)


def ends_of_ranges(
    names: Sequence[str], lik: Likelihood, fixed: Fixed, sets: int
) -> tuple[Float64[np.ndarray, "data parameter"], Float64[np.ndarray, "data parameter"]]:
    """Return lower and upper ends of the parameters, equal where one is fixed.

    Raises:
        FitError: an unknown parameter, or a value outside its range.
    """
    low, high = (np.repeat(np.asarray(end)[None], sets, axis=0) for end in (lik.low, lik.high))
    for name, value in fixed.items():
        if name not in names:
            raise FitError(f"fixed: unknown parameter '{name}' (known: {', '.join(names)})")
        j = list(names).index(name)
        values = np.asarray(value, dtype=np.float64)
        if values.shape not in ((), (sets,)) or not np.all(np.isfinite(values)):
            raise FitError(
                f"fixed: '{name}' needs a finite number or one a data set ({sets}), got shape {values.shape}"
            )
        if np.any(values < low[:, j] - 1e-9) or np.any(values > high[:, j] + 1e-9):
            raise FitError(
                f"fixed: {name}={values.ravel()[0]:g} is outside its range [{low[0, j]:g}, {high[0, j]:g}]; "
                "widen the range or choose another value"
            )
        low[:, j] = high[:, j] = values
    return low, high


def results_of(
    model: Fitted,
    found: Found,
    ends: Intervals,
    lik: Likelihood,
    poi: int,
    *,
    fixed: tuple[str, ...],
    levels: tuple[float, ...],
    gridded: bool,
) -> FitResults:
    """Return minima and intervals as a user reads them."""
    return FitResults(
        names=model.parameter_names,
        pois=model.components.pois,
        poi=model.components.pois[poi],
        ranges=tuple(zip(np.asarray(lik.low).tolist(), np.asarray(lik.high).tolist(), strict=True)),
        convention=model.convention,
        moving=model.moving,
        on_grid=gridded,
        values=found.x,
        nll=found.value + found.constant,
        gradient=found.gradient,
        hessian=found.hessian,
        distance=found.distance,
        positive=found.positive,
        done=found.done,
        lowest=found.lowest & (ends.lowest > -1e-6),
        smallest_count=found.smallest,
        second_nuisances=found.second_x[:, lik.pois :],
        second_rise=_rise(found),
        ends=ends.levels,
        stat_ends=ends.statistical,
        fixed=fixed,
        levels=levels,
        searched="the given grid of nuisances" if gridded else _searched(model, fixed),
    )


def _searched(model: Fitted, fixed: tuple[str, ...]) -> str:
    return model.starts(tuple(nuisance.name not in fixed for nuisance in model.nuisances)).words


def poi_number(model: Fitted, poi: int | str) -> int:
    """Return the number of a parameter of interest given by number or name.

    Raises:
        FitError: no such parameter.
    """
    names = model.components.pois
    if isinstance(poi, str):
        if poi not in names:
            raise FitError(f"unknown parameter of interest '{poi}' (known: {', '.join(names)})")
        return names.index(poi)
    if not 0 <= poi < len(names):
        raise FitError(f"parameter of interest number {poi} does not exist; the model has {len(names)}")
    return poi
