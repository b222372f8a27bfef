"""Phase space of p p -> h + two massless partons; see `_phase_space`."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float

from systwise.cases.higgs_jets._adaptive_grid import AdaptiveGrid
from systwise.cases.higgs_jets._phase_space import Acceptance, Numbers, chosen_columns, draw_boost
from systwise.cases.higgs_jets._physics import PICOBARN
from systwise.cases.higgs_jets._sampling import Logistic, PowerLaw

TWO_JET_NUMBERS = 10
"""Uniform numbers that a point takes."""
TWO_JET_ADAPTED = 8
"""Numbers of its grid: the harder jet's transverse momentum, and those after the first three."""

_BODY, _TAIL = 3.0, 4.0
_SOFTER = PowerLaw(1.9)
_DISTANCE = Logistic(1.2)
_RING_FRACTION = 0.2


@dataclasses.dataclass(frozen=True)
class TwoJetPoints:
    """Points of p p -> h j j; the two jets carry labels, and all of phase space is covered for each order.

    Attributes:
        jet_pt: `[jet, event]` transverse momenta.
        jet_rapidity: `[jet, event]` rapidities.
        angle: azimuth of the second jet relative to the first's, in (-pi, pi).
        higgs_rapidity: rapidity of the Higgs boson.
        x1: momentum fraction of the parton that moves along +z.
        x2: of the other.
        momenta: `[event, leg, (E, px, py, pz)]` of the incoming partons (positive energies) and the jets.
        weight: pb; see the module.
    """

    jet_pt: Float[np.ndarray, "2 event"]
    jet_rapidity: Float[np.ndarray, "2 event"]
    angle: Numbers
    higgs_rapidity: Numbers
    x1: Numbers
    x2: Numbers
    momenta: Float[np.ndarray, "event 4 4"]
    weight: Numbers

    @property
    def higgs_pt(self) -> Numbers:
        """Transverse momentum of the Higgs boson, which balances the jets'."""
        return np.hypot(*_transverse_sum(self.jet_pt, self.angle))

    def select(self, chosen: Bool[np.ndarray, " event"]) -> TwoJetPoints:
        """Return some of the points."""
        return dataclasses.replace(self, **chosen_columns(self, chosen))


def sample_two_jets(
    uniform: Float[np.ndarray, "10 event"], acceptance: Acceptance, grid: AdaptiveGrid | None = None
) -> TwoJetPoints:
    """Return points of h j j.

    `d sigma / (d^2p1 d^2p2 dy1 dy2 dy_h) = sum x1 f1 x2 f2 |M|^2 / (8 (2 pi)^5 s^2)`.

    Args:
        uniform: `[number, event]` in (0, 1).
        acceptance: what to generate.
        grid: of `TWO_JET_ADAPTED` numbers; None leaves them alone.
    """
    grid = AdaptiveGrid.uniform(TWO_JET_ADAPTED) if grid is None else grid
    adapted, inverse_grid = grid.part(1).draw(uniform[3:])
    pt, inverse_pt = _two_transverse(uniform[:3], adapted[:2], acceptance, grid.part(0, 1))
    distances, angle, inverse_angle = _two_directions(adapted[2:6], acceptance)
    higgs_pt = np.hypot(*_transverse_sum(pt, angle))
    masses = np.stack([*pt, np.hypot(higgs_pt, acceptance.higgs_mass)])
    distances = np.concatenate([distances, np.zeros((1, len(angle)))])
    higgs, x1, x2, range_ = draw_boost(adapted[6], masses, distances, acceptance)
    rapidity = higgs + distances[:2]
    s = x1 * x2 * acceptance.energy**2
    # Two azimuths less the one between the jets: a factor 2 pi.
    jacobian = 2 * np.pi * pt[0] * pt[1] * inverse_pt * inverse_angle * range_ * inverse_grid
    apart = np.hypot(rapidity[0] - rapidity[1], angle) > acceptance.jet_separation
    weight = np.where(apart, PICOBARN * jacobian / (8 * (2 * np.pi) ** 5 * s**2), 0.0)
    momenta = _momenta(pt, rapidity, angle, x1, x2, acceptance.energy)
    return TwoJetPoints(pt, rapidity, angle, higgs, x1, x2, momenta, weight)


