"""The plan of a study, its run, and what is stored. Draws nothing."""

from systwise.atomic import write_atomically
from systwise.study.config._settings import (
    StudySettings,
    build_case,
    build_strategies,
    merge_settings,
    parse_assignment,
    parse_point,
    read_config,
    resolve_settings,
)
from systwise.study.plan._analysis import (
    AnalysisCheck,
    analysis_schema,
    check_analysis,
    example_analysis,
    write_example,
)
from systwise.study.plan._checked import RegionCheck
from systwise.study.plan._plan import Plan, make_plan
from systwise.study.plan._vary import write_varied
from systwise.study.records._inference import ImpactRecord, InferenceRecord, PullRecord, SplitRecord
from systwise.study.records._plotdata import (
    DecisionFunction,
    FeatureDistribution,
    LikelihoodScan,
    PlaneDensity,
    PlaneScan,
    PlotData,
    RatioCheck,
    ScoreDistribution,
    ScoreTemplates,
    TradeOff,
    TrainingHistory,
)
from systwise.study.records._results import (
    DataRecord,
    Measurement,
    NuisanceRecord,
    Results,
    Timings,
    ToyRecord,
    results_schema,
    schema_text,
)
from systwise.study.records._summary import Spread, Summary
from systwise.study.run._classified import FileColumns, RunEvents
from systwise.study.run._merge import merge_studies
from systwise.study.run._run import run_study
from systwise.study.run._unblind import STAGES, Unblinded, read_counts, stored_rows, unblind
from systwise.study.significance._hypotheses import Hypotheses
from systwise.study.significance._hypothesis_tests import HypothesisTests, Systematics
from systwise.study.significance._plots import SignificancePlane, SignificanceTradeOff
from systwise.study.significance._records import (
    ClassifierRecord,
    FakeRecord,
    RegionRecord,
    SignificanceRecord,
    ToldCheckRecord,
    ToyCheckRecord,
)
from systwise.study.significance._region_table import RegionTable
from systwise.study.significance._settings import SignificanceSettings
from systwise.study.significance._study import Question, SignificanceResults, significance_study
from systwise.study.store._manifest import Manifest, versions
from systwise.study.store._store import Store
from systwise.study.store._templates import StoredTemplates, nominal_variances

__all__ = [
    "STAGES",
    "AnalysisCheck",
    "ClassifierRecord",
    "DataRecord",
    "DecisionFunction",
    "FakeRecord",
    "FeatureDistribution",
    "FileColumns",
    "Hypotheses",
    "HypothesisTests",
    "ImpactRecord",
    "InferenceRecord",
    "LikelihoodScan",
    "Manifest",
    "Measurement",
    "NuisanceRecord",
    "Plan",
    "PlaneDensity",
    "PlaneScan",
    "PlotData",
    "PullRecord",
    "Question",
    "RatioCheck",
    "RegionCheck",
    "RegionRecord",
    "RegionTable",
    "Results",
    "RunEvents",
    "ScoreDistribution",
    "ScoreTemplates",
    "SignificancePlane",
    "SignificanceRecord",
    "SignificanceResults",
    "SignificanceSettings",
    "SignificanceTradeOff",
    "SplitRecord",
    "Spread",
    "Store",
    "StoredTemplates",
    "StudySettings",
    "Summary",
    "Systematics",
    "Timings",
    "ToldCheckRecord",
    "ToyCheckRecord",
    "ToyRecord",
    "TradeOff",
    "TrainingHistory",
    "Unblinded",
    "analysis_schema",
    "build_case",
    "build_strategies",
    "check_analysis",
    "example_analysis",
    "make_plan",
    "merge_settings",
    "merge_studies",
    "nominal_variances",
    "parse_assignment",
    "parse_point",
    "read_config",
    "read_counts",
    "resolve_settings",
    "results_schema",
    "run_study",
    "schema_text",
    "significance_study",
    "stored_rows",
    "unblind",
    "versions",
    "write_atomically",
    "write_example",
    "write_varied",
]
