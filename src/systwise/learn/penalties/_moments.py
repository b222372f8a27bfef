"""How much the distribution of a score varies along another variable, beyond a low polynomial (arXiv:2010.09745).

The variable is cut into slices of equal content. With F_m(s) the cumulative distribution of the score in slice m and
`F^l_m(s)` its projection on Legendre polynomials of order 0 to l along the slices (of unit length 2), the penalty is

    1/M sum_m int_0^1 ds [F_m(s) - F^l_m(s)]^2.

Cumulative distributions are steps, so that the integral is a sum over the gaps between neighbouring scores; its
coefficients depend on the order of the scores only, and the derivative in the scores is exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def legendre_basis(slices: int, order: int) -> Float[np.ndarray, "moment slice"]:
    """Return Legendre polynomials at the middles of `slices` equal slices of (-1, 1), orthonormal on these points.

    Row 0 is constant, row 1 linear; signs are those of the polynomials at the upper end.
    """
    middles = -1 + (2 * np.arange(slices) + 1) / slices
    q, _ = np.linalg.qr(np.polynomial.legendre.legvander(middles, order))
    return (q * np.sign(q[-1])).T


def moment_penalty(
    score: Float[Array, " event"],
    slice_of: Int[Array, " event"],
    weights: Float[Array, " event"],
    basis: Float[Array, "moment slice"],
    *,
    max_slope: float | None = None,
    monotonic: bool = False,
) -> Float[Array, ""]:
    """Return the mean square deviation of the slices' cumulative distributions from their low moments.

    Args:
        score: in (0, 1).
        slice_of: slice of each event.
        weights: of the events.
        basis: from `legendre_basis`.
        max_slope: largest |dF/dm| of the allowed linear part, m running over (-1, 1); None: any.
        monotonic: keep the allowed quadratic part from bending a profile back.
    """
    slices = basis.shape[1]
    one = jax.nn.one_hot(slice_of, slices, dtype=score.dtype) * weights[:, None]
    total = one.sum(axis=0)
    # A slice whose weights (of both signs) cancel has no distribution.
    usable = total > 1e-3 * jnp.mean(jnp.abs(total))
    shares = jnp.where(usable, one / jnp.where(usable, total, 1.0), 0.0)
    order = jnp.argsort(score)
    cumulative = jnp.cumsum(shares[order], axis=0)
    moments = cumulative @ basis.T
    if basis.shape[0] > 1 and max_slope is not None:
        # The linear row is steepness m / norm at the slices' middles.
        steepest = max_slope / _unit_slope(basis)
        moments = moments.at[:, 1].set(jnp.clip(moments[:, 1], -steepest, steepest))
    if basis.shape[0] > 2 and monotonic:
        bound = _bend_bound(slices) * jnp.abs(moments[:, 1])
        moments = moments.at[:, 2].set(jnp.clip(moments[:, 2], -bound, bound))
    deviation = jax.lax.stop_gradient(jnp.mean((cumulative - moments @ basis) ** 2, axis=1))
    return jnp.sum(deviation[:-1] * jnp.diff(score[order]))


def _unit_slope(basis: Float[Array, "moment slice"]) -> Float[Array, ""]:
    """Return the slope of the linear row along m."""
    return (basis[1, -1] - basis[1, 0]) / (2 - 2 / basis.shape[1])


def _bend_bound(slices: int) -> float:
    """Return the largest |c_2| / |c_1| for which `c_1 q_1 + c_2 q_2` rises or falls all the way, q the rows."""
    _, linear, bent = legendre_basis(slices, 2)
    return float((linear[-1] - linear[-2]) / (bent[-1] - bent[-2]))
