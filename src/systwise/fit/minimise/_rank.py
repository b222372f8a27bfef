"""Which starts to minimise from: their NLL with the parameters of interest at their best, and its local minima."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from systwise.fit.likelihood import BinnedData, Bins, Likelihood, Observed, monomials
from systwise.fit.minimise._newton import Minimum, minimise
from systwise.fit.minimise._solve import solve, without
from systwise.fit.minimise._starts import Starts

OFFSET = 0.001
"""Displacement of every start, in Newton's longest step, so that none sits exactly on a saddle."""
MOST = 0.8
"""Largest relative fall of an expected count in one step of the parameters of interest."""
REPEATED = -0.04
"""Displacement of a minimum's second start, in steps of the grid."""


class Ranking(NamedTuple):
    """Candidates for the lowest minimum.

    Attributes:
        x: parameters, `[candidate, parameter]`, the most promising first.
        present: whether the candidate is one, `[candidate]`.
        lowest: lowest NLL of all starts.
    """

    x: Float[Array, "candidate parameter"]
    present: Bool[Array, " candidate"]
    lowest: Array


class _Ranked(NamedTuple):
    theta: Array
    value: Array
    predicted: Array


def rank(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Float[Array, "start poi"],
    ends: tuple[Float[Array, " poi"], Float[Array, " poi"]],
    span: tuple[Float[Array, " nuisance"], Float[Array, " nuisance"]],
    candidates: int,
    rounds: int,
) -> Ranking:
    """Return the most promising starts of one data set; all regions are binned.

    With the templates of every start at hand, the parameters of interest follow by Newton steps that only need sums
    over bins: matrix products, shared by all data sets of a stack as long as they start from the same values.

    Args:
        lik: the likelihood.
        observed: one data set.
        starts: nuisance values.
        first: values of the parameters of interest to start from.
        ends: lower and upper ends of the parameters of interest; equal ends fix one.
        span: lower and upper ends of the nuisances.
        candidates: how many to return at most.
        rounds: Newton steps in the parameters of interest.
    """
    z = jnp.where(span[0] == span[1], span[0], jnp.clip(jnp.asarray(starts.points), *span))
    bins = [
        (region, data)
        for region, data in zip(lik.regions, observed.regions, strict=True)
        if isinstance(region, Bins) and isinstance(data, BinnedData)
    ]
    templates = [_templates(region, starts, z) for region, _ in bins]
    counts = [_counts(region, data, z) for region, data in bins]
    outside = jax.vmap(lambda row: lik.constraints.terms(row, observed.auxiliary)[0])(z)
    for (region, data), n in zip(bins, counts, strict=True):
        if data.moving is not None:
            outside = outside + jax.vmap(region.count_terms)(n)
    regions = [region for region, _ in bins]

    def outcome(theta: Array) -> _Ranked:
        return _best_theta(regions, templates, counts, jnp.clip(theta, *ends)[None], *ends, rounds)

    # One after the other, compiled once: couplings that enter as products start from dozens of values.
    outcomes = jax.lax.map(outcome, jnp.asarray(first))
    index = jnp.argmin(outcomes.predicted, axis=0)
    best = jax.tree.map(
        lambda array: jnp.take_along_axis(array, index.reshape(1, -1, *[1] * (array.ndim - 2)), axis=0)[0], outcomes
    )
    valid = jnp.asarray(starts.valid)
    value = jnp.where(valid, best.value + outside, jnp.inf)
    predicted = jnp.where(valid, best.predicted + outside, jnp.inf)
    low, high = (jnp.concatenate(pair) for pair in zip(ends, span, strict=True))
    found = _candidates(lik, starts, z, best.theta, value, predicted, low, high, candidates)
    return found._replace(lowest=jnp.where(_drawn(observed), jnp.inf, found.lowest))


def _counts(region: Bins, data: BinnedData, z: Array) -> Array:
    """Return the data's counts, `[start, row]` where they move, else `[row]`."""
    if data.moving is None:
        return jnp.asarray(data.counts)
    return jax.vmap(lambda row: region.counts(data, row))(z)


