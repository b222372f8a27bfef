"""Where events are scored: pairs of a true nuisance point and a hypothesised one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.parameters import Nuisance


def shaped(nuisances: Sequence[Nuisance]) -> list[int]:
    """Return the positions of the nuisances that move events: all but those of kind `norm`."""
    return [position for position, nuisance in enumerate(nuisances) if nuisance.kind != "norm"]


def nuisance_point(nuisances: Sequence[Nuisance], values: Mapping[str, float] | None = None) -> np.ndarray:
    """Return `[nuisance]` float64: the nominal point with `values` put in by name.

    Raises:
        TemplateError: a name is not a nuisance of the case.
    """
    values = dict(values or {})
    unknown = set(values) - {nuisance.name for nuisance in nuisances}
    if unknown:
        known = ", ".join(nuisance.name for nuisance in nuisances)
        raise TemplateError(f"nuisance point: '{sorted(unknown)[0]}' is not a nuisance of this case (known: {known})")
    return np.array([values.get(nuisance.name, nuisance.nominal) for nuisance in nuisances], np.float64)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs (z_true, z_hypothesis): events shifted to the first, scored as if the second held.

    Attributes:
        z_true: `[pair, nuisance]` values to which the events are shifted.
        z_hypothesis: `[pair, nuisance]` values given to the observable; equal to `z_true` for a
            fixed observable, which ignores them.
    """

    z_true: Float64[np.ndarray, "pair nuisance"]
    z_hypothesis: Float64[np.ndarray, "pair nuisance"]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.z_true)

    def find(self, z_true: np.ndarray, z_hypothesis: np.ndarray | None = None) -> int:
        """Return the index of a pair; `z_hypothesis` defaults to `z_true`.

        Raises:
            TemplateError: the pair was not scored; the message names the point.
        """
        z_true = np.asarray(z_true, np.float64)
        z_hypothesis = z_true if z_hypothesis is None else np.asarray(z_hypothesis, np.float64)
        near = np.all(_close(self.z_true, z_true) & _close(self.z_hypothesis, z_hypothesis), axis=1)
        if not near.any():
            raise TemplateError(
                f"events at z_true={z_true.tolist()} were not scored at z_hypothesis={z_hypothesis.tolist()}; "
                "add the point to the anchors or to the true points and score again"
            )
        return int(np.argmax(near))

    def diagonal(self, nuisances: Sequence[Nuisance]) -> tuple[np.ndarray, ...]:
        """Return, for each nuisance, the `[anchor]` indices of the pairs (anchor, anchor)."""
        return tuple(
            np.array([self.find(point) for point in anchor_points(nuisances, position)])
            for position in shaped(nuisances)
        )

    def at_true(self, nuisances: Sequence[Nuisance], z_true: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return, for each nuisance, the `[anchor]` indices of the pairs (z_true, anchor)."""
        return tuple(
            np.array([self.find(z_true, point) for point in anchor_points(nuisances, position)])
            for position in shaped(nuisances)
        )


def anchor_pairs(
    nuisances: Sequence[Nuisance], true_points: Sequence[Mapping[str, float]] = (), moving: bool = False
) -> Pairs:
    """Return all pairs that templates need; the first is (nominal, nominal).

    Anchors vary one nuisance at a time around the nominal point. Every observable needs the pairs
    (anchor, anchor) and (true, true); a moving one also (true, anchor), the data at the truth as each
    hypothesis sees them. Pairs that coincide are listed once.

    Args:
        nuisances: the nuisances with their anchors.
        true_points: `{nuisance: value}` each, nominal where a name is missing.
        moving: whether the observable depends on the hypothesised nuisance.
    """
    anchors = [point for position in shaped(nuisances) for point in anchor_points(nuisances, position)]
    truths = [nuisance_point(nuisances, values) for values in true_points]
    wanted = [(point, point) for point in (nuisance_point(nuisances), *anchors, *truths)]
    if moving:
        wanted += [(truth, anchor) for truth in truths for anchor in anchors]
    true, hypothesis = (np.stack(column) for column in zip(*wanted, strict=True))
    kept: list[int] = []
    for i in range(len(wanted)):
        same = _close(true[kept], true[i]) & _close(hypothesis[kept], hypothesis[i])
        if not same.all(axis=1).any():
            kept.append(i)
    return Pairs(true[kept], hypothesis[kept])


def anchor_points(nuisances: Sequence[Nuisance], position: int) -> list[np.ndarray]:
    """Return the points at which nuisance `position` stands on its anchors, the others nominal."""
    nuisance = nuisances[position]
    return [nuisance_point(nuisances, {nuisance.name: anchor}) for anchor in nuisance.anchors]


def _close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.isclose(a, b, rtol=1e-9, atol=1e-12)
