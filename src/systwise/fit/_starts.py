"""Where minimisations start: the likelihood on a grid of all anchors, and its local minima.

The nominal point is no place to start from: a score at nominal z is symmetric about it, the slope of
the likelihood vanishes there, and a local method stops on a saddle thousands of units above the
minimum and calls it converged. So every anchor is looked at first, with points between them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.fit._constraint_terms import constraint_values
from systwise.fit._likelihood import Likelihood, Observed, _combine, _monomial, count_terms
from systwise.fit._materialise import materialised
from systwise.fit._morph import Morph

LINE = 33
"""Fewest points along the axis of a single nuisance."""
BUDGET = 200
"""Most points of the grid over several nuisances."""
OFFSET = 0.001
"""Displacement of every start, in grid steps, so that none sits exactly on a saddle."""
REPEATED = -0.04
"""Displacement of a minimum's second start, in grid steps."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Starts:
    """A rectangular grid of nuisance values.

    Attributes:
        axes: increasing values along each nuisance; a single value where there is no room for more.
        points: the grid's points, one array `[start]` a nuisance; `[start, data]` where data sets have their own.
        reach: longest Newton step in each parameter.
        local: the grid only starts a continuous minimisation; else it is the set to minimise over.
    """

    axes: tuple[Float[Array | np.ndarray, " _"], ...]
    points: tuple[Float[Array | np.ndarray, start * data], ...]
    reach: Float[Array | np.ndarray, " parameter"]
    local: bool = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each nuisance."""
        return tuple(axis.shape[0] for axis in self.axes)


def _line(anchors: Sequence[float], low: float, high: float) -> Float64[np.ndarray, " value"]:
    """Return anchors and range ends with enough evenly spaced points between them."""
    # An anchor meant to be an end of the range may miss it by rounding.
    margin = 1e-6 * (high - low)
    inside = np.array([a for a in anchors if low + margin < a < high - margin])
    knots = np.unique(np.concatenate([[low], inside, [high]]))
    parts = max(2, math.ceil((LINE - 1) / (len(knots) - 1)))
    return np.interp(np.arange(parts * (len(knots) - 1) + 1) / parts, np.arange(len(knots)), knots)


@functools.lru_cache(maxsize=64)
def start_grid(
    anchors: tuple[tuple[float, ...], ...],
    ranges: tuple[tuple[float, float], ...],
    nominal: tuple[float, ...],
    poi_ranges: tuple[tuple[float, float], ...],
) -> Starts:
    """Return the grid of starts: one nuisance finely, several thinned to at most `BUDGET` points."""
    lines = [_line(a, *r) for a, r in zip(anchors, ranges, strict=True)]
    count = len(lines)
    if count > 1:
        # Nuisances beyond those that fit with three values each start at their nominal value only.
        gridded = min(count, int(math.log(BUDGET) / math.log(3)))
        size = max(3, int(BUDGET ** (1 / gridded)))
        for j, ((low, high), z) in enumerate(zip(ranges, nominal, strict=True)):
            if j >= gridded:
                lines[j] = np.array([z])
            elif len(lines[j]) > size:
                lines[j] = np.linspace(low, high, size)
    reach = [0.25 * (high - low) for low, high in poi_ranges]
    for line, (low, high) in zip(lines, ranges, strict=True):
        reach.append(2 * float(np.max(np.diff(line))) if len(line) > 1 else 0.25 * (high - low))
    return Starts(tuple(lines), _product(lines), np.array(reach), True)


def fixed_grid(values: Float64[np.ndarray, "start nuisance"], poi_ranges: Sequence[tuple[float, float]]) -> Starts:
    """Return a set of nuisance points to minimise over, without going between them."""
    points = tuple(np.ascontiguousarray(column) for column in values.T)
    reach = np.array([0.25 * (high - low) for low, high in poi_ranges] + [0.0] * len(points))
    return Starts((np.arange(len(values), dtype=np.float64),), points, reach, False)


def _product(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the coordinates of the rectangular grid's points, one flat array a nuisance."""
    return tuple(np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(*lines, indexing="ij"))


