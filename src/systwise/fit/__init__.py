"""Morphs, likelihoods, profiles and intervals. Imports only `parameters`: enter here with your own histograms.

What to use when: `Model.from_templates` from histograms at anchor values; `asimov` for expected results
at any parameter values (`moving_asimov` where the data's histogram depends on the hypothesis); `fit` for
a number with its interval and verdict; `profile` for the curve; `fit_many` and `profile_many` for
pseudo-experiments.
"""

from systwise.fit._coverage import (
    ONE_SIGMA,
    TWO_SIGMA,
    CoverageSummary,
    Proportion,
    Toys,
    fair_universe_score,
)
from systwise.fit._data import Data, asimov, moving_asimov, stack, study_auxiliary
from systwise.fit._fit import fit, fit_many
from systwise.fit._histfactory import histfactory_data, histfactory_model
from systwise.fit._joint_morph import JointMorph, build_joint_morph
from systwise.fit._likelihood import CONVENTIONS, Convention
from systwise.fit._model import Model
from systwise.fit._morph import Morph, build_morph
from systwise.fit._profile import Profile, profile, profile_many
from systwise.fit._pseudo_experiments import draw_auxiliary, pseudo_data, toy_generator
from systwise.fit._result import FitResult, FitResults, SecondMinimum
from systwise.fit._surface import nll_at
from systwise.fit._unbinned import fit_unbinned, fit_unbinned_many, unbinned_nll
from systwise.fit._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit._unbinned_tables import fit_log_ratios

__all__ = [
    "CONVENTIONS",
    "ONE_SIGMA",
    "TWO_SIGMA",
    "Convention",
    "CoverageSummary",
    "Data",
    "FitResult",
    "FitResults",
    "JointMorph",
    "Model",
    "Morph",
    "Profile",
    "Proportion",
    "SecondMinimum",
    "Toys",
    "UnbinnedData",
    "UnbinnedModel",
    "asimov",
    "build_joint_morph",
    "build_morph",
    "draw_auxiliary",
    "fair_universe_score",
    "fit",
    "fit_log_ratios",
    "fit_many",
    "fit_unbinned",
    "fit_unbinned_many",
    "histfactory_data",
    "histfactory_model",
    "moving_asimov",
    "nll_at",
    "profile",
    "profile_many",
    "pseudo_data",
    "stack",
    "study_auxiliary",
    "toy_generator",
    "unbinned_nll",
]
