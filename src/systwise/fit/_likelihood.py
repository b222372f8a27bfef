"""The likelihood and its exact derivatives, evaluated at many points and data sets at once.

Everything here is pure JAX inside a float64 context, and arrays carry their batch axes last: `point`
(scan points, starts, candidates) and `data` (data sets). Small axes (component, bin, parameter) come
first, so that every operation is elementwise over a long contiguous axis. Derivatives are written out
because one evaluation yields value, gradient and Hessian for little more than the value alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.fit._gamma import log_gamma_jet
from systwise.fit._morph import Jet, Morph
from systwise.parameters import AbstractConstraint

Convention = Literal["drop", "poisson", "deviance", "loggamma"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)

Sparse = Array | float
"""A coefficient or its derivative: a plain 0.0 is left out of sums while tracing."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observed:
    """Data sets as the likelihood reads them, the data-set axis last.

    Attributes:
        counts: `[bin, data]`, or a morph of such counts in the hypothesised nuisances (moving observable).
        auxiliary: one array `[auxiliary, data]` a constraint.
    """

    counts: Float[Array | np.ndarray, "bin data"] | Morph
    auxiliary: tuple[Float[Array | np.ndarray, "auxiliary data"], ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """What the jitted functions need of a model: arrays that may change and structure that compiles.

    Parameters are numbered with the parameters of interest first and the nuisances after them.

    Attributes:
        morph: templates `[component, bin]`.
        low: lower ends of the parameters' ranges, `[parameter]`.
        high: upper ends.
        constraints: one a nuisance.
        powers: exponents of the components' coefficients, `[component][poi]`.
        convention: which terms in the data's counts are kept, a number of `CONVENTIONS`; not static, so
            that all conventions share one compilation.
        offset: constant NLL of bins that only fill up the shape.
    """

    morph: Morph
    low: Float[Array | np.ndarray, " parameter"]
    high: Float[Array | np.ndarray, " parameter"]
    constraints: tuple[AbstractConstraint, ...]
    convention: Int[Array | np.ndarray, ""]
    offset: Float[Array | np.ndarray, ""]
    powers: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})

    @property
    def pois(self) -> int:
        """Number of parameters of interest."""
        return len(self.powers[0])

    @property
    def parameters(self) -> int:
        """Number of parameters of interest and nuisances together."""
        return self.pois + len(self.constraints)


def _monomial(row: Sequence[int], theta: Sequence[Array]) -> Sparse:
    """Return `prod_p theta_p^row_p`; a float where no parameter enters."""
    value: Sparse = 1.0
    for power, parameter in zip(row, theta, strict=True):
        for _ in range(power):
            value = value * parameter
    return value


def _lowered(row: Sequence[int], p: int) -> tuple[int, tuple[int, ...]]:
    """Return the factor and exponents of the derivative of a monomial by parameter `p`."""
    return row[p], tuple(max(power - (q == p), 0) for q, power in enumerate(row))


def _monomial_jet(row: Sequence[int], theta: Sequence[Array]) -> tuple[Sparse, list[Sparse], list[list[Sparse]]]:
    """Return a coefficient with its first and second derivatives, zeros as plain floats."""

    def slope(row: Sequence[int], p: int, factor: int = 1) -> Sparse:
        power, rest = _lowered(row, p)
        return float(power * factor) * _monomial(rest, theta) if power else 0.0

    def curvature(p: int, q: int) -> Sparse:
        power, rest = _lowered(row, p)
        return slope(rest, q, power) if power else 0.0

    count = range(len(row))
    return _monomial(row, theta), [slope(row, p) for p in count], [[curvature(p, q) for q in count] for p in count]


def _combine(coefficients: Sequence[Sparse], templates: Array) -> Sparse:
    """Return `sum_k c_k T_k`, `[bin, point, data]`, without the terms known to vanish."""
    total: Sparse = 0.0
    for k, coefficient in enumerate(coefficients):
        if not (isinstance(coefficient, float) and coefficient == 0.0):
            total = total + coefficient * templates[k]
    return total


