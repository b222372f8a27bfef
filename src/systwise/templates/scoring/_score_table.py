"""The score table: weighted counts of every component in fine bins of the score."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.templates.scoring._count_table import CountTable


@dataclasses.dataclass(frozen=True)
class ScoreTable(CountTable):
    """Weighted counts in fine bins of the score, of which coarser binnings are made.

    Attributes:
        edges: `[fine + 1]` edges of the score, from 0 to 1.
    """

    edges: Float64[np.ndarray, " edge"]

    def positions(self, edges: np.ndarray) -> np.ndarray:
        """Return the indices of `edges` among the fine edges.

        Raises:
            TemplateError: the edges do not run from 0 to 1, or one is not a fine edge.
        """
        edges = np.asarray(edges, np.float64)
        if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or np.any(np.diff(edges) <= 0):
            raise TemplateError("binning: edges must increase from 0 to 1")
        right = np.clip(np.searchsorted(self.edges, edges), 1, len(self.edges) - 1)
        nearest = np.where(edges - self.edges[right - 1] < self.edges[right] - edges, right - 1, right)
        off = np.abs(self.edges[nearest] - edges) > 1e-10
        if off.any() or np.any(np.diff(nearest) <= 0):
            bad = int(np.argmax(off))
            raise TemplateError(
                f"binning: edge {edges[bad]:.9g} is not among the fine edges (the nearest is "
                f"{self.edges[nearest[bad]]:.9g}); choose a fine edge or score again with a grid that holds it"
            )
        return nearest

    def rebin(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and variances `[pair, component, bin]` in a coarser binning.

        Raises:
            TemplateError: the edges do not run from 0 to 1, or one is not a fine edge.
        """
        starts = self.positions(edges)[:-1]
        return np.add.reduceat(self.sums, starts, axis=-1), np.add.reduceat(self.squares, starts, axis=-1)

    def at(self, z_true: np.ndarray, z_hypothesis: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and squares `[component, fine]` of one pair (`z_hypothesis` defaults to `z_true`).

        Raises:
            TemplateError: the pair was not scored.
        """
        pair = self.pairs.find(z_true, z_hypothesis)
        return self.sums[pair], self.squares[pair]

    def alike(self, other: ScoreTable) -> bool:
        """Return whether bins, pairs and components are those of another table."""
        return super().alike(other) and np.array_equal(self.edges, other.edges)