def _two_transverse(
    uniform: Float[np.ndarray, "3 event"],
    others: Float[np.ndarray, "2 event"],
    acceptance: Acceptance,
    grid: AdaptiveGrid,
) -> tuple[Float[np.ndarray, "2 event"], Numbers]:
    """Return `[jet, event]` transverse momenta, either the harder, and the inverse of their density."""
    density = acceptance.transverse(_BODY, _TAIL, grid)
    hard = density.draw(uniform)
    soft = _SOFTER.draw(others[0], acceptance.jet_pt, hard)
    inverse = 2 / (density.density(hard) * _SOFTER.density(soft, acceptance.jet_pt, hard))
    return np.where(others[1] < 0.5, np.stack([hard, soft]), np.stack([soft, hard])), inverse


def _two_directions(
    uniform: Float[np.ndarray, "4 event"], acceptance: Acceptance
) -> tuple[Float[np.ndarray, "2 event"], Numbers, Numbers]:
    """Return `[jet, event]` rapidities less the Higgs boson's, the azimuth between the jets and 1/density.

    A mixture: jets that know nothing of each other, and a second jet whose distance R from the first
    falls like 1/R (the density in the plane like 1/R^2), as a parton's splitting in two has it.
    """
    first = _DISTANCE.draw(uniform[1])
    logarithm = math.log(np.pi / acceptance.jet_separation)
    radius = np.pi * np.exp(-logarithm * uniform[2])
    near = uniform[0] < _RING_FRACTION
    around = 2 * np.pi * uniform[3]
    second = np.where(near, first + radius * np.sin(around), _DISTANCE.draw(uniform[2]))
    angle = np.where(near, radius * np.cos(around), np.pi * (2 * uniform[3] - 1))
    apart = np.hypot(second - first, angle)
    inside = (apart >= acceptance.jet_separation) & (apart <= np.pi)
    ring = np.where(inside, 1 / (2 * np.pi * logarithm * np.maximum(apart, 1e-9) ** 2), 0.0)
    free = _DISTANCE.density(second) / (2 * np.pi)
    density = _DISTANCE.density(first) * ((1 - _RING_FRACTION) * free + _RING_FRACTION * ring)
    return np.stack([first, second]), angle, 1 / density


def _transverse_sum(pt: Float[np.ndarray, "2 event"], angle: Numbers) -> tuple[Numbers, Numbers]:
    """Return the transverse components of the jets' sum, the first jet along x."""
    return pt[0] + pt[1] * np.cos(angle), pt[1] * np.sin(angle)


def _momenta(
    pt: Float[np.ndarray, "2 event"],
    rapidity: Float[np.ndarray, "2 event"],
    angle: Numbers,
    x1: Numbers,
    x2: Numbers,
    energy: float,
) -> Float[np.ndarray, "event 4 4"]:
    """Return `[event, leg, (E, px, py, pz)]`, the first jet along x."""
    momenta = np.zeros((len(angle), 4, 4))
    momenta[:, 0, 0] = momenta[:, 0, 3] = 0.5 * energy * x1
    momenta[:, 1, 0] = 0.5 * energy * x2
    momenta[:, 1, 3] = -momenta[:, 1, 0]
    momenta[:, 2:, 0] = (pt * np.cosh(rapidity)).T
    momenta[:, 2:, 3] = (pt * np.sinh(rapidity)).T
    momenta[:, 2, 1] = pt[0]
    momenta[:, 3, 1] = pt[1] * np.cos(angle)
    momenta[:, 3, 2] = pt[1] * np.sin(angle)
    return momenta