def expected_jet(
    lik: Likelihood, theta: Sequence[Array], templates: Jet, free: Sequence[int]
) -> tuple[Array, list[Sparse], list[list[Sparse]]]:
    """Return expected counts `[bin, point, data]` and their derivatives by the `free` parameters.

    Args:
        lik: the likelihood.
        theta: `[poi]` values, each `[point, data]`.
        templates: the morph's jet; its derivative lists may be empty where no nuisance is free.
        free: numbers of the parameters by which to differentiate.
    """
    jets = [_monomial_jet(row, theta) for row in lik.powers]
    value, slopes, curvatures = templates
    c = [jet[0] for jet in jets]
    first, second = [], []
    for i in free:
        poi_i = i < lik.pois
        first.append(_combine([jet[1][i] for jet in jets], value) if poi_i else _combine(c, slopes[i - lik.pois]))
        row = []
        for j in free:
            if poi_i and j < lik.pois:
                row.append(_combine([jet[2][i][j] for jet in jets], value))
            elif poi_i or j < lik.pois:
                p, nuisance = (i, j) if poi_i else (j, i)
                row.append(_combine([jet[1][p] for jet in jets], slopes[nuisance - lik.pois]))
            else:
                row.append(_combine(c, curvatures[i - lik.pois][j - lik.pois]))
        second.append(row)
    return jnp.asarray(_combine(c, value)), first, second


def count_terms(convention: Array | np.ndarray, n: Array) -> tuple[Array, Array, Array]:
    """Return the terms in n alone of one bin, with first and second derivative.

    `convention` is a number of `CONVENTIONS`: only its terms are computed, but all are compiled.
    """
    return jax.lax.switch(convention, [functools.partial(terms_of, name) for name in CONVENTIONS], n)


def terms_of(convention: str, n: Array) -> tuple[Array, Array, Array]:
    """Return the terms in n alone of one bin under a named convention, with two derivatives.

    `drop` 0; `poisson` ln n!; `deviance` n ln n - n; `loggamma` ln Gamma(n).
    """
    if convention == "drop":
        zero = jnp.zeros_like(n)
        return zero, zero, zero
    if convention == "deviance":
        # n ln n -> 0 for an empty bin; its derivative is only ever multiplied by dn = 0 there.
        safe = jnp.maximum(n, 1e-300)
        return jsp.xlogy(n, safe) - n, jnp.log(safe), 1 / safe
    return log_gamma_jet(n + 1 if convention == "poisson" else n)


def counts_jet(lik: Likelihood, observed: Observed, z: Sequence[Array], free: Sequence[int]) -> Jet:
    """Return the data's counts `[bin, point, data]` and their derivatives by the free nuisances."""
    if isinstance(observed.counts, Morph):
        value, slopes, curvatures = observed.counts.jet(z)
        moving = [i - lik.pois for i in free if i >= lik.pois]
        return value, [slopes[i] for i in moving], [[curvatures[i][j] for j in moving] for i in moving]
    return jnp.asarray(observed.counts)[:, None, :], [], []


def _add(total: Sparse, bins: Sparse) -> Sparse:
    """Return `total` plus the sum over bins, leaving out a term known to vanish."""
    return total if isinstance(bins, float) else total + jnp.sum(bins, axis=0)


