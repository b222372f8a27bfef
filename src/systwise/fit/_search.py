"""The search for the lowest minimum: starts on a grid, Newton from the best two, and the better end.

The one path behind `profile` and `fit`; pure JAX, every array with the batch axes `point` (scan points
or rows of a root search) and `data` (data sets) last. Parameters are fixed either by leaving them out of
`free`, which compiles to less, or by equal ends of their range, which may change from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.fit._descent import Bounds, descend, descend_some, observed_sets, placed, run_newton, tile
from systwise.fit._likelihood import Likelihood, Observed, evaluate, evaluate_bins
from systwise.fit._morph import Jet
from systwise.fit._newton import Minimum
from systwise.fit._starts import Starts, best_starts, start_counts, start_templates, start_terms, start_values
from systwise.fit._template_jet import TemplateJet

CANDIDATES = 2
"""Local minima polished for every point and data set."""


class Lowest(NamedTuple):
    """The lowest minimum found for every point and data set, every array `[point, data]`.

    Attributes:
        x: all parameters.
        value: NLL, without the constant terms of fixed counts.
        gradient: by the free parameters (over a grid of nuisances: by the free parameters of interest).
        hessian: by the same parameters.
        distance: estimated vertical distance to the minimum.
        positive: the Hessian is positive definite.
        lowest: no start of the grid lies below.
        done: distance below tolerance, Hessian positive, no start lower.
        second_value: NLL of the other candidate, infinite where there is none.
        second_x: its parameters.
    """

    x: list[Array]
    value: Array
    gradient: list[Array]
    hessian: list[list[Array]]
    distance: Array
    positive: Array
    lowest: Array
    done: Array
    second_value: Array
    second_x: list[Array]


def full_range(lik: Likelihood) -> Bounds:
    """Return the parameters' ranges, the same for every point and data set."""
    low, high = jnp.asarray(lik.low), jnp.asarray(lik.high)
    count = range(lik.parameters)
    return Bounds([low[i].reshape(1, 1) for i in count], [high[i].reshape(1, 1) for i in count])


def _minimise_pois(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Array,
    theta: Sequence[Array],
    free: tuple[int, ...],
    bounds: Bounds,
    shape: tuple[int, int],
) -> tuple[list[Array], Minimum, Array]:
    """Minimise over the free parameters of interest with the nuisances at each start.

    Well enough to rank the starts where a polish follows, to the end where the grid is all there is.

    Returns:
        parameters of interest, minimum and NLL, each `[start, point, data]`.
    """
    templates, n = start_templates(lik, starts), start_counts(lik, observed, starts)
    size, (points, sets) = templates.shape[-1], shape
    copies = len(first)

    def laid_out(array: Array) -> Array:
        """Repeat `[..., start or 1, data or 1]` over points and over the values to start from."""
        if array.shape[-2] == 1:
            return array
        lead = array.shape[:-2]
        wide = jnp.broadcast_to(array[..., None, :, None, :], (*lead, copies, size, points, array.shape[-1]))
        return wide.reshape(*lead, copies * size * points, array.shape[-1])

    flat = (copies * size * points, sets)
    # For a single data set the long axis goes last, over which loops are fast.
    turned = sets == 1

    def turn(array: Array) -> Array:
        return jnp.swapaxes(array, -1, -2) if turned else array

    fixed = [jnp.broadcast_to(tile(jnp.broadcast_to(t, shape), copies * size), flat) for t in theta]
    counts: Jet = (turn(laid_out(n)), [], [])
    morphed = TemplateJet(turn(laid_out(templates[..., None])), [], [], [], {})
    fixed = [turn(array) for array in fixed]
    low, high = bounds.tiled(free, copies * size)
    begin = [jnp.broadcast_to(jnp.repeat(first[:, p], size * points)[:, None], flat) for p in free]
    tolerance, iterations = (0.03, 12) if starts.local else (1e-10, 60)
    end = run_newton(
        lambda values: evaluate_bins(lik, counts, placed(values, fixed, free), morphed, free),
        [turn(array) for array in begin],
        ([turn(array) for array in low], [turn(array) for array in high]),
        starts,
        free,
        tolerance,
        iterations,
    )
    end = jax.tree.map(lambda array: turn(array).reshape(copies, size, points, sets), end)
    if copies > 1:
        end = jax.tree.map(_picker(jnp.argmin(end.value, axis=0)), end)
    else:
        end = jax.tree.map(lambda array: array[0], end)
    value = end.value + start_terms(lik, observed, starts, n)[:, None, :]
    fixed = [jnp.broadcast_to(t, (size, *shape)) for t in theta]
    return placed(end.x, fixed, free), end, value


def _start_pois(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Array,
    theta: Sequence[Array],
    free: tuple[int, ...],
    bounds: Bounds,
    shape: tuple[int, int],
) -> tuple[list[Array], Array]:
    """Return the best of the values to start from at each start of the nuisances, and its NLL.

    Returns:
        parameters of interest and NLL, each `[start, point, data]`.
    """
    size = (math.prod(starts.shape), *shape)
    if starts.points and np.ndim(starts.points[0]) == 2:
        # Every data set has starts of its own, where parameters are fixed to values of its own.
        z = [jnp.asarray(points) for points in starts.points]

        def at(row: Array) -> tuple[list[Array], Array]:
            clipped = [jnp.clip(row[p], bounds.low[p], bounds.high[p]) for p in range(lik.pois)]
            value = evaluate(lik, observed, clipped, z, ())[0][:, None]
            return [jnp.broadcast_to(t, size) for t in clipped], jnp.broadcast_to(value, size)

        several = [at(row) for row in jnp.asarray(first)]
        values = jnp.stack([value for _, value in several])
        pick = _picker(jnp.argmin(values, axis=0))
        return [pick(jnp.stack([thetas[p] for thetas, _ in several])) for p in range(lik.pois)], pick(values)
    tried = [
        placed([jnp.broadcast_to(first[copy, p], (1, 1)) for p in free], theta, free) for copy in range(len(first))
    ]
    values = jnp.stack([jnp.broadcast_to(start_values(lik, observed, starts, values), size) for values in tried])
    best = jnp.argmin(values, axis=0)
    stacked = [jnp.stack([jnp.broadcast_to(values[p], size) for values in tried]) for p in range(lik.pois)]
    pick = _picker(best)
    return [pick(array) for array in stacked], pick(values)


