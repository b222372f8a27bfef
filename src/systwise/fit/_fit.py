"""The fit: global minimum, covariance and intervals of the profiled likelihood."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array

from systwise.errors import FitError
from systwise.fit._chunks import chunk_size, in_chunks
from systwise.fit._data import Data
from systwise.fit._ends import LEVELS, Rows, find_ends
from systwise.fit._minimum import Found, find_minimum
from systwise.fit._model import Model
from systwise.fit._profile import poi_number
from systwise.fit._result import FitResult, FitResults
from systwise.fit._starts import Starts
from systwise.precision import in_float64

Fixed = Mapping[str, float | np.ndarray]
"""Parameters held at a value, or at one value a data set."""

NEAR = 1e-4
"""Two minima closer than this fraction of the range in every nuisance are one."""


@in_float64
def fit_many(
    model: Model,
    data: Data,
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
    *,
    fixed: Fixed | None = None,
    levels: Sequence[float] = LEVELS,
    stat_only: bool = True,
) -> FitResults:
    """Fit every data set of a stack, as `fit` does, in one call.

    Args:
        model: the model.
        data: stacked data sets.
        poi: number or name of the parameter of interest whose intervals are wanted.
        grid: minimise over these nuisance values only.
        fixed: parameters held at a value: a number, or an array `[data]`.
        levels: rises of the NLL at which intervals are wanted, at most two; none for the minimum alone.
        stat_only: find the interval with fixed nuisances as well.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter, or a fixed value outside its range.
    """
    number = poi_number(model, poi)
    data = data.batch()
    sets = len(data)
    if sets == 0:
        raise FitError("fit_many: the stack holds no data sets")
    if len(levels) > 2:
        raise FitError(f"levels: {len(levels)} given; intervals are found at two rises at most")
    lik = model.likelihood()
    low, high = _ranges(model, fixed or {}, sets)
    separate = bool(np.any((low == high) & (low != low[:, :1])))
    pinned = functools.partial(_pinned, model.starts(grid), model.theta_starts(), separate=separate)
    starts, first = pinned(low[:, :1], high[:, :1]) if not separate else (model.starts(grid), model.theta_starts())

    def minimum(index: np.ndarray) -> Found:
        ends = low[:, index], high[:, index]
        own = pinned(*ends) if separate else (starts, first)
        return find_minimum(lik, model.observed(data[index]), *own, *ends)

    size = chunk_size(sets, math.prod(starts.shape) * len(first))
    found = in_chunks(minimum, sets, size)
    rows = Rows.of(tuple(levels), stat_only)
    ends, lowest = np.full((len(rows.sides), sets), np.nan), np.zeros(sets)
    if rows.sides:

        def search_ends(some: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            def part(index: np.ndarray) -> tuple[Array, Array]:
                chosen = some[index]
                return find_ends(
                    lik,
                    model.observed(data[chosen]),
                    starts,
                    first,
                    low[:, chosen],
                    high[:, chosen],
                    x[:, index],
                    found.value[chosen],
                    poi=number,
                    rows=rows,
                )

            searched = grid is not None or model.moving
            every = len(rows.sides) * (math.prod(starts.shape) * len(first) if searched else 24)
            return in_chunks(part, len(some), chunk_size(len(some), every))

        ends, lowest = (np.array(array) for array in search_ends(np.arange(sets), found.x))
        # Where another minimum is about as low, the interval reaches as far as either's.
        near = np.flatnonzero(_rival(model, found) < max(levels))
        if len(near) and grid is None and not model.moving:
            other, seen = search_ends(near, found.second_x[:, near])
            ends[:, near] = rows.united(ends[:, near], other, found.second_value[near] - found.value[near])
            lowest[near] = np.minimum(lowest[near], seen)
    ends_of_levels, stat_ends = rows.split(ends)
    return FitResults(
        names=model.parameter_names,
        pois=model.components.pois,
        poi=model.components.pois[number],
        ranges=tuple(zip(lik.low.tolist(), lik.high.tolist(), strict=True)),
        convention=model.convention,
        moving=model.moving,
        on_grid=grid is not None,
        values=found.x.T,
        nll=found.value + found.constant,
        gradient=found.gradient.T,
        hessian=np.moveaxis(found.hessian, -1, 0),
        distance=found.distance,
        positive=found.positive,
        done=found.done,
        lowest=found.lowest & (np.minimum(lowest, found.seen) > -1e-6),
        smallest_count=found.smallest_count,
        second_nuisances=found.second_x[lik.pois :].T,
        second_rise=_rise(found),
        ends=ends_of_levels.T,
        stat_ends=stat_ends.T,
        fixed=tuple(fixed or {}),
        levels=tuple(levels),
    )


def _ranges(model: Model, fixed: Fixed, sets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper ends `[parameter, data]`, equal where a parameter is fixed."""
    lik = model.likelihood()
    low = np.repeat(np.asarray(lik.low)[:, None], sets, axis=1)
    high = np.repeat(np.asarray(lik.high)[:, None], sets, axis=1)
    names = model.parameter_names
    for name, value in fixed.items():
        if name not in names:
            raise FitError(f"fixed: unknown parameter '{name}' (known: {', '.join(names)})")
        j = names.index(name)
        values = np.asarray(value, dtype=np.float64)
        if values.shape not in ((), (sets,)) or not np.all(np.isfinite(values)):
            raise FitError(
                f"fixed: '{name}' needs a finite number or one a data set ({sets}), got shape {values.shape}"
            )
        if np.any(values < low[j] - 1e-9) or np.any(values > high[j] + 1e-9):
            raise FitError(
                f"fixed: {name}={values.ravel()[0]:g} is outside its range [{low[j, 0]:g}, {high[j, 0]:g}]; "
                "widen the range or choose another value"
            )
        low[j] = high[j] = values
    return low, high


