"""The search for the lowest minimum with some parameters fixed: starts, Newton, and the better end.

The one path behind `profile`, `fit` and the root finding of intervals; pure JAX, every array with the
batch axes `point` (values of the fixed parameters) and `data` (data sets) last.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.fit._likelihood import Likelihood, Observed, evaluate, evaluate_bins
from systwise.fit._morph import Morph
from systwise.fit._newton import Minimum, minimise
from systwise.fit._starts import (
    Starts,
    best_starts,
    start_counts,
    start_templates,
    start_terms,
    start_values,
)

CANDIDATES = 2
"""Local minima polished for every point and data set."""


class Lowest(NamedTuple):
    """The lowest minimum found for every point and data set.

    Attributes:
        theta: parameters of interest, each `[point, data]`.
        z: nuisances, each `[point, data]`.
        value: NLL, without the constant terms of fixed counts.
        done: gradient below tolerance, Hessian positive, and no start was lower.
        positive: the Hessian by the free parameters is positive definite.
        distance: estimated vertical distance to the minimum.
        lowest: no start of the grid lies below.
        second: the other candidate's (value, z), infinite where there is none.
    """

    theta: list[Array]
    z: list[Array]
    value: Array
    done: Array
    positive: Array
    distance: Array
    lowest: Array
    second: tuple[Array, list[Array]]


def polish(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    theta: Sequence[Array],
    z: Sequence[Array],
    free: tuple[int, ...],
) -> tuple[list[Array], list[Array], Minimum]:
    """Minimise by Newton's method over the `free` parameters from one start a point and data set."""
    everything = [*theta, *z]
    shape = jnp.broadcast_shapes(*(value.shape for value in everything))
    data = observed_sets(observed)
    everything = [jnp.broadcast_to(value, (shape[0], max(shape[1], data))) for value in everything]

    def place(values: Sequence[Array]) -> list[Array]:
        full = list(everything)
        for parameter, value in zip(free, values, strict=True):
            full[parameter] = value
        return full

    def objective(values: list[Array]) -> tuple[Array, list[Array], list[list[Array]]]:
        full = place(values)
        return evaluate(lik, observed, full[: lik.pois], full[lik.pois :], free)

    index = np.array(free)
    low, high, reach = (jnp.asarray(limits)[index] for limits in (lik.low, lik.high, starts.reach))
    end = minimise(objective, [everything[i] for i in free], list(low), list(high), list(reach))
    full = place(end.x)
    return full[: lik.pois], full[lik.pois :], end


def observed_sets(observed: Observed) -> int:
    """Return the number of data sets."""
    if isinstance(observed.counts, Morph):
        splines = observed.counts.splines
        return (splines[0].coefficients if splines else observed.counts.nominal).shape[-1]
    return observed.counts.shape[-1]


def minimise_pois(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    theta: Sequence[Array],
    free: tuple[int, ...],
    first: np.ndarray,
    exact: bool,
) -> tuple[list[Array], Minimum, Array]:
    """Minimise over the free parameters of interest with the nuisances at each start.

    Args:
        lik: the likelihood.
        observed: the data.
        starts: nuisance values.
        theta: `[poi]` values, each `[point, data or 1]`; those of free parameters are ignored.
        free: numbers of the free parameters of interest.
        first: values to start from, `[start of theta, poi]`; the best end is kept.
        exact: iterate to the minimum rather than well enough to rank the starts.

    Returns:
        theta, minimum and NLL, each `[start, point, data]`.
    """
    templates = start_templates(lik, starts)
    n = start_counts(observed, starts)
    size, (points, sets) = templates.shape[-1], theta[0].shape
    sets = max(sets, n.shape[-1])
    flat = (size * points, sets)

    def tiled(array: Array) -> Array:
        return jnp.repeat(array, points, axis=-2) if array.shape[-2] == size else array

    fixed = [jnp.broadcast_to(value, (size, points, sets)).reshape(flat) for value in theta]
    jets = ((tiled(n), [], []), (tiled(templates[..., None]), [], []))

    def place(values: Sequence[Array]) -> list[Array]:
        full = list(fixed)
        for parameter, value in zip(free, values, strict=True):
            full[parameter] = value
        return full

    index = np.array(free)
    low, high, reach = (jnp.asarray(limits)[index] for limits in (lik.low, lik.high, starts.reach))
    best: Minimum | None = None
    for row in first:
        end = minimise(
            lambda values: evaluate_bins(lik, jets[0], place(values), jets[1], free),
            [jnp.full(flat, row[p]) for p in free],
            list(low),
            list(high),
            list(reach),
            tolerance=1e-10 if exact else 0.03,
            iterations=60 if exact else 12,
        )
        best = end if best is None else jax.tree.map(functools.partial(jnp.where, end.value < best.value), end, best)
    assert best is not None
    shape = (size, points, sets)
    best = jax.tree.map(lambda array: array.reshape(shape), best)
    value = best.value + start_terms(lik, observed, starts, n)[:, None, :]
    return [array.reshape(shape) for array in place([x.reshape(flat) for x in best.x])], best, value


