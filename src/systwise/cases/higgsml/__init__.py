"""HiggsML: the ATLAS challenge of 2014 with a tau-energy-scale nuisance (arXiv:2105.08742)."""

from systwise.cases.higgsml._case import Higgsml
from systwise.cases.higgsml._columns import FEATURES, PROCESSES, UNDEFINED, recover_process
from systwise.cases.higgsml._settings import HiggsmlSettings
from systwise.cases.higgsml._transformation import TAU_MASS, THRESHOLD, TauEnergyScale, scale_tau

__all__ = [
    "FEATURES",
    "PROCESSES",
    "TAU_MASS",
    "THRESHOLD",
    "UNDEFINED",
    "Higgsml",
    "HiggsmlSettings",
    "TauEnergyScale",
    "recover_process",
    "scale_tau",
]
