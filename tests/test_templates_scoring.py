"""Scoring against exact normal integrals and against a direct float64 histogram."""

import dataclasses
import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import ConfigError, TemplateError
from systwise.parameters import Nuisance, uniform_anchors
from systwise.templates import (
    FineGrid,
    Pairs,
    ScoreTable,
    anchor_pairs,
    auc,
    ks_distance,
    score,
    uniform_edges,
    yields,
)
from templates_fixtures import NOMINAL, SHIFTED, SLOPE, TRACES, ExactScore, exact_counts, first_feature, toy

EVENTS = 60_000


@pytest.fixture(scope="module")
def case():
    return toy(EVENTS)


@pytest.fixture(scope="module")
def events(case):
    return case.load(11)


@pytest.fixture(scope="module")
def scores(case, events):
    """Score tables of the exact observables, fixed and moving, at two true points."""
    pairs = {moving: anchor_pairs(case.nuisances, ({"angle": SHIFTED},), moving) for moving in (False, True)}
    rows = np.arange(EVENTS)
    return {moving: score(ExactScore(moving), case, events, rows, None, pairs[moving]) for moving in (False, True)}


def one_pair(*values: float) -> Pairs:
    point = np.array([values], np.float64)
    return Pairs(point, point)


@pytest.mark.parametrize("moving", [False, True])
def test_binned_scores_are_normal_integrals(scores, moving):
    table = scores[moving]
    edges = uniform_edges(10)
    counts, variances = table.rebin(edges)
    for pair, (z_true, z_hypothesis) in enumerate(zip(table.pairs.z_true, table.pairs.z_hypothesis, strict=True)):
        exact = exact_counts(edges, z_true[0], z_hypothesis[0] if moving else NOMINAL)
        weight = exact.sum(axis=1, keepdims=True) / (EVENTS / 2)
        # Pulls in units of the exact binomial spread; empty tails would have none.
        share = exact / exact.sum(axis=1, keepdims=True)
        spread = np.sqrt(weight * exact * (1 - share))
        usable = exact > 20 * weight
        pulls = ((counts[pair] - exact) / spread)[usable]
        assert np.abs(pulls).max() < 5
        assert 0.3 < np.mean(pulls**2) < 2.5
        # All events of a process have the same weight, so that squares are weight times sums.
        np.testing.assert_allclose(variances[pair], weight * counts[pair], rtol=1e-5, atol=1e-9)


def test_off_diagonal_pairs_differ_from_diagonal_ones(scores):
    table = scores[True]
    crossed, _ = table.at(np.array([SHIFTED]), np.array([NOMINAL]))
    own, _ = table.at(np.array([SHIFTED]))
    exact = exact_counts(table.edges, SHIFTED, NOMINAL)
    assert ks_distance(crossed[1], own[1]) > 0.1
    assert ks_distance(crossed[1], exact[1]) < 0.01
    # The fixed observable at the shifted truth is the moving one under the nominal hypothesis.
    fixed, _ = scores[False].at(np.array([SHIFTED]))
    np.testing.assert_allclose(crossed.sum(axis=1), fixed.sum(axis=1), rtol=1e-12)
    assert ks_distance(crossed[1], fixed[1]) < 1e-4


def test_sums_equal_a_float64_histogram(case, events):
    grid = FineGrid()
    rows = np.arange(0, EVENTS, 3)
    rng = np.random.default_rng(2)
    weights = rng.exponential(size=(EVENTS, 2)).astype(np.float32)
    weighted = dataclasses.replace(events, weights=weights)
    table = score(first_feature(0.0), case, weighted, rows, None, one_pair(NOMINAL), grid=grid)
    x = events.features[rows, 0].astype(np.float64)
    for power, found in ((1, table.sums), (2, table.squares)):
        for component in range(2):
            column = weights[rows, component].astype(np.float64) ** power
            expected, _ = np.histogram(scipy.special.expit(x), grid.edges, weights=column)
            np.testing.assert_allclose(found[0, component].sum(), column.sum(), rtol=1e-13)
            # float32 may put an event that lies on an edge into the next bin.
            moved = np.abs(np.cumsum(found[0, component]) - np.cumsum(expected))
            assert np.count_nonzero(moved > 1e-9 * column.sum()) < 10
            assert moved.max() < 20