def search(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: np.ndarray,
    theta: Sequence[Array],
    fixed: tuple[int, ...],
) -> Lowest:
    """Return the lowest minimum over everything but the `fixed` parameters of interest.

    Args:
        lik: the likelihood.
        observed: the data.
        starts: the grid of nuisance values.
        first: values of the parameters of interest to start from, `[start of theta, poi]`.
        theta: `[poi]` values, each `[point, data or 1]`; used where fixed.
        fixed: numbers of the fixed parameters of interest.
    """
    pois = tuple(p for p in range(lik.pois) if p not in fixed)
    nuisances = tuple(range(lik.pois, lik.parameters))
    thetas: list[Array] | None = None
    done = positive = None
    if pois:
        thetas, end, values = minimise_pois(lik, observed, starts, theta, pois, first, exact=not starts.local)
        done, positive, distance = end.done, end.positive, end.distance
    else:
        values = start_values(lik, observed, starts, theta)
        distance = jnp.zeros_like(values)
    lowest_start = jnp.min(values, axis=0)
    shape = values.shape[1:]
    if not starts.local:
        index = jnp.argmin(values, axis=0)
        at = _at(index, shape)
        value = at(values)
        finite = jnp.isfinite(value)
        return Lowest(
            theta=[jnp.broadcast_to(t, shape) for t in theta] if thetas is None else [at(t) for t in thetas],
            z=[jnp.asarray(points)[index] for points in starts.points],
            value=value,
            done=finite if done is None else at(done) & finite,
            positive=finite if positive is None else at(positive),
            distance=at(distance),
            lowest=finite,
            second=(jnp.full(shape, jnp.inf), [jnp.full(shape, jnp.nan) for _ in starts.points]),
        )
    index, z = best_starts(starts, values, CANDIDATES)
    if thetas is None:
        candidates = [jnp.broadcast_to(t[None], index.shape[:1] + t.shape) for t in theta]
    else:
        candidates = [jnp.take_along_axis(t, index, axis=0) for t in thetas]

    def flat(array: Array) -> Array:
        return array.reshape(-1, array.shape[-1])

    free = (*pois, *nuisances)
    if not free:
        value = values[0]
        finite = jnp.isfinite(value)
        nothing = (jnp.full(shape, jnp.inf), [])
        return Lowest(
            [jnp.broadcast_to(t, shape) for t in theta], [], value, finite, finite, jnp.zeros(shape), finite, nothing
        )
    theta_end, z_end, end = polish(lik, observed, starts, [flat(t) for t in candidates], [flat(v) for v in z], free)

    def stacked(array: Array) -> Array:
        return array.reshape(CANDIDATES, *shape)

    ends = stacked(end.value)
    which = jnp.argmin(ends, axis=0)
    best, other = _at(which, shape), _at(1 - which, shape)
    value = best(ends)
    lowest = value <= lowest_start + 1e-9 * (1 + jnp.abs(value) * 1e-3)
    return Lowest(
        theta=[best(stacked(t)) for t in theta_end],
        z=[best(stacked(v)) for v in z_end],
        value=value,
        done=best(stacked(end.done)) & lowest & jnp.isfinite(value),
        positive=best(stacked(end.positive)),
        distance=best(stacked(end.distance)),
        lowest=lowest,
        second=(other(ends), [other(stacked(v)) for v in z_end]),
    )


def _at(index: Array, shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """Return a function that picks one entry along the first axis for every point and data set."""

    def pick(array: Array) -> Array:
        return jnp.take_along_axis(jnp.broadcast_to(array, (array.shape[0], *shape)), index[None], axis=0)[0]

    return pick


def slope_in(
    lik: Likelihood, observed: Observed, theta: Sequence[Array], z: Sequence[Array], poi: int
) -> tuple[Array, Array]:
    """Return the NLL and its partial derivative by one parameter of interest.

    At a minimum over everything else the latter is the derivative of the profiled NLL (envelope theorem).
    """
    value, gradient, _ = evaluate(lik, observed, theta, z, (poi,))
    return value, gradient[0]