def evaluate(
    lik: Likelihood, observed: Observed, theta: Sequence[Array], z: Sequence[Array], free: tuple[int, ...]
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return NLL `[point, data]`, gradient and Hessian by the `free` parameters.

    `NLL = sum_b [nu_b - n_b ln nu_b + g(n_b)] + sum_j C_j(z_j)`, g by the convention; infinite where an
    expected count is not positive. For a fixed observable g is constant and left out (`constant_terms`).
    """
    moving = isinstance(observed.counts, Morph)
    jet = evaluate_bins(lik, counts_jet(lik, observed, z, free), theta, lik.morph.jet(z), free, terms=moving)
    return add_constraints(lik, observed, z, free, jet)


def evaluate_bins(
    lik: Likelihood, counts: Jet, theta: Sequence[Array], templates: Jet, free: tuple[int, ...], terms: bool = False
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return the bins' part of the NLL with gradient and Hessian by the `free` parameters.

    Args:
        lik: the likelihood.
        counts: the data's jet.
        theta: `[poi]` values, each `[point, data]`.
        templates: the templates' jet.
        free: numbers of the parameters by which to differentiate.
        terms: include g(n), the terms in n alone.

    With f(nu, n) = nu - n ln nu + g(n):
    `f_i = (1 - n/nu) nu_i + (g' - ln nu) n_i`, and
    `f_ij = (1 - n/nu) nu_ij + n nu_i nu_j / nu^2 - (n_i nu_j + n_j nu_i)/nu + (g' - ln nu) n_ij + g'' n_i n_j`.
    """
    nu, nu_i, nu_ij = expected_jet(lik, theta, templates, free)
    n, n_first, n_second = counts
    offset = len(free) - len(n_first)
    possible = nu > 0
    nu = jnp.where(possible, nu, 1.0)
    logarithm, inverse = jnp.log(nu), 1 / nu
    ratio = n * inverse
    pull = 1 - ratio
    count_value, count_slope, count_curvature = count_terms(lik.convention, n) if terms else terms_of("drop", n)
    value = jnp.sum(nu - n * logarithm + count_value, axis=0)
    value = jnp.where(jnp.all(possible, axis=0), value, jnp.inf)
    gradient, hessian = [], []
    scaled = [slope * inverse for slope in nu_i]
    for a in range(len(free)):
        slope = pull * nu_i[a]
        moves_a = n_first and a >= offset
        if moves_a:
            slope = slope + (count_slope - logarithm) * n_first[a - offset]
        gradient.append(jnp.sum(slope, axis=0))
        row = []
        for b in range(a + 1):
            curvature = n * scaled[a] * scaled[b]
            if not isinstance(nu_ij[a][b], float):
                curvature = curvature + pull * nu_ij[a][b]
            if moves_a:
                curvature = curvature - n_first[a - offset] * scaled[b]
            if n_first and b >= offset:
                curvature = curvature - n_first[b - offset] * scaled[a]
                if moves_a:
                    i, j = a - offset, b - offset
                    curvature = curvature + (count_slope - logarithm) * n_second[i][j]
                    curvature = curvature + count_curvature * n_first[i] * n_first[j]
            row.append(jnp.sum(curvature, axis=0))
        hessian.append(row)
    return value, gradient, [[hessian[max(a, b)][min(a, b)] for b in range(len(free))] for a in range(len(free))]


def constant_terms(lik: Likelihood, observed: Observed) -> Array:
    """Return the terms in n alone of fixed counts, `[data]`; a zero where they move and are part of `evaluate`."""
    if isinstance(observed.counts, Morph):
        return jnp.zeros(())
    return jnp.sum(count_terms(lik.convention, jnp.asarray(observed.counts))[0], axis=0)


def add_constraints(
    lik: Likelihood,
    observed: Observed,
    z: Sequence[Array],
    free: tuple[int, ...],
    jet: tuple[Array, list[Array], list[list[Array]]],
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return the jet with the constraints' terms added."""
    value, gradient, hessian = jet[0] - lik.offset, list(jet[1]), [list(row) for row in jet[2]]
    for j, (constraint, values, auxiliary) in enumerate(zip(lik.constraints, z, observed.auxiliary, strict=True)):
        parameter = lik.pois + j
        terms = constraint_jet(constraint, values, auxiliary)
        value = value + terms[0]
        if parameter in free:
            a = free.index(parameter)
            gradient[a] = gradient[a] + terms[1]
            hessian[a][a] = hessian[a][a] + terms[2]
    return value, gradient, hessian


def constraint_jet(
    constraint: AbstractConstraint, z: Array, auxiliary: Array | np.ndarray
) -> tuple[Array, Array, Array]:
    """Return a constraint's NLL and two derivatives, each `[point, data]`."""
    slope = jax.grad(constraint.nll)

    def jet(value: Array, datum: Array) -> tuple[Array, Array, Array]:
        first, second = jax.jvp(lambda x: slope(x, datum), (value,), (jnp.ones_like(value),))
        return constraint.nll(value, datum), first, second

    auxiliary = jnp.asarray(auxiliary)
    data = max(z.shape[1], auxiliary.shape[1])
    z = jnp.broadcast_to(z, (z.shape[0], data))
    auxiliary = jnp.broadcast_to(auxiliary, (auxiliary.shape[0], data))
    over_data = jax.vmap(jet, in_axes=(0, 1))
    return jax.vmap(over_data, in_axes=(0, None))(z, auxiliary)
