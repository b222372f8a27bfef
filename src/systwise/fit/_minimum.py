"""The lowest minimum over all parameters of many data sets, in one compiled call."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.fit._descent import Bounds
from systwise.fit._likelihood import Likelihood, Observed, constant_terms, evaluate, expected_jet
from systwise.fit._search import Lowest, search
from systwise.fit._starts import Starts


class Found(NamedTuple):
    """The lowest minimum of each data set; data sets run along the last axis of every array.

    Attributes:
        x: all parameters, `[parameter, data]`.
        value: NLL there without `constant`.
        constant: terms in fixed counts alone.
        gradient: `[parameter, data]`.
        hessian: `[parameter, parameter, data]`.
        distance: estimated vertical distance to the minimum.
        positive: Hessian by the free parameters positive definite.
        done: Newton's method ended at a minimum.
        lowest: no start of the grid lies below.
        seen: lowest NLL above the minimum met when each nuisance alone walks over its starts.
        smallest_count: smallest expected count.
        second_x: parameters of the other candidate.
        second_value: its NLL, infinite where there is none.
    """

    x: Array
    value: Array
    constant: Array
    gradient: Array
    hessian: Array
    distance: Array
    positive: Array
    done: Array
    lowest: Array
    seen: Array
    smallest_count: Array
    second_x: Array
    second_value: Array


@jax.jit
def find_minimum(
    lik: Likelihood,
    observed: Observed,
    starts: Starts,
    first: Float[Array, "start poi"],
    low: Float[Array, "parameter data"],
    high: Float[Array, "parameter data"],
) -> Found:
    """Return the lowest minimum within the ends `low` and `high`; equal ends fix a parameter.

    Args:
        lik: the likelihood.
        observed: the data.
        starts: nuisance values to start from, or to choose from.
        first: values of the parameters of interest to start from.
        low: lower ends.
        high: upper ends.
    """
    count = tuple(range(lik.parameters))
    bounds = Bounds([low[i][None] for i in count], [high[i][None] for i in count])
    theta = [bounds.low[p] for p in range(lik.pois)]
    best = search(lik, observed, starts, first, theta, count, bounds, 1)
    point, z = best.x[: lik.pois], best.x[lik.pois :]
    value, gradient, hessian = evaluate(lik, observed, point, z, count)
    expected = expected_jet(lik, point, lik.templates(z), ()).value
    return Found(
        x=jnp.stack(best.x)[:, 0],
        value=best.value[0],
        constant=jnp.broadcast_to(constant_terms(lik, observed), best.value[0].shape),
        gradient=jnp.stack(gradient)[:, 0],
        hessian=jnp.stack([jnp.stack(row) for row in hessian])[:, :, 0],
        distance=best.distance[0],
        positive=best.positive[0],
        done=best.done[0],
        lowest=best.lowest[0],
        seen=lowest_along_axes(lik, observed, starts, best, bounds) - best.value[0],
        smallest_count=jnp.broadcast_to(jnp.min(expected, axis=0)[0], value[0].shape),
        second_x=jnp.stack(best.second_x)[:, 0],
        second_value=best.second_value[0],
    )


def lowest_along_axes(lik: Likelihood, observed: Observed, starts: Starts, best: Lowest, bounds: Bounds) -> Array:
    """Return the lowest NLL met when each nuisance alone walks over its starts, `[data]`.

    One nuisance has been looked at already, by the search; over several the grid of starts is coarse.
    For stacks of data sets it would cost more than the fits.
    """
    lowest = best.value[0]
    if len(starts.shape) < 2 or not starts.local or lowest.shape[0] > 1:
        return lowest
    blocks: list[list[Array]] = [[] for _ in best.x]
    for j, line in enumerate(starts.axes):
        if line.shape[0] == 1:
            continue
        for i, array in enumerate(best.x):
            wide = jnp.broadcast_to(array, (line.shape[0], array.shape[1]))
            if i == lik.pois + j:
                wide = jnp.clip(jnp.broadcast_to(jnp.asarray(line)[:, None], wide.shape), bounds.low[i], bounds.high[i])
            blocks[i].append(wide)
    if not blocks[0]:
        return lowest
    x = [jnp.concatenate(block) for block in blocks]
    value, _, _ = evaluate(lik, observed, x[: lik.pois], x[lik.pois :], ())
    return jnp.minimum(lowest, jnp.min(value, axis=0))
