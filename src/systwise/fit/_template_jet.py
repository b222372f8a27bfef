"""Templates with their derivatives by the nuisances, factor by factor.

With `T = A M`, A the sum of a base and added shapes, M the product of factors, logarithmic derivatives
keep many nuisances cheap: `T_i = T h_i`, and `T_ij = T (h_i h_j - e_i e_j)` for two different nuisances, where
`e_i = A_i / A` and `h_i = e_i + M_i / M`. Only the diagonal needs second derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from systwise.fit._effects import Effect
from systwise.fit._joint_morph import JointMorph
from systwise.fit._morph import Morph

Sparse = Array | float
"""A derivative: a plain 0.0 is left out of sums while tracing."""


class TemplateJet(NamedTuple):
    """Templates and logarithmic derivatives, arrays `[component, bin or 1, point, data]`.

    Attributes:
        value: the templates.
        slope: `T_i / T`, one a nuisance.
        added: `A_i / A`, one a nuisance.
        diagonal: `T_ii / T`, one a nuisance.
        mixed: what `T_ij / T` holds beside `h_i h_j - e_i e_j`, by pairs i > j (joint grids).
    """

    value: Array
    slope: list[Sparse]
    added: list[Sparse]
    diagonal: list[Sparse]
    mixed: dict[tuple[int, int], Array]

    def scaled(self, factor: Array) -> TemplateJet:
        """Return the same with the templates multiplied by a constant factor."""
        return self._replace(value=self.value * factor)

    def second(self, i: int, j: int) -> Sparse:
        """Return `T_ij / T`; a plain 0.0 where it vanishes."""
        if i == j:
            return self.diagonal[i]
        if _absent(self.slope[i]) or _absent(self.slope[j]):
            return 0.0
        total = self.slope[i] * self.slope[j]
        if not (_absent(self.added[i]) or _absent(self.added[j])):
            total = total - self.added[i] * self.added[j]
        extra = self.mixed.get((max(i, j), min(i, j)))
        return total if extra is None else total + extra


def _absent(value: Sparse) -> bool:
    return isinstance(value, float) and value == 0.0


def template_jet(
    morph: Morph | JointMorph, morphed: Sequence[int], effects: Sequence[Effect], z: Sequence[Array]
) -> TemplateJet:
    """Return the templates at nuisance values `z`, each `[point, data]`.

    Args:
        morph: the base contents as a function of the nuisances numbered `morphed`.
        morphed: numbers of the nuisances that the morph depends on, in its order.
        effects: factors and added shapes.
        z: values of all nuisances.
    """
    count = len(z)
    value, slopes, diagonals, mixed_of_morph = morph.log_jet([z[j] for j in morphed])
    factor: list[Sparse] = [0.0] * count
    # (product)'' / product = (sum g)^2 - sum g^2 + sum m''/m over the factors of one nuisance.
    squares: list[Sparse] = [0.0] * count
    seconds: list[Sparse] = [0.0] * count
    for j, first, second in zip(morphed, slopes, diagonals, strict=True):
        factor[j], squares[j], seconds[j] = first, first**2, second
    mixed = {(morphed[i], morphed[j]): term for (i, j), term in mixed_of_morph.items()}
    added: list[Sparse] = [0.0] * count
    curved: list[Sparse] = [0.0] * count
    shapes = [(effect.nuisance, effect.jet(z[effect.nuisance])) for effect in effects if effect.additive]
    if shapes:
        # A model holds either a morph or added shapes: the base is constant here.
        for _, triple in shapes:
            value = value + triple[0]
        # An empty bin stays empty but for what is added to it.
        safe = jnp.where(jnp.abs(value) < 1e-30, 1e-30, value)
        for j, triple in shapes:
            added[j] = added[j] + triple[1] / safe
            curved[j] = curved[j] + triple[2] / safe
        value = safe
    for effect in effects:
        if effect.additive:
            continue
        j = effect.nuisance
        m, m_first, m_second = effect.jet(z[j])
        value = value * m
        safe = jnp.where(jnp.abs(m) < 1e-150, 1e-150, m)
        g = m_first / safe
        factor[j], squares[j], seconds[j] = factor[j] + g, squares[j] + g**2, seconds[j] + m_second / safe
    slope: list[Sparse] = []
    diagonal: list[Sparse] = []
    for j in range(count):
        slope.append(added[j] + factor[j])
        total: Sparse = 0.0
        if not _absent(factor[j]):
            total = factor[j] ** 2 - squares[j] + seconds[j]
        if not _absent(added[j]):
            total = total + curved[j] + 2 * added[j] * factor[j]
        diagonal.append(total)
    return TemplateJet(value, slope, added, diagonal, mixed)
