"""Unbinned regions: every event is a row, and the expected total is one more.

`NLL = sum_k q_k - sum_i w_i ln sum_k q_k exp(eta_ik)` with `q_k = c_k(theta) Y_k(z)` and `eta_ik(z)` a polynomial in
the nuisances whose coefficients belong to the event: one matrix product a block gives all eta with their
derivatives. Events are streamed in blocks, so that working arrays stay in the cache.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.fit.likelihood._bins import Terms
from systwise.fit.likelihood._contents import (
    Contents,
    Factors,
    Mixed,
    flattened,
    joined,
    monomials,
    multiplied,
    scattered,
)
from systwise.fit.likelihood._curves import Curves
from systwise.parameters import ChebyshevBasis

BLOCK = 4096
"""Events a block."""


class EventData(NamedTuple):
    """One data set in blocks.

    Attributes:
        coefficients: `[block, component, term, event]`.
        weights: `[block, event]`, zero where a block is not full.
        used: blocks that hold events; those behind are never looked at.
    """

    coefficients: Float[Array | np.ndarray, "block component term event"]
    weights: Float[Array | np.ndarray, "block event"]
    used: Int[Array | np.ndarray, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Events:
    """The yields and polynomials of an unbinned region.

    Attributes:
        yields: expected events at the nominal point, `[component, 1]`.
        factors: curves that multiply them.
        added: curves that are added to them before.
        basis: polynomials in the nuisances.
        slopes: matrices D of `ChebyshevBasis.slopes` in units of the nuisance, `[active, term, term]`.
        powers: exponents of the components' coefficients, `[component][poi]`.
        size: number of all parameters.
    """

    yields: Float[Array | np.ndarray, "component 1"]
    factors: Curves | None
    added: Curves | None
    basis: ChebyshevBasis
    slopes: Float[Array | np.ndarray, "active term term"]
    powers: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    size: int = dataclasses.field(metadata={"static": True})

    @property
    def pois(self) -> int:
        """Number of parameters of interest."""
        return len(self.powers[0])

    def expectation(self, x: Float[Array, " parameter"]) -> Contents:
        """Return the expected events of every component, one row."""
        theta, z = x[: self.pois], x[self.pois :]
        base = jnp.asarray(self.yields)
        numbers = [jnp.arange(self.pois)]
        if self.factors is not None:
            numbers.append(self.pois + jnp.asarray(self.factors.numbers))
        added = None
        if self.added is not None:
            added = self.added.jet(z)
            base = base + jnp.sum(added.value, axis=0)
            numbers.append(self.pois + jnp.asarray(self.added.numbers))
        factors = multiplied(self.factors, z, (base.shape[0], base.shape[1]))
        return Contents(monomials(self.powers, theta), base, factors, added, jnp.concatenate(numbers))

    def constant(self, data: EventData) -> Array:
        """Return zero: an event has no terms of its own."""
        return jnp.zeros(())

    def terms(self, data: EventData, x: Float[Array, " parameter"]) -> Terms:
        """Return the NLL of one data set with gradient and Hessian by all parameters.

        Infinite where some event's density is not positive.
        """
        z = x[self.pois :]
        total = self.expectation(x)
        active = np.array(self.basis.active, np.int32)
        pairs = [(i, j) for i in range(len(active)) for j in range(i)]
        left, right = (np.array(side, np.int32) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
        polynomials = self._polynomials(z, pairs)
        yields = total.factors
        tail = jnp.asarray(self.pois + active)
        numbers = jnp.concatenate([total.numbers, tail]) if total.added is None else None
        if numbers is None:
            cut = total.numbers.shape[0] - (0 if self.added is None else self.added.count)
            numbers = jnp.concatenate([total.numbers[:cut], tail, total.numbers[cut:]])
        coefficients, weights = jnp.asarray(data.coefficients), jnp.asarray(data.weights)
        active_count = len(active)

        def block(number: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            table, w = coefficients[number].astype(x.dtype), weights[number]
            eta = jnp.einsum("jt,kte->jke", polynomials, table)
            # What all components share at an event drops out of the derivatives.
            top = jnp.max(eta[0], axis=0)
            size = jnp.exp(eta[0] - top)
            first = eta[1 : 1 + active_count]
            second = eta[1 + active_count : 1 + 2 * active_count]
            mixed = Mixed(left, right, eta[1 + 2 * active_count :]) if pairs else None
            density = Factors(size, first, second + first**2, mixed)
            wide = (len(self.powers), size.shape[1])
            spread = Factors(
                jnp.broadcast_to(yields.value, wide),
                jnp.broadcast_to(yields.slopes, (yields.slopes.shape[0], *wide)),
                jnp.broadcast_to(yields.bends, (yields.bends.shape[0], *wide)),
            )
            added = total.added
            if added is not None:
                added = jax.tree.map(lambda array: jnp.broadcast_to(array, (array.shape[0], *wide)), added)
            base = jnp.broadcast_to(total.base, wide)
            contents = Contents(total.coefficients, base, joined(spread, density), added, numbers)
            each, slopes = contents.each, contents.slopes()
            expected = jnp.sum(each, axis=0)
            possible = jnp.all((expected > 0) | (w == 0))
            nu = jnp.where(expected > 0, expected, 1.0)
            ratio = w / nu
            pull = jnp.broadcast_to(-ratio, each.shape)
            inputs = jnp.sum(slopes, axis=1)
            value = -jnp.sum(w * (jnp.log(nu) + top))
            gradient = flattened(slopes) @ pull.ravel()
            hessian = (inputs * (ratio / nu)) @ inputs.T + contents.curvature(pull)
            return jax.tree.map(jnp.add, sums, (jnp.where(possible, value, jnp.inf), gradient, hessian))

        count = numbers.shape[0]
        zero = (jnp.zeros((), x.dtype), jnp.zeros(count, x.dtype), jnp.zeros((count, count), x.dtype))
        value, gradient, hessian = jax.lax.fori_loop(0, data.used, block, zero)
        gradient, hessian = scattered(numbers, self.size, gradient, hessian)
        ones = jnp.ones(total.base.shape, x.dtype)
        slopes, curvature = jnp.sum(total.slopes(), axis=(1, 2)), total.curvature(ones)
        slopes, curvature = scattered(total.numbers, self.size, slopes, curvature)
        return Terms(value + jnp.sum(total.each), gradient + slopes, hessian + curvature)

    def _polynomials(self, z: Array, pairs: list[tuple[int, int]]) -> Array:
        """Return values, slopes, curvatures and mixed derivatives of the polynomials, `[jet, term]`."""
        value = self.basis(z)
        slopes = jnp.asarray(self.slopes)
        first = [value @ slopes[a] for a in range(slopes.shape[0])]
        second = [row @ slopes[a] for a, row in enumerate(first)]
        return jnp.stack([value, *first, *second, *(first[i] @ slopes[j] for i, j in pairs)])

    def smallest(self, data: EventData, x: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the smallest density of an event in units of the sum of its components' absolute parts."""
        q, polynomials = self.expectation(x).each[:, 0], self.basis(x[self.pois :])

        def block(number: Array, lowest: Array) -> Array:
            table = jnp.asarray(data.coefficients)[number].astype(q.dtype)
            eta = jnp.einsum("t,kte->ke", polynomials, table)
            part = q[:, None] * jnp.exp(eta - jnp.max(eta, axis=0))
            share = jnp.sum(part, axis=0) / jnp.sum(jnp.abs(part), axis=0)
            return jnp.minimum(lowest, jnp.min(jnp.where(jnp.asarray(data.weights)[number] > 0, share, 1.0)))

        return jax.lax.fori_loop(0, data.used, block, jnp.ones((), q.dtype))
