"""Ends of intervals: where the NLL profiled over everything else has risen by a given amount."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.fit._crossings import Crossing, advance, begin
from systwise.fit._descent import Bounds, descend
from systwise.fit._likelihood import Likelihood, Observed, evaluate
from systwise.fit._morph import Morph
from systwise.fit._newton import solve_positive
from systwise.fit._search import search
from systwise.fit._starts import Starts

LEVELS = (0.5, 2.0)
"""Rises of the NLL: one and two standard deviations of one parameter."""
ITERATIONS = 80


@dataclasses.dataclass(frozen=True)
class Rows:
    """The ends that are searched together.

    Attributes:
        sides: -1 or +1, one a row.
        levels: rise of the NLL, one a row.
        stat_only: rows in which the nuisances stay at their best-fit values.
    """

    sides: tuple[float, ...]
    levels: tuple[float, ...]
    stat_only: tuple[bool, ...]

    @staticmethod
    def of(levels: tuple[float, ...], stat_only: bool) -> Rows:
        """Return both sides of each level, and of the first with fixed nuisances where asked for."""
        every = [*levels, levels[0]] if stat_only and levels else list(levels)
        return Rows(
            sides=(-1.0, 1.0) * len(every),
            levels=tuple(float(np.float64(level)) for level in np.repeat(every, 2)),
            stat_only=tuple(row >= 2 * len(levels) for row in range(2 * len(every))),
        )

    def split(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ends `[4, data]` at up to two levels and `[2, data]` with fixed nuisances, NaN where not asked for."""
        fixed = np.array(self.stat_only, dtype=bool)
        full, stat = (np.full((rows, ends.shape[1]), np.nan) for rows in (4, 2))
        full[: np.sum(~fixed)] = ends[~fixed]
        stat[: np.sum(fixed)] = ends[fixed]
        return full, stat

    def united(self, ends: np.ndarray, other: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return ends that hold the intervals of both minima, `[row, data]`.

        Args:
            ends: around the minimum.
            other: around a second one.
            rise: NLL of the second above the first, `[data]`.
        """
        side = np.array(self.sides)[:, None]
        farther = np.where(side > 0, np.maximum(ends, other), np.minimum(ends, other))
        inside = (rise < np.array(self.levels)[:, None]) & ~np.array(self.stat_only)[:, None]
        return np.where(inside, farther, ends)


class _State(NamedTuple):
    crossing: Crossing
    x: list[Array]
    iteration: Array


@functools.partial(jax.jit, static_argnames=("poi", "rows"))
def find_ends(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Float[Array, "start poi"],
    low: Float[Array, "parameter data"],
    high: Float[Array, "parameter data"],
    centre: Float[Array, "parameter data"],
    reference: Float[Array, " data"],
    poi: int,
    rows: Rows,
) -> tuple[Array, Array]:
    """Return ends `[row, data]` (NaN where there is none) and the lowest rise met, `[data]`.

    Each trial value of the parameter of interest is profiled by Newton's method from the last one's
    nuisances, so an end belongs to the minimum it started from. Over a grid of nuisances the lowest is
    chosen; a moving observable, whose terms in n make minima that take turns, is searched anew each time.

    Args:
        lik: the likelihood.
        observed: the data.
        starts: the grid to choose from, where it is one.
        first: values of the parameters of interest to start from (grid).
        low: lower ends of the parameters' ranges.
        high: upper ends.
        centre: parameters at a minimum.
        reference: NLL of the lowest minimum, from which rises count.
        poi: number of the parameter of interest.
        rows: the ends wanted.
    """
    count = tuple(range(lik.parameters))
    side = jnp.asarray(rows.sides)[:, None]
    level = jnp.asarray(rows.levels)[:, None]
    statistical = jnp.asarray(rows.stat_only)[:, None]
    shape = (len(rows.sides), centre.shape[1])
    lowest, highest = low[poi][None], high[poi][None]
    start = [jnp.broadcast_to(centre[i][None], shape) for i in count]

    def bounds(at: Array) -> Bounds:
        ends = Bounds([], [])
        for i in count:
            value = at if i == poi else start[i]
            pinned = jnp.broadcast_to(jnp.asarray(True) if i == poi else statistical, shape)
            if lik.pois > i != poi:
                pinned = jnp.zeros(shape, bool)
            ends.low.append(jnp.where(pinned, value, low[i][None]))
            ends.high.append(jnp.where(pinned, value, high[i][None]))
        return ends

    def profiled(at: Array, x: list[Array]) -> tuple[Array, Array, list[Array]]:
        """Return NLL, its slope by the parameter of interest, and all parameters."""
        if starts.local and not isinstance(observed.counts, Morph):
            begun = [at if i == poi else x[i] for i in count]
            found = descend(lik, observed, starts, begun, count, bounds(at))
            return found.value, found.gradient[poi], [at if i == poi else found.x[i] for i in count]
        theta = [jnp.zeros((1, 1))] * lik.pois
        chosen = search(lik, observed, starts, first, theta, count, bounds(at), shape[0])
        return chosen.value, chosen.gradient[poi], chosen.x

    def body(s: _State) -> _State:
        value, slope, x = profiled(s.crossing.at, s.x)
        moved = advance(s.crossing, value - reference, slope, start[poi][:1], side, level, lowest, highest, s.iteration)
        return _State(moved, x, s.iteration + 1)

    point = [array[:1] for array in start]
    _, _, hessian = evaluate(lik, observed, point[: lik.pois], point[lik.pois :], count)
    crossing = begin(point[poi], _widths(hessian, poi, lowest, highest, statistical), side, level, lowest, highest)
    crossing = crossing._replace(done=crossing.done | ~jnp.isfinite(reference))
    begun = start
    if starts.local and not isinstance(observed.counts, Morph):
        # A search that glides along the profile ends nearly all; what it gives up is done with care.
        at, begun, ended = _glide(lik, observed, poi, side, level, reference, crossing, start, bounds)
        crossing = crossing._replace(done=crossing.done | ended, at=jnp.where(ended, at, crossing.at))
        begun = [jnp.where(ended, moved, old) for moved, old in zip(begun, start, strict=True)]
    s = jax.lax.while_loop(
        lambda s: (s.iteration < ITERATIONS) & ~jnp.all(s.crossing.done),
        body,
        _State(crossing, begun, jnp.zeros((), jnp.int32)),
    )
    crossing = s.crossing
    ends = jnp.where(crossing.done & ~crossing.absent, crossing.at, jnp.nan)
    return ends, jnp.min(crossing.lowest, axis=0)


class _Glide(NamedTuple):
    at: Array
    x: list[Array]
    ended: Array
    lost: Array
    iteration: Array


def _glide(
    lik: Likelihood,
    observed: Observed,
    poi: int,
    side: Array,
    level: Array,
    reference: Array,
    crossing: Crossing,
    start: list[Array],
    bounds: Callable[[Array], Bounds],
) -> tuple[Array, list[Array], Array]:
    """Return trial values, parameters and which rows ended, `[row, data]`.

    One evaluation a step serves both the minimum over the other parameters o and the crossing: with
    `d_o = -H_oo^-1 g_o` the profiled NLL is `NLL + g_o d_o / 2` and its slope `g_p + H_po d_o` to third order,
    and a change of the parameter of interest takes the others along by `-H_oo^-1 H_op`.
    """
    count = tuple(range(lik.parameters))
    others = [i for i in count if i != poi]
    ends = bounds(crossing.at)
    centre = start[poi]

    def body(s: _Glide) -> _Glide:
        x = [s.at if i == poi else s.x[i] for i in count]
        value, gradient, hessian = evaluate(lik, observed, x[: lik.pois], x[lik.pois :], count)
        held = [
            (ends.low[i] == ends.high[i])
            | ((x[i] <= ends.low[i]) & (gradient[i] > 0))
            | ((x[i] >= ends.high[i]) & (gradient[i] < 0))
            for i in others
        ]
        free = range(len(others))
        slopes = [jnp.where(held[a], 0.0, gradient[others[a]]) for a in free]
        block = [
            [jnp.where(held[a] | held[b], float(a == b), hessian[others[a]][others[b]]) for b in free] for a in free
        ]
        rise, slope = value - reference, gradient[poi]
        steps, distance, positive = slopes, jnp.zeros_like(value), jnp.isfinite(value)
        along = slopes
        if others:
            steps, distance, positive = solve_positive(block, slopes)
            mixed = [jnp.where(held[a], 0.0, hessian[poi][others[a]]) for a in free]
            along, _, _ = solve_positive(block, mixed)
            rise = rise - distance
            slope = slope + sum(m * d for m, d in zip(mixed, steps, strict=True))
        settled = positive & (distance < 0.05)
        root = jnp.sqrt(2 * jnp.maximum(rise, 1e-300))
        target = s.at - (root - jnp.sqrt(2 * level)) * root / slope
        usable = (slope * side > 0) & ((target - centre) * side > 0) & (rise > 0) & jnp.isfinite(target)
        reached = settled & usable & (jnp.abs(rise - level) < 1e-7) & (distance < 1e-8)
        lost = s.lost | ~jnp.isfinite(value) | (settled & ~usable) | (s.iteration > 4) & ~settled
        following = jnp.where(settled & usable, target, s.at)
        lost = lost | (following < ends_low) | (following > ends_high)
        moved = list(s.x)
        for a, i in enumerate(others):
            moved[i] = jnp.clip(x[i] + steps[a] + along[a] * (following - s.at), ends.low[i], ends.high[i])
        stop = s.ended | s.lost
        return _Glide(
            at=jnp.where(stop, s.at, following),
            x=[jnp.where(stop, old, new) for old, new in zip(s.x, moved, strict=True)],
            ended=s.ended | (reached & ~lost),
            lost=lost & ~s.ended,
            iteration=s.iteration + 1,
        )

    ends_low, ends_high = lik.low[poi], lik.high[poi]
    no = jnp.zeros(centre.shape, bool)
    s = jax.lax.while_loop(
        lambda s: (s.iteration < 12) & ~jnp.all(s.ended | s.lost),
        body,
        _Glide(crossing.at, list(start), no, crossing.done, jnp.zeros((), jnp.int32)),
    )
    return s.at, s.x, s.ended & ~crossing.done


def _widths(hessian: list[list[Array]], poi: int, low: Array, high: Array, statistical: Array) -> Array:
    """Return a first guess of the parameter's width in each row, `[row, data]`, from the Hessian."""
    size = len(hessian)
    unit = [jnp.full_like(hessian[0][0], -1.0 if i == poi else 0.0) for i in range(size)]
    profiled = solve_positive(hessian, unit)[0][poi]
    fixed = 1 / (jnp.abs(hessian[poi][poi]) + 1e-300)
    longest = 0.25 * (high - low)
    return jnp.clip(jnp.sqrt(jnp.abs(jnp.where(statistical, fixed, profiled))), 1e-9 * longest, longest)
