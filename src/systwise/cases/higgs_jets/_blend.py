"""Finite top mass for H + two jets: heavy-top squares reweighted with the exact ones of H + one jet.

The two jets are put together as one: what the top loop resolves is, to a few per cent, the momentum of the
recoil. Against exact one-loop amplitudes at 13 TeV (jets above 30 GeV), summed over channels:

- the Standard Model's rate closes within 0.4 % inclusively, 2 % for pT_H above 200 or 400 GeV, and 6 % where the
  harder jet is above 300 GeV; the interference within 0.1 %, 2 % and 5 %;
- single events scatter by 5 % inclusively, by 10 to 14 % in those tails;
- single channels do not close: gg does within some per cent, but channels of four quarks (3 % of the rate), whose
  loop sees two virtual gluons, can be wrong by a factor of a few at high momentum transfer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from systwise.cases.higgs_jets._one_jet import gluon_ratios, quark_form_factor
from systwise.cases.higgs_jets._physics import Masses
from systwise.cases.higgs_jets._two_jets import CHANNELS
from systwise.errors import ConfigError

BLEND = 0.4
"""The share of the all-gluon ratios in every channel."""
LEAST_PT = 0.5
"""Higgs transverse momentum, in GeV, below which the ratios are taken as constant."""

GluonRatios = Callable[
    [Float[np.ndarray, " event"], Float[np.ndarray, " event"], Float[np.ndarray, " event"]],
    tuple[Float[np.ndarray, " event"], Float[np.ndarray, " event"]],
]


def one_jet_invariants(
    jets: Float[np.ndarray, "event 2 4"], higgs_rapidity: Float[np.ndarray, " event"], masses: Masses
) -> tuple[Float[np.ndarray, " event"], Float[np.ndarray, " event"], Float[np.ndarray, " event"]]:
    """Return (s, t, u) in GeV^2 of the H + one jet event with the same recoil.

    With `p_T` that of the jet pair, d the rapidity of the pair less that of the Higgs boson and
    `m_T^2 = p_T^2 + m_H^2`:
    `s = p_T^2 + m_T^2 + 2 p_T m_T cosh d`, `t = -p_T^2 - p_T m_T e^-d`, `u = -p_T^2 - p_T m_T e^d`.

    Args:
        jets: (E, px, py, pz) of both jets, GeV.
        higgs_rapidity: True rapidity of the Higgs boson, in the frame of the jets.
        masses: Masses, for m_H.
    """
    energy, px, py, pz = np.moveaxis(jets.sum(axis=1), 1, 0)
    transverse = np.maximum(np.hypot(px, py), LEAST_PT)
    distance = 0.5 * np.log((energy + pz) / (energy - pz)) - higgs_rapidity
    product = transverse * np.sqrt(transverse**2 + masses.higgs**2)
    t = -(transverse**2) - product * np.exp(-distance)
    u = -(transverse**2) - product * np.exp(distance)
    return masses.higgs**2 - t - u, t, u


def blended_coefficients(
    channel_weights: Float[np.ndarray, "channel event"],
    jets: Float[np.ndarray, "event 2 4"],
    higgs_rapidity: Float[np.ndarray, " event"],
    masses: Masses,
    gluon: GluonRatios | None = None,
    blend: float = BLEND,
) -> Float[np.ndarray, "coefficient event"]:
    """Return the weights of c_t^2, c_t c_g and c_g^2 of H + two jets with a finite top mass.

    Each channel c has ratios of the exact square and of the exact interference to the heavy-top square:
    `R_c = |A(t)|^2, I_c = Re A(t)` of the form factor for qg, the same at u for gq, and the all-gluon
    ratios (R_gg, I_gg) for the others. With the heavy-top weights w_c:

    - `w_tt = sum_c w_c [(1 - blend) R_c + blend R_gg]`,
    - `w_tg = 2 sum_c w_c [(1 - blend) I_c + blend I_gg]`,
    - `w_gg = sum_c w_c`.

    As `I^2 <= R` for each, `w_tg^2 <= 4 w_tt w_gg`: no couplings make a weight negative.

    Args:
        channel_weights: Heavy-top square times luminosity, a row per channel of `CHANNELS`, any unit.
        jets: (E, px, py, pz) of both jets, GeV; parton 1 moves along +z.
        higgs_rapidity: True rapidity of the Higgs boson, in the frame of the jets.
        masses: Masses of Higgs boson and top quark.
        gluon: Evaluates (R_gg, I_gg) at (s, t, u), such as a table; the exact amplitudes by default.
        blend: Share of the all-gluon ratios, 0.4 as tuned to the exact amplitudes.

    Raises:
        ConfigError: `blend` is not between 0 and 1, where weights may turn negative.
    """
    if not 0 <= blend <= 1:
        raise ConfigError(f"the blend of loop ratios is {blend:g}: choose a share between 0 and 1, such as {BLEND}")
    s, t, u = one_jet_invariants(jets, higgs_rapidity, masses)
    gluon_square, gluon_interference = gluon_ratios(s, t, u, masses) if gluon is None else gluon(s, t, u)
    # an interpolated table may miss I^2 <= R, an equality at low pT, by its interpolation error
    gluon_interference = np.clip(gluon_interference, -np.sqrt(gluon_square), np.sqrt(gluon_square))
    total = channel_weights.sum(axis=0)
    square, interference = total * gluon_square, total * gluon_interference
    for channel, virtuality in (("qg", t), ("gq", u)):
        weight = (1 - blend) * channel_weights[CHANNELS.index(channel)]
        form = quark_form_factor(virtuality, masses)
        square += weight * (form.real**2 + form.imag**2 - gluon_square)
        interference += weight * (form.real - gluon_interference)
    return np.stack([square, 2 * interference, total])
