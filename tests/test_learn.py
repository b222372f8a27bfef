"""Contracts of every strategy, and the optimum that the Gaussian toy allows."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import ConfigError, DataError
from systwise.events import SplitSettings, split_events
from systwise.learn import (
    STRATEGIES,
    AbstractNetworkStrategy,
    Problem,
    load_arrays,
    save_observable,
    signal_task,
)
from systwise.learn.networks._network import NetworkSettings, evaluate, multilayer
from systwise.learn.penalties._penalised import AbstractPenalisedStrategy
from systwise.learn.training import _game as game_rules
from systwise.settings import validate

SMALL = {"network": {"layers": 2, "width": 16}, "training": {"batch": 256, "passes": 1, "minimum_steps": 64}}


def small(name: str, **over):
    kind = STRATEGIES.get(name)
    if name.startswith("boosted_trees"):
        pytest.importorskip("sklearn", reason="comes with the extra [trees]")
        over = {"parameters": {"max_iter": 5}, **over}
    if name.startswith("external_score"):
        aware = "aware_" if name.endswith("aware") else ""
        over = {"model": f"external_fixtures:{aware}logit", "output": "logit", **over}
    own = SMALL if issubclass(kind, AbstractNetworkStrategy) else {}
    if issubclass(kind, AbstractPenalisedStrategy):
        own = {**own, "lambda": 0.1}  # so few steps do not overcome a strong penalty
    return validate(kind, {**own, **over})


class ScoredToy(GaussianToy):
    """The toy with a score of its own, for the strategy that takes one."""

    has_score = True

    def score(self, events):
        return jax.nn.sigmoid(events.features.sum(axis=1))


@pytest.fixture(scope="module")
def problem() -> Problem:
    case = ScoredToy(GaussianToySettings(events=30_000))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="folds", folds=2)))


def logits(problem, observable, z_true, z_hypothesis, fold=0, count=2000):
    events = problem.table.slice(slice(0, count))
    varied = problem.case.vary(events, jnp.array([z_true]))
    return np.asarray(observable.output(varied, jnp.full((count, 1), z_hypothesis), jnp.int32(fold))), varied


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES.names())
def test_contract_of_every_strategy(problem, name, tmp_path):
    """Finite logits that separate; `moving` says the truth; saved and loaded it scores the same."""
    strategy = small(name)
    trained = strategy.fit(problem, seed=3)
    observable, nominal = trained.observable, problem.nominal[0]
    here, events = logits(problem, observable, nominal, nominal)
    assert np.isfinite(here).all()
    weights = np.asarray(events.weights)
    separation = np.average(here, weights=weights[:, 0]) - np.average(here, weights=weights[:, 1])
    assert separation > 0.5
    there, _ = logits(problem, observable, nominal, nominal + 0.4)
    assert observable.moving == strategy.moving == (not np.array_equal(here, there))
    networks = observable.folds if isinstance(strategy, AbstractNetworkStrategy) else 0
    assert len(trained.histories) == networks
    with open(tmp_path / "model.eqx", "wb") as file:
        save_observable(file, strategy, 3, observable)
    # Zeros from NumPy: nothing to compile.
    blank = jax.tree.map(lambda a: jnp.asarray(np.zeros(a.shape, a.dtype)) if eqx.is_array(a) else a, observable)
    with open(tmp_path / "model.eqx", "rb") as file:
        header, loaded = load_arrays(file, blank)
    assert header["strategy"] == name
    np.testing.assert_array_equal(logits(problem, loaded, nominal, nominal)[0], here)


@pytest.mark.parametrize("name", ["nominal", "adversarial"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(problem, name):
    fresh = dataclasses.replace(problem, done={})
    first, again, other = (
        logits(problem, small(name).fit(dataclasses.replace(fresh, done={}), seed=s).observable, 0.7, 0.7)[0]
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_folds_hold_different_networks(problem):
    observable = small("nominal").fit(problem, seed=0).observable
    assert observable.folds == 2
    a, b = (logits(problem, observable, 0.7, 0.7, fold)[0] for fold in (0, 1))
    assert not np.allclose(a, b)


def test_true_nuisance_at_nominal_is_the_baseline(problem):
    baseline = small("nominal").fit(problem, seed=0).observable
    special = small("true_nuisance").specialise([{"angle": problem.nominal[0]}])[0][0]
    np.testing.assert_array_equal(
        logits(problem, special.fit(problem, seed=0).observable, 0.7, 0.7)[0], logits(problem, baseline, 0.7, 0.7)[0]
    )


def test_true_nuisance_trains_one_network_a_point_and_refuses_an_unknown_name(problem):
    parts = small("true_nuisance").specialise([{"angle": 0.5}, {"angle": 1.5}])
    assert [numbers for _, numbers in parts] == [[0], [1]]
    with pytest.raises(ConfigError, match="has no nuisance 'angel'"):
        small("true_nuisance", at=(("angel", 1.0),)).fit(problem, seed=0)


def test_three_seeds_and_all_folds_share_one_trace(problem, monkeypatch):
    traces = []
    inner = game_rules.Descent.step

    def counting(self, *arguments):
        traces.append(1)
        return inner(self, *arguments)

    monkeypatch.setattr(game_rules.Descent, "step", counting)
    # A width of its own, so that no test before has compiled it.
    over = {"network": {"layers": 1, "width": 11}, "training": {"batch": 128, "passes": 0.1, "minimum_steps": 32}}
    for seed in range(3):
        for name in ("nominal", "augmented"):
            validate(STRATEGIES.get(name), over).fit(dataclasses.replace(problem, done={}), seed)
    assert len(traces) == 1


def test_class_balance_is_fixed_at_nominal_and_needs_positive_weights(problem):
    index = problem.split.training(0)
    task = signal_task(problem.table, index)
    weights = np.asarray(task.weights(problem.table.slice(index)))
    np.testing.assert_allclose(weights.sum(axis=0), len(index) / 2, rtol=1e-4)
    broken = dataclasses.replace(problem.table, weights=problem.table.weights * np.array([0, 1], np.float32))
    with pytest.raises(DataError, match="'signal' have total weight 0"):
        signal_task(broken, index)


def test_diverged_training_says_what_to_do(problem):
    features = problem.table.features.copy()
    features[:] = 1e30
    broken = dataclasses.replace(problem, table=dataclasses.replace(problem.table, features=features), done={})
    over = {**SMALL, "training": {**SMALL["training"], "learning_rate": 1e30}}
    with pytest.raises(DataError, match=r"diverged after \d+ steps.*training.learning_rate"):
        validate(STRATEGIES.get("nominal"), over).fit(broken, seed=0)


def test_unknown_names_and_keys_get_the_nearest_known_one():
    with pytest.raises(ConfigError, match="unknown strategy 'awere', did you mean 'aware'"):
        STRATEGIES.get("awere")
    with pytest.raises(ConfigError, match=r"unknown key 'strategy.aware.halfs', did you mean 'halves'"):
        validate(STRATEGIES.get("aware"), {"halfs": True}, "strategy.aware")


def test_undefined_features_do_not_reach_the_network():
    from systwise.learn.networks._network import fit_scaler

    features = np.array([[1.0, -999.0], [3.0, 5.0], [2.0, 7.0]], np.float32)
    scaler = fit_scaler(features, np.ones(3), -999.0)
    scaled = np.asarray(scaler(jnp.asarray(features)))
    assert scaled[0, 1] == 0.0
    np.testing.assert_allclose(scaled[1:, 1], [-1.0, 1.0])


@pytest.mark.parametrize("outputs", ["scalar", 3])
def test_batched_evaluation_is_the_perceptron_event_by_event(outputs):
    settings = NetworkSettings(layers=2, width=8, activation="silu")
    mlp = multilayer(settings, 4, outputs, jax.random.key(1))
    biases = [jnp.asarray(np.linspace(-1, 1, layer.bias.size), jnp.float32) for layer in mlp.layers]
    mlp = eqx.tree_at(lambda m: [layer.bias for layer in m.layers], mlp, biases)
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((7, 4)), jnp.float32)
    np.testing.assert_allclose(evaluate(mlp, inputs), jax.vmap(mlp)(inputs), rtol=1e-5, atol=1e-6)


def test_fresh_weights_are_he_normal_and_belong_to_their_key():
    mlp = multilayer(NetworkSettings(layers=2, width=200), 50, "scalar", jax.random.key(1))
    for layer, factor in zip(mlp.layers, (1.0, 1.0, 0.3), strict=True):
        weight = np.asarray(layer.weight)
        expected = factor * math.sqrt(2 / weight.shape[1])
        assert abs(weight.std() / expected - 1) < 4 / math.sqrt(2 * weight.size)
        assert not np.any(layer.bias)
    again, other = (multilayer(NetworkSettings(), 2, "scalar", jax.random.key(k)).layers[0].weight for k in (1, 2))
    same = multilayer(NetworkSettings(), 2, "scalar", jax.random.key(1)).layers[0].weight
    np.testing.assert_array_equal(again, same)
    assert not np.array_equal(again, other)


@pytest.fixture(scope="module")
def larger() -> Problem:
    case = GaussianToy(GaussianToySettings(events=400_000))
    table = case.load(1)
    return Problem(case, table, split_events(table, SplitSettings(scheme="third")))


def counting_sigma(problem, observable, z, bins=20):
    """Return the statistics-only sigma(mu) in signal quantiles of the test events."""
    index = np.flatnonzero(problem.split.template)
    events = problem.case.vary(problem.table.slice(index), jnp.array([z], jnp.float32))
    score = np.asarray(observable.output(events, jnp.full((len(index), 1), z), jnp.int32(0)))
    weights = np.asarray(events.weights, np.float64)
    edges = np.quantile(score[weights[:, 0] > 0], np.linspace(0, 1, bins + 1)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, score), weights[:, k], bins) for k in (0, 1)]
    signal, background = 500 * counts[0] / counts[0].sum(), 50_000 * counts[1] / counts[1].sum()
    return (signal**2 / (signal + background)).sum() ** -0.5


@pytest.mark.slow
def test_aware_is_near_the_optimum_at_every_angle_and_the_baseline_at_its_own(larger):
    """Statistics-only sigma against the exact score in the same bins and on the same events (arXiv:2105.08742)."""
    aware = STRATEGIES.get("aware")().fit(larger, seed=0).observable
    nominal = STRATEGIES.get("nominal")().fit(larger, seed=0).observable
    exact = STRATEGIES.get("optimal")().fit(larger, seed=0).observable
    for z in (math.pi / 8, math.pi / 4, math.pi / 2):
        assert counting_sigma(larger, aware, z) < 1.02 * counting_sigma(larger, exact, z)
    assert counting_sigma(larger, nominal, math.pi / 4) < 1.02 * counting_sigma(larger, exact, math.pi / 4)
    assert counting_sigma(larger, nominal, math.pi / 2) > 1.3 * counting_sigma(larger, exact, math.pi / 2)
