"""Hypotheses told from each other: against counting formulas, brute force, and pseudo-experiments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from significance_tables import POWERS, SCALES, STANDARD_MODEL, question, scale_anchors, systematics, table
from systwise.errors import ConfigError, TemplateError
from systwise.parameters import Components, CorrelatedGaussian, GaussianConstraint, Normalisation, Nuisance
from systwise.study import Hypotheses, RegionTable, SignificanceResults, SignificanceSettings, significance_study
from systwise.study.significance._classifiers import binned_auc
from systwise.study.significance._hypothesis_tests import (
    HypothesisTests,
    Systematics,
    counting_nll,
    root,
    signed_root,
)
from systwise.study.significance._region_table import Anchors
from systwise.study.significance._study import wrong_values

ALTERNATIVE = (0.8, 0.2)


def rate_only(events: float, scale: float = 0.3, interference: float = 2.2) -> RegionTable:
    """One bin whose rate goes like exp(-scale z); the alternative (0.8, 0.2) differs from the blind rate by `tg`."""
    z = np.array([0.0, *(value for value in SCALES if value != 0)])
    parts = np.array([1.0, interference, 1.0])
    rates = np.exp(-scale * z)[:, None] * parts
    return RegionTable(
        name="hj",
        component_names=("tt", "tg", "gg"),
        powers=POWERS,
        sample_values=np.array([10.0]),
        variations=tuple(f"scale = {value:g}" for value in z),
        counts=events * rates[None, :, :, None],
        rates=10 * rates,
        anchors=(scale_anchors(SCALES),),
    )


def at_luminosity(region: RegionTable, factor: float) -> RegionTable:
    """Return the table with more events; its rates belong to the sample."""
    return dataclasses.replace(region, counts=factor * region.counts)


def likelihoods(*regions: RegionTable, told: str = "sample") -> HypothesisTests:
    return HypothesisTests(regions, systematics(), STANDARD_MODEL, told)


def q_of(tests: HypothesisTests, theta: tuple[float, ...], treatment: str) -> float:
    """Return q of a wrong hypothesis for Asimov data of the reference."""
    minima = tests.lowest(theta, tests.counts(tests.reference)[None], treatment)
    assert minima.converged[0]
    return float(2 * minima.nll[0])


def test_one_bin_is_the_counting_formula() -> None:
    tests = likelihoods(rate_only(400.0))
    n, nu = tests.counts(STANDARD_MODEL)[0], tests.counts(ALTERNATIVE)[0]
    assert n == pytest.approx(400.0)
    assert nu == pytest.approx(400 * (0.64 + 0.16 * 2.2 + 0.04))
    assert q_of(tests, ALTERNATIVE, "fixed") == pytest.approx(2 * (nu - n + n * np.log(n / nu)), rel=1e-12)
    # The reverse: data of the alternative against the standard model.
    reverse = tests.lowest(STANDARD_MODEL, np.array([[nu]]), "fixed")
    assert 2 * reverse.nll[0] == pytest.approx(2 * (n - nu + nu * np.log(nu / n)), rel=1e-12)
    # Shapes know nothing of a rate.
    assert q_of(tests, ALTERNATIVE, "shape") == pytest.approx(0.0, abs=1e-12)


def test_empty_bins_agree_with_nothing_expected() -> None:
    values = counting_nll(np.array([0.0, 5.0]), np.array([[0.0, 5.0], [1.0, 5.0]]))
    assert values[0] == 0.0
    assert np.isinf(values[1])


def test_gaussian_limit_of_the_profiled_significance() -> None:
    """For a small difference and many events q = (nu_1 - nu_0)^2 / (nu + (d nu / d z)^2)."""
    small, scale = 2.0005, 0.002
    tests = likelihoods(rate_only(1e6, scale, small))
    n, nu = tests.counts(STANDARD_MODEL)[0], tests.counts((0.5, 0.5))[0]
    wanted = (nu - n) ** 2 / (nu + (scale * nu) ** 2)
    assert q_of(tests, (0.5, 0.5), "profiled") == pytest.approx(wanted, rel=2e-3)
    assert q_of(tests, (0.5, 0.5), "fixed") == pytest.approx((nu - n) ** 2 / nu, rel=2e-3)


def test_more_luminosity_does_not_shrink_the_rate_uncertainty() -> None:
    """The rate belongs to the sample: profiled, an excess saturates at its pull; with statistics only it does not."""
    low = rate_only(300.0, 0.3, 3.5)
    fixed, profiled = [], []
    for luminosity in (1.0, 10.0, 100.0, 1000.0):
        tests = likelihoods(at_luminosity(low, luminosity))
        fixed.append(np.sqrt(q_of(tests, ALTERNATIVE, "fixed")))
        profiled.append(np.sqrt(q_of(tests, ALTERNATIVE, "profiled")))
    np.testing.assert_allclose(np.divide(fixed[1:], fixed[:-1]), np.sqrt(10), rtol=1e-9)
    # At infinite luminosity z makes the rates equal: exp(-0.3 z) times the excess is 1.
    pull = np.log(0.64 + 0.16 * 3.5 + 0.04) / 0.3
    assert profiled == sorted(profiled)
    assert profiled[-1] == pytest.approx(pull, rel=2e-3)
    assert profiled[2] / profiled[1] < 1.02
    # The same number of events in a hundred bins instead of one knows no more of it.
    many = dataclasses.replace(low, counts=np.repeat(low.counts, 10, axis=3) / 10)
    assert q_of(likelihoods(many), ALTERNATIVE, "profiled") == pytest.approx(
        q_of(likelihoods(low), ALTERNATIVE, "profiled"), rel=1e-6
    )


def brute_force(tests: HypothesisTests, theta: tuple[float, float], counts: np.ndarray) -> float:
    """Return the lowest NLL over a fine scan of one scale, without the fit room."""
    z = np.linspace(-3, 3, 60_001)
    total = 0.5 * z**2
    parts = np.split(counts, np.cumsum([t.bins for t in tests.tables])[:-1])
    for part, region in zip(parts, tests.tables, strict=True):
        (scale,) = region.anchors
        templates = region.contents(theta, scale.variations)[:, 0]
        nu = CubicSpline(scale.values, np.sqrt(templates), axis=0)(z) ** 2
        total = total + np.sum(nu - part + part * np.log(part / nu), axis=1)
    return float(total.min())


@pytest.mark.parametrize("wrong", [{}, {"at": {"scale": 1.0}}, {"variation": "muR x1, muF x2"}])
def test_profiled_minima_agree_with_a_scan(wrong: dict) -> None:
    tests = likelihoods(table("hj"), table("hjj"))
    counts = tests.counts(STANDARD_MODEL, **wrong)
    for theta in ((0.6, 0.4), (1.2, -0.2), (0.97, 0.0), STANDARD_MODEL):
        found = tests.lowest(theta, counts[None], "profiled")
        assert found.converged[0]
        assert found.nll[0] == pytest.approx(brute_force(tests, theta, counts), rel=1e-6, abs=1e-5)


@pytest.mark.slow
def test_independent_regions_add() -> None:
    hj, hjj = table("hj"), table("hjj")
    both, parts = likelihoods(hj, hjj), (likelihoods(hj), likelihoods(hjj))
    for treatment, alone in (("fixed", "fixed"), ("shape", "shape"), ("uncorrelated", "profiled")):
        wanted = sum(q_of(part, ALTERNATIVE, alone) for part in parts)
        assert q_of(both, ALTERNATIVE, treatment) == pytest.approx(wanted, rel=1e-6)
    # One scale for both cannot adapt better than one for each.
    assert q_of(both, ALTERNATIVE, "profiled") >= q_of(both, ALTERNATIVE, "uncorrelated") - 1e-6
    assert q_of(both, ALTERNATIVE, "profiled") <= q_of(both, ALTERNATIVE, "fixed") + 1e-6


@pytest.mark.slow
def test_a_hypothesis_agrees_with_its_own_data_at_any_scale() -> None:
    tests = likelihoods(table("hj"))
    for z in (-1.0, 0.3, 1.0):
        minima = tests.lowest(ALTERNATIVE, tests.counts(ALTERNATIVE, at={"scale": z})[None], "profiled")
        # No better than the truth, whose pull costs z^2 / 2, and close to it: h j measures its rate to 1 %.
        assert minima.nll[0] <= 0.5 * z**2 + 1e-9
        assert minima.preferred(0)["scale"] == pytest.approx(z, abs=0.05)


def test_wrong_scales_and_signs() -> None:
    tests = likelihoods(table("hj"))
    up = tests.counts(STANDARD_MODEL, at={"scale": -1.0})
    nlls = {theta: tests.lowest(theta, up[None], "fixed").nll[0] for theta in (STANDARD_MODEL, (1.2, 0.0))}
    # Half the scale gives 41 % more events, which (1.2, 0) with 44 % more explains and the standard model does not.
    assert signed_root(2 * np.array([nlls[STANDARD_MODEL] - nlls[1.2, 0.0]]))[0] > 10
    profiled = {theta: tests.lowest(theta, up[None], "profiled").nll[0] for theta in nlls}
    assert abs(profiled[STANDARD_MODEL] - profiled[1.2, 0.0]) < 20
    assert np.isnan(root(np.array([-1.0]))[0])
    # Between anchors the data follow the morph.
    half, between = (tests.counts(STANDARD_MODEL, at={"scale": z}) for z in (0.5, 0.25))
    assert np.all((between < tests.counts(STANDARD_MODEL)) & (between > half))
    # At an anchor they are the tabulated ones.
    np.testing.assert_allclose(half, tests.counts(STANDARD_MODEL, "scale = 0.5"), rtol=1e-9)


def test_a_told_cross_section_is_one_number_and_no_information() -> None:
    """A score that only repeats what it is told: told each hypothesis' own, it seems to know; told one, it does not."""
    plain = rate_only(300.0, 0.3, 3.5)
    s = np.geomspace(2.0, 80.0, 21)
    share = 1 / (1 + (10 / s))
    split = np.stack([1 - share, share], axis=-1)[:, None, None, :]
    told = dataclasses.replace(plain, sample_values=s, counts=plain.counts * split)
    without = q_of(likelihoods(plain), ALTERNATIVE, "profiled")
    assert q_of(likelihoods(told, told="nominal"), ALTERNATIVE, "profiled") == pytest.approx(without, rel=1e-6)
    assert q_of(likelihoods(told, told="nominal"), ALTERNATIVE, "shape") == pytest.approx(0.0, abs=1e-9)
    own = [q_of(likelihoods(at_luminosity(told, x)), ALTERNATIVE, "shape") for x in (1.0, 10.0)]
    assert own[1] == pytest.approx(10 * own[0], rel=1e-9)
    assert own[0] > 1
    # Profiled, the scale aligns both the rate and the told number: the pull is all that is left.
    grown = likelihoods(at_luminosity(told, 1e4))
    assert np.sqrt(q_of(grown, ALTERNATIVE, "profiled")) == pytest.approx(np.log(1.24) / 0.3, rel=1e-2)


