"""The fit: global minimum, covariance and intervals of the profiled likelihood."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.errors import FitError
from systwise.fit._chunks import chunk_size, in_chunks
from systwise.fit._crossings import LEVELS, crossings
from systwise.fit._data import Data
from systwise.fit._likelihood import Likelihood, Observed, constant_terms, evaluate, evaluate_bins, expected_jet
from systwise.fit._model import Model
from systwise.fit._newton import solve_positive
from systwise.fit._profile import poi_number, profile_points
from systwise.fit._result import FitResult, FitResults
from systwise.fit._search import Lowest, polish, search, slope_in
from systwise.fit._starts import Starts
from systwise.precision import in_float64


class Arrays(NamedTuple):
    """What one jitted fit returns; data sets run along the last axis of every array."""

    x: Array
    nll: Array
    gradient: Array
    hessian: Array
    distance: Array
    positive: Array
    done: Array
    lowest: Array
    smallest_count: Array
    second_z: Array
    second_rise: Array
    ends: Array
    stat_ends: Array
    seen: Array


def _lower_along_axes(lik: Likelihood, observed: Observed, starts: Starts, best: Lowest) -> Array:
    """Return the lowest NLL met when each nuisance alone walks over its starts, `[data]`."""
    lowest = best.value[0]
    for j, line in enumerate(starts.axes if starts.local else ()):
        shape = (line.shape[0], best.value.shape[1])
        z = [jnp.broadcast_to(value, shape) for value in best.z]
        z[j] = jnp.broadcast_to(jnp.asarray(line)[:, None], shape)
        theta = [jnp.broadcast_to(value, shape) for value in best.theta]
        lowest = jnp.minimum(lowest, jnp.min(evaluate(lik, observed, theta, z, ())[0], axis=0))
    return lowest


@functools.partial(jax.jit, static_argnames="poi")
def _fit(lik: Likelihood, observed: Observed, starts: Starts, first: np.ndarray, poi: int) -> Arrays:
    best = search(lik, observed, starts, first, [jnp.zeros((1, 1))] * lik.pois, ())
    everything = tuple(range(lik.parameters))
    _, gradient, hessian = evaluate(lik, observed, best.theta, best.z, everything)
    minimum = best.value[0]
    expected = expected_jet(lik, best.theta, lik.morph.jet(best.z), ())[0]
    low, high = lik.low[poi], lik.high[poi]
    longest = 0.25 * (high - low)

    # The column of the inverse Hessian that belongs to the parameter, as a first guess of its width.
    unit = [jnp.where(i == poi, -1.0, 0.0) * jnp.ones_like(best.value) for i in everything]
    column, _, _ = solve_positive(hessian, unit)
    width = jnp.clip(jnp.sqrt(jnp.abs(column[poi][0])), 1e-9 * longest, longest)

    def profiled(values: Array) -> tuple[Array, Array]:
        value, theta, z, _, _ = profile_points(lik, observed, starts, first, values, poi)
        return value, slope_in(lik, observed, list(theta), list(z), poi)[1]

    others = tuple(p for p in range(lik.pois) if p != poi)

    def fixed_nuisances(values: Array) -> tuple[Array, Array]:
        theta: list[Array] = [jnp.broadcast_to(t, values.shape) for t in best.theta]
        theta[poi] = values
        z = [jnp.broadcast_to(v, values.shape) for v in best.z]
        if others:
            theta, z, _ = polish(lik, observed, starts, theta, z, others)
        return slope_in(lik, observed, theta, z, poi)

    centre = best.theta[poi][0]
    ends, _, seen = crossings(profiled, centre, minimum, width, low, high, LEVELS)
    stat_width = jnp.clip(1 / jnp.sqrt(jnp.abs(hessian[poi][poi][0]) + 1e-300), 1e-9 * longest, longest)
    stat_ends, _, _ = crossings(fixed_nuisances, centre, minimum, stat_width, low, high, LEVELS[:1])
    sets = best.value.shape[1]
    return Arrays(
        x=jnp.stack([*best.theta, *best.z])[:, 0],
        nll=minimum + constant_terms(lik, observed),
        gradient=jnp.stack(gradient)[:, 0],
        hessian=jnp.stack([jnp.stack(row) for row in hessian])[:, :, 0],
        distance=best.distance[0],
        positive=best.positive[0],
        done=best.done[0],
        lowest=best.lowest[0],
        smallest_count=jnp.broadcast_to(jnp.min(expected, axis=0)[0], (sets,)),
        second_z=jnp.stack(best.second[1])[:, 0] if best.z else jnp.zeros((0, sets)),
        second_rise=(best.second[0] - best.value)[0],
        ends=ends,
        stat_ends=stat_ends,
        seen=jnp.minimum(seen, _lower_along_axes(lik, observed, starts, best)) - minimum,
    )


@in_float64
def fit_many(
    model: Model, data: Data, poi: int | str = 0, grid: Sequence[float] | np.ndarray | None = None
) -> FitResults:
    """Fit every data set of a stack, as `fit` does, in one call.

    Args:
        model: the model.
        data: stacked data sets.
        poi: number or name of the parameter of interest whose intervals are wanted.
        grid: minimise over these nuisance values only.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter.
    """
    number = poi_number(model, poi)
    data = data.batch()
    if len(data) == 0:
        raise FitError("fit_many: the stack holds no data sets")
    lik, starts, first = model.likelihood(), model.starts(grid), model.theta_starts()

    def part(some: Data) -> Arrays:
        return _fit(lik, model.observed(some), starts, first, poi=number)

    size = chunk_size(len(data), 5 * math.prod(starts.shape) * len(first))
    found = in_chunks(part, data, size)
    return FitResults(
        names=model.parameter_names,
        pois=model.components.pois,
        poi=model.components.pois[number],
        ranges=tuple(zip(lik.low.tolist(), lik.high.tolist(), strict=True)),
        convention=model.convention,
        moving=model.moving,
        on_grid=grid is not None,
        values=found.x.T,
        nll=found.nll,
        gradient=found.gradient.T,
        hessian=np.moveaxis(found.hessian, -1, 0),
        distance=found.distance,
        positive=found.positive,
        done=found.done,
        lowest=found.lowest & (found.seen > -1e-6),
        smallest_count=found.smallest_count,
        second_nuisances=found.second_z.T,
        second_rise=found.second_rise,
        ends=found.ends.T,
        stat_ends=found.stat_ends.T,
    )


def fit(
    model: Model, data: Data, poi: int | str = 0, grid: Sequence[float] | np.ndarray | None = None
) -> FitResult:
    """Fit one data set: minimum, covariance, intervals, and a verdict on whether to believe them.

    The search looks at every anchor of the nuisances and at points between them (for each, the NLL is
    convex in a signal strength), polishes the best two local minima by Newton's method, and keeps the
    lower. Intervals end where the profiled NLL has risen by 0.5 and 2, each side by itself.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest whose intervals are wanted; others are
            profiled like nuisances.
        grid: minimise over these nuisance values only, `[value]` or `[value, nuisance]`; parameters of
            interest stay continuous.

    Raises:
        DataError: the data do not match the model.
        FitError: a stack of data sets was given, or no such parameter.

    >>> from systwise.fit import Model, asimov
    >>> from systwise.parameters import signal_strength
    >>> model = Model.from_templates(signal_strength(), (), (), np.array([[100.0], [900.0]]))
    >>> result = fit(model, asimov(model, 1.0, ()))
    >>> round(result.estimate, 6), round(result.sigma, 3)
    (1.0, 0.316)
    """
    if data.stacked:
        raise FitError(f"fit: {len(data)} stacked data sets given; use fit_many")
    return fit_many(model, data, poi, grid)[0]


__all__ = ["evaluate_bins", "fit", "fit_many"]