def test_many_equal_weights_in_one_bin_do_not_lose_precision(case, events):
    saturated = dataclasses.replace(events, weights=np.full((EVENTS, 2), 0.1, np.float32))
    table = score(first_feature(1e3), case, saturated, np.arange(EVENTS), None, one_pair(NOMINAL))
    assert table.sums[0, 0, -1] == pytest.approx(EVENTS * float(np.float32(0.1)), rel=1e-12)
    assert table.sums[0, 0, :-1].sum() == 0


def test_the_result_does_not_depend_on_blocks_and_chunks(case, events):
    rows = np.random.default_rng(0).permutation(EVENTS)[:10_001]
    pairs = one_pair(1.0)
    first = score(ExactScore(False), case, events, rows, None, pairs)
    second = score(ExactScore(False), case, events, rows, None, pairs, block=300, chunk=1200)
    np.testing.assert_allclose(second.sums.sum(axis=-1), first.sums.sum(axis=-1), rtol=1e-12)
    assert np.abs(second.sums - first.sums).sum() <= 1e-3 * first.sums.sum()
    assert ks_distance(first.sums[0, 1], second.sums[0, 1]) < 1e-4


def test_each_event_is_scored_by_the_network_of_its_fold(case, events):
    fold_of = np.random.default_rng(3).integers(0, 5, EVENTS)
    rows = np.flatnonzero(np.arange(EVENTS) % 7 != 0)
    # Each fold's offset carries its events far from those of the others.
    offsets = (-12.0, -6.0, 0.0, 6.0, 12.0)
    nothing = dataclasses.replace(events, features=np.zeros_like(events.features))
    observable = first_feature(*offsets)
    table = score(observable, case, nothing, rows, fold_of, one_pair(NOMINAL))
    for fold, offset in enumerate(offsets):
        fine = np.searchsorted(table.edges, scipy.special.expit(offset))
        near = table.sums[0, :, fine - 3 : fine + 3].sum(axis=-1)
        expected = events.weights[rows[fold_of[rows] == fold]].sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(near, expected, rtol=1e-9)


def test_one_compilation_serves_folds_pairs_chunks_and_networks(case, events):
    fold_of = np.arange(EVENTS) % 3
    pairs = anchor_pairs(case.nuisances)
    TRACES.clear()
    for seed in range(3):
        score(first_feature(*[float(seed)] * 3), case, events, np.arange(20_000), fold_of, pairs)
    assert len(TRACES) == 1


def test_a_fold_without_a_network_is_refused(case, events):
    with pytest.raises(ConfigError, match="fold 4 has no network"):
        score(ExactScore(False), case, events, np.arange(10), np.full(EVENTS, 4), one_pair(NOMINAL))


def test_a_score_that_is_not_a_number_is_refused_if_it_counts(case, events):
    features, weights = events.features.copy(), events.weights.copy()
    features[[5, 8]] = np.nan
    weights[5] = 0
    observable, rows = first_feature(0.0), np.arange(1000)
    broken = dataclasses.replace(events, features=features, weights=weights, source="events.parquet")
    with pytest.raises(TemplateError, match=r"not a number for 1 events at z=.*events\.parquet"):
        score(observable, case, broken, rows, None, one_pair(NOMINAL))
    weights[8] = 0
    table = score(observable, case, broken, rows, None, one_pair(NOMINAL))
    assert table.sums.sum() == pytest.approx(weights[rows].sum(dtype=np.float64))


