"""The plan of a study, its run, and what is stored. Draws nothing."""

from systwise.study._plan import Plan, make_plan
from systwise.study._plotdata import (
    DecisionFunction,
    FeatureDistribution,
    LikelihoodScan,
    PlaneDensity,
    PlotData,
    ScoreDistribution,
    ScoreTemplates,
    TradeOff,
    TrainingHistory,
)
from systwise.study._results import Measurement, Results, results_schema
from systwise.study._run import run_study
from systwise.study._settings import (
    StudySettings,
    build_case,
    build_strategies,
    merge_settings,
    parse_assignment,
    parse_point,
    read_config,
    resolve_settings,
)
from systwise.study._store import Store
from systwise.study._vary import write_varied

__all__ = [
    "DecisionFunction",
    "FeatureDistribution",
    "LikelihoodScan",
    "Measurement",
    "Plan",
    "PlaneDensity",
    "PlotData",
    "Results",
    "ScoreDistribution",
    "ScoreTemplates",
    "Store",
    "StudySettings",
    "TradeOff",
    "TrainingHistory",
    "build_case",
    "build_strategies",
    "make_plan",
    "merge_settings",
    "parse_assignment",
    "parse_point",
    "read_config",
    "resolve_settings",
    "results_schema",
    "run_study",
    "write_varied",
]
