"""Calibration of the ratio's classifier: its map against known distortions, what the fit needs of it, and saving."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import report_fixtures as invented
from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.cases.inferno_mixture import InfernoMixture, InfernoSettings
from systwise.errors import ConfigError
from systwise.events import SplitSettings, split_events
from systwise.learn import Problem, load_arrays, ratio_diagnostics, reference_draw, save_observable
from systwise.learn.ratios._calibration import calibrated, normalisation_points, normalised, reference_means
from systwise.learn.ratios._calibrator import EFFECTIVE_EVENTS, KNOTS, calibration_map, stored
from systwise.learn.ratios._game import component_task
from systwise.learn.strategies.ratio import Ratio, normalisation_basis
from systwise.parameters import chebyshev_basis
from systwise.report.figures.ratios import BEFORE, ratio_figure
from systwise.settings import validate

SMALL = {
    "network": {"layers": 1, "width": 16, "activation": "silu"},
    "training": {"batch": 1024, "passes": 3, "patience": None, "weight_decay": 0.0},
    "degree": 3,
    "contrasts": 8,
    "calibration_events": 60_000,
}
METHODS = ("histogram", "isotonic")


def make_problem(events: int, **split) -> Problem:
    case = GaussianToy(GaussianToySettings(events=events))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(**split)))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(90_000, scheme="third", validation=0.4)


@pytest.fixture(scope="module")
def trained(problem):
    return validate(Ratio, SMALL).fit(problem, seed=1)


def gaussians(count: int, weights: str):
    """Return exact ln r = x - 1/2 of N(1, 1) against N(0, 1), and weights that do not depend on it."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(1, 1, count), rng.normal(0, 1, count)
    drawn = [np.ones(count) if weights == "equal" else rng.choice([-0.5, 1.0, 2.0], count) for _ in range(2)]
    return x - 0.5, y - 0.5, *drawn


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", ["equal", "some negative"])
def test_a_distorted_ratio_is_mapped_back_to_the_exact_one(method, weights):
    """Predicted ln r -> 0.5 ln r + 0.3 is undone, within the statistical error of a step."""
    x, y, w, v = gaussians(200_000, weights)
    at, offset = calibration_map((0.5 * x + 0.3, w), (0.5 * y + 0.3, v), method)
    exact = 2 * (at - 0.3)
    # In the first and last steps ln r moves much within the step.
    np.testing.assert_allclose((at + offset)[2:-2], exact[2:-2], atol=0.16 if weights == "equal" else 0.3)
    assert np.all(np.diff(at) > 0)
    assert 10 < len(at) <= KNOTS


