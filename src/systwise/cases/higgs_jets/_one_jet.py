"""Squared amplitudes of pp -> Higgs + one parton at one loop, exact in the top mass, with c_t and c_g.

Each amplitude is `c_t (top loop) + c_g (heavy-top limit)`, so that squares are quadratic in the couplings. The
heavy-top limit is what the contact term `c_g (alpha_s/12 pi)(h/v) G G` gives, with no correction.

Momenta are `1 + 2 -> H + j` with `s = (p1 + p2)^2`, `t = (p1 - pj)^2`, `u = (p2 - pj)^2`, `s + t + u = mh2`,
in GeV^2. Only the top quark runs in the loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Complex, Float

from systwise.cases.higgs_jets._loop_functions import box, bubble, triangle, triangle_with_higgs
from systwise.cases.higgs_jets._physics import COEFFICIENTS, Masses

CHANNELS = ("gg", "qg", "gq", "qq")
"""Incoming partons, in the order of every `[channel]` axis: leg 1 of `qg` is the quark (or antiquark), `qq` is a
quark and its antiquark, whichever way round."""
GluonRatios = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""What gives R and I of `gluon_ratios` for (s, t, u): a `GluonTable`."""


def gluon_amplitudes(
    s: Float[np.ndarray, " event"], t: Float[np.ndarray, " event"], u: Float[np.ndarray, " event"], masses: Masses
) -> tuple[Complex[np.ndarray, "helicity event"], Float[np.ndarray, "helicity event"]]:
    """Return the four independent helicity amplitudes of gg -> Hg: the top loop's and the heavy-top limit's, in GeV^4.

    The limit is `e = (mh2^2, s^2, t^2, u^2)`. The loop's `a_i = (3/4) m2 A_i` are those of Ellis et al. (Nucl. Phys.
    B 297 (1988) 221); A3 and A4 follow from A2 by crossing s with t and s with u. The helicities are those of one
    all-outgoing (+++) and three (++-); phases are left out. Where t or u is small, the amplitude with e = t^2 or
    u^2 loses digits, which its share in the sum of squares makes harmless.

    Args:
        s: squared energy of the partons, GeV^2, above the squared Higgs mass.
        t: squared momentum transfer of leg 1, GeV^2, negative.
        u: squared momentum transfer of leg 2, GeV^2, negative.
        masses: Higgs and top masses.
    """
    m2, higgs2 = masses.top**2, masses.higgs**2
    in_s, in_t, in_u = (_Invariant.of(value, higgs2, m2) for value in (s, t, u))
    box_st, box_su, box_tu = box(s, t, u, m2), box(s, u, t, m2), box(t, u, s, m2)
    triangles = (t + u) * in_s.with_higgs + (s + u) * in_t.with_higgs + (s + t) * in_u.with_higgs
    boxes = s * u * box_su + s * t * box_st + t * u * box_tu
    loop = (
        8 * higgs2 - (higgs2 - 4 * m2) * (2 * triangles + boxes),
        _second_amplitude(in_s, in_t, in_u, box_st, box_su, box_tu, m2),
        _second_amplitude(in_t, in_s, in_u, box_st, box_tu, box_su, m2),
        _second_amplitude(in_u, in_t, in_s, box_tu, box_su, box_st, m2),
    )
    heavy = np.stack([np.full_like(s, higgs2**2), s**2, t**2, u**2])
    return 0.75 * m2 * np.stack(loop), heavy


def gluon_ratios(
    s: Float[np.ndarray, " event"], t: Float[np.ndarray, " event"], u: Float[np.ndarray, " event"], masses: Masses
) -> tuple[Float[np.ndarray, " event"], Float[np.ndarray, " event"]]:
    """Return `R = sum |a|^2 / sum e^2` and `I = sum Re(a) e / sum e^2` of gg -> Hg.

    R is the squared top loop over its heavy-top limit, I their interference over the same; both go to 1 for
    a heavy top. See `gluon_amplitudes` for a and e.

    Args:
        s: squared energy of the partons, GeV^2, above the squared Higgs mass.
        t: squared momentum transfer of leg 1, GeV^2, negative.
        u: squared momentum transfer of leg 2, GeV^2, negative.
        masses: Higgs and top masses.
    """
    loop, heavy = gluon_amplitudes(s, t, u, masses)
    norm = np.sum(heavy**2, axis=0)
    square = np.sum(loop.real**2 + loop.imag**2, axis=0)
    return square / norm, np.sum(loop.real * heavy, axis=0) / norm


