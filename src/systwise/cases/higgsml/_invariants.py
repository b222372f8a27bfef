"""Derived quantities that the tau energy scale cannot move, recomputed once when events are loaded.

The file's derived columns come from unrounded momenta and its primitive columns are rounded to three
decimals, so that the two disagree a little. Here all derived columns follow from the primitive ones,
at every z, the nominal value included; else z = 1 would differ from z = 1.0001 by the rounding.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from systwise.cases.higgsml._columns import COLUMN, UNDEFINED


def recompute_invariants(features: Float[np.ndarray, "event feature"]) -> Float[np.ndarray, "event feature"]:
    """Replace, in place, the derived columns that do not depend on z, and return the features.

    Computed in float64, stored in the features' type.

    With t, l, m, j1, j2 the transverse vectors of tau, lepton, missing momentum and jets (GeV):

    - `DER_pt_h = |t + l + m|`, `DER_pt_tot = |t + l + m + j1 + j2|` with the jets that exist;
    - `DER_deltar_tau_lep = sqrt(deta^2 + dphi^2)`, dphi within [-pi, pi];
    - `DER_lep_eta_centrality = exp(-4 (eta_l - (eta_1 + eta_2) / 2)^2 / (eta_1 - eta_2)^2)` of events
      with two jets, 0 where eta_1 = eta_2.

    The dijet columns, which follow from jets alone, stay the file's.
    """

    def column(name: str) -> Float[np.ndarray, " event"]:
        return features[:, COLUMN[name]].astype(np.float64)

    def vector(transverse: Float[np.ndarray, " event"], phi: str) -> np.ndarray:
        return transverse * np.exp(1j * column(phi))

    tau_eta, lepton_eta = column("PRI_tau_eta"), column("PRI_lep_eta")
    total = (
        vector(column("PRI_tau_pt"), "PRI_tau_phi")
        + vector(column("PRI_lep_pt"), "PRI_lep_phi")
        + vector(column("PRI_met"), "PRI_met_phi")
    )
    features[:, COLUMN["DER_pt_h"]] = np.abs(total)

    jets = column("PRI_jet_num")
    for least, jet in ((1, "PRI_jet_leading"), (2, "PRI_jet_subleading")):
        total += vector(np.where(jets >= least, column(f"{jet}_pt"), 0), f"{jet}_phi")
    features[:, COLUMN["DER_pt_tot"]] = np.abs(total)

    turn = 2 * np.pi
    dphi = column("PRI_tau_phi") - column("PRI_lep_phi")
    dphi -= turn * np.round(dphi / turn)
    features[:, COLUMN["DER_deltar_tau_lep"]] = np.hypot(tau_eta - lepton_eta, dphi)

    first, second = column("PRI_jet_leading_eta"), column("PRI_jet_subleading_eta")
    apart = first != second
    distance = (lepton_eta - (first + second) / 2) / np.where(apart, first - second, 1)
    centrality = np.where(apart, np.exp(-4 * distance**2), 0)
    features[:, COLUMN["DER_lep_eta_centrality"]] = np.where(jets >= 2, centrality, UNDEFINED)
    return features
