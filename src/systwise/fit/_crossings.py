"""Interval ends: where a profiled likelihood has risen by a given amount above its minimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

LEVELS = (0.5, 2.0)
"""Rises of the NLL: one and two standard deviations of one parameter."""
TOLERANCE = 1e-8
"""Accepted difference between the rise and its level."""

Curve = Callable[[Array], tuple[Array, Array]]
"""Values `[point, data]` of a parameter to profiled NLL and its derivative."""


class _Search(NamedTuple):
    at: Array
    inside: Array
    outside: Array
    known: Array
    done: Array
    absent: Array
    lowest: Array
    iteration: Array


def crossings(
    curve: Curve, centre: Array, minimum: Array, width: Array, low: Array, high: Array, levels: tuple[float, ...]
) -> tuple[Array, Array, Array]:
    """Find the first crossing of each level below and above the minimum.

    Newton's method on `sqrt(2 rise)`, which is nearly linear, inside a bracket that only shrinks. The
    derivative comes from the envelope theorem: `dq/dmu` is the partial derivative at the profiled point.

    Args:
        curve: the profiled NLL.
        centre: best-fit values, `[data]`.
        minimum: NLL there, `[data]`.
        width: a guess of one standard deviation, `[data]`.
        low: end of the parameter's range.
        high: the other end.
        levels: rises of the NLL.

    Returns:
        crossings `[2 * level, data]`, lower before upper for each level, NaN where there is none; whether
        one was found; and the lowest NLL seen on the way, `[data]`.
    """
    side = np.tile([-1.0, 1.0], len(levels))[:, None]
    level = np.repeat(levels, 2)[:, None]
    end = jnp.where(side < 0, low, high) + jnp.zeros_like(centre)[None]
    inside = jnp.broadcast_to(centre[None], end.shape)
    guess = centre[None] + side * jnp.sqrt(2 * level) * width[None]
    state = _Search(
        at=jnp.clip(guess, low, high),
        inside=inside,
        outside=end,
        known=jnp.zeros(end.shape, bool),
        # A minimum at the end of the range has no room beyond it.
        done=end == inside,
        absent=end == inside,
        lowest=jnp.broadcast_to(minimum[None], end.shape),
        iteration=jnp.zeros((), jnp.int32),
    )

    def body(s: _Search) -> _Search:
        value, slope = curve(s.at)
        rise = value - minimum
        below = rise < level
        inside = jnp.where(below, s.at, s.inside)
        outside = jnp.where(below, s.outside, s.at)
        known = s.known | ~below
        reached = jnp.abs(rise - level) < TOLERANCE
        absent = below & ~reached & (s.at == end)
        # A bracket of no length around an infinite rise: expected counts turn negative before the level is met.
        collapsed = known & (jnp.abs(outside - inside) <= 1e-13 * (1 + jnp.abs(inside)))
        root = jnp.sqrt(2 * jnp.maximum(rise, 1e-300))
        newton = s.at - (root - jnp.sqrt(2 * level)) * root / slope
        ahead = (newton - inside) * side > 0
        short = (outside - newton) * side > 0
        # Kinks (a minimum over a grid) make Newton creep along one side: bisect now and then.
        usable = jnp.isfinite(newton) & ahead & short & ((s.iteration % 6 != 5) | ~known)
        further = inside + side * jnp.maximum(jnp.abs(inside - centre), width)
        otherwise = jnp.where(known, 0.5 * (inside + outside), jnp.clip(further, low, high))
        following = jnp.where(usable, newton, otherwise)

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(s.done, old, new)

        return _Search(
            at=jnp.where(s.done | reached | absent, s.at, following),
            inside=keep(inside, s.inside),
            outside=keep(outside, s.outside),
            known=keep(known, s.known),
            done=s.done | reached | absent | collapsed,
            absent=s.absent | (~s.done & (absent | (collapsed & ~reached))),
            lowest=jnp.minimum(s.lowest, value),
            iteration=s.iteration + 1,
        )

    s = jax.lax.while_loop(lambda s: (s.iteration < 80) & ~jnp.all(s.done), body, state)
    found = s.done & ~s.absent
    return jnp.where(found, s.at, jnp.nan), found, jnp.min(s.lowest, axis=0)
