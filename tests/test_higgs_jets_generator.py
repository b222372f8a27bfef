"""The generator of Higgs + jets: cross sections, couplings, scales, tails, storage and files of others."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from higgs_jets_quadrature import integrate
from systwise.cases.higgs_jets import _storage
from systwise.cases.higgs_jets._case import HiggsJets, HiggsJetsSettings
from systwise.cases.higgs_jets._generator import BLOCK, generate
from systwise.cases.higgs_jets._generator_settings import SCALES, GeneratorSettings
from systwise.cases.higgs_jets._lhe import CENTRAL_WEIGHT, Hypothesis, read_lhe
from systwise.cases.higgs_jets._luminosities import two_jet_luminosities
from systwise.cases.higgs_jets._partons import PartonDensities, find_grid
from systwise.cases.higgs_jets._sample import FEATURES, WEIGHT_COLUMNS, scale_name
from systwise.cases.higgs_jets._storage import load_sample, read_sample, write_sample
from systwise.cases.higgs_jets._strong_coupling import StrongCoupling
from systwise.cases.higgs_jets._two_jet_phase_space import TWO_JET_NUMBERS, sample_two_jets
from systwise.cases.higgs_jets._two_jets import two_jet_squares
from systwise.errors import ConfigError, DataError

EDGES = [30, 50, 75, 100, 150, 200, 300, 400, 500, 600, 800, 1000, 1500, 3000]
COUPLINGS = [(1, 0), (0.8, 0.2), (0.6, 0.4), (1.2, -0.2), (0, 1), (1, 0.1), (0.9, 0)]
COARSE = (4, 16, 24)
NLO = "NNPDF31_nlo_as_0118_luxqed_0000"


@pytest.fixture(scope="module", autouse=True)
def _grids():
    try:
        find_grid(GeneratorSettings().pdf)
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def one_jet():
    return generate("hj", 200_000, 11)


@pytest.fixture(scope="module")
def two_jets():
    return generate("hjj", 80_000, 11)


@pytest.fixture(scope="module")
def quadrature():
    """Return coefficients `[bin, coefficient]` in pb at (mu_R, mu_F) = mu_0, and the mean |eta_j|."""
    return integrate(EDGES)


def quadratic(coefficients, c_t, c_g):
    return coefficients @ np.array([c_t**2, c_t * c_g, c_g**2])


def between(sample, low, high, name="pt_j1"):
    values = sample.feature(name)
    return (values >= low) & (values < high)


def test_quadrature_agrees_with_an_independent_prototype(quadrature):
    """Totals with |y_j| < 4.5 in pb, from 1e6 events of another program; its statistical error is 0.14 %."""
    total = quadrature[0].sum(axis=0)
    expected = [11.627, 11.515, 11.408, 11.743, 11.114, 14.007, 9.418]
    for couplings, value in zip(COUPLINGS, expected, strict=True):
        assert quadratic(total, *couplings) == pytest.approx(value, rel=3 * 0.0014)
    for factor, value in ((0.5, 16.440), (2.0, 8.423)):
        varied = integrate(EDGES, factors=(factor, factor))[0].sum(axis=0)
        assert varied[0] == pytest.approx(value, rel=3 * 0.0014)
        # The events were the same: ratios are much better known.
        assert varied[0] / total[0] == pytest.approx(value / 11.627, rel=3e-4)
    assert -2 * total[0] / total[1] == pytest.approx(-1.025, abs=5e-4)


def test_ratios_in_bins_agree_with_an_independent_prototype(quadrature):
    """Full over heavy-top and interference over heavy-top, of the same other program."""
    tt, tg, gg = quadrature[0][:11].T
    full = [1.0606, 1.0543, 1.0449, 1.0327, 1.0046, 0.8758, 0.6338, 0.4469, 0.3198, 0.2159, 0.1245]
    half = [1.0297, 1.0262, 1.0207, 1.0113, 0.9885, 0.9142, 0.7673, 0.6385, 0.5367, 0.4374, 0.3293]
    assert tt / gg == pytest.approx(full, rel=5e-3)
    assert tg / (2 * gg) == pytest.approx(half, rel=3e-3)


def test_published_cross_section_of_higgs_and_jet():
    """Jones, Kerner, Luisoni (arXiv:1802.00349): 8.57 +3.31 -2.24 pb (full), 8.22 +3.17 -2.15 (heavy top), PDF4LHC15.

    Their setup: pT > 30 GeV, no cut on the rapidity, mu = H_T/2, m_t = 173.055 GeV; their top quark runs
    in the loop with these densities' alpha_s.
    """
    settings = GeneratorSettings(jet_eta=20.0, top_mass=173.055, pdf=NLO, alpha_s_loops=2, scale="half-ht")
    total = integrate(EDGES, settings)[0].sum(axis=0)
    assert total[0] == pytest.approx(8.57, rel=0.01)
    assert total[2] == pytest.approx(8.22, rel=0.01)
    for factor, change in ((0.5, 3.31 / 8.57), (2.0, -2.24 / 8.57)):
        varied = integrate(EDGES, settings, factors=(factor, factor))[0].sum(axis=0)
        assert varied[0] / total[0] - 1 == pytest.approx(change, abs=0.005)


def test_one_jet_totals_agree_with_quadrature(one_jet, quadrature):
    for couplings in COUPLINGS:
        value, error = one_jet.cross_section(*couplings)
        assert error < 0.002 * value
        assert abs(value - quadratic(quadrature[0].sum(axis=0), *couplings)) < 4 * error


def test_one_jet_bins_agree_with_quadrature(one_jet, quadrature):
    """Every bin within its error; ratios, where events are the same, much closer."""
    pulls = []
    for low, high, exact in zip(EDGES, EDGES[1:], quadrature[0], strict=False):
        inside = between(one_jet, low, high)
        value, error = one_jet.cross_section(1, 0, where=inside)
        pulls.append((value - exact[0]) / error)
        heavy, _ = one_jet.cross_section(0, 1, where=inside)
        assert value / heavy == pytest.approx(exact[0] / exact[2], rel=0.02 if high > 500 else 0.005)
    assert np.abs(pulls).max() < 4
    assert np.square(pulls).mean() < 3


@pytest.mark.parametrize("index", range(1, len(SCALES)))
def test_one_jet_scales_agree_with_quadrature(one_jet, quadrature, index):
    exact = integrate(EDGES, factors=SCALES[index], orders=COARSE)[0].sum(axis=0)
    nominal = integrate(EDGES, orders=COARSE)[0].sum(axis=0)
    found = one_jet.cross_section(1, 0, index)[0] / one_jet.cross_section(1, 0)[0]
    assert found == pytest.approx(exact[0] / nominal[0], rel=1.5e-3)


def test_one_jet_rapidity_and_its_scale_variation(one_jet, quadrature):
    eta = np.abs(one_jet.feature("eta_j1"))
    means = [np.average(eta, weights=one_jet.coupling_weights(1, 0, scale)) for scale in range(3)]
    assert means[0] == pytest.approx(quadrature[1], abs=0.012)
    assert means[1] - means[0] == pytest.approx(0.016, abs=0.002)
    assert means[2] - means[0] == pytest.approx(-0.012, abs=0.002)


def test_blind_slopes(one_jet, two_jets):
    for sample, slope in ((one_jet, -1.025), (two_jets, -1.013)):
        value, error = sample.blind_slope()
        assert error < 1e-3
        assert value == pytest.approx(slope, abs=1e-3 + 3 * error)


def test_tail_is_populated(one_jet, two_jets):
    for sample in (one_jet, two_jets):
        assert 0.04 < np.mean(sample.feature("pt_j1") > 400) < 0.15
    assert np.mean(two_jets.feature("pt_h") > 400) > 0.02


def test_more_statistics_where_they_were_asked_for(one_jet):
    plain = generate("hj", 60_000, 3, GeneratorSettings(tail_fraction=0.0))
    for sample, limits in ((plain, (0.05, 1.0)), (one_jet, (0.0, 0.02))):
        value, error = sample.cross_section(1, 0, where=sample.feature("pt_j1") > 400)
        assert limits[0] < error / value < limits[1]
    value, error = plain.cross_section(1, 0)
    other, other_error = one_jet.cross_section(1, 0)
    assert abs(value - other) < 4 * np.hypot(error, other_error)


def test_no_couplings_make_a_weight_negative(one_jet, two_jets):
    for sample in (one_jet, two_jets):
        tt, tg, gg = np.moveaxis(sample.weights.astype(np.float64), 2, 0)
        assert min(tt.min(), gg.min()) >= 0
        # The table of amplitudes is good to 1e-5, and weights are stored in single precision.
        assert (tg**2 <= 4 * tt * gg * (1 + 3e-5)).all()


def test_features_lie_in_the_acceptance(one_jet, two_jets):
    settings = GeneratorSettings()
    for sample in (one_jet, two_jets):
        assert sample.feature("pt_j1").min() >= settings.jet_pt
        assert np.abs(sample.feature("eta_j1")).max() <= settings.jet_eta
    first, second = two_jets.feature("pt_j1"), two_jets.feature("pt_j2")
    assert (first >= second).all()
    assert second.min() >= settings.jet_pt
    angle, distance = two_jets.feature("dphi_jj"), two_jets.feature("deta_jj")
    assert 0 <= angle.min() <= angle.max() <= np.pi + 1e-6
    assert np.hypot(angle, distance).min() >= settings.jet_separation * (1 - 1e-6)
    eta = two_jets.feature("eta_j1"), two_jets.feature("eta_j2")
    np.testing.assert_allclose(distance, np.abs(eta[0] - eta[1]), atol=1e-5)
    mass = np.sqrt(2 * first * second * (np.cosh(distance) - np.cos(angle)))
    np.testing.assert_allclose(two_jets.feature("m_jj"), mass, rtol=3e-3)
    together = np.sqrt(first**2 + second**2 + 2 * first * second * np.cos(angle))
    np.testing.assert_allclose(two_jets.feature("pt_h"), together, rtol=1e-2, atol=0.05)


@pytest.mark.parametrize("process", ["hj", "hjj"])
def test_a_longer_run_begins_with_a_shorter_one(process):
    short, long = (generate(process, count, 5) for count in (BLOCK + 1000, BLOCK + 3000))
    kept = len(short)
    assert np.array_equal(long.number[:kept], short.number)
    assert np.array_equal(long.features[:kept], short.features)
    np.testing.assert_allclose(long.weights[:kept] * long.generated, short.weights * short.generated, rtol=1e-6)
    assert long.number[kept] >= short.generated
    assert short.number.max() < short.generated
    other = generate(process, 1000, 6)
    assert not np.array_equal(other.features[:500], short.features[:500])


def test_progress_is_reported():
    seen = []
    generate("hj", BLOCK + 1, 1, progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen == [("generating hj", BLOCK, BLOCK + 1), ("generating hj", BLOCK + 1, BLOCK + 1)]


def test_two_jet_totals(two_jets):
    """Independent prototype, 1.5 million events: 5.473(10) pb, 9.057 and 3.454 at half and twice the scale."""
    for couplings, expected in zip(COUPLINGS[:5], [5.473, 5.446, 5.424, 5.504, 5.382], strict=True):
        value, error = two_jets.cross_section(*couplings)
        assert error < 0.01 * value
        assert abs(value - expected) < 4 * np.hypot(error, 0.010)
    nominal = two_jets.cross_section(1, 0)[0]
    for index, expected in ((1, 9.057 / 5.473), (2, 3.454 / 5.473)):
        assert two_jets.cross_section(1, 0, index)[0] / nominal == pytest.approx(expected, rel=3e-3)


@pytest.mark.slow
def test_two_jet_spectrum_and_channels():
    """Bins of the Higgs boson's pT in pb, ratios to the Standard Model, and shares of the channels (heavy top)."""
    sample = generate("hjj", 300_000, 21)
    expected = [3.206, 1.769, 0.3710, 0.0892, 0.0327, 0.00442]
    ratios = {
        (0.8, 0.2): [0.990, 0.992, 1.012, 1.074, 1.188, 1.465],
        (0.6, 0.4): [0.980, 0.985, 1.026, 1.156, 1.403, 2.044],
        (1.2, -0.2): [1.010, 1.008, 0.991, 0.934, 0.840, 0.650],
        (0, 1): [0.950, 0.966, 1.083, 1.453, 2.213, 4.470],
    }
    edges = [0, 100, 200, 300, 400, 600, 1000]
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = between(sample, low, high, "pt_h")
        value, error = sample.cross_section(1, 0, where=inside)
        # The prototype's tail was not populated on purpose: about one, three and eight per cent.
        other = expected[index] * [0.003, 0.004, 0.01, 0.02, 0.03, 0.08][index]
        assert abs(value - expected[index]) < 4 * np.hypot(error, other)
        for couplings, values in ratios.items():
            found = sample.cross_section(*couplings, where=inside)[0] / value
            assert found == pytest.approx(values[index], rel=0.005 if high <= 400 else 0.03)
    shares, error = channel_shares(100_000)
    assert shares == pytest.approx([0.626, 0.172, 0.174, 0.006, 0.017, 0.005], abs=0.006)


