"""Sums of weights in the cells of an anchored observable, and the templates made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int

from systwise.parameters import Normalisation, Nuisance
from systwise.templates._pairs import anchor_points, nuisance_point
from systwise.templates.scoring._count_table import CountTable


@dataclasses.dataclass(frozen=True)
class JointTable(CountTable):
    """Weighted counts in the cells of a joint binning."""

    def joined(self, cells: Int[np.ndarray, " bin"]) -> JointTable:
        """Return the table in which bin b is part of bin `cells[b]`, numbered without gaps."""
        member = np.eye(int(np.max(cells)) + 1)[cells]
        return dataclasses.replace(self, sums=self.sums @ member, squares=self.squares @ member)


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
