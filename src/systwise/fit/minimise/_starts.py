"""Where minimisations start: every anchor of every nuisance, points between them, and all of them together.

The nominal point is no place to start from: a score at nominal z is symmetric about it, the slope of the
likelihood vanishes there, and a local method stops on a saddle thousands of units above the minimum and calls it
converged. Few nuisances are looked at on a product grid; of many, each alone along its line, and all of them
together at the points of a low-discrepancy set.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int
from scipy.stats import qmc

LINE = 33
"""Fewest points along the axis of a single nuisance."""
BUDGET = 200
"""Most points of the grid over several nuisances."""
GRIDDED = 4
"""Nuisances up to which there is a product grid."""
TOGETHER = 32
"""Points at which all of more nuisances are moved together."""
ROUNDED = 16
"""Numbers of starts are multiples of this, so that similar models share a compilation."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Starts:
    """Points in the space of nuisances, and which of them are neighbours.

    Attributes:
        points: `[start, nuisance]`.
        valid: points that only fill up the shape are not, `[start]`.
        axes: the nuisance along which a start has neighbours, `[start, axis]`; -1 where there is none.
        left: the neighbour below, `[start, axis]`; -1 where there is none.
        right: the neighbour above.
        lines: values of each nuisance alone, `[value, nuisance]`, those starts follow the `nominal` one first.
        crowd: number of starts, after those on lines, at which all nuisances move together.
        lined: starts are lines and a crowd, not a product grid.
    """

    points: Float[Array | np.ndarray, "start nuisance"]
    valid: Bool[Array | np.ndarray, " start"]
    axes: Int[Array | np.ndarray, "start axis"]
    left: Int[Array | np.ndarray, "start axis"]
    right: Int[Array | np.ndarray, "start axis"]
    lines: Float[Array | np.ndarray, "value nuisance"]
    crowd: int = dataclasses.field(metadata={"static": True})
    lined: bool = dataclasses.field(metadata={"static": True})

    @property
    def words(self) -> str:
        """What was searched, as the verdict says it."""
        count = int(np.sum(self.valid))
        if self.points.shape[1] == 0:
            return "no nuisances to search over"
        if self.lined:
            values = self.lines.shape[0]
            return (
                f"started from up to {values} values of each nuisance alone, its anchors among them, "
                f"and {self.crowd} points with all of them moved together"
            )
        return f"started from a grid of {count} points over the nuisances"


def _line(anchors: Sequence[float], low: float, high: float, fewest: int) -> Float64[np.ndarray, " value"]:
    """Return anchors and range ends with enough evenly spaced points between them."""
    # An anchor meant to be an end of the range may miss it by rounding.
    margin = 1e-6 * (high - low)
    inside = np.array([a for a in anchors if low + margin < a < high - margin])
    knots = np.unique(np.concatenate([[low], inside, [high]]))
    parts = max(2, math.ceil((fewest - 1) / (len(knots) - 1)))
    return np.interp(np.arange(parts * (len(knots) - 1) + 1) / parts, np.arange(len(knots)), knots)


@functools.lru_cache(maxsize=64)
def start_points(
    anchors: tuple[tuple[float, ...], ...],
    ranges: tuple[tuple[float, float], ...],
    nominal: tuple[float, ...],
    free: tuple[bool, ...],
    fewest: int = LINE,
    budget: int = BUDGET,
) -> Starts:
    """Return the starts over the free nuisances, the others at their nominal values.

    Args:
        anchors: of each nuisance.
        ranges: of each nuisance.
        nominal: of each nuisance.
        free: which nuisances are not fixed.
        fewest: points along the axis of a single nuisance.
        budget: most points of a product grid.
    """
    moving = [j for j in range(len(nominal)) if free[j]]
    if len(moving) > GRIDDED:
        return _lines(anchors, ranges, nominal, moving)
    axes = {j: _line(anchors[j], *ranges[j], fewest) for j in moving}
    if len(moving) > 1:
        size = max(3, int(budget ** (1 / len(moving))))
        axes = {j: np.linspace(*ranges[j], size) if len(line) > size else line for j, line in axes.items()}
    shape = tuple(len(axes[j]) for j in moving)
    count = math.prod(shape)
    points = np.tile(np.array(nominal, np.float64), (count, 1))
    index = np.arange(count).reshape(shape)
    left, right = (np.full((count, len(moving)), -1, np.int32) for _ in range(2))
    for number, j in enumerate(moving):
        place = np.moveaxis(index, number, 0)
        for position, value in enumerate(axes[j]):
            points[place[position].ravel(), j] = value
        left[place[1:].ravel(), number] = place[:-1].ravel()
        right[place[:-1].ravel(), number] = place[1:].ravel()
    axis = np.tile(np.array(moving, np.int32), (count, 1))
    return _filled(points, axis, left, right, np.zeros((0, len(nominal))), 0, False)


