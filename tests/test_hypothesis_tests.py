"""Significances of couplings: against counting formulas, brute force, and pseudo-experiments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from significance_tables import POWERS, table
from systwise.errors import ConfigError, TemplateError
from systwise.study._channels import ChannelTable
from systwise.study._hypothesis_tests import (
    STANDARD_MODEL,
    HypothesisTests,
    counting_nll,
    root,
    signed_root,
    widened,
)
from systwise.study._significance import SignificanceResults, significance_study
from systwise.study._significance_settings import SignificanceSettings
from systwise.study._trade_off import binned_auc

ALTERNATIVE = (0.8, 0.2)


def rate_only(events: float, scale: float = 0.3, interference: float = 2.2) -> ChannelTable:
    """One bin whose rate goes like exp(-scale z); the alternative (0.8, 0.2) differs from the blind rate by `tg`."""
    z = (-1.0, -0.5, 0.0, 0.5, 1.0)
    parts = np.array([1.0, interference, 1.0])
    counts = (events * np.exp(-scale * np.array(z))[:, None] * parts)[None, :, :, None]
    return ChannelTable(
        name="hj",
        component_names=("tt", "tg", "gg"),
        powers=POWERS,
        s_values=np.array([10.0]),
        variations=tuple(f"z = {value:g}" for value in z),
        counts=counts,
        variances=1e-6 * counts,
        cross_sections=np.exp(-scale * np.array(z))[:, None] * parts * 10,
        anchor_z=z,
        anchor_index=(0, 1, 2, 3, 4),
    )


def likelihoods(*channels: ChannelTable, told: str = "sample") -> HypothesisTests:
    return HypothesisTests(channels, told=told)


def q_of(tests: HypothesisTests, theta: tuple[float, float], scale: str) -> float:
    """Return q of a wrong hypothesis for Asimov data of the standard model."""
    minima = tests.lowest(theta, tests.counts(STANDARD_MODEL)[None], scale)
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
        tests = likelihoods(low.with_luminosity(luminosity))
        fixed.append(np.sqrt(q_of(tests, ALTERNATIVE, "fixed")))
        profiled.append(np.sqrt(q_of(tests, ALTERNATIVE, "profiled")))
    np.testing.assert_allclose(np.divide(fixed[1:], fixed[:-1]), np.sqrt(10), rtol=1e-9)
    # At infinite luminosity z makes the rates equal: exp(-0.3 z) times the excess is 1.
    pull = np.log(0.64 + 0.16 * 3.5 + 0.04) / 0.3
    assert profiled == sorted(profiled)
    assert profiled[-1] == pytest.approx(pull, rel=2e-3)
    assert profiled[2] / profiled[1] < 1.02
    # The same number of events in a hundred bins instead of one knows no more of it.
    many = dataclasses.replace(
        low, counts=np.repeat(low.counts, 10, axis=3) / 10, variances=np.repeat(low.variances, 10, axis=3) / 10
    )
    assert q_of(likelihoods(many), ALTERNATIVE, "profiled") == pytest.approx(
        q_of(likelihoods(low), ALTERNATIVE, "profiled"), rel=1e-6
    )


def brute_force(tests: HypothesisTests, theta: tuple[float, float], counts: np.ndarray) -> float:
    """Return the lowest NLL over a fine scan of one scale, without the fit room."""
    z = np.linspace(-3, 3, 60_001)
    total = 0.5 * z**2
    parts = np.split(counts, np.cumsum([t.bins for t in tests.channels])[:-1])
    for part, channel in zip(parts, tests.channels, strict=True):
        anchors, templates = widened(channel.anchor_z, channel.templates(theta), tests.reach)
        nu = CubicSpline(anchors, np.sqrt(templates), axis=0)(z) ** 2
        total = total + np.sum(nu - part + part * np.log(part / nu), axis=1)
    return float(total.min())


@pytest.mark.parametrize("wrong", [0.0, 1.0, "muR x1, muF x2"])
def test_profiled_minima_agree_with_a_scan(wrong: str | float) -> None:
    tests = likelihoods(table("hj"), table("hjj"))
    counts = tests.counts(STANDARD_MODEL, wrong)
    for theta in ((0.6, 0.4), (1.2, -0.2), (0.97, 0.0), STANDARD_MODEL):
        found = tests.lowest(theta, counts[None], "profiled")
        assert found.converged[0]
        assert found.nll[0] == pytest.approx(brute_force(tests, theta, counts), rel=1e-6, abs=1e-5)


@pytest.mark.slow
def test_independent_channels_add() -> None:
    hj, hjj = table("hj"), table("hjj")
    both, parts = likelihoods(hj, hjj), (likelihoods(hj), likelihoods(hjj))
    for scale, alone in (("fixed", "fixed"), ("shape", "shape"), ("uncorrelated", "profiled")):
        wanted = sum(q_of(part, ALTERNATIVE, alone) for part in parts)
        assert q_of(both, ALTERNATIVE, scale) == pytest.approx(wanted, rel=1e-6)
    # One scale for both cannot adapt better than one for each.
    assert q_of(both, ALTERNATIVE, "profiled") >= q_of(both, ALTERNATIVE, "uncorrelated") - 1e-6
    assert q_of(both, ALTERNATIVE, "profiled") <= q_of(both, ALTERNATIVE, "fixed") + 1e-6


@pytest.mark.slow
def test_a_hypothesis_agrees_with_its_own_data_at_any_scale() -> None:
    tests = likelihoods(table("hj"))
    for z in (-1.0, 0.3, 1.0):
        minima = tests.lowest(ALTERNATIVE, tests.counts(ALTERNATIVE, z)[None], "profiled")
        # No better than the truth, whose pull costs z^2 / 2, and close to it: h j measures its rate to 1 %.
        assert minima.nll[0] <= 0.5 * z**2 + 1e-9
        assert minima.scale[0, 0] == pytest.approx(z, abs=0.05)


def test_wide_templates_continue_the_parabola_of_the_logarithm() -> None:
    z = np.array([-1.0, 0.0, 1.0])
    anchors, wide = widened(z.tolist(), np.exp(1 - 0.3 * z + 0.02 * z**2)[:, None], 3.0)
    values = np.asarray(anchors)
    assert (values[0], values[-1]) == (-3.0, 3.0)
    assert (np.diff(values) <= 1 + 1e-9).all()
    np.testing.assert_allclose(wide[:, 0], np.exp(1 - 0.3 * values + 0.02 * values**2), rtol=1e-12)
    # Anchors that reach far enough stay.
    same, _ = widened((-3.0, 0.0, 3.0), np.ones((3, 2)), 3.0)
    assert same == (-3.0, 0.0, 3.0)


def test_wrong_scales_and_signs() -> None:
    tests = likelihoods(table("hj"))
    up = tests.counts(STANDARD_MODEL, -1.0)
    nlls = {theta: tests.lowest(theta, up[None], "fixed").nll[0] for theta in (STANDARD_MODEL, (1.2, 0.0))}
    # Half the scale gives 41 % more events, which (1.2, 0) with 44 % more explains and the standard model does not.
    assert signed_root(2 * np.array([nlls[STANDARD_MODEL] - nlls[1.2, 0.0]]))[0] > 10
    profiled = {theta: tests.lowest(theta, up[None], "profiled").nll[0] for theta in nlls}
    assert abs(profiled[STANDARD_MODEL] - profiled[1.2, 0.0]) < 20
    assert np.isnan(root(np.array([-1.0]))[0])
    # Between anchors the data follow the morph.
    between = tests.counts(STANDARD_MODEL, 0.25)
    assert np.all((between < tests.counts(STANDARD_MODEL, 0.0)) & (between > tests.counts(STANDARD_MODEL, 0.5)))


def test_a_told_cross_section_is_one_number_and_no_information() -> None:
    """A score that only repeats what it is told: told each hypothesis' own, it seems to know; told one, it does not."""
    plain = rate_only(300.0, 0.3, 3.5)
    s = np.geomspace(2.0, 80.0, 21)
    share = 1 / (1 + (10 / s))
    split = np.stack([1 - share, share], axis=-1)[:, None, None, :]
    told = dataclasses.replace(plain, s_values=s, counts=plain.counts * split, variances=plain.variances * split)
    without = q_of(likelihoods(plain), ALTERNATIVE, "profiled")
    assert q_of(likelihoods(told, told="nominal"), ALTERNATIVE, "profiled") == pytest.approx(without, rel=1e-6)
    assert q_of(likelihoods(told, told="nominal"), ALTERNATIVE, "shape") == pytest.approx(0.0, abs=1e-9)
    own = [q_of(likelihoods(told.with_luminosity(x)), ALTERNATIVE, "shape") for x in (1.0, 10.0)]
    assert own[1] == pytest.approx(10 * own[0], rel=1e-9)
    assert own[0] > 1
    # Profiled, the scale aligns both the rate and the told number: the pull is all that is left.
    grown = likelihoods(told.with_luminosity(1e4))
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


