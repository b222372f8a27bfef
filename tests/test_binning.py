"""Binnings: quantiles, merging, and the optimised one against exact uncertainties."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.interpolate import CubicSpline

from systwise.errors import ConfigError, TemplateError
from systwise.parameters import GaussianConstraint, NoConstraint, Nuisance, signal_strength, uniform_anchors
from systwise.templates import (
    FineGrid,
    ScoreTable,
    anchor_pairs,
    build_templates,
    effective_counts,
    merge_sparse,
    mixture_quantiles,
    optimised_edges,
    signal_quantiles,
    uniform_edges,
)
from systwise.templates.binning._smoothing import smooth_curves
from templates_fixtures import NOMINAL, SHIFTED, exact_counts, exact_sigma

COMPONENTS = signal_strength()
NAMES = ("signal", "background")
GRID = FineGrid()
ANGLE = Nuisance("angle", NOMINAL, (-0.4, 1.97), (-0.4, 1.97), uniform_anchors(-0.4, 1.97, 19)).with_anchors(NOMINAL)
CONSTRAINT = GaussianConstraint("angle", 0.5)


def toy_table(moving: bool, simulated: float | None = 250_000, seed: int = 1) -> ScoreTable:
    """Return the toy's exact score table, or one with Poisson noise of `simulated` events a process."""
    pairs = anchor_pairs((ANGLE,))
    exact = np.stack([exact_counts(GRID.edges, z, z if moving else NOMINAL) for (z,) in pairs.z_true])
    weight = exact.sum(axis=-1, keepdims=True) / (simulated or 1e12)
    draw = np.random.default_rng(seed)
    sums = weight * draw.poisson(exact / weight) if simulated else exact
    return ScoreTable(pairs, sums, weight * sums, NAMES, GRID.edges)


@pytest.fixture(scope="module")
def exact_table():
    return toy_table(False, None)


def test_quantiles_hold_equal_contents(exact_table):
    for bins in (2, 10, 20):
        edges = signal_quantiles(exact_table, COMPONENTS, bins)
        assert len(edges) == bins + 1
        np.testing.assert_allclose(exact_table.rebin(edges)[0][0, 0], 500 / bins, rtol=0.1)
        edges = mixture_quantiles(exact_table, COMPONENTS, bins)
        signal, background = exact_table.rebin(edges)[0][0]
        np.testing.assert_allclose(signal / 500 + background / 50_000, 2 / bins, rtol=0.1)


def test_quantiles_of_a_coarse_score_are_fewer():
    sums = np.zeros((2, 2, 10))
    sums[..., 4:6] = 1
    pairs = anchor_pairs((Nuisance("z", 0.0, (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)),))
    table = ScoreTable(pairs, sums, sums, NAMES, uniform_edges(10))
    np.testing.assert_array_equal(signal_quantiles(table, COMPONENTS, 8), [0, 0.5, 1])
    # A constant score has one bin.
    sums[..., 5] = 0
    np.testing.assert_array_equal(signal_quantiles(table, COMPONENTS, 8), [0, 1])


