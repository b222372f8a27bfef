"""Which nuisances HistFactory can hold, in its unit, the standard deviation."""

from __future__ import annotations

import math

import numpy as np

from systwise.errors import ConfigError
from systwise.parameters import AbstractConstraint, Deviations, Nuisance


def free(constraint: AbstractConstraint) -> bool:
    """Return whether nothing but its range constrains a nuisance."""
    return not constraint.observed


def deviations(nuisance: Nuisance, constraint: AbstractConstraint, centre: np.ndarray) -> Deviations:
    """Return a nuisance's map to standard deviations.

    Args:
        nuisance: the nuisance.
        constraint: what is known of it.
        centre: its auxiliary data.

    Raises:
        ConfigError: a constraint that is no Gaussian in any simple variable, or one that is not centred on the
            nominal value.
    """
    name, nominal = nuisance.name, nuisance.nominal
    found = constraint.deviations(nominal)
    if found is None:
        raise ConfigError(
            f"nuisance '{name}': HistFactory moves templates by nuisances with a Gaussian constraint only, and this "
            f"one has {_described(constraint)}; give it a Gaussian constraint"
        )
    middle = math.log(nominal) if found.logarithmic and nominal > 0 else nominal
    if abs(float(centre[0]) - middle) > 1e-9 * max(1.0, abs(middle)):
        raise ConfigError(
            f"nuisance '{name}': its constraint is centred on {float(centre[0]):g} and not on the nominal value; "
            "export data whose constraints are centred on the nominal values"
        )
    return found


def _described(constraint: AbstractConstraint) -> str:
    return "none" if free(constraint) else f"an auxiliary measurement ({type(constraint).__name__})"
