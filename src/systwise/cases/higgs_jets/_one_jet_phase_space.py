"""Phase space of p p -> h + one massless parton; see `_phase_space`."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from systwise.cases.higgs_jets._adaptive_grid import AdaptiveGrid
from systwise.cases.higgs_jets._phase_space import Acceptance, Numbers, chosen_columns, draw_boost
from systwise.cases.higgs_jets._physics import PICOBARN
from systwise.cases.higgs_jets._sampling import Logistic

ONE_JET_NUMBERS = 5
"""Uniform numbers that a point takes."""
ONE_JET_ADAPTED = 3
"""Numbers of its grid: the jet's transverse momentum, and those after the first three."""

_BODY, _TAIL = 3.2, 4.0
_DISTANCE = Logistic(1.1)


@dataclasses.dataclass(frozen=True)
class OneJetPoints:
    """Points of p p -> h j.

    Attributes:
        jet_pt: transverse momentum of the jet and of the Higgs boson.
        jet_rapidity: rapidity (equal to the pseudorapidity) of the jet.
        higgs_rapidity: rapidity of the Higgs boson.
        x1: momentum fraction of the parton that moves along +z.
        x2: of the other.
        invariants: `[s t u, event]` in GeV^2; t = (p1 - p_jet)^2.
        weight: pb; see the module.
    """

    jet_pt: Numbers
    jet_rapidity: Numbers
    higgs_rapidity: Numbers
    x1: Numbers
    x2: Numbers
    invariants: Float[np.ndarray, "3 event"]
    weight: Numbers

    def select(self, chosen: Bool[np.ndarray, " event"]) -> OneJetPoints:
        """Return some of the points."""
        return dataclasses.replace(self, **chosen_columns(self, chosen))


def sample_one_jet(
    uniform: Float[np.ndarray, "5 event"], acceptance: Acceptance, grid: AdaptiveGrid | None = None
) -> OneJetPoints:
    """Return points of h j.

    `d sigma / (d pT^2 dy_j dy_h) = sum x1 f1 x2 f2 |M|^2 / (16 pi s^2)`.

    Args:
        uniform: `[number, event]` in (0, 1).
        acceptance: what to generate.
        grid: of `ONE_JET_ADAPTED` numbers; None leaves them alone.
    """
    grid = AdaptiveGrid.uniform(ONE_JET_ADAPTED) if grid is None else grid
    (near, boost), inverse_grid = grid.part(1).draw(uniform[3:])
    density = acceptance.transverse(_BODY, _TAIL, grid.part(0, 1))
    pt = density.draw(uniform[:3])
    distance = _DISTANCE.draw(near)
    masses = np.stack([pt, np.hypot(pt, acceptance.higgs_mass)])
    distances = np.stack([distance, np.zeros_like(distance)])
    higgs, x1, x2, range_ = draw_boost(boost, masses, distances, acceptance)
    jet = higgs + distance
    t = -x1 * acceptance.energy * pt * np.exp(-jet)
    u = -x2 * acceptance.energy * pt * np.exp(jet)
    s = acceptance.higgs_mass**2 - t - u
    jacobian = 2 * pt / density.density(pt) / _DISTANCE.density(distance) * range_ * inverse_grid
    return OneJetPoints(pt, jet, higgs, x1, x2, np.stack([s, t, u]), PICOBARN * jacobian / (16 * np.pi * s**2))
