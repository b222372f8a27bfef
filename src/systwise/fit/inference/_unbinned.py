"""The extended unbinned likelihood at a point; `fit` minimises it.

Starts over a grid of nuisances descend on a part of the events, the best two on all of them. Interval ends are
found with the nuisances in one Newton iteration: every evaluation gives the distance to the profile as well.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.fit.likelihood import Likelihood, Observed, Terms
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit.model._values import Values
from systwise.precision import in_float64


@jax.jit
def _terms(lik: Likelihood, observed: Observed, x: Array) -> Terms:
    return lik.terms(observed, x)


@in_float64
def unbinned_nll(model: UnbinnedModel, data: UnbinnedData, theta: Values, z: Values) -> float:
    """Return the extended unbinned negative log-likelihood.

    `NLL = sum_k c_k(theta) Y_k(z) - sum_i w_i ln sum_k c_k(theta) Y_k(z) r_k(x_i, z) + C(z)`; infinite where
    an event's density is not positive.

    Args:
        model: yields and constraints.
        data: events.
        theta: parameters of interest.
        z: nuisances.

    Raises:
        DataError: the data do not match the model.
    """
    return unbinned_derivatives(model, data, theta, z)[0]


@in_float64
def unbinned_derivatives(
    model: UnbinnedModel, data: UnbinnedData, theta: Values, z: Values
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return NLL, gradient `[parameter]` and Hessian `[parameter, parameter]` (see `unbinned_nll`)."""
    model.check(data)
    lik = model.likelihood(data.basis)
    terms = _terms(lik, data.sets(lik).observed, jnp.asarray(model.values(theta, z)))
    return float(terms.value), np.asarray(terms.gradient), np.asarray(terms.hessian)