def channel_shares(count):
    """Return the shares of the channels in the heavy-top cross section of h j j, and that in pb."""
    settings = GeneratorSettings()
    densities, coupling = PartonDensities.read(settings.pdf), StrongCoupling()
    points = sample_two_jets(np.random.default_rng(4).random((TWO_JET_NUMBERS, count)), settings.acceptance)
    points = points.select(points.weight > 0)
    scale = np.sqrt(points.jet_pt.prod(axis=0))
    luminosities = two_jet_luminosities(densities(points.x1, scale), densities(points.x2, scale))
    squares = two_jet_squares(points.momenta, settings.masses) * luminosities
    channels = (squares * coupling(scale) ** 4 * points.weight).sum(axis=1) / count
    return channels / channels.sum(), channels.sum()


@pytest.mark.slow
def test_central_scales_of_two_jets():
    """NNPDF31 NLO, |y| < 4.4: H_T'/2 gives 2.995(8) pb and m_h 3.596(12) in the heavy-top limit."""
    for scale, expected, theirs in (("half-ht", 2.995, 0.008), ("higgs-mass", 3.596, 0.012)):
        settings = GeneratorSettings(jet_eta=4.4, pdf=NLO, alpha_s_loops=2, scale=scale)
        value, error = generate("hjj", 80_000, 2, settings).cross_section(0, 1)
        assert abs(value - expected) < 4 * np.hypot(error, theirs)


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="unknown process 'hjjj', did you mean 'hjj'"):
        inspect.unwrap(generate)("hjjj", 10, 1)
    with pytest.raises(ConfigError, match=r"no jet reaches 6500 GeV .* choose less than 6499"):
        generate("hj", 100, 0, GeneratorSettings(jet_pt=6500))
    with pytest.raises(DataError, match="none of 100 points passes the cuts"):
        generate("hjj", 100, 0, GeneratorSettings(jet_pt=6450))
    with pytest.raises(ConfigError, match="events must be at least 1"):
        generate("hj", 0, 1)
    with pytest.raises(DataError, match="raise the jet threshold"):
        generate("hj", 100, 1, GeneratorSettings(jet_pt=2.0))
    with pytest.raises(DataError, match="were not found"):
        generate("hj", 100, 1, GeneratorSettings(pdf="no_such_set"))


