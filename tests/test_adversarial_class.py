"""The class adversary: levels, its loss, and what it does to a score (arXiv:1807.08763)."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import ConfigError
from systwise.events import SplitSettings, split_events
from systwise.learn import STRATEGIES, NetworkSettings, Problem
from systwise.learn.networks._adversary import class_adversary
from systwise.learn.strategies import adversarial
from systwise.learn.training._levels import level_draw, level_numbers, nuisance_levels
from systwise.parameters import Nuisance
from systwise.settings import validate
from systwise.templates import ks_distance

SCALE = Nuisance("scale", 0.0, (-3, 3), (-1, 2), (-3.0, 0.0, 3.0))
ENERGY = Nuisance("energy", 1.0, (0.8, 1.2), (0.9, 1.1), (0.8, 1.0, 1.2))
SMALL = {
    "network": {"layers": 2, "width": 16},
    "training": {"batch": 512, "passes": 0.1, "minimum_steps": 512, "evaluations": 2},
    "adversary": "class",
    "adversary_network": {"layers": 2, "width": 16, "activation": "silu"},
}


def blind_adversary(levels, bias=None):
    """Return a class adversary whose outputs do not depend on the score."""
    fresh = class_adversary(NetworkSettings(layers=1, width=4), levels, jax.random.key(0))
    last = fresh.mlp.layers[-1]
    bias = jnp.zeros_like(last.bias) if bias is None else bias
    return eqx.tree_at(
        lambda a: (a.mlp.layers[-1].weight, a.mlp.layers[-1].bias), fresh, (jnp.zeros_like(last.weight), bias)
    )


@pytest.mark.parametrize("count", [2, 3, 5])
def test_levels_are_the_ends_and_the_nominal_value(count):
    levels = nuisance_levels((SCALE, ENERGY), count)
    np.testing.assert_allclose(levels[:, 0], [-1, 0.9])
    np.testing.assert_allclose(levels[:, -1], [2, 1.1])
    assert np.all(np.diff(levels, axis=1) > 0)
    if count % 2:
        np.testing.assert_allclose(levels[:, count // 2], [0, 1])
    if count == 5:
        np.testing.assert_allclose(levels[0], [-1, -0.5, 0, 1, 2])


def test_levels_are_even_where_the_nominal_value_is_an_end():
    one_sided = Nuisance("scale", 0.0, (0, 4), (0, 4), (0.0, 4.0))
    np.testing.assert_allclose(nuisance_levels((one_sided,), 3), [[0, 2, 4]])


def test_draws_are_levels_equally_often_and_independent():
    draw = level_draw((SCALE, ENERGY), 3)
    z = draw(jax.random.key(1), 90_000)
    assert z.dtype == jnp.float32
    numbers = np.asarray(level_numbers(draw.levels, z))
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(draw.levels).T, numbers, axis=0), z)
    joint = np.histogram2d(numbers[:, 0], numbers[:, 1], bins=3)[0]
    np.testing.assert_allclose(joint, 10_000, atol=5 * 100)
    np.testing.assert_array_equal(draw.constant, [False, False])


def test_a_blind_adversary_loses_the_entropy_of_the_levels():
    """`n ln levels` for n nuisances with equally likely levels, in nats."""
    draw = level_draw((SCALE, ENERGY), 3)
    z = draw(jax.random.key(2), 1000)
    logits = jnp.linspace(-5, 5, 1000)
    loss = blind_adversary(draw.levels).loss(logits, z, jnp.ones(1000))
    assert float(loss) == pytest.approx(2 * math.log(3), rel=1e-6)


def test_weighted_levels_have_the_entropy_of_their_weights():
    """A rate that moves with the level is known to the best blind adversary."""
    levels = jnp.asarray(nuisance_levels((SCALE,), 3), jnp.float32)
    z = jnp.tile(levels[0], 200)[:, None]
    rates = jnp.array([0.72, 1.0, 1.41])
    weights = jnp.tile(rates, 200)
    share = rates / rates.sum()
    loss = blind_adversary(levels, jnp.log(share)).loss(jnp.zeros(600), z, weights)
    assert float(loss) == pytest.approx(-float(jnp.sum(share * jnp.log(share))), rel=1e-5)
    assert float(loss) < math.log(3)


def test_the_optimiser_does_not_move_the_levels():
    draw = level_draw((SCALE,), 3)
    adversary = class_adversary(NetworkSettings(layers=1, width=4), draw.levels, jax.random.key(0))
    z = draw(jax.random.key(3), 50)
    gradient = eqx.filter_grad(lambda a: a.loss(jnp.linspace(-1, 1, 50), z, jnp.ones(50)))(adversary)
    assert not np.any(gradient.levels)
    assert np.any(gradient.mlp.layers[-1].weight)


@pytest.fixture(scope="module")
def problem() -> Problem:
    case = GaussianToy(GaussianToySettings(events=40_000))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="third")))


def background_ks(problem: Problem, observable) -> float:
    """Return the KS distance of the background's score between two levels of the angle."""
    index = np.flatnonzero(problem.split.template & (problem.table.process == 0))
    low, middle, _ = nuisance_levels(problem.case.shape_nuisances, 3)[0]
    histograms = []
    for z in (low, middle):
        events = problem.case.vary(problem.table.slice(index), jnp.array([z], jnp.float32))
        logits = np.asarray(observable.output(events, jnp.full((len(index), 1), z, jnp.float32), jnp.int32(0)))
        histograms.append(np.histogram(1 / (1 + np.exp(-logits)), np.linspace(0, 1, 201))[0].astype(np.float64))
    return ks_distance(*histograms)


def test_the_class_adversary_decorrelates_and_a_strength_compiles_once(problem, monkeypatch):
    traces = []
    inner = adversarial.Pivot.step

    def counting(self, *arguments):
        traces.append(1)
        return inner(self, *arguments)

    monkeypatch.setattr(adversarial.Pivot, "step", counting)
    distances = []
    for strength in (0.0, 3.0):
        strategy = validate(STRATEGIES.get("adversarial"), {**SMALL, "lambda": strength})
        distances.append(background_ks(problem, strategy.fit(problem, seed=1).observable))
    assert len(traces) == 1
    assert distances[0] > 0.2
    assert distances[1] < 0.6 * distances[0]


def test_plain_alternation_trains_both_at_every_step():
    """One step each in turns and no pre-training, as in the paper."""
    settings = {**SMALL, "adversary_steps": 1, "pretrain_classifier": 0, "pretrain_adversary": 0, "lambda": 2}
    controls = adversarial.phase_controls(validate(STRATEGIES.get("adversarial"), settings), 100)
    assert np.all(controls[:, [adversarial.CLASSIFIER_RATE, adversarial.ADVERSARY_RATE]] > 0)
    assert controls[-1, adversarial.STRENGTH] == 2


def test_one_level_is_no_class():
    with pytest.raises(ConfigError, match=r"levels.*greater than or equal to 2"):
        validate(STRATEGIES.get("adversarial"), {"adversary": "class", "levels": 1})