def test_pseudo_experiments_confirm_the_asimov_median() -> None:
    tests = likelihoods(table("hj", events_a_fb=1.0))
    q = tests.toys((0.7, 0.3), "profiled", seed=3, count=600)
    assert len(q) == 600
    asimov = q_of(tests, (0.7, 0.3), "profiled")
    # Wald: q is Gaussian around its Asimov value with variance 4 q; the median of n has 1.2533 of the mean's error.
    error = 1.2533 * 2 * np.sqrt(asimov / len(q))
    assert abs(np.median(q) - asimov) < 4 * error
    np.testing.assert_array_equal(q, tests.toys((0.7, 0.3), "profiled", seed=3, count=600))


def test_areas_under_the_curve() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.normal(0.5, 1, 2000), draw.normal(0, 1, 2000)
    edges = np.linspace(-6, 6, 2001)
    area = binned_auc(np.histogram(a, edges)[0].astype(float), np.histogram(b, edges)[0].astype(float))
    assert area == pytest.approx(np.mean(a[:, None] > b[None]), abs=1e-3)


SMALL = {"offsets": (0.0, 0.05), "grid": 3, "across_grid": 5, "toys": 60}


@pytest.fixture(scope="module")
def found() -> SignificanceResults:
    tables = {
        "nominal": {"hj": table("hj"), "hjj": table("hjj")},
        "adversarial@3": {"hj": table("hj", blur=0.05), "hjj": table("hjj", blur=0.05)},
    }
    strengths = {"nominal": 0.0, "adversarial@3": 3.0}
    return significance_study(tables, question(**SMALL), seed=2, strengths=strengths)