def _lines(
    anchors: Sequence[Sequence[float]],
    ranges: Sequence[tuple[float, float]],
    nominal: Sequence[float],
    moving: Sequence[int],
) -> Starts:
    """Return the nominal point, values of each nuisance alone, and a low-discrepancy set of all together."""
    centre = np.array(nominal, np.float64)
    values: list[np.ndarray] = []
    for j in range(len(nominal)):
        low, high = ranges[j]
        inside = [a for a in anchors[j] if low <= a <= high]
        every = np.unique(np.concatenate([inside, np.linspace(low, high, 5)]))
        every = every[np.abs(every - nominal[j]) > 1e-6 * (high - low)]
        values.append(every if j in moving else np.array([]))
    most = max(len(v) for v in values)
    lines = np.tile(centre, (most, 1))
    count = len(nominal)
    axis, left, right, valid = [-1], [-1], [-1], [True]
    points = [centre]
    # In the order [value, nuisance], after the nominal point.
    for position, j in itertools.product(range(most), range(count)):
        own = values[j]
        exists = position < len(own)
        point = centre.copy()
        if exists:
            point[j] = lines[position, j] = own[position]

        def place(other: int, j: int = j) -> int:
            return 1 + other * count + j

        below, above = -1, -1
        if exists:
            crosses_up = position + 1 < len(own) and own[position] < nominal[j] < own[position + 1]
            crosses_down = position > 0 and own[position - 1] < nominal[j] < own[position]
            last_below = own[position] < nominal[j] and position + 1 == len(own)
            first_above = own[position] > nominal[j] and position == 0
            above = 0 if crosses_up or last_below else place(position + 1) if position + 1 < len(own) else -1
            below = 0 if crosses_down or first_above else place(position - 1) if position > 0 else -1
        points.append(point)
        axis.append(j if exists else -1)
        left.append(below)
        right.append(above)
        valid.append(exists)
    low, high = np.array(ranges, np.float64).T
    crowd = np.tile(centre, (TOGETHER, 1))
    sample = qmc.Sobol(len(moving), scramble=False).random(2 * TOGETHER)[1 : TOGETHER + 1]
    # Halfway to the ends: with many nuisances the corners of the box are far from everything.
    crowd[:, moving] = 0.5 * (centre[moving] + low[moving] + sample * (high - low)[moving])
    points.extend(crowd)
    extra = [-1] * len(crowd)
    return _filled(
        np.array(points),
        np.array(axis + extra, np.int32)[:, None],
        np.array(left + extra, np.int32)[:, None],
        np.array(right + extra, np.int32)[:, None],
        lines,
        len(crowd),
        True,
        np.array(valid + [True] * len(crowd)),
    )


def _filled(
    points: np.ndarray,
    axes: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    lines: np.ndarray,
    crowd: int,
    lined: bool,
    valid: np.ndarray | None = None,
) -> Starts:
    """Return the starts, filled up to a rounded number where they are a grid."""
    count = len(points)
    valid = np.ones(count, bool) if valid is None else valid
    extra = 0 if lined else -count % ROUNDED
    fill = ((0, extra), (0, 0))
    return Starts(
        points=np.concatenate([points, np.repeat(points[:1], extra, axis=0)]),
        valid=np.concatenate([valid, np.zeros(extra, bool)]),
        axes=np.pad(axes, fill, constant_values=-1),
        left=np.pad(left, fill, constant_values=-1),
        right=np.pad(right, fill, constant_values=-1),
        lines=lines,
        crowd=crowd,
        lined=lined,
    )


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
