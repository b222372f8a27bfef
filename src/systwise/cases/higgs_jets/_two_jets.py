"""Averaged squares of p p -> H j j with the effective heavy-top coupling, channel by channel."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from systwise.cases.higgs_jets._physics import Masses
from systwise.cases.higgs_jets._spinors import SpinorProducts, spinor_products
from systwise.cases.higgs_jets._two_jets_gluons import four_gluons
from systwise.cases.higgs_jets._two_jets_quarks import different_quarks, identical_quarks, quarks_and_gluons

CHANNELS = ("gg", "qg", "gq", "qq", "qQ", "qqbar")
"""Incoming partons: q is any quark or antiquark, qq one flavour twice, qQ two flavours, qqbar a pair."""
OTHER_FLAVOURS = 4
BLOCK = 2048
"""Events at a time: temporaries of this length stay in the processor's cache."""


def two_jet_squares(momenta: Float[np.ndarray, "event leg 4"], masses: Masses) -> Float[np.ndarray, "channel event"]:
    """Return `|M|^2 / alpha_s^4` in GeV^-2, summed over final states and averaged over incoming partons.

    The jets are labelled: integrate over the whole phase space of both, without a factor 1/2. Two distinct
    partons in the final state are counted with one labelling, so that qg, gq, qQ and qqbar change when the
    jets are exchanged; where jets are ordered, sum the squares of both labellings.

    With five flavours, `g^4 (alpha_s / 3 pi v)^2 = 16 alpha_s^4 / (9 v^2)` taken out and legs counted from 1:

    - gg: `(G / 2 + 5 X(4, 3, 1, 2)) / 256`;
    - qg: `X(1, 3, 2, 4) / 96`, jet 3 the quark; gq: `X(2, 3, 1, 4) / 96`;
    - qq: `I(1, 2, 3, 4) / 72`; qQ: `Y(1, 2, 3, 4) / 36`;
    - qqbar: `(X(1, 2, 3, 4) / 2 + I(1, 4, 3, 2) + 4 Y(1, 4, 2, 3)) / 36`.

    Args:
        momenta: Incoming partons 1 (along +z) and 2, jets 3 and 4; (E, px, py, pz) in GeV, all E > 0. What
            the jets leave of the incoming momentum is the Higgs boson's.
        masses: Masses, for the vacuum expectation value v.
    """
    result = np.empty((len(CHANNELS), len(momenta)))
    for start in range(0, len(momenta), BLOCK):
        part = slice(start, start + BLOCK)
        result[:, part] = averaged_squares(spinor_products(momenta[part]))
    return result * (16 / (9 * masses.vacuum**2))


def averaged_squares(products: SpinorProducts) -> Float[np.ndarray, "channel event"]:
    """Return the dimensionless averaged squares, without the coupling `16 alpha_s^4 / (9 v^2)`."""
    gluons = four_gluons(products) / 2 + (1 + OTHER_FLAVOURS) * quarks_and_gluons(products, 3, 2, 0, 1)
    pair = (
        quarks_and_gluons(products, 0, 1, 2, 3) / 2
        + identical_quarks(products, 0, 3, 2, 1)
        + OTHER_FLAVOURS * different_quarks(products, 0, 3, 1, 2)
    )
    return np.stack(
        [
            gluons / 256,
            quarks_and_gluons(products, 0, 2, 1, 3) / 96,
            quarks_and_gluons(products, 1, 2, 0, 3) / 96,
            identical_quarks(products, 0, 1, 2, 3) / 72,
            different_quarks(products, 0, 1, 2, 3) / 36,
            pair / 36,
        ]
    )
