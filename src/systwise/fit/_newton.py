"""A safeguarded Newton minimiser for many small problems at once.

Use it where value, gradient and Hessian are cheap and starts are good. Steps solve a Hessian made
positive definite, stay inside the parameters' ranges, and are shortened until the value falls. A loop
runs until the slowest problem is done, so finished ones are left alone rather than iterated further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

Objective = Callable[[list[Array]], tuple[Array, list[Array], list[list[Array]]]]
"""Parameters, each `[point, data]`, to value, gradient and Hessian of the same shape."""


class Minimum(NamedTuple):
    """The end of a minimisation, every array `[point, data]`.

    Attributes:
        x: the parameters, one Newton step beyond the last evaluation where that had converged.
        value: the objective there but for less than the tolerance.
        gradient: its gradient.
        hessian: its Hessian.
        distance: estimated vertical distance to the minimum, `g^T H^-1 g / 2` over unbounded parameters.
        positive: the Hessian is positive definite there.
        done: distance below tolerance and Hessian positive.
    """

    x: list[Array]
    value: Array
    gradient: list[Array]
    hessian: list[list[Array]]
    distance: Array
    positive: Array
    done: Array


class _State(NamedTuple):
    x: list[Array]
    value: Array
    gradient: list[Array]
    hessian: list[list[Array]]
    scale: Array
    step: list[Array]
    distance: Array
    positive: Array
    stop: Array
    iteration: Array


def solve_positive(hessian: Sequence[Sequence[Array]], gradient: Sequence[Array]) -> tuple[list[Array], Array, Array]:
    """Return `-H^-1 g` with negative pivots of `H = L D L^T` made positive, and whether none was.

    Absolute pivots keep the step a descent direction and send a saddle's small displacement outwards.
    Unrolled over parameters (a handful), elementwise over the batch.

    Returns:
        step, vertical distance `g^T H^-1 g / 2`, positive.
    """
    count = len(gradient)
    lower: list[list[Array]] = [[] for _ in range(count)]
    pivots: list[Array] = []
    positive = jnp.ones(gradient[0].shape, bool)
    for j in range(count):
        pivot = hessian[j][j]
        for k in range(j):
            pivot = pivot - lower[j][k] ** 2 * pivots[k]
        positive = positive & (pivot > 0)
        pivots.append(jnp.maximum(jnp.abs(pivot), 1e-12 * jnp.abs(hessian[j][j]) + 1e-30))
        for i in range(j + 1, count):
            entry = hessian[i][j]
            for k in range(j):
                entry = entry - lower[i][k] * lower[j][k] * pivots[k]
            lower[i].append(entry / pivots[j])
    forward: list[Array] = []
    for i in range(count):
        entry = -gradient[i]
        for k in range(i):
            entry = entry - lower[i][k] * forward[k]
        forward.append(entry)
    distance = jnp.zeros_like(gradient[0])
    for entry, pivot in zip(forward, pivots, strict=True):
        distance = distance + 0.5 * entry**2 / pivot
    step = [entry / pivot for entry, pivot in zip(forward, pivots, strict=True)]
    for i in reversed(range(count)):
        for k in range(i + 1, count):
            step[i] = step[i] - lower[k][i] * step[k]
    return step, distance, positive


def _direction(
    x: list[Array], gradient: list[Array], hessian: list[list[Array]], low: Sequence[Array], high: Sequence[Array]
) -> tuple[list[Array], Array, Array]:
    """Return step, distance and positivity with parameters that are pushed against an end held there."""
    held = [
        ((value <= lower) & (slope > 0)) | ((value >= upper) & (slope < 0))
        for value, slope, lower, upper in zip(x, gradient, low, high, strict=True)
    ]
    count = range(len(x))
    gradient = [jnp.where(held[i], 0.0, gradient[i]) for i in count]
    hessian = [[jnp.where(held[i] | held[j], 1.0 if i == j else 0.0, hessian[i][j]) for j in count] for i in count]
    return solve_positive(hessian, gradient)


def minimise(
    objective: Objective,
    start: Sequence[Array],
    low: Sequence[Array],
    high: Sequence[Array],
    reach: Sequence[Array],
    tolerance: float = 1e-10,
    iterations: int = 60,
) -> Minimum:
    """Minimise `objective` from `start` for every point and data set.

    Args:
        objective: value, gradient and Hessian; an infinite value marks a forbidden point.
        start: parameters, each `[point, data]`.
        low: lower ends, scalars.
        high: upper ends.
        reach: longest step allowed in each parameter, scalars.
        tolerance: vertical distance to the minimum at which a problem is done.
        iterations: evaluations at most.
    """
    x = [jnp.clip(value, lower, upper) for value, lower, upper in zip(start, low, high, strict=True)]
    shape, dtype = x[0].shape, x[0].dtype
    zero, one = jnp.zeros(shape, dtype), jnp.ones(shape, dtype)
    count = range(len(x))
    # The first pass takes a step of zero from an infinite value, so that the objective is compiled once.
    state = _State(
        x=x,
        value=jnp.full(shape, jnp.inf, dtype),
        gradient=[zero for _ in count],
        hessian=[[one if i == j else zero for j in count] for i in count],
        scale=one,
        step=[zero for _ in count],
        distance=jnp.full(shape, jnp.inf, dtype),
        positive=jnp.zeros(shape, bool),
        stop=jnp.zeros(shape, bool),
        iteration=jnp.zeros((), jnp.int32),
    )

    def body(s: _State) -> _State:
        trial = [
            jnp.clip(value + jnp.clip(s.scale * step, -longest, longest), lower, upper)
            for value, step, longest, lower, upper in zip(s.x, s.step, reach, low, high, strict=True)
        ]
        value, gradient, hessian = objective(trial)
        # A rise within rounding is no rise: values are of order 1e5, differences matter at 1e-9.
        better = (value <= s.value + 1e-14 * jnp.abs(value)) & jnp.isfinite(value) & ~s.stop
        step, distance, positive = _direction(trial, gradient, hessian, low, high)

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(better, new, old)

        scale = jnp.where(better, jnp.minimum(1.0, 4 * s.scale), 0.25 * s.scale)
        distance, positive = keep(distance, s.distance), keep(positive, s.positive)
        return _State(
            x=jax.tree.map(keep, trial, s.x),
            value=keep(value, s.value),
            gradient=jax.tree.map(keep, gradient, s.gradient),
            hessian=jax.tree.map(keep, hessian, s.hessian),
            scale=scale,
            step=jax.tree.map(keep, step, s.step),
            distance=distance,
            positive=positive,
            stop=s.stop | ((distance < tolerance) & positive) | (scale < 1e-9),
            iteration=s.iteration + 1,
        )

    s = jax.lax.while_loop(lambda s: (s.iteration < iterations) & ~jnp.all(s.stop), body, state)
    done = (s.distance < tolerance) & s.positive
    # The last step costs nothing more: it takes parameters from 1e-5 standard deviations to rounding.
    x = [
        jnp.where(done, jnp.clip(value + step, lower, upper), value)
        for value, step, lower, upper in zip(s.x, s.step, low, high, strict=True)
    ]
    return Minimum(x, s.value, s.gradient, s.hessian, s.distance, s.positive, done)
