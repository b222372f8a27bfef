"""Events with their slopes in the nuisances: what a loss needs that knows the Fisher information.

Where a variation is a smooth function of its nuisance the slope is exact, a forward derivative through
`case.vary`. Elsewhere (samples at anchors, a selection that cuts on what moves) it is that of the parabola
through the events below, at and above the point.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.cases import AbstractCase
from systwise.errors import DataError
from systwise.events import Events, EventTable
from systwise.learn.training._game import Draw
from systwise.parameters import Nuisance

Function = Callable[[Float[Array, "row feature"], Float[Array, "row weight"]], Array]
"""Anything that is computed from features and weights: expected counts, or a score."""


class AbstractSlope(eqx.Module):
    """How the events of a batch change with one nuisance."""

    @abc.abstractmethod
    def of(
        self, function: Function, features: Float[Array, "row feature"], weights: Float[Array, "row weight"]
    ) -> Array:
        """Return the slope of `function` at `features` and `weights`."""


class Tangent(AbstractSlope):
    """The exact slopes of features and weights."""

    features: Float[Array, "row feature"]
    weights: Float[Array, "row weight"]

    def of(
        self, function: Function, features: Float[Array, "row feature"], weights: Float[Array, "row weight"]
    ) -> Array:
        """Return the derivative of `function` along the tangent."""
        return jax.jvp(function, (features, weights), (self.features, self.weights))[1]


class Difference(AbstractSlope):
    """Features and weights on either side: `[side, ...]`, and the coefficients of the parabola's slope."""

    features: Float[Array, "side row feature"]
    weights: Float[Array, "side row weight"]
    coefficients: Float[Array, " place"]

    def of(
        self, function: Function, features: Float[Array, "row feature"], weights: Float[Array, "row weight"]
    ) -> Array:
        """Return the slope of the parabola through the values below, here and above."""
        below, above = (function(self.features[side], self.weights[side]) for side in (0, 1))
        c = self.coefficients
        return c[0] * below + c[1] * function(features, weights) + c[2] * above


class SlopedBatch(eqx.Module):
    """Events at one nuisance point.

    Attributes:
        features: varied features.
        weights: expected events, scaled so that the whole batch has the expected yields.
        slopes: one for each nuisance that moves events.
    """

    features: Float[Array, "event feature"]
    weights: Float[Array, "event component"]
    slopes: tuple[AbstractSlope, ...]


class Yields(eqx.Module):
    """What a batch must add up to at the nominal point.

    Attributes:
        nominal: `[nuisance]` the nominal point.
        reference: `[component]` coefficients of the reference hypothesis.
        component: `[component]` expected yields.
        own: `[component]` whether a component is scaled to its own yield: where no event has a negative weight.
            Others take the scale of the reference hypothesis.
    """

    nominal: Float[Array, " nuisance"]
    reference: Float[Array, " component"]
    component: Float[Array, " component"]
    own: Float[Array, " component"]

    def scale(self, weights: Float[Array, "event component"]) -> Float[Array, " component"]:
        """Return the factors that bring nominal `weights` to the expected yields."""
        sums = weights.sum(axis=0)
        common = (self.reference @ self.component) / (self.reference @ sums)
        usable = (self.own > 0) & (sums > 0)
        return jnp.where(usable, self.component / jnp.where(usable, sums, 1.0), common)


def expected_yields(case: AbstractCase, table: EventTable, vary: Callable[..., Events]) -> Yields:
    """Return the yields of all events at the nominal point, selection included.

    Args:
        case: the physics problem.
        table: all its events, which carry the expected yields.
        vary: a compiled `vary(case, events, z)`.

    Raises:
        DataError: the reference hypothesis expects no events.
    """
    nominal = jnp.array([n.nominal for n in case.shape_nuisances], jnp.float32)
    sums, negative = np.zeros(len(table.component_names)), np.zeros(len(table.component_names), bool)
    for _, events in table.blocks(np.arange(len(table)), 65_536):
        weights = np.asarray(vary(case, events, nominal).weights, np.float64)
        sums += weights.sum(axis=0)
        negative |= (weights < 0).any(axis=0)
    reference = case.components.reference()
    if not reference @ sums > 0:
        raise DataError(f"{table.source}: the reference hypothesis expects {reference @ sums:g} events; check weights")
    own = (~negative & (sums > 0)).astype(np.float32)
    return Yields(nominal, *(jnp.asarray(a, jnp.float32) for a in (reference, sums, own)))


