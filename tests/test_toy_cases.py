"""The event-wise and the sample-wise toy against their formulas."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from systwise.cases import CASES
from systwise.cases.eventwise_toy import EventwiseToy, EventwiseToySettings
from systwise.cases.samplewise_toy import SamplewiseToy, SamplewiseToySettings
from systwise.errors import ConfigError
from systwise.events import SplitSettings, split_events
from systwise.fit import Model, asimov, fit
from systwise.learn import STRATEGIES, Problem
from systwise.settings import validate
from systwise.templates import ks_distance


@pytest.fixture(scope="module")
def eventwise() -> EventwiseToy:
    return EventwiseToy(EventwiseToySettings(events=60_000))


@pytest.fixture(scope="module")
def samplewise() -> SamplewiseToy:
    return SamplewiseToy(SamplewiseToySettings(events=40_000))


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    return float(scipy.stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))


def test_both_are_found_by_name_and_refuse_nonsense():
    assert CASES.get("eventwise-toy") is EventwiseToy
    assert CASES.get("samplewise-toy") is SamplewiseToy
    with pytest.raises(ConfigError, match=r"case\.shift"):
        validate(EventwiseToySettings, {"shift": 0}, "case")
    with pytest.raises(ConfigError, match=r"case\.alternative"):
        validate(SamplewiseToySettings, {"alternative": 1}, "case")


@pytest.mark.parametrize("z", [-1.0, 0.0, 1.5])
def test_eventwise_variation_moves_one_feature_of_the_background_and_nothing_else(eventwise, z):
    events = eventwise.load(1).slice(slice(0, 20_000))
    varied = eventwise.vary(events, jnp.array([z], jnp.float32))
    moved = np.asarray(varied.features) - np.asarray(events.features)
    background = np.asarray(events.process) == 0
    np.testing.assert_allclose(moved[background, 0], z, atol=2e-6)
    assert not np.any(moved[~background])
    assert not np.any(moved[:, 1])
    np.testing.assert_array_equal(varied.weights, events.weights)


def test_eventwise_separation_and_shift_are_those_of_the_formulas(eventwise):
    table = eventwise.load(2)
    signal = table.process == 1
    np.testing.assert_allclose(table.weights.sum(axis=0, dtype=np.float64), [100, 1000], rtol=1e-5)
    score = {}
    for z in (0.0, 1.0):
        events = eventwise.vary(table.slice(slice(None)), jnp.array([z], jnp.float32))
        score[z] = np.asarray(eventwise.truth.logit(events.features, jnp.zeros((len(table), 1))))
    # 30,000 events a process: the area's error is below 0.001, that of KS below 0.008.
    full, still = (scipy.stats.norm.cdf(d / math.sqrt(2)) for d in (math.sqrt(5), 1))
    assert area(score[0.0][signal], score[0.0][~signal]) == pytest.approx(full, abs=0.005)
    assert area(table.features[signal, 1], table.features[~signal, 1]) == pytest.approx(still, abs=0.01)
    ks = scipy.stats.ks_2samp(score[0.0][~signal], score[1.0][~signal]).statistic
    assert ks == pytest.approx(2 * scipy.stats.norm.cdf(1 / math.sqrt(5)) - 1, abs=0.01)


@pytest.mark.parametrize("z", [0.0, 1.0])
def test_eventwise_bound_is_the_inverse_of_the_fisher_matrix_on_a_grid(eventwise, z):
    grid = np.linspace(-9, 11, 801)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)

    def density(mu, z):
        signal = scipy.stats.multivariate_normal.pdf(x, (2, 1))
        return mu * 100 * signal + 1000 * scipy.stats.multivariate_normal.pdf(x, (z, 0))

    step = 1e-4
    slopes = [
        (density(1 + step, z) - density(1 - step, z)) / (2 * step),
        (density(1, z + step) - density(1, z - step)) / (2 * step),
    ]
    cell = (grid[1] - grid[0]) ** 2
    fisher = np.array([[np.sum(a * b / density(1, z)) * cell for a in slopes] for b in slopes])
    profiled, known = eventwise.truth.bound(np.array([1.0]), np.array([z]))
    assert profiled == pytest.approx(math.sqrt(np.linalg.inv(fisher + np.diag([0, 1]))[0, 0]), rel=1e-4)
    assert known == pytest.approx(fisher[0, 0] ** -0.5, rel=1e-4)


def test_samplewise_variation_scales_the_signal_and_sets_the_rate(samplewise):
    table = samplewise.load(1)
    events = table.slice(slice(0, 10_000))
    for z in (-1.0, 0.0, 2.0):
        varied = samplewise.vary(events, jnp.array([z], jnp.float32))
        np.testing.assert_allclose(varied.weights[:, 0], events.weights[:, 0] * 1.3**z, rtol=1e-5)
        np.testing.assert_array_equal(varied.weights[:, 1], events.weights[:, 1])
        np.testing.assert_array_equal(varied.features[:, 0], events.features[:, 0])
        np.testing.assert_allclose(varied.features[:, 1], (1.3**z + 1) / 2, rtol=1e-6)


def test_samplewise_rate_is_that_of_the_hypothesis(samplewise):
    z = jnp.array([[0.0], [1.0]], jnp.float32)
    alternative, reference = samplewise.hypotheses
    np.testing.assert_allclose(samplewise.sample_values(jnp.array(reference), z)[:, 0], [1, 1.15], rtol=1e-6)
    np.testing.assert_allclose(samplewise.sample_values(jnp.array(alternative), z)[:, 0], [1.25, 1.475], rtol=1e-6)


def rate_fit(case: SamplewiseToy, bins: int = 200):
    """Return the fit of exact templates in fine bins of the feature."""
    s = case.settings
    edges = np.linspace(-6, 8, bins + 1)
    signal, background = (np.diff(scipy.stats.norm.cdf(edges, mean)) for mean in (s.separation, 0.0))
    anchors = np.array(case.nuisances[0].anchors)
    signal_rate = s.signal * s.factor**anchors
    templates = np.stack([signal_rate[:, None] * signal, np.tile(s.background * background, (len(anchors), 1))], axis=1)
    model = Model.from_templates(case.components, case.nuisances, case.constraints, templates)
    return fit(model, asimov(model, theta=1.0, z=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 10.0])
def test_ten_times_more_events_do_not_shrink_what_the_rate_does_not_know(size):
    """`sigma^2 = 1/I + (ln k)^2`: the first term falls with the events, the second one stays."""
    case = SamplewiseToy(SamplewiseToySettings(signal=500 * size, background=500 * size))
    profiled, known = case.truth.bound(np.array([1.0]), np.array([0.0]))
    assert profiled**2 - known**2 == pytest.approx(math.log(1.3) ** 2, rel=1e-9)
    result = rate_fit(case)
    assert result.converged
    assert result.sigma_stat_only == pytest.approx(known, rel=0.02)
    # A parabola is the limit of narrow constraints; k^z bends the likelihood by a few per cent.
    assert result.sigma == pytest.approx(profiled, rel=0.04)


def rates_and_scores(problem: Problem, observable, theta: float, z: np.ndarray) -> np.ndarray:
    """Return the score of one event of hypothesis mu = `theta` for each value of z, at its rate there."""
    case = problem.case
    rows = np.flatnonzero(problem.split.template)[: len(z)]
    values = jnp.asarray(z, jnp.float32)[:, None]
    events = problem.table.slice(rows)
    features = case.with_sample_values(events.features, jnp.array([theta], jnp.float32), values)
    events = eqx.tree_at(lambda e: e.features, events, features)
    return np.asarray(observable.output(events, values, jnp.int32(0)))


@pytest.mark.slow
def test_the_rate_is_used_until_an_adversary_takes_it_away(samplewise):
    """The rate tells the hypotheses apart and the scale; an adversary makes the score give up part of both."""
    table = samplewise.load(0)
    problem = Problem(samplewise, table, split_events(table, SplitSettings(scheme="third")))
    small = {
        "network": {"layers": 2, "width": 16},
        "training": {"batch": 512, "passes": 0.1, "minimum_steps": 1024, "evaluations": 2},
        "adversary": "class",
        "adversary_steps": 2,
        "pivot_on": "both",
    }
    areas, distances = [], []
    normal = np.asarray(jax.random.normal(jax.random.key(0), (5000,), jnp.float32))
    for strength in (0.0, 2.0):
        strategy = validate(STRATEGIES.get("adversarial"), {**small, "lambda": strength})
        observable = strategy.fit(problem, seed=0).observable
        alternative, reference = (rates_and_scores(problem, observable, mu, normal) for mu in (1.5, 1.0))
        areas.append(area(alternative, reference))
        score = [rates_and_scores(problem, observable, 1.0, np.full(5000, z)) for z in (0.0, 1.0)]
        edges = np.quantile(np.concatenate(score), np.linspace(0, 1, 101))
        distances.append(ks_distance(*(np.histogram(values, edges)[0].astype(np.float64) for values in score)))
    # What the rates alone can tell, by the same draws; x adds next to nothing, event by event.
    rates = [np.asarray(samplewise.sample_values(jnp.array([mu]), jnp.asarray(normal)[:, None])) for mu in (1.5, 1.0)]
    best = area(rates[0][:, 0], rates[1][:, 0])
    assert areas[0] == pytest.approx(best, abs=0.05)
    assert areas[1] < areas[0] - 0.02
    assert distances[1] < 0.5 * distances[0]
