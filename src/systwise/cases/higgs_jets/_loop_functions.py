"""One-loop scalar integrals of a heavy quark with one Higgs leg: bubble, triangle, box.

Everything is finite: the divergence of the bubble cancels in differences, and massless outer legs do no
harm to loops of massive quarks. Conventions: `m2` is the squared mass of the loop quark; all invariants v are
in GeV^2 and stand for `v + i0`. With B0, C0 and D0 normalised to `1/(i pi^2) int d^4 l`:

- `B0(v) = constant + 2 + W(v)`,
- `C0(0, 0, v) = F(v) / v`, and with one massless leg `C0(0, v, mh2) = T(v) = [F(v) - F(mh2)] / (v - mh2)`,
- `D0(0, 0, 0, mh2; p, q) = D(p, q; r)` with `p + q + r = mh2`.

The closed forms are those used for gg -> Hg by Ellis, Hinchliffe, Soldate and van der Bij (Nucl. Phys. B 297
(1988) 221) and by Baur and Glover (Nucl. Phys. B 339 (1990) 38).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float
from scipy.special import spence

# Side of the cut: smaller than any rounding, larger than the smallest number.
SIDE = 1e-40j


def bubble(v: Float[np.ndarray, " event"], m2: float) -> Complex[np.ndarray, " event"]:
    """Return W(v), the bubble without its constant: `B0(v) = constant + 2 + W(v)`.

    With `beta = sqrt(1 - 4 m2/v)`, `W = beta ln[(beta - 1)/(beta + 1)]`: real below threshold (-2 at v -> 0),
    imaginary part `+pi beta` above.

    Args:
        v: squared momentum, GeV^2, not zero.
        m2: squared mass in the loop, GeV^2.
    """
    beta = np.sqrt(np.abs((v - 4 * m2) / v))
    return beta * np.where((v > 0) & (v < 4 * m2), -1j, 1) * _logarithm(v, m2)


def triangle(v: Float[np.ndarray, " event"], m2: float) -> Complex[np.ndarray, " event"]:
    """Return F(v) = v C0(0, 0, v), the triangle with two massless legs.

    `F = (1/2) ln^2[(beta - 1)/(beta + 1)]`: `2 asinh^2 sqrt(-v/4m2)` for v < 0, `-2 asin^2 sqrt(v/4m2)`
    below threshold, `(1/2) (2 acosh sqrt(v/4m2) - i pi)^2` above.

    Args:
        v: squared momentum, GeV^2.
        m2: squared mass in the loop, GeV^2.
    """
    return 0.5 * _logarithm(v, m2) ** 2


def triangle_with_higgs(v: Float[np.ndarray, " event"], higgs2: float, m2: float) -> Complex[np.ndarray, " event"]:
    """Return T(v) = C0(0, v, mh2) = [F(v) - F(mh2)] / (v - mh2), the triangle with one massless leg, in GeV^-2.

    Args:
        v: squared momentum of the other leg, GeV^2, not equal to `higgs2`.
        higgs2: squared Higgs mass, GeV^2.
        m2: squared mass in the loop, GeV^2.
    """
    return (triangle(v, m2) - triangle(np.array([higgs2]), m2)) / (v - higgs2)


def box_part(
    v: Float[np.ndarray, " event"], a: Float[np.ndarray, " event"], m2: float
) -> Complex[np.ndarray, " event"]:
    """Return I3(v, a), of which three make a box.

    `I3(v, a) = int_0^1 dx ln[1 - i0 - (v/m2) x(1-x)] / [x(1-x) + a]`. With x+- the roots of the
    denominator, `x+- = (1 +- R)/2` and `R = sqrt(1 + 4a)`, y the root of the logarithm with the larger real
    part, `d1 = y - x-` and `d2 = x+ - y`,

        I3 = (2/R) { [ln(d1/y) + ln(d2/(1-y))] ln(x+/(-x-))
                     - Li2(x+/d1) + Li2(-x-/d1) - Li2(x+/d2) + Li2(-x-/d2) }.

    The two logarithms stay apart: their sum is not the logarithm of the product on every sheet.

    Args:
        v: squared momentum, GeV^2, not zero.
        a: positive shift of the denominator, no unit.
        m2: squared mass in the loop, GeV^2.
    """
    root = np.sqrt(1 + 4 * a)
    upper = (1 + root) / 2
    lower = a / upper  # -x-, as a quotient: a difference of nearly equal numbers loses a small a
    threshold = (v - 4 * m2) / v
    y = 0.5 + 0.5 * np.where(threshold < 0, 1j, 1) * np.sqrt(np.abs(threshold)) + SIDE
    rest = m2 / v / y  # 1 - y, since y (1 - y) = m2/v: keeps its digits where y is near 1
    first, second = y + lower, rest + lower
    logarithms = (np.log(first / y) + np.log(second / rest)) * np.log(upper / lower)
    dilogarithms = (
        -_dilogarithm(upper / first)
        + _dilogarithm(lower / first)
        - _dilogarithm(upper / second)
        + _dilogarithm(lower / second)
    )
    return 2 / root * (logarithms + dilogarithms)


def box(
    p: Float[np.ndarray, " event"],
    q: Float[np.ndarray, " event"],
    r: Float[np.ndarray, " event"],
    m2: float,
) -> Complex[np.ndarray, " event"]:
    """Return D(p, q; r), the box with three massless legs and a Higgs, in GeV^-4.

    `D = [I3(p, a) + I3(q, a) - I3(mh2, a)] / (p q)` with `a = m2 r/(p q)` and `mh2 = p + q + r`; a is
    positive everywhere in the physical region of two partons to Higgs and parton.

    Args:
        p: one squared sum of neighbouring momenta, GeV^2.
        q: the other one; `box` is symmetric in p and q.
        r: the third invariant.
        m2: squared mass in the loop, GeV^2.
    """
    product = p * q
    a = m2 * r / product
    return (box_part(p, a, m2) + box_part(q, a, m2) - box_part(p + q + r, a, m2)) / product


def _dilogarithm(z: Complex[np.ndarray, " event"]) -> Complex[np.ndarray, " event"]:
    return spence(1 - z)


def _logarithm(v: Float[np.ndarray, " event"], m2: float) -> Complex[np.ndarray, " event"]:
    """Return `ln[(beta - 1)/(beta + 1)]` of v + i0, below threshold with `beta = -i |beta|`.

    `-2 asinh sqrt(-r)` for v < 0, `-2i asin sqrt(r)` below threshold and `-2 acosh sqrt(r) + i pi` above, with
    `r = v/4m2`; here in terms of r - 1, which keeps its digits next to the threshold.
    """
    ratio, above = v / (4 * m2), (v - 4 * m2) / (4 * m2)
    real = np.arcsinh(np.sqrt(np.maximum(np.maximum(-ratio, above), 0)))
    angle = np.arctan2(np.sqrt(np.maximum(ratio, 0)), np.sqrt(np.maximum(-above, 0)))
    return -2 * real + 1j * np.where(above > 0, np.pi, -2 * angle)