SMALL = {"c_g": (-0.2, 0.0, 0.2), "offsets": (0.0, 0.05), "grid": 3, "across": 5, "toys": 60}


@pytest.fixture(scope="module")
def found() -> SignificanceResults:
    tables = {
        "nominal": {"hj": table("hj"), "hjj": table("hjj")},
        "adversarial@3": {"hj": table("hj", blur=0.05), "hjj": table("hjj", blur=0.05)},
    }
    strengths = {"nominal": 0.0, "adversarial@3": 3.0}
    return significance_study(tables, SignificanceSettings(**SMALL), seed=2, strengths=strengths)


@pytest.mark.slow
def test_the_study_covers_points_channels_and_scales(found: SignificanceResults) -> None:
    # 5 points (the standard model is left out of 6), 3 + 3 + 4 treatments, 2 directions, 2 strategies.
    assert len(found.significances) == 5 * 10 * 2 * 2
    assert all(r.converged and r.z is not None and r.seed == 2 for r in found.significances)
    # Faked: the 2 points on the line, 4 wrong scales and 2 hold-outs.
    assert len(found.fakes) == 2 * 10 * 6 * 2
    assert sum(f.holdout for f in found.fakes) == len(found.fakes) / 3
    assert len(found.planes) == 2 * 3 * 2
    assert {r.channels for r in found.significances} == {"hj", "hjj", "hj+hjj"}
    here = {
        (r.strategy, r.scale, r.direction): r.z
        for r in found.significances
        if r.channels == "hj+hjj" and (r.c_t, r.c_g) == (0.8, 0.2)
    }
    tests = likelihoods(table("hj"), table("hjj"))
    assert here["nominal", "profiled", "sm_data"] == pytest.approx(
        np.sqrt(q_of(tests, (0.8, 0.2), "profiled")), rel=1e-6
    )
    reverse = tests.lowest(STANDARD_MODEL, tests.counts((0.8, 0.2))[None], "profiled")
    assert here["nominal", "profiled", "eft_data"] == pytest.approx(np.sqrt(2 * reverse.nll[0]), rel=1e-6)
    for direction in ("sm_data", "eft_data"):
        assert here["adversarial@3", "profiled", direction] < here["nominal", "profiled", direction]
        assert here["nominal", "uncorrelated", direction] <= here["nominal", "profiled", direction]
        assert here["nominal", "profiled", direction] <= here["nominal", "fixed", direction]


