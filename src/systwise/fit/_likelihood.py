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
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from systwise.fit._constraint_terms import JointTerm, add_constraints
from systwise.fit._effects import Effect
from systwise.fit._gamma import log_gamma_jet
from systwise.fit._joint_morph import JointMorph
from systwise.fit._materialise import materialised
from systwise.fit._morph import Jet, Morph
from systwise.fit._template_jet import Sparse, TemplateJet, template_jet
from systwise.parameters import AbstractConstraint

Convention = Literal["drop", "poisson", "deviance", "loggamma"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observed:
    """Data sets as the likelihood reads them, the data-set axis last.

    Attributes:
        counts: `[bin, data]`, or a morph of such counts in the hypothesised nuisances (moving observable).
        auxiliary: one array `[auxiliary, data]` a constraint, those of several nuisances last.
        simulated: what is known of each bin's simulation factor (Barlow-Beeston), nominally 1,
            `[bin, data]`; None where the templates are taken as exact.
    """

    counts: Float[Array | np.ndarray, "bin data"] | Morph
    auxiliary: tuple[Float[Array | np.ndarray, "_ data"], ...]
    simulated: Float[Array | np.ndarray, "bin data"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """What the jitted functions need of a model: arrays that may change and structure that compiles.

    Parameters are numbered with the parameters of interest first and the nuisances after them.

    Attributes:
        morph: templates `[component, bin]` as a function of the nuisances `morphed`.
        effects: exact factors and added shapes.
        low: lower ends of the parameters' ranges, `[parameter]`.
        high: upper ends.
        constraints: one a nuisance.
        joint: constraints of several nuisances.
        variance: squared relative uncertainty of each bin's simulation, `[bin]`; None: exact templates.
        simulated: 1 where a component comes from simulation of limited size, else 0, `[component, bin]`;
            None: everywhere.
        powers: exponents of the components' coefficients, `[component][poi]`.
        convention: which terms in the data's counts are kept, a number of `CONVENTIONS`; not static, so
            that all conventions share one compilation.
        offset: constant NLL of bins that only fill up the shape.
        morphed: numbers of the nuisances that the morph depends on, in its order.
    """

    morph: Morph | JointMorph
    effects: tuple[Effect, ...]
    low: Float[Array | np.ndarray, " parameter"]
    high: Float[Array | np.ndarray, " parameter"]
    constraints: tuple[AbstractConstraint, ...]
    joint: tuple[JointTerm, ...]
    variance: Float[Array | np.ndarray, " bin"] | None
    simulated: Float[Array | np.ndarray, "component bin"] | None
    convention: Int[Array | np.ndarray, ""]
    offset: Float[Array | np.ndarray, ""]
    powers: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    morphed: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def pois(self) -> int:
        """Number of parameters of interest."""
        return len(self.powers[0])

    @property
    def parameters(self) -> int:
        """Number of parameters of interest and nuisances together."""
        return self.pois + len(self.constraints)

    def templates(self, z: Sequence[Array]) -> TemplateJet:
        """Return the templates at nuisance values `z`, each `[point, data]`."""
        return template_jet(self.morph, self.morphed, self.effects, z)

    @property
    def always(self) -> Bool[Array, ""]:
        """True; the compiler does not know (see `materialised`)."""
        return jnp.asarray(self.offset) > -1e300


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


def _combine(coefficients: Sequence[Sparse], templates: Array | None) -> Sparse:
    """Return `sum_k c_k T_k`, `[bin, point, data]`, without the terms known to vanish."""
    total: Sparse = 0.0
    if templates is None:
        return total
    for k, coefficient in enumerate(coefficients):
        if not (isinstance(coefficient, float) and coefficient == 0.0):
            total = total + coefficient * templates[k]
    return total


class Slopes(NamedTuple):
    """Sums over components with derivatives by the free parameters, `[bin, point, data]`."""

    value: Array
    first: list[Sparse]
    second: list[list[Sparse]]


def expected_jet(lik: Likelihood, theta: Sequence[Array], templates: TemplateJet, free: Sequence[int]) -> Slopes:
    """Return expected counts `[bin, point, data]` and their derivatives by the `free` parameters.

    Args:
        lik: the likelihood.
        theta: `[poi]` values, each `[point, data]`.
        templates: the templates' jet.
        free: numbers of the parameters by which to differentiate.
    """
    jets = [_monomial_jet(row, theta) for row in lik.powers]
    value, pois = templates.value, lik.pois
    c = [jet[0] for jet in jets]

    def times(factor: Sparse) -> Array | None:
        return None if isinstance(factor, float) and factor == 0.0 else value * factor

    slopes = {i: times(templates.slope[i - pois]) for i in free if i >= pois}
    first: list[Sparse] = []
    for i in free:
        first.append(_combine([jet[1][i] for jet in jets], value) if i < pois else _combine(c, slopes[i]))
    second: list[list[Sparse]] = []
    for a, i in enumerate(free):
        row: list[Sparse] = []
        for j in free[: a + 1]:
            if i < pois:
                row.append(_combine([jet[2][i][j] for jet in jets], value))
            elif j < pois:
                row.append(_combine([jet[1][j] for jet in jets], slopes[i]))
            else:
                row.append(_combine(c, times(templates.second(i - pois, j - pois))))
        second.append(row)
    return Slopes(jnp.asarray(_combine(c, value)), first, second)


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
    """Return the data's counts `[bin, point, data]` and their derivatives by the free nuisances.

    Nuisances that do not move the observable have zero derivatives.
    """
    if not isinstance(observed.counts, Morph):
        return jnp.asarray(observed.counts)[:, None, :], [], []
    value, slopes, curvatures = observed.counts.jet([z[j] for j in lik.morphed])
    zero = jnp.zeros_like(value)
    place = {lik.pois + j: number for number, j in enumerate(lik.morphed)}
    moving = [i for i in free if i >= lik.pois]
    first = [slopes[place[i]] if i in place else zero for i in moving]
    second = [[curvatures[place[i]][place[j]] if i in place and j in place else zero for j in moving] for i in moving]
    return value, first, second


def evaluate(
    lik: Likelihood, observed: Observed, theta: Sequence[Array], z: Sequence[Array], free: tuple[int, ...]
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return NLL `[point, data]`, gradient and Hessian by the `free` parameters.

    `NLL = sum_b [nu_b - n_b ln nu_b + g(n_b)] + sum_j C_j(z_j)`, g by the convention; infinite where an
    expected count is not positive. For a fixed observable g is constant and left out (`constant_terms`).
    With simulation of limited size see `evaluate_bins`.
    """
    moving = isinstance(observed.counts, Morph)
    counts = counts_jet(lik, observed, z, free)
    templates = materialised(lik.always, lik.templates, list(z))
    jet = evaluate_bins(lik, counts, theta, templates, free, terms=moving, simulated=observed.simulated)
    return add_constraints(lik, observed, z, free, jet)


def simulation_factor(
    lik: Likelihood, nu: Array, simulated: Array, n: Array, known: Array
) -> Float[Array, "bin point data"]:
    """Return the factor gamma on each bin's simulated part that minimises the NLL (Barlow-Beeston lite).

    With u = f + gamma s (f exact, s simulated, nu = f + s), the bin's NLL is
    `u - n ln u + (gamma - a)^2 / (2 delta^2)`, stationary where `u = f + gamma s` solves
    `u^2 + u (v - f - a s) - n v = 0`, `v = (s delta)^2`. With one factor a bin this is the method of
    Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219, as simplified by Conway, arXiv:1103.0354.

    Args:
        lik: the likelihood.
        nu: expected counts.
        simulated: their simulated part s.
        n: observed counts.
        known: centres a of the factors' constraints.
    """
    variance = jnp.asarray(lik.variance)[:, None, None]
    spread = simulated**2 * variance
    centre = nu + (known - 1) * simulated - spread
    root = jnp.sqrt(centre**2 + 4 * n * spread)
    # Twice the product of roots over the other root where the centre is negative: no cancellation.
    total = jnp.where(centre > 0, 0.5 * (centre + root), 2 * n * spread / jnp.maximum(root - centre, 1e-300))
    total = jnp.maximum(total, 1e-300)
    return known - variance * simulated * (1 - n / total)


def evaluate_bins(
    lik: Likelihood,
    counts: Jet,
    theta: Sequence[Array],
    templates: TemplateJet,
    free: tuple[int, ...],
    terms: bool = False,
    simulated: Array | np.ndarray | None = None,
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return the bins' part of the NLL with gradient and Hessian by the `free` parameters.

    Args:
        lik: the likelihood.
        counts: the data's jet.
        theta: `[poi]` values, each `[point, data]`.
        templates: the templates' jet.
        free: numbers of the parameters by which to differentiate.
        terms: include g(n), the terms in n alone.
        simulated: centres of the simulation factors `[bin, data]`; None: templates are exact.

    With f(nu, n) = nu - n ln nu + g(n):
    `f_i = (1 - n/nu) nu_i + (g' - ln nu) n_i`, and
    `f_ij = (1 - n/nu) nu_ij + n nu_i nu_j / nu^2 - (n_i nu_j + n_j nu_i)/nu + (g' - ln nu) n_ij + g'' n_i n_j`.
    With simulation factors gamma at their minimum these hold at fixed gamma, and the Hessian loses
    `q_i q_j / D` a bin, `q_i = (1 - n/u) s_i + s (n u_i / u - n_i) / u` and `D = s^2 n / u^2 + 1 / delta^2`.
    """
    n, n_first, n_second = counts
    offset = len(free) - len(n_first)
    penalty: Sparse = 0.0
    parts: Slopes | None = None
    if simulated is not None:
        mask = None if lik.simulated is None else jnp.asarray(lik.simulated)[..., None, None]
        part = templates if mask is None else templates.scaled(mask)
        plain = expected_jet(lik, theta, templates, ()).value
        parts = materialised(lik.always, lambda theta, jet: expected_jet(lik, theta, jet, free), list(theta), part)
        known = jnp.asarray(simulated)[:, None, :]
        gamma = simulation_factor(lik, plain, parts.value, n, known)
        templates = templates.scaled(gamma[None] if mask is None else 1 + mask * (gamma - 1))
        possible = plain > 0
        nu, nu_i, nu_ij = materialised(
            lik.always, lambda theta, jet: expected_jet(lik, theta, jet, free), list(theta), templates
        )
        variance = jnp.asarray(lik.variance)[:, None, None]
        pull_back = 1 - n / jnp.where(nu > 0, nu, 1.0)
        penalty = 0.5 * variance * (parts.value * pull_back) ** 2
        possible = possible & (nu > 0)
    else:
        nu, nu_i, nu_ij = materialised(
            lik.always, lambda theta, jet: expected_jet(lik, theta, jet, free), list(theta), templates
        )
        possible = nu > 0
    nu = jnp.where(possible, nu, 1.0)
    logarithm, inverse = jnp.log(nu), 1 / nu
    ratio = n * inverse
    pull = 1 - ratio
    count_value, count_slope, count_curvature = count_terms(lik.convention, n) if terms else terms_of("drop", n)
    value = jnp.sum(nu - n * logarithm + count_value + penalty, axis=0)
    value = jnp.where(jnp.all(possible, axis=0), value, jnp.inf)
    gradient, hessian = [], []
    scaled = [slope * inverse for slope in nu_i]
    if parts is not None:
        share = parts.value * inverse
        weight = variance / (1 + variance * n * share**2)
        flow = [
            pull * parts.first[a] + share * (n * scaled[a] - (n_first[a - offset] if n_first and a >= offset else 0.0))
            for a in range(len(free))
        ]
    for a in range(len(free)):
        slope = pull * nu_i[a]
        moves_a = n_first and a >= offset
        if moves_a:
            slope = slope + (count_slope - logarithm) * n_first[a - offset]
        gradient.append(_over_bins(slope, value))
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
            if parts is not None:
                curvature = curvature - weight * flow[a] * flow[b]
            row.append(_over_bins(curvature, value))
        hessian.append(row)
    return value, gradient, [[hessian[max(a, b)][min(a, b)] for b in range(len(free))] for a in range(len(free))]


def _over_bins(terms: Sparse, like: Array) -> Array:
    """Return the sum over bins, zeros for a parameter without effect."""
    return jnp.zeros_like(like) if isinstance(terms, float) else jnp.broadcast_to(jnp.sum(terms, axis=0), like.shape)


def constant_terms(lik: Likelihood, observed: Observed) -> Array:
    """Return the terms in n alone of fixed counts, `[data]`; a zero where they move and are part of `evaluate`."""
    if isinstance(observed.counts, Morph):
        return jnp.zeros(())
    return jnp.sum(count_terms(lik.convention, jnp.asarray(observed.counts))[0], axis=0)
