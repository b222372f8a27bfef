"""Parameters of interest, nuisances and their constraints. Knows nothing about events."""

from systwise.parameters._components import Components, signal_strength
from systwise.parameters._constraints import (
    AbstractConstraint,
    CountsConstraint,
    GaussianConstraint,
    NoConstraint,
)
from systwise.parameters._nuisance import Nuisance, uniform_anchors

__all__ = [
    "AbstractConstraint",
    "Components",
    "CountsConstraint",
    "GaussianConstraint",
    "NoConstraint",
    "Nuisance",
    "signal_strength",
    "uniform_anchors",
]