def _templates(region: Bins, starts: Starts, z: Array) -> Array:
    """Return the contents at every start, `[start, component, row]`."""
    if not starts.lined:
        return jax.vmap(region.templates)(z)
    crowd = z.shape[0] - starts.crowd
    lines = z[1:crowd].reshape(*starts.lines.shape, z.shape[1])
    own = jnp.diagonal(lines, axis1=1, axis2=2)
    along = region.along_lines(z[0], own)
    along = along.reshape(-1, *along.shape[2:])
    together = jax.lax.map(region.templates, z[crowd:])
    return jnp.concatenate([region.templates(z[0])[None], along, together])


def _best_theta(
    regions: list[Bins],
    templates: list[Array],
    counts: list[Array],
    theta: Array,
    low: Array,
    high: Array,
    rounds: int,
) -> _Ranked:
    """Return parameters of interest, NLL of the bins, and the NLL predicted after the last step, at every start."""

    def step(theta: Array) -> _Ranked:
        value, gradient, hessian, relative = _by_theta(regions, templates, counts, theta)
        fixed = (low == high) | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))

        def newton(g: Array, h: Array, f: Array) -> Array:
            return solve(without(h, f), jnp.where(f, 0.0, g)[None]).steps[0]

        step = jax.vmap(newton)(gradient, hessian, jnp.broadcast_to(fixed, gradient.shape))
        # No expected count falls by more than most of itself: the parabola knows nothing of zero.
        fall = jnp.stack([jnp.min(jnp.einsum("sp,spr->sr", step, r), axis=1) for r in relative]).min(axis=0)
        step = step * jnp.minimum(1.0, MOST / jnp.maximum(-fall, 1e-300))[:, None]
        moved = jnp.clip(theta + step, low, high)
        change = moved - theta
        gain = jnp.sum(gradient * change, axis=1) + 0.5 * jnp.einsum("sp,spq,sq->s", change, hessian, change)
        usable = jnp.isfinite(gain) & (gain < 0)
        return _Ranked(jnp.where(usable[:, None], moved, theta), value, value + jnp.where(usable, gain, 0.0))

    # The first step starts from one value everywhere, so that a stack of data sets shares its products.
    return jax.lax.fori_loop(1, rounds, lambda _, at: step(at.theta), step(theta))


def _by_theta(
    regions: list[Bins], templates: list[Array], counts: list[Array], theta: Array
) -> tuple[Array, Array, Array, list[Array]]:
    """Return NLL `[start]` of the bins with gradient and Hessian by the parameters of interest, and `dnu / nu`."""
    changes = []
    value: Array = jnp.zeros(1)
    gradient: Array = jnp.zeros((1, theta.shape[1]))
    hessian: Array = jnp.zeros((1, theta.shape[1], theta.shape[1]))
    for region, table, n in zip(regions, templates, counts, strict=True):
        c, c_first, c_second = jax.vmap(lambda t, powers=region.powers: monomials(powers, t))(theta)  # type: ignore[misc]
        nu = jnp.sum(c[:, :, None] * table, axis=1)
        slopes = jnp.sum(c_first[..., None] * table[:, None], axis=2)
        real = jnp.asarray(region.real)
        possible = jnp.all((nu > 0) | ~real, axis=1)
        safe = jnp.where(real & (nu > 0), nu, 1.0)
        relative = slopes / safe[:, None]
        changes.append(jnp.broadcast_to(relative, (table.shape[0], *relative.shape[1:])))

        def over(array: Array, n: Array = n) -> Array:
            """Return the sum over rows times the counts."""
            if n.ndim == 1:
                return array @ n
            return jnp.sum(array * n.reshape(n.shape[0], *[1] * (array.ndim - 2), n.shape[1]), axis=-1)

        own = jnp.sum(jnp.where(real, nu, 0.0), axis=1) - over(jnp.log(safe))
        value = value + jnp.where(possible, own, jnp.inf)
        gradient = gradient + jnp.sum(slopes, axis=2) - over(relative)
        hessian = hessian + over(relative[:, :, None] * relative[:, None])
        if any(sum(row) > 1 for row in region.powers):
            pull = jnp.sum(table, axis=2) - over(table / safe[:, None])
            hessian = hessian + jnp.sum(c_second * pull[:, None, None], axis=3)
    return value, gradient, hessian, changes


