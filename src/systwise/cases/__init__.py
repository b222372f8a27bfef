"""Physics problems: how to draw or load their events and how nuisances move them."""

from systwise.cases._case import CASES, AbstractCase, AbstractTruth, Progress, no_progress, relabelled
from systwise.cases._study_defaults import StudyDefaults
from systwise.cases.analysis import Analysis, AnalysisSettings, FileEvents, Finding, Portion

__all__ = [
    "CASES",
    "AbstractCase",
    "AbstractTruth",
    "Analysis",
    "AnalysisSettings",
    "FileEvents",
    "Finding",
    "Portion",
    "Progress",
    "StudyDefaults",
    "no_progress",
    "relabelled",
]
