"""Higgs + four gluons with the effective heavy-top coupling: the square summed over helicities and colours.

Colour-ordered amplitudes with all momenta outgoing. Those with two gluons of each helicity are sums of a
self-dual and an anti-self-dual part (hep-th/0411092); those with one are in hep-ph/9610541.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

from systwise.cases.higgs_jets._spinors import SpinorProducts, modulus2

ORDERINGS = ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2))
"""The colour orderings of four gluons up to rotation and reflection."""
COLOURS = 3


def four_gluons(products: SpinorProducts) -> Float[np.ndarray, " event"]:
    """Return G, the dimensionless square of 0 -> H g g g g, summed over helicities and colours.

    `G = N^2 (N^2 - 1) / 2 x sum over three orderings and 16 helicities of |m|^2` with N = 3, fully
    symmetric in the gluons. The coupling `16 alpha_s^4 / (9 v^2)` is left out.
    """
    brackets = higgs_brackets(products)
    first, second, third = (ordered_gluons(products, brackets, order) for order in ORDERINGS)
    return COLOURS**2 * (COLOURS**2 - 1) // 2 * (first + second + third)


def higgs_brackets(products: SpinorProducts) -> Complex[np.ndarray, "leg leg event"]:
    """Return `<i|p_H|j] = -sum_m <im>[mj]` over the partons m, in GeV^2."""
    first, second, third, fourth = (products.angle[:, m, None] * products.square[None, m] for m in range(4))
    return -(first + second + third + fourth)


def ordered_gluons(
    products: SpinorProducts,
    brackets: Complex[np.ndarray, "leg leg event"],
    order: tuple[int, int, int, int],
) -> Float[np.ndarray, " event"]:
    """Return the sum of |m|^2 over the 16 helicities of one colour ordering, dimensionless.

    - ++++: `m_H^4 / (<ab><bc><cd><da>)`;
    - i, j negative, k, l positive: `<ij>^4 / (<ab><bc><cd><da>) + [kl]^4 / ([ab][bc][cd][da])`;
    - one negative: `one_minus` and its rotations.

    The other half follows by parity.
    """
    a, b, c, d = order
    over_angles = products.over_angle[a, b] * products.over_angle[b, c]
    over_angles *= products.over_angle[c, d] * products.over_angle[d, a]
    higgs_mass2 = products.triple(0, 1, 2) + products.invariant[:3, 3].sum(axis=0)
    half = modulus2(higgs_mass2**2 * over_angles)
    for legs in ((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c)):
        half += modulus2(one_minus(products, brackets, *legs))
    for i, j, k, m in ((a, b, c, d), (a, c, b, d), (a, d, b, c)):
        # each leg is twice in the denominator, so that the phases cancel: one is the other's conjugate
        half += modulus2(
            (products.angle[i, j] ** 2) ** 2 * over_angles + (products.square[k, m] ** 2) ** 2 * over_angles.conj()
        )
    return 2 * half


def one_minus(
    products: SpinorProducts,
    brackets: Complex[np.ndarray, "leg leg event"],
    a: int,
    b: int,
    c: int,
    d: int,
) -> Complex[np.ndarray, " event"]:
    """Return m(a-, b+, c+, d+) of the ordering abcd, dimensionless.

    With `z_ij = <i|p_H|j]`:
    `m = [bd] / ([ab]<bc><cd>[da]) (s_bc z_ab / <da> + s_cd z_ad / <ab> - [bd] s_bcd)
    - (z_ac [bd])^2 / (s_abd s_ab s_ad) - (z_ad [bc])^2 / (s_abc s_ab s_bc) - (z_ab [cd])^2 / (s_acd s_ad s_cd)`.
    """
    square, s = products.square, products.invariant
    over_angle, over_square = products.over_angle, products.over_square
    abc, abd, acd, bcd = (products.triple(*legs) for legs in ((a, b, c), (a, b, d), (a, c, d), (b, c, d)))
    poles = (
        (brackets[a, c] * square[b, d]) ** 2 * (1 / (abd * s[a, b] * s[a, d]))
        + (brackets[a, d] * square[b, c]) ** 2 * (1 / (abc * s[a, b] * s[b, c]))
        + (brackets[a, b] * square[c, d]) ** 2 * (1 / (acd * s[a, d] * s[c, d]))
    )
    rest = (
        s[b, c] * brackets[a, b] * over_angle[d, a] + s[c, d] * brackets[a, d] * over_angle[a, b] - square[b, d] * bcd
    )
    return rest * square[b, d] * over_square[a, b] * over_angle[b, c] * over_angle[c, d] * over_square[d, a] - poles
