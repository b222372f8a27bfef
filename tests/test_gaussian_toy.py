"""The Gaussian toy against its formulas (arXiv:2105.08742)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

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
