"""Squares of p p -> H j j: Feynman diagrams, fixed points, symmetries, soft and collinear limits, rounding."""

from __future__ import annotations

import itertools

import jaxtyping
import mpmath
import numpy as np
import pytest

import higgs_jets_diagrams as diagrams
from higgs_jets_kinematics import SIGNS, events, fixed_points, four_vector, random_events, with_beams
from systwise.cases.higgs_jets import _two_jets
from systwise.cases.higgs_jets._one_jet import CHANNELS as ONE_JET_CHANNELS
from systwise.cases.higgs_jets._one_jet import one_jet_squares
from systwise.cases.higgs_jets._physics import Masses
from systwise.cases.higgs_jets._spinors import SpinorProducts, spinor_products
from systwise.cases.higgs_jets._two_jets import CHANNELS, averaged_squares, two_jet_squares
from systwise.cases.higgs_jets._two_jets_gluons import four_gluons
from systwise.cases.higgs_jets._two_jets_quarks import different_quarks, identical_quarks, quarks_and_gluons

MASSES = Masses()
QUARK_CROSSINGS = [(0, 1, 2, 3), (0, 2, 1, 3), (1, 2, 0, 3), (3, 2, 0, 1)]
CASIMIR = {"q": 4 / 3, "g": 3.0}

# The fact sheet's values at P1 and P2, nine digits; checked there against one-loop amplitudes at mt = 2.5 TeV.
SQUARES = {
    (four_gluons, ()): (1.37872876e5, 1.01438564e5),
    (quarks_and_gluons, (0, 1, 2, 3)): (1.85144328e2, 4.56284298e2),
    (quarks_and_gluons, (0, 2, 1, 3)): (8.40035873e3, 1.94777488e3),
    (quarks_and_gluons, (1, 2, 0, 3)): (1.99059944e3, 1.38488069e4),
    (quarks_and_gluons, (3, 2, 0, 1)): (3.70574960e2, 1.98606200e2),
    (different_quarks, (0, 1, 2, 3)): (5.41021804e2, 3.72044957e1),
    (identical_quarks, (0, 1, 2, 3)): (5.22756228e2, 5.74328229e2),
    (different_quarks, (0, 3, 1, 2)): (1.28890561e1, 1.43932729e1),
    (identical_quarks, (0, 3, 2, 1)): (5.71547016e2, 5.23341152e1),
}
AVERAGED = {
    "gg": (276.520753, 202.001222),
    "qg": (87.5037368, 20.2893217),
    "gq": (20.7354108, 144.258405),
    "qq": (7.26050316, 7.97678095),
    "qQ": (15.0283834, 1.03345821),
    "qqbar": (19.8798723, 9.39025988),
}


# -------------------------------------------------------------------------------------------- spinor products
def test_spinor_products_are_products_of_momenta():
    momenta = random_events(200)
    products = spinor_products(momenta)
    outgoing = momenta * SIGNS[:, None]
    total = outgoing[:, :, None] + outgoing[:, None]
    invariant = np.einsum("eijm,m->ije", total**2, [1, -1, -1, -1])
    scale = outgoing[..., 0].max(axis=1) ** 2
    assert np.abs(products.invariant - invariant).max(axis=(0, 1)) == pytest.approx(0, abs=1e-13 * scale.max())
    np.testing.assert_allclose(products.angle * products.square.swapaxes(0, 1), products.invariant, rtol=1e-14)
    np.testing.assert_allclose(products.angle, -products.angle.swapaxes(0, 1), rtol=1e-13)
    np.testing.assert_allclose(products.square, -products.square.swapaxes(0, 1), rtol=1e-13)
    pairs = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose((products.angle * products.over_angle)[pairs], 1, rtol=1e-14)
    np.testing.assert_allclose((products.square * products.over_square)[pairs], 1, rtol=1e-14)