@pytest.mark.slow
def test_the_study_covers_points_regions_and_treatments(found: SignificanceResults) -> None:
    # 5 points (the reference is left out of 6), 3 + 3 + 4 treatments, 2 kinds of data, 2 strategies.
    assert len(found.significances) == 5 * 10 * 2 * 2
    assert all(r.converged and r.z is not None and r.seed == 2 for r in found.significances)
    # Faked: the 2 points on the line, 2 wrong scales and 2 hold-outs.
    assert len(found.fakes) == 2 * 10 * 4 * 2
    assert sum(f.holdout for f in found.fakes) == len(found.fakes) / 2
    assert len(found.planes) == 2 * 3 * 2
    assert {tuple(r.regions) for r in found.significances} == {("hj",), ("hjj",), ("hj", "hjj")}
    assert {(r.step, r.offset, *r.point.values()) for r in found.significances} == {
        (-0.2, 0.0, 1.2, -0.2),
        (0.2, 0.0, 0.8, 0.2),
        (-0.2, 0.05, 1.25, -0.2),
        (0.0, 0.05, 1.05, 0.0),
        (0.2, 0.05, 0.85, 0.2),
    }
    here = {
        (r.strategy, r.nuisances, r.data): r
        for r in found.significances
        if r.regions == ["hj", "hjj"] and r.point == {"c_t": 0.8, "c_g": 0.2}
    }
    z = {key: record.z for key, record in here.items()}
    tests = likelihoods(table("hj"), table("hjj"), told="nominal")
    assert z["nominal", "profiled", "reference"] == pytest.approx(
        np.sqrt(q_of(tests, (0.8, 0.2), "profiled")), rel=1e-6
    )
    reverse = tests.lowest(STANDARD_MODEL, tests.counts((0.8, 0.2))[None], "profiled")
    assert z["nominal", "profiled", "alternative"] == pytest.approx(np.sqrt(2 * reverse.nll[0]), rel=1e-6)
    for data in ("reference", "alternative"):
        assert z["adversarial@3", "profiled", data] < z["nominal", "profiled", data]
        assert z["nominal", "uncorrelated", data] <= z["nominal", "profiled", data]
        assert z["nominal", "profiled", data] <= z["nominal", "fixed", data]
    assert set(here["nominal", "profiled", "reference"].preferred) == {"scale"}
    assert set(here["nominal", "uncorrelated", "reference"].preferred) == {"scale hj", "scale hjj"}
    assert here["nominal", "fixed", "reference"].preferred == {}


