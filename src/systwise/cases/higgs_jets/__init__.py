"""Higgs + jets: a modified top Yukawa coupling and an effective gluon coupling, with a theory scale."""

from systwise.cases.higgs_jets._case import HiggsJets, HiggsJetsSettings
from systwise.cases.higgs_jets._generator import generate
from systwise.cases.higgs_jets._generator_settings import PROCESSES, SCALES, GeneratorSettings
from systwise.cases.higgs_jets._lhe import Hypothesis, read_lhe
from systwise.cases.higgs_jets._sample import FEATURES, WEIGHT_COLUMNS, Sample
from systwise.cases.higgs_jets._storage import load_sample, read_sample, write_sample
from systwise.cases.higgs_jets._wilson import blind_direction, couplings

__all__ = [
    "FEATURES",
    "PROCESSES",
    "SCALES",
    "WEIGHT_COLUMNS",
    "GeneratorSettings",
    "HiggsJets",
    "HiggsJetsSettings",
    "Hypothesis",
    "Sample",
    "blind_direction",
    "couplings",
    "generate",
    "load_sample",
    "read_lhe",
    "read_sample",
    "write_sample",
]
