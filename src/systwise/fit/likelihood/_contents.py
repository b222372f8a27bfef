"""Contents of every component and row as a function of all parameters, with derivatives by local variables.

`nu_r = sum_k c_k(theta) A_kr(z) M_kr(z)`: A adds, M multiplies. Every curve is a variable of its own; where two
belong to one nuisance, their derivatives are added at the very end (`scattered`), which is the chain rule.
With `a = f'/f` and `b = f''/f` no `[row, parameter, parameter]` array is ever made: off the diagonal the second
derivatives are the matrix product `sum_kr (w nu)_kr a_ikr a_jkr`, on it b stands for a^2.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.fit.likelihood._curves import Curves, Jet


class Mixed(NamedTuple):
    """What `f_ij / f` holds beside the product of slopes, for pairs of factor variables, `[pair, component, row]`."""

    left: Int[Array | np.ndarray, " pair"]
    right: Int[Array | np.ndarray, " pair"]
    values: Array


class Factors(NamedTuple):
    """All that multiplies: its value `[component, row]`, slopes a and bends b `[variable, component, row]`."""

    value: Array
    slopes: Array
    bends: Array
    mixed: Mixed | None = None


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents with derivatives, at one point.

    Attributes:
        coefficients: `c_k`, with derivatives by the parameters of interest: `[component]`, `[poi, component]` and
            `[poi, poi, component]`.
        base: what is multiplied, A, `[component, row]`.
        factors: what multiplies it.
        added: derivatives of A by the added curves, None where there are none.
        numbers: parameter of each variable, `[variable]`, in the order: parameters of interest, factors, added.
    """

    coefficients: tuple[Array, Array, Array]
    base: Array
    factors: Factors
    added: Jet | None
    numbers: Array

    @property
    def templates(self) -> Float[Array, "component row"]:
        """Contents at coefficient 1."""
        return self.base * self.factors.value

    @property
    def each(self) -> Float[Array, "component row"]:
        """Expected counts of each component."""
        return self.coefficients[0][:, None] * self.templates

    def slopes(self) -> Float[Array, "variable component row"]:
        """Return the derivatives of `each` by all variables."""
        parts = [self.coefficients[1][:, :, None] * self.templates, self.each * self.factors.slopes]
        if self.added is not None:
            parts.append(self.coefficients[0][:, None] * self.factors.value * self.added.first)
        return jnp.concatenate(parts)

    def curvature(self, weights: Float[Array, "component row"]) -> Float[Array, "variable variable"]:
        """Return `sum_kr w_kr d2(each_kr)` by all pairs of variables."""
        c, c_first, c_second = self.coefficients
        a = self.factors.slopes
        count = a.shape[0]
        flat = flattened(a)
        weighted = weights * self.templates
        theta = jnp.einsum("pqk,k->pq", c_second, jnp.sum(weighted, axis=1))
        content = (c[:, None] * weighted).ravel()
        factor = (flat * content) @ flat.T
        diagonal = self.factors.bends.reshape(flat.shape) @ content
        each = jnp.arange(count)
        factor = factor.at[each, each].set(diagonal) if count else factor
        if self.factors.mixed is not None:
            left, right, values = self.factors.mixed
            extra = values.reshape(values.shape[0], -1) @ content
            factor = factor.at[left, right].add(extra).at[right, left].add(extra)
        by_theta = flattened(c_first[:, :, None] * weighted)
        blocks = [[theta, by_theta @ flat.T], [flat @ by_theta.T, factor]]
        if self.added is not None:
            first = flattened(self.added.first)
            outer = weights * self.factors.value
            by_theta = flattened(c_first[:, :, None] * outer)
            scaled = (c[:, None] * outer).ravel()
            across, mixed = by_theta @ first.T, (flat * scaled) @ first.T
            own = jnp.diag(self.added.second.reshape(first.shape[0], -1) @ scaled)
            blocks = [[*blocks[0], across], [*blocks[1], mixed], [across.T, mixed.T, own]]
        return jnp.block(blocks)


def flattened(array: Array) -> Array:
    """Return `[variable, component, row]` as a matrix; sizes are spelled out because an axis may have no entries."""
    return array.reshape(array.shape[0], array.shape[1] * array.shape[2])


def monomials(powers: tuple[tuple[int, ...], ...], theta: Array) -> tuple[Array, Array, Array]:
    """Return `c_k = prod_p theta_p^powers[k][p]` with first and second derivatives by theta."""
    pois = range(len(powers[0]))

    def product(row: tuple[int, ...]) -> Array:
        value = jnp.ones((), theta.dtype)
        for power, parameter in zip(row, theta, strict=True):
            for _ in range(power):
                value = value * parameter
        return value

    def lowered(row: tuple[int, ...], p: int) -> tuple[int, tuple[int, ...]]:
        return row[p], tuple(max(power - (q == p), 0) for q, power in enumerate(row))

    def derivative(row: tuple[int, ...], *by: int) -> Array:
        factor = 1
        for p in by:
            power, row = lowered(row, p)
            factor *= power
        return factor * product(row) if factor else jnp.zeros((), theta.dtype)

    value = jnp.stack([product(row) for row in powers])
    first = jnp.stack([jnp.stack([derivative(row, p) for row in powers]) for p in pois])
    second = jnp.stack([jnp.stack([jnp.stack([derivative(row, p, q) for row in powers]) for q in pois]) for p in pois])
    return value, first, second


def multiplied(curves: Curves | None, z: Array, shape: tuple[int, int]) -> Factors:
    """Return the product of curves; ones and no variables where there are none."""
    if curves is None:
        nothing = jnp.zeros((0, *shape), z.dtype)
        return Factors(jnp.ones(shape, z.dtype), nothing, nothing)
    jet = curves.log_jet(z)
    return Factors(jnp.prod(jet.value, axis=0), jet.first, jet.second)


def joined(one: Factors, other: Factors) -> Factors:
    """Return the product of two sets of factors; only the second may be mixed."""
    mixed = other.mixed
    if mixed is not None:
        offset = one.slopes.shape[0]
        mixed = Mixed(mixed.left + offset, mixed.right + offset, mixed.values)
    return Factors(
        one.value * other.value,
        jnp.concatenate([one.slopes, other.slopes]),
        jnp.concatenate([one.bends, other.bends]),
        mixed,
    )


def scattered(numbers: Array, size: int, gradient: Array, hessian: Array) -> tuple[Array, Array]:
    """Return gradient and Hessian by all `size` parameters from those by local variables."""
    place = jax.nn.one_hot(numbers, size, dtype=gradient.dtype)
    return gradient @ place, place.T @ hessian @ place
