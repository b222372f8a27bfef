"""An analysis of one's own: events from files, uncertainties as they come, one YAML file that describes them."""

from systwise.cases.analysis._case import Analysis
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._block import FileEvents
from systwise.cases.analysis.reading._compare import Finding
from systwise.cases.analysis.reading._portions import Portion

__all__ = ["Analysis", "AnalysisSettings", "FileEvents", "Finding", "Portion"]
