"""Binned regions: expected counts of all bins together, their data, and the terms they add to the likelihood."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from systwise.fit.likelihood._contents import Contents, Factors, flattened, joined, monomials, multiplied, scattered
from systwise.fit.likelihood._costs import count_terms, simulated_total, simulation_cost
from systwise.fit.likelihood._curves import Curves
from systwise.fit.likelihood._grid import GridCurve


class BinnedData(NamedTuple):
    """One binned data set, or a stack of them on a leading axis.

    Attributes:
        counts: observed counts `[row]`; of a moving observable those at the nominal point.
        known: centres of the simulation factors, `[row]`; None where templates are exact.
        moving: coefficients of the curves that the counts follow, `[curve, segment, power, 1, row]`; None where
            the counts are fixed.
        added: those of curves added to counts that are zero at the nominal point.
    """

    counts: Array | np.ndarray
    known: Array | np.ndarray | None = None
    moving: Array | np.ndarray | None = None
    added: Array | np.ndarray | None = None


class Terms(NamedTuple):
    """A part of the NLL with gradient and Hessian by all parameters."""

    value: Array
    gradient: Array
    hessian: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bins:
    """Bins of one region or several; rows beyond the last bin only fill up the shape and add nothing.

    Attributes:
        base: contents at the nominal point, `[component, row]`.
        factors: curves that multiply them.
        added: curves that are added to them before.
        grid: a joint curve of several nuisances that multiplies them.
        real: which rows are bins, `[row]`.
        variance: squared relative uncertainty of the simulated part as a whole, `[row]`, or of each component,
            `[component, row]`; None: exact templates.
        simulated: 1 where a component comes from simulation of limited size, else 0, `[component, row]`.
        convention: which terms in the data's counts are kept, a number of `CONVENTIONS`.
        moving: the curves of a moving observable's counts, without coefficients of their own.
        moving_added: those that are added.
        powers: exponents of the components' coefficients, `[component][poi]`.
        size: number of all parameters.
    """

    base: Float[Array | np.ndarray, "component row"]
    factors: Curves | None
    added: Curves | None
    grid: GridCurve | None
    real: Bool[Array | np.ndarray, " row"]
    variance: Float[Array | np.ndarray, "*component row"] | None
    simulated: Float[Array | np.ndarray, "component row"] | None
    convention: Int[Array | np.ndarray, ""]
    moving: Curves | None
    moving_added: Curves | None
    powers: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    size: int = dataclasses.field(metadata={"static": True})

    @property
    def pois(self) -> int:
        """Number of parameters of interest."""
        return len(self.powers[0])

    def contents(self, x: Float[Array, " parameter"]) -> Contents:
        """Return the contents of all components at parameters x."""
        theta, z = x[: self.pois], x[self.pois :]
        base = jnp.asarray(self.base)
        factors = multiplied(self.factors, z, (base.shape[0], base.shape[1]))
        numbers = [jnp.arange(self.pois)]
        if self.factors is not None:
            numbers.append(self.pois + jnp.asarray(self.factors.numbers))
        if self.grid is not None:
            factors = joined(factors, self.grid.factors(z))
            numbers.append(self.pois + jnp.asarray(self.grid.numbers))
        added = None
        if self.added is not None:
            added = self.added.jet(z)
            base = base + jnp.sum(added.value, axis=0)
            numbers.append(self.pois + jnp.asarray(self.added.numbers))
        return Contents(monomials(self.powers, theta), base, factors, added, jnp.concatenate(numbers))

    def templates(self, z: Float[Array, " nuisance"]) -> Float[Array, "component row"]:
        """Return the contents at coefficient 1."""
        value = jnp.asarray(self.base)
        if self.added is not None:
            value = value + jnp.sum(self.added.values(z), axis=0)
        if self.factors is not None:
            value = value * jnp.prod(self.factors.values(z), axis=0)
        return value if self.grid is None else value * self.grid.factors(z).value

    def along_lines(
        self, z: Float[Array, " nuisance"], lines: Float[Array, "value nuisance"]
    ) -> Float[Array, "value nuisance component row"]:
        """Return the contents where one nuisance at a time takes the values of `lines` and the others stay at z."""
        base, count = jnp.asarray(self.base), z.shape[0]
        here = None if self.factors is None else self.factors.values(z)
        product = jnp.ones_like(base) if here is None else jnp.prod(here, axis=0)
        sums = jnp.zeros((count, *base.shape))
        middle = base
        if self.added is not None:
            at = self.added.values(z)
            middle = base + jnp.sum(at, axis=0)
            sums = sums.at[jnp.asarray(self.added.numbers)].add(-at)
        grid = None if self.grid is None else self.grid.factors(z).value

        def one(values: Array) -> Array:
            content, ratio = middle + sums, jnp.ones((count, *base.shape))
            if self.added is not None:
                content = content.at[jnp.asarray(self.added.numbers)].add(self.added.values(values))
            if self.factors is not None and here is not None:
                safe = jnp.where(here == 0, 1.0, here)
                ratio = ratio.at[jnp.asarray(self.factors.numbers)].multiply(self.factors.values(values) / safe)
            content = content * product * ratio
            if self.grid is not None and grid is not None:
                own = jnp.asarray(self.grid.numbers)
                moved = jax.vmap(lambda j: self.grid.factors(z.at[j].set(values[j])).value)(own)  # type: ignore[union-attr]
                content = (content * grid).at[own].divide(jnp.where(grid == 0, 1.0, grid)).at[own].multiply(moved)
            return content

        return jax.lax.map(one, lines)

    def expected(self, x: Float[Array, " parameter"]) -> Float[Array, " row"]:
        """Return the expected counts."""
        coefficients, _, _ = monomials(self.powers, x[: self.pois])
        return coefficients @ self.templates(x[self.pois :])

    def counts(self, data: BinnedData, z: Float[Array, " nuisance"]) -> Float[Array, " row"]:
        """Return the data's counts as seen under nuisance values z."""
        counts = jnp.asarray(data.counts)
        added, factors = self._moving(data)
        if added is not None:
            counts = counts + jnp.sum(added.values(z), axis=(0, 1))
        return counts if factors is None else counts * jnp.prod(factors.values(z), axis=(0, 1))

    def _moving(self, data: BinnedData) -> tuple[Curves | None, Curves | None]:
        """Return the curves of the data's counts: added and multiplied."""

        def filled(curves: Curves | None, coefficients: Array | np.ndarray | None) -> Curves | None:
            if curves is None or coefficients is None:
                return None
            return dataclasses.replace(curves, coefficients=coefficients)

        return filled(self.moving_added, data.added), filled(self.moving, data.moving)

    def count_terms(self, n: Float[Array, " row"]) -> Array:
        """Return the terms in n alone."""
        real = jnp.asarray(self.real)
        return jnp.sum(jnp.where(real, count_terms(self.convention, jnp.where(real, n, 1.0))[0], 0.0))

    def constant(self, data: BinnedData) -> Array:
        """Return the terms in n alone of fixed counts; a zero where they move and are part of `terms`."""
        if data.moving is not None:
            return jnp.zeros(())
        return self.count_terms(jnp.asarray(data.counts))

    def terms(self, data: BinnedData, x: Float[Array, " parameter"]) -> Terms:
        """Return the NLL of one data set with gradient and Hessian by all parameters.

        `NLL = sum_r [nu_r - n_r ln nu_r + g(n_r)]`; infinite where an expected count is not positive. For fixed
        counts g is constant and left out (`constant`).
        """
        contents = self.contents(x)
        each, slopes = contents.each, contents.slopes()
        real = jnp.asarray(self.real)
        expected = jnp.sum(each, axis=0)
        possible = jnp.all((expected > 0) | ~real)
        nu = jnp.where(real & (expected > 0), expected, 1.0)
        if data.known is not None:
            value, weights, products, allowed = self._simulation_terms(data, contents, slopes, nu)
            possible = possible & allowed
        elif data.moving is not None:
            return self._moving_terms(data, x, contents, slopes, nu, possible)
        else:
            n = jnp.asarray(data.counts)
            ratio = n / nu
            # Without the bins that only fill up: their expectation was replaced by 1.
            value = jnp.sum(expected - n * jnp.log(nu))
            weights = jnp.broadcast_to(1 - ratio, each.shape)
            inputs = jnp.sum(slopes, axis=1)
            products = (inputs * (ratio / nu)) @ inputs.T
        gradient = flattened(slopes) @ weights.ravel()
        hessian = products + contents.curvature(weights)
        gradient, hessian = scattered(contents.numbers, self.size, gradient, hessian)
        return Terms(jnp.where(possible, value, jnp.inf), gradient, hessian)

    def simulated_mask(self) -> Float[Array, "component row"]:
        """Return 1 where a component is simulated."""
        return jnp.ones(self.base.shape) if self.simulated is None else jnp.asarray(self.simulated)

    def spread(self, each: Float[Array, "component row"]) -> tuple[Array, Array]:
        """Return the simulated part of the expected counts and its variance, each `[row]`."""
        mask, variance = self.simulated_mask(), jnp.asarray(self.variance)
        s = jnp.sum(mask * each, axis=0)
        return s, (variance * s**2 if variance.ndim == 1 else jnp.sum(variance * (mask * each) ** 2, axis=0))

    def _simulation_terms(
        self, data: BinnedData, contents: Contents, slopes: Array, nu: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return value, weights of the components, products of first derivatives, and whether counts are possible."""
        each, mask, variance = contents.each, self.simulated_mask(), jnp.asarray(self.variance)
        n, known, real = jnp.asarray(data.counts), jnp.asarray(data.known), jnp.asarray(self.real)
        s, v = self.spread(each)
        cost = simulation_cost(nu, s, v, n, known)
        cost = jax.tree.map(lambda array: jnp.where(real, array, 0.0), cost)
        by_nu, by_s = jnp.sum(slopes, axis=1), jnp.sum(slopes * mask, axis=1)
        if variance.ndim == 1:
            rate = 2 * variance * s * mask
            by_v = 2 * variance * s * by_s
            curved = (by_s * (2 * cost.v * variance)) @ by_s.T
        else:
            rate = 2 * variance * mask * each
            by_v = jnp.sum(slopes * rate, axis=1)
            flat = flattened(slopes * (2 * cost.v * variance * mask))
            curved = flat @ flattened(slopes).T
        weights = cost.nu + mask * cost.s + cost.v * rate
        left = jnp.stack(
            [
                cost.nu_nu * by_nu + cost.nu_s * by_s + cost.nu_v * by_v,
                cost.nu_s * by_nu + cost.s_s * by_s + cost.s_v * by_v,
                cost.nu_v * by_nu + cost.s_v * by_s + cost.v_v * by_v,
            ]
        )
        products = left[0] @ by_nu.T + left[1] @ by_s.T + left[2] @ by_v.T + curved
        allowed = jnp.all((cost.total > 0) | (n == 0) | ~real)
        return jnp.sum(cost.value), weights, products, allowed

    def _moving_terms(
        self, data: BinnedData, x: Array, contents: Contents, slopes: Array, nu: Array, possible: Array
    ) -> Terms:
        """Return the terms of counts n(z), with `f(nu, n) = nu - n ln nu + g(n)`."""
        z = x[self.pois :]
        added, factors = self._moving(data)
        shape = (1, nu.shape[0])
        base = jnp.asarray(data.counts)[None]
        jet, numbers = None, []
        product = multiplied(factors, z, shape)
        if factors is not None:
            numbers.append(self.pois + jnp.asarray(factors.numbers))
        if added is not None:
            jet = added.jet(z)
            base = base + jnp.sum(jet.value, axis=0)
            numbers.append(self.pois + jnp.asarray(added.numbers))
        nothing = jnp.zeros((0, 1))
        one = (jnp.ones(1), nothing, jnp.zeros((0, 0, 1)))
        seen = Contents(one, base, product, jet, jnp.concatenate(numbers))
        n = seen.each[0]
        real = jnp.asarray(self.real)
        safe = jnp.where(real, n, 1.0)
        terms, slope, bend = (jnp.where(real, part, 0.0) for part in count_terms(self.convention, safe))
        ratio, logarithm = n / nu, jnp.log(nu)
        value = jnp.sum(jnp.where(real, nu - n * logarithm, 0.0) + terms)
        weights = jnp.broadcast_to(jnp.where(real, 1 - ratio, 0.0), contents.each.shape)
        flow = jnp.where(real, slope - logarithm, 0.0)
        moves = seen.slopes()[:, 0]
        inputs = jnp.sum(slopes, axis=1)
        across = -(inputs / nu) @ moves.T
        upper = (inputs * (ratio / nu)) @ inputs.T + contents.curvature(weights)
        lower = (moves * bend) @ moves.T + seen.curvature(flow[None])
        gradient = jnp.concatenate([flattened(slopes) @ weights.ravel(), moves @ flow])
        hessian = jnp.block([[upper, across], [across.T, lower]])
        places = jnp.concatenate([contents.numbers, seen.numbers])
        gradient, hessian = scattered(places, self.size, gradient, hessian)
        return Terms(jnp.where(possible, value, jnp.inf), gradient, hessian)

    def best_factors(self, data: BinnedData, x: Float[Array, " parameter"]) -> Float[Array, " row"]:
        """Return the simulation factors that minimise the NLL at parameters x; ones where templates are exact."""
        if data.known is None:
            return jnp.ones(self.real.shape)
        coefficients, _, _ = monomials(self.powers, x[: self.pois])
        each = coefficients[:, None] * self.templates(x[self.pois :])
        nu, (s, v) = jnp.sum(each, axis=0), self.spread(each)
        n, known = jnp.asarray(data.counts), jnp.asarray(data.known)
        total = simulated_total(nu, s, v, n, known)
        return jnp.where(s > 0, (total - (nu - s)) / jnp.where(s > 0, s, 1.0), known)


__all__ = ["BinnedData", "Bins", "Factors", "Terms"]
