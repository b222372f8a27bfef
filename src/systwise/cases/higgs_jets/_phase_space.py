"""What the phase space of h j and of h j j share: the acceptance, and the boost of the whole.

Points are drawn from uniform numbers by inverting densities that follow the squared amplitudes roughly:
power laws in transverse momentum (mixed with a tail that starts higher, so that it is populated),
rapidities relative to the Higgs boson's, and the boost. A grid that has learned from earlier points
(`_adaptive_grid`) comes between the uniform numbers and these densities. The cross section is the mean
over drawn points of `weight * (sum of x1 f1 x2 f2 |M|^2)`; points outside of the acceptance have weight zero.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from systwise.cases.higgs_jets._adaptive_grid import AdaptiveGrid
from systwise.cases.higgs_jets._sampling import AdaptedPowerLaw, Logistic, PowerLaw, TailedPowerLaw

Numbers = Float[np.ndarray, " event"]

_BOOST = Logistic(0.8)


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """What is generated and where; momenta in GeV.

    Attributes:
        energy: energy of the proton-proton system.
        higgs_mass: Higgs mass.
        jet_pt: lowest transverse momentum of each jet.
        jet_eta: largest |pseudorapidity| of each jet.
        jet_separation: smallest distance sqrt(dy^2 + dphi^2) of two jets.
        tail_fraction: fraction of points drawn with the harder jet above `tail_pt`.
        tail_pt: transverse momentum where the tail begins.
    """

    energy: float = 13_000.0
    higgs_mass: float = 125.0
    jet_pt: float = 30.0
    jet_eta: float = 4.5
    jet_separation: float = 0.4
    tail_fraction: float = 0.2
    tail_pt: float = 200.0

    @property
    def highest_pt(self) -> float:
        """The largest transverse momentum that a jet can have, (S - m_h^2)/(2 sqrt(S))."""
        return (self.energy**2 - self.higgs_mass**2) / (2 * self.energy)

    def transverse(self, body: float, tail: float, grid: AdaptiveGrid) -> TailedPowerLaw:
        """Return the density of the harder jet's transverse momentum, from the exponents of its two parts.

        The grid is that of the body's number: the tail is where it was asked for.
        """
        return TailedPowerLaw(
            AdaptedPowerLaw(PowerLaw(body), grid), tail, self.tail_fraction, self.jet_pt, self.tail_pt, self.highest_pt
        )


def draw_boost(
    uniform: Numbers,
    masses: Float[np.ndarray, "particle event"],
    distances: Float[np.ndarray, "particle event"],
    acceptance: Acceptance,
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return the Higgs boson's rapidity, x1, x2 and the inverse of the rapidity's density.

    `x1,2 = sum_i mT_i e^(+-y_i) / sqrt(S)`; the rapidity is drawn where both are below 1 and all jets are
    inside of the acceptance. The inverse is zero where there is no such rapidity, and x1, x2 are kept below 1.

    Args:
        uniform: `[event]` in (0, 1).
        masses: transverse masses, the Higgs boson's last.
        distances: rapidities less the Higgs boson's, the Higgs boson last.
        acceptance: what to generate.
    """
    forward = np.sum(masses * np.exp(distances), axis=0) / acceptance.energy
    backward = np.sum(masses * np.exp(-distances), axis=0) / acceptance.energy
    jets = distances[:-1]
    low = np.maximum(np.log(backward), -acceptance.jet_eta - jets.min(axis=0))
    high = np.minimum(-np.log(forward), acceptance.jet_eta - jets.max(axis=0))
    # Where the whole is at rest, about which parton luminosities are symmetric.
    centre = 0.5 * np.log(backward / forward)
    shift, inverse = _BOOST.draw_between(uniform, low - centre, high - centre)
    higgs = centre + shift
    possible = inverse > 0
    x1 = np.where(possible, np.minimum(forward * np.exp(higgs), 1.0), 0.5)
    x2 = np.where(possible, np.minimum(backward * np.exp(-higgs), 1.0), 0.5)
    return higgs, x1, x2, inverse


def chosen_columns(points: Any, chosen: Bool[np.ndarray, " event"]) -> dict[str, np.ndarray]:
    """Return the arrays of points cut down to some events: `momenta` by its first axis, others by their last."""
    arrays = {field.name: getattr(points, field.name) for field in dataclasses.fields(points)}
    return {name: array[chosen] if name == "momenta" else array[..., chosen] for name, array in arrays.items()}
