"""Expected counts and their slopes in pre-bins: all that the Fisher information of a binning needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from systwise.parameters import AbstractConstraint, Components, Nuisance
from systwise.templates._expectation import coefficient_slopes, effective_counts
from systwise.templates._pairs import shaped
from systwise.templates.binning._smoothing import smooth_curves
from systwise.templates.scoring._score_table import ScoreTable


@dataclasses.dataclass(frozen=True)
class PrebinnedInformation:
    """Slopes and expected counts in pre-bins, at each point where the information is evaluated.

    Attributes:
        slopes: `[point, prebin, parameter]`, parameters of interest first.
        expected: `[point, prebin]`.
        prior: `[point, parameter, parameter]`, the information of the constraints.
        weights: `[point]`, how much the logarithm of the variance at each point counts.
    """

    slopes: np.ndarray
    expected: np.ndarray
    prior: np.ndarray
    weights: np.ndarray

    def grouped(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes and expected counts of the bins between the pre-bin edges `kept`."""
        return np.add.reduceat(self.slopes, kept[:-1], axis=1), np.add.reduceat(self.expected, kept[:-1], axis=1)

    def cost(self, kept: np.ndarray, poi: int) -> float:
        """Return the weighted sum of `ln variance` of parameter `poi` for a binning."""
        covariance = np.linalg.inv(information(*self.grouped(kept)) + self.prior)
        return float(self.weights @ np.log(covariance[:, poi, poi]))


def information(slopes: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return `sum_b g_b g_b^T / nu_b`, `[point, parameter, parameter]`."""
    return np.einsum("ebi,ebj->eij", slopes, slopes / expected[..., None])


def prebinned_information(
    table: ScoreTable,
    components: Components,
    nuisances: Sequence[Nuisance],
    constraints: Sequence[AbstractConstraint],
    diagonal: Sequence[np.ndarray],
    positions: np.ndarray,
) -> PrebinnedInformation:
    """Differentiate splines through the templates at the points of `_points`.

    Splines are linear in the templates, so that slopes of merged bins are sums of slopes. The nominal
    point counts as much as all others together.

    Args:
        table: scores, scaled to the expected yields; the first pair is the nominal one.
        components: coefficients and their slopes.
        nuisances: nuisances and anchors.
        constraints: one a nuisance. Nuisances of kind `norm` are left out: they tell no bins apart.
        diagonal: for each nuisance the `[anchor]` indices of the pairs (anchor, anchor).
        positions: `[prebin + 1]` indices of the pre-bin edges among the fine edges.
    """
    kept = shaped(nuisances)
    nuisances, constraints = [nuisances[j] for j in kept], [constraints[j] for j in kept]
    sums = np.add.reduceat(table.sums, positions[:-1], axis=-1)
    nominal = [nuisance.nominal for nuisance in nuisances]
    splines = [CubicSpline(n.anchors, sums[pairs], axis=0) for n, pairs in zip(nuisances, diagonal, strict=True)]
    central = splines[0](nominal[0]) if splines else sums[0]
    reference, by_poi = components.reference(), coefficient_slopes(components)
    # Parameters stay in their ranges; without that a few bins cannot tell free ones apart at all.
    spans = [high - low for low, high in (*components.ranges, *(nuisance.range for nuisance in nuisances))]
    weak = np.diag([1e-6 / span**2 for span in spans])
    by_pois, by_nuisances, expected, prior = [], [], [], []
    for moved, value in _points(nuisances, constraints):
        templates = splines[moved](value) if splines else central
        # Nuisances multiply: the effect of one is the same fraction wherever another stands.
        fraction = np.divide(templates, central, out=np.ones_like(central), where=central > 0)
        turned = [
            spline(value, 1) if position == moved else fraction * spline(nominal[position], 1)
            for position, spline in enumerate(splines)
        ]
        # A spline may dip below zero between anchors where a process fades out.
        counts = reference @ templates
        counts = np.maximum(counts, 1e-12 * counts.max())
        expected.append(counts)
        by_pois.append((by_poi @ templates).T)
        by_nuisances.append(np.array([reference @ t for t in turned]).reshape(-1, len(counts)).T / counts[:, None])
        at = [value if position == moved else nominal[position] for position in range(len(nuisances))]
        known = [float(c.information(jnp.asarray(z))) for c, z in zip(constraints, at, strict=True)]
        prior.append(np.diag([0.0] * len(by_poi) + known) + weak)
    # Noise in the slopes poses as information: merging would keep apart what fluctuates most.
    squares = np.add.reduceat(table.squares[0], positions[:-1], axis=-1)
    weights = effective_counts(sums[0], squares, components)
    smooth = smooth_curves(np.concatenate(by_nuisances, axis=-1), np.maximum(weights, 1e-3 * weights.max()))
    relative = np.stack(np.split(smooth, len(expected), axis=-1))
    counts = np.stack(expected)
    slopes = np.concatenate([np.stack(by_pois), relative * counts[..., None]], axis=-1)
    others = len(expected) - 1
    weights = np.array([0.5, *[0.5 / others] * others]) if others else np.ones(1)
    return PrebinnedInformation(slopes, counts, np.stack(prior), weights)


def _points(nuisances: Sequence[Nuisance], constraints: Sequence[AbstractConstraint]) -> list[tuple[int, float]]:
    """Return (nuisance, value) of the points at which the information is evaluated."""
    points = [(0, nuisances[0].nominal if nuisances else 0.0)]
    for position, (nuisance, constraint) in enumerate(zip(nuisances, constraints, strict=True)):
        known = float(constraint.information(jnp.asarray(nuisance.nominal)))
        for end in nuisance.range:
            reach = (end - nuisance.nominal) / 2
            if known > 0 and not constraint.measured:
                reach = np.sign(reach) * min(abs(2 * reach), known**-0.5)
            if reach != 0:
                points.append((position, nuisance.nominal + float(reach)))
    return points
