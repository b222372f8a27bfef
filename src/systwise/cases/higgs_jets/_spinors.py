"""Spinor products of massless momenta, all counted as outgoing.

With `s_ij = (p_i + p_j)^2`, the products obey `<ij>[ji] = s_ij`, `<ij> = -<ji>` and `[ij] = -[ji]`; the
phases of the spinors are a choice that drops out of every square. An incoming parton enters with its
momentum reversed: its spinors are those of the physical momentum, times i.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex, Float

INCOMING = (0, 1)
"""The legs that collide; the others come out."""


@dataclasses.dataclass(frozen=True)
class SpinorProducts:
    """The products of each pair of partons, legs counted from 0.

    Attributes:
        angle: `<ij>`, in GeV.
        square: `[ij]`, in GeV.
        invariant: `s_ij = <ij>[ji]`, in GeV^2, negative between an incoming and an outgoing leg.
        over_angle: `1 / <ij> = [ji] / s_ij`, in GeV^-1, 0 for i = j; NumPy multiplies complex numbers five times
            faster than it divides them.
        over_square: `1 / [ij] = <ji> / s_ij`, in GeV^-1, 0 for i = j.
    """

    angle: Complex[np.ndarray, "leg leg event"]
    square: Complex[np.ndarray, "leg leg event"]
    invariant: Float[np.ndarray, "leg leg event"]
    over_angle: Complex[np.ndarray, "leg leg event"]
    over_square: Complex[np.ndarray, "leg leg event"]

    def triple(self, a: int, b: int, c: int) -> Float[np.ndarray, " event"]:
        """Return `s_abc = (p_a + p_b + p_c)^2` in GeV^2."""
        return self.invariant[a, b] + self.invariant[a, c] + self.invariant[b, c]


def spinor_products(momenta: Float[np.ndarray, "event leg 4"], incoming: Sequence[int] = INCOMING) -> SpinorProducts:
    """Return the products of massless momenta (E, px, py, pz) in GeV, each with positive energy.

    The spinor of p is `(sqrt(E + px), c / sqrt(E + px))`, `c = pz - i py`; in the half space px < 0 the
    same up to a phase, `(c* / sqrt(E - px), sqrt(E - px))`, so that no direction is singular. Then
    `<ij> = f_i f_j A_ij`, `[ij] = -f_i f_j A_ij*` and `s_ij = (f_i f_j |A_ij|)^2` with f = i for incoming
    legs, 1 for outgoing ones. They keep their digits even for collinear pairs, where `2 p_i.p_j` does not.

    Args:
        momenta: Physical momenta; E is taken as |p|.
        incoming: Legs whose momentum is reversed.
    """
    px, py, pz = np.moveaxis(momenta[..., 1:], (0, 1, 2), (2, 1, 0))
    energy = np.sqrt(px**2 + py**2 + pz**2)
    transverse = pz - 1j * py
    root = np.sqrt(energy + np.abs(px))
    other = transverse / root
    ahead = px >= 0
    first, second = np.where(ahead, root, other.conj()), np.where(ahead, other, root)

    legs = len(px)
    is_incoming = np.isin(np.arange(legs), incoming)
    sign, factor = np.where(is_incoming, -1.0, 1.0), np.where(is_incoming, 1j, 1)
    plain = second[:, None] * first[None] - first[:, None] * second[None]
    size2 = plain.real**2 + plain.imag**2
    angle = (factor[:, None] * factor[None])[..., None] * plain
    invariant = (sign[:, None] * sign[None])[..., None] * size2
    square = -angle.conj() * (sign[:, None] * sign[None])[..., None]
    inverse = 1 / np.where(np.eye(legs, dtype=bool)[..., None], np.inf, size2)
    return SpinorProducts(angle, square, invariant, angle.conj() * inverse, square.conj() * inverse)


def modulus2(amplitude: Complex[np.ndarray, " event"]) -> Float[np.ndarray, " event"]:
    """Return `|amplitude|^2`, twice as fast as `np.abs(amplitude) ** 2`."""
    return (amplitude * amplitude.conj()).real
