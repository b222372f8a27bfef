"""The fine bins of the score: thousands of them, so that one pass of scoring serves every binning."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, UInt16

from systwise.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class FineGrid:
    """The union of a uniform grid in the score and a uniform grid in its logit.

    The first makes uniform binnings exact; the second resolves both tails, where a sensitive
    classifier has its signal. Scores lie in (0, 1); logits beyond `reach` share the outermost bins.

    Attributes:
        uniform: number of equal bins in the score; binnings of k bins are exact where k divides it.
        logit: number of equal bins in the logit on (-reach, reach); odd, so that no edge coincides
            with score 1/2.
        reach: half-width of the logit grid.
    """

    uniform: int = 600
    logit: int = 2001
    reach: float = 15.0

    def __post_init__(self) -> None:
        """Refuse grids that cannot be indexed."""
        if self.uniform < 1 or self.logit < 1 or self.logit % 2 == 0 or self.reach <= 0:
            raise ConfigError("fine grid: uniform and logit must be positive, logit odd, and reach above zero")
        if self.bins > np.iinfo(np.uint16).max - 1:
            raise ConfigError(f"fine grid: {self.bins} bins are too many; choose at most {np.iinfo(np.uint16).max - 1}")

    @classmethod
    def holding(cls, *bins: int) -> FineGrid:
        """Return a grid in which the uniform binnings with these numbers of bins are exact.

        >>> FineGrid.holding(10, 30).uniform, FineGrid.holding(7).uniform
        (600, 4200)
        """
        return cls(uniform=math.lcm(600, *bins))

    @property
    def bins(self) -> int:
        """Return the number of fine bins."""
        return self.uniform + self.logit - 1

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """Return the edges in the score, `[fine + 1]` float64 from 0 to 1."""
        uniform = np.arange(1, self.uniform) / self.uniform
        logit = -self.reach + 2 * self.reach * np.arange(1, self.logit) / self.logit
        return np.concatenate([[0.0], np.sort(np.concatenate([uniform, scipy.special.expit(logit)])), [1.0]])

    def index(self, logits: Float[Array, "*event"]) -> UInt16[Array, "*event"]:
        """Return the fine bin of each logit; pure JAX, no search.

        The index in the union of two grids is the sum of the indices in each: the number of edges
        below. (A binary search over the union costs as much as a small network.)
        """
        scale = self.logit / (2 * self.reach)
        in_logit = jnp.clip(jnp.floor((logits + self.reach) * scale), 0, self.logit - 1)
        in_score = jnp.clip(jnp.floor(jax.nn.sigmoid(logits) * self.uniform), 0, self.uniform - 1)
        return (in_logit + in_score).astype(jnp.uint16)
