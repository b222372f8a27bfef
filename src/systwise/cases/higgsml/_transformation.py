"""The tau energy scale (TES) as a pure JAX function of the features (arXiv:2105.08742).

The hadronic tau's transverse momentum becomes z times its value, the missing transverse momentum
recoils, and every quantity that depends on either is recomputed. The tau's change and the recoil
cancel in any sum that holds both, so DER_pt_h and DER_pt_tot do not move; they and two others that
z cannot reach are made once, when events are loaded (see `_invariants`).

Everything is float32. Angles are taken relative to the lepton, and differences of nearly equal
numbers are replaced by their conjugates: the textbook forms lose up to 0.1 GeV.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.cases.higgsml._angles import azimuth, half_angle, shortfall, wrap
from systwise.cases.higgsml._columns import COLUMN
from systwise.events import AbstractVariation, Events, Exactness

TAU_MASS = 0.8
"""Mass of the hadronic tau's four-vector in GeV, the challenge's convention."""

THRESHOLD = 22.0
"""The tau's transverse momentum must exceed this, in GeV, after the shift; the file's threshold is 20."""

# Far below the quantities of a real event (GeV^2, or sine^2 times GeV^2); keeps roots differentiable at zero.
_TINY = 1e-12


class TauEnergyScale(AbstractVariation):
    """Scale the hadronic tau's momentum by z and recompute what depends on it; exact at every z."""

    nuisance: str = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Return the events with `PRI_tau_pt` scaled by `z`, one value an event."""
        return eqx.tree_at(lambda e: e.features, events, scale_tau(events.features, z))


def scale_tau(features: Float[Array, "event feature"], z: Float[Array, " event"]) -> Float[Array, "event feature"]:
    """Return the features after the tau's transverse momentum was multiplied by `z`.

    With t, l, m the transverse vectors of the tau (nominal), the lepton and the missing momentum, in GeV:

    - `PRI_tau_pt = z |t|`; `m' = m + (1 - z) t`; `PRI_met = |m'|`, `PRI_met_phi` its azimuth;
    - `DER_mass_transverse_met_lep = sqrt(2 (|l| |m'| - l.m'))`;
    - `DER_mass_vis^2 = m_tau^2 + 2 (E_tau E_l - p_tau.p_l)`, massless lepton, `m_tau = 0.8`;
    - `DER_sum_pt = |l| + z |t| + PRI_jet_all_pt`; `DER_pt_ratio_lep_tau = |l| / (z |t|)`;
    - `DER_met_phi_centrality = (A + B) / sqrt(A^2 + B^2)` with `A = s sin(phi_m' - phi_l)`,
      `B = s sin(phi_t - phi_m')`, `s = sign(sin(phi_t - phi_l))`; 0 where A = B = 0. It jumps between
      values in [-sqrt 2, sqrt 2] where tau, lepton and missing momentum lie on one line.

    All other features are returned as they are. Every derivative is finite, also at the jumps.
    """

    def column(name: str) -> Float[Array, " event"]:
        return features[:, COLUMN[name]]

    tau, lepton, met = column("PRI_tau_pt"), column("PRI_lep_pt"), column("PRI_met")
    lepton_phi = column("PRI_lep_phi")
    # The frame's first axis is the lepton's direction.
    sine, cosine = half_angle(wrap(column("PRI_tau_phi") - lepton_phi))
    tau_x, tau_y, opening = (cosine - sine) * (cosine + sine), 2 * sine * cosine, 2 * sine**2
    sine, cosine = half_angle(wrap(column("PRI_met_phi") - lepton_phi))

    shifted = z * tau
    recoil = (1 - z) * tau
    met_x = met * (cosine - sine) * (cosine + sine) + recoil * tau_x
    met_y = met * (2 * sine * cosine) + recoil * tau_y
    new_met = jnp.sqrt(met_x**2 + met_y**2 + _TINY)

    # |m'| A s and |m'| B s: the length cancels in the centrality.
    across = tau_y * met_x - tau_x * met_y
    square = met_y**2 + across**2
    defined = (square > _TINY) & (tau_y != 0)
    centrality = jnp.sign(tau_y) * (met_y + across) / jnp.sqrt(jnp.where(defined, square, 1))

    new = {
        "DER_mass_transverse_met_lep": jnp.sqrt(jnp.maximum(2 * lepton * shortfall(met_x, met_y, new_met), _TINY)),
        "DER_mass_vis": _visible_mass(shifted, column("PRI_tau_eta"), lepton, column("PRI_lep_eta"), opening),
        "DER_sum_pt": lepton + shifted + column("PRI_jet_all_pt"),
        "DER_pt_ratio_lep_tau": lepton / shifted,
        "DER_met_phi_centrality": jnp.where(defined, centrality, 0),
        "PRI_tau_pt": shifted,
        "PRI_met": new_met,
        "PRI_met_phi": wrap(lepton_phi + azimuth(met_x, met_y, new_met)),
    }
    columns = [features[:, index] for index in range(features.shape[1])]
    for name, values in new.items():
        columns[COLUMN[name]] = values
    return jnp.stack(columns, axis=1)


def _visible_mass(
    tau: Float[Array, " event"],
    tau_eta: Float[Array, " event"],
    lepton: Float[Array, " event"],
    lepton_eta: Float[Array, " event"],
    opening: Float[Array, " event"],
) -> Float[Array, " event"]:
    """Return the mass of tau and lepton, `opening` being `1 - cos dphi`.

    `m^2 = m_tau^2 + 2 [(E_tau - p_tau) E_l + pT_tau pT_l (cosh deta - cos dphi)]`, with
    `E - p = m^2 / (E + p)` and `cosh deta - 1 = (a - b)^2 / (2 a b)` for `a, b = exp(eta)`.
    """
    a, b = jnp.exp(tau_eta), jnp.exp(lepton_eta)
    momentum = 0.5 * tau * (a + 1 / a)
    lepton_energy = 0.5 * lepton * (b + 1 / b)
    deficit = TAU_MASS**2 / (jnp.sqrt(momentum**2 + TAU_MASS**2) + momentum)
    distance = 0.5 * (a - b) ** 2 / (a * b) + opening
    return jnp.sqrt(TAU_MASS**2 + 2 * (deficit * lepton_energy + tau * lepton * distance))