@pytest.mark.slow
def test_faked_significances_are_differences_of_minima(found: SignificanceResults) -> None:
    tests = likelihoods(table("hjj"))
    data = tests.counts(STANDARD_MODEL, "muR x1, muF x2")[None]
    for treatment in ("fixed", "shape", "profiled"):
        nlls = [tests.lowest(theta, data, treatment).nll[0] for theta in (STANDARD_MODEL, (0.8, 0.2))]
        wanted = signed_root(2 * np.array([nlls[0] - nlls[1]]))[0]
        (record,) = (
            f
            for f in found.fakes
            if (f.strategy, f.regions, f.nuisances) == ("nominal", ["hjj"], treatment)
            if (f.variation, f.point["c_g"]) == ("muR x1, muF x2", 0.2)
        )
        assert record.z == pytest.approx(wanted, rel=1e-5)
        assert record.holdout
    assert {f.variation for f in found.fakes if not f.holdout} == {"scale = -1", "scale = 0.5"}


@pytest.mark.slow
def test_planes_checks_and_curves(found: SignificanceResults) -> None:
    plane = next(p for p in found.planes if p.regions == ("hj", "hjj") and p.nuisances == "profiled")
    assert plane.z.shape == (5, 3)
    # The reference is in the middle, the valley along the line.
    assert plane.z[2, 1] == pytest.approx(0.0, abs=1e-3)
    assert np.all(plane.z[2] <= plane.z[0])
    assert np.all(plane.z[2] <= plane.z[4])
    np.testing.assert_allclose(plane.theta[2, :, 0], 1 - plane.theta[2, :, 1])
    for check in found.toys:
        assert check.toys == 60
        assert abs(check.median - check.asimov) < 5 * check.median_error
    assert [c.regions for c in found.trade_offs] == [("hj",), ("hjj",), ("hj", "hjj")]
    for curve in found.trade_offs:
        np.testing.assert_array_equal(curve.strength, [0.0, 3.0])
        assert curve.profiled[1] < curve.profiled[0]
        assert np.isfinite(curve.fake).all()
    for record in found.classifiers:
        assert 0.5 < record.auc < 0.6
        assert 0 < record.ks < record.rate
        assert record.ks_holdout > 0
        assert record.told == "nothing"


