"""The lowest minimum over all parameters of many data sets, and the ends of its intervals."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float64

from systwise.fit.likelihood import Bins, Likelihood, Observed, monomials
from systwise.fit.minimise._batches import LARGEST, Sets, batch_size, mapped, run
from systwise.fit.minimise._ends import find_end
from systwise.fit.minimise._newton import Minimum
from systwise.fit.minimise._polish import Polished, Problems, elements, polish
from systwise.fit.minimise._rank import Ranking, descend_sample, rank
from systwise.fit.minimise._starts import Starts

STACKED, SINGLE, MANY = 2, 4, 6
"""Local minima polished for a data set of a stack, for a single one, and for one with many nuisances."""
ROUNDS = 6
"""Newton steps in the parameters of interest at every start of a single data set."""
WALKS = 5
"""Times that a fit starts again where a walk along the axes met something lower."""
NEAR = 0.02
"""Two rough minima closer than this fraction of the range in every parameter are one."""


class Found(NamedTuple):
    """The lowest minimum of each problem, every array with a leading axis of problems.

    Attributes:
        x: all parameters.
        value: NLL there without `constant`.
        gradient: by all parameters.
        hessian: by all parameters.
        distance: estimated vertical distance to the minimum.
        positive: Hessian by the free parameters positive definite.
        done: Newton's method ended at a minimum.
        constant: terms in fixed counts alone.
        smallest: smallest expected count, or smallest share of an event's density.
        lowest: no start and no point met on the way lies below.
        second_x: parameters of the other candidate.
        second_value: its NLL, infinite where there is none.
    """

    x: Float64[np.ndarray, "problem parameter"]
    value: Float64[np.ndarray, " problem"]
    gradient: Float64[np.ndarray, "problem parameter"]
    hessian: Float64[np.ndarray, "problem parameter parameter"]
    distance: Float64[np.ndarray, " problem"]
    positive: Bool[np.ndarray, " problem"]
    done: Bool[np.ndarray, " problem"]
    constant: Float64[np.ndarray, " problem"]
    smallest: Float64[np.ndarray, " problem"]
    lowest: Bool[np.ndarray, " problem"]
    second_x: Float64[np.ndarray, "problem parameter"]
    second_value: Float64[np.ndarray, " problem"]


def find_minima(
    lik: Likelihood, sets: Sets, sample: Sets | None, problems: Problems, starts: Starts, first: np.ndarray
) -> Found:
    """Return the lowest minimum of each problem.

    Args:
        lik: the likelihood.
        sets: data sets.
        sample: of unbinned data the part on which all starts descend.
        problems: what to minimise.
        starts: nuisance values to start from.
        first: values of the parameters of interest to start from.
    """
    count = len(problems.owners)
    single = sets.count == 1 and count <= LARGEST // 2
    if lik.binned:
        candidates = (MANY if starts.lined else SINGLE) if single else STACKED
        pinned = bool(np.all(problems.low[:, : lik.pois] == problems.high[:, : lik.pois]))
        ranking = _ranked(lik, sets, problems, starts, first, candidates, ROUNDS if single and not pinned else 1)
    else:
        ranking = _descended(lik, sets if sample is None else sample, problems, starts, first)
    owners, places = np.nonzero(ranking.present)
    own = Problems(problems.owners[owners], problems.low[owners], problems.high[owners])
    ended: Any = polish(lik, sets, own, np.asarray(ranking.x)[owners, places])
    value = np.full(ranking.present.shape, np.inf)
    value[owners, places] = np.where(np.isnan(ended.minimum.value), np.inf, ended.minimum.value)
    index = np.full(ranking.present.shape, -1)
    index[owners, places] = np.arange(len(owners))
    order = np.argsort(value, axis=1, kind="stable")
    each = np.arange(count)
    best = np.maximum(index[each, order[:, 0]], 0)
    found: Any = jax.tree.map(lambda array: array[best], ended)
    minimum: Any = found.minimum
    x = np.where(np.isfinite(minimum.value)[:, None], minimum.x, np.asarray(ranking.x)[:, 0])
    second_x, second_value = _second(value, index, order, ended.minimum.x, x, lik)
    lowest_start = np.asarray(ranking.lowest)
    # The level of rounding: NLLs of 10^6 carry 10^-9.
    lowest = minimum.value <= lowest_start + 1e-8 + 1e-13 * np.abs(minimum.value)
    result = Found(
        x,
        minimum.value,
        minimum.gradient,
        minimum.hessian,
        minimum.distance,
        minimum.positive,
        minimum.done & np.isfinite(minimum.value),
        found.constant,
        found.smallest,
        lowest,
        second_x,
        second_value,
    )
    return _walked(lik, sets, problems, starts, result) if single and lik.binned else result


def _second(
    value: np.ndarray, index: np.ndarray, order: np.ndarray, ends: np.ndarray, best: np.ndarray, lik: Likelihood
) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and NLL of the lowest candidate that is not the minimum itself."""
    span = np.asarray(lik.high) - np.asarray(lik.low)
    second_x, second_value = np.full(best.shape, np.nan), np.full(len(best), np.inf)
    for place in range(1, value.shape[1]):
        number = index[np.arange(len(best)), order[:, place]]
        here = value[np.arange(len(best)), order[:, place]]
        x = ends[np.maximum(number, 0)]
        distinct = np.any(np.abs(x - best)[:, lik.pois :] > 1e-4 * span[lik.pois :], axis=1)
        take = ~np.isfinite(second_value) & distinct & (number >= 0) & np.isfinite(here)
        second_x[take], second_value[take] = x[take], here[take]
    return second_x, second_value