def start_values(
    lik: Likelihood, observed: Observed, starts: Starts, theta: Sequence[Array]
) -> Float[Array, "start point data"]:
    """Return the NLL at every start, for parameters of interest `[point, data or 1]`.

    For a fixed observable and parameters shared by all data sets, ln nu does not depend on the data:
    the whole stage is one matrix product.
    """
    templates, n = start_templates(lik, starts), start_counts(lik, observed, starts)

    def expected(theta: Sequence[Array]) -> Array:
        """Return expected counts `[bin, start, *theta]`."""
        wide = templates.reshape(*templates.shape, *([1] * theta[0].ndim))
        nu = jnp.asarray(_combine([_monomial(row, theta) for row in lik.powers], wide))
        return jnp.broadcast_to(nu, (*nu.shape[:2], *theta[0].shape))

    if theta[0].shape[1] > 1:
        nu = expected(theta)
        value = jnp.sum(nu - jnp.log(nu) * n[:, :, None, :], axis=0)
    else:
        # The axis of length 1 is left out: it would make the loops over the long ones slow.
        nu = expected([t[:, 0] for t in theta])
        if n.shape[2] == 1:
            value = jnp.sum(nu - jnp.log(nu) * n, axis=0)[..., None]
        elif n.shape[1] == 1:
            table = jnp.log(nu).reshape(nu.shape[0], -1)
            value = jnp.sum(nu, axis=0)[..., None] - (table.T @ n[:, 0]).reshape(*nu.shape[1:], -1)
        else:
            value = jnp.sum(nu, axis=0)[..., None] - jnp.einsum("bsm,bsd->smd", jnp.log(nu), n)
    # A count that is not positive made a NaN on its way; masks inside the sums would cost as much as logarithms.
    value = jnp.where(jnp.isnan(value), jnp.inf, value)
    return value + start_terms(lik, observed, starts, n)[:, None, :]


def start_templates(lik: Likelihood, starts: Starts) -> Float[Array, "component bin start"]:
    """Return the templates at every start."""
    points = [jnp.asarray(points)[:, None] for points in starts.points]
    return materialised(lik.always, lambda z: lik.templates(z).value[..., 0], points)


def start_counts(lik: Likelihood, observed: Observed, starts: Starts) -> Float[Array, "bin start data"]:
    """Return the data's counts at every start; the start axis has length 1 where they do not move."""
    if isinstance(observed.counts, Morph):
        return observed.counts.jet([jnp.asarray(starts.points[j])[:, None] for j in lik.morphed])[0]
    return jnp.asarray(observed.counts)[:, None, :]


def start_terms(lik: Likelihood, observed: Observed, starts: Starts, n: Array) -> Float[Array, "start data"]:
    """Return what the NLL holds at every start beside nu - n ln nu: moving terms in n, and constraints."""
    total = jnp.zeros((1, n.shape[-1])) - lik.offset
    if isinstance(observed.counts, Morph):
        total = total + jnp.sum(count_terms(lik.convention, n)[0], axis=0)
    return total + constraint_values(lik, observed, [jnp.asarray(points)[:, None] for points in starts.points])


def _shifted(values: Array, axis: int, by: int) -> Array:
    """Return the neighbours' values along an axis, infinite beyond the ends."""
    pad = [(0, 0)] * values.ndim
    pad[axis] = (1, 0) if by < 0 else (0, 1)
    padded = jnp.pad(values, pad, constant_values=jnp.inf)
    keep = [slice(None)] * values.ndim
    keep[axis] = slice(0, -1) if by < 0 else slice(1, None)
    return padded[tuple(keep)]