@pytest.mark.parametrize(
    ("make", "bins", "expected"),
    [
        (uniform_edges, 10, 0.0867),
        (uniform_edges, 30, 0.0737),
        (lambda bins: signal_quantiles(toy_table(False, None), COMPONENTS, bins), 10, 0.0679),
        (lambda bins: signal_quantiles(toy_table(False, None), COMPONENTS, bins), 20, 0.0677),
    ],
)
def test_reference_uncertainties_at_the_nominal_angle(make, bins, expected):
    assert exact_sigma(make(bins), NOMINAL) == pytest.approx(expected, abs=1.5e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_optimised_binning_of_the_toy_is_good_everywhere(seed):
    table = toy_table(False, seed=seed)
    quantiles = signal_quantiles(table, COMPONENTS, 10)
    edges = optimised_edges(table, COMPONENTS, (ANGLE,), (CONSTRAINT,), 10)
    assert len(edges) == 11
    # Signal quantiles look nearly perfect at the nominal angle, 0.118 to 0.124 at pi/2.
    assert exact_sigma(edges, SHIFTED) <= min(0.121, exact_sigma(quantiles, SHIFTED))
    assert exact_sigma(edges, SHIFTED) < 0.65 * exact_sigma(uniform_edges(10), SHIFTED)
    assert exact_sigma(edges, NOMINAL) < 0.0685
    for angle in (0.4, 1.0, 1.285, 1.9):
        assert exact_sigma(edges, angle) < 1.002 * exact_sigma(quantiles, angle)
        assert exact_sigma(edges, angle) < exact_sigma(uniform_edges(10), angle)
    finer = optimised_edges(table, COMPONENTS, (ANGLE,), (CONSTRAINT,), 30)
    assert exact_sigma(finer, SHIFTED) < exact_sigma(edges, SHIFTED)


def test_optimised_binning_of_the_moving_score_reaches_the_bound():
    edges = optimised_edges(toy_table(True), COMPONENTS, (ANGLE,), (CONSTRAINT,), 20)
    # The Cramér-Rao bound is 0.0676.
    assert exact_sigma(edges, SHIFTED, moving=True) < 0.0676 * 1.006


def test_every_optimised_bin_has_the_minimum_at_every_anchor():
    table = toy_table(False, 20_000)
    for minimum in (10, 100):
        edges = optimised_edges(table, COMPONENTS, (ANGLE,), (CONSTRAINT,), 30, minimum=minimum)
        assert effective_counts(*table.rebin(edges), COMPONENTS).min() >= minimum
    with pytest.raises(TemplateError, match="fewer than 1e\\+06 effective events"):
        optimised_edges(table, COMPONENTS, (ANGLE,), (CONSTRAINT,), 30, minimum=1e6)


def test_a_single_bin_and_a_free_nuisance_are_no_trouble():
    edges = optimised_edges(toy_table(False), COMPONENTS, (ANGLE,), (NoConstraint("angle"),), 1)
    np.testing.assert_array_equal(edges, [0, 1])
    edges = optimised_edges(toy_table(False), COMPONENTS, (ANGLE,), (NoConstraint("angle"),), 10)
    assert exact_sigma(edges, SHIFTED, constraint=np.inf) < 0.125


class Inferno:
    """The three-dimensional mixture of arXiv:1806.04743; the optimum is the exact nominal ratio."""

    shift = Nuisance("r", 0.0, (-1.2, 1.2), (-1.2, 1.2), uniform_anchors(-1.2, 1.2, 9))
    rate = Nuisance("rate", 3.0, (2.0, 4.0), (2.0, 4.0), uniform_anchors(2.0, 4.0, 9))

    def __init__(self, uniform: np.ndarray) -> None:
        normal = scipy.stats.norm.ppf(uniform[:, :2])
        exponential = -np.log1p(-uniform[:, 2])
        self.signal = np.column_stack([normal, exponential / 2])
        self.background = np.column_stack([2 + np.sqrt(5) * normal[:, 0], 3 * normal[:, 1], exponential / 3])

    @staticmethod
    def histogram(x: np.ndarray, total: float) -> np.ndarray:
        signal = -(x[:, 0] ** 2 + x[:, 1] ** 2) / 2 + np.log(2) - 2 * x[:, 2]
        background = -((x[:, 0] - 2) ** 2 / 5 + x[:, 1] ** 2 / 9) / 2 - np.log(45) / 2 + np.log(3) - 3 * x[:, 2]
        logits = jnp.asarray(signal - background, jnp.float32)
        return np.bincount(np.asarray(GRID.index(logits)), minlength=GRID.bins) * (total / len(x))

    def table(self, nuisances) -> ScoreTable:
        pairs = anchor_pairs(nuisances)
        signal = self.histogram(self.signal, 50.0)
        sums = []
        for z in pairs.z_true:
            shift, rate = (*z, 3.0)[:2]
            moved = self.background * [1, 1, 3.0 / rate] + [shift, 0, 0]
            sums.append([signal, self.histogram(moved, 1000.0)])
        weights = np.array([50.0, 1000.0])[:, None] / len(self.signal)
        return ScoreTable(pairs, np.array(sums), np.array(sums) * weights, NAMES, GRID.edges)


def inferno_sigma(table: ScoreTable, nuisances, edges) -> float:
    """Return the profiled uncertainty on the signal count with free nuisances."""
    sums, _ = table.rebin(edges)
    nominal = sums[0]
    slopes = [
        CubicSpline(nuisance.anchors, sums[pairs].sum(axis=1))(nuisance.nominal, 1)
        for nuisance, pairs in zip(nuisances, table.pairs.diagonal(nuisances), strict=True)
    ]
    gradient = np.stack([nominal[0] / 50, *slopes], axis=1)
    return float(np.linalg.inv((gradient.T / nominal.sum(axis=0)) @ gradient)[0, 0] ** 0.5)


@pytest.fixture(scope="module")
def inferno_exact():
    """Events from a Sobol sequence: the integrals of histograms, nearly without noise."""
    return Inferno(scipy.stats.qmc.Sobol(3, seed=1).random(2**18))


@pytest.mark.parametrize(
    ("nuisances", "published"),
    [
        ((Inferno.shift,), {"signal": 22.1, "uniform": 19.4, "mixture": 17.7}),
        ((Inferno.shift, Inferno.rate), {"signal": 28.8, "uniform": 24.8, "mixture": 22.8}),
    ],
    ids=["B1", "B2"],
)
def test_optimised_binning_of_infernos_mixture(inferno_exact, nuisances, published):
    exact = inferno_exact.table(nuisances)
    simulated = Inferno(np.random.default_rng(4).random((400_000, 3))).table(nuisances)
    constraints = tuple(NoConstraint(nuisance.name) for nuisance in nuisances)
    found = {
        "signal": inferno_sigma(exact, nuisances, signal_quantiles(exact, COMPONENTS, 10)),
        "uniform": inferno_sigma(exact, nuisances, uniform_edges(10)),
        "mixture": inferno_sigma(exact, nuisances, mixture_quantiles(exact, COMPONENTS, 10)),
    }
    assert found == pytest.approx(published, rel=0.015)
    edges = optimised_edges(simulated, COMPONENTS, nuisances, constraints, 10)
    # Half of the cost lies away from the nominal point, hence the half per cent.
    assert inferno_sigma(exact, nuisances, edges) < 1.005 * min(found.values())
    finer = optimised_edges(simulated, COMPONENTS, nuisances, constraints, 20)
    assert inferno_sigma(exact, nuisances, finer) < 0.99 * min(found.values())


def test_smoothing_removes_noise_and_keeps_the_curve():
    place = np.linspace(0, 1, 300)
    truth = np.stack([np.sin(6 * place), 3 * place, np.exp(4 * place) / 20], axis=1)
    noise = 0.1 * np.random.default_rng(0).standard_normal(truth.shape)
    smooth = smooth_curves(truth + noise, np.ones(300))
    assert np.sqrt(np.mean((smooth - truth) ** 2, axis=0)).max() < 0.03
    # Without noise nothing is taken away.
    assert np.abs(smooth_curves(truth, np.ones(300)) - truth).max() < 1e-3


def test_sparse_bins_are_merged_with_a_sentence():
    table = toy_table(False, 2_000)
    edges, warning = merge_sparse(uniform_edges(200), table, COMPONENTS, (ANGLE,), 20)
    assert set(np.round(edges, 9)) <= set(np.round(uniform_edges(200), 9))
    assert effective_counts(*table.rebin(edges), COMPONENTS).min() >= 20
    assert warning is not None
    assert warning.startswith(f"200 bins were merged to {len(edges) - 1}, so that each holds 20 effective")
    build_templates(table, edges, COMPONENTS, (ANGLE,))
    kept, warning = merge_sparse(uniform_edges(2), table, COMPONENTS, (ANGLE,), 20)
    assert warning is None
    np.testing.assert_array_equal(kept, uniform_edges(2))
    with pytest.raises(TemplateError, match=r"all bins together have .* effective events"):
        merge_sparse(uniform_edges(10), table, COMPONENTS, (ANGLE,), 1e5)


def test_a_binning_needs_a_bin():
    with pytest.raises(ConfigError, match="at least one bin, got 0"):
        uniform_edges(0)
