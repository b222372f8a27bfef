"""The likelihood at given points, without minimising: maps and curves for a person to look at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.fit.likelihood import Likelihood, Observed
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.precision import in_float64


@jax.jit
def _surface(lik: Likelihood, observed: Observed, points: Array) -> Array:
    return jax.lax.map(lambda x: lik.value(observed, x), points, batch_size=64) + lik.constant(observed)


@in_float64
def nll_at(
    model: Model, data: AbstractData, points: Float64[np.ndarray, "point parameter"]
) -> Float64[np.ndarray, " point"]:
    """Return the NLL of one data set at many parameter points, in one call.

    Args:
        model: the model.
        data: one data set.
        points: values in the order of `model.parameter_names`.

    Returns:
        the NLL in the model's convention; infinite where an expected count is not positive.
    """
    observed = jax.tree.map(lambda leaf: leaf[0], model.observed(data.batch()))
    return np.asarray(_surface(model.likelihood(), observed, jnp.asarray(points, jnp.float64)))
