"""Closed forms of pp -> Hj against quadrature, an independent form in 50 digits, printed points, and the table."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from systwise.cases.higgs_jets._loop_functions import box, box_part, bubble, triangle, triangle_with_higgs
from systwise.cases.higgs_jets._one_jet import (
    CHANNELS,
    gluon_amplitudes,
    gluon_ratios,
    one_jet_squares,
    quark_form_factor,
)
from systwise.cases.higgs_jets._one_jet_table import GluonTable
from systwise.cases.higgs_jets._physics import COEFFICIENTS, Masses
from systwise.errors import ConfigError

TOP = Masses()
TOP2, HIGGS2 = TOP.top**2, TOP.higgs**2

# Averaged squares at alpha_s = 1, rows as CHANNELS, columns as COEFFICIENTS; t = -fraction (s - mh^2).
PRINTED = {
    (200.0, 0.3): [
        [1.26331563e-01, 2.44880691e-01, 1.18672060e-01],
        [2.56157653e-02, 5.07594331e-02, 2.51458430e-02],
        [9.06901846e-03, 1.84881216e-02, 9.42248161e-03],
        [3.18780455e-03, 5.33696436e-03, 2.23376215e-03],
    ],
    (300.0, 0.2): [
        [2.30229627e-01, 4.44815726e-01, 2.14917653e-01],
        [7.41509925e-02, 1.50226524e-01, 7.60880193e-02],
        [1.05583257e-02, 2.39645459e-02, 1.35982608e-02],
        [2.80800981e-02, 3.48882612e-02, 1.08367746e-02],
    ],
    (500.0, 0.5): [
        [3.13767637e-01, 5.79155385e-01, 2.72953813e-01],
        [3.88722014e-02, 9.91712166e-02, 6.32516931e-02],
        [3.88722014e-02, 9.91712166e-02, 6.32516931e-02],
        [6.75820851e-02, 2.76944564e-02, 2.84860507e-02],
    ],
}

# (mh, mt, s, t) with exact binary numbers, so that s + t + u = mh^2 holds exactly in double precision too.
HARD_POINTS = [
    (125, 173, 40000, -7312),
    (125, 173, 16900, -0.5),  # 130 GeV; pT 0.7 GeV
    (125, 173, 119716, -52000),  # at the threshold 4 mt^2
    (125, 173, 119716 + 2**-8, -52000),
    (125, 173, 119716 - 2**-8, -1000),
    (125, 173, 250000, -117187.5),
    (125, 173, 16_000_000, -7_900_000),  # pT 2 TeV
    (125, 173, 64_000_000, -900),  # 8 TeV, pT 30 GeV
    (125, 173, 64_000_000, -31_000_000),
    (400, 173, 640_000, -120_000),  # a Higgs above 2 mt
    (125, 500, 360_000, -9000),
]


def points(energy: np.ndarray, rapidity: np.ndarray, masses: Masses = TOP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Invariants from the partons' energy and the jet's rapidity in their frame."""
    s = energy**2
    t = (masses.higgs**2 - s) / (1 + np.exp(2 * rapidity))
    return s, t, (masses.higgs**2 - s) / (1 + np.exp(-2 * rapidity))


def one_point(energy: float, fraction: float, higgs: float = 125.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s = np.array([energy**2])
    t = -fraction * (s - higgs**2)
    return s, t, higgs**2 - s - t


def relative(value: np.ndarray, truth: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(value) / truth - 1)))


# --- integrals ------------------------------------------------------------------------------------------------


def logarithm(x: mp.mpf, v: mp.mpf, m2: mp.mpf) -> mp.mpc:
    """ln[1 - i0 - (v/m2) x (1-x)], real argument: the cut is put in by hand."""
    argument = 1 - v / m2 * x * (1 - x)
    return mp.log(abs(argument)) - (1j * mp.pi if argument < 0 else 0)


def breaks(v: mp.mpf, m2: mp.mpf) -> list[mp.mpf]:
    """End points and singularities of `logarithm` in (0, 1)."""
    if v <= 4 * m2:
        return [mp.mpf(0), mp.mpf(1) / 2, mp.mpf(1)]
    half = mp.sqrt(1 - 4 * m2 / v) / 2
    return [mp.mpf(0), mp.mpf(1) / 2 - half, mp.mpf(1) / 2, mp.mpf(1) / 2 + half, mp.mpf(1)]


