"""Physics problems: how to draw or load their events and how nuisances move them."""

from systwise.cases._case import (
    CASES,
    AbstractCase,
    AbstractTruth,
    Progress,
    StudyDefaults,
    no_progress,
    relabelled,
)

__all__ = ["CASES", "AbstractCase", "AbstractTruth", "Progress", "StudyDefaults", "no_progress", "relabelled"]
