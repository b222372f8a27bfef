"""Penalties against their definitions, and what each takes away from a score."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from systwise.cases import CASES
from systwise.errors import ConfigError
from systwise.events import SplitSettings, split_events
from systwise.learn import STRATEGIES, Problem
from systwise.learn._strategy import lesson_of
from systwise.learn.penalties import _penalised as penalised
from systwise.learn.penalties._distance import distance_correlation, dominated_sums
from systwise.learn.penalties._moments import legendre_basis, moment_penalty
from systwise.learn.strategies.tangent_propagation import tangent_batch
from systwise.learn.training._game import draw_between, make_batch
from systwise.settings import validate

PENALTIES = ("distance_correlation", "moment_decomposition", "tangent_propagation")
SMALL = {
    "network": {"layers": 2, "width": 16},
    "training": {"batch": 1024, "passes": 0.1, "minimum_steps": 256, "evaluations": 2, "patience": None},
}


def problem_of(name: str, **settings) -> Problem:
    kind = CASES.get(name)
    case = kind(validate(kind.settings_class, {"events": 30_000, **settings}, "case"))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="third")))


@pytest.fixture(scope="module")
def toy() -> Problem:
    return problem_of("eventwise-toy")


def float32(*arrays):
    return tuple(jnp.asarray(a, jnp.float32) for a in arrays)


def naive(x, y, weights):
    """Weighted dCorr^2 by its definition: products of doubly centred distance matrices."""
    p = weights / weights.sum()

    def centred(v):
        distances = np.abs(v[:, None] - v)
        mean = distances @ p
        return distances - mean[:, None] - mean + p @ mean

    a, b = centred(x), centred(y)
    both, own_x, own_y = (p @ m @ p for m in (a * b, a * a, b * b))
    return both / np.sqrt(own_x * own_y)


@pytest.mark.parametrize("count", [2, 3, 64, 777])
@pytest.mark.parametrize("weighted", [False, True])
def test_distance_correlation_is_its_definition(count, weighted):
    draw = np.random.default_rng(count)
    x = draw.standard_normal(count)
    y = np.round(x**2 + draw.standard_normal(count), 1)  # with ties
    weights = draw.uniform(0, 2, count) if weighted else np.ones(count)
    found = float(jax.jit(distance_correlation)(*float32(x, y, weights)))
    assert found == pytest.approx(naive(x, y, weights), abs=1e-5)


@pytest.mark.slow
def test_distance_correlation_knows_extremes():
    x = np.linspace(-1, 1, 200)
    one = np.ones(200)
    assert float(distance_correlation(*float32(x, 3 * x - 1, one))) == pytest.approx(1, abs=1e-5)
    assert float(distance_correlation(*float32(x, 0 * x, one))) == 0
    assert naive(x, x**2, one) > 0.1  # uncorrelated and dependent
    grid_x, grid_y = (a.ravel() for a in np.meshgrid(x[::10], x[::10]))
    assert float(distance_correlation(*float32(grid_x, grid_y, np.ones(400)))) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_the_gradient_of_the_distance_correlation_is_that_of_the_definition():
    draw = np.random.default_rng(5)
    x, y, weights = draw.standard_normal(40), draw.standard_normal(40), draw.uniform(0, 1, 40)
    gradient = np.asarray(jax.grad(distance_correlation)(*float32(x, y, weights)))
    step = 1e-6 * np.eye(40)
    numeric = [(naive(x + s, y, weights) - naive(x - s, y, weights)) / 2e-6 for s in step]
    np.testing.assert_allclose(gradient, numeric, atol=2e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_dominated_sums_are_sums_over_lower_left_quadrants(count):
    draw = np.random.default_rng(count)
    x, y, values = draw.permutation(count), draw.permutation(count), draw.standard_normal((2, count))
    wanted = [[values[row][(x < x[i]) & (y < y[i])].sum() for i in range(count)] for row in (0, 1)]
    found = dominated_sums(jnp.asarray(values, jnp.float32), jnp.argsort(x), jnp.argsort(y))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def moment_integral(score, slices, weights, count, order):
    """The penalty by quadrature: least-squares polynomials in the slices at each score."""
    middles = -1 + (2 * np.arange(count) + 1) / count
    edges = np.unique(np.concatenate([[0.0], score, [1.0]]))
    total = 0.0
    for low, high in itertools.pairwise(edges):
        below = [weights[(slices == m) & (score <= low)].sum() / weights[slices == m].sum() for m in range(count)]
        fitted = np.polyval(np.polyfit(middles, below, order), middles)
        total += (high - low) * np.mean((below - fitted) ** 2)
    return total


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_moment_penalty_is_what_a_low_polynomial_leaves(order):
    draw = np.random.default_rng(order)
    slices, weights = np.arange(300) % 6, draw.uniform(0.5, 1, 300)
    score = draw.beta(1 + slices**2 / 5, 2)
    basis = jnp.asarray(legendre_basis(6, order), jnp.float32)
    found = moment_penalty(
        jnp.asarray(score, jnp.float32), jnp.asarray(slices), jnp.asarray(weights, jnp.float32), basis
    )
    assert float(found) == pytest.approx(moment_integral(score, slices, weights, 6, order), rel=1e-3, abs=1e-6)
    gradient = jax.grad(moment_penalty)(
        jnp.asarray(score, jnp.float32), jnp.asarray(slices), jnp.asarray(weights, jnp.float32), basis
    )
    event, step = 17, 1e-5
    moved = [moment_integral(score + s * (np.arange(300) == event), slices, weights, 6, order) for s in (step, -step)]
    assert float(gradient[event]) == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-2, abs=1e-6)


@pytest.mark.slow
def test_slopes_and_bends_of_moments_are_limited():
    """Profiles are made of a line or a parabola, so that the limit alone decides."""
    count, events = 8, 4000
    middles = np.repeat(-1 + (2 * np.arange(count) + 1) / count, events)
    slices = np.repeat(np.arange(count), events)
    place = np.tile((np.arange(events) + 0.5) / events, count)

    def value(shape, order, **limits):
        # Two scores only: between them the cumulative distribution is `shape` of the slice.
        score = np.where(place < shape, 0.25, 0.75)
        arrays = jnp.asarray(score, jnp.float32), jnp.asarray(slices), jnp.ones(len(score), jnp.float32)
        return float(moment_penalty(*arrays, jnp.asarray(legendre_basis(count, order), jnp.float32), **limits))

    line = 0.5 + 0.3 * middles
    spread = np.mean(np.unique(middles) ** 2)
    assert value(line, 1) == pytest.approx(0, abs=1e-6)
    assert value(line, 0) == pytest.approx(0.5 * 0.3**2 * spread, rel=0.01)
    assert value(line, 1, max_slope=0.1) == pytest.approx(0.5 * 0.2**2 * spread, rel=0.01)
    bent = 0.5 + 0.1 * middles + 0.3 * (middles**2 - spread)
    assert value(bent, 2) == pytest.approx(0, abs=1e-6)
    assert value(bent, 2, monotonic=True) > 1e-3
    gently = 0.5 + 0.3 * middles + 0.1 * (middles**2 - spread)
    assert value(gently, 2, monotonic=True) == pytest.approx(0, abs=1e-6)


def test_tangents_are_slopes_of_the_features_a_standard_deviation(toy):
    lesson = lesson_of(toy, 0, toy.nominal_draw())
    events = toy.table.slice(lesson.training[:500])
    step, key = 1e-2, jax.random.key(0)
    batch = tangent_batch(toy.case, lesson.task, lesson.draw, events, key)
    up, down = (make_batch(toy.case, lesson.task, draw_between([s], [s]), events, key) for s in (step, -step))
    (slope,) = batch.slopes
    width = toy.case.constraints[0].information(jnp.float32(0)) ** -0.5
    np.testing.assert_allclose(slope.features, width * (up.features - down.features) / (2 * step), atol=2e-3)
    assert np.abs(np.asarray(slope.features)).max() > 0.5


def kept(problem, name, strength, **more):
    """Return AUC at nominal and the KS distance of the background score between z = 0 and z = 1."""
    strategy = validate(STRATEGIES.get(name), {**SMALL, "lambda": strength, **more})
    observable = strategy.fit(problem, 0).observable
    scores = []
    for z in (0.0, 1.0):
        at = jnp.full((20_000, 1), z)
        events = problem.case.vary(problem.table.slice(slice(0, 20_000)), at)
        scores.append(np.asarray(observable.output(events, at, jnp.int32(0))))
    signal, background = (np.asarray(events.weights)[:, k] > 0 for k in (0, 1))
    auc = scipy.stats.mannwhitneyu(scores[0][signal], scores[0][background]).statistic
    ks = scipy.stats.ks_2samp(scores[0][background], scores[1][background]).statistic
    return auc / signal.sum() / background.sum(), ks


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strength"), list(zip(PENALTIES, (30, 100, 10), strict=True)))
def test_without_a_penalty_all_features_are_used_and_with_one_the_still_feature_is_left(toy, name, strength):
    """The eventwise toy: AUC 0.943 and KS 0.345 free, 0.760 and 0 for the still feature alone (docs/toys.md)."""
    free, blind = kept(toy, name, 0.0), kept(toy, name, strength)
    assert free == (pytest.approx(0.94, abs=0.02), pytest.approx(0.35, abs=0.06))
    assert blind == (pytest.approx(0.78, abs=0.06), pytest.approx(0.03, abs=0.05))


@pytest.mark.parametrize("name", PENALTIES[:2])
def test_a_feature_may_be_protected_in_place_of_the_nuisances(toy, name):
    strategy = validate(
        STRATEGIES.get(name), {**SMALL, "lambda": 300, "against": toy.case.features[0], "pivot_on": "both"}
    )
    observable = strategy.fit(toy, 0).observable
    events = toy.table.slice(slice(0, 5_000))
    score = np.asarray(observable.output(events, jnp.zeros((5_000, 1)), jnp.int32(0)))
    features = np.asarray(events.features)
    assert abs(scipy.stats.spearmanr(score, features[:, 0]).statistic) < 0.25
    assert abs(scipy.stats.spearmanr(score, features[:, 1]).statistic) > 0.7
    wrong = validate(STRATEGIES.get(name), {**SMALL, "against": "movd"})
    with pytest.raises(ConfigError, match=r"against: case 'eventwise-toy' has no feature 'movd'.* \(known: "):
        wrong.fit(toy, 0)


@pytest.mark.slow
def test_strengths_share_one_compilation(toy, monkeypatch):
    traces = []
    inner = penalised.PenalisedDescent.step

    def counting(self, *arguments):
        traces.append(1)
        return inner(self, *arguments)

    monkeypatch.setattr(penalised.PenalisedDescent, "step", counting)
    training = {**SMALL["training"], "minimum_steps": 32}
    for strength in (0.0, 1.0, 7.0):
        over = {"network": {"layers": 1, "width": 9}, "training": training, "lambda": strength}
        validate(STRATEGIES.get("distance_correlation"), over).fit(dataclasses.replace(toy, done={}), 0)
    assert len(traces) == 1


def test_a_case_without_moving_events_is_refused_in_a_sentence():
    still = problem_of("inferno-mixture", benchmark="B0")
    for name in PENALTIES:
        with pytest.raises(ConfigError, match=rf"'{name}'.*case 'inferno-mixture'.*(leave it out|take distance)"):
            validate(STRATEGIES.get(name), SMALL).fit(still, 0)
