"""The score table: weighted counts of every component in fine bins of the score."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.templates._pairs import Pairs


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """Sums of weights and of squared weights in fine bins of the score, float64 NumPy.

    Attributes:
        pairs: the pairs (z_true, z_hypothesis) of the first axis.
        edges: `[fine + 1]` edges of the score, from 0 to 1.
        sums: `[pair, component, fine]` sums of weights (expected events).
        squares: the same of squared weights: the variance of `sums`.
        component_names: names of the second axis.
    """

    pairs: Pairs
    edges: Float64[np.ndarray, " edge"]
    sums: Float64[np.ndarray, "pair component fine"]
    squares: Float64[np.ndarray, "pair component fine"]
    component_names: tuple[str, ...]

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

    @property
    def totals(self) -> np.ndarray:
        """Return the total yields `[pair, component]` of the scored events."""
        return self.sums.sum(axis=-1)

    def scaled_to(self, totals: Float64[np.ndarray, "pair component"]) -> ScoreTable:
        """Return the same shapes with the given total yields; variances scale by the factor squared.

        Raises:
            TemplateError: a component has a yield but no scored events at some pair.
        """
        factor = yield_factors(self.totals, totals, self.pairs, self.component_names)[..., None]
        return dataclasses.replace(self, sums=self.sums * factor, squares=self.squares * factor**2)

    @staticmethod
    def merge(tables: Sequence[ScoreTable]) -> ScoreTable:
        """Return the sum of tables over parts of the events (files, chunks, workers).

        Raises:
            TemplateError: there is none, or pairs, edges or components differ.
        """
        if not tables:
            raise TemplateError("score tables: there is nothing to merge; pass at least one table")
        first = tables[0]
        for other in tables[1:]:
            same = (
                first.component_names == other.component_names
                and np.array_equal(first.edges, other.edges)
                and np.array_equal(first.pairs.z_true, other.pairs.z_true)
                and np.array_equal(first.pairs.z_hypothesis, other.pairs.z_hypothesis)
            )
            if not same:
                raise TemplateError("score tables: pairs, fine edges or components differ; score all parts alike")
        sums = np.sum([table.sums for table in tables], axis=0)
        return dataclasses.replace(first, sums=sums, squares=np.sum([table.squares for table in tables], axis=0))


def yield_factors(
    own: Float64[np.ndarray, "pair component"],
    wanted: Float64[np.ndarray, "pair component"],
    pairs: Pairs,
    names: Sequence[str],
) -> Float64[np.ndarray, "pair component"]:
    """Return the factors that bring the scored yields `own` to the `wanted` ones, 1 where there are none.

    Raises:
        TemplateError: a component has a yield but no scored events at some pair.
    """
    missing = (own == 0) & (wanted != 0)
    if missing.any():
        pair, component = np.argwhere(missing)[0]
        raise TemplateError(
            f"templates: component '{names[component]}' has no template events at "
            f"z={pairs.z_true[pair].tolist()} but a yield of {wanted[pair, component]:g}; use more events"
        )
    return np.divide(wanted, own, out=np.ones_like(own), where=own != 0)
