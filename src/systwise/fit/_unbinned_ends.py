"""Interval ends of an unbinned fit: the parameter of interest and the profile found in one Newton iteration.

A profile at every trial value would cost a minimisation each. Here every evaluation moves the other
parameters towards the profile and the parameter of interest towards its crossing at the same time.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.fit._crossings import Crossing, advance, begin
from systwise.fit._newton import solve_positive
from systwise.fit._unbinned_sums import Events, Extended, evaluate

TRUSTED = 0.02
"""Vertical distance to the profile below which its quadratic extrapolation is believed."""
CLOSE = 1e-7
"""Vertical distance at which a crossing is one of the profile."""
ITERATIONS = 60


class Walk(NamedTuple):
    """The state of the search: crossing, the other parameters, and whether they have settled, rows `[row, 1]`."""

    crossing: Crossing
    rest: list[Array]
    settled: Array
    iteration: Array


def find_ends(
    lik: Extended, events: Events, best: list[Array], lowest: Array, hessian: list[list[Array]], poi: int
) -> Walk:
    """Return both ends at rises of 0.5 and 2, then of 0.5 with nuisances fixed, as six rows `[row, 1]`.

    At a point off the profile, with gradient g and Hessian H by the other parameters, the profiled NLL is
    `NLL - g^T H^-1 g / 2` up to third order, and its slope `NLL_mu - H_mu^T H^-1 g`.
    """
    free = tuple(range(lik.parameters))
    others = [i for i in free if i != poi]
    side = jnp.asarray(np.tile([-1.0, 1.0], 3))[:, None]
    level = jnp.asarray(np.repeat([0.5, 2.0, 0.5], 2))[:, None]
    held_rows = jnp.asarray(np.arange(6) >= 4)[:, None]
    low, high = jnp.asarray(lik.low), jnp.asarray(lik.high)
    centre = best[poi]

    def profile(x: list[Array], gradient: list[Array], hessian: list[list[Array]]) -> tuple:
        """Return Newton step, vertical distance and slopes dy/dmu of the other parameters."""
        # With statistics only, the other parameters of interest still float.
        held = {}
        for i in others:
            pushed = ((x[i] <= low[i]) & (gradient[i] > 0)) | ((x[i] >= high[i]) & (gradient[i] < 0))
            held[i] = pushed | held_rows if i >= lik.pois else pushed
        block = [[jnp.where(held[i] | held[j], float(i == j), hessian[i][j]) for j in others] for i in others]
        step, distance, _ = solve_positive(block, [jnp.where(held[i], 0.0, gradient[i]) for i in others])
        turn, _, _ = solve_positive(block, [jnp.where(held[i], 0.0, hessian[i][poi]) for i in others])
        return step, distance, turn

    rows = (6, 1)
    wide = [jnp.broadcast_to(value, rows) for value in best]
    zero = [jnp.zeros(rows) for _ in free]
    wide_hessian = [[jnp.broadcast_to(h, rows) for h in row] for row in hessian]
    if others:
        _, _, turn = profile(wide, zero, wide_hessian)
        curvature = wide_hessian[poi][poi] + sum(
            (t * wide_hessian[i][poi] for t, i in zip(turn, others, strict=True)), jnp.zeros(rows)
        )
    else:
        turn, curvature = [], wide_hessian[poi][poi]
    longest = 0.25 * (high[poi] - low[poi])
    width = jnp.clip(1 / jnp.sqrt(jnp.abs(curvature) + 1e-300), 1e-9 * longest, longest)
    start = begin(centre, width, side, level, low[poi], high[poi])

    def along(at: Array) -> list[Array]:
        """Return the other parameters of a parabolic NLL at `at`."""
        return [jnp.clip(wide[i] + t * (at - centre), low[i], high[i]) for i, t in zip(others, turn, strict=True)]

    def body(s: Walk) -> Walk:
        x = list(wide)
        x[poi] = s.crossing.at
        for i, value in zip(others, s.rest, strict=True):
            x[i] = value
        value, gradient, curvatures = evaluate(lik, events, x, free)
        if others:
            step, distance, slopes = profile(x, gradient, curvatures)
            slope = gradient[poi] + sum((t * gradient[i] for t, i in zip(slopes, others, strict=True)), jnp.zeros(rows))
        else:
            step, distance, slopes, slope = [], jnp.zeros(rows), [], gradient[poi]
        forbidden = ~jnp.isfinite(value)
        distance = jnp.where(forbidden, 0.0, distance)
        rise = jnp.where(forbidden, jnp.inf, value - distance - lowest)
        moved = advance(s.crossing, rise, slope, centre, side, level, low[poi], high[poi], s.iteration)
        # Far from the profile nothing is concluded: the others move first.
        believed = distance < TRUSTED
        crossing = jax.tree.map(lambda new, old: jnp.where(believed, new, old), moved, s.crossing)
        close = distance < CLOSE
        finished = crossing.done & (close | s.settled | crossing.absent)
        crossing = crossing._replace(done=crossing.done & finished)
        rest = []
        for i, y, dy, t, parabola in zip(others, s.rest, step, slopes, along(crossing.at), strict=True):
            reach = 0.25 * (high[i] - low[i])
            new = y + jnp.clip(dy, -reach, reach) + t * (crossing.at - s.crossing.at)
            new = jnp.where(forbidden | ~jnp.isfinite(new), parabola, new)
            rest.append(jnp.where(s.crossing.done, y, jnp.clip(new, low[i], high[i])))
        return Walk(crossing, rest, finished, s.iteration + 1)

    first = Walk(start, along(start.at), start.done, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(lambda s: (s.iteration < ITERATIONS) & ~jnp.all(s.crossing.done), body, first)
