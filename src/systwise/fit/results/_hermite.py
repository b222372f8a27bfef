"""Scanned curves with slopes as cubic Hermite curves: minimum and crossings of many at once, on the host."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float64


@dataclasses.dataclass(frozen=True)
class HermiteCurves:
    """Curves through values with slopes, all over the same increasing points.

    Attributes:
        points: `[point]`.
        values: `[data, point]`.
        slopes: derivatives, `[data, point]`.
    """

    points: Float64[np.ndarray, " point"]
    values: Float64[np.ndarray, "data point"]
    slopes: Float64[np.ndarray, "data point"]

    def _cubic(self, rows: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return powers 0 to 3 of the fraction of a segment, one segment a row, and its length."""
        step = self.points[segment + 1] - self.points[segment]
        begin, end = self.values[rows, segment], self.values[rows, segment + 1]
        b, e = step * self.slopes[rows, segment], step * self.slopes[rows, segment + 1]
        return begin, b, 3 * (end - begin) - 2 * b - e, b + e - 2 * (end - begin), step

    @functools.cached_property
    def minimum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position and value of each lowest minimum, and its segment; NaN at the ends of the scan."""
        rows, lowest = np.arange(len(self.values)), np.argmin(self.values, axis=1)
        segment = np.clip(lowest - (self.slopes[rows, lowest] > 0), 0, len(self.points) - 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            c0, c1, c2, c3, step = self._cubic(rows, segment)
            inside = (c1 <= 0) & (self.slopes[rows, segment + 1] >= 0)
            # The root of c1 + 2 c2 t + 3 c3 t^2 at which it increases, without cancellation.
            t = -c1 / (c2 + np.sqrt(c2**2 - 3 * c1 * c3))
            value = c0 + t * (c1 + t * (c2 + t * c3))
        at = self.points[segment] + t * step
        return np.where(inside, at, np.nan), np.where(inside, value, np.nan), segment

    def crossings(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return where each curve first lies `level` above its minimum, to the left and to the right."""
        centre, lowest, at_minimum = self.minimum
        above = self.values >= (lowest + level)[:, None]
        number = np.arange(len(self.points))
        left = above & (number <= at_minimum[:, None])
        right = above & (number > at_minimum[:, None])
        segment = np.concatenate([len(number) - 1 - np.argmax(left[:, ::-1], axis=1), np.argmax(right, axis=1) - 1])
        segment = np.clip(segment, 0, len(number) - 2)
        # Both sides as one batch: left ends first.
        rows, centre, lowest = np.tile(np.arange(len(self.values)), 2), np.tile(centre, 2), np.tile(lowest, 2)
        found = np.concatenate([left.any(axis=1), right.any(axis=1)]) & np.isfinite(centre)
        with np.errstate(invalid="ignore", divide="ignore"):
            c0, c1, c2, c3, step = self._cubic(rows, segment)
            c0 = c0 - lowest - level
            found &= np.isfinite(c0 + c1 + c2 + c3)
            inside = np.clip((centre - self.points[segment]) / step, 0.0, 1.0)
            outside = np.repeat([0.0, 1.0], len(self.values))
            t = 0.5 * (inside + outside)
            for _ in range(60):
                value = c0 + t * (c1 + t * (c2 + t * c3))
                below = value < 0
                inside, outside = np.where(below, t, inside), np.where(below, outside, t)
                newton = t - value / (c1 + t * (2 * c2 + 3 * t * c3))
                # Strictly between the bracket's ends, whichever is the larger.
                usable = (newton - inside) * (newton - outside) <= 0
                moved = np.where(usable, newton, 0.5 * (inside + outside))
                # Newton's steps square the error: the next one would be below rounding.
                settled = np.abs(moved - t) < 1e-8
                t = moved
                if np.all(settled | ~found):
                    break
        ends = np.where(found, self.points[segment] + t * step, np.nan)
        return ends[: len(self.values)], ends[len(self.values) :]
