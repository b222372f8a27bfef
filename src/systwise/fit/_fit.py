"""The fit: global minimum, covariance and intervals of the profiled likelihood."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.errors import FitError
from systwise.fit._chunks import chunk_size, in_chunks
from systwise.fit._crossings import Crossing, advance, begin
from systwise.fit._data import Data
from systwise.fit._likelihood import Likelihood, Observed, constant_terms, evaluate, expected_jet
from systwise.fit._model import Model
from systwise.fit._newton import solve_positive
from systwise.fit._profile import poi_number
from systwise.fit._result import FitResult, FitResults
from systwise.fit._search import Bounds, Lowest, full_range, observed_sets, search
from systwise.fit._starts import Starts
from systwise.precision import in_float64

LEVELS = (0.5, 2.0)
"""Rises of the NLL: one and two standard deviations of one parameter."""
ROWS = 6
"""Ends searched together: both sides of both levels, and of the first with fixed nuisances."""


class Arrays(NamedTuple):
    """What one jitted fit returns; data sets run along the last axis of every array."""

    x: Array
    nll: Array
    gradient: Array
    hessian: Array
    distance: Array
    positive: Array
    done: Array
    lowest: Array
    smallest_count: Array
    second_z: Array
    second_rise: Array
    ends: Array
    stat_ends: Array
    seen: Array


class _State(NamedTuple):
    best: Lowest
    crossing: Crossing
    iteration: Array


def _lowest_along_axes(lik: Likelihood, observed: Observed, starts: Starts, best: Lowest) -> Array:
    """Return the lowest NLL met when each nuisance alone walks over its starts, `[data]`.

    One nuisance alone has been looked at by the search itself; several are thinned there.
    """
    lowest = best.value[0]
    if not starts.local or len(starts.axes) < 2:
        return lowest
    for j, line in enumerate(starts.axes):
        shape = (line.shape[0], best.value.shape[1])
        x = [jnp.broadcast_to(value, shape) for value in best.x]
        x[lik.pois + j] = jnp.broadcast_to(jnp.asarray(line)[:, None], shape)
        value, _, _ = evaluate(lik, observed, x[: lik.pois], x[lik.pois :], ())
        lowest = jnp.minimum(lowest, jnp.min(value, axis=0))
    return lowest


@functools.partial(jax.jit, static_argnames="poi")
def _fit(lik: Likelihood, observed: Observed, starts: Starts, first: Array, poi: int) -> Arrays:
    """Find the minimum and all interval ends with one compiled search.

    Its rows are the ends wanted. The first pass leaves every parameter free, so that each row finds the
    minimum; later passes pin the parameter of interest to the row's trial value, and in the last two
    rows the nuisances to their best-fit values.
    """
    count = range(lik.parameters)
    side = jnp.asarray(np.tile([-1.0, 1.0], 3))[:, None]
    level = jnp.asarray(np.repeat([*LEVELS, LEVELS[0]], 2))[:, None]
    statistical = jnp.asarray(np.arange(ROWS) >= 4)[:, None]
    shape = (ROWS, observed_sets(observed))
    whole = full_range(lik)
    low, high = whole.low[poi], whole.high[poi]

    def bounds(s: _State) -> Bounds:
        ends = Bounds([], [])
        for i in count:
            pinned = s.iteration > 0
            if i >= lik.pois:
                pinned = pinned & statistical
            elif i != poi:
                pinned = jnp.zeros((), bool)
            value = s.crossing.at if i == poi else s.best.x[i]
            ends.low.append(jnp.broadcast_to(jnp.where(pinned, value, whole.low[i]), shape))
            ends.high.append(jnp.broadcast_to(jnp.where(pinned, value, whole.high[i]), shape))
        return ends

    def look(s: _State) -> Lowest:
        return search(lik, observed, starts, first, [jnp.zeros((1, 1))] * lik.pois, tuple(count), bounds(s), ROWS)

    def body(s: _State) -> _State:
        found = look(s)
        row = jax.tree.map(lambda array: array[:1], found)
        best = jax.tree.map(lambda new, old: jnp.where(s.iteration == 0, new, old), row, s.best)
        centre = best.x[poi]
        started = begin(centre, _widths(lik, found, poi, low, high), side, level, low, high)
        moved = advance(
            s.crossing, found.value - best.value, found.gradient[poi], centre, side, level, low, high, s.iteration
        )
        crossing = jax.tree.map(lambda new, old: jnp.where(s.iteration == 0, new, old), started, moved)
        # Without a finite minimum there is nothing to cross.
        crossing = crossing._replace(done=crossing.done | ~jnp.isfinite(best.value))
        return _State(best, crossing, s.iteration + 1)

    template = jax.eval_shape(look, _State(_blank(lik, shape), _no_crossing(shape), jnp.zeros((), jnp.int32)))
    blank = jax.tree.map(lambda array: jnp.zeros((1, shape[1]), array.dtype), template)
    s = jax.lax.while_loop(
        lambda s: (s.iteration < 80) & ~jnp.all(s.crossing.done),
        body,
        _State(blank, _no_crossing(shape), jnp.zeros((), jnp.int32)),
    )
    best, crossing = s.best, s.crossing
    theta, z = best.x[: lik.pois], best.x[lik.pois :]
    _, gradient, hessian = evaluate(lik, observed, theta, z, tuple(count))
    expected = expected_jet(lik, theta, lik.morph.jet(z), ())[0]
    ends = jnp.where(crossing.done & ~crossing.absent, crossing.at, jnp.nan)
    axes = _lowest_along_axes(lik, observed, starts, best) - best.value[0]
    return Arrays(
        x=jnp.stack(best.x)[:, 0],
        nll=best.value[0] + constant_terms(lik, observed),
        gradient=jnp.stack(gradient)[:, 0],
        hessian=jnp.stack([jnp.stack(row) for row in hessian])[:, :, 0],
        distance=best.distance[0],
        positive=best.positive[0],
        done=best.done[0],
        lowest=best.lowest[0],
        smallest_count=jnp.broadcast_to(jnp.min(expected, axis=0)[0], shape[1:]),
        second_z=jnp.stack(best.second_x)[lik.pois :, 0],
        second_rise=(best.second_value - best.value)[0],
        ends=ends[:4],
        stat_ends=ends[4:],
        seen=jnp.minimum(jnp.min(crossing.lowest, axis=0), axes),
    )


def _widths(lik: Likelihood, found: Lowest, poi: int, low: Array, high: Array) -> Array:
    """Return a first guess of the parameter's width in each row, `[row, data]`, from the Hessian."""
    size = len(found.gradient)
    unit = [jnp.full_like(found.value, -1.0 if i == poi else 0.0) for i in range(size)]
    profiled = solve_positive(found.hessian, unit)[0][poi]
    fixed = 1 / (jnp.abs(found.hessian[poi][poi]) + 1e-300)
    rows = jnp.arange(found.value.shape[0])[:, None]
    longest = 0.25 * (high - low)
    return jnp.clip(jnp.sqrt(jnp.abs(jnp.where(rows >= 4, fixed, profiled))), 1e-9 * longest, longest)