def test_a_sample_is_made_once(tmp_path, monkeypatch):
    settings = GeneratorSettings(jet_pt=40.0)
    made = load_sample("hjj", 3000, 4, settings, tmp_path)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(_storage, "generate", lambda *a: pytest.fail("generated twice"))
    read = load_sample("hjj", 3000, 4, settings, tmp_path)
    assert read.settings == made.settings == settings
    assert (read.fingerprint, read.seed, read.generated) == (made.fingerprint, 4, 3000)
    for name in ("number", "features", "weights"):
        assert np.array_equal(getattr(read, name), getattr(made, name))
    assert read.cross_section(1, 0.3, 2) == made.cross_section(1, 0.3, 2)
    assert pq.read_schema(path).names == ["number", *FEATURES["hjj"], *WEIGHT_COLUMNS]


def test_other_settings_are_another_sample(tmp_path):
    base = {"process": "hj", "events": 500, "seed": 4, "settings": GeneratorSettings(), "folder": tmp_path}
    for change in ({}, {"events": 600}, {"seed": 5}, {"settings": GeneratorSettings(blend=0.3)}, {"process": "hjj"}):
        load_sample(**{**base, **change})
    assert len(list(tmp_path.iterdir())) == 5


def test_files_of_others_are_read(tmp_path, two_jets):
    """The columns are enough; every row counts as drawn."""
    path = tmp_path / "mine.parquet"
    small = dataclasses.replace(two_jets, **{n: getattr(two_jets, n)[:200] for n in ("number", "features", "weights")})
    write_sample(path, small)
    table = pq.read_table(path).replace_schema_metadata(None).drop_columns(["number"])
    pq.write_table(table, path)
    read = read_sample(path, "hjj")
    assert (read.settings, read.seed, read.generated) == (None, None, 200)
    assert np.array_equal(read.weights, small.weights)
    pq.write_table(table.drop_columns(["weight_tg_r1_f1"]), path)
    with pytest.raises(DataError, match="column 'weight_tg_r1_f1' is missing"):
        read_sample(path, "hjj")
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(DataError, match="holds no events"):
        read_sample(path, "hjj")