@pytest.mark.parametrize("v", [-3e6, -2e4, -1.0, 2.0, 15625.0, 119000.0, 120000.0, 2.5e5, 4e7])
def test_integrals_are_their_definitions(v: float) -> None:
    with mp.workdps(25):
        m2, exact = mp.mpf(TOP2), mp.mpf(v)
        where = breaks(exact, m2)
        two_point = -2 - mp.quad(lambda x: logarithm(x, exact, m2), where)
        three_point = mp.quad(lambda x: logarithm(x, exact, m2) / x, where)
        array = np.array([v])
        assert relative(bubble(array, TOP2), complex(two_point)) < 1e-13
        assert relative(triangle(array, TOP2), complex(three_point)) < 1e-13
        for a in (1e-4, 0.07, 3.0, 400.0):
            part = mp.quad(lambda x, a=a: logarithm(x, exact, m2) / (x * (1 - x) + mp.mpf(a)), where)
            assert abs(box_part(array, np.array([a]), TOP2)[0] - complex(part)) < 3e-14


def test_integrals_at_a_printed_point() -> None:
    s, t, u = one_point(500.0, 0.5)
    higgs2 = np.array([HIGGS2])
    printed = {
        "W(s)": (bubble(s, TOP2), -1.316158040 + 2.267907882j),
        "W(t)": (bubble(t, TOP2), -2.484907402),
        "W(h)": (bubble(higgs2, TOP2), -1.908074535),
        "F(s)": (triangle(s, TOP2), -3.272786924 - 5.727727872j),
        "F(t)": (triangle(t, TOP2), 1.527215195),
        "F(h)": (triangle(higgs2, TOP2), -0.273254624),
        "T(s)": (triangle_with_higgs(s, HIGGS2, TOP2), (-1.279800448 - 2.443830559j) * 1e-5),
        "T(t)": (triangle_with_higgs(t, HIGGS2, TOP2), -1.355647864e-5),
        "D(st)": (box(s, t, u, TOP2), (0.331048901 + 2.409905138j) * 1e-10),
        "D(tu)": (box(t, u, s, TOP2), 1.049408693e-10),
    }
    assert {name: relative(value, truth) for name, (value, truth) in printed.items()} == pytest.approx(
        dict.fromkeys(printed, 0), abs=3e-9
    )
    assert relative(quark_form_factor(s, TOP), 0.48610558 + 1.46156211j) < 1e-8
    assert relative(quark_form_factor(t, TOP), 0.7839412) < 1e-7


def test_integrals_are_continuous_at_threshold() -> None:
    below, above = 4 * TOP2 * np.array([1 - 1e-12]), 4 * TOP2 * np.array([1 + 1e-12])
    for function in (bubble, triangle):
        np.testing.assert_allclose(function(below, TOP2), function(above, TOP2), atol=2e-5)
    shift = np.array([0.3])
    np.testing.assert_allclose(box_part(below, shift, TOP2), box_part(above, shift, TOP2), atol=2e-5)


# --- squares --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", list(PRINTED))
def test_squares_at_printed_points(at: tuple[float, float]) -> None:
    squares = one_jet_squares(*one_point(*at), TOP)
    assert squares.shape == (len(CHANNELS), len(COEFFICIENTS), 1)
    assert relative(squares[..., 0], np.array(PRINTED[at])) < 1e-8


def test_amplitudes_at_a_printed_point() -> None:
    loop, heavy = gluon_amplitudes(*one_point(500.0, 0.5), TOP)
    printed = [-4.79031505 - 25.5056974j, 1.0660855 + 0.124702494j, *[1.00816333 + 0.0186804381j] * 2]
    assert relative((loop / heavy)[:, 0], np.array(printed)) < 1e-8


