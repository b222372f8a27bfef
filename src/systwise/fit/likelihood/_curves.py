"""What nuisances do to contents, as one table of piecewise polynomials: numbers, not structure.

A curve is a polynomial in each segment of its nuisance, taken as it stands, squared (morphs of roots, never
negative) or as an exponent (HistFactory's exponential interpolation). Curves of all nuisances are stacked into
arrays with a nuisance axis, so that a likelihood with two hundred of them compiles to the same few operations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

PLAIN, SQUARE, EXPONENT = 0, 1, 2
"""What a segment's polynomial p stands for: p, p^2 or exp(p)."""
EMPTY = -745.0
"""Logarithm that stands for an empty content: its exponential is the smallest number there is."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The effect of one nuisance on contents, NumPy float64.

    Attributes:
        breaks: values between segments, increasing, `[segment - 1]`.
        origins: value at which a segment's polynomial variable is zero, `[segment]`.
        kinds: `PLAIN`, `SQUARE` or `EXPONENT`, `[segment]`.
        coefficients: of powers 0, 1, ... of the distance to the origin, `[segment, power, *content]`.
    """

    breaks: Float64[np.ndarray, " break"]
    origins: Float64[np.ndarray, " segment"]
    kinds: Int[np.ndarray, " segment"]
    coefficients: Float64[np.ndarray, "segment power *content"]

    def __call__(self, z: float) -> Float64[np.ndarray, "*content"]:
        """Return the value at one point."""
        segment = int(np.sum(z >= self.breaks))
        u = z - self.origins[segment]
        p = sum(c * u**power for power, c in enumerate(self.coefficients[segment]))
        kind = self.kinds[segment]
        return np.asarray(p**2 if kind == SQUARE else np.exp(p) if kind == EXPONENT else p)


class Jet(NamedTuple):
    """Curves at one point with two derivatives, each `[curve, component, row]`."""

    value: Array
    first: Array
    second: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves of several nuisances as arrays; see `Curve`.

    Attributes:
        numbers: the nuisance of each curve, `[curve]`.
        breaks: infinite where a curve has fewer segments than others, `[curve, segment - 1]`.
        origins: `[curve, segment]`.
        kinds: `[curve, segment]`.
        coefficients: `[curve, segment, power, component, row]`.
        used: kinds that occur.
    """

    numbers: Int[Array | np.ndarray, " curve"]
    breaks: Float[Array | np.ndarray, "curve break"]
    origins: Float[Array | np.ndarray, "curve segment"]
    kinds: Int[Array | np.ndarray, "curve segment"]
    coefficients: Float[Array | np.ndarray, "curve segment power component row"]
    used: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def count(self) -> int:
        """Number of curves."""
        return self.breaks.shape[0]

    def _polynomials(self, z: Float[Array, " nuisance"]) -> tuple[Array, Array, Array, Array]:
        """Return the polynomials with two derivatives, and the kind of each curve's segment."""
        own = z[jnp.asarray(self.numbers)]
        segment = jnp.sum(own[:, None] >= jnp.asarray(self.breaks), axis=1)
        each = jnp.arange(self.count)
        table = jnp.asarray(self.coefficients).at[each, segment].get(mode="promise_in_bounds")
        u = (own - jnp.asarray(self.origins)[each, segment])[:, None, None]
        value = table[:, -1]
        first = second = jnp.zeros_like(value)
        for power in range(table.shape[1] - 2, -1, -1):
            second = second * u + 2 * first
            first = first * u + value
            value = value * u + table[:, power]
        return value, first, second, jnp.asarray(self.kinds)[each, segment][:, None, None]

    def _chosen(self, kind: Array, options: dict[int, Array]) -> Array:
        """Return the option of each curve's kind."""
        result = options[self.used[0]]
        for number in self.used[1:]:
            result = jnp.where(kind == number, options[number], result)
        return result

    def jet(self, z: Float[Array, " nuisance"]) -> Jet:
        """Return values with first and second derivatives (for curves that are added)."""
        p, first, second, kind = self._polynomials(z)
        exponential = jnp.exp(p) if EXPONENT in self.used else p
        return Jet(
            self._chosen(kind, {PLAIN: p, SQUARE: p**2, EXPONENT: exponential}),
            self._chosen(kind, {PLAIN: first, SQUARE: 2 * p * first, EXPONENT: exponential * first}),
            self._chosen(
                kind,
                {PLAIN: second, SQUARE: 2 * (first**2 + p * second), EXPONENT: exponential * (first**2 + second)},
            ),
        )

    def log_jet(self, z: Float[Array, " nuisance"]) -> Jet:
        """Return values f, `f'/f` and `f''/f` (for curves that multiply), large but finite where f vanishes."""
        p, first, second, kind = self._polynomials(z)
        safe = jnp.where(jnp.abs(p) < 1e-100, 1e-100, p)
        slope, bend = first / safe, second / safe
        return Jet(
            self._chosen(kind, {PLAIN: p, SQUARE: p**2, EXPONENT: jnp.exp(p) if EXPONENT in self.used else p}),
            self._chosen(kind, {PLAIN: slope, SQUARE: 2 * slope, EXPONENT: first}),
            self._chosen(kind, {PLAIN: bend, SQUARE: 2 * (slope**2 + bend), EXPONENT: first**2 + second}),
        )

    def values(self, z: Float[Array, " nuisance"]) -> Float[Array, "curve component row"]:
        """Return values alone."""
        p, _, _, kind = self._polynomials(z)
        return self._chosen(kind, {PLAIN: p, SQUARE: p**2, EXPONENT: jnp.exp(p) if EXPONENT in self.used else p})