def test_a_file_of_another_process_is_an_error(tmp_path, one_jet):
    small = dataclasses.replace(one_jet, **{n: getattr(one_jet, n)[:20] for n in ("number", "features", "weights")})
    path = write_sample(tmp_path / "hj.parquet", small)
    with pytest.raises(DataError, match="holds events of hj, not of hjj"):
        read_sample(path, "hjj")


def test_names_of_scales():
    assert [scale_name(i) for i in range(4)] == ["r1_f1", "r05_f05", "r2_f2", "r1_f05"]
    assert len(set(WEIGHT_COLUMNS)) == len(WEIGHT_COLUMNS) == 3 * len(SCALES)


EVENT = """<event>
{count} 1 {weight:.10e} 1.25e+02 7.8e-03 1.1e-01
21 -1 0 0 101 102 0 0 {e1:.12e} {e1:.12e} 0 0 9
21 -1 0 0 102 103 0 0 -{e2:.12e} {e2:.12e} 0 0 9
25 1 1 2 0 0 {higgs} 125 0 9
{jets}
<rwgt>
{rwgt}
</rwgt>
</event>
"""
HEAD = """<LesHouchesEvents version="3.0">
<header><initrwgt><weightgroup name="all">{ids}</weightgroup></initrwgt></header>
<init>
2212 2212 6500 6500 0 0 0 0 -4 1
1 0.1 1 1
</init>
"""
HYPOTHESES = {
    CENTRAL_WEIGHT: Hypothesis(1, 0),
    "both": Hypothesis(1, 1),
    "gluon": Hypothesis(0, 1),
    "fourth": Hypothesis(0.6, 0.4),
    **{f"sm_{index}": Hypothesis(1, 0, SCALES[index]) for index in range(1, len(SCALES))},
}


