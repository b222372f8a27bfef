"""The Gaussian toy against its formulas (arXiv:2105.08742)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from exact_likelihood import exact_fit, exact_nll, pseudo_experiment
from systwise.cases import CASES
from systwise.cases.gaussian_toy import SIGNAL, GaussianToy, GaussianToySettings
from systwise.errors import ConfigError
from systwise.settings import validate


@pytest.fixture(scope="module")
def case():
    return GaussianToy(GaussianToySettings(events=40_000))


@pytest.fixture(scope="module")
def table(case):
    return case.load(5)


def test_it_is_found_by_its_name():
    assert CASES.get("gaussian-toy") is GaussianToy


def test_events_have_the_means_widths_and_yields_of_the_settings(case, table):
    signal = table.process == SIGNAL
    np.testing.assert_allclose(table.weights.sum(axis=0, dtype=np.float64), [500, 50_000], rtol=1e-5)
    mean = np.array([math.cos(math.pi / 4), math.sin(math.pi / 4)])
    for mask, sign in ((signal, 1), (~signal, -1)):
        np.testing.assert_allclose(table.features[mask].mean(axis=0), sign * mean, atol=5 * 0.7 / math.sqrt(20_000))
        np.testing.assert_allclose(table.features[mask].std(axis=0), 0.7, rtol=0.02)


@pytest.mark.parametrize("z", [0.2, math.pi / 4, 1.3])
def test_variation_moves_the_means_and_nothing_else(case, table, z):
    events = table.slice(slice(0, 20_000))
    varied = jax.jit(case.vary)(events, jnp.array([z]))
    signal = np.asarray(events.process) == SIGNAL
    shift = np.array([math.cos(z), math.sin(z)]) - math.sqrt(0.5)
    moved = np.asarray(varied.features) - np.asarray(events.features)
    np.testing.assert_allclose(moved[signal], np.broadcast_to(shift, moved[signal].shape), atol=2e-6)
    np.testing.assert_allclose(moved[~signal], np.broadcast_to(-shift, moved[~signal].shape), atol=2e-6)
    np.testing.assert_array_equal(varied.weights, events.weights)


def test_variation_is_differentiable_and_takes_a_value_an_event(case, table):
    events = table.slice(slice(0, 8))
    z = jnp.linspace(0.3, 1.2, 8)[:, None]
    together = case.vary(events, z).features
    for i in range(8):
        alone = case.vary(table.slice(slice(i, i + 1)), z[i]).features
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)
    slope = jax.jacfwd(lambda v: case.vary(events, v[None]).features[:, 0])(jnp.array([0.7], jnp.float32)[0])
    sign = np.where(np.asarray(events.process) == SIGNAL, 1, -1)
    np.testing.assert_allclose(slope, -sign * math.sin(0.7), rtol=1e-5)


def test_exact_score_is_the_log_density_ratio(case, table):
    z, x = 1.1, table.features[:100].astype(np.float64)
    mean = np.array([math.cos(z), math.sin(z)])
    ratio = [
        scipy.stats.multivariate_normal.logpdf(x, mean, 0.49) - scipy.stats.multivariate_normal.logpdf(x, -mean, 0.49)
    ][0]
    exact = case.truth.logit(jnp.asarray(table.features[:100]), jnp.full((100, 1), z))
    np.testing.assert_allclose(exact, ratio, rtol=1e-4, atol=1e-4)


def test_log_densities_are_those_of_scipy(case, table):
    x, angles = table.features[:200], np.linspace(0.2, 1.4, 200)
    exact = np.asarray(case.truth.log_density(jnp.asarray(x), jnp.asarray(angles)[:, None]))
    mean = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for component, sign in enumerate((1, -1)):
        logs = scipy.stats.norm.logpdf(x.astype(np.float64), sign * mean, 0.7).sum(axis=1)
        np.testing.assert_allclose(exact[:, component], logs, rtol=1e-5, atol=1e-5)
    logit = case.truth.logit(jnp.asarray(x), jnp.asarray(angles)[:, None])
    np.testing.assert_allclose(exact[:, 0] - exact[:, 1], logit, rtol=1e-4, atol=2e-5)


def test_samples_are_fresh_independent_and_repeatable(case):
    sample = case.sample(5, (500, 50_000))
    np.testing.assert_array_equal(sample.weights.sum(axis=0), [500, 50_000])
    np.testing.assert_array_equal(sample.process[:500], SIGNAL)
    mean = np.array([math.cos(math.pi / 4), math.sin(math.pi / 4)])
    for rows, sign in ((slice(500), 1), (slice(500, None), -1)):
        pulls = (sample.features[rows] - sign * mean) / 0.7
        assert scipy.stats.kstest(pulls.ravel(), scipy.stats.norm.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(sample.features, case.sample(5, (500, 50_000)).features)
    assert sample.fingerprint != case.sample(6, (500, 50_000)).fingerprint
    tables = (sample, case.sample(6, (500, 500)), case.load(5), case.load(6))
    rows = [set(map(tuple, table.features)) for table in tables]
    assert not any(one & other for i, one in enumerate(rows) for other in rows[:i])
    assert not set(sample.id) & set(case.load(5).id)


def test_exact_nll_is_that_of_a_plain_loop(case):
    table = case.sample(1, (5, 20))
    mu, z, centre = 1.3, 1.1, 0.9
    mean = np.array([math.cos(z), math.sin(z)])
    expected = mu * 500 + 50_000 + (z - centre) ** 2 / (2 * 0.5**2)
    for x in table.features.astype(np.float64):
        signal, background = (scipy.stats.multivariate_normal.pdf(x, sign * mean, 0.49) for sign in (1, -1))
        expected -= math.log(mu * 500 * signal + 50_000 * background)
    found = exact_nll(case, [500, 50_000], table.features, [mu], [z], [[centre]])
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("z", [math.pi / 4, math.pi / 2])
def test_exact_fits_reach_the_bound(case, z):
    """statistics: sigma(mu) = 0.0676 unbinned at every angle, sigma(z) = 0.0032."""
    fits = []
    for seed in range(12):
        point = {"mu": 1.0, "angle": z}
        features, auxiliary = pseudo_experiment(case, np.array([500.0, 50_000.0]), seed, point)
        fits.append(exact_fit(case, [500, 50_000], features, auxiliary, point))
    assert all(fit.valid for fit in fits)
    sigmas = [fit.sigma for fit in fits]
    assert np.mean(sigmas) == pytest.approx(0.0676, rel=0.03)
    assert np.mean([fit.errors["angle"] for fit in fits]) == pytest.approx(0.0032, rel=0.05)
    assert np.mean([fit.values["mu"] for fit in fits]) == pytest.approx(1, abs=3.5 * 0.0676 / math.sqrt(12))


def test_bound_is_that_of_a_brute_force_fisher_matrix_and_profiling_costs_nothing(case):
    """statistics: 0.0676, equal profiled or not; the full matrix by two-dimensional quadrature."""
    profiled, known = case.truth.bound(np.array([1.0]), np.array([math.pi / 4]))
    assert profiled == pytest.approx(0.0676, abs=5e-5)
    grid = np.linspace(-5, 5, 801)
    x = np.stack(np.meshgrid(grid, grid), axis=-1)

    def densities(mu, z):
        mean = np.array([math.cos(z), math.sin(z)])
        gauss = [scipy.stats.multivariate_normal.pdf(x, sign * mean, 0.49) for sign in (1, -1)]
        return mu * 500 * gauss[0] + 50_000 * gauss[1]

    step, z = 1e-4, math.pi / 4
    slopes = [
        (densities(1 + step, z) - densities(1 - step, z)) / (2 * step),
        (densities(1, z + step) - densities(1, z - step)) / (2 * step),
    ]
    cell = (grid[1] - grid[0]) ** 2
    fisher = np.array([[np.sum(a * b / densities(1, z)) * cell for a in slopes] for b in slopes])
    covariance = np.linalg.inv(fisher + np.diag([0.0, 1 / 0.5**2]))
    assert profiled == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-4)
    assert known == pytest.approx(fisher[0, 0] ** -0.5, rel=1e-4)
    assert math.sqrt(covariance[1, 1]) == pytest.approx(0.0032, abs=5e-5)


def test_the_same_seed_gives_the_same_events_and_the_fingerprint_knows(case):
    again, other = case.load(5), case.load(6)
    np.testing.assert_array_equal(again.features, case.load(5).features)
    assert again.fingerprint == case.load(5).fingerprint
    assert again.fingerprint != other.fingerprint
    assert not np.array_equal(again.features, other.features)


def test_settings_reach_the_physics_and_nonsense_is_refused():
    wide = GaussianToy(GaussianToySettings(noise=1.4, events=1000))
    assert wide.truth.bound(np.array([1.0]), np.array([0.7]))[0] > 0.15
    with pytest.raises(ConfigError, match=r"case\.noise"):
        validate(GaussianToySettings, {"noise": -1}, "case")
    with pytest.raises(ConfigError, match=r"unknown key 'case\.nois', did you mean 'noise'"):
        validate(GaussianToySettings, {"nois": 1}, "case")


@pytest.mark.parametrize("name", CASES.names())
def test_every_case_has_defaults_that_hold_together(name):
    kind = CASES.get(name)
    case = kind(kind.settings_class())
    names = [nuisance.name for nuisance in case.nuisances]
    assert [constraint.nuisance for constraint in case.constraints] == names
    assert {variation.nuisance for variation in case.variations} <= set(names)
    for point in case.defaults.true:
        for nuisance in case.nuisances:
            nuisance.check(point.get(nuisance.name, nuisance.nominal))
    assert case.defaults.true[0] == {n.name: n.nominal for n in case.nuisances}
    assert case == kind(kind.settings_class())
    assert hash(case) == hash(kind(kind.settings_class()))
    assert {"paper", "quick"} <= set(kind.presets)


@pytest.mark.parametrize("name", CASES.names())
def test_every_case_samples_fresh_events_or_says_that_it_cannot(name):
    """Where a truth is known, its logit is the ratio of its densities, and they integrate to the same."""
    kind = CASES.get(name)
    case = kind(kind.settings_class())
    components = case.components.names
    table = case.sample(11, [3000] * len(components))
    if table is None:
        assert case.truth is None
        return
    np.testing.assert_array_equal(table.weights.sum(axis=0), 3000)
    assert set(np.unique(table.weights)) == {0, 1}
    assert table.feature_names == case.features
    assert table.component_names == components
    nominal = jnp.array([nuisance.nominal for nuisance in case.nuisances])
    z = jnp.broadcast_to(nominal, (len(table), len(case.nuisances)))
    logs = np.asarray(case.truth.log_density(jnp.asarray(table.features), z))
    logit = np.asarray(case.truth.logit(jnp.asarray(table.features), z))
    assert len(components) == 2
    np.testing.assert_allclose(logs[:, 0] - logs[:, 1], logit, rtol=1e-4, atol=1e-4)
    # Over as many events of one as of the other, p_0 / (p_0 + p_1) has mean 1/2.
    assert np.mean(scipy.special.expit(logit)) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(6000))
