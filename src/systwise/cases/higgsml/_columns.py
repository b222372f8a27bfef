"""Columns of the HiggsML file: names, order of the features, and processes recovered from weights.

Momenta and masses are in GeV, angles in radians; a value that does not exist in an event (the second
jet of a one-jet event) is `UNDEFINED`. Source: CERN Open Data record 328 and its documentation,
DOI 10.7483/OPENDATA.ATLAS.ZBP2.M5T8 and 10.7483/OPENDATA.ATLAS.MQ5J.GHXA.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

UNDEFINED = -999.0
"""Stands in the file for a quantity that an event does not have."""

FEATURES = (
    "DER_mass_transverse_met_lep",
    "DER_mass_vis",
    "DER_pt_h",
    "DER_deltaeta_jet_jet",
    "DER_mass_jet_jet",
    "DER_prodeta_jet_jet",
    "DER_deltar_tau_lep",
    "DER_pt_tot",
    "DER_sum_pt",
    "DER_pt_ratio_lep_tau",
    "DER_met_phi_centrality",
    "DER_lep_eta_centrality",
    "PRI_tau_pt",
    "PRI_tau_eta",
    "PRI_tau_phi",
    "PRI_lep_pt",
    "PRI_lep_eta",
    "PRI_lep_phi",
    "PRI_met",
    "PRI_met_phi",
    "PRI_met_sumet",
    "PRI_jet_num",
    "PRI_jet_leading_pt",
    "PRI_jet_leading_eta",
    "PRI_jet_leading_phi",
    "PRI_jet_subleading_pt",
    "PRI_jet_subleading_eta",
    "PRI_jet_subleading_phi",
    "PRI_jet_all_pt",
)
"""The 29 features, in the file's order; DER_mass_MMC is left out since it cannot be recomputed."""

COLUMN = {name: index for index, name in enumerate(FEATURES)}
"""Position of each feature on the `[feature]` axis."""

ID, WEIGHT, LABEL = "EventId", "Weight", "Label"
"""Names of the columns that are not features."""

POSITIVE = ("PRI_tau_pt", "PRI_lep_pt")
"""Columns that every event has and that the transformation divides by."""

PROCESSES = ("signal", "Z", "ttbar", "W")
"""Process names, in the order of their codes."""

SIGNAL, Z, TTBAR, W = range(len(PROCESSES))

_TTBAR_CODES = np.array([2268701])
_Z_CODES = np.array(
    [
        917703,
        5127399,
        4435976,
        4187604,
        2407146,
        1307751,
        944596,
        936590,
        1093224,
        225326,
        217575,
        195328,
        254338,
    ]
)


def unit(feature: str) -> str:
    """Return the unit of a feature; empty for numbers, pseudorapidities and ratios.

    >>> unit("DER_mass_vis"), unit("PRI_met_phi"), unit("DER_pt_ratio_lep_tau")
    ('GeV', 'rad', '')
    """
    if feature.endswith("_phi"):
        return "rad"
    momentum = feature.startswith(("DER_mass", "DER_pt_h", "DER_pt_tot", "PRI_met"))
    return "GeV" if momentum or feature.endswith("_pt") else ""


def recover_process(weight: Float[np.ndarray, " event"], is_signal: np.ndarray) -> Int[np.ndarray, " event"]:
    """Return the process of each event as an int8 code into `PROCESSES`.

    The file names signal and background only, but each simulated sample has weights of its own, so
    that `floor(10^7 weight + 1/2)` tells backgrounds apart: one value is ttbar, thirteen are Z, all
    others W. The label decides on signal. A file whose weights were changed has its backgrounds under W.

    Args:
        weight: the file's `Weight`, in float64, before any rescaling.
        is_signal: whether the label says signal.

    >>> weight = np.array([0.2268701, 0.0917703, 1.2345, 0.0008145])
    >>> [PROCESSES[code] for code in recover_process(weight, np.array([False, False, False, True]))]
    ['ttbar', 'Z', 'W', 'signal']
    """
    code = np.floor(1e7 * weight + 0.5)
    process = np.full(len(code), W, np.int8)
    process[np.isin(code, _Z_CODES)] = Z
    process[np.isin(code, _TTBAR_CODES)] = TTBAR
    process[is_signal] = SIGNAL
    return process
