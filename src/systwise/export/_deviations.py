"""Nuisances in units of their standard deviations, as HistFactory counts them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from systwise.errors import ConfigError
from systwise.parameters import (
    AbstractConstraint,
    AsymmetricGaussianConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    Nuisance,
)


@dataclasses.dataclass(frozen=True)
class Deviations:
    """The map between a nuisance in its own unit and alpha, whose constraint is a unit Gaussian around 0.

    Gaussian: `z = nominal + width alpha`; asymmetric: `up` above and `down` below; log-normal:
    `z = nominal kappa^alpha`. Each turns our constraint into `alpha^2 / 2` exactly.

    Attributes:
        nominal: the value at alpha = 0.
        up, down: widths, or the logarithm of kappa.
        logarithmic: whether alpha is linear in ln z.
    """

    nominal: float
    up: float
    down: float
    logarithmic: bool = False

    def value(self, alpha: float) -> float:
        """Return the nuisance in its own unit.

        >>> Deviations(1.0, 0.05, 0.02).value(-1.0)
        0.98
        """
        shift = alpha * (self.up if alpha >= 0 else self.down)
        return self.nominal * math.exp(shift) if self.logarithmic else self.nominal + shift

    def alpha(self, z: float) -> float:
        """Return how many standard deviations `z` lies above the nominal value."""
        shift = z - self.nominal
        if self.logarithmic:
            shift = math.log(z / self.nominal) if z > 0 else -math.inf
        return shift / (self.up if shift >= 0 else self.down)


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
    if isinstance(constraint, GaussianConstraint):
        found = Deviations(nominal, constraint.width, constraint.width)
    elif isinstance(constraint, AsymmetricGaussianConstraint):
        found = Deviations(nominal, constraint.up, constraint.down)
    elif isinstance(constraint, LogNormalConstraint):
        found = Deviations(nominal, math.log(constraint.kappa), math.log(constraint.kappa), logarithmic=True)
    else:
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
