"""Importance sampling that learns: a product of piecewise constant densities over uniform numbers.

Lepage, J. Comput. Phys. 27 (1978) 192: each uniform number is cut into intervals which are drawn equally
often; where an interval contributes more to the variance of the integral than others, it is made narrower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

INTERVALS = 48
ROUNDS = 8
"""Rounds of learning; with fewer the transverse momentum, steepest of all, has not settled."""

_SMOOTHING = np.array([0.125, 0.75, 0.125])
_DAMPING = 0.75
_LOWEST, _HIGHEST = 2.0**-54, 1 - 2.0**-53


@dataclasses.dataclass(frozen=True)
class AdaptiveGrid:
    """A map of uniform numbers to numbers in (0, 1) that lie where an integrand is large.

    Attributes:
        edges: `[number, edge]` of the intervals, from 0 to 1; equally wide is the identity.
    """

    edges: Float[np.ndarray, "number edge"]

    @classmethod
    def uniform(cls, numbers: int) -> AdaptiveGrid:
        """Return the identity for so many numbers."""
        return cls(np.tile(np.linspace(0, 1, INTERVALS + 1), (numbers, 1)))

    def part(self, first: int, last: int | None = None) -> AdaptiveGrid:
        """Return the grid of some of the numbers."""
        return AdaptiveGrid(self.edges[first:last])

    def draw(
        self, uniform: Float[np.ndarray, "number event"]
    ) -> tuple[Float[np.ndarray, "number event"], Float[np.ndarray, " event"]]:
        """Return numbers in (0, 1) and the inverse of their density, from uniform numbers."""
        mapped, inverse = np.empty_like(uniform), np.ones(uniform.shape[1])
        for number, (edges, place) in enumerate(zip(self.edges, uniform * INTERVALS, strict=True)):
            interval = np.minimum(place.astype(np.int64), INTERVALS - 1)
            width = np.diff(edges)[interval]
            mapped[number] = edges[interval] + (place - interval) * width
            inverse *= width * INTERVALS
        return np.clip(mapped, _LOWEST, _HIGHEST), inverse

    def density(self, values: Float[np.ndarray, "number event"]) -> Float[np.ndarray, " event"]:
        """Return the density of mapped numbers in (0, 1)."""
        density = np.ones(values.shape[1])
        for edges, value in zip(self.edges, values, strict=True):
            interval = np.clip(np.searchsorted(edges, value, "right") - 1, 0, INTERVALS - 1)
            density /= INTERVALS * np.diff(edges)[interval]
        return density

    def refined(
        self, uniform: Float[np.ndarray, "number event"], integrand: Float[np.ndarray, " event"]
    ) -> AdaptiveGrid:
        """Return a grid with narrower intervals where the squared integrand is large (Lepage, section 3).

        Args:
            uniform: the numbers given to `draw`.
            integrand: `[event]` integrand there times the inverse density.
        """
        return AdaptiveGrid(np.stack([_refined(*both, integrand**2) for both in zip(self.edges, uniform, strict=True)]))


def learn_grid(
    numbers: int,
    integrand: Callable[[AdaptiveGrid, Float[np.ndarray, "number event"]], Float[np.ndarray, " event"]],
    draws: Float[np.ndarray, "round number event"],
) -> AdaptiveGrid:
    """Return the grid after learning from `draws`, round after round.

    Args:
        numbers: uniform numbers that a point takes.
        integrand: returns `[event]` weights of points drawn from a grid with uniform numbers.
        draws: uniform numbers.
    """
    grid = AdaptiveGrid.uniform(numbers)
    for uniform in draws:
        grid = grid.refined(uniform, integrand(grid, uniform))
    return grid


def _refined(
    edges: Float[np.ndarray, " edge"], uniform: Float[np.ndarray, " event"], squared: Float[np.ndarray, " event"]
) -> Float[np.ndarray, " edge"]:
    """Return new edges of one number's intervals."""
    interval = np.minimum((uniform * INTERVALS).astype(np.int64), INTERVALS - 1)
    counts = np.maximum(np.bincount(interval, minlength=INTERVALS), 1)
    size = np.bincount(interval, squared, INTERVALS) / counts
    size = np.convolve(np.concatenate([size[:1], size, size[-1:]]), _SMOOTHING, "valid")
    if not size.sum() > 0:
        return edges
    # Damped, so that a lucky large weight does not draw all intervals to itself.
    share = np.clip(size / size.sum(), 1e-12, 1 - 1e-12)
    importance = np.concatenate([[0.0], np.cumsum(((1 - share) / -np.log(share)) ** _DAMPING)])
    equal = np.linspace(0, importance[-1], INTERVALS + 1)
    refined = np.interp(equal, importance, edges)
    refined[[0, -1]] = 0.0, 1.0
    return refined
