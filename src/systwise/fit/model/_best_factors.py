"""Simulation factors at given parameters (Barlow-Beeston lite), and models in which they stay there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.errors import FitError
from systwise.fit.likelihood import BinnedData, Bins
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.precision import in_float64

FROZEN = 1e-14
"""Fraction of a factor's variance that is left where it is frozen."""


@in_float64
def best_factors(model: Model, data: AbstractData, values: Mapping[str, float]) -> Float64[np.ndarray, " bin"]:
    """Return the simulation factor of each bin that minimises the NLL at given parameters; ones for exact templates.

    Args:
        model: the model, its observable fixed.
        data: one data set.
        values: all parameters by name.
    """
    if model.variance is None:
        return np.ones(model.bins)
    observed = jax.tree.map(lambda leaf: leaf[0], model.observed(data.batch()))
    x = np.array([values[name] for name in model.parameter_names])
    return np.asarray(_factors(model.arrays, observed.regions[0], jnp.asarray(x)))[: model.bins]


@jax.jit
def _factors(region: Bins, data: BinnedData, x: Array) -> Array:
    return region.best_factors(data, x)


def simulated_part(
    model: Model, values: Mapping[str, float]
) -> tuple[Float64[np.ndarray, " bin"], Float64[np.ndarray, " bin"]]:
    """Return the simulated part of the expected counts, and all of them, both with factors 1."""
    coefficients = model.coefficients({name: values[name] for name in model.components.pois})
    templates = model.templates({nuisance.name: values[nuisance.name] for nuisance in model.nuisances})
    mask = np.ones_like(templates) if model.simulated is None else model.simulated
    return coefficients @ (mask * templates), coefficients @ templates


def frozen_factors(model: Model, data: AbstractData, values: Mapping[str, float]) -> tuple[Model, AbstractData]:
    """Return model and data in which the simulation factors stay at their best values at given parameters.

    Raises:
        FitError: the observable moves with the hypothesis.
    """
    if model.variance is None:
        return model, data
    if model.moving:
        raise FitError("simulation factors of a moving observable cannot be frozen; use a fixed or anchored observable")
    factors = best_factors(model, data, values)
    # The factors' constraints become so narrow that nothing moves them: no second likelihood is needed.
    return dataclasses.replace(model, variance=model.variance * FROZEN), dataclasses.replace(data, simulated=factors)
