"""Morphs, likelihoods, profiles and intervals. Imports only `parameters`: enter here with your own histograms.

What to use when: `Model.from_templates` from histograms at anchor values; `Model.data` for observed counts;
`asimov` for expected results at any parameter values (`moving_asimov` where the data's histogram depends on the
hypothesis); `measure` for everything about a data set at once, or in parts: `fit` for a number with its interval and
verdict; `profile` for the curve (`profile_2d` for a map); `pulls`, `impacts`, `postfit_impacts` and `stat_syst_split`
for what makes the uncertainty; `prefit_yields` and `postfit_yields` for what is expected where; `q0`, `cls` and
`upper_limit` for tests, `feldman_cousins` for intervals beside a physical boundary, `goodness_of_fit` for that of the
model; `pseudo_data`, `fit_many` and `Toys` for pseudo-experiments; `UnbinnedModel` for density ratios of every event,
`combined` for several regions, binned and unbinned;
`histfactory_model` for an existing workspace, `read_hs3` and `write_hs3` for one of the HS3 standard; `histogram_model`
for histograms of the UHI protocol; `referee` to have iminuit check a fit.
"""

from systwise.fit.hypothesis._asymptotics import Discovery, ExpectedSignificance, expected_significance, q0, q_mu_tilde
from systwise.fit.hypothesis._feldman_cousins import FeldmanCousins, feldman_cousins
from systwise.fit.hypothesis._goodness_of_fit import GoodnessOfFit, goodness_of_fit
from systwise.fit.hypothesis._limits import CLs, UpperLimit, background_asimov, cls, upper_limit
from systwise.fit.inference._coverage import (
    ONE_SIGMA,
    TWO_SIGMA,
    CoverageSummary,
    Proportion,
    Toys,
    fair_universe_score,
)
from systwise.fit.inference._fit import fit, fit_many
from systwise.fit.inference._profile import Profile, profile, profile_many
from systwise.fit.inference._pseudo_experiments import draw_auxiliary, pseudo_data, toy_generator
from systwise.fit.inference._scan2d import Profile2D, profile_2d, profile_parameter
from systwise.fit.inference._surface import nll_at
from systwise.fit.inference._unbinned import unbinned_derivatives, unbinned_nll
from systwise.fit.inference._unbinned_tables import fit_log_ratios, tabulate
from systwise.fit.interop._histfactory import histfactory_data, histfactory_model
from systwise.fit.interop._histograms import histogram_model
from systwise.fit.interop._hs3 import HS3Analysis, is_hs3, read_hs3
from systwise.fit.interop._hs3_written import write_hs3
from systwise.fit.interop._interpolation import histfactory_interpolation
from systwise.fit.likelihood import CONVENTIONS, Convention
from systwise.fit.model._combined import CombinedData, CombinedModel, combined
from systwise.fit.model._data import AbstractData, Data, MovingData, asimov, moving_asimov, stack, study_auxiliary
from systwise.fit.model._effects import AddedShape, Effect, ExponentialFactor, LinearFactor
from systwise.fit.model._model import Model
from systwise.fit.model._morph import JointMorph, Morph, build_joint_morph, build_morph
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit.results._impacts import Impact, Impacts, impacts
from systwise.fit.results._measurement import Measurement, measure, measure_events, plain_values
from systwise.fit.results._postfit_impacts import PostfitImpacts, postfit_impacts
from systwise.fit.results._printed import error_decimals
from systwise.fit.results._pulls import Pull, Pulls, pulls
from systwise.fit.results._referee import Referee, referee
from systwise.fit.results._result import FitResult, FitResults, SecondMinimum
from systwise.fit.results._split import Frozen, Split, stat_syst_split
from systwise.fit.results._yields import Yields, postfit_yields, predicted_yields, prefit_yields

__all__ = [
    "CONVENTIONS",
    "ONE_SIGMA",
    "TWO_SIGMA",
    "AbstractData",
    "AddedShape",
    "CLs",
    "CombinedData",
    "CombinedModel",
    "Convention",
    "CoverageSummary",
    "Data",
    "Discovery",
    "Effect",
    "ExpectedSignificance",
    "ExponentialFactor",
    "FeldmanCousins",
    "FitResult",
    "FitResults",
    "Frozen",
    "GoodnessOfFit",
    "HS3Analysis",
    "Impact",
    "Impacts",
    "JointMorph",
    "LinearFactor",
    "Measurement",
    "Model",
    "Morph",
    "MovingData",
    "PostfitImpacts",
    "Profile",
    "Profile2D",
    "Proportion",
    "Pull",
    "Pulls",
    "Referee",
    "SecondMinimum",
    "Split",
    "Toys",
    "UnbinnedData",
    "UnbinnedModel",
    "UpperLimit",
    "Yields",
    "asimov",
    "background_asimov",
    "build_joint_morph",
    "build_morph",
    "cls",
    "combined",
    "draw_auxiliary",
    "error_decimals",
    "expected_significance",
    "fair_universe_score",
    "feldman_cousins",
    "fit",
    "fit_log_ratios",
    "fit_many",
    "goodness_of_fit",
    "histfactory_data",
    "histfactory_interpolation",
    "histfactory_model",
    "histogram_model",
    "impacts",
    "is_hs3",
    "measure",
    "measure_events",
    "moving_asimov",
    "nll_at",
    "plain_values",
    "postfit_impacts",
    "postfit_yields",
    "predicted_yields",
    "prefit_yields",
    "profile",
    "profile_2d",
    "profile_many",
    "profile_parameter",
    "pseudo_data",
    "pulls",
    "q0",
    "q_mu_tilde",
    "read_hs3",
    "referee",
    "stack",
    "stat_syst_split",
    "study_auxiliary",
    "tabulate",
    "toy_generator",
    "unbinned_derivatives",
    "unbinned_nll",
    "upper_limit",
    "write_hs3",
]
