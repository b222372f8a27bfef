"""Angles in float32, written for the inside of a training step.

XLA on a CPU calls a sine of its own for every column that needs it, and those calls cost more than
all the rest of the transformation; half-angle forms need two short polynomials, vectorise, and keep
the digits of `1 - cos x`, which a cosine near one loses.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

# Taylor coefficients in the square of the argument; within [-pi/2, pi/2] the remainders are below 1e-7.
_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(6))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(7))


def wrap(phi: Float[Array, " event"]) -> Float[Array, " event"]:
    """Return an angle of less than three half turns, in radians, moved into [-pi, pi].

    >>> bool(abs(wrap(jnp.array([4.0]))[0] - (4.0 - 2 * math.pi)) < 1e-6)
    True
    """
    turns = (phi > math.pi).astype(phi.dtype) - (phi < -math.pi).astype(phi.dtype)
    return phi - 2 * math.pi * turns


def half_angle(phi: Float[Array, " event"]) -> tuple[Float[Array, " event"], Float[Array, " event"]]:
    """Return (sin(phi / 2), cos(phi / 2)) of an angle within [-pi, pi], to 2e-7.

    From these, `sin phi = 2 s c`, `cos phi = (c - s) (c + s)` and `1 - cos phi = 2 s^2`.

    >>> sine, cosine = half_angle(jnp.array([math.pi / 3]))
    >>> bool(abs(sine[0] - 0.5) < 2e-7)
    True
    """
    half = 0.5 * phi
    return half * _polynomial(_SINE, half * half), _polynomial(_COSINE, half * half)


def azimuth(
    x: Float[Array, " event"], y: Float[Array, " event"], length: Float[Array, " event"]
) -> Float[Array, " event"]:
    """Return the azimuth of the vector (x, y) of the given length above zero, in [-pi, pi].

    `2 arctan(y / (length + |x|))` for x >= 0, and its supplement for x < 0.
    """
    angle = 2 * jnp.arctan(y / (length + jnp.abs(x)))
    return jnp.where(x < 0, jnp.where(y < 0, -math.pi, math.pi) - angle, angle)


def shortfall(
    x: Float[Array, " event"], y: Float[Array, " event"], length: Float[Array, " event"]
) -> Float[Array, " event"]:
    """Return `length - x` of the vector (x, y) of the given length above zero, without cancellation."""
    return y**2 / (length + jnp.abs(x)) + (jnp.abs(x) - x)


def _polynomial(coefficients: tuple[float, ...], x: Float[Array, " event"]) -> Float[Array, " event"]:
    """Return `sum_k coefficients[k] x^k` (Horner)."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
