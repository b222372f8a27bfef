"""Scanned curves with slopes as cubic Hermite curves: minimum and crossings of many at once, on the host."""

from __future__ import annotations

import dataclasses

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

    def _cubic(self, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return powers 0 to 3 of the fraction of a segment, one segment a data set, and its length."""
        rows = np.arange(len(self.values))
        step = self.points[segment + 1] - self.points[segment]
        begin, end = self.values[rows, segment], self.values[rows, segment + 1]
        b, e = step * self.slopes[rows, segment], step * self.slopes[rows, segment + 1]
        return begin, b, 3 * (end - begin) - 2 * b - e, b + e - 2 * (end - begin), step

    def minimum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return position and value of each lowest minimum, and its segment; NaN at the ends of the scan."""
        rows, lowest = np.arange(len(self.values)), np.argmin(self.values, axis=1)
        segment = np.clip(lowest - (self.slopes[rows, lowest] > 0), 0, len(self.points) - 2)
        c0, c1, c2, c3, step = self._cubic(segment)
        inside = (c1 <= 0) & (self.slopes[rows, segment + 1] >= 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # The root of c1 + 2 c2 t + 3 c3 t^2 at which it increases, without cancellation.
            t = -c1 / (c2 + np.sqrt(c2**2 - 3 * c1 * c3))
            value = c0 + t * (c1 + t * (c2 + t * c3))
        at = self.points[segment] + t * step
        return np.where(inside, at, np.nan), np.where(inside, value, np.nan), segment

    def crossings(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return where each curve first lies `level` above its minimum, to the left and to the right."""
        centre, lowest, at_minimum = self.minimum()
        above = self.values >= (lowest + level)[:, None]
        number = np.arange(len(self.points))
        ends = []
        for right in (False, True):
            beyond = above & ((number > at_minimum[:, None]) if right else (number <= at_minimum[:, None]))
            first = np.argmax(beyond, axis=1) if right else len(number) - 1 - np.argmax(beyond[:, ::-1], axis=1)
            segment = np.clip(first - right, 0, len(number) - 2)
            c0, c1, c2, c3, step = self._cubic(segment)
            c0 = c0 - lowest - level
            with np.errstate(invalid="ignore", divide="ignore"):
                start = np.clip((centre - self.points[segment]) / step, 0.0, 1.0)
                inside, outside = (start, np.ones_like(start)) if right else (start, np.zeros_like(start))
                t = 0.5 * (inside + outside)
                for _ in range(30):
                    value = c0 + t * (c1 + t * (c2 + t * c3))
                    inside, outside = np.where(value < 0, t, inside), np.where(value < 0, outside, t)
                    newton = t - value / (c1 + t * (2 * c2 + 3 * t * c3))
                    usable = (newton >= np.minimum(inside, outside)) & (newton <= np.maximum(inside, outside))
                    moved = np.where(usable, newton, 0.5 * (inside + outside))
                    settled, t = np.abs(moved - t) < 1e-12, moved
                    if np.all(settled | ~np.isfinite(c0)):
                        break
            found = beyond.any(axis=1) & np.isfinite(centre) & np.isfinite(c0)
            ends.append(np.where(found, self.points[segment] + t * step, np.nan))
        return ends[0], ends[1]