def test_points_that_cannot_be_tested_are_said() -> None:
    told = table("hj", told=np.geomspace(3.0, 40.0, 7))
    one = {"steps": (0.2,), "offsets": (0.0, 0.9), "toys": 0, "told": "sample"}
    result = significance_study({"nominal": {"hj": told}}, question(("hj",), **one))
    lost = [r for r in result.significances if r.z is None]
    assert {r.offset for r in lost} == {0.9}
    assert all("lies outside the tabulated" in r.verdict and not r.converged for r in lost)
    assert not result.planes
    with pytest.raises(ConfigError, match="no point could be tested in hj"):
        significance_study({"nominal": {"hj": told}}, question(("hj",), **one | {"direction": {"c_t": 9.0}}))


def test_inputs_that_do_not_fit_are_refused() -> None:
    hj, hjj = table("hj"), table("hjj", scales=(-3.0, 0.0, 3.0))
    with pytest.raises(ConfigError, match="the same anchors"):
        likelihoods(hj, hjj)
    with pytest.raises(ConfigError, match="strategies have different regions"):
        significance_study({"a": {"hj": hj}, "b": {"hjj": table("hjj")}}, question())
    with pytest.raises(ConfigError, match="there are no histograms"):
        significance_study({}, question())
    empty = dataclasses.replace(hj, counts=np.where(np.arange(hj.bins) == 4, 0.0, hj.counts))
    with pytest.raises(TemplateError, match="nothing is expected in bin 4"):
        likelihoods(empty).model(STANDARD_MODEL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"offsets": (0.1,)}, "no tested point lies on the line"),
        ({"direction": {"c_t": 0.0}}, "which is no line"),
        ({"offsets": (0.0, 0.1), "across": None}, "name the parameter"),
        ({"direction": {"c_x": 1.0}}, r"significance.direction: 'c_x' is no parameter of interest \(known: c_t, c_g\)"),
        ({"across": "mu"}, "significance.across: 'mu' is no"),
        ({"points": ({"mu": 0.0},)}, "significance.points.0: 'mu' is no"),
    ],
)
def test_hypotheses_that_make_no_sense_are_refused(settings: dict, said: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=said):
        question(**settings)


@pytest.mark.slow
def test_the_study_says_what_the_reference_expects(found: SignificanceResults) -> None:
    hj = table("hj")
    record = found.regions[0]
    assert [r.region for r in found.regions] == ["hj", "hjj"]
    assert record.point == {"c_t": 1.0, "c_g": 0.0}
    assert record.sample == {"sigma": 11.0}
    assert record.events == pytest.approx(hj.expected(STANDARD_MODEL).sum())
    assert record.blind_slope == hj.blind_slope(STANDARD_MODEL)
    low, high = record.effects["scale"]
    assert low > 0 > high
    assert low == pytest.approx(hj.expected(STANDARD_MODEL, "scale = -1").sum() / record.events - 1)


