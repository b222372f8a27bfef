"""Weighted counts of every component in numbered bins, at pairs of true and assumed nuisances."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.templates._pairs import Pairs

Kind = TypeVar("Kind", bound="CountTable")


@dataclasses.dataclass(frozen=True)
class CountTable:
    """Sums of weights and of squared weights in the bins of one observable, float64 NumPy.

    Attributes:
        pairs: the pairs (z_true, z_hypothesis) of the first axis; equal for an observable that is told no hypothesis.
        sums: `[pair, component, bin]` sums of weights (expected events).
        squares: the same of squared weights: the variance of `sums`.
        component_names: names of the second axis.
    """

    pairs: Pairs
    sums: Float64[np.ndarray, "pair component bin"]
    squares: Float64[np.ndarray, "pair component bin"]
    component_names: tuple[str, ...]

    @property
    def bins(self) -> int:
        """Return the number of bins."""
        return self.sums.shape[-1]

    @property
    def totals(self) -> Float64[np.ndarray, "pair component"]:
        """Return the total yields `[pair, component]` of the scored events."""
        return self.sums.sum(axis=-1)

    def scaled_to(self: Kind, totals: Float64[np.ndarray, "pair component"]) -> Kind:
        """Return the same shapes with the given total yields; variances scale by the factor squared.

        Raises:
            TemplateError: a component has a yield but no scored events at some pair.
        """
        own, names = self.totals, self.component_names
        missing = (own == 0) & (totals != 0)
        if missing.any():
            pair, component = np.argwhere(missing)[0]
            raise TemplateError(
                f"templates: component '{names[component]}' has no template events at "
                f"z={self.pairs.z_true[pair].tolist()} but a yield of {totals[pair, component]:g}; use more events"
            )
        factor = np.divide(totals, own, out=np.ones_like(own), where=own != 0)[..., None]
        return dataclasses.replace(self, sums=self.sums * factor, squares=self.squares * factor**2)

    def alike(self: Kind, other: Kind) -> bool:
        """Return whether bins, pairs and components are those of another table."""
        return (
            self.component_names == other.component_names
            and self.sums.shape == other.sums.shape
            and np.array_equal(self.pairs.z_true, other.pairs.z_true)
            and np.array_equal(self.pairs.z_hypothesis, other.pairs.z_hypothesis)
        )

    @staticmethod
    def merge(tables: Sequence[Kind]) -> Kind:
        """Return the sum of tables over parts of the events (files, chunks, workers).

        Raises:
            TemplateError: there is none, or pairs, bins or components differ.
        """
        if not tables:
            raise TemplateError("tables of counts: there is nothing to merge; pass at least one table")
        first, *others = tables
        if not all(first.alike(other) for other in others):
            raise TemplateError("tables of counts: pairs, bins or components differ; score all parts alike")
        sums = np.sum([table.sums for table in tables], axis=0)
        return dataclasses.replace(first, sums=sums, squares=np.sum([table.squares for table in tables], axis=0))