def curve_table(
    curves: Sequence[Curve], shape: tuple[int, ...], rows: int, neutral: float
) -> Float64[np.ndarray, "curve segment power *content"]:
    """Return the curves' coefficients as one array, `[curve, segment, power, *shape]` with `rows` in the last axis.

    Args:
        curves: their contents broadcast to `shape`.
        shape: of the contents, bins last.
        rows: number of rows to fill up to.
        neutral: value of a curve beyond the bins: 1 where curves multiply, 0 where they are added.
    """
    segments = max(len(curve.kinds) for curve in curves)
    powers = max(curve.coefficients.shape[1] for curve in curves)
    table = np.zeros((len(curves), segments, powers, *shape[:-1], rows))
    for own, curve in zip(table, curves, strict=True):
        count, degree = curve.coefficients.shape[:2]
        own[:count, :degree, ..., : shape[-1]] = np.broadcast_to(curve.coefficients, (count, degree, *shape))
        constant = np.where(curve.kinds == EXPONENT, np.log(neutral) if neutral > 0 else EMPTY, neutral)
        own[:count, 0, ..., shape[-1] :] = constant.reshape(-1, *[1] * len(shape))
    return table


def stack_curves(
    curves: Sequence[Curve], numbers: Sequence[int], shape: tuple[int, int], rows: int, neutral: float
) -> Curves | None:
    """Return the curves as arrays, None where there are none.

    Args:
        curves: their contents broadcast to `shape`.
        numbers: the nuisance of each.
        shape: components and bins.
        rows: number of rows to fill up to.
        neutral: value of a curve beyond the bins: 1 where curves multiply, 0 where they are added.
    """
    if not curves:
        return None
    segments = max(len(curve.kinds) for curve in curves)
    breaks = np.full((len(curves), segments - 1), np.inf)
    origins = np.zeros((len(curves), segments))
    kinds = np.zeros((len(curves), segments), np.int32)
    for number, curve in enumerate(curves):
        own = len(curve.kinds)
        breaks[number, : own - 1] = curve.breaks
        origins[number, :own] = curve.origins
        kinds[number, :own] = curve.kinds
    used = tuple(sorted({int(kind) for curve in curves for kind in curve.kinds}))
    return Curves(
        np.asarray(numbers, np.int32), breaks, origins, kinds, curve_table(curves, shape, rows, neutral), used
    )