def test_no_events_are_refused(case, events):
    with pytest.raises(TemplateError, match="no events to score in generated"):
        score(ExactScore(False), case, events, np.arange(0), None, one_pair(NOMINAL))


def test_memory_does_not_grow_with_the_number_of_events(case, events):
    held, peaks = [], []

    def watch(what, done, total):
        held.append(sum(array.nbytes for array in jax.live_arrays()))

    for copies in (2, 8):
        rows = np.tile(np.arange(EVENTS), copies)
        held.clear()
        tracemalloc.start()
        score(ExactScore(False), case, events, rows, None, one_pair(NOMINAL), chunk=16384, progress=watch)
        peaks.append((tracemalloc.get_traced_memory()[1], max(held)))
        tracemalloc.stop()
    assert peaks[1][1] <= 1.1 * peaks[0][1]
    # The host keeps row numbers and folds, nothing else that grows.
    assert peaks[1][0] - peaks[0][0] < 6 * EVENTS * 40


def test_progress_counts_network_evaluations(case, events):
    seen = []
    pairs = anchor_pairs(case.nuisances)
    score(ExactScore(False), case, events, np.arange(3000), None, pairs, progress=lambda *call: seen.append(call))
    assert seen[0] == ("scoring", 0, 3000 * len(pairs))
    assert seen[-1] == ("scoring", 3000 * len(pairs), 3000 * len(pairs))


class Threshold(GaussianToy):
    """The toy with a selection on the shifted first feature."""

    name = "toy-with-threshold"

    def select(self, events):
        kept = events.features[:, :1] > 0.3
        return eqx.tree_at(lambda e: e.weights, events, jnp.where(kept, events.weights, 0))


def test_yields_follow_a_selection(events):
    case = Threshold(GaussianToySettings(events=EVENTS))
    z = np.array([[0.2], [NOMINAL], [SHIFTED], [0.2]])
    found = yields(case, events, np.arange(EVENTS), z)
    np.testing.assert_array_equal(found[0], found[3])
    mean = np.cos(z[:, 0])
    exact = np.stack([500 * scipy.stats.norm.sf(0.3, mean, 0.7), 50_000 * scipy.stats.norm.sf(0.3, -mean, 0.7)], axis=1)
    share = exact / np.array([500, 50_000])
    assert np.all(np.abs(found / exact - 1) < 5 * np.sqrt((1 - share) / share / (EVENTS / 2)))
    table = score(ExactScore(False), case, events, np.arange(EVENTS), None, Pairs(z[:3], z[:3]))
    np.testing.assert_allclose(table.totals, found[:3], rtol=1e-12)


def test_merged_parts_are_the_whole(case, events, scores):
    rows, whole = np.arange(EVENTS), scores[False]
    parts = [score(ExactScore(False), case, events, rows[start::2], None, whole.pairs) for start in (0, 1)]
    merged = ScoreTable.merge(parts)
    np.testing.assert_allclose(merged.totals, whole.totals, rtol=1e-12)
    assert ks_distance(merged.sums[3, 1], whole.sums[3, 1]) < 1e-4
    np.testing.assert_allclose(merged.squares.sum(), whole.squares.sum(), rtol=1e-12)
    with pytest.raises(TemplateError, match="differ"):
        ScoreTable.merge([parts[0], score(ExactScore(False), case, events, rows[:10], None, one_pair(1.0))])
    with pytest.raises(TemplateError, match="nothing to merge"):
        ScoreTable.merge([])


def test_auc_is_that_of_two_normals(case, scores):
    # Two normals 2 SLOPE cos(dz) apart, both of width SLOPE * noise (statistics.md: 0.978 and 0.924).
    for z, moving, expected in ((NOMINAL, False, 0.978), (SHIFTED, True, 0.978), (SHIFTED, False, 0.924)):
        pair = scores[moving].pairs.find(np.array([z]))
        separation = 1.0 if moving else np.cos(z - NOMINAL)
        exact = scipy.stats.norm.cdf(np.sqrt(2) * separation / 0.7)
        assert auc(scores[moving], pair, case.components) == pytest.approx(exact, abs=0.002)
        assert exact == pytest.approx(expected, abs=0.001)