def best_starts(
    starts: Starts, values: Float[Array, "start point data"], candidates: int
) -> tuple[Array, list[Array], Array]:
    """Return the best local minima of the grid, refined by a parabola along each nuisance.

    Minima are ranked by the parabola's vertex: next to a narrow valley the lowest grid point need not
    belong to the lowest minimum. Where the grid has fewer minima than `candidates`, the best one is
    used again from its other side: two minima closer than a grid step look like one.

    Returns:
        grid index `[candidate, point, data]`, one array of nuisance values of that shape each, and whether
        the candidate is a minimum of its own.
    """
    batch = values.shape[1:]
    grid = values.reshape(*starts.shape, *batch)
    lowest = jnp.isfinite(grid)
    predicted = grid
    for axis, line in enumerate(starts.axes):
        if line.shape[0] == 1:
            continue
        left, right = _shifted(grid, axis, -1), _shifted(grid, axis, 1)
        lowest = lowest & (grid <= left) & (grid <= right)
        predicted = predicted - _vertex(grid, left, right, jnp.asarray(line), axis)[1]
    score = jnp.where(lowest, predicted, jnp.inf).reshape(-1, *batch)
    first = jnp.argmin(score, axis=0)
    chosen, displaced, present = [first], [jnp.full(batch, OFFSET)], [jnp.ones(batch, bool)]
    number = jnp.arange(score.shape[0]).reshape(-1, *([1] * len(batch)))
    for c in range(1, candidates):
        score = jnp.where(number == chosen[-1][None], jnp.inf, score)
        following = jnp.argmin(score, axis=0)
        absent = ~jnp.isfinite(jnp.min(score, axis=0))
        chosen.append(jnp.where(absent, first, following))
        displaced.append(jnp.where(absent, REPEATED * c, OFFSET))
        present.append(~absent)
    index, displacement = jnp.stack(chosen), jnp.stack(displaced)
    z = []
    strides = [math.prod(starts.shape[axis + 1 :]) for axis in range(len(starts.shape))]
    for axis, line in enumerate(starts.axes):
        line = jnp.asarray(line)
        position = (index // strides[axis]) % line.shape[0]
        centre = line[position]
        if line.shape[0] > 1:
            centre = centre + _refined(values, index, position, strides[axis], line, displacement)
        z.append(centre)
    return index, z, jnp.stack(present)


def _refined(values: Array, index: Array, position: Array, stride: int, line: Array, displacement: Array) -> Array:
    """Return the distance from chosen grid points to the minimum along one axis, zero at the grid's ends.

    A parabola through three points, improved to a quartic through five where they are evenly spaced: it
    saves every start one evaluation of the likelihood.
    """
    last = line.shape[0] - 1

    def at(offset: int) -> tuple[Array, Array]:
        allowed = jnp.clip(position + offset, 0, last)
        return jnp.take_along_axis(values, index + (allowed - position) * stride, axis=0), line[allowed]

    (far_left, z_far_left), (left, z_left), (here, z) = at(-2), at(-1), at(0)
    (right, z_right), (far_right, z_far_right) = at(1), at(2)
    inside = (position > 0) & (position < last)
    before, after = jnp.where(inside, z - z_left, 1.0), jnp.where(inside, z_right - z, 1.0)
    step = jnp.minimum(before, after)
    shift = jnp.clip(_parabola(here, left, right, before, after)[0], -0.6 * step, 0.6 * step)
    slope = (far_left - 8 * left + 8 * right - far_right) / 12
    curvature = (-far_left + 16 * left - 30 * here + 16 * right - far_right) / 12
    third = (-far_left + 2 * left - 2 * right + far_right) / 2
    fourth = far_left - 4 * left + 6 * here - 4 * right + far_right
    t = shift / step
    for _ in range(3):
        first = slope + t * (curvature + t * (third / 2 + t * fourth / 6))
        second = curvature + t * (third + t * fourth / 2)
        t = t - first / second
    even = (z_far_right - z_far_left > 3.999 * jnp.maximum(before, after)) & (before + after > 1.999 * step)
    usable = even & (position > 1) & (position < last - 1) & (second > 0) & (jnp.abs(t * step - shift) < 0.3 * step)
    shift = jnp.where(usable, t * step, shift)
    return jnp.where(inside, shift + displacement * step, 0.0)


def _vertex(grid: Array, left: Array, right: Array, line: Array, axis: int) -> tuple[Array, Array]:
    """Return the parabola's shift and fall at every grid point along one axis."""
    shape = [1] * grid.ndim
    shape[axis] = -1
    steps = jnp.diff(line)
    before = jnp.concatenate([steps[:1], steps]).reshape(shape)
    after = jnp.concatenate([steps, steps[-1:]]).reshape(shape)
    return _parabola(grid, left, right, before, after)


def _parabola(here: Array, left: Array, right: Array, before: Array, after: Array) -> tuple[Array, Array]:
    """Return shift to and fall at the vertex of the parabola through three points; zero where there is none."""
    back, ahead = (here - left) / before, (right - here) / after
    slope = (back * after + ahead * before) / (before + after)
    curvature = 2 * (ahead - back) / (before + after)
    usable = (curvature > 0) & jnp.isfinite(curvature) & jnp.isfinite(slope)
    curvature = jnp.where(usable, curvature, 1.0)
    slope = jnp.where(usable, slope, 0.0)
    return -slope / curvature, 0.5 * slope**2 / curvature


def theta_starts(
    powers: Sequence[Sequence[int]], nominal: Sequence[float], ranges: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Return values of the parameters of interest to start from, `[start, poi]`.

    A likelihood linear in them is convex: the nominal values do. Products and powers make several
    minima, so each parameter then starts at five values across its range as well.
    """
    if all(sum(row) <= 1 for row in powers):
        return np.array([nominal], dtype=np.float64)
    lines = [
        np.unique(np.append(np.linspace(low, high, 7)[1:-1], z)) for z, (low, high) in zip(nominal, ranges, strict=True)
    ]
    return np.array(list(itertools.product(*lines)), dtype=np.float64)