def counting(name: str, signal: float, background: float, jes: float) -> RegionTable:
    """One bin with signal and background, of which the latter goes like 1 + jes z."""
    counts = np.array([[signal, background], [signal, background * (1 - jes)], [signal, background * (1 + jes)]])
    return RegionTable(
        name=name,
        component_names=("signal", "background"),
        powers=((1,), (0,)),
        sample_values=np.array([1.0]),
        variations=("nominal", "jes = -1", "jes = 1"),
        counts=counts[None, :, :, None],
        rates=counts,
        anchors=(Anchors("jes", (-1.0, 0.0, 1.0), (1, 0, 2)),),
    )


def nominal_only(region: RegionTable) -> RegionTable:
    """Return the table without nuisances."""
    nominal = {"counts": region.counts[:, :1], "rates": region.rates[:1], "variations": ("nominal",)}
    return dataclasses.replace(region, anchors=(), **nominal)


def counting_systematics(background: float = 0.1) -> Systematics:
    nuisances = (
        Nuisance("jes", 0.0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0)),
        Nuisance("norm", 1.0, (0.5, 1.5), (0.9, 1.1), (0.5, 1.5), kind="norm"),
    )
    constraints = (GaussianConstraint("jes", 1.0), GaussianConstraint("norm", background))
    return Systematics(nuisances, constraints, (Normalisation("norm", ("background",)),))


def test_discovery_with_a_shape_and_a_norm_nuisance_is_the_gaussian_formula() -> None:
    """Signal 60 on 10,000: sqrt(q) of mu = 1 data against mu = 0 is s / sqrt(n + (jes b)^2 + (norm b)^2), to 1 %."""
    signal, background = 60.0, 10_000.0
    region = counting("SR", signal, background, 0.004)
    tests = HypothesisTests((region,), counting_systematics(0.003), (1.0,))
    total = background + (0.004 * background) ** 2 + (0.003 * background) ** 2
    assert np.sqrt(q_of(tests, (0.0,), "profiled")) == pytest.approx(signal / np.sqrt(total), rel=1e-2)
    assert np.sqrt(q_of(tests, (0.0,), "fixed")) == pytest.approx(signal / np.sqrt(background + signal), rel=1e-2)
    # Without nuisances there is nothing to profile.
    bare = nominal_only(region)
    known = HypothesisTests((bare,), Systematics((), ()), (1.0,))
    assert q_of(known, (0.0,), "profiled") == q_of(known, (0.0,), "fixed")


def test_a_control_region_constrains_a_free_factor() -> None:
    """Background known from a control region of 4 times as many events: its variance is that of the control count."""
    signal, background = 60.0, 10_000.0
    free = Systematics(
        (Nuisance("norm", 1.0, (0.5, 1.5), (0.9, 1.1), (0.5, 1.5), kind="norm"),),
        (),
        (Normalisation("norm", ("background",)),),
    )

    regions = [nominal_only(counting("SR", signal, background, 0.0)), nominal_only(counting("CR", 0.0, 40_000.0, 0.0))]
    tests = HypothesisTests(tuple(regions), free, (1.0,))
    wanted = signal / np.sqrt(background + background / 4)
    assert np.sqrt(q_of(tests, (0.0,), "profiled")) == pytest.approx(wanted, rel=1e-2)


