"""Sums of weights in the cells of an anchored observable, and the templates made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int

from systwise.errors import TemplateError
from systwise.parameters import Normalisation, Nuisance
from systwise.templates._pairs import Pairs, anchor_points, nuisance_point
from systwise.templates._score_table import yield_factors


@dataclasses.dataclass(frozen=True)
class JointTable:
    """Sums of weights and of squared weights in the cells of a joint binning, float64 NumPy.

    Attributes:
        pairs: the true points of the first axis (the observable is fixed: no hypothesis beside them).
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
        """Return the number of cells."""
        return self.sums.shape[-1]

    @property
    def totals(self) -> Float64[np.ndarray, "pair component"]:
        """Return the total yields `[pair, component]` of the scored events."""
        return self.sums.sum(axis=-1)

    def joined(self, cells: Int[np.ndarray, " bin"]) -> JointTable:
        """Return the table in which bin b is part of bin `cells[b]`, numbered without gaps."""
        member = np.eye(int(np.max(cells)) + 1)[cells]
        return dataclasses.replace(self, sums=self.sums @ member, squares=self.squares @ member)

    def scaled_to(self, totals: Float64[np.ndarray, "pair component"]) -> JointTable:
        """Return the same shapes with the given total yields; variances scale by the factor squared.

        Raises:
            TemplateError: a component has a yield but no scored events at some point.
        """
        factor = yield_factors(self.totals, totals, self.pairs, self.component_names)[..., None]
        return dataclasses.replace(self, sums=self.sums * factor, squares=self.squares * factor**2)

    @staticmethod
    def merge(tables: Sequence[JointTable]) -> JointTable:
        """Return the sum of tables over parts of the events (files, chunks, workers).

        Raises:
            TemplateError: there is none, or points, cells or components differ.
        """
        if not tables:
            raise TemplateError("joint tables: there is nothing to merge; pass at least one table")
        first = tables[0]
        for other in tables[1:]:
            same = (
                first.component_names == other.component_names
                and first.sums.shape == other.sums.shape
                and np.array_equal(first.pairs.z_true, other.pairs.z_true)
            )
            if not same:
                raise TemplateError("joint tables: points, cells or components differ; score all parts alike")
        sums = np.sum([table.sums for table in tables], axis=0)
        return dataclasses.replace(first, sums=sums, squares=np.sum([table.squares for table in tables], axis=0))


def joint_points(
    nuisances: Sequence[Nuisance],
    true_points: Sequence[Mapping[str, float]] = (),
    normalisations: Sequence[Normalisation] = (),
) -> Float64[np.ndarray, "pair nuisance"]:
    """Return the distinct points `[pair, nuisance]` to which events are shifted; the first is nominal.

    Args:
        nuisances: all nuisances with their anchors, which vary one at a time.
        true_points: `{nuisance: value}` each, nominal where a name is missing.
        normalisations: nuisances that move no event and so have no points of their own.
    """
    exact = {n.name for n in nuisances if n.kind == "norm"} | {rate.nuisance for rate in normalisations}
    points = [nuisance_point(nuisances)]
    for position, nuisance in enumerate(nuisances):
        if nuisance.name not in exact:
            points += anchor_points(nuisances, position)
    points += [nuisance_point(nuisances, {k: v for k, v in p.items() if k not in exact}) for p in true_points]
    kept: list[np.ndarray] = []
    for point in points:
        if not any(np.allclose(point, other, rtol=1e-9, atol=1e-12) for other in kept):
            kept.append(point)
    return np.stack(kept)
