"""Interval ends: where a profiled likelihood has risen by a given amount above its minimum.

Newton's method on `sqrt(2 rise)`, which is nearly linear, inside a bracket that only shrinks. The
derivative comes from the envelope theorem: `dq/dmu` is the partial derivative at the profiled point.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

TOLERANCE = 1e-8
"""Accepted difference between the rise and its level."""


class Crossing(NamedTuple):
    """The state of a root search, scalars.

    Attributes:
        at: the value to evaluate next; once done and not absent, the crossing.
        inside: largest distance from the minimum at which the rise is below its level.
        outside: smallest at which it is above, or the end of the range.
        known: `outside` was evaluated.
        done: nothing is left to do.
        absent: the level is not reached within the range, or expected counts turn negative before.
        lowest: lowest rise seen; negative where the fit had missed a lower minimum.
    """

    at: Array
    inside: Array
    outside: Array
    known: Array
    done: Array
    absent: Array
    lowest: Array


def begin(centre: Array, width: Array, side: Array, level: Array, low: Array, high: Array) -> Crossing:
    """Return a search that starts at the crossings of a parabola.

    Args:
        centre: best-fit value.
        width: a guess of one standard deviation.
        side: -1 or +1.
        level: rise of the NLL.
        low: end of the parameter's range.
        high: the other end.
    """
    end = jnp.where(side < 0, low, high) + jnp.zeros_like(width)
    centre = jnp.broadcast_to(centre, end.shape)
    # A minimum at the end of the range has no room beyond it.
    nothing = end == centre
    return Crossing(
        at=jnp.clip(centre + side * jnp.sqrt(2 * level) * width, low, high),
        inside=centre,
        outside=end,
        known=jnp.zeros(end.shape, bool),
        done=nothing,
        absent=nothing,
        lowest=jnp.zeros(end.shape),
    )


def advance(
    s: Crossing,
    rise: Array,
    slope: Array,
    centre: Array,
    side: Array,
    level: Array,
    low: Array,
    high: Array,
    iteration: Array,
    certain: Array,
) -> Crossing:
    """Return the search after the NLL's `rise` and `slope` at `s.at` are known.

    Args:
        s: the search.
        rise: profiled NLL above the minimum; infinite where counts turn negative.
        slope: its derivative.
        centre: best-fit value.
        side: -1 or +1.
        level: rise of the NLL.
        low: end of the parameter's range.
        high: the other end.
        iteration: number of this evaluation.
        certain: the rise is known well enough to tell on which side of the level it is.
    """
    end = jnp.where(side < 0, low, high)
    below = rise < level
    inside = jnp.where(below & certain, s.at, s.inside)
    outside = jnp.where(~below & certain, s.at, s.outside)
    known = s.known | (~below & certain)
    reached = jnp.abs(rise - level) < TOLERANCE
    absent = below & ~reached & (s.at == end)
    # A bracket of no length around a jump to infinity: counts turn negative before the level is met.
    collapsed = known & ~reached & (jnp.abs(outside - inside) <= 1e-13 * (1 + jnp.abs(inside)))
    root = jnp.sqrt(2 * jnp.maximum(rise, 1e-300))
    newton = s.at - (root - jnp.sqrt(2 * level)) * root / slope
    within = ((newton - inside) * side > 0) & ((outside - newton) * side > 0)
    # Kinks (a minimum over a grid) make Newton creep along one side: bisect now and then.
    usable = jnp.isfinite(newton) & within & ((iteration % 6 != 5) | ~known)
    doubled = jnp.clip(centre + 2 * (s.at - centre), low, high)
    following = jnp.where(usable, newton, jnp.where(known, 0.5 * (inside + outside), doubled))
    done = s.done | reached | absent | collapsed

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(s.done, old, new)

    return Crossing(
        at=jnp.where(done, s.at, following),
        inside=keep(inside, s.inside),
        outside=keep(outside, s.outside),
        known=keep(known, s.known),
        done=done,
        absent=keep(absent | collapsed, s.absent),
        lowest=jnp.minimum(s.lowest, keep(rise, s.lowest)),
    )