def test_ks_distance_is_that_of_two_normals(scores):
    for moving in (False, True):
        nominal, shifted = (scores[moving].at(np.array([z]))[0][1] for z in (NOMINAL, SHIFTED))
        apart = 0.0 if moving else SLOPE * (1 - np.cos(SHIFTED - NOMINAL)) / (SLOPE * 0.7)
        exact = 2 * scipy.stats.norm.cdf(apart / 2) - 1
        assert ks_distance(nominal, shifted) == pytest.approx(exact, abs=0.015)
    with pytest.raises(TemplateError, match="positive totals"):
        ks_distance(nominal, 0 * shifted)


def test_the_fine_bin_is_that_of_a_search():
    grid = FineGrid(uniform=60, logit=201)
    logits = np.random.default_rng(1).uniform(-20, 20, 20_000).astype(np.float32)
    inner = scipy.special.logit(grid.edges[1:-1])
    far = np.abs(logits[:, None] - inner).min(axis=1) > 1e-4
    found = np.asarray(grid.index(jnp.asarray(logits)))
    assert far.mean() > 0.9
    np.testing.assert_array_equal(found[far], np.searchsorted(inner, logits[far]))
    assert np.all(np.diff(grid.edges) > 0)
    assert len(grid.edges) == grid.bins + 1


def test_a_grid_holds_the_binnings_it_was_made_for():
    grid = FineGrid.holding(7, 10)
    for bins in (7, 10):
        assert np.abs(grid.edges[:, None] - uniform_edges(bins)).min(axis=0).max() < 1e-12
    with pytest.raises(ConfigError, match="odd"):
        FineGrid(logit=200)
    with pytest.raises(ConfigError, match="too many"):
        FineGrid(uniform=70_000)


def test_pairs_vary_one_nuisance_at_a_time_around_nominal():
    first = Nuisance("a", 0.0, (-1.0, 1.0), (-1.0, 1.0), uniform_anchors(-1.0, 1.0, 5))
    second = Nuisance("b", 1.0, (0.0, 2.0), (0.0, 2.0), uniform_anchors(0.0, 2.0, 3))
    fixed = anchor_pairs((first, second), ({"a": 0.5, "b": 2.0},))
    # 5 + 3 anchors, of which the nominal one is shared, and the true point.
    assert len(fixed) == 5 + 3 - 1 + 1
    np.testing.assert_array_equal(fixed.z_true, fixed.z_hypothesis)
    np.testing.assert_array_equal(fixed.z_true[0], [0.0, 1.0])
    diagonal = fixed.diagonal((first, second))
    np.testing.assert_array_equal(fixed.z_true[diagonal[0]], [[a, 1.0] for a in first.anchors])
    np.testing.assert_array_equal(fixed.z_true[diagonal[1]], [[0.0, b] for b in second.anchors])
    moving = anchor_pairs((first, second), ({"a": 0.5, "b": 2.0}, {}), moving=True)
    # (true, anchor) for seven hypotheses at both truths; at the nominal truth one is on the diagonal.
    assert len(moving) == len(fixed) + 7 + 6
    at_true = moving.at_true((first, second), np.array([0.5, 2.0]))
    assert np.all(moving.z_true[at_true[1]] == [0.5, 2.0])
    np.testing.assert_array_equal(moving.z_hypothesis[at_true[1]], [[0.0, b] for b in second.anchors])
    with pytest.raises(TemplateError, match="'c' is not a nuisance"):
        anchor_pairs((first, second), ({"c": 0.5},))
    with pytest.raises(TemplateError, match=r"not scored.*add the point"):
        fixed.find(np.array([0.3, 1.0]))
