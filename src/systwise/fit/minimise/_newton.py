"""A safeguarded Newton minimiser for one small problem, mapped over many.

Steps solve a Hessian made positive definite, stay inside the parameters' ranges, and are shortened until the
value falls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.fit.likelihood import Terms
from systwise.fit.minimise._solve import held, solve, without

TOLERANCE = 1e-9
"""Vertical distance to the minimum at which a problem is done."""


class Minimum(NamedTuple):
    """The end of a minimisation.

    Attributes:
        x: the parameters.
        value: the objective there.
        gradient: its gradient.
        hessian: its Hessian.
        distance: estimated vertical distance to the minimum, `g^T H^-1 g / 2` over unbounded parameters.
        positive: the Hessian by unbounded parameters is positive definite there.
        done: distance below tolerance and Hessian positive.
    """

    x: Array
    value: Array
    gradient: Array
    hessian: Array
    distance: Array
    positive: Array
    done: Array


class _State(NamedTuple):
    x: Array
    terms: Terms
    scale: Array
    step: Array
    distance: Array
    positive: Array
    near: Array
    stop: Array
    iteration: Array


def minimise(
    objective: Callable[[Array], Terms],
    start: Float[Array, " parameter"],
    low: Float[Array, " parameter"],
    high: Float[Array, " parameter"],
    reach: Float[Array, " parameter"],
    tolerance: float = TOLERANCE,
    iterations: int | Array = 60,
) -> Minimum:
    """Minimise `objective` from `start`.

    Args:
        objective: value, gradient and Hessian; an infinite value marks a forbidden point.
        start: parameters.
        low: lower ends; equal ends fix a parameter.
        high: upper ends.
        reach: longest step allowed in each parameter.
        tolerance: vertical distance to the minimum at which it is done.
        iterations: evaluations at most.
    """
    x = jnp.clip(start, low, high)
    size = x.shape[0]
    infinite = jnp.asarray(jnp.inf, x.dtype)
    # The first pass takes a step of zero from an infinite value, so that the objective is compiled once.
    state = _State(
        x=x,
        terms=Terms(infinite, jnp.zeros_like(x), jnp.eye(size, dtype=x.dtype)),
        scale=jnp.ones((), x.dtype),
        step=jnp.zeros_like(x),
        distance=infinite,
        positive=jnp.asarray(False),
        near=jnp.asarray(False),
        stop=jnp.asarray(False),
        iteration=jnp.zeros((), jnp.int32),
    )

    def body(s: _State) -> _State:
        trial = jnp.clip(s.x + jnp.clip(s.scale * s.step, -reach, reach), low, high)
        terms = objective(trial)
        # A rise within rounding is no rise: values are of order 1e5, differences matter at 1e-9.
        falls = terms.value <= s.terms.value + 1e-14 * jnp.abs(terms.value)
        fixed = held(trial, terms.gradient, low, high)
        found = solve(without(terms.hessian, fixed), jnp.where(fixed, 0.0, terms.gradient)[None])
        # At a minimum values tell nothing any more, gradients do.
        better = (falls | (s.near & (found.distance < s.distance))) & jnp.isfinite(terms.value) & ~s.stop

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(better, new, old)

        scale = jnp.where(better, jnp.minimum(1.0, 4 * s.scale), 0.25 * s.scale)
        distance, positive = keep(found.distance, s.distance), keep(found.positive, s.positive)
        near = (distance < tolerance) & positive
        return _State(
            x=keep(trial, s.x),
            terms=jax.tree.map(keep, terms, s.terms),
            scale=scale,
            step=keep(found.steps[0], s.step),
            distance=distance,
            positive=positive,
            near=near,
            # One step more takes parameters from 1e-5 standard deviations to rounding.
            stop=s.stop | s.near | (scale < 1e-9),
            iteration=s.iteration + 1,
        )

    s = jax.lax.while_loop(lambda s: (s.iteration < iterations) & ~s.stop, body, state)
    return Minimum(s.x, *s.terms, s.distance, s.positive, s.near)
