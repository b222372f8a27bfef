"""A sample of Higgs + jets events: features, weights in pb, and what follows from their sums."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np
from jaxtyping import Bool, Float, Int

from systwise.cases.higgs_jets._generator_settings import SCALES, GeneratorSettings, Process
from systwise.cases.higgs_jets._one_jet_phase_space import OneJetPoints
from systwise.cases.higgs_jets._physics import COEFFICIENTS
from systwise.cases.higgs_jets._two_jet_phase_space import TwoJetPoints

FEATURES: dict[Process, tuple[str, ...]] = {
    "hj": ("pt_j1", "eta_j1", "y_h"),
    "hjj": ("pt_j1", "eta_j1", "pt_j2", "eta_j2", "dphi_jj", "m_jj", "deta_jj", "pt_h"),
}
"""Names of the features of each process; momenta and masses in GeV.

Jets are ordered in pt (j1 the harder). dphi_jj is the azimuth between the jets in [0, pi],
deta_jj = |eta_j1 - eta_j2|, y_h the Higgs boson's rapidity, pt_h its transverse momentum.
"""

VERSION = 2
"""Version of the generated numbers; stored samples of another version are made again."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Weighted events whose weights add up to the cross section.

    Attributes:
        process: `hj` or `hjj`.
        generated: number of points drawn, with those that are not kept.
        number: `[event]` which of the drawn points an event is, from 0.
        features: `[event, feature]`, in the order of `FEATURES`.
        weights: `[event, scale, coefficient]` in pb, in the orders of `SCALES` and `COEFFICIENTS`.
        fingerprint: identifies the run or the file.
        seed: seed of the run; None for events from elsewhere.
        settings: settings of the run; None for events from elsewhere.
    """

    process: Process
    generated: int
    number: Int[np.ndarray, " event"]
    features: Float[np.ndarray, "event feature"]
    weights: Float[np.ndarray, "event scale coefficient"]
    fingerprint: str
    seed: int | None = None
    settings: GeneratorSettings | None = None

    def __len__(self) -> int:
        """Number of events kept."""
        return len(self.number)

    def feature(self, name: str) -> Float[np.ndarray, " event"]:
        """Return one feature's values by name."""
        return self.features[:, FEATURES[self.process].index(name)]

    def coupling_weights(self, c_t: float, c_g: float, scale: int = 0) -> Float[np.ndarray, " event"]:
        """Return `c_t^2 w_tt + c_t c_g w_tg + c_g^2 w_gg` in pb at a scale choice (its index in `SCALES`)."""
        powers = np.array([c_t**2, c_t * c_g, c_g**2])
        return self.weights[:, scale].astype(np.float64) @ powers

    def cross_section(
        self, c_t: float, c_g: float, scale: int = 0, where: Bool[np.ndarray, " event"] | None = None
    ) -> tuple[float, float]:
        """Return the cross section and its statistical error, in pb.

        With n drawn points, `sigma = sum w` and `error^2 = (n sum w^2 - (sum w)^2) / (n - 1)`.

        Args:
            c_t: top Yukawa coupling over its Standard Model value.
            c_g: effective gluon coupling.
            scale: index into `SCALES`.
            where: which events to count; all by default.
        """
        weights = self.coupling_weights(c_t, c_g, scale)
        weights = weights if where is None else weights[where]
        total, n = float(weights.sum()), self.generated
        return total, math.sqrt(max(n * float(weights @ weights) - total**2, 0.0) / max(n - 1, 1))

    def blind_slope(self, scale: int = 0) -> tuple[float, float]:
        """Return `d c_g / d c_t = -2 S_tt / S_tg`, along which the rate stands still at (1, 0), and its error.

        -1 in the heavy-top limit, where only c_t + c_g matters.
        """
        tt, tg = self.weights[:, scale, :2].astype(np.float64).T
        ratio = tt.sum() / tg.sum()
        return -2 * float(ratio), 2 * float(np.sqrt(np.sum((tt - ratio * tg) ** 2)) / tg.sum())

    @property
    def effective_fraction(self) -> float:
        """(sum w)^2 / (n sum w^2) of the Standard Model weights: what an event is worth in statistics."""
        weights = self.coupling_weights(1.0, 0.0)
        return float(weights.sum() ** 2 / (weights @ weights) / self.generated)


def scale_name(index: int) -> str:
    """Return the name of a scale choice in columns, `r05_f1` for (mu_R, mu_F) = (0.5, 1) mu_0."""
    renormalisation, factorisation = (f"{factor:g}".replace(".", "") for factor in SCALES[index])
    return f"r{renormalisation}_f{factorisation}"


WEIGHT_COLUMNS = tuple(
    f"weight_{coefficient}_{scale_name(index)}" for index in range(len(SCALES)) for coefficient in COEFFICIENTS
)
"""Names of the columns of weights, `weight_COEFFICIENT_SCALE`; coefficients run fastest."""


def one_jet_features(points: OneJetPoints) -> Float[np.ndarray, "event feature"]:
    """Return the features of h j."""
    return np.stack([points.jet_pt, points.jet_rapidity, points.higgs_rapidity], axis=-1)


def two_jet_features(points: TwoJetPoints) -> Float[np.ndarray, "event feature"]:
    """Return the features of h j j."""
    return jet_pair_features(points.jet_pt, points.jet_rapidity, points.angle, points.higgs_pt)


def jet_pair_features(
    jet_pt: Float[np.ndarray, "2 event"],
    jet_eta: Float[np.ndarray, "2 event"],
    angle: Float[np.ndarray, " event"],
    higgs_pt: Float[np.ndarray, " event"],
) -> Float[np.ndarray, "event feature"]:
    """Return the features of two massless jets, ordered in transverse momentum.

    `m_jj^2 = 2 pt_1 pt_2 (cosh(deta) - cos(dphi))`.

    Args:
        jet_pt: `[jet, event]` transverse momenta in GeV.
        jet_eta: `[jet, event]` pseudorapidities.
        angle: azimuth between the jets, in (-pi, pi).
        higgs_pt: transverse momentum of the Higgs boson in GeV.
    """
    swap = jet_pt[1] > jet_pt[0]
    hard, soft = np.where(swap, jet_pt[::-1], jet_pt)
    eta_hard, eta_soft = np.where(swap, jet_eta[::-1], jet_eta)
    distance, angle = np.abs(eta_hard - eta_soft), np.abs(angle)
    # cosh(a) - cos(b) without a difference of nearly equal numbers.
    mass = 2 * np.sqrt(hard * soft * (np.sinh(distance / 2) ** 2 + np.sin(angle / 2) ** 2))
    return np.stack([hard, eta_hard, soft, eta_soft, angle, mass, distance, higgs_pt], axis=-1)


def run_fingerprint(process: Process, events: int, seed: int, settings: GeneratorSettings, partons: str) -> str:
    """Return 64 hexadecimal digits that identify a run; where the densities lie does not enter, their content does.

    Args:
        process: `hj` or `hjj`.
        events: number of points drawn.
        seed: seed of the run.
        settings: settings of the run.
        partons: fingerprint of the parton densities.
    """
    values = settings.model_dump(mode="json", exclude={"pdf", "pdf_folder"})
    run = {"version": VERSION, "process": process, "events": events, "seed": seed, "partons": partons, **values}
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