def _picker(index: Array) -> Callable[[Array], Array]:
    """Return a function that takes one entry along the first axis, at `index` of the other axes."""

    def pick(array: Array) -> Array:
        return jnp.take_along_axis(array, index[None], axis=0)[0]

    return pick


def search(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Array,
    theta: Sequence[Array],
    free: tuple[int, ...],
    bounds: Bounds,
    points: int,
) -> Lowest:
    """Return the lowest minimum over the `free` parameters, for every point and data set.

    Args:
        lik: the likelihood.
        observed: the data.
        starts: the grid of nuisance values.
        first: values of the parameters of interest to start from, `[start of theta, poi]`.
        theta: `[poi]` values, each `[point or 1, data or 1]`; used for parameters that are not free.
        free: numbers of the free parameters, increasing; all nuisances are free.
        bounds: ends of the parameters.
        points: length of the point axis.
    """
    shape = (points, observed_sets(observed))
    pois = tuple(p for p in free if p < lik.pois)
    separate = bool(starts.points) and np.ndim(starts.points[0]) == 2
    if pois and not separate and (len(starts.shape) < 2 or not starts.local):
        thetas, end, values = _minimise_pois(lik, observed, starts, first, theta, pois, bounds, shape)
    elif pois:
        # Over several nuisances the grid is large: its points are ranked at the values to start from.
        end = None
        thetas, values = _start_pois(lik, observed, starts, first, theta, pois, bounds, shape)
    else:
        end = None
        thetas = [jnp.broadcast_to(t, (math.prod(starts.shape), *shape)) for t in theta]
        values = start_values(lik, observed, starts, theta)
    if not starts.local or not free:
        return _best_of_grid(lik, starts, bounds, thetas, values, end)
    lowest_start = jnp.min(values, axis=0)
    if observed.simulated is not None:
        # Starts are ranked with exact templates, whose NLL need not lie above one with drawn centres.
        drawn = jnp.any(jnp.asarray(observed.simulated) != 1, axis=0)
        lowest_start = jnp.where(drawn, jnp.inf, lowest_start)
    index, z, present = best_starts(starts, values, CANDIDATES)
    candidates = [*(jnp.take_along_axis(t, index, axis=0) for t in thetas), *z]
    flat = [array.reshape(-1, shape[1]) for array in candidates]
    everything = range(lik.parameters)
    if len(starts.shape) > 1:
        pairs = [
            descend(lik, observed, starts, [array[0] for array in candidates], free, bounds),
            descend_some(lik, observed, starts, [array[1] for array in candidates], free, bounds, present[1]),
        ]
        end = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pairs)
    else:
        end = descend(lik, observed, starts, flat, free, Bounds(*bounds.tiled(everything, CANDIDATES)))
    x = [array.reshape(CANDIDATES, *shape) for array in placed(end.x, flat, free)]
    end = jax.tree.map(lambda array: array.reshape(CANDIDATES, *shape), end)
    which = jnp.argmin(end.value, axis=0)
    best, other = _picker(which), _picker(1 - which)
    value, positive = best(end.value), best(end.positive)
    # The level of rounding: NLLs of 10^6 carry 10^-9.
    lowest = value <= lowest_start + 1e-8 + 1e-13 * jnp.abs(value)
    return Lowest(
        x=[best(array) for array in x],
        value=value,
        gradient=jax.tree.map(best, end.gradient),
        hessian=jax.tree.map(best, end.hessian),
        distance=best(end.distance),
        positive=positive,
        lowest=lowest,
        done=best(end.done) & lowest & jnp.isfinite(value),
        second_value=other(end.value),
        second_x=[other(array) for array in x],
    )


def _best_of_grid(
    lik: Likelihood, starts: Starts, bounds: Bounds, thetas: list[Array], values: Array, end: Minimum | None
) -> Lowest:
    """Return the lowest of the given nuisance values, with nothing between them."""
    allowed = jnp.ones(values.shape, bool)
    grid = [jnp.asarray(points)[:, None, None] for points in starts.points]
    for j, line in enumerate(grid):
        # Ends within which the grid has no point do not restrict it; equal ends pin one of its points.
        low, high = bounds.low[lik.pois + j], bounds.high[lik.pois + j]
        allowed = allowed & ((low != high) | (line == low))
    values = jnp.where(allowed, values, jnp.inf)
    best = _picker(jnp.argmin(values, axis=0))
    value = best(values)
    finite = jnp.isfinite(value)
    x = [*(best(t) for t in thetas), *(best(jnp.broadcast_to(line, values.shape)) for line in grid)]
    return Lowest(
        x=x,
        value=value,
        gradient=[] if end is None else jax.tree.map(best, end.gradient),
        hessian=[] if end is None else jax.tree.map(best, end.hessian),
        distance=jnp.zeros_like(value) if end is None else best(end.distance),
        positive=finite if end is None else best(end.positive),
        lowest=finite,
        done=finite if end is None else best(end.done) & finite,
        second_value=jnp.full_like(value, jnp.inf),
        second_x=[jnp.full_like(array, jnp.nan) for array in x],
    )
