"""The likelihood at given points, without minimising: maps and curves for a person to look at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.fit._data import Data
from systwise.fit._likelihood import Likelihood, Observed, constant_terms, evaluate
from systwise.fit._model import Model
from systwise.precision import in_float64


@jax.jit
def _surface(lik: Likelihood, observed: Observed, points: Array) -> Array:
    columns = [column[:, None] for column in points.T]
    value, _, _ = evaluate(lik, observed, columns[: lik.pois], columns[lik.pois :], ())
    return (value + constant_terms(lik, observed))[:, 0]


@in_float64
def nll_at(model: Model, data: Data, points: Float64[np.ndarray, "point parameter"]) -> Float64[np.ndarray, " point"]:
    """Return the NLL of one data set at many parameter points, in one call.

    Args:
        model: the model.
        data: one data set.
        points: values in the order of `model.parameter_names`.

    Returns:
        the NLL in the model's convention; infinite where an expected count is not positive.
    """
    return np.asarray(_surface(model.likelihood(), model.observed(data.batch()), jnp.asarray(points, jnp.float64)))
