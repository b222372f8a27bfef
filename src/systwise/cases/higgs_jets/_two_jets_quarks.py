"""Higgs + two quarks and two gluons, and Higgs + four quarks, with the effective heavy-top coupling.

Squares summed over helicities and colours, all momenta outgoing; amplitudes of hep-ph/9610541.
Legs are counted from 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

from systwise.cases.higgs_jets._spinors import SpinorProducts, modulus2


def quarks_and_gluons(products: SpinorProducts, a: int, b: int, c: int, d: int) -> Float[np.ndarray, " event"]:
    """Return X(a, b, c, d), the dimensionless square of 0 -> H q(a) qbar(b) g(c) g(d).

    With the two colour orderings m_cd and m_dc, N = 3 and C_F = 4/3:
    `X = 2 sum over four helicities [ (C_F N^2 / 2) (|m_cd|^2 + |m_dc|^2) - (C_F / 2) |m_cd + m_dc|^2 ]`.
    """
    cd, dc = ordered_quarks(products, a, b, c, d), ordered_quarks(products, a, b, d, c)
    # the helicities of c and d change places with the gluons
    total = np.zeros_like(products.invariant[a, b])
    for x, y in zip(cd, (dc[0], dc[2], dc[1], dc[3]), strict=True):
        total = total + 6 * (modulus2(x) + modulus2(y)) - 2 * modulus2(x + y) / 3
    return 2 * total


def ordered_quarks(
    products: SpinorProducts, a: int, b: int, c: int, d: int
) -> tuple[Complex[np.ndarray, " event"], ...]:
    """Return the amplitudes of one colour ordering for gluon helicities (++, +-, -+, --) of (c, d).

    The quark line has one helicity; the other follows by parity.
    """
    return (
        _equal_helicities(products, a, b, c, d),
        _plus_minus(products, a, b, c, d),
        _minus_plus(products, a, b, c, d),
        -_equal_helicities(products, b, a, d, c),
    )


def _equal_helicities(p: SpinorProducts, a: int, b: int, c: int, d: int) -> Complex[np.ndarray, " event"]:
    """The gluons are both positive."""
    angle, square, s = p.angle, p.square, p.invariant
    over_bc, over_bd = p.over_angle[b, c], p.over_angle[b, d]
    first = (angle[b, a] * square[a, d] + angle[b, c] * square[c, d]) ** 2 * square[a, c] * over_bc
    second = (angle[b, a] * square[a, c] + angle[b, d] * square[d, c]) ** 2 * square[a, d] * over_bd
    third = (angle[b, d] * square[d, a] + angle[b, c] * square[c, a]) ** 2 * over_bd * over_bc
    return (
        first * ((1 / s[a, b] + 1 / s[a, c]) / p.triple(a, b, c))
        - second * (1 / (p.triple(a, b, d) * s[a, b]))
        - third * p.over_square[a, b] * p.over_angle[c, d]
    )


def _plus_minus(p: SpinorProducts, a: int, b: int, c: int, d: int) -> Complex[np.ndarray, " event"]:
    """Gluon c is positive, d negative."""
    over_angle, over_square = p.over_angle, p.over_square
    self_dual = p.angle[a, d] * p.angle[b, d] ** 2 * over_angle[a, b] * over_angle[a, c] * over_angle[c, d]
    other = p.square[a, c] ** 2 * p.square[b, c] * over_square[a, b] * over_square[b, d] * over_square[c, d]
    return other - self_dual


def _minus_plus(p: SpinorProducts, a: int, b: int, c: int, d: int) -> Complex[np.ndarray, " event"]:
    """Gluon c is negative, d positive."""
    over_angle, over_square = p.over_angle, p.over_square
    self_dual = p.angle[b, c] ** 2 * p.angle[b, c] * over_angle[a, b] * over_angle[b, d] * over_angle[c, d]
    other = p.square[a, d] ** 2 * p.square[a, d] * over_square[a, b] * over_square[a, c] * over_square[c, d]
    return other - self_dual


def different_quarks(products: SpinorProducts, a: int, b: int, c: int, d: int) -> Float[np.ndarray, " event"]:
    """Return Y(a, b, c, d), the dimensionless square of q(a) Q(b) -> H q(c) Q(d) with two flavours.

    Each quark line carries its helicity, from a to c and from b to d; antiquarks by crossing a and c, or b and d.
    """
    equal = _one_helicity(products, a, b, c, d) + _one_helicity(products, c, d, a, b)
    return equal + _one_helicity(products, c, b, a, d) + _one_helicity(products, a, d, c, b)


def _one_helicity(p: SpinorProducts, a: int, b: int, c: int, d: int) -> Float[np.ndarray, " event"]:
    s = p.invariant
    poles = s[a, c] * s[b, d]
    trace = poles + s[c, d] * s[a, b] - s[a, d] * s[b, c]
    return 2 * ((s[a, b] - s[c, d]) ** 2 + trace**2 / poles) / poles


def identical_quarks(products: SpinorProducts, a: int, b: int, c: int, d: int) -> Float[np.ndarray, " event"]:
    """Return the dimensionless square of q(a) q(b) -> H q(c) q(d) with one flavour, without the factor 1/2.

    `Y(a, b, c, d) + Y(a, b, d, c)` and the interference of the two exchanges.
    """
    return (
        different_quarks(products, a, b, c, d)
        + different_quarks(products, a, b, d, c)
        + _exchange(products, a, b, c, d)
        + _exchange(products, c, d, a, b)
    )


def _exchange(p: SpinorProducts, a: int, b: int, c: int, d: int) -> Float[np.ndarray, " event"]:
    s = p.invariant
    direct, crossed, across = s[a, c] * s[b, d], s[a, d] * s[b, c], s[a, b] * s[c, d]
    numerator = (s[a, b] - s[c, d]) ** 2 * (direct + crossed - across)
    numerator -= 2 * (across + crossed - direct) * (across + direct - crossed)
    return 2 * numerator / (3 * direct * crossed)