def _ranked(
    lik: Likelihood,
    sets: Sets,
    problems: Problems,
    starts: Starts,
    first: np.ndarray,
    candidates: int,
    rounds: int,
) -> Ranking:
    """Return the candidates of every problem; problems with the same ends share the work on the templates."""
    function = mapped(_rank, sets.shared, (("candidates", candidates), ("rounds", rounds)), 4)
    pois, count = lik.pois, len(problems.owners)
    ends = problems.low[:, pois:], problems.high[:, pois:], problems.low[:, :pois], problems.high[:, :pois]
    unique, group = np.unique(np.concatenate(ends, axis=1), axis=0, return_inverse=True)
    if len(unique) * 4 <= max(count, 4) or count == 1:
        parts, places = [], []
        for number in range(len(unique)):
            members = np.flatnonzero(group.ravel() == number)
            some = functools.partial(function, lik, starts, first, tuple(end[members[0]] for end in ends))
            # By the number of all: a profile of many data sets is a few hundred calls otherwise.
            batch = 1 if starts.lined or len(members) == 1 else batch_size(count, elements(lik))
            parts.append(run(some, sets, problems.owners[members], (), batch))
            places.append(members)
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        back = np.argsort(np.concatenate(places))
        return jax.tree.map(lambda array: array[back], joined)
    # In a profile only the parameter of interest differs, and the templates of all starts are made once.
    shared = 2 if all(np.all(end == end[0]) for end in ends[:2]) else 0
    some = functools.partial(function, lik, starts, first, tuple(end[0] for end in ends[:shared]))
    return run(some, sets, problems.owners, ends[shared:], 1 if starts.lined else batch_size(count, 0))


def _rank(
    lik: Likelihood,
    starts: Starts,
    first: Array,
    shared: tuple[Array, ...],
    observed: Observed,
    *own: Array,
    candidates: int,
    rounds: int,
) -> Ranking:
    """Rank the starts of one problem; the nuisances' ends, then those of the rest, are `shared` or its `own`."""
    z_low, z_high, low, high = (*shared, *own)
    return rank(lik, observed, starts, first, (low, high), (z_low, z_high), candidates, rounds)


