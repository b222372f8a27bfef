"""Newton's method from given starts, many problems at once, the slow ones by themselves.

Parameters are fixed either by leaving them out of `free`, which compiles to less, or by equal ends of their
range, which may change from call to call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from systwise.fit._likelihood import Likelihood, Observed, evaluate
from systwise.fit._morph import Morph, RootSpline
from systwise.fit._newton import Minimum, Objective, minimise
from systwise.fit._starts import Starts

TOGETHER = 1024
"""Problems up to which all are iterated until the slowest is done."""
HEAD = 4
"""Evaluations after which the unfinished of a larger batch are gathered."""


class Bounds(NamedTuple):
    """Lower and upper ends of every parameter, each `[point, data]` with axes of length 1 where shared."""

    low: list[Array]
    high: list[Array]

    def tiled(self, parameters: Sequence[int], times: int) -> tuple[list[Array], list[Array]]:
        """Return the ends of some parameters with the point axis repeated as a whole."""
        return [tile(self.low[i], times) for i in parameters], [tile(self.high[i], times) for i in parameters]


def observed_sets(observed: Observed) -> int:
    """Return the number of data sets."""
    if isinstance(observed.counts, Morph):
        splines = observed.counts.splines
        return (splines[0].coefficients if splines else observed.counts.nominal).shape[-1]
    return observed.counts.shape[-1]


def take_sets(observed: Observed, index: Array) -> Observed:
    """Return the observed data with the data sets at `index`, in that order and repeated as often."""
    counts = observed.counts
    if isinstance(counts, Morph):
        splines = tuple(RootSpline(s.knots, jnp.asarray(s.coefficients)[..., index]) for s in counts.splines)
        taken: Array | Morph = Morph(jnp.asarray(counts.nominal)[..., index], splines, datasets=True)
    else:
        taken = jnp.asarray(counts)[:, index]
    simulated = None if observed.simulated is None else jnp.asarray(observed.simulated)[:, index]
    return Observed(taken, tuple(jnp.asarray(a)[:, index] for a in observed.auxiliary), simulated)


def tile(array: Array, times: int) -> Array:
    """Return `[point, data]` repeated to `[times * point, data]`; shared rows stay as they are."""
    if array.shape[0] == 1:
        return array
    return jnp.broadcast_to(array[None], (times, *array.shape)).reshape(-1, array.shape[-1])


def placed(values: Sequence[Array], fixed: Sequence[Array], free: Sequence[int]) -> list[Array]:
    """Return all parameters, the free ones replaced by `values`."""
    full = list(fixed)
    for parameter, value in zip(free, values, strict=True):
        full[parameter] = value
    return full


def run_newton(
    objective: Objective,
    start: Sequence[Array],
    bounds: tuple[list[Array], list[Array]],
    starts: Starts,
    free: Sequence[int],
    tolerance: float,
    iterations: int,
) -> Minimum:
    reach = jnp.asarray(starts.reach)
    return minimise(objective, start, *bounds, [reach[i] for i in free], tolerance, iterations)


def _newton(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    x: list[Array],
    free: tuple[int, ...],
    bounds: Bounds,
    iterations: int,
) -> Minimum:
    """Minimise over the free parameters from `x`, at most `iterations` evaluations."""

    def objective(values: list[Array]) -> tuple[Array, list[Array], list[list[Array]]]:
        full = placed(values, x, free)
        return evaluate(lik, observed, full[: lik.pois], full[lik.pois :], free)

    ends = ([bounds.low[i] for i in free], [bounds.high[i] for i in free])
    return run_newton(objective, [x[i] for i in free], ends, starts, free, 1e-9, iterations)


def descend(
    lik: Likelihood, observed: Observed, starts: Starts, x: list[Array], free: tuple[int, ...], bounds: Bounds
) -> Minimum:
    """Minimise over the free parameters from `x`, each `[point, data]` with `bounds` of the same shape.

    Most problems are done after three evaluations; a few, where two minima merge, take twenty. In large
    batches those are gathered and finished by themselves, so that the others need not wait for them.
    """

    def run(observed: Observed, x: list[Array], bounds: Bounds, iterations: int) -> Minimum:
        return _newton(lik, observed, starts, x, free, bounds, iterations)

    points, sets = x[0].shape
    size = points * sets
    if sets == 1 < points:
        # A single data set: the long axis goes last, over which loops are fast.
        turned = Bounds([low.reshape(1, -1) for low in bounds.low], [high.reshape(1, -1) for high in bounds.high])
        end = descend(lik, observed, starts, [array.reshape(1, -1) for array in x], free, turned)
        return jax.tree.map(lambda array: array.reshape(points, 1), end)
    if size <= TOGETHER:
        return run(observed, x, bounds, 60)
    head = run(observed, x, bounds, HEAD)
    few = max(TOGETHER // 4, size // 16)
    return _finished(run, observed, head, ~head.done, placed(head.x, x, free), bounds, few)


def descend_some(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    x: list[Array],
    free: tuple[int, ...],
    bounds: Bounds,
    wanted: Array,
) -> Minimum:
    """Minimise as `descend` does where `wanted`, `[point, data]`; elsewhere the value is infinite.

    Second candidates are rare: they are gathered, so that data sets without one cost nothing.
    """

    def run(observed: Observed, x: list[Array], bounds: Bounds, iterations: int) -> Minimum:
        return _newton(lik, observed, starts, x, free, bounds, iterations)

    like = jnp.full(wanted.shape, jnp.inf)
    no = jnp.zeros(wanted.shape, bool)
    count = range(len(free))
    blank = Minimum(
        [jnp.broadcast_to(x[i], wanted.shape) for i in free],
        like,
        [like] * len(free),
        [[like for _ in count] for _ in count],
        like,
        no,
        no,
    )
    return _finished(run, observed, blank, wanted, x, bounds, max(1, wanted.size // 8))


def _finished(
    run: Callable[[Observed, list[Array], Bounds, int], Minimum],
    observed: Observed,
    begun: Minimum,
    pending: Array,
    start: list[Array],
    bounds: Bounds,
    few: int,
) -> Minimum:
    """Return `begun` with the `pending` problems, `[point, data]`, minimised from `start`, `few` at a time."""
    points, sets = pending.shape
    size = points * sets

    def flat(array: Array) -> Array:
        return jnp.broadcast_to(array, (points, sets)).reshape(-1)

    def finish(state: tuple[Minimum, Array]) -> tuple[Minimum, Array]:
        minimum, pending = state
        (index,) = jnp.nonzero(pending, size=few, fill_value=size)

        def taken(array: Array) -> Array:
            return flat(array)[jnp.minimum(index, size - 1)][None]

        tail = run(
            take_sets(observed, jnp.minimum(index, size - 1) % observed_sets(observed)),
            [taken(array) for array in start],
            Bounds([taken(low) for low in bounds.low], [taken(high) for high in bounds.high]),
            60,
        )
        merged = jax.tree.map(
            lambda old, new: old.reshape(-1).at[index].set(new[0], mode="drop").reshape(points, sets), minimum, tail
        )
        return merged, pending.at[index].set(False, mode="drop")

    return jax.lax.while_loop(lambda state: jnp.any(state[1]), finish, (begun, flat(pending)))[0]