def _pinned(
    starts: Starts, first: np.ndarray, low: np.ndarray, high: np.ndarray, separate: bool
) -> tuple[Starts, np.ndarray]:
    """Return the starts with fixed parameters at their values.

    Args:
        starts: nuisance values to start from.
        first: values of the parameters of interest to start from.
        low: lower ends `[parameter, data]`, equal to the upper ones where a parameter is fixed.
        high: upper ends.
        separate: fixed values differ between data sets, which then have starts of their own, `[start, data]`.
    """
    pois = first.shape[1]
    held = np.all(low == high, axis=1)
    if not held.any():
        return starts, first
    if separate:
        if not starts.local:
            raise FitError("fixed: values that differ between data sets do not go with a grid; fit them one by one")
        wide = [np.repeat(np.asarray(points)[:, None], low.shape[1], axis=1) for points in starts.points]
        points = tuple(np.broadcast_to(low[pois + j], w.shape) if held[pois + j] else w for j, w in enumerate(wide))
        return dataclasses.replace(starts, points=points), first
    first = np.where(held[:pois], low[:pois, 0], first)
    if starts.local:

        def at(values: Sequence[Array | np.ndarray]) -> tuple[np.ndarray, ...]:
            arrays = [np.asarray(array) for array in values]
            return tuple(np.full_like(a, low[pois + j, 0]) if held[pois + j] else a for j, a in enumerate(arrays))

        starts = dataclasses.replace(starts, axes=at(starts.axes), points=at(starts.points))
    return starts, first


def _rise(found: Found) -> np.ndarray:
    """Return the other candidate's NLL above the minimum, infinite where there is none or no minimum."""
    finite = np.isfinite(found.second_value) & np.isfinite(found.value)
    return np.where(finite, found.second_value, np.inf) - np.where(finite, found.value, 0.0)


def _rival(model: Model, found: Found) -> np.ndarray:
    """Return the rise of the other candidate above the minimum, infinite where it is the same point."""
    lik = model.likelihood()
    spans = np.asarray(lik.high - lik.low)[lik.pois :, None]
    distinct = np.any(np.abs(found.second_x[lik.pois :] - found.x[lik.pois :]) > NEAR * spans, axis=0)
    rise = _rise(found)
    return np.where(distinct & np.isfinite(rise), rise, np.inf)


def fit(
    model: Model,
    data: Data,
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
    *,
    fixed: Fixed | None = None,
) -> FitResult:
    """Fit one data set: minimum, covariance, intervals, and a verdict on whether to believe them.

    The search looks at every anchor of the nuisances and at points between them, polishes the best two
    local minima by Newton's method, and keeps the lower. Intervals end where the profiled NLL has risen
    by 0.5 and 2, each side by itself; where a second minimum is about as low they hold both.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest whose intervals are wanted; others are
            profiled like nuisances.
        grid: minimise over these nuisance values only, `[value]` or `[value, nuisance]`; parameters of
            interest stay continuous.
        fixed: parameters held at a value.

    Raises:
        DataError: the data do not match the model.
        FitError: a stack of data sets was given, or no such parameter.

    >>> from systwise.fit import Model, asimov
    >>> from systwise.parameters import signal_strength
    >>> model = Model.from_templates(signal_strength(), (), (), np.array([[100.0], [900.0]]))
    >>> result = fit(model, asimov(model, 1.0, ()))
    >>> round(result.estimate, 6), round(result.sigma, 3)
    (1.0, 0.316)
    """
    if data.stacked:
        raise FitError(f"fit: {len(data)} stacked data sets given; use fit_many")
    return fit_many(model, data, poi, grid, fixed=fixed)[0]