def _descended(lik: Likelihood, sample: Sets, problems: Problems, starts: Starts, first: np.ndarray) -> Ranking:
    """Return the best distinct minima of a part of the events.

    Where parameters of interest start from several values, each point of the nuisances begins with the best of them.
    """
    points = np.asarray(starts.points)[np.asarray(starts.valid)]
    grid = np.concatenate([np.repeat(np.asarray(first), len(points), axis=0), np.tile(points, (len(first), 1))], axis=1)
    step = np.asarray(lik.reach).copy()
    step[: lik.pois] = 0
    grid = grid + 1e-3 * step
    count, size = problems.low.shape
    begin = np.clip(grid[None], problems.low[:, None], problems.high[:, None])
    if len(first) > 1:
        at = functools.partial(mapped(_sample_value, sample.shared, (), 1), lik)
        owners = np.repeat(problems.owners, len(grid))
        value = run(at, sample, owners, (begin.reshape(-1, size),), min(LARGEST, len(grid)))
        value = np.where(np.isfinite(value), value, np.inf).reshape(count, len(first), len(points))
        best = np.argmin(value, axis=1) * len(points) + np.arange(len(points))
        begin = np.take_along_axis(begin, best[..., None], axis=1)
    each = begin.shape[1]
    rows = np.repeat(np.arange(count), each)
    own = Problems(problems.owners[rows], problems.low[rows], problems.high[rows])
    function = functools.partial(mapped(descend_sample, sample.shared, (), 1), lik)
    end: Minimum = run(function, sample, own.owners, (begin.reshape(-1, size), own.low, own.high), min(LARGEST, each))
    x = end.x.reshape(count, each, size)
    score = np.where(np.isfinite(end.value), end.value, np.inf)
    score = (score - np.where(end.positive, np.minimum(end.distance, 10.0), 0.0)).reshape(count, -1)
    span = np.asarray(lik.high) - np.asarray(lik.low)
    chosen, present = [], []
    every = np.arange(count)
    for _ in range(STACKED):
        index = np.argmin(score, axis=1)
        chosen.append(x[every, index])
        present.append(np.isfinite(score[every, index]))
        near = np.max(np.abs(x - chosen[-1][:, None]) / span, axis=2) < NEAR
        score = np.where(near, np.inf, score)
    here = np.stack(present, axis=1)
    here[:, 0] = True
    return Ranking(np.stack(chosen, axis=1), here, np.full(count, np.inf))  # type: ignore[arg-type]


def _sample_value(lik: Likelihood, sample: Observed, x: Array) -> Array:
    return lik.value(sample, x)


def _along_axes(
    lik: Likelihood, starts: Starts, lines: Array, observed: Observed, x: Array, low: Array, high: Array
) -> tuple[Array, Array]:
    """Return the lowest NLL, and where, when each nuisance alone walks over its line from x."""
    pois = lik.pois
    z = jnp.clip(lines, low[pois:], high[pois:])
    coefficients = [monomials(region.powers, x[:pois])[0] for region in lik.regions]

    def wide(j: Array, value: Array) -> Array:
        return x[pois:].at[j].set(value)

    each = jnp.arange(z.shape[1])
    points = jax.vmap(lambda row: jax.vmap(wide)(each, row))(z)
    total = jax.vmap(jax.vmap(lambda row: lik.constraints.terms(row, observed.auxiliary)[0]))(points)
    for region, c, data in zip(lik.regions, coefficients, observed.regions, strict=True):
        nu = jnp.einsum("k,vjkr->vjr", c, region.along_lines(x[pois:], z))  # type: ignore[union-attr]
        real = jnp.asarray(region.real)  # type: ignore[union-attr]
        possible = jnp.all((nu > 0) | ~real, axis=-1)
        safe = jnp.where(real & (nu > 0), nu, 1.0)
        cost = nu - jnp.asarray(data.counts) * jnp.log(safe)  # type: ignore[union-attr]
        total = total + jnp.where(possible, jnp.sum(jnp.where(real, cost, 0.0), axis=-1), jnp.inf)
    total = jnp.where(low[pois:] == high[pois:], jnp.inf, total)
    index = jnp.argmin(total)
    return jnp.min(total), jnp.concatenate([x[:pois], points.reshape(-1, z.shape[1])[index]])


