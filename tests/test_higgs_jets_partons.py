"""Parton densities and the strong coupling of Higgs + jets."""

from __future__ import annotations

import numpy as np
import pytest

from systwise.cases.higgs_jets._luminosities import one_jet_luminosities, two_jet_luminosities
from systwise.cases.higgs_jets._partons import FLAVOURS, GLUON, PartonDensities, find_grid
from systwise.cases.higgs_jets._strong_coupling import StrongCoupling, beta_coefficients
from systwise.errors import ConfigError, DataError

SET = "NNPDF31_lo_as_0118_0000"
# x, Q in GeV, then x f of partons; from LHAPDF's grid through an interpolation of its own.
POINTS = [
    (1e-3, 50, {21: 32.2878, 2: 1.52654, 1: 1.45466, -2: 1.43463, -1: 1.39855, 3: 0.447178, 4: 0.854377, 5: 0.620591}),
    (1e-2, 50, {21: 8.53015, 2: 0.769814, 1: 0.694624}),
    (1e-2, 125, {21: 8.73304, 2: 0.810032}),
    (0.1, 125, {21: 0.840471, 2: 0.552008, 1: 0.357695}),
    (0.3, 500, {21: 0.0520811, 2: 0.286368}),
]


@pytest.fixture(scope="module")
def densities():
    try:
        return PartonDensities.read(SET)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("x", "scale", "expected"), POINTS)
def test_densities_at_known_points(densities, x, scale, expected):
    values = densities(np.array([x]), np.array([float(scale)]))[:, 0]
    for flavour, value in expected.items():
        assert values[FLAVOURS.index(flavour)] == pytest.approx(value, rel=6e-6)


def test_densities_agree_with_another_interpolation(densities):
    """Pythia reads the same file with an interpolation of its own."""
    pythia8 = pytest.importorskip("pythia8mc")
    pythia = pythia8.Pythia("", False)
    for word in (f"PDF:pSet = LHAGrid1:{SET}.dat", "ProcessLevel:all = off", "Print:quiet = on"):
        pythia.readString(word)
    assert pythia.init()
    reference = pythia.getPDFPtr(2212)
    draw = np.random.default_rng(1)
    x, scale = np.exp(draw.uniform(np.log(1e-4), np.log(0.6), 300)), np.exp(draw.uniform(np.log(15), np.log(1000), 300))
    values = densities(x, scale)
    for flavour in (21, 2, 1, -1, 5):
        other = np.array([reference.xf(flavour, a, b**2) for a, b in zip(x, scale, strict=True)])
        difference = np.abs(values[FLAVOURS.index(flavour)] - other) / np.maximum(np.abs(other), 0.05)
        assert np.median(difference) < 5e-5
        assert difference.max() < 1e-3