def write_lhe(path, points, coefficients):
    """Write h j j points with weights of `HYPOTHESES`; scales multiply by their index + 1."""
    ids = "".join(f'<weight id="{name}">x</weight>' for name in HYPOTHESES if name != CENTRAL_WEIGHT)
    text = [HEAD.format(ids=ids)]
    for momenta, weights in zip(points, coefficients, strict=True):
        p1, p2, p3, p4 = momenta
        h = p1 + p2 - p3 - p4
        line = "{:.12e} {:.12e} {:.12e} {:.12e}"
        jets = [f"21 1 1 2 101 103 {line.format(*p[1:], p[0])} 0 0 9" for p in (p3, p4)]
        values = {
            name: quadratic(weights, x.c_t, x.c_g) * (SCALES.index(x.scale) + 1) for name, x in HYPOTHESES.items()
        }
        rwgt = [f'<wgt id="{n}">{v:.10e}</wgt>' for n, v in values.items() if n != CENTRAL_WEIGHT]
        text.append(
            EVENT.format(
                count=5,
                weight=values[CENTRAL_WEIGHT],
                e1=p1[0],
                e2=p2[0],
                higgs=line.format(*h[1:], h[0]),
                jets="\n".join(jets),
                rwgt="\n".join(rwgt),
            )
        )
    path.write_text("".join(text) + "</LesHouchesEvents>\n", encoding="ascii")