def _walked(lik: Likelihood, sets: Sets, problems: Problems, starts: Starts, found: Found) -> Found:
    """Return the minima after each nuisance alone walked over its line from there, and the fit went on if lower.

    Moving counts and simulation factors are left out: their starts have been looked at with all of that.
    """
    plain = all(isinstance(r, Bins) and r.moving is None and r.variance is None for r in lik.regions)
    lines = np.asarray(starts.lines)
    if not plain or lines.shape[0] == 0 or not np.any(np.isfinite(found.value)):
        return found
    function = functools.partial(mapped(_along_axes, sets.shared, (), 3), lik, starts, lines)
    for _ in range(WALKS):
        value, x = run(function, sets, problems.owners, (found.x, problems.low, problems.high), 1)
        lower = np.isfinite(found.value) & (value < found.value - 1e-6)
        if not lower.any():
            return found
        some = np.flatnonzero(lower)
        own = Problems(problems.owners[some], problems.low[some], problems.high[some])
        ended: Any = polish(lik, sets, own, x[some])
        better = ended.minimum.value < found.value[some] - 1e-9
        if not better.any():
            return found._replace(lowest=found.lowest & ~lower)
        found = _replaced(found, some, better, ended)
    return found


def _replaced(found: Found, some: np.ndarray, better: np.ndarray, polished: Polished) -> Found:
    """Return the minima with those of `some` that are `better` replaced; what they were become the second minima."""
    places, ended = some[better], jax.tree.map(lambda array: array[better], polished)
    arrays = {name: np.array(array) for name, array in found._asdict().items()}
    arrays["second_x"][places], arrays["second_value"][places] = arrays["x"][places], arrays["value"][places]
    for name in ("x", "value", "gradient", "hessian", "distance", "positive", "done"):
        arrays[name][places] = getattr(ended.minimum, name)
    arrays["constant"][places], arrays["smallest"][places] = ended.constant, ended.smallest
    return Found(**arrays)


class Ends(NamedTuple):
    """Interval ends of rows, `[row]` and `[row, parameter]`: values (NaN where absent), parameters, lowest rise met."""

    at: np.ndarray
    x: np.ndarray
    lowest: np.ndarray


def find_ends(
    lik: Likelihood,
    sets: Sets,
    problems: Problems,
    poi: int,
    sides: np.ndarray,
    levels: np.ndarray,
    centre: np.ndarray,
    hessian: np.ndarray,
    reference: np.ndarray,
) -> Ends:
    """Return the end of an interval for every row; see `find_end`.

    Args:
        lik: the likelihood.
        sets: data sets.
        problems: data set and ends of the parameters of each row.
        poi: number of the parameter.
        sides: -1 or +1, `[row]`.
        levels: rises, `[row]`.
        centre: parameters at a minimum, `[row, parameter]`.
        hessian: Hessian there.
        reference: NLL from which rises count, `[row]`.
    """
    function = functools.partial(mapped(_end, sets.shared, (), 1), lik)
    rows = len(problems.owners)
    arrays = (
        np.full(rows, poi),
        sides.astype(np.float64),
        levels.astype(np.float64),
        problems.low,
        problems.high,
        centre,
        hessian,
        reference,
    )
    return Ends(*run(function, sets, problems.owners, arrays, batch_size(rows, elements(lik))))


def _end(lik: Likelihood, observed: Observed, *arrays: Array) -> tuple[Array, Array, Array]:
    return tuple(find_end(lik, observed, *arrays))  # type: ignore[return-value]