def test_spinor_products_obey_the_schouten_identity():
    a = spinor_products(random_events(100)).angle
    terms = a[0, 1] * a[2, 3], a[0, 2] * a[3, 1], a[0, 3] * a[1, 2]
    assert np.all(np.abs(sum(terms)) < 1e-14 * sum(np.abs(term) for term in terms))


@pytest.mark.parametrize("azimuth", [0.0, np.pi / 2, np.pi, 1.0])
def test_no_direction_is_singular(azimuth):
    """A jet along an axis is like its neighbours a hair away."""
    row = (60.0, 0.0, 40.0, -1.0, 2.0, 0.1)
    here, near = (two_jet_squares(events(*np.array([row]).T, azimuth=azimuth + shift), MASSES) for shift in (0.0, 1e-9))
    np.testing.assert_allclose(here, near, rtol=1e-12)


# ------------------------------------------------------------------------------------------ values of squares
@pytest.mark.parametrize(("function", "legs"), SQUARES, ids=lambda part: getattr(part, "__name__", str(part)))
def test_squares_at_fixed_points(function, legs):
    np.testing.assert_allclose(function(spinor_products(fixed_points()), *legs), SQUARES[function, legs], rtol=5e-9)


def test_averaged_squares_at_fixed_points():
    squares = averaged_squares(spinor_products(fixed_points()))
    np.testing.assert_allclose(squares, [AVERAGED[channel] for channel in CHANNELS], rtol=5e-9)
    np.testing.assert_allclose(two_jet_squares(fixed_points(), MASSES), squares * 16 / (9 * 246.2196508**2), rtol=1e-8)


@pytest.fixture(scope="module")
def drawn():
    """Momenta of three events, their products, and for each all outgoing momenta with the Higgs boson's."""
    momenta = random_events(3, seed=11)
    outgoing = momenta * SIGNS[:, None]
    return spinor_products(momenta), outgoing, -outgoing.sum(axis=1)


def test_four_gluons_is_the_sum_of_feynman_diagrams(drawn):
    products, outgoing, higgs = drawn
    expected = [diagrams.four_gluons(*event) for event in zip(outgoing, higgs, strict=True)]
    np.testing.assert_allclose(four_gluons(products), expected, rtol=1e-11)


@pytest.mark.parametrize("legs", QUARK_CROSSINGS)
def test_quarks_and_gluons_is_the_sum_of_feynman_diagrams(drawn, legs):
    products, outgoing, higgs = drawn
    crossed = outgoing[:, list(legs)]
    expected = [diagrams.quarks_and_gluons(*event) for event in zip(crossed, higgs, strict=True)]
    np.testing.assert_allclose(quarks_and_gluons(products, *legs), expected, rtol=1e-11)
    longitudinal = diagrams.quarks_and_gluons(crossed[0], higgs[0], replaced=3)
    assert longitudinal < 1e-20 * expected[0], "the diagrams themselves are not gauge invariant"


@pytest.mark.parametrize("legs", [(0, 1, 2, 3), (0, 3, 1, 2), (0, 3, 2, 1)])
def test_four_quarks_are_the_sum_of_feynman_diagrams(drawn, legs):
    products, outgoing, _ = drawn
    for function, identical in ((different_quarks, False), (identical_quarks, True)):
        expected = [diagrams.four_quarks(event[list(legs)], identical=identical) for event in outgoing]
        np.testing.assert_allclose(function(products, *legs), expected, rtol=1e-11)