def test_a_factor_that_acts_elsewhere_is_left_out() -> None:
    regions = (counting("SR", 60.0, 10_000.0, 0.004), counting("CR", 0.0, 40_000.0, 0.004))
    known = counting_systematics(0.003)
    only = dataclasses.replace(known, normalisations=(Normalisation("norm", ("background",), regions=("CR",)),))
    free = dataclasses.replace(only, constraints=only.constraints[:1])
    alone = [HypothesisTests(regions[:1], systematics, (1.0,)) for systematics in (only, free)]
    assert [[n.name for n in tests.model((1.0,)).nuisances] for tests in alone] == [["jes"], ["jes"]]
    wanted = 60.0 / np.sqrt(10_000 + 40.0**2)
    assert np.sqrt(q_of(alone[1], (0.0,), "profiled")) == pytest.approx(wanted, rel=1e-2)
    # Its wrong value changes nothing where it does not act.
    np.testing.assert_allclose(alone[0].counts((1.0,), at={"norm": 1.1}), alone[0].counts((1.0,)), rtol=1e-9)
    both = HypothesisTests(regions, only, (1.0,))
    assert both.counts((1.0,), at={"norm": 1.1}) == pytest.approx([10_060.0, 44_000.0])
    names = [nuisance.name for nuisance in both.model((1.0,), "uncorrelated").nuisances]
    assert names == ["jes SR", "jes CR", "norm CR"]
    # Known together with another one it stays, without a correlation for nothing.
    joint = CorrelatedGaussian(["jes", "norm"], np.diag([1.0, 0.003**2]))
    known = HypothesisTests(regions[:1], dataclasses.replace(only, constraints=(joint,)), (1.0,))
    assert [n.name for n in known.model((1.0,)).nuisances] == ["jes", "norm"]
    assert np.sqrt(q_of(known, (0.0,), "profiled")) == pytest.approx(wanted, rel=1e-2)


def test_each_region_s_own_nuisances_act_there_only() -> None:
    regions = (counting("SR", 60.0, 10_000.0, 0.004), counting("CR", 0.0, 40_000.0, 0.004))
    tests = HypothesisTests(regions, counting_systematics(0.003), (1.0,))
    assert tests.treatments == ("fixed", "shape", "profiled", "uncorrelated")
    names = [nuisance.name for nuisance in tests.model((1.0,), "uncorrelated").nuisances]
    assert names == ["jes SR", "jes CR", "norm SR", "norm CR"]
    alone = HypothesisTests(regions[:1], counting_systematics(0.003), (1.0,))
    assert q_of(tests, (0.0,), "uncorrelated") == pytest.approx(q_of(alone, (0.0,), "profiled"), rel=1e-5)
    # Shared, the control region halves their variance: 40,000 events know 0.5 %, as the nuisances together do.
    shared = 60.0**2 / (10_000 + 1 / (1 / 50.0**2 + 1 / 50.0**2))
    assert q_of(tests, (0.0,), "profiled") == pytest.approx(shared, rel=2e-2)
    together = dataclasses.replace(
        counting_systematics(),
        constraints=(CorrelatedGaussian(["jes", "norm"], np.array([[1.0, 0.01], [0.01, 0.01]])),),
    )
    assert HypothesisTests(regions, together, (1.0,)).treatments == ("fixed", "shape", "profiled")


def test_single_points_of_one_parameter() -> None:
    settings = SignificanceSettings(points=({"mu": 0.0}, {"mu": 2.0}, {"mu": 1.0}, {"mu": 0.0}))
    components = Components(("signal", "background"), ("mu",), ((1,), (0,)), (1.0,), ((-5.0, 5.0),))
    hypotheses = Hypotheses(settings, components)
    # The reference is not tested against itself, nor a point twice.
    assert [(row.step, row.theta) for row in hypotheses.tested()] == [(None, (0.0,)), (None, (2.0,))]
    assert not SignificanceSettings().active
    assert settings.active
    with pytest.raises(ConfigError, match="a plane needs two parameters of interest, not mu alone"):
        Hypotheses(SignificanceSettings(direction={"mu": 1}, steps=(1,), across="mu", grid=3), components)


def test_wrong_values_are_standard_deviations_within_the_range() -> None:
    nuisances = [Nuisance("tes", nominal=1.0, width=0.03), Nuisance("free", 1.0, (0.0, 2.0), (0.5, 1.5), (0.0, 2.0))]
    # Nine widths are outside of what a fit may reach; nothing says what is wrong for a free parameter.
    assert wrong_values(nuisances, {"tes": 0.03}, (-1.0, 0.0, 0.5, 9.0)) == {"tes": (0.97, 1.015)}