class BaurGlover:
    """The helicity amplitudes of gg -> Hg as Baur and Glover write them (Nucl. Phys. B 339 (1990) 38), in 50 digits.

    `-3 mh^4 (A4(s,t,u), A2(s,t,u), A2(t,s,u), A2(u,t,s))` are the package's loop amplitudes.
    """

    def __init__(self, higgs: float, top: float) -> None:
        self.h, self.m2 = mp.mpf(higgs) ** 2, mp.mpf(top) ** 2

    def w1(self, v: mp.mpf) -> mp.mpc:
        root = mp.sqrt(abs(1 - 4 * self.m2 / v))
        return root * (mp.im(self.logarithm(v)) if 0 < v < 4 * self.m2 else self.logarithm(v))

    def logarithm(self, v: mp.mpf) -> mp.mpc:
        root = mp.sqrt(abs(v) / (4 * self.m2))
        if v < 0:
            return 2 * mp.asinh(root)
        return 2j * mp.asin(root) if root < 1 else 2 * mp.acosh(root) - 1j * mp.pi

    def w2(self, v: mp.mpf) -> mp.mpc:
        return self.logarithm(v) ** 2

    def part(self, v: mp.mpf, a: mp.mpf) -> mp.mpc:
        root = mp.sqrt(1 + 4 * a)
        plus, minus = (1 + root) / 2, (root - 1) / 2
        y = (1 + mp.sqrt(mp.mpc(1 - 4 * self.m2 / v))) / 2 + mp.mpc(0, mp.mpf(10) ** -95)
        one, two = y + minus, plus - y
        logs = (mp.log(one / y) + mp.log(two / (1 - y))) * mp.log(plus / minus)
        dilogs = sum(mp.polylog(2, minus / d) - mp.polylog(2, plus / d) for d in (one, two))
        return 2 / root * (logs + dilogs)

    def w3(self, s: mp.mpf, t: mp.mpf, u: mp.mpf) -> mp.mpc:
        a = self.m2 * t / (u * s)
        return self.part(self.h, a) - self.part(s, a) - self.part(u, a)

    def b4(self, s: mp.mpf, t: mp.mpf, u: mp.mpf) -> mp.mpc:
        x = self.m2 / self.h
        return x * (-mp.mpf(2) / 3 + (x - mp.mpf(1) / 4) * (self.w2(t) - self.w2(self.h) + self.w3(s, t, u)))

    def b2(self, s: mp.mpf, t: mp.mpf, u: mp.mpf) -> mp.mpc:
        m2, h = self.m2, self.h
        return (m2 / h**2) * (
            s * (u - s) / (s + u)
            + 2 * u * t * (u + 2 * s) / (s + u) ** 2 * (self.w1(t) - self.w1(h))
            + (m2 - s / 4) * (self.w2(s) / 2 + self.w2(h) / 2 - self.w2(t) + self.w3(s, t, u))
            + s**2 * (2 * m2 / (s + u) ** 2 - 1 / (2 * (s + u))) * (self.w2(t) - self.w2(h))
            + u * t / (2 * s) * (self.w2(h) - 2 * self.w2(t))
            + (s - 12 * m2 - 4 * u * t / s) * self.w3(t, s, u) / 8
        )

    def amplitudes(self, s: mp.mpf, t: mp.mpf, u: mp.mpf) -> list[mp.mpc]:
        four = self.b4(s, t, u) + self.b4(t, u, s) + self.b4(u, s, t)
        twos = [self.b2(*a) + self.b2(a[0], a[2], a[1]) for a in ((s, t, u), (t, s, u), (u, t, s))]
        return [-3 * self.h**2 * amplitude for amplitude in (four, *twos)]

    def form_factor(self, q2: mp.mpf) -> mp.mpc:
        """A(q2) with the integrals of this class: W = -W1, F = W2/2."""
        w = self.h - q2
        difference = (self.w2(q2) - self.w2(self.h)) / (2 * (q2 - self.h))
        bubbles = -2 * q2 * (self.w1(q2) - self.w1(self.h))
        return -3 * self.m2 * (bubbles + w * (-2 + (w - 4 * self.m2) * difference)) / w**2