# ---------------------------------------------------------------------------------------------- symmetries
def test_four_gluons_are_symmetric():
    momenta = random_events(20)
    expected = four_gluons(spinor_products(momenta))
    for order in itertools.permutations(range(4)):
        incoming = [order.index(0), order.index(1)]
        relabelled = spinor_products(momenta[:, list(order)], incoming)
        np.testing.assert_allclose(four_gluons(relabelled), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("function", "order"),
    [
        (quarks_and_gluons, (0, 1, 3, 2)),  # the gluons
        (quarks_and_gluons, (1, 0, 2, 3)),  # charge conjugation
        (different_quarks, (2, 1, 0, 3)),  # a quark for an antiquark
        (different_quarks, (0, 3, 2, 1)),
        (different_quarks, (1, 0, 3, 2)),  # the flavours
        (identical_quarks, (1, 0, 2, 3)),
        (identical_quarks, (0, 1, 3, 2)),
        (identical_quarks, (2, 3, 0, 1)),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_quark_squares_are_symmetric(function, order):
    products = spinor_products(random_events(20))
    for legs in itertools.permutations(range(4)):
        swapped = [legs[place] for place in order]
        np.testing.assert_allclose(function(products, *legs), function(products, *swapped), rtol=1e-11)


def test_jets_can_be_exchanged_where_they_are_alike():
    momenta = random_events(50)
    here, there = (two_jet_squares(each, MASSES) for each in (momenta, momenta[:, [0, 1, 3, 2]]))
    for channel in ("gg", "qq"):
        row = CHANNELS.index(channel)
        np.testing.assert_allclose(here[row], there[row], rtol=1e-11)


def test_beams_can_be_exchanged():
    momenta = random_events(50)
    mirrored = momenta[:, [1, 0, 2, 3]] * [1, 1, 1, -1]
    here, there = two_jet_squares(momenta, MASSES), two_jet_squares(mirrored, MASSES)
    rows = [CHANNELS.index(channel) for channel in ("gg", "gq", "qg", "qq")]
    np.testing.assert_allclose(there[rows], here[[0, 1, 2, 3]], rtol=1e-11)
    swapped = two_jet_squares(mirrored[:, [0, 1, 3, 2]], MASSES)
    np.testing.assert_allclose(swapped[4:], here[4:], rtol=1e-11)


def rotation(seed=5):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def test_squares_do_not_change_with_the_frame():
    momenta = random_events(50)
    expected = two_jet_squares(momenta, MASSES)
    turned = momenta.copy()
    turned[..., 1:] = momenta[..., 1:] @ rotation().T  # may reflect as well: parity is kept
    np.testing.assert_allclose(two_jet_squares(turned, MASSES), expected, rtol=1e-10)
    for axis in (1, 3):
        gamma = np.sqrt(1 + 0.7**2)
        boosted = turned.copy()
        boosted[..., 0] = gamma * turned[..., 0] + 0.7 * turned[..., axis]
        boosted[..., axis] = gamma * turned[..., axis] + 0.7 * turned[..., 0]
        np.testing.assert_allclose(two_jet_squares(boosted, MASSES), expected, rtol=1e-10)


def test_blocks_do_not_show():
    momenta = random_events(2 * _two_jets.BLOCK + 3)
    squares = two_jet_squares(momenta, MASSES)
    assert squares.shape == (6, len(momenta))
    assert np.all(squares > 0)
    some = [0, _two_jets.BLOCK - 1, _two_jets.BLOCK, len(momenta) - 1]
    np.testing.assert_allclose(squares[:, some], two_jet_squares(momenta[some], MASSES), rtol=1e-14)
    assert two_jet_squares(momenta[:0], MASSES).shape == (6, 0)


# ------------------------------------------------------------------------------------- soft and collinear
def minkowski(a, b):
    return a[..., 0] * b[..., 0] - np.sum(a[..., 1:] * b[..., 1:], axis=-1)


def heavy_one_jet(beam1, beam2, jet):
    """Return the heavy-top squares of H + one jet by channel, for on-shell momenta up to small terms."""
    t, u = -2 * minkowski(beam1, jet), -2 * minkowski(beam2, jet)
    squares = one_jet_squares(MASSES.higgs**2 - t - u, t, u, MASSES)
    return dict(zip(ONE_JET_CHANNELS, squares[:, 2], strict=True))


ONE_JET = (np.array([50.0, 200.0]), np.array([0.4, -1.1]), 0.3, np.array([-0.2, 0.5]))  # pT, y, azimuth, Higgs y


@pytest.mark.parametrize(
    ("channel", "kinds", "factor"),
    [("gg", "ggg", 1 / 2), ("qg", "qgq", 1), ("gq", "gqq", 1), ("qqbar", "qqg", 1 / 2)],
)
def test_a_soft_gluon_gives_the_eikonal_factor(channel, kinds, factor):
    """|M|^2 -> 4 pi alpha_s sum over pairs (C_i + C_j - C_k) p_i.p_j / (p_i.k p_j.k) |M_1|^2.

    One half is for the hard jet and the soft gluon, labelled though alike.
    """
    pt, y, azimuth, higgs = ONE_JET
    hard, soft = four_vector(pt, y, azimuth), four_vector(1e-5 * pt, -0.6, azimuth + 2.0)
    momenta = with_beams(np.stack([hard, soft], -2), higgs)
    eikonal = 0.0
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        charge = CASIMIR[kinds[i]] + CASIMIR[kinds[j]] - CASIMIR[kinds[k]]
        p, q = momenta[:, i], momenta[:, j]
        eikonal += charge * minkowski(p, q) / (minkowski(p, soft) * minkowski(q, soft))
    one_jet = heavy_one_jet(momenta[:, 0], momenta[:, 1], hard)[channel.replace("qqbar", "qq")]
    squares = two_jet_squares(momenta, MASSES)[CHANNELS.index(channel)]
    np.testing.assert_allclose(squares, factor * 4 * np.pi * eikonal * one_jet, rtol=2e-4)


def collinear_pair(angle, share):
    """Return [azimuth of the splitting, event, leg, 4]: jet 3 with `share` of a jet that splits by `angle`."""
    pt, y, azimuth, higgs = ONE_JET
    parent = four_vector(pt, y, azimuth)
    direction = parent[:, 1:] / parent[:, :1]
    side = np.cross(direction, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    other = np.cross(direction, side)
    result = []
    for turn in np.arange(4) * np.pi / 2 + 0.4:
        tilt = np.cos(turn) * side + np.sin(turn) * other
        jets = []
        for part, offset in ((share, 1 - share), (1 - share, -share)):
            unit = direction + offset * angle * tilt
            unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
            energy = part * parent[:, :1]
            jets.append(np.concatenate([energy, energy * unit], -1))
        result.append(with_beams(np.stack(jets, -2), higgs))
    return np.array(result)


def gluon_splitting(z):
    return 6 * (z / (1 - z) + (1 - z) / z + z * (1 - z))


def pair_splitting(z):
    return 0.5 * (z**2 + (1 - z) ** 2)


def quark_splitting(z):
    return 4 / 3 * (1 + z**2) / (1 - z)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_collinear_jets_give_the_altarelli_parisi_kernel(share):
    """|M|^2 -> (8 pi alpha_s / s_34) P(z) |M_1|^2, after the mean over the azimuth of the splitting."""
    momenta = collinear_pair(1e-3, share)
    flat = momenta.reshape(-1, 4, 4)
    jet = flat[:, 2] + flat[:, 3]
    one_jet = heavy_one_jet(flat[:, 0], flat[:, 1], jet)
    products = spinor_products(flat)
    coupling = 16 / (9 * MASSES.vacuum**2)
    pole = 8 * np.pi / products.invariant[2, 3]
    averaged = two_jet_squares(flat, MASSES)
    gluon, pair, quark = gluon_splitting(share), pair_splitting(share), quark_splitting(share)

    def mean(values):
        return values.reshape(4, -1).mean(axis=0)

    cases = [
        (averaged[0], one_jet["gg"] * (gluon / 2 + 5 * pair)),
        (four_gluons(products) / 512 * coupling, one_jet["gg"] * gluon / 2),
        (averaged[1], one_jet["qg"] * quark),
        (averaged[2], one_jet["gq"] * quark),
        (quarks_and_gluons(products, 0, 1, 2, 3) / 36 * coupling, one_jet["qq"] * gluon),
        (different_quarks(products, 0, 3, 1, 2) / 36 * coupling, one_jet["qq"] * pair),
        (averaged[5], one_jet["qq"] * (gluon / 2 + 5 * pair)),
    ]
    for squares, limit in cases:
        np.testing.assert_allclose(mean(squares / pole), mean(limit), rtol=1e-5)


def test_a_quark_collinear_to_its_beam_leaves_a_gluon():
    """q(1) -> q(3) + g(x p_1), then g Q -> H Q.

    |M|^2 -> (8 pi alpha_s / s_13) P(x) / x |M_1(x p_1, p_2)|^2 with P = C_F (1 + (1 - x)^2) / x, in the mean over the
    azimuth.
    """
    pt, y, azimuth, higgs = ONE_JET
    ratios = []
    for turn in np.arange(4) * np.pi / 2 + 0.4:
        lost = four_vector(1e-3, np.log(2 * 150 / 1e-3), azimuth + turn) * np.ones((len(pt), 1))  # 150 GeV ahead
        momenta = with_beams(np.stack([lost, four_vector(pt, y, azimuth)], -2), higgs)
        x = 1 - lost[:, 3] / momenta[:, 0, 3]
        one_jet = heavy_one_jet(x[:, None] * momenta[:, 0], momenta[:, 1], momenta[:, 3])["gq"]
        pole = 8 * np.pi / -spinor_products(momenta).invariant[0, 2]
        kernel = 4 / 3 * (1 + (1 - x) ** 2) / x
        ratios.append(two_jet_squares(momenta, MASSES)[CHANNELS.index("qQ")] / (pole * kernel / x * one_jet))
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1, rtol=1e-4)


# -------------------------------------------------------------------------------------------------- rounding
HARD = {
    "soft and central": (2.0, 0.1, 2.0, -0.1, 2.9, 0.0),
    "nearly collinear": (60.0, 0.5, 40.0, 0.501, 0.001, -0.3),
    "back to back, no pT left": (60.0, 0.5, 60.0, -1.0, np.pi, 0.1),
    "forward": (30.0, 4.5, 30.0, -4.5, 1.0, 0.0),
    "both forward": (35.0, 4.4, 31.0, 4.0, -2.0, -2.5),
    "boosted": (2500.0, 0.3, 40.0, -2.0, 2.0, 0.2),
    "hard and soft": (1000.0, 0.3, 30.0, 4.5, 2.5, -0.4),
}


def exact_products(momenta):
    """Return products with the working precision of mpmath; the momenta's spatial parts count as exact."""
    spinors = []
    for leg, (px, py, pz) in enumerate(momenta[:, 1:]):
        px, py, pz = (mpmath.mpf(float(part)) for part in (px, py, pz))
        root = mpmath.sqrt(mpmath.sqrt(px**2 + py**2 + pz**2) + px)
        spinors.append((mpmath.mpc(0, 1) if leg < 2 else mpmath.mpc(1), root, mpmath.mpc(pz, -py) / root))
    arrays = np.empty((5, 4, 4, 1), dtype=object)
    for i, j in itertools.product(range(4), repeat=2):
        (fi, ai, bi), (fj, aj, bj) = spinors[i], spinors[j]
        angle = fi * fj * (bi * aj - ai * bj)
        conjugate = -fi * fj * mpmath.conj(bi * aj - ai * bj)
        over = (0, 0) if i == j else (1 / angle, 1 / conjugate)
        arrays[:, i, j, 0] = angle, conjugate, (-angle * conjugate).real, *over
    return SpinorProducts(*arrays)


def test_rounding_against_fifty_digits(monkeypatch):
    """The same formulas in 50 digits: how much float64 loses."""
    momenta = events(*np.array(list(HARD.values()), dtype=float).T)
    squares = averaged_squares(spinor_products(momenta))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # arrays of objects are not floats
    with mpmath.workdps(50):
        for event, name in enumerate(HARD):
            exact = averaged_squares(exact_products(momenta[event]))[:, 0]
            exact = np.array([float(mpmath.re(value)) for value in exact])
            np.testing.assert_allclose(squares[:, event], exact, rtol=1e-11, err_msg=name)
