"""Polynomials in the nuisances: what a quantity at fixed event looks like as a function of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.errors import ConfigError


class ChebyshevBasis(eqx.Module):
    """Products of Chebyshev polynomials of scaled nuisances, `P_t(z) = prod_j T_e_tj((z_j - centre_j) / half_j)`.

    The first term is the constant 1. Nuisances with exponent zero in every term are ignored.

    Attributes:
        centre: middle of the range of each nuisance, `[nuisance]`.
        half: half of its length.
        exponents: `[term][nuisance]`, static.
    """

    centre: Float[Array | np.ndarray, " nuisance"]
    half: Float[Array | np.ndarray, " nuisance"]
    exponents: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @property
    def terms(self) -> int:
        """Number of polynomials."""
        return len(self.exponents)

    @property
    def active(self) -> tuple[int, ...]:
        """Numbers of the nuisances that some polynomial depends on."""
        return tuple(j for j in range(len(self.exponents[0])) if any(row[j] for row in self.exponents))

    def scaled(self, z: Float[Array, "*point nuisance"]) -> Float[Array, "*point nuisance"]:
        """Return the nuisances in units in which the basis's range is [-1, 1]."""
        return (z - jnp.asarray(self.centre, z.dtype)) / jnp.asarray(self.half, z.dtype)

    def __call__(self, z: Float[Array, "*point nuisance"]) -> Float[Array, "*point term"]:
        """Return the values of all polynomials at `z`.

        >>> basis = chebyshev_basis([(0.0, 2.0)], degree=2)
        >>> [float(p) for p in basis(jnp.array([2.0]))]
        [1.0, 1.0, 1.0]
        """
        t = self.scaled(z)
        one = jnp.ones(t.shape[:-1], t.dtype)
        powers = []
        for j in range(t.shape[-1]):
            column = [one, t[..., j]]
            for _ in range(2, 1 + max(row[j] for row in self.exponents)):
                column.append(2 * t[..., j] * column[-1] - column[-2])
            powers.append(column)
        terms = []
        for row in self.exponents:
            value = one
            for j, power in enumerate(row):
                value = value * powers[j][power] if power else value
            terms.append(value)
        return jnp.stack(terms, axis=-1)

    def slopes(self, j: int) -> Float64[np.ndarray, "term term"]:
        """Return the matrix `D` with `dP/dz_j = P D / half_j`, `[term, term]`: slopes are polynomials too.

        `T_n' = 2 n (T_n-1 + T_n-3 + ...)`, where T_0 counts half.
        """
        matrix = np.zeros((self.terms, self.terms))
        for t, row in enumerate(self.exponents):
            for power in range(row[j] - 1, -1, -2):
                lower = (*row[:j], power, *row[j + 1 :])
                matrix[self.exponents.index(lower), t] = row[j] * (2 if power else 1)
        return matrix

    def nodes(self, count: int) -> Float64[np.ndarray, "node nuisance"]:
        """Return the product grid of `count` Chebyshev nodes along each active nuisance, others at their middle."""
        line = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        axes = [line if j in self.active else np.zeros(1) for j in range(len(self.exponents[0]))]
        rows = list(itertools.product(*axes))
        grid = np.array(rows, np.float64).reshape(len(rows), len(axes))
        return np.asarray(self.centre, np.float64) + np.asarray(self.half, np.float64) * grid


def chebyshev_basis(
    ranges: Sequence[tuple[float, float]], degree: int, active: Sequence[int] | None = None
) -> ChebyshevBasis:
    """Return all products up to a total degree.

    Args:
        ranges: lowest and highest value of each nuisance.
        degree: largest sum of exponents.
        active: numbers of the nuisances that enter; all by default.

    Raises:
        ConfigError: a range has no length.

    >>> chebyshev_basis([(0.0, 1.0), (0.0, 1.0)], degree=2).terms
    6
    """
    for j, (low, high) in enumerate(ranges):
        if not high > low:
            raise ConfigError(f"polynomial in nuisance {j}: the range [{low:g}, {high:g}] has no length; widen it")
    use = set(range(len(ranges)) if active is None else active)
    choices = [range(degree + 1) if j in use else range(1) for j in range(len(ranges))]
    exponents = sorted((row for row in itertools.product(*choices) if sum(row) <= degree), key=lambda r: (sum(r), r))
    ends = np.array(ranges, dtype=np.float64).reshape(-1, 2)
    return ChebyshevBasis(ends.mean(axis=1), (ends[:, 1] - ends[:, 0]) / 2, tuple(exponents))
