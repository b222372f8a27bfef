"""The extended unbinned likelihood with exact derivatives, streamed over blocks of events.

`NLL = sum_k q_k - sum_i w_i ln sum_k q_k exp(eta_ik) + C(z)` with `q_k = c_k(theta) Y_k(z)` and `eta_ik(z)` a
polynomial in the nuisances whose coefficients belong to the event: one matrix product per block gives
value and derivatives of all eta at several parameter points.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.fit._morph import Morph
from systwise.parameters import AbstractConstraint, ChebyshevBasis, CorrelatedGaussian, Normalisation

BLOCK = 4096
"""Events a block: working arrays stay in the cache."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Extended:
    """What the jitted functions need of a model; parameters of interest first, then nuisances.

    Attributes:
        yields: `[component, 1]` as a function of the nuisances numbered `shape`.
        low: lower ends of the parameters' ranges, `[parameter]`.
        high: upper ends.
        constraints: one a nuisance.
        powers: exponents of the components' coefficients, `[component][poi]`.
        shape: numbers of the nuisances that change events.
        factors: (nuisance, components, normalisation) of the others.
        joint: (nuisances, constraint) of constraints on several nuisances.
    """

    yields: Morph
    low: Float[Array | np.ndarray, " parameter"]
    high: Float[Array | np.ndarray, " parameter"]
    constraints: tuple[AbstractConstraint, ...]
    powers: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    factors: tuple[tuple[int, tuple[int, ...], Normalisation], ...] = dataclasses.field(metadata={"static": True})
    joint: tuple[tuple[tuple[int, ...], CorrelatedGaussian], ...] = dataclasses.field(
        default=(), metadata={"static": True}
    )

    @property
    def pois(self) -> int:
        """Number of parameters of interest."""
        return len(self.powers[0])

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.pois + len(self.constraints)

    def expected(self, x: Float[Array, " parameter"]) -> Float[Array, " component"]:
        """Return `q_k = c_k(theta) Y_k(z)`."""
        theta, z = x[: self.pois], x[self.pois :]
        value = self.yields.jet([z[j].reshape(1, 1) for j in self.shape])[0].reshape(len(self.powers))
        rows = []
        for k, row in enumerate(self.powers):
            q = value[k]
            for p, power in enumerate(row):
                for _ in range(power):
                    q = q * theta[p]
            rows.append(q)
        for j, components, normalisation in self.factors:
            factor = normalisation.factor(z[j])
            for k in components:
                rows[k] = rows[k] * factor
        return jnp.stack(rows)

    def constraint_nll(
        self, z: Float[Array, " nuisance"], auxiliary: tuple[Array | np.ndarray, ...]
    ) -> Float[Array, ""]:
        """Return C(z); auxiliary data of joint constraints come last."""
        data = [jnp.asarray(a) for a in auxiliary]
        terms = [c.nll(z[j], data[j]) for j, c in enumerate(self.constraints)]
        for (numbers, constraint), centre in zip(self.joint, data[len(self.constraints) :], strict=True):
            pull = z[np.array(numbers)] - centre
            terms.append(0.5 * pull @ jnp.asarray(constraint.precision) @ pull)
        return sum(terms, jnp.zeros(()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Events:
    """One data set in blocks.

    Attributes:
        coefficients: `[block, component, term, event]`.
        weights: `[block, event]`, zero where a block is not full.
        used: blocks that hold events; those behind are never looked at.
        basis: the polynomials.
        auxiliary: one array a nuisance's constraint, then those of joint constraints.
    """

    coefficients: Float[Array | np.ndarray, "block component term event"]
    weights: Float[Array | np.ndarray, "block event"]
    used: Int[Array | np.ndarray, ""]
    basis: ChebyshevBasis
    auxiliary: tuple[Array | np.ndarray, ...]


def evaluate(
    lik: Extended, events: Events, x: list[Array], free: tuple[int, ...]
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return NLL, gradient and Hessian by the `free` parameters at several points, each `[point, 1]`.

    With `d = sum_k q_k e_k`, `e_k = exp(eta_k)`:
    `d_a = sum_k e_k (q_k,a + q_k eta_k,a)` and
    `d_ab = sum_k e_k (q_k,ab + q_k,a eta_k,b + q_k,b eta_k,a + q_k (eta_k,ab + eta_k,a eta_k,b))`;
    the event's term is `-ln d`, its slope `-d_a / d`, its curvature `d_a d_b / d^2 - d_ab / d`.
    Infinite where some event's density is not positive.
    """
    points = jnp.concatenate(x, axis=1)
    q, q_a, q_ab = jax.vmap(lambda v: (lik.expected(v), jax.jacfwd(lik.expected)(v), _second(lik.expected, v)))(points)
    moving = [i - lik.pois for i in free if i >= lik.pois and i - lik.pois in events.basis.active]
    pairs = [(i, j) for i in moving for j in moving if i <= j]
    jets = _basis_jets(events.basis, points[:, lik.pois :], moving, pairs)
    value, gradient, hessian = _event_sums(lik, events, (q, q_a, q_ab), jets, moving, pairs, free)
    z = points[:, lik.pois :]

    def constraint(v: Array) -> Array:
        return lik.constraint_nll(v, events.auxiliary)

    c, c_a, c_ab = jax.vmap(lambda v: (constraint(v), jax.grad(constraint)(v), _second(constraint, v)))(z)
    value = jnp.sum(q, axis=1) - value + c
    count = range(len(free))
    slopes, curvatures = [], []
    for a in count:
        i = free[a]
        slope = jnp.sum(q_a[:, :, i], axis=1) - gradient[a]
        slopes.append((slope + c_a[:, i - lik.pois] if i >= lik.pois else slope)[:, None])
        row = []
        for b in count:
            j = free[b]
            curvature = jnp.sum(q_ab[:, :, i, j], axis=1) - hessian[max(a, b)][min(a, b)]
            both = i >= lik.pois and j >= lik.pois
            row.append((curvature + c_ab[:, i - lik.pois, j - lik.pois] if both else curvature)[:, None])
        curvatures.append(row)
    return value[:, None], slopes, curvatures


def _second(function: object, v: Array) -> Array:
    return jax.jacfwd(jax.jacfwd(function))(v)  # type: ignore[arg-type]


def _basis_jets(basis: ChebyshevBasis, z: Array, moving: list[int], pairs: list[tuple[int, int]]) -> Array:
    """Return values, slopes and curvatures of the polynomials as rows, `[point * jet, term]`."""
    value = basis(z)
    half = jnp.asarray(basis.half)
    slopes = {j: jnp.asarray(basis.slopes(j)) / half[j] for j in moving}
    rows = [value] + [value @ slopes[j] for j in moving] + [value @ slopes[i] @ slopes[j] for i, j in pairs]
    return jnp.stack(rows, axis=1).reshape(-1, value.shape[-1])


def _event_sums(
    lik: Extended,
    events: Events,
    jet: tuple[Array, Array, Array],
    polynomials: Array,
    moving: list[int],
    pairs: list[tuple[int, int]],
    free: tuple[int, ...],
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return `sum_i w_i ln d_i` `[point]` with its gradient and Hessian (lower triangle) by the `free` parameters."""
    q, q_a, q_ab = jet
    points, components = q.shape
    width = 1 + len(moving) + len(pairs)
    coefficients, weights = jnp.asarray(events.coefficients), jnp.asarray(events.weights)
    count = len(free)
    numbers = [i - lik.pois for i in free]
    zero = jnp.zeros(points, q.dtype)

    def block(number: Array, total: tuple) -> tuple:
        table = coefficients[number].astype(q.dtype)
        w = weights[number][None]
        eta = [(polynomials @ table[k]).reshape(points, width, -1) for k in range(components)]
        top = eta[0][:, 0]
        for e in eta[1:]:
            top = jnp.maximum(top, e[:, 0])
        size = [jnp.exp(e[:, 0] - top) for e in eta]
        density = jnp.zeros_like(top)
        for k in range(components):
            density = density + q[:, k, None] * size[k]
        # Blocks that are not full end in events of weight zero, which may be anything.
        possible = (density > 0) | (w == 0)
        density = jnp.where(density > 0, density, 1.0)
        value = jnp.sum(w * (jnp.log(density) + top), axis=1)
        value = jnp.where(jnp.all(possible, axis=1), value, -jnp.inf)
        share = [s / density for s in size]

        def slope(k: int, a: int) -> Array | float:
            return eta[k][:, 1 + moving.index(numbers[a])] if numbers[a] in moving else 0.0

        logs = []
        for a in range(count):
            total_a = zero[:, None]
            for k in range(components):
                total_a = total_a + share[k] * (q_a[:, k, free[a], None] + q[:, k, None] * slope(k, a))
            logs.append(total_a)
        gradient = [jnp.sum(w * g, axis=1) for g in logs]
        hessian = []
        for a in range(count):
            row = []
            for b in range(a + 1):
                i, j = free[a], free[b]
                entry = -logs[a] * logs[b]
                for k in range(components):
                    inner = q_ab[:, k, i, j, None] + q_a[:, k, i, None] * slope(k, b) + q_a[:, k, j, None] * slope(k, a)
                    if numbers[a] in moving and numbers[b] in moving:
                        pair = pairs.index((min(numbers[a], numbers[b]), max(numbers[a], numbers[b])))
                        second = eta[k][:, 1 + len(moving) + pair] + slope(k, a) * slope(k, b)
                        inner = inner + q[:, k, None] * second
                    entry = entry + share[k] * inner
                row.append(jnp.sum(w * entry, axis=1))
            hessian.append(row)
        return jax.tree.map(jnp.add, total, (value, gradient, hessian))

    start = (zero, [zero] * count, [[zero] * (a + 1) for a in range(count)])
    return jax.lax.fori_loop(0, events.used, block, start)


def smallest_share(lik: Extended, events: Events, x: Float[Array, " parameter"]) -> Float[Array, ""]:
    """Return the smallest density of an event in units of the sum of its components' absolute parts."""
    q, polynomials = lik.expected(x), events.basis(x[lik.pois :])

    def block(number: Array, lowest: Array) -> Array:
        table = jnp.asarray(events.coefficients)[number].astype(q.dtype)
        eta = jnp.einsum("t,kte->ke", polynomials, table)
        part = q[:, None] * jnp.exp(eta - jnp.max(eta, axis=0))
        share = jnp.sum(part, axis=0) / jnp.sum(jnp.abs(part), axis=0)
        return jnp.minimum(lowest, jnp.min(jnp.where(jnp.asarray(events.weights)[number] > 0, share, 1.0)))

    return jax.lax.fori_loop(0, events.used, block, jnp.ones((), q.dtype))
