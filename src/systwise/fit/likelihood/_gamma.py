"""ln Gamma with its first two derivatives in one pass.

`jax.scipy.special.polygamma` sums a general zeta function; sharing the recurrence and the asymptotic
series between the three values makes a moving observable's likelihood several times faster.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

SHIFT = 8
"""Recurrence steps, after which the asymptotic series has an error of 3e-14 or less."""


def log_gamma_jet(x: Array) -> tuple[Array, Array, Array]:
    """Return ln Gamma(x), its derivative psi(x) and second derivative psi'(x), for x >= 0 (infinite at 0).

    Stirling's series at `y = x + 8` and the recurrence `Gamma(x + 1) = x Gamma(x)`
    (Abramowitz and Stegun 6.1.40, 6.3.18, 6.4.12).
    """
    y = x + SHIFT
    inverse = 1 / y
    w = inverse * inverse
    logarithm = jnp.log(y)
    series = 1 / 12 + w * (-1 / 360 + w * (1 / 1260 + w * (-1 / 1680 + w * (1 / 1188 - w * 691 / 360360))))
    value = (y - 0.5) * logarithm - y + 0.5 * math.log(2 * math.pi) + inverse * series
    series = 1 / 12 + w * (-1 / 120 + w * (1 / 252 + w * (-1 / 240 + w * (1 / 132 - w * 691 / 32760))))
    first = logarithm - 0.5 * inverse - w * series
    series = 1 / 6 + w * (-1 / 30 + w * (1 / 42 + w * (-1 / 30 + w * (5 / 66 - w * 691 / 2730))))
    second = inverse * (1 + inverse * (0.5 + inverse * series))
    product = x
    for k in range(SHIFT):
        reciprocal = 1 / (x + k)
        first, second = first - reciprocal, second + reciprocal * reciprocal
        if k:
            product = product * (x + k)
    return value - jnp.log(product), first, second
