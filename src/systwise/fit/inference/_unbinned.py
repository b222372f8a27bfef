"""The unbinned fit: global minimum, covariance and intervals of the extended likelihood.

Use it with learned or exact density ratios (`UnbinnedData`); `fit_unbinned_many` for pseudo-experiments.
Starts over a grid of nuisances descend on a part of the events, the best two on all of them. Interval ends are
found with the nuisances in one Newton iteration: every evaluation gives the distance to the profile as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.errors import DataError, FitError
from systwise.fit.inference._engine import LEVELS, Intervals, Task, fitted, results_of
from systwise.fit.likelihood import BLOCK, Likelihood, Observed, Terms
from systwise.fit.minimise import Found
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel, blocks_for
from systwise.fit.model._values import Values
from systwise.fit.results._result import FitResult, FitResults
from systwise.parameters import ChebyshevBasis
from systwise.precision import in_float64

SAMPLE = 2 * BLOCK
"""Events on which all starts descend."""


def _check(model: UnbinnedModel, data: UnbinnedData) -> None:
    components = len(model.components.names)
    if data.coefficients.shape[1] != components:
        raise DataError(f"unbinned data: {data.coefficients.shape[1]} components where the model has {components}")
    wanted = len(model.constraints) + len(model.joint)
    if len(data.auxiliary) != wanted:
        raise DataError(
            f"unbinned data: {len(data.auxiliary)} auxiliary arrays for {wanted} constraints; "
            "give one a nuisance, in the model's order, then one a joint constraint"
        )
    if len(data.basis.exponents[0]) != len(model.nuisances):
        raise DataError(
            f"unbinned data: polynomials in {len(data.basis.exponents[0])} nuisances where the model has "
            f"{len(model.nuisances)}"
        )


def _same(one: ChebyshevBasis, other: ChebyshevBasis) -> bool:
    arrays = (one.centre, other.centre), (one.half, other.half)
    return one.exponents == other.exponents and all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in arrays)


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
    _check(model, data)
    lik = model.likelihood(data.basis)
    terms = _terms(lik, data.sets(lik).observed, jnp.asarray(model.values(theta, z)))
    return float(terms.value), np.asarray(terms.gradient), np.asarray(terms.hessian)


def fit_unbinned_many(model: UnbinnedModel, data: Sequence[UnbinnedData], poi: int = 0) -> FitResults:
    """Fit every data set, as `fit_unbinned` does; they may differ in size.

    Args:
        model: yields and constraints.
        data: data sets.
        poi: number of the parameter of interest whose intervals are wanted; others are profiled.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: a data set does not match the model.
        FitError: there is no data set, or no such parameter.
    """
    if not data:
        raise FitError("fit_unbinned_many: no data sets given")
    if not 0 <= poi < len(model.components.pois):
        raise FitError(f"parameter of interest {poi}: the model has {len(model.components.pois)}, counted from 0")
    for one in data:
        _check(model, one)
    basis = data[0].basis
    if any(not _same(one.basis, basis) for one in data):
        raise FitError("fit_unbinned_many: data sets in different polynomials; fit them one by one")
    room, lik, first = blocks_for(data), model.likelihood(basis), model.theta_starts()

    @in_float64
    def run(number: int) -> tuple[Found, Intervals]:
        one = data[number]
        task = Task(model, lik, one.sets(lik, room), one.sets(lik, SAMPLE // BLOCK, SAMPLE), first)
        return fitted(task, poi, {}, LEVELS, stat_only=True, search=False)

    parts = [run(0)]  # alone, so that functions are compiled once
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts += pool.map(run, range(1, len(data)))
    found, ends = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return results_of(
        model, found, ends, lik, poi, fixed=(), levels=LEVELS, convention="unbinned", moving=False, gridded=False
    )


def fit_unbinned(model: UnbinnedModel, data: UnbinnedData, poi: int = 0) -> FitResult:
    """Fit one data set by the extended unbinned likelihood: minimum, covariance, intervals and verdict.

    Derivatives are exact, nuisances are profiled, intervals end where the profiled NLL has risen by 0.5 and 2.

    Args:
        model: yields and constraints.
        data: events.
        poi: number of the parameter of interest whose intervals are wanted; others are profiled.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter.
    """
    return fit_unbinned_many(model, [data], poi)[0]