def quark_form_factor(q2: Float[np.ndarray, " event"], masses: Masses) -> Complex[np.ndarray, " event"]:
    """Return A(q2), the top loop's coupling of a gluon, a Higgs and a gluon of virtuality q2, over its heavy-top limit.

    `A = -3 m2 [2 q2 (W(q2) - W(mh2)) + w (-2 + (w - 4 m2) T(q2))] / w^2` with `w = mh2 - q2`; the quark line does
    not feel the top mass, so all quark channels of Higgs + jet are this number times their heavy-top limit.

    Args:
        q2: virtuality in GeV^2: t or u for a scattered quark, s for an annihilating pair; neither 0 nor mh2.
        masses: Higgs and top masses.
    """
    m2, higgs2 = masses.top**2, masses.higgs**2
    w = higgs2 - q2
    bubbles = bubble(q2, m2) - bubble(np.array([higgs2]), m2)
    return -3 * m2 * (2 * q2 * bubbles / w - 2 + (w - 4 * m2) * triangle_with_higgs(q2, higgs2, m2)) / w


def one_jet_squares(
    s: Float[np.ndarray, " event"],
    t: Float[np.ndarray, " event"],
    u: Float[np.ndarray, " event"],
    masses: Masses,
    gluon: GluonRatios | None = None,
) -> Float[np.ndarray, "channel coefficient event"]:
    """Return the averaged squared amplitudes, as coefficients of c_t^2, c_t c_g and c_g^2, at alpha_s = 1.

    Spins and colours are averaged over in the initial and summed over in the final state; multiply by alpha_s^3. The
    coefficients of c_g^2 are

        gg:     (mh2^4 + s^4 + t^4 + u^4) / (24 pi v^2 s t u)
        qg:     (s^2 + u^2) / (-t) / (54 pi v^2);     gq: t and u exchanged
        q qbar: (8/3) (t^2 + u^2) / s / (54 pi v^2)

    and the others these times `gluon_ratios` or `|A|^2` and `2 Re A` of `quark_form_factor`.

    Args:
        s: squared energy of the partons, GeV^2, above the squared Higgs mass.
        t: squared momentum transfer of leg 1, GeV^2, negative.
        u: squared momentum transfer of leg 2, GeV^2, negative.
        masses: Higgs and top masses.
        gluon: a `GluonTable` of the same masses; without one, the closed form, twenty times slower.

    Returns:
        Squares without a unit, channels in the order of `CHANNELS`, coefficients in that of `COEFFICIENTS`.
    """
    vacuum2 = np.pi * masses.vacuum**2
    quark = 1 / (54 * vacuum2)
    s2, t2, u2 = s**2, t**2, u**2
    limits = (
        (masses.higgs**8 + s2**2 + t2**2 + u2**2) / (24 * vacuum2 * s * t * u),
        quark * (s2 + u2) / -t,
        quark * (s2 + t2) / -u,
        quark * (8 / 3) * (t2 + u2) / s,
    )
    ratios = [gluon(s, t, u) if gluon is not None else gluon_ratios(s, t, u, masses)]
    for virtuality in (t, u, s):
        form = quark_form_factor(virtuality, masses)
        ratios.append((form.real**2 + form.imag**2, form.real))
    squares = np.empty((len(CHANNELS), len(COEFFICIENTS), s.size))
    for row, limit, (square, real) in zip(squares, limits, ratios, strict=True):
        row[:] = square * limit, 2 * real * limit, limit
    return squares


@dataclasses.dataclass(frozen=True)
class _Invariant:
    """One of s, t, u with the integrals of it: bubble W(v) - W(mh2), triangle F(v) and T(v)."""

    value: np.ndarray
    bubble: np.ndarray
    triangle: np.ndarray
    with_higgs: np.ndarray

    @classmethod
    def of(cls, value: np.ndarray, higgs2: float, m2: float) -> _Invariant:
        """Evaluate the integrals at `value`."""
        difference = bubble(value, m2) - bubble(np.array([higgs2]), m2)
        return cls(value, difference, triangle(value, m2), triangle_with_higgs(value, higgs2, m2))


def _second_amplitude(
    in_s: _Invariant,
    in_t: _Invariant,
    in_u: _Invariant,
    box_st: np.ndarray,
    box_su: np.ndarray,
    box_tu: np.ndarray,
    m2: float,
) -> np.ndarray:
    """A2(s, t, u) of Ellis et al., in GeV^2."""
    s, t, u = in_s.value, in_t.value, in_u.value
    rational = -s * t / (s + t) + s**2 / (s + u)
    bubbles = t * u * ((2 * s + u) / (s + u) ** 2 * in_t.bubble + (2 * s + t) / (s + t) ** 2 * in_u.bubble)
    triangles = t * u * (in_t.triangle + in_u.triangle) / (2 * s)
    with_higgs = (
        (4 * m2 - s) * (t + u) * in_s.with_higgs
        + (-(s**2) - 2 * (2 * m2 + t) * u - 2 * t * u**2 / s + s * (4 * m2 + u - 8 * m2 * u / (s + u)))
        * in_t.with_higgs
        + (-2 * t**2 * u / s - (s - 4 * m2) * s + t * (-4 * m2 - 2 * u + s - 8 * m2 * s / (s + t))) * in_u.with_higgs
    )
    boxes = (4 * m2 - s) * s * (u * box_su + t * box_st) + t * u * (-12 * m2 + s - 4 * t * u / s) * box_tu
    return 8 * (rational + bubbles + triangles) + 2 * with_higgs + boxes
