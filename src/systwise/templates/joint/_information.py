"""Fisher information of the leaves of a score tree, and of cells made of them.

With `g` the slopes of the expected count `nu` of a leaf in all parameters, the information is
`sum g g^T / nu + constraints`, as for binnings of a single score; here every leaf may join every other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from systwise.parameters import AbstractConstraint, Components, CorrelatedGaussian, Normalisation, Nuisance
from systwise.templates._expectation import coefficient_slopes
from systwise.templates._pairs import anchor_points, nuisance_point
from systwise.templates.joint._table import JointTable

REACHES = (-0.75, -0.375, 0.375, 0.75)
"""Where the information is evaluated, in units of the way to the end of a nuisance's range."""


@dataclasses.dataclass(frozen=True)
class LeafInformation:
    """Slopes and expected counts in leaves, at each point where the information is evaluated.

    Attributes:
        slopes: `[point, leaf, parameter]`, parameters of interest first.
        expected: `[point, leaf]`.
        prior: `[point, parameter, parameter]`, the information of the constraints.
    """

    slopes: np.ndarray
    expected: np.ndarray
    prior: np.ndarray

    def grouped(self, cells: np.ndarray, bins: int) -> LeafInformation:
        """Return the information of cells, `cells` `[leaf]` being the cell of each leaf."""
        member = np.zeros((len(cells), bins))
        member[np.arange(len(cells)), cells] = 1.0
        slopes = np.einsum("elp,lb->ebp", self.slopes, member, optimize=True)
        return dataclasses.replace(self, slopes=slopes, expected=self.expected @ member)

    def covariance(self, other: LeafInformation | None = None) -> np.ndarray:
        """Return the inverse information `[point, parameter, parameter]`.

        Args:
            other: the same from independent events. Slopes of the two are multiplied then: noise in the
                slopes, which poses as information in a square, averages to zero in the product.
        """
        if other is None:
            matrix = np.einsum("ebi,ebj->eij", self.slopes, self.slopes / self.expected[..., None])
        else:
            expected = (self.expected + other.expected) / 2
            matrix = np.einsum("ebi,ebj->eij", self.slopes, other.slopes / expected[..., None])
            matrix = (matrix + np.swapaxes(matrix, 1, 2)) / 2
        return np.linalg.inv(matrix + self.prior)


def leaf_information(
    table: JointTable,
    components: Components,
    nuisances: Sequence[Nuisance],
    constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
    normalisations: Sequence[Normalisation] = (),
) -> LeafInformation:
    """Differentiate splines through the counts of leaves.

    The points are the nominal one and, for each nuisance that moves events, `REACHES` of the way to the
    ends of its range, or of three standard deviations of its constraint where that is nearer.

    Args:
        table: counts in leaves at `joint_points(nuisances, normalisations)`, scaled to the expected yields.
        components: coefficients and their slopes.
        nuisances: nuisances and (few) anchors.
        constraints: what is known of them, matched by name.
        normalisations: nuisances that are factors on yields and move no event.
    """
    nominal = nuisance_point(nuisances)
    central = np.maximum(table.sums[table.pairs.find(nominal)], 0.0)
    factors = {n.name: np.zeros(len(components.names)) for n in nuisances if n.kind == "norm"}
    for rate in normalisations:  # several may act through one nuisance
        factors[rate.nuisance] = factors.get(rate.nuisance, 0.0) + _factor_slopes(rate, components)
    splines = {
        j: CubicSpline(n.anchors, table.sums[[table.pairs.find(z) for z in anchor_points(nuisances, j)]], axis=0)
        for j, n in enumerate(nuisances)
        if n.name not in factors
    }
    reference, by_poi = components.reference(), coefficient_slopes(components)
    spans = [high - low for low, high in (*components.ranges, *(nuisance.range for nuisance in nuisances))]
    # Parameters stay in their ranges; without that a few cells cannot tell free ones apart at all.
    weak = np.diag([1e-6 / span**2 for span in spans])
    slopes, expected, prior = [], [], []
    for z in _points(nuisances, constraints, tuple(splines)):
        moved = [j for j in splines if z[j] != nominal[j]]
        templates = np.maximum(splines[moved[0]](z[moved[0]]), 0.0) if moved else central
        # Nuisances multiply: the effect of one is the same fraction wherever another stands.
        fraction = np.divide(templates, central, out=np.zeros_like(central), where=central > 0)
        turned = []
        for j, nuisance in enumerate(nuisances):
            if j not in splines:
                turned.append(reference @ (factors[nuisance.name][:, None] * templates))
            elif j in moved:
                turned.append(reference @ splines[j](z[j], 1))
            else:
                turned.append(reference @ (fraction * splines[j](nominal[j], 1)))
        counts = reference @ templates
        # A leaf may be empty at some points; it must not be divided by there.
        expected.append(np.maximum(counts, 1e-9 * counts.sum() / len(counts)))
        slopes.append(np.stack([*(by_poi @ templates), *turned], axis=-1))
        prior.append(_known(nuisances, constraints, z, len(by_poi)) + weak)
    return LeafInformation(np.stack(slopes), np.stack(expected), np.stack(prior))


def _factor_slopes(normalisation: Normalisation, components: Components) -> np.ndarray:
    """Return `[component]`, the slope of the logarithm of the factor at its nominal value."""
    down, up = normalisation.factors
    slope = 1.0 if normalisation.kind == "linear" else (np.log(up) - np.log(down)) / 2
    return np.array([slope * (name in normalisation.components) for name in components.names])


def _known(
    nuisances: Sequence[Nuisance],
    constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
    z: np.ndarray,
    pois: int,
) -> np.ndarray:
    """Return the constraints' information `[parameter, parameter]` at `z`."""
    names = [nuisance.name for nuisance in nuisances]
    known = np.zeros((pois + len(names),) * 2)
    for constraint in constraints:
        own = np.array([names.index(name) for name in constraint.nuisances])
        known[np.ix_(pois + own, pois + own)] += constraint.information_matrix(z[own])
    return known


def _points(
    nuisances: Sequence[Nuisance],
    constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
    moving: Sequence[int],
) -> list[np.ndarray]:
    """Return the nuisance points `[nuisance]` at which the information is evaluated, the nominal one first."""
    nominal = nuisance_point(nuisances)
    known = np.diag(_known(nuisances, constraints, nominal, 0))
    measured = {name for c in constraints if c.measured for name in c.nuisances}
    points = [nominal]
    for j in moving:
        for reach in REACHES:
            step = abs(reach) * abs(nuisances[j].range[int(reach > 0)] - nominal[j])
            if known[j] > 0 and nuisances[j].name not in measured:
                step = min(step, abs(reach) * 3 * known[j] ** -0.5)
            if step > 0:
                point = nominal.copy()
                point[j] += np.sign(reach) * step
                points.append(point)
    return points