@pytest.mark.slow
def test_faked_significances_are_differences_of_minima(found: SignificanceResults) -> None:
    tests = likelihoods(table("hjj"))
    data = tests.counts(STANDARD_MODEL, "muR x1, muF x2")[None]
    for scale in ("fixed", "shape", "profiled"):
        nlls = [tests.lowest(theta, data, scale).nll[0] for theta in (STANDARD_MODEL, (0.8, 0.2))]
        wanted = signed_root(2 * np.array([nlls[0] - nlls[1]]))[0]
        (record,) = (
            f
            for f in found.fakes
            if (f.strategy, f.channels, f.scale, f.variation, f.c_g) == ("nominal", "hjj", scale, "muR x1, muF x2", 0.2)
        )
        assert record.z == pytest.approx(wanted, rel=1e-5)
        assert record.holdout


@pytest.mark.slow
def test_planes_checks_and_curves(found: SignificanceResults) -> None:
    plane = next(p for p in found.planes if p.channels == "hj+hjj" and p.scale == "profiled")
    assert plane.z.shape == (5, 3)
    # The standard model is in the middle, the valley along the line.
    assert plane.z[2, 1] == pytest.approx(0.0, abs=1e-3)
    assert np.all(plane.z[2] <= plane.z[0])
    assert np.all(plane.z[2] <= plane.z[4])
    np.testing.assert_allclose(plane.c_t[2], 1 - plane.c_g)
    for check in found.toys:
        assert check.toys == 60
        assert abs(check.median - check.asimov) < 5 * check.median_error
    assert [c.channels for c in found.trade_offs] == ["hj", "hjj", "hj+hjj"]
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
    told = table("hj", told=np.geomspace(7.0, 20.0, 7))
    settings = SignificanceSettings(c_g=(0.2,), offsets=(0.0, 0.6), grid=0, toys=0, told="sample")
    result = significance_study({"nominal": {"hj": told}}, settings)
    lost = [r for r in result.significances if r.z is None]
    assert {r.offset for r in lost} == {0.6}
    assert all("lies outside the tabulated" in r.verdict and not r.converged for r in lost)
    assert not result.planes
    with pytest.raises(ConfigError, match="no point of the blind line could be tested in hj"):
        significance_study(
            {"nominal": {"hj": told}}, SignificanceSettings(c_g=(2.0,), slope=1.0, grid=0, toys=0, told="sample")
        )


