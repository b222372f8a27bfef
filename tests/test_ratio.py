"""Learned density ratios: exact identities of the loss, normalisation, the shape of the observable, and closure."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.events import SplitSettings, split_events
from systwise.learn import Problem, load_observable, save_observable
from systwise.learn.ratios._calibration import normalised, reference_draw, reference_means
from systwise.learn.ratios._diagnostics import ratio_diagnostics
from systwise.learn.ratios._game import component_task, contrast_points, posterior_loss, ratio_controls
from systwise.learn.strategies.ratio import Ratio, join, ratio_basis
from systwise.parameters import chebyshev_basis
from systwise.random import named_key
from systwise.settings import validate

NOISE = 0.7
FAST = {
    "network": {"layers": 2, "width": 24, "activation": "silu"},
    "training": {"batch": 1024, "passes": 6, "patience": None, "weight_decay": 0.0},
}


def make_problem(events: int, **split) -> Problem:
    case = GaussianToy(GaussianToySettings(events=events))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(**split)))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(60_000, scheme="third")


@pytest.fixture(scope="module")
def trained(problem):
    return validate(Ratio, {**FAST, "degree": 4, "calibration_events": 60_000}).fit(problem, seed=1)


def exact(features, z):
    """Return ln p_k(x|z) up to a function of x, `[component, event]`."""
    along = (features[:, 0] * np.cos(z) + features[:, 1] * np.sin(z)) / NOISE**2
    return np.stack([along, -along])


@pytest.fixture(scope="module")
def exact_observable(problem):
    """The exact ratios in the learned form: a network without hidden part, linear in the features."""
    strategy = validate(Ratio, {"degree": 8})
    basis = ratio_basis(problem, 8)
    network = strategy._fresh(problem, basis, problem.split.training(0), named_key(0, "x"))
    nodes = basis.nodes(20)
    polynomials = np.asarray(basis(jnp.asarray(nodes, jnp.float32)), np.float64)
    angle = nodes[:, 0]
    u = np.linalg.lstsq(polynomials, np.stack([np.cos(angle), np.sin(angle)], axis=1) / NOISE**2, rcond=None)[0]
    mean, width = np.asarray(network.scaler.mean), np.asarray(network.scaler.width)
    linear = np.concatenate([u * width, -u * width])
    bias = np.concatenate([u @ mean, -u @ mean])
    network = eqx.tree_at(
        lambda n: (n.linear, n.mlp.layers[-1].bias),
        network,
        (jnp.asarray(linear, jnp.float32), jnp.asarray(bias, jnp.float32)),
    )
    return join([[network]], basis, problem, reference_draw(problem))


def test_polynomials_and_their_slopes_are_exact():
    basis = chebyshev_basis([(-1.0, 3.0), (0.0, 1.0), (2.0, 4.0)], 3, active=(0, 2))
    assert basis.terms == 10
    assert basis.active == (0, 2)
    z = jnp.array([0.4, 0.2, 3.1])
    t, s = (0.4 - 1) / 2, 0.1
    value = dict(zip(basis.exponents, np.asarray(basis(z)), strict=True))
    assert value[1, 0, 2] == pytest.approx(t * (2 * s**2 - 1), rel=1e-5)
    assert value[3, 0, 0] == pytest.approx(4 * t**3 - 3 * t, rel=1e-5)
    with jax.enable_x64(True):
        z64 = jnp.asarray(np.array([0.4, 0.2, 3.1]))
        slope = np.asarray(jax.jacfwd(basis)(z64))
        values = np.asarray(basis(z64))
    for j in (0, 2):
        np.testing.assert_allclose(values @ basis.slopes(j) / basis.half[j], slope[:, j], atol=1e-12)


def test_a_uniform_posterior_has_no_loss_and_the_truth_has_the_least():
    rng = np.random.default_rng(0)
    z = rng.uniform(-0.4, 1.9, 4000)
    k = rng.integers(0, 2, 4000)
    x = np.where(k == 0, 1, -1)[:, None] * np.stack([np.cos(z), np.sin(z)], axis=1)
    x = x + NOISE * rng.standard_normal(x.shape)
    weights = jnp.asarray(np.eye(2)[k], jnp.float32)
    points = contrast_points(np.array([-0.4]), np.array([1.9]), 16)[:, 0]

    def loss(scale):
        shared = np.stack([exact(x, p) for p in points], axis=1)
        return float(posterior_loss(jnp.asarray(scale * exact(x, z)), jnp.asarray(scale * shared), weights))

    assert loss(0.0) == pytest.approx(0.0, abs=1e-6)
    assert loss(1.0) < min(loss(0.8), loss(1.2)) < 0


@pytest.mark.slow
def test_exact_ratios_have_mean_one_over_the_reference_at_every_nuisance(problem, exact_observable):
    """Their reference density comes from the ratios alone; calibration finds nothing to do."""
    index = problem.split.training(0)
    task, draw = component_task(problem.table, index), reference_draw(problem)
    points = np.linspace(-0.3, 1.9, 7)[:, None]
    mean, error = reference_means(exact_observable, problem, task, draw, index, 0, points, 1)
    assert np.all(np.abs(mean - 1) < 4 * error)
    assert np.all(error < 0.02)
    off = dataclasses.replace(exact_observable, shift=exact_observable.shift.at[0, 1, 1].add(0.3))
    again = normalised(off, problem, task, draw, 0, 60_000, 1)
    assert float(again.shift[0, 1, 1]) == pytest.approx(0.0, abs=0.02)
    mean, _ = reference_means(again, problem, task, draw, index, 0, points, 1)
    np.testing.assert_allclose(mean, 1, atol=0.01)


def test_exact_ratios_pass_the_diagnostics_and_wrong_ones_do_not(problem, exact_observable):
    points = np.array([[0.2], [math.pi / 4], [1.4]])
    draw = reference_draw(problem)
    good = ratio_diagnostics(exact_observable, problem, draw, points, seed=2)
    assert good.closure_chi2.max() < 2.5
    assert good.largest_calibration_error < 0.06
    assert good.target.sum(axis=-1) == pytest.approx(1.0)
    tilted = dataclasses.replace(exact_observable, shift=exact_observable.shift.at[0, 0, 0].add(0.2))
    bad = ratio_diagnostics(tilted, problem, draw, points, seed=2)
    assert bad.closure_chi2[0].min() > 5
    assert bad.means[0] == pytest.approx(math.exp(0.2) * good.means[0], rel=1e-3)


@pytest.mark.slow
def test_the_learned_ratio_follows_the_exact_one(problem, trained):
    """ln of signal over background: the polynomial form, the coefficients and the logit agree, and are right."""
    observable = trained.observable
    events = problem.table.slice(np.flatnonzero(problem.split.template)[:4000])
    for angle in (0.4, 1.2):
        z = jnp.full((4000, 1), angle)
        varied = problem.case.vary(events, z)
        coefficients = observable.coefficients(varied, jnp.int32(0))
        log_ratios = observable.log_ratios(varied, z, jnp.int32(0))
        by_hand = np.einsum("ekt,et->ek", coefficients, observable.basis(z))
        np.testing.assert_allclose(by_hand, log_ratios, atol=1e-4)
        together = observable.log_ratios_at(varied, z[:1], jnp.int32(0))
        np.testing.assert_allclose(together[:, 0].T, log_ratios, atol=1e-4)
        logit = np.asarray(observable.output(varied, z, jnp.int32(0)))
        np.testing.assert_allclose(logit, log_ratios[:, 0] - log_ratios[:, 1], atol=1e-4)
        truth = np.asarray(problem.case.truth.logit(varied.features, z))
        assert np.sqrt(np.mean((logit - truth) ** 2)) < 0.35
        assert np.corrcoef(logit, truth)[0, 1] > 0.995


@pytest.mark.slow
def test_the_network_form_and_ensembles_have_the_same_shape(problem):
    small = {"network": {"layers": 1, "width": 8}, "training": {"batch": 512, "passes": 1, "minimum_steps": 64}}
    trained = validate(Ratio, {**small, "form": "network", "contrasts": 2, "ensemble": 2, "degree": 2}).fit(problem, 0)
    observable = trained.observable
    assert len(trained.histories) == 2
    assert not observable.polynomial
    events = problem.table.slice(slice(0, 100))
    z = jnp.full((100, 1), 0.8)
    log_ratios = observable.log_ratios(events, z, jnp.int32(0))
    assert log_ratios.shape == (100, 2)
    assert np.isfinite(log_ratios).all()
    together = observable.log_ratios_at(events, jnp.array([[0.3], [0.8]]), jnp.int32(0))
    np.testing.assert_allclose(together[:, 1].T, log_ratios, atol=1e-4)
    with pytest.raises(TypeError, match="polynomial"):
        observable.coefficients(events, jnp.int32(0))


def test_controls_average_over_the_last_steps():
    controls = ratio_controls(validate(Ratio, {}).training, 0.1, 100)
    assert controls.shape == (100, 2)
    assert controls[0, 1] == 1
    assert controls[-1, 1] == pytest.approx(0.1)
    assert ratio_controls(validate(Ratio, {}).training, 0.0, 100)[-1, 1] == 1


def test_saved_ratios_are_read_back_to_the_bit_without_training_any(tmp_path):
    made = make_problem(3000)
    strategy = validate(
        Ratio, FAST | {"training": FAST["training"] | {"passes": 1}, "degree": 2, "ensemble": 2}, "ratio"
    )
    observable = strategy.fit(made, 0).observable
    with (tmp_path / "model.eqx").open("wb") as file:
        save_observable(file, strategy, 0, observable, made.case)
    header, again = load_observable(tmp_path / "model.eqx")
    assert (header["strategy"], again.folds, again.members) == ("ratio", observable.folds, 2)
    events = made.table.slice(slice(0, 500))
    for fold in range(observable.folds):
        np.testing.assert_array_equal(
            observable.coefficients(events, jnp.int32(fold)), again.coefficients(events, jnp.int32(fold))
        )
