"""Distance correlation of two weighted samples, in O(n log n) (arXiv:2001.05310; arXiv:1410.1503).

With probabilities p_i proportional to the weights, `a_i = sum_j p_j |x_i - x_j|` and `b_i` likewise for y,

    dCov^2 = sum_ij p_i p_j |x_i - x_j| |y_i - y_j| + (sum_i p_i a_i) (sum_i p_i b_i) - 2 sum_i p_i a_i b_i
    dCorr^2 = dCov^2(x, y) / sqrt(dCov^2(x, x) dCov^2(y, y)).

Each sum over pairs is `2 sum_i p_i x_i t_i` with t_i a function of the order of x and of y alone. The order is
what costs n log n; derivatives in x go through the sum only, and are exact where no two x are equal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

TINY = 1e-12


def distance_correlation(
    x: Float[Array, " event"], y: Float[Array, " event"], weights: Float[Array, " event"]
) -> Float[Array, ""]:
    """Return the squared distance correlation, differentiable in x; 0 where x or y is constant.

    Args:
        x: one variable.
        y: the other.
        weights: of the events; their sum must be positive, single ones need not be.
    """
    p = weights / jnp.sum(weights)
    y = jax.lax.stop_gradient(y)
    # Distances do not change: sums of like numbers are more precise in float32.
    x, y = x - p @ x, y - p @ y
    by_x, by_y = jnp.argsort(x), jnp.argsort(y)
    a, b = (_mean_distances(v, p, order) for v, order in ((x, by_x), (y, by_y)))
    products = 2 * jnp.sum(p * x * jax.lax.stop_gradient(_cross(y, p, by_x, by_y)))
    covariance = products + (p @ a) * (p @ b) - 2 * p @ (a * b)
    spread = _variance(x, p, a) * jax.lax.stop_gradient(_variance(y, p, b))
    usable = spread > TINY**2
    return jnp.where(usable, covariance * jax.lax.rsqrt(jnp.where(usable, spread, 1.0)), 0.0)


def _variance(x: Float[Array, " event"], p: Float[Array, " event"], a: Float[Array, " event"]) -> Float[Array, ""]:
    """Return dCov^2(x, x) of centred x with mean distances `a`: squares of distances need no order."""
    return 2 * p @ x**2 + (p @ a) ** 2 - 2 * p @ a**2


def _signed_sums(values: Float[Array, "*row event"], order: Int[Array, " event"]) -> Float[Array, "*row event"]:
    """Return `sum_j values_j sign(x_i - x_j)` for each i, `order` that of x."""
    ranked = values[..., order]
    below = jnp.cumsum(ranked, axis=-1) - ranked
    signed = 2 * below + ranked - jnp.sum(ranked, axis=-1, keepdims=True)
    return jnp.zeros_like(signed).at[..., order].set(signed, unique_indices=True)


def _mean_distances(
    x: Float[Array, " event"], p: Float[Array, " event"], order: Int[Array, " event"]
) -> Float[Array, " event"]:
    """Return `sum_j p_j |x_i - x_j|`, `x_i sum_j p_j s_ij - sum_j p_j x_j s_ij` with s the signs."""
    signed = _signed_sums(jnp.stack([p, p * x]), order)
    return x * signed[0] - signed[1]


def _cross(
    y: Float[Array, " event"],
    p: Float[Array, " event"],
    by_x: Int[Array, " event"],
    by_y: Int[Array, " event"],
) -> Float[Array, " event"]:
    """Return `t_i = sum_j p_j sign(x_i - x_j) |y_i - y_j|`.

    With s and u the signs of the differences in x and y, `t_i = y_i sum_j p_j s_ij u_ij - sum_j p_j y_j s_ij u_ij`,
    and the sum of v_j s_ij u_ij over j is `4 D_i - 2 X_i - 2 Y_i + V + v_i (no pair)`: D sums over those below in both,
    X and Y over those below in one, V over all.
    """
    values = jnp.stack([p, p * y])
    both = dominated_sums(values, by_x, by_y)
    total = values.sum(axis=1, keepdims=True)
    # The sum over those below in one is (signed + total - own) / 2.
    signed = _signed_sums(values, by_x) + _signed_sums(values, by_y)
    pairs = 4 * both - (signed + 2 * total - 2 * values) + total - values
    return y * pairs[0] - pairs[1]


def dominated_sums(
    values: Float[Array, "row event"], by_x: Int[Array, " event"], by_y: Int[Array, " event"]
) -> Float[Array, "row event"]:
    """Return, for each event, the sum of `values` over the events below it in x and in y.

    Events stand in the order of y and are parted by the bits of their rank in x, the highest first: where two events
    share all higher bits, the one with a 0 is below the one with a 1, and a cumulative sum in the order of y finds
    what it adds. Then each block is parted into its two halves, which keep the order of y: log2(n) passes.

    Args:
        values: `[row, event]`.
        by_x: order of the events in x; its inverse ranks them.
        by_y: order in y.
    """
    count = by_x.shape[0]
    bits = max(1, (count - 1).bit_length())
    place = jnp.arange(count, dtype=jnp.int32)
    rank = jnp.zeros(count, jnp.int32).at[by_x].set(place, unique_indices=True)[by_y]
    ordered = values[:, by_y]

    def one(bit: Int[Array, ""], carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        rank, where, ordered, found = carry
        shift = bits - 1 - bit
        upper = (rank >> shift) & 1
        # A block holds the ranks with the same higher bits; blocks stand in order, each full but the last.
        start = (rank >> (shift + 1)) << (shift + 1)
        lower = jnp.where(upper == 0, ordered, 0.0)
        running = jnp.cumsum(lower, axis=1)
        before = jnp.where(start > 0, running[:, jnp.maximum(start - 1, 0)], 0.0)
        found = found + jnp.where(upper == 1, running - before, 0.0)
        zeros = jnp.cumsum(1 - upper)
        zeros_before = jnp.where(start > 0, zeros[jnp.maximum(start - 1, 0)], 0)
        lower_seen = zeros - zeros_before
        half = jnp.left_shift(jnp.int32(1), shift)
        target = jnp.where(upper == 0, start + lower_seen - 1, start + half + (place - start + 1 - lower_seen) - 1)
        source = jnp.zeros(count, jnp.int32).at[target].set(place, unique_indices=True)
        return rank[source], where[source], ordered[:, source], found[:, source]

    found = jnp.zeros_like(ordered)
    # `found` stays with its event through all passes; `where` says which event that is.
    rank, where, ordered, found = jax.lax.fori_loop(0, bits, one, (rank, by_y, ordered, found))
    return jnp.zeros_like(values).at[:, where].set(found, unique_indices=True)