def test_sum_rules(densities):
    """Momentum fractions add up to one, valence quarks to two and one."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    low = np.log(1e-8)
    x = np.exp(low * (1 - nodes) / 2)
    measure = -low * weights / 2  # d ln x
    values = densities(x, np.full_like(x, 91.2))
    assert np.sum(values.sum(axis=0) * x * measure) == pytest.approx(1, abs=0.01)
    up, down = (values[FLAVOURS.index(code)] - values[FLAVOURS.index(-code)] for code in (2, 1))
    assert np.sum(up * measure) == pytest.approx(2, abs=0.05)
    assert np.sum(down * measure) == pytest.approx(1, abs=0.05)


def test_densities_are_never_negative(densities):
    x, scale = (
        grid.ravel() for grid in np.meshgrid(np.linspace(0.3, 1, 200), [15.0, 60.0, 500.0, 3000.0], indexing="ij")
    )
    values = densities(x, scale)
    assert values.min() == 0
    assert np.isfinite(values).all()


def test_outside_of_the_grid_is_an_error(densities):
    with pytest.raises(DataError, match=r"scales from 1\.65"):
        densities(np.array([0.1]), np.array([1.0]))
    with pytest.raises(DataError, match="for x from 1e-09"):
        densities(np.array([1e-10]), np.array([100.0]))


def _written(path, touching=False):
    """Write a grid of f(x, Q) = 1 + flavour index + ln x ln Q with a threshold at 5 GeV."""
    text = ["PdfType: central\nFormat: lhagrid1\n"]
    codes = [-3, -2, -1, 21, 1, 2, 3, 4]
    for scales in ([2.0, 3.0, 4.0, 5.0], [5.0, 10.0, 100.0, 1000.0, 1e4]):
        x = [1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0]
        rows = [" ".join(f"{value:.8e}" for value in x), " ".join(f"{value:.8e}" for value in scales)]
        rows.append(" ".join(str(code) for code in codes))
        for a in x:
            for q in scales:
                join = "" if touching else " "
                rows.append(join.join(f"{1 + i - np.log(a) * np.log(q):.8e}" for i in range(len(codes))))
        text.append("\n".join(rows) + "\n")
    path.write_text("---\n".join(text) + "---\n", encoding="ascii")
    return path


@pytest.mark.parametrize("touching", [False, True])
def test_a_grid_with_a_threshold_and_missing_flavours(tmp_path, touching):
    """A bilinear function is met exactly on both sides; numbers that touch are told apart; b is not listed."""
    grid = PartonDensities.read(str(_written(tmp_path / "toy_0000.dat", touching)))
    assert grid.edges == (2, 5, 1e4)
    x, scale = np.array([2e-3, 0.03, 0.03]), np.array([2.5, 4.0, 700.0])
    expected = 1 - np.log(x) * np.log(scale)
    values = grid(x, scale)
    assert values[FLAVOURS.index(-3)] == pytest.approx(expected, rel=1e-6)
    assert values[GLUON] == pytest.approx(expected + 3, rel=1e-6)
    assert not values[FLAVOURS.index(5)].any()


def test_grids_are_found_where_lhapdf_keeps_them(tmp_path, monkeypatch):
    path = _written(tmp_path / "toy_0000.dat")
    folder = tmp_path / "sets" / "toy"
    folder.mkdir(parents=True)
    path = path.rename(folder / path.name)
    assert find_grid("toy_0000", tmp_path / "sets") == path
    with pytest.raises(DataError, match="\\.\\[higgs-jets\\]"):
        find_grid("toy_0000")
    monkeypatch.setenv("LHAPDF_DATA_PATH", str(tmp_path / "sets"))
    assert find_grid("toy_0000") == path


@pytest.mark.parametrize("text", ["nothing", "a\n---\n1 2\n", "a\n---\n1 2 3 4\n1 2 3 4\n21\n1 2 3\n---\n"])
def test_a_file_that_is_no_grid_is_an_error(tmp_path, text):
    path = tmp_path / "bad.dat"
    path.write_text(text, encoding="ascii")
    with pytest.raises(DataError, match=r"bad\.dat: is no LHAPDF6 grid"):
        PartonDensities.read(str(path))


def test_luminosities_sum_over_all_combinations():
    """Every product of two quarks or antiquarks is in exactly one of the channels qq, qQ and q qbar."""
    draw = np.random.default_rng(2)
    first, second = draw.random((2, len(FLAVOURS), 50))
    gg, qg, gq, same, different, pair = two_jet_luminosities(first, second)
    quarks = np.delete(np.arange(len(FLAVOURS)), GLUON)
    products = first[quarks][:, None] * second[quarks][None]
    codes = np.array(FLAVOURS)[quarks]
    equal, opposite = codes[:, None] == codes, codes[:, None] == -codes
    assert same == pytest.approx(products[equal].sum(axis=0))
    assert pair == pytest.approx(products[opposite].sum(axis=0))
    assert different == pytest.approx(products[~equal & ~opposite].sum(axis=0))
    total = gg + qg + gq + same + different + pair
    assert total == pytest.approx(first.sum(axis=0) * second.sum(axis=0))
    assert one_jet_luminosities(first, second) == pytest.approx(np.stack([gg, qg, gq, pair]))


@pytest.mark.parametrize(
    ("loops", "expected"),
    [
        (1, [0.140488, 0.124787, 0.112874, 0.0947781]),
        (2, [0.141890, 0.125138, 0.112648, 0.0939980]),
        (3, [0.141958, 0.125154, 0.112638, 0.0939678]),
    ],
)
def test_coupling_at_known_scales(loops, expected):
    coupling = StrongCoupling(loops)
    assert coupling(np.array([30.0, 62.5, 125.0, 500.0])) == pytest.approx(expected, rel=4e-6)
    assert coupling(np.array([91.1876])) == pytest.approx(0.118, abs=1e-12)


def test_coupling_obeys_its_equation():
    """The implicit solution at two loops: 1/a + c ln(c a / (1 + c a)) is linear in ln mu^2, c = b_1/b_0."""
    b0, b1, _ = beta_coefficients()
    coupling, scale = StrongCoupling(2), np.geomspace(5, 5e4, 40)
    values = coupling(scale)
    c = b1 / b0
    left = 1 / values + c * np.log(c * values / (1 + c * values))
    assert np.diff(left) == pytest.approx(2 * b0 * np.diff(np.log(scale)), rel=1e-7)


def test_coupling_errors():
    with pytest.raises(ConfigError, match="1, 2 or 3 loops"):
        StrongCoupling(4)
    with pytest.raises(DataError, match="five flavours"):
        StrongCoupling()(np.array([1.0]))