def sloped_batch(case: AbstractCase, task: Yields, draw: Draw, events: Events, key: Key[Array, ""]) -> SlopedBatch:
    """Vary all `events` to one point of the draw, with their slopes there."""
    z = draw(key, 1)[0]
    scale = task.scale(case.vary(events, task.nominal).weights)

    def at(z: Float[Array, " nuisance"]) -> tuple[Float[Array, "event feature"], Float[Array, "event component"]]:
        varied = case.vary(events, z)
        return varied.features, varied.weights * scale

    slopes: list[AbstractSlope] = []
    for position, nuisance in enumerate(case.shape_nuisances):
        unit = jnp.zeros_like(z).at[position].set(1.0)
        if is_exact(case, nuisance):
            slopes.append(Tangent(*jax.jvp(at, (z,), (unit,))[1]))
            continue
        sides, coefficients = difference(case, nuisance, z[position])
        features, weights = (jnp.stack(both) for both in zip(*(at(z.at[position].set(s)) for s in sides), strict=True))
        slopes.append(Difference(features, weights, coefficients))
    return SlopedBatch(*at(z), tuple(slopes))


def is_exact(case: AbstractCase, nuisance: Nuisance) -> bool:
    """Return whether a derivative through `case.vary` is the whole effect of a nuisance."""
    own = [v for v in case.variations if v.nuisance == nuisance.name]
    return case.smooth and all(v.exact == "continuous" for v in own)


def difference(
    case: AbstractCase, nuisance: Nuisance, z: Float[Array, ""]
) -> tuple[tuple[Float[Array, ""], Float[Array, ""]], Float[Array, " place"]]:
    """Return the values below and above `z`, and the coefficients (below, here, above) of the parabola's slope.

    The values are the nearest anchors where events are known at anchors only, else one standard deviation of the
    constraint away (a quarter of the range where there is none), within the range.
    """
    if all(v.exact == "continuous" for v in case.variations if v.nuisance == nuisance.name):
        step, (low, high) = step_width(case, nuisance), nuisance.range
        below, above = jnp.maximum(z - step, low), jnp.minimum(z + step, high)
    else:
        anchors, near = jnp.asarray(nuisance.anchors, z.dtype), 1e-6 * (nuisance.range[1] - nuisance.range[0])
        below = jnp.max(jnp.where(anchors < z - near, anchors, anchors[0]))
        above = jnp.min(jnp.where(anchors > z + near, anchors, anchors[-1]))
    left, right = z - below, above - z
    # At an end of the range one side is empty, and a straight line is left.
    safe = (jnp.where(left > 0, left, 1.0), jnp.where(right > 0, right, 1.0))
    both = jnp.array([-right / safe[0], right / safe[0] - left / safe[1], left / safe[1]]) / (left + right)
    down, up = jnp.array([-1 / safe[0], 1 / safe[0], 0.0]), jnp.array([0.0, -1 / safe[1], 1 / safe[1]])
    return (below, above), jnp.where(left <= 0, up, jnp.where(right <= 0, down, both))


def step_width(case: AbstractCase, nuisance: Nuisance) -> float:
    """Return one standard deviation of a nuisance's constraint, a quarter of its range where nothing constrains it."""
    with jax.ensure_compile_time_eval():  # a number of the case, also inside a traced function
        known = [
            float(c.information(jnp.asarray(nuisance.nominal))) for c in case.constraints if c.nuisance == nuisance.name
        ]
    low, high = nuisance.range
    return known[0] ** -0.5 if known and known[0] > 0 else (high - low) / 4