def test_exact_ratios_are_left_alone_and_the_isotonic_map_never_falls():
    x, y, w, v = gaussians(100_000, "equal")
    for method in METHODS:
        _, offset = calibration_map((x, w), (y, v), method)
        assert np.sqrt(np.mean(offset**2)) < 1.5 / math.sqrt(EFFECTIVE_EVENTS)
    # A ratio that is wrong in order between 0 and 1: up is down.
    x, y = (np.where((s > 0) & (s < 1), 1 - s, s) for s in (x, y))
    at, offset = calibration_map((x, w), (y, v), "isotonic")
    assert np.all(np.diff(at + offset) >= -1e-9)
    at, offset = calibration_map((x, w), (y, v), "histogram")
    low, high = np.interp([0.1, 0.9], at, at + offset)
    assert high - low == pytest.approx(-0.8, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_every_step_closes(method):
    """Reweighted by the mapped steps, the reference holds as much as the component: the sums agree."""
    x, y, w, v = gaussians(50_000, "equal")
    at, offset = calibration_map((0.7 * x, w), (0.7 * y, v), method)
    # Too few events for two steps: one offset, which makes the mean over the reference 1.
    _, single = calibration_map((x[:250], w[:250]), (0.2 + y[:250], v[:250]), method)
    assert single == pytest.approx(-math.log(np.mean(np.exp(0.2 + y[:250]))), abs=1e-9)
    knots, offsets = stored(at, offset)
    assert len(knots) == len(offsets) == KNOTS
    mapped = 0.7 * y + np.interp(0.7 * y, knots, offsets)
    assert np.mean(np.exp(mapped)) == pytest.approx(1.0, abs=0.02)
    assert abs(np.mean(np.exp(0.7 * y)) - 1) > 0.05


def test_no_step_is_stored_as_nothing_added():
    knots, offsets = stored(np.zeros(0), np.zeros(0))
    assert np.all(np.diff(knots) > 0)
    assert not offsets.any()


@pytest.fixture(scope="module")
def tilted(problem, trained):
    """Learned ratios whose signal has a wrong slope at the nominal point: ln r_s -> 0.8 ln r_s."""
    observable = trained.observable
    draw = reference_draw(problem)
    task = component_task(problem.table, problem.split.training(0))
    net = observable.networks
    spoilt = eqx.tree_at(
        lambda n: (n.linear, n.mlp.layers[-1].weight, n.mlp.layers[-1].bias),
        net,
        replace_fn=lambda a: 0.8 * a,
    )
    return normalised(dataclasses.replace(observable, networks=spoilt), problem, task, draw, 0, 60_000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_calibration_closes_what_was_spoilt_and_keeps_the_mean_at_one(problem, tilted, method):
    draw, task = reference_draw(problem), component_task(problem.table, problem.split.training(0))
    made = calibrated(tilted, method, problem, task, draw, 0, 60_000, 1)
    made = normalised(made, problem, task, draw, 0, 60_000, 1)
    points = np.array([[0.2], [math.pi / 4], [1.4]])
    before = ratio_diagnostics(tilted, problem, draw, points, seed=3)
    after = ratio_diagnostics(made, problem, draw, points, seed=3)
    # The nominal point is calibrated; others gain, since the same distortion is undone.
    assert after.closure_chi2[:, 1].max() < 5
    assert before.closure_chi2[:, 1].min() > 20
    assert after.closure_chi2.sum() < 0.25 * before.closure_chi2.sum()
    assert before.observed_before is None
    np.testing.assert_allclose(after.observed_before, before.observed, atol=1e-6)
    np.testing.assert_allclose(after.predicted_before, before.predicted, atol=1e-6)
    nodes = np.linspace(-0.3, 1.9, 7)[:, None]
    mean, error = reference_means(made, problem, task, draw, problem.split.training(0), 0, nodes, 2)
    assert np.all(np.abs(mean - 1) < 5 * error)


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_ratios_are_polynomials_saved_and_loaded(problem, method, tmp_path):
    """Coefficients, log-ratios and logit agree; what is added is the same at all nuisance values."""
    strategy = validate(Ratio, {**SMALL, "calibrate": method})
    observable = strategy.fit(problem, seed=1).observable
    assert observable.calibrator is not None
    events = problem.table.slice(np.flatnonzero(problem.split.template)[:2000])
    fold = jnp.int32(0)
    added = []
    for angle in (0.3, math.pi / 4, 1.3):
        z = jnp.full((2000, 1), angle)
        by_hand = np.einsum("ekt,et->ek", observable.coefficients(events, fold), observable.basis(z))
        log_ratios = np.asarray(observable.log_ratios(events, z, fold))
        np.testing.assert_allclose(by_hand, log_ratios, atol=1e-4)
        plain = np.asarray(observable.uncalibrated().log_ratios(events, z, fold))
        added.append(log_ratios - plain)
    spread = [a - a.mean(axis=0) for a in added]
    assert np.abs(spread[0]).max() > 0.005
    np.testing.assert_allclose(spread[0], spread[1], atol=1e-4)
    np.testing.assert_allclose(spread[2], spread[1], atol=1e-4)
    with open(tmp_path / "model.eqx", "wb") as file:
        save_observable(file, strategy, 1, observable)
    blank = jax.tree.map(lambda a: jnp.asarray(np.zeros(a.shape, a.dtype)) if eqx.is_array(a) else a, observable)
    with open(tmp_path / "model.eqx", "rb") as file:
        header, loaded = load_arrays(file, blank)
    assert header["settings"]["calibrate"] == method
    again = np.asarray(loaded.log_ratios(events, jnp.full((2000, 1), 1.3), fold))
    np.testing.assert_array_equal(again, log_ratios)


@pytest.mark.slow
def test_each_fold_has_a_map_learnt_on_events_that_it_neither_trains_on_nor_scores():
    problem = make_problem(40_000, scheme="folds", folds=2, validation=0.4)
    tiny = {**SMALL, "training": {**SMALL["training"], "passes": 1}, "calibrate": "histogram"}
    observable = validate(Ratio, tiny).fit(problem, seed=0).observable
    offsets = np.asarray(observable.calibrator.offsets)
    assert offsets.shape == (2, 2, KNOTS)
    assert not np.array_equal(offsets[0], offsets[1])
    assert np.abs(offsets).max(axis=(1, 2)).min() > 1e-4
    held = problem.split.stopping(0)
    assert not np.intersect1d(held, problem.split.training(0)).size
    assert np.all(problem.split.fold[held] != 0)


def test_an_unknown_calibration_is_named():
    with pytest.raises(ConfigError, match="calibrate"):
        validate(Ratio, {"calibrate": "spline"})


def test_the_normalisation_holds_a_logarithm_that_the_degree_does_not():
    """ln p of an exponential is ln(rate) - rate x: linear at fixed x, its normalisation is not (INFERNO's mixture)."""
    low, high = 1.2, 7.5
    basis = chebyshev_basis([(-1.2, 1.2), (low, high)], 3)
    errors = []
    for extra in (0, 3):
        wider = normalisation_basis(basis, extra)
        points = normalisation_points(wider)
        values = np.asarray(wider(jnp.asarray(points, jnp.float32)), np.float64)
        fitted = np.linalg.lstsq(values, np.log(points[:, 1]), rcond=None)[0]
        # At the nominal rate the slope of the error counts: it moves the estimate of the rate.
        near = np.asarray(wider(jnp.asarray([[0.0, 2.9], [0.0, 3.1]], jnp.float32)), np.float64)
        errors.append(abs((near[1] - near[0]) @ fitted - math.log(3.1 / 2.9)) / 0.2)
    assert errors[0] > 0.01
    assert errors[1] < 0.2 * errors[0]
    assert wider.exponents[: basis.terms] == basis.exponents
    assert max(sum(row) for row in wider.exponents) == 6
    with jax.enable_x64(True):
        z = jnp.asarray(np.array([0.3, 3.0]))
        slope = np.asarray(jax.jacfwd(wider)(z))
        np.testing.assert_allclose(np.asarray(wider(z)) @ wider.slopes(1) / wider.half[1], slope[:, 1], atol=1e-12)


def test_many_nuisances_are_normalised_at_few_points():
    basis = normalisation_basis(chebyshev_basis([(0.0, 1.0)] * 5, 3), 2)
    points = normalisation_points(basis)
    assert 2 * basis.terms <= len(points) < 1000
    values = np.asarray(basis(jnp.asarray(points, jnp.float32)), np.float64)
    assert np.linalg.cond(values) < 1e3


@pytest.mark.slow
def test_the_network_form_learns_the_exact_ratio():
    """Nuisances among the inputs: ln of signal over background follows the exact one, calibrated or not."""
    problem = make_problem(120_000, scheme="third")
    settings = {
        **SMALL,
        "form": "network",
        "network": {"layers": 2, "width": 24, "activation": "silu"},
        "training": {"batch": 1024, "passes": 6, "patience": None, "weight_decay": 0.0},
    }
    events = problem.table.slice(np.flatnonzero(problem.split.template)[:4000])
    draw, task = reference_draw(problem), component_task(problem.table, problem.split.training(0))
    observable = validate(Ratio, settings).fit(problem, seed=1).observable
    made = calibrated(observable, "isotonic", problem, task, draw, 0, 60_000, 1)
    made = normalised(made, problem, task, draw, 0, 60_000, 1)
    for found in (observable, made):
        for angle in (0.3, math.pi / 4, 1.3):
            z = jnp.full((4000, 1), angle)
            varied = problem.case.vary(events, z)
            truth = np.asarray(problem.case.truth.logit(varied.features, z))
            logit = np.asarray(found.output(varied, z, jnp.int32(0)))
            assert np.corrcoef(logit, truth)[0, 1] > 0.99
            # Towards the end of the training range fewer draws are near.
            assert np.sqrt(np.mean((logit - truth) ** 2)) < (0.4 if angle > 0.5 else 0.8)
        mean, error = reference_means(found, problem, task, draw, problem.split.stopping(0), 0, np.array([[0.8]]), 3)
        assert np.all(np.abs(mean - 1) < 5 * error + 0.01)


def test_the_figure_shows_the_calibration_before():
    results, check = invented.results(), invented.ratio_check()
    plain = ratio_figure(results, check)
    both = dataclasses.replace(check, observed_before=check.observed + 0.05, predicted_before=check.predicted)
    figure = ratio_figure(results, both)
    # Three nuisance values of two components, in the two upper panels.
    dotted = [line for axis in figure.axes for line in axis.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 12
    assert not any(line.get_linestyle() == ":" for axis in plain.axes for line in axis.lines)
    assert BEFORE in [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(plain.legends[0].get_texts()) == 3
    shown = dotted[0].get_ydata()
    assert np.isfinite(shown).all()


@pytest.mark.slow
def test_a_normalisation_nuisance_is_not_told_to_the_network_form():
    case = InfernoMixture(InfernoSettings(benchmark="B4", events=20_000))
    table = case.load(0)
    problem = Problem(case, table, split_events(table, SplitSettings(scheme="third")))
    tiny = {"network": {"layers": 1, "width": 8}, "training": {"batch": 512, "passes": 1}, "form": "network"}
    observable = validate(Ratio, {**tiny, "degree": 1, "contrasts": 4, "normalisation_degree": 1}).fit(problem, 0)
    events = table.slice(slice(0, 50))
    rows = [np.broadcast_to(np.array([0.1, 3.0, rate], np.float32), (50, 3)) for rate in (0.9, 1.1)]
    first, second = (np.asarray(observable.observable.log_ratios(events, jnp.asarray(z), jnp.int32(0))) for z in rows)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
