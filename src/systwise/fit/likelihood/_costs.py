"""What a row of the likelihood costs, as a function of what is expected in it, with two derivatives.

Everything that is fitted is `NLL = sum_r phi_r(nu_r) + sum_c C_c(z)`; only phi differs between bins, bins with
simulated templates, bins whose data move with the hypothesis, events and totals.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array

from systwise.fit.likelihood._gamma import log_gamma_jet

Convention = Literal["drop", "poisson", "deviance", "loggamma"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)


class SimulationCost(NamedTuple):
    """The cost of bins whose factor on the simulated part is minimised in closed form, every array `[row]`.

    Derivatives are by the expected count nu, its simulated part s and the variance v of that part.
    """

    value: Array
    total: Array
    nu: Array
    s: Array
    v: Array
    nu_nu: Array
    nu_s: Array
    nu_v: Array
    s_s: Array
    s_v: Array
    v_v: Array


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


def simulated_total(nu: Array, s: Array, v: Array, n: Array, known: Array) -> Array:
    """Return the expected count u at the best factor gamma >= 0 on its simulated part (Barlow-Beeston lite).

    With f = nu - s exact and m = f + a s, the bin's NLL is `u - n ln u + (u - m)^2 / (2 v)`, u = f + gamma s. It is
    stationary where `u^2 + u (v - m) - n v = 0`, and u cannot fall below f. With one factor a bin this is the method
    of Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219, as simplified by Conway, arXiv:1103.0354.

    Args:
        nu: expected counts at factors of 1.
        s: their simulated part.
        v: its variance.
        n: observed counts.
        known: centres a of the factors' constraints.
    """
    centre = nu + (known - 1) * s - v
    root = jnp.sqrt(centre**2 + 4 * n * v)
    # Twice the product of roots over the other root where the centre is negative: no cancellation.
    total = jnp.where(centre > 0, 0.5 * (centre + root), 2 * n * v / jnp.maximum(root - centre, 1e-300))
    return jnp.maximum(total, nu - s)


def simulation_cost(nu: Array, s: Array, v: Array, n: Array, known: Array) -> SimulationCost:
    """Return the cost `min_gamma [u - n ln u + (u - m)^2 / (2 v)]` (see `simulated_total`) with two derivatives.

    Inside, the minimum depends on m = nu + (a - 1) s and v alone: `P_m = 1 - n/u`, `P_v = -P_m^2 / 2`,
    `du/dm = 1 / (1 + v n / u^2)` and `du/dv = -P_m du/dm`. Where gamma = 0 bounds it, u = f and the penalty is
    `(a s)^2 / (2 v)`.
    """
    exact = nu - s
    u = simulated_total(nu, s, v, n, known)
    bounded = (u <= exact) & (s > 0) & (v > 0)
    safe = jnp.where(u > 0, u, 1.0)
    ratio = jnp.where(n > 0, n / safe, 0.0)
    weight = ratio / safe
    pull = 1 - ratio
    flow = 1 / (1 + v * weight)
    shift = known - 1
    # (u - m)^2 / (2 v) = v P_m^2 / 2, which is finite without variance.
    inner = 0.5 * v * pull**2
    m_m, m_v, v_v = weight * flow, -weight * flow * pull, weight * flow * pull**2
    v_safe = jnp.where(v > 0, v, 1.0)
    q = known**2 / v_safe
    penalty = 0.5 * q * s**2

    def either(inside: Array, at_bound: Array) -> Array:
        return jnp.where(bounded, at_bound, inside)

    return SimulationCost(
        value=u - jsp.xlogy(n, safe) + either(inner, penalty),
        total=u,
        nu=pull,
        s=either(shift * pull, -pull + q * s),
        v=either(-0.5 * pull**2, -penalty / v_safe),
        nu_nu=either(m_m, weight),
        nu_s=either(shift * m_m, -weight),
        nu_v=either(m_v, jnp.zeros_like(v)),
        s_s=either(shift**2 * m_m, weight + q),
        s_v=either(shift * m_v, -q * s / v_safe),
        v_v=either(v_v, 2 * penalty / v_safe**2),
    )