@pytest.fixture
def event_file(tmp_path):
    points = sample_two_jets(np.random.default_rng(8).random((TWO_JET_NUMBERS, 40)), GeneratorSettings().acceptance)
    points = points.select(points.weight > 0)
    coefficients = np.random.default_rng(9).random((len(points.weight), 3)) + 0.1
    write_lhe(tmp_path / "events.lhe", points.momenta, coefficients)
    return tmp_path / "events.lhe", points, coefficients


def test_les_houches_events_are_read(event_file):
    pytest.importorskip("pylhe", reason="Les Houches event files are read by pylhe")
    path, points, coefficients = event_file
    sample = read_lhe(path, "hjj", HYPOTHESES)
    count = len(coefficients)
    for scale in range(len(SCALES)):
        assert sample.weights[:, scale] * count == pytest.approx(coefficients * (scale + 1), rel=1e-5)
    assert sample.cross_section(1, 0)[0] == pytest.approx(coefficients[:, 0].mean(), rel=1e-5)
    assert sample.feature("pt_h") == pytest.approx(points.higgs_pt, rel=1e-5)
    assert sample.feature("dphi_jj") == pytest.approx(np.abs(points.angle), abs=1e-5)
    assert sample.feature("pt_j1") == pytest.approx(points.jet_pt.max(axis=0), rel=1e-5)
    assert sample.feature("deta_jj") == pytest.approx(np.abs(np.diff(points.jet_rapidity, axis=0)[0]), abs=1e-4)
    total = read_lhe(path, "hjj", HYPOTHESES, normalisation="sum")
    assert total.cross_section(1, 0)[0] == pytest.approx(coefficients[:, 0].sum(), rel=1e-5)
    with pytest.raises(DataError, match="2 final partons, 1 are meant"):
        read_lhe(path, "hj", HYPOTHESES)
    with pytest.raises(DataError, match="has no weight 'missing'"):
        read_lhe(path, "hjj", {**HYPOTHESES, "missing": Hypothesis(2, 0)})
    path.write_text(path.read_text(encoding="ascii")[:3000], encoding="ascii")
    with pytest.raises(DataError, match="cannot be read as Les Houches events"):
        read_lhe(path, "hjj", HYPOTHESES)


def test_the_case_reads_les_houches_events(event_file):
    pytest.importorskip("pylhe", reason="Les Houches event files are read by pylhe")
    path, _, coefficients = event_file
    weights = {name: (h.c_t, h.c_g, *h.scale) for name, h in HYPOTHESES.items()}
    settings = HiggsJetsSettings(process="hjj", sample=str(path), sample_weights=weights)
    table = HiggsJets(settings).load(0)
    per_picobarn = settings.luminosity * 1e3 * settings.efficiency
    assert table.weights == pytest.approx(coefficients / len(coefficients) * per_picobarn, rel=1e-5)
    with pytest.raises(ConfigError, match=r"case\.sample_weights: say what the weights of .*events\.lhe stand for"):
        HiggsJets(HiggsJetsSettings(process="hjj", sample=str(path))).load(0)


def test_hypotheses_must_determine_the_coefficients(event_file):
    path = event_file[0]
    with pytest.raises(ConfigError, match="do not determine"):
        read_lhe(path, "hjj", {"a": Hypothesis(1, 0), "b": Hypothesis(2, 0), "c": Hypothesis(0, 1)})
    with pytest.raises(ConfigError, match=r"no weight at scale .* = \(0\.5, 0\.5\)"):
        read_lhe(path, "hjj", {name: HYPOTHESES[name] for name in (CENTRAL_WEIGHT, "both", "gluon")})
    with pytest.raises(ConfigError, match="weight 'odd': scale"):
        read_lhe(path, "hjj", {**HYPOTHESES, "odd": Hypothesis(1, 0, (3.0, 1.0))})


def test_the_missing_package_is_named(event_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pylhe", None)
    with pytest.raises(ConfigError, match=r"\.\[lhe\]"):
        read_lhe(event_file[0], "hjj", HYPOTHESES)