def test_inputs_that_do_not_fit_are_refused() -> None:
    hj, hjj = table("hj"), table("hjj", scales=(-1.0, 0.0, 0.5, 0.75, 1.0))
    with pytest.raises(ConfigError, match="the same anchors"):
        likelihoods(hj, hjj)
    with pytest.raises(ConfigError, match="strategies have different channels"):
        significance_study({"a": {"hj": hj}, "b": {"hjj": table("hjj")}}, SignificanceSettings())
    with pytest.raises(ConfigError, match="no score histograms"):
        significance_study({}, SignificanceSettings())
    with pytest.raises(ConfigError, match="no tested point lies on the blind line"):
        significance_study({"a": {"hj": hj}}, SignificanceSettings(offsets=(0.1,)))
    empty = dataclasses.replace(hj, counts=np.where(np.arange(hj.bins) == 4, 0.0, hj.counts))
    with pytest.raises(TemplateError, match="nothing is expected in bin 4"):
        likelihoods(empty).model(STANDARD_MODEL)
    with pytest.raises(ConfigError, match="both directions"):
        widened((0.0, 1.0), np.ones((2, 1)), 3.0)


@pytest.mark.slow
def test_the_study_says_what_the_standard_model_expects(found: SignificanceResults) -> None:
    hj = table("hj")
    record = found.channels[0]
    assert [r.channel for r in found.channels] == ["hj", "hjj"]
    assert record.cross_section == pytest.approx(hj.cross_section(STANDARD_MODEL, hj.nominal))
    # The slope by finite differences: the rate is quadratic, so that central ones are exact.
    step = 0.01
    c_t, c_g = (
        hj.cross_section((1 + step * a, step * b), hj.nominal) - hj.cross_section((1 - step * a, -step * b), hj.nominal)
        for a, b in ((1, 0), (0, 1))
    )
    assert record.blind_slope == pytest.approx(-c_t / c_g, rel=1e-9)
    assert record.down > 0 > record.up