def _candidates(
    lik: Likelihood,
    starts: Starts,
    z: Array,
    theta: Array,
    value: Array,
    predicted: Array,
    low: Array,
    high: Array,
    candidates: int,
) -> Ranking:
    """Return the local minima among the starts, each refined by a parabola along its axes, the lowest first.

    Minima are ranked by the parabola's vertex: next to a narrow valley the lowest grid point need not belong to the
    lowest minimum.
    """
    count = z.shape[0]
    axes, left, right = (jnp.asarray(a) for a in (starts.axes, starts.left, starts.right))
    each = jnp.arange(count)[:, None]
    step = jnp.asarray(lik.reach)[lik.pois :]
    shift, fall, lowest = _vertices(z, predicted, each, axes, left, right)
    score = jnp.where(lowest & jnp.isfinite(predicted), predicted - fall, jnp.inf)
    moved = z + OFFSET * step
    if axes.shape[1]:
        moved = moved.at[each, jnp.maximum(axes, 0)].add(shift)
    places, present = [], []
    remaining = score
    for _ in range(candidates):
        index = jnp.argmin(remaining)
        places.append(index)
        present.append(jnp.isfinite(remaining[index]))
        remaining = remaining.at[index].set(jnp.inf)
    chosen = jnp.stack(places)
    x = jnp.concatenate([jnp.broadcast_to(theta, (count, lik.pois))[chosen], moved[chosen]], axis=1)
    # The first is tried even where nothing is finite, so that every problem has a result.
    here = jnp.stack(present).at[0].set(True)
    if not starts.lined and axes.shape[1] == 1 and candidates > 1:
        # Two minima closer than a step of the grid look like one: it is used again from its other side.
        again = x[0].at[lik.pois + axes[chosen[0], 0]].add(REPEATED * step[axes[chosen[0], 0]])
        x = x.at[1].set(jnp.where(here[1], x[1], again))
        here = here.at[1].set(True)
    if starts.lined:
        # The nominal point itself: where minima are many it is the most plausible of them.
        x = x.at[-1].set(jnp.concatenate([jnp.broadcast_to(theta, (count, lik.pois))[0], moved[0]]))
        here = here.at[-1].set(jnp.isfinite(value[0]))
    return Ranking(jnp.clip(x, low, high), here, jnp.min(value))


def _drawn(observed: Observed) -> Array:
    """Return whether something else than 1 is known of a simulation factor.

    Starts are ranked with exact templates, whose NLL need not lie above one with drawn centres.
    """
    known = [data.known for data in observed.regions if isinstance(data, BinnedData) and data.known is not None]
    return jnp.any(jnp.stack([jnp.any(k != 1) for k in known])) if known else jnp.asarray(False)


def _vertices(
    z: Array, values: Array, each: Array, axes: Array, left: Array, right: Array
) -> tuple[Array, Array, Array]:
    """Return shift along each axis `[start, axis]`, the sum of falls, and whether no neighbour lies below `[start]`."""
    place = jnp.maximum(axes, 0)
    here = values[:, None]
    below = jnp.where(left >= 0, values[jnp.maximum(left, 0)], jnp.inf)
    above = jnp.where(right >= 0, values[jnp.maximum(right, 0)], jnp.inf)
    lowest = jnp.all((here <= below) & (here <= above), axis=1)
    before = z[each, place] - z[jnp.maximum(left, 0), place]
    after = z[jnp.maximum(right, 0), place] - z[each, place]
    between = (left >= 0) & (right >= 0) & (before > 0) & (after > 0)
    before, after = jnp.where(between, before, 1.0), jnp.where(between, after, 1.0)
    back, ahead = (here - below) / before, (above - here) / after
    slope = (back * after + ahead * before) / (before + after)
    curvature = 2 * (ahead - back) / (before + after)
    usable = between & (curvature > 0) & jnp.isfinite(curvature) & jnp.isfinite(slope)
    curvature, slope = jnp.where(usable, curvature, 1.0), jnp.where(usable, slope, 0.0)
    near = 0.6 * jnp.minimum(before, after)
    return jnp.clip(-slope / curvature, -near, near), jnp.sum(0.5 * slope**2 / curvature, axis=1), lowest


def descend_sample(
    lik: Likelihood,
    sample: Observed,
    start: Float[Array, " parameter"],
    low: Float[Array, " parameter"],
    high: Float[Array, " parameter"],
) -> Minimum:
    """Return a rough minimum on a part of the events, from one start."""
    return minimise(lambda x: lik.terms(sample, x), start, low, high, jnp.asarray(lik.reach), 0.1, 12)
