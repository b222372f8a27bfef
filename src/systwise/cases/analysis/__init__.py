"""An analysis of one's own: events from files, uncertainties as they come, one YAML file that describes them."""

from systwise.cases.analysis._case import Analysis
from systwise.cases.analysis._compare import Finding
from systwise.cases.analysis._settings import AnalysisSettings

__all__ = ["Analysis", "AnalysisSettings", "Finding"]
