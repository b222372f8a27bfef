"""Constraints of nuisances that are known together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from systwise.errors import ConfigError
from systwise.parameters import AbstractConstraint, CorrelatedGaussian
from systwise.registry import suggestion
from systwise.study.config._settings import CorrelationSettings


def correlated(
    constraints: Sequence[AbstractConstraint], correlations: Sequence[CorrelationSettings]
) -> tuple[AbstractConstraint | CorrelatedGaussian, ...]:
    """Return the constraints with those of correlated nuisances joined to one `CorrelatedGaussian`, which come last.

    The covariance is `rho_ij width_i width_j`; nuisances that no entry joins keep their own constraint.

    Args:
        constraints: one a nuisance.
        correlations: pairs of nuisances and their correlation coefficients.

    Raises:
        ConfigError: an unknown nuisance, a pair given twice or of one nuisance, a constraint that is no
            Gaussian, or coefficients that contradict each other.
    """
    if not correlations:
        return tuple(constraints)
    by_name = {constraint.nuisance: constraint for constraint in constraints}
    names = list(dict.fromkeys(name for entry in correlations for name in entry.nuisances))
    widths: list[float] = []
    for name in names:
        if name not in by_name:
            known = list(by_name)
            raise ConfigError(
                f"fit.correlations: no nuisance '{name}'{suggestion(name, known)} (known: {', '.join(known)})"
            )
        # The width of a Gaussian does not depend on where it is centred.
        deviations = by_name[name].deviations(0.0)
        if deviations is None or deviations.width is None:
            raise ConfigError(
                f"fit.correlations: the constraint on '{name}' is no plain Gaussian, which a correlation needs; "
                "leave it out"
            )
        widths.append(deviations.width)
    matrix = np.eye(len(names))
    for entry in correlations:
        i, j = (names.index(name) for name in entry.nuisances)
        if i == j or matrix[i, j] != 0:
            raise ConfigError(
                f"fit.correlations: {' and '.join(entry.nuisances)}: give each pair of two nuisances once"
            )
        matrix[i, j] = matrix[j, i] = entry.value
    joined = CorrelatedGaussian(names, matrix * np.outer(widths, widths))
    return (*(c for c in constraints if c.nuisance not in names), joined)