def _no_crossing(shape: tuple[int, int]) -> Crossing:
    zero, no = jnp.zeros(shape), jnp.zeros(shape, bool)
    return Crossing(zero, zero, zero, no, no, no, zero)


def _blank(lik: Likelihood, shape: tuple[int, int]) -> Lowest:
    row = jnp.zeros((1, shape[1]))
    no = row > 0
    x = [row] * lik.parameters
    return Lowest(x, row, x, [x] * lik.parameters, row, no, no, no, row, x)


@in_float64
def fit_many(
    model: Model, data: Data, poi: int | str = 0, grid: Sequence[float] | np.ndarray | None = None
) -> FitResults:
    """Fit every data set of a stack, as `fit` does, in one call.

    Args:
        model: the model.
        data: stacked data sets.
        poi: number or name of the parameter of interest whose intervals are wanted.
        grid: minimise over these nuisance values only.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter.
    """
    number = poi_number(model, poi)
    data = data.batch()
    if len(data) == 0:
        raise FitError("fit_many: the stack holds no data sets")
    lik, starts, first = model.likelihood(), model.starts(grid), model.theta_starts()

    def part(some: Data) -> Arrays:
        return _fit(lik, model.observed(some), starts, first, poi=number)

    size = chunk_size(len(data), ROWS * math.prod(starts.shape) * len(first))
    found = in_chunks(part, data, size)
    return FitResults(
        names=model.parameter_names,
        pois=model.components.pois,
        poi=model.components.pois[number],
        ranges=tuple(zip(lik.low.tolist(), lik.high.tolist(), strict=True)),
        convention=model.convention,
        moving=model.moving,
        on_grid=grid is not None,
        values=found.x.T,
        nll=found.nll,
        gradient=found.gradient.T,
        hessian=np.moveaxis(found.hessian, -1, 0),
        distance=found.distance,
        positive=found.positive,
        done=found.done,
        lowest=found.lowest & (found.seen > -1e-6),
        smallest_count=found.smallest_count,
        second_nuisances=found.second_z.T,
        second_rise=found.second_rise,
        ends=found.ends.T,
        stat_ends=found.stat_ends.T,
    )


def fit(model: Model, data: Data, poi: int | str = 0, grid: Sequence[float] | np.ndarray | None = None) -> FitResult:
    """Fit one data set: minimum, covariance, intervals, and a verdict on whether to believe them.

    The search looks at every anchor of the nuisances and at points between them (for each, the NLL is
    convex in a signal strength), polishes the best two local minima by Newton's method, and keeps the
    lower. Intervals end where the profiled NLL has risen by 0.5 and 2, each side by itself.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest whose intervals are wanted; others are
            profiled like nuisances.
        grid: minimise over these nuisance values only, `[value]` or `[value, nuisance]`; parameters of
            interest stay continuous.

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
    return fit_many(model, data, poi, grid)[0]
