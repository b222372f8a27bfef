"""Newton steps: a linear system made positive definite."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

UNROLLED = 6
"""Parameters up to which the elimination is written out."""


LEAST, MOST = 1e-2, 1e6
"""Smallest and largest damping, in units of the scaled diagonal."""


class Step(NamedTuple):
    """Newton steps `-H^-1 g` for several right-hand sides.

    Attributes:
        steps: `[side, parameter]`.
        distance: `g^T H^-1 g / 2` of the first, the vertical distance to the minimum of a parabola.
        positive: the Hessian needed no damping.
    """

    steps: Float[Array, "side parameter"]
    distance: Array
    positive: Bool[Array, ""]


class _Elimination(NamedTuple):
    matrix: Array
    right: Array
    pivots: Array
    positive: Array
    failing: Array


class _Damped(NamedTuple):
    damping: Array
    tried: Array
    result: _Elimination


def solve(hessian: Float[Array, "parameter parameter"], sides: Float[Array, "side parameter"]) -> Step:
    """Return `-(H + d)^-1 g`, where the damping d of the diagonal is zero if H is positive definite.

    Otherwise it is raised until `H + d` is: the step remains one downhill and doubles a displacement from a saddle.
    Rows are scaled to a unit diagonal first, so that pivots are compared with 1.
    """
    size = hessian.shape[0]
    if not size:
        return Step(sides, jnp.zeros(()), jnp.asarray(True))
    diagonal = jnp.abs(jnp.diagonal(hessian))
    scale = jnp.where(diagonal > 0, 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 1.0)
    scaled, right = hessian * scale[:, None] * scale[None], -(sides * scale).T
    rows = jnp.arange(size)
    unroll = size if size <= UNROLLED else 1
    zero = jnp.zeros((), hessian.dtype)

    def eliminate(j: int | Array, s: _Elimination) -> _Elimination:
        column = s.matrix[:, j]
        pivot = column[j]
        used = jnp.where(pivot > 1e-13, pivot, 1.0)
        factor = jnp.where(rows > j, column / used, 0.0)
        # Columns before this one hold L already.
        matrix = s.matrix - factor[:, None] * jnp.where(rows > j, s.matrix[j], 0.0)[None]
        matrix = matrix.at[:, j].set(jnp.where(rows > j, factor, column))
        good = pivot > 1e-13
        return _Elimination(
            matrix,
            s.right - factor[:, None] * s.right[j][None],
            s.pivots.at[j].set(used),
            s.positive & good,
            jnp.where(s.positive & ~good, pivot, s.failing),
        )

    def damped(damping: Array) -> _Elimination:
        matrix = scaled + damping * jnp.eye(size, dtype=hessian.dtype)
        start = _Elimination(matrix, right, jnp.ones(size, hessian.dtype), jnp.asarray(True), zero)
        return jax.lax.fori_loop(0, size, eliminate, start, unroll=unroll)

    def next_damping(s: _Damped) -> _Damped:
        result = damped(s.damping)
        # The first pivot that fails says how negative H is.
        more = jnp.clip(-2 * result.failing, jnp.maximum(LEAST, s.damping), 2.0 * size)
        return _Damped(s.damping + more, s.damping, result)

    nothing = _Elimination(scaled, right, jnp.ones(size, hessian.dtype), jnp.asarray(False), zero)
    found = jax.lax.while_loop(
        lambda s: ~s.result.positive & (s.damping < MOST), next_damping, _Damped(zero, zero, nothing)
    )
    matrix, forward, pivots, _, _ = found.result
    distance = 0.5 * jnp.sum(forward[:, 0] ** 2 / pivots)
    reduced = forward / pivots[:, None]

    def back(i: int | Array, result: Array) -> Array:
        j = size - 1 - i
        lower = jnp.where(rows > j, matrix[:, j], 0.0)
        return result.at[j].set(result[j] - lower @ result)

    steps = jax.lax.fori_loop(0, size, back, reduced, unroll=unroll)
    return Step((steps * scale[:, None]).T, distance, found.result.positive & (found.tried == 0))


def held(x: Array, gradient: Array, low: Array, high: Array) -> Bool[Array, " parameter"]:
    """Return which parameters are fixed or pushed against an end of their range."""
    return (low == high) | ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))


def without(hessian: Array, fixed: Array) -> Array:
    """Return the Hessian with fixed parameters decoupled and of unit curvature."""
    unit = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    return jnp.where(fixed[:, None] | fixed[None], unit, hessian)