@pytest.mark.parametrize("at", HARD_POINTS)
def test_double_precision_against_an_independent_form_in_50_digits(at: tuple[float, float, float, float]) -> None:
    higgs, top, s, t = at
    masses = Masses(float(higgs), float(top))
    arrays = [np.array([float(value)]) for value in (s, t, higgs**2 - s - t)]
    assert sum(arrays)[0] == higgs**2
    with mp.workdps(50):
        invariants = [mp.mpf(float(value[0])) for value in arrays]
        reference = BaurGlover(higgs, top)
        loop = reference.amplitudes(*invariants)
        heavy = [reference.h**2, *(value**2 for value in invariants)]
        norm = sum(value**2 for value in heavy)
        square = sum(abs(value) ** 2 for value in loop) / norm
        real = sum(mp.re(value) * limit for value, limit in zip(loop, heavy, strict=True)) / norm
        form = [reference.form_factor(value) for value in (invariants[1], invariants[2], invariants[0])]
        truth = [complex(value) for value in form]
        square, real, loop = float(square), float(real), np.array([complex(value) for value in loop])
    mine, limit = gluon_amplitudes(*arrays, masses)
    # a helicity amplitude much smaller than the largest one may lose digits; the sum of squares does not
    assert np.max(np.abs(mine[:, 0] - loop)) < 1e-10 * np.max(np.abs(loop))
    np.testing.assert_allclose(limit[:, 0], [float(value) for value in heavy], rtol=1e-15)
    ratio, interference = gluon_ratios(*arrays, masses)
    assert relative(ratio, np.array(square)) < 2e-13
    assert abs(interference[0] - real) < 2e-13 * np.sqrt(square)
    for value, exact in zip((arrays[1], arrays[2], arrays[0]), truth, strict=True):
        assert relative(quark_form_factor(value, masses), exact) < 2e-13


def test_exchange_of_the_incoming_partons() -> None:
    generator = np.random.default_rng(3)
    s, t, u = points(generator.uniform(140, 4000, 500), generator.uniform(-4, 4, 500))
    loop, _ = gluon_amplitudes(s, t, u, TOP)
    swapped, _ = gluon_amplitudes(s, u, t, TOP)
    largest = np.max(np.abs(loop), axis=0)
    np.testing.assert_allclose(np.abs(swapped[[0, 1, 3, 2]] - loop) / largest, 0, atol=1e-11)
    forward, backward = one_jet_squares(s, t, u, TOP), one_jet_squares(s, u, t, TOP)
    np.testing.assert_allclose(backward[[0, 2, 1, 3]], forward, rtol=1e-13)


def test_squares_are_positive_for_all_couplings() -> None:
    generator = np.random.default_rng(4)
    tt, tg, gg = np.moveaxis(
        one_jet_squares(*points(generator.uniform(127, 9000, 2000), generator.uniform(-5, 5, 2000)), TOP), 1, 0
    )
    assert (tt > 0).all()
    assert (gg > 0).all()
    assert (tg**2 <= 4 * tt * gg * (1 + 1e-12)).all()


# --- table ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> GluonTable:
    return GluonTable.build(TOP, 13000.0)


@pytest.mark.parametrize(
    ("lowest", "highest", "reach", "tolerance"),
    [
        (126.3, 345.9, 7, 5e-6),
        (345.5, 346.5, 7, 1e-6),  # across the cusp
        (346.1, 3000, 3, 5e-6),
        (346.1, 13000, 7, 1e-5),
    ],
)
def test_table_is_the_closed_form(
    table: GluonTable, lowest: float, highest: float, reach: float, tolerance: float
) -> None:
    generator = np.random.default_rng(5)
    at = points(generator.uniform(lowest, highest, 4000), generator.uniform(-reach, reach, 4000))
    ratio, interference = table(*at)
    exact, exact_interference = gluon_ratios(*at, TOP)
    assert relative(ratio, exact) < tolerance
    assert np.max(np.abs(interference - exact_interference)) < tolerance
    assert (interference**2 <= ratio).all()


def test_table_falls_back_to_the_closed_form_outside(table: GluonTable) -> None:
    at = points(np.array([125.5, 14000.0, 500.0, 300.0]), np.array([0.4, 1.0, 7.5, -8.0]))
    np.testing.assert_array_equal(np.stack(table(*at)), np.stack(gluon_ratios(*at, TOP)))


def test_squares_take_a_table(table: GluonTable) -> None:
    at = points(np.linspace(150, 2500, 300), np.linspace(-3, 3, 300))
    exact, fast = one_jet_squares(*at, TOP), one_jet_squares(*at, TOP, table)
    np.testing.assert_array_equal(fast[1:], exact[1:])
    np.testing.assert_allclose(fast[0, [0, 2]], exact[0, [0, 2]], rtol=5e-6)


@pytest.mark.parametrize(("masses", "energy"), [(Masses(top=60.0), 13000.0), (Masses(), 300.0)])
def test_a_table_without_the_threshold_is_refused(masses: Masses, energy: float) -> None:
    with pytest.raises(ConfigError, match="twice the top mass"):
        GluonTable.build(masses, energy)
