"""The unbinned fit: global minimum, covariance and intervals of the extended likelihood.

Use it with learned or exact density ratios (`UnbinnedData`); `fit_unbinned_many` for pseudo-experiments.
Starts over a grid of nuisances descend on a part of the events, the best two on all of them. Interval ends are
found with the nuisances in one Newton iteration: every evaluation gives the distance to the profile as well.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.errors import DataError, FitError
from systwise.fit._newton import Minimum, minimise
from systwise.fit._result import FitResult, FitResults
from systwise.fit._unbinned_ends import ITERATIONS, find_ends
from systwise.fit._unbinned_model import UnbinnedData, UnbinnedModel, Values, blocks_for
from systwise.fit._unbinned_sums import BLOCK, Events, Extended, evaluate, smallest_share
from systwise.parameters import ChebyshevBasis
from systwise.precision import in_float64

SAMPLE = 2 * BLOCK
"""Events on which all starts descend."""
CANDIDATES = 2
"""Minima polished on all events."""


class Arrays(NamedTuple):
    """What one jitted fit returns."""

    x: Array
    nll: Array
    gradient: Array
    hessian: Array
    distance: Array
    positive: Array
    done: Array
    lowest: Array
    smallest: Array
    second_z: Array
    second_rise: Array
    ends: Array


def _minimise(lik: Extended, events: Events, x: list[Array], iterations: int, tolerance: float) -> Minimum:
    free = tuple(range(lik.parameters))
    low, high = jnp.asarray(lik.low), jnp.asarray(lik.high)
    return minimise(
        lambda values: evaluate(lik, events, values, free),
        x,
        [low[i] for i in free],
        [high[i] for i in free],
        [0.25 * (high[i] - low[i]) for i in free],
        tolerance,
        iterations,
    )


def _candidates(lik: Extended, sample: Events, starts: Array) -> Array:
    """Return the best distinct minima of a part of the events, `[candidate, parameter]`, the best one first."""
    end = _minimise(lik, sample, [starts[:, i : i + 1] for i in range(lik.parameters)], 12, 0.1)
    x = jnp.concatenate(end.x, axis=1)
    score = end.value[:, 0] - jnp.where(end.positive[:, 0], jnp.minimum(end.distance[:, 0], 10.0), 0.0)
    span = jnp.asarray(lik.high) - jnp.asarray(lik.low)
    chosen = []
    for _ in range(CANDIDATES):
        best = x[jnp.argmin(score)]
        chosen.append(best)
        near = jnp.max(jnp.abs(x - best) / span, axis=1) < 0.02
        score = jnp.where(near, jnp.inf, score)
    return jnp.stack(chosen)


@functools.partial(jax.jit, static_argnames="poi")
def _fit(lik: Extended, events: Events, sample: Events, starts: Float[Array, "start parameter"], poi: int) -> Arrays:
    free = tuple(range(lik.parameters))
    candidates = _candidates(lik, sample, starts)
    end = _minimise(lik, events, [candidates[:, i : i + 1] for i in free], ITERATIONS, 1e-10)
    which = jnp.argmin(end.value[:, 0])
    best = [value[which][None] for value in end.x]
    value = end.value[which][None]
    gradient, hessian = jax.tree.map(lambda array: array[which][None], (end.gradient, end.hessian))
    walk = find_ends(lik, events, best, value, hessian, poi)
    crossing = walk.crossing
    found = crossing.done & ~crossing.absent & jnp.isfinite(value)
    other = 1 - which
    return Arrays(
        x=jnp.stack(best)[:, 0, 0],
        nll=value[0, 0],
        gradient=jnp.stack(gradient)[:, 0, 0],
        hessian=jnp.stack([jnp.stack(row) for row in hessian])[:, :, 0, 0],
        distance=end.distance[which, 0],
        positive=end.positive[which, 0],
        done=end.done[which, 0],
        lowest=jnp.min(crossing.lowest) > -1e-6,
        smallest=smallest_share(lik, events, jnp.stack(best)[:, 0, 0]),
        second_z=jnp.stack([v[other, 0] for v in end.x[lik.pois :]]) if len(free) > lik.pois else jnp.zeros(0),
        second_rise=end.value[other, 0] - value[0, 0],
        ends=jnp.where(found, crossing.at, jnp.nan)[:, 0],
    )


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


@functools.partial(jax.jit, static_argnames="free")
def _jet(lik: Extended, events: Events, x: list[Array], free: tuple[int, ...]) -> tuple:
    return evaluate(lik, events, x, free)


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
    _check(model, data)
    x = [np.full((1, 1), v) for v in model.values(theta, z)]
    return float(_jet(model.extended(), data.events(), x, ())[0][0, 0])


@in_float64
def unbinned_derivatives(
    model: UnbinnedModel, data: UnbinnedData, theta: Values, z: Values
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return NLL, gradient `[parameter]` and Hessian `[parameter, parameter]` (see `unbinned_nll`)."""
    _check(model, data)
    x = [np.full((1, 1), v) for v in model.values(theta, z)]
    value, gradient, hessian = _jet(model.extended(), data.events(), x, tuple(range(len(x))))
    return (
        float(value[0, 0]),
        np.stack(gradient)[:, 0, 0],
        np.array([[np.asarray(h)[0, 0] for h in r] for r in hessian]),
    )


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
    room, lik, starts = blocks_for(data), model.extended(basis), model.starts(basis)

    @in_float64
    def run(number: int) -> Arrays:
        one = data[number]
        found = _fit(lik, one.events(room), one.events(SAMPLE // BLOCK, SAMPLE), starts, poi=poi)
        return jax.tree.map(np.asarray, found)

    first = run(0)  # alone, so that the function is compiled once
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts = [first, *pool.map(run, range(1, len(data)))]
    found = jax.tree.map(lambda *arrays: np.stack(arrays), *parts)
    return FitResults(
        names=model.parameter_names,
        pois=model.components.pois,
        poi=model.components.pois[poi],
        ranges=model.ranges_within(basis),
        convention="unbinned",
        moving=False,
        on_grid=False,
        values=found.x,
        nll=found.nll,
        gradient=found.gradient,
        hessian=found.hessian,
        distance=found.distance,
        positive=found.positive,
        done=found.done,
        lowest=found.lowest,
        smallest_count=found.smallest,
        second_nuisances=found.second_z,
        second_rise=found.second_rise,
        ends=found.ends[:, :4],
        stat_ends=found.ends[:, 4:],
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
