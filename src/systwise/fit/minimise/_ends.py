"""Ends of intervals: where the NLL profiled over everything else has risen by a given amount."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.fit.likelihood import Likelihood, Observed, Terms
from systwise.fit.minimise._crossings import Crossing, advance, begin
from systwise.fit.minimise._solve import held, solve, without

TRUSTED = 0.02
"""Vertical distance to the profile below which its quadratic extrapolation is believed."""
CLOSE = 1e-8
"""Vertical distance at which a crossing is one of the profile."""
ITERATIONS = 240
KICK = 1e-3
"""Displacement from a saddle, in Newton's longest steps: what is symmetric stays on it otherwise."""
PATIENCE = 40
"""Evaluations at one value of the parameter of interest after which the point reached counts as the profile."""


class End(NamedTuple):
    """The end found.

    Attributes:
        at: the parameter of interest there, NaN where the level is not reached.
        x: all parameters there.
        lowest: lowest rise met, negative where the fit had missed a lower minimum.
    """

    at: Array
    x: Array
    lowest: Array


class _State(NamedTuple):
    crossing: Crossing
    x: Array
    terms: Terms
    step: Array
    scale: Array
    fresh: Array
    good: Array
    plain: Array
    kicked: Array
    patience: Array
    iteration: Array


def find_end(
    lik: Likelihood,
    observed: Observed,
    poi: Array,
    side: Array,
    level: Array,
    low: Float[Array, " parameter"],
    high: Float[Array, " parameter"],
    centre: Float[Array, " parameter"],
    hessian: Float[Array, "parameter parameter"],
    reference: Array,
) -> End:
    """Return one end of an interval.

    The parameter of interest and the profile are found in one Newton iteration. At a point off the profile, with
    gradient g and Hessian H by the other parameters, the profiled NLL is `NLL - g^T H^-1 g / 2` up to third order
    and its slope `NLL_mu - H_mu^T H^-1 g`; a change of the parameter of interest takes the others along by
    `-H^-1 H_mu`. Far from the profile nothing is concluded: the others move first, at steps that are shortened
    until the NLL falls.

    Args:
        lik: the likelihood.
        observed: one data set.
        poi: number of the parameter of interest.
        side: -1 or +1.
        level: rise of the NLL.
        low: lower ends of the parameters' ranges; equal ends fix a parameter.
        high: upper ends.
        centre: parameters at a minimum.
        hessian: Hessian there.
        reference: NLL of the lowest minimum, from which rises count.
    """
    size = lik.parameters
    own = jnp.arange(size) == poi
    lowest, highest = low[poi], high[poi]
    middle = centre[poi]

    def profile(x: Array, terms: Terms) -> tuple[Array, Array, Array, Array, Array]:
        """Return the others' step and slopes dx/dmu, distance and positivity, and the profiled slope."""
        fixed = own | held(x, terms.gradient, low, high)
        mixed = jnp.where(fixed, 0.0, terms.hessian[poi])
        sides = jnp.stack([jnp.where(fixed, 0.0, terms.gradient), mixed])
        found = solve(without(terms.hessian, fixed), sides)
        slope = terms.gradient[poi] + mixed @ found.steps[0]
        return found.steps[0], found.steps[1], found.distance, found.positive, slope

    at_minimum = Terms(reference, jnp.zeros_like(centre), hessian)
    _, turn, _, _, _ = profile(centre, at_minimum)
    curvature = hessian[poi, poi] + jnp.where(own, 0.0, hessian[poi]) @ turn
    longest = 0.25 * (highest - lowest)
    width = jnp.clip(1 / jnp.sqrt(jnp.abs(curvature) + 1e-300), 1e-9 * longest, longest)
    crossing = begin(middle, width, side, level, lowest, highest)
    crossing = crossing._replace(done=crossing.done | ~jnp.isfinite(reference))

    def moved(x: Array, along: Array, change: Array, at: Array) -> Array:
        return jnp.where(own, at, jnp.clip(x + along * change, low, high))

    first = moved(centre, turn, crossing.at - middle, crossing.at)
    state = _State(
        crossing=crossing,
        x=first,
        terms=Terms(jnp.asarray(jnp.inf, centre.dtype), jnp.zeros_like(centre), hessian),
        step=jnp.zeros_like(centre),
        scale=jnp.ones((), centre.dtype),
        fresh=jnp.asarray(True),
        good=centre,
        plain=jnp.asarray(False),
        kicked=jnp.asarray(False),
        patience=jnp.zeros((), jnp.int32),
        iteration=jnp.zeros((), jnp.int32),
    )

    def body(s: _State) -> _State:
        trial = jnp.where(own, s.x, jnp.clip(s.x + jnp.clip(s.scale * s.step, -lik.reach, lik.reach), low, high))
        seen = lik.terms(observed, trial)
        finite = jnp.isfinite(seen.value)
        better = finite & (s.fresh | (seen.value <= s.terms.value + 1e-14 * jnp.abs(seen.value)))
        x = jnp.where(better, trial, s.x)
        terms = jax.tree.map(lambda new, old: jnp.where(better, new, old), seen, s.terms)
        step, along, distance, positive, slope = profile(x, terms)
        scale = jnp.where(better, jnp.minimum(1.0, 4 * s.scale), 0.25 * s.scale)
        patience = s.patience + 1
        stuck = (scale < 1e-9) | (patience > PATIENCE)
        # Where counts turn negative, the others are tried once more where they last were allowed.
        failed = s.fresh & ~finite
        retry = failed & ~s.plain
        forbidden = failed & s.plain
        trusted = positive & (distance < TRUSTED)
        believed = forbidden | trusted | stuck
        rise = jnp.where(forbidden, jnp.inf, terms.value - jnp.where(trusted, distance, 0.0) - reference)
        certain = ~trusted | (distance < CLOSE) | (jnp.abs(rise - level) > distance)
        following = advance(s.crossing, rise, slope, middle, side, level, lowest, highest, s.iteration, certain)
        # A crossing counts once the others have settled at it.
        pending = following.done & ~following.absent & ~stuck & (distance > CLOSE)
        go = believed & ~pending & ~retry
        crossing = jax.tree.map(lambda new, old: jnp.where(go, new, old), following, s.crossing)
        change = crossing.at - s.crossing.at
        fresh = go & (change != 0)
        good = jnp.where(better, x, s.good)
        stay = jnp.where(own, crossing.at, good)
        ahead = moved(jnp.where(own, x, jnp.clip(x + step, low, high)), along, change, crossing.at)
        back = failed | ~jnp.all(jnp.isfinite(ahead))
        ahead = jnp.where(back, stay, ahead)
        fresh = fresh | retry
        saddle = better & ~positive & (distance < TRUSTED) & ~s.kicked & ~believed
        beside = jnp.where(own, x, jnp.clip(x + KICK * lik.reach, low, high))
        ahead = jnp.where(saddle, beside, ahead)
        return _State(
            crossing=crossing,
            x=jnp.where(fresh | saddle, ahead, x),
            terms=terms,
            step=jnp.where(fresh | saddle, 0.0, step),
            scale=jnp.where(fresh | saddle, 1.0, scale),
            fresh=fresh | saddle,
            good=good,
            plain=retry | (fresh & back),
            kicked=saddle | (s.kicked & ~fresh),
            patience=jnp.where(fresh, 0, patience),
            iteration=s.iteration + 1,
        )

    s = jax.lax.while_loop(lambda s: (s.iteration < ITERATIONS) & ~s.crossing.done, body, state)
    found = s.crossing.done & ~s.crossing.absent
    return End(jnp.where(found, s.crossing.at, jnp.nan), s.x, s.crossing.lowest)
