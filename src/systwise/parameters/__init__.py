"""Parameters of interest, nuisances and their constraints. Knows nothing about events."""

from systwise.parameters._basis import ChebyshevBasis, chebyshev_basis
from systwise.parameters._components import Components, signal_strength
from systwise.parameters._constraint import AbstractConstraint, constraint_kinds, constraint_of
from systwise.parameters._constraints import (
    AsymmetricGaussianConstraint,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    NoConstraint,
    PoissonConstraint,
    UniformConstraint,
)
from systwise.parameters._correlated import CorrelatedGaussian
from systwise.parameters._deviations import Deviations
from systwise.parameters._normalisation import Normalisation
from systwise.parameters._nuisance import Kind, Nuisance, uniform_anchors

__all__ = [
    "AbstractConstraint",
    "AsymmetricGaussianConstraint",
    "ChebyshevBasis",
    "Components",
    "CorrelatedGaussian",
    "CountsConstraint",
    "Deviations",
    "GaussianConstraint",
    "Kind",
    "LogNormalConstraint",
    "NoConstraint",
    "Normalisation",
    "Nuisance",
    "PoissonConstraint",
    "UniformConstraint",
    "chebyshev_basis",
    "constraint_kinds",
    "constraint_of",
    "signal_strength",
    "uniform_anchors",
]
