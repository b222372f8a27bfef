"""The anchored observable: cells of score vectors, their templates, and what they measure."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from systwise.errors import ConfigError, TemplateError
from systwise.fit import Data, Model, fit, study_auxiliary
from systwise.learn import AbstractObservable
from systwise.parameters import Normalisation, Nuisance, signal_strength
from systwise.templates import (
    JointBinning,
    JointTable,
    Pairs,
    ScoreTree,
    build_joint_templates,
    choose_joint_binning,
    joint_cells,
    joint_points,
    joint_score,
    joint_vectors,
    merge_sparse_cells,
    spread_anchors,
)
from systwise.templates.joint._cells import cluster_leaves, fill_cells
from systwise.templates.joint._information import LeafInformation
from systwise.templates.joint._tree import grow_tree
from templates_fixtures import BACKGROUND, NOISE, NOMINAL, SIGNAL, SLOPE, ExactScore, first_feature, toy

EVENTS = 200_000
CHOOSING = np.flatnonzero(np.arange(EVENTS) // 2 % 2 == 0)
"""Half of the events, of both processes (which alternate)."""
ANGLES = (NOMINAL, 1.1, math.pi / 2)


class Undefined(AbstractObservable):
    """No number for any event."""

    moving: bool = eqx.field(static=True, default=True)
    folds: int = eqx.field(static=True, default=1)

    def output(self, events, z, fold):
        return jnp.full(z.shape[0], jnp.nan)


@pytest.fixture(scope="module")
def case():
    return toy(EVENTS)


@pytest.fixture(scope="module")
def events(case):
    return case.load(3)


@pytest.fixture(scope="module")
def chosen(case, events):
    """A binning chosen on half of the events."""
    return choose_joint_binning(ExactScore(True), case, events, CHOOSING, None, anchors=2, minimum=5.0)


def quadrants() -> JointBinning:
    """Scores at angles 0 and pi/2 are the coordinates: four cells, the quadrants."""
    tree = ScoreTree(
        directions=jnp.eye(2),
        chosen=jnp.array([0, 1, 1], jnp.int32),
        thresholds=jnp.zeros(3),
        labels=jnp.arange(4, dtype=jnp.int32),
    )
    return JointBinning(jnp.array([[0.0], [math.pi / 2]]), tree, 4)


def exact_quadrants(z: float) -> np.ndarray:
    """Return expected counts [component, cell] of the quadrants at angle z."""
    right = scipy.stats.norm.cdf(math.cos(z) / NOISE), scipy.stats.norm.cdf(math.sin(z) / NOISE)
    signal = np.outer([1 - right[0], right[0]], [1 - right[1], right[1]]).reshape(-1)
    return np.stack([SIGNAL * signal, BACKGROUND * signal[::-1]])


def test_a_tree_cuts_where_it_says():
    vector = jnp.array([[-1.0, -1.0], [-1.0, 2.0], [0.5, -3.0], [1.0, 1.0], [0.0, 0.0]])
    assert np.asarray(eqx.filter_jit(quadrants().index)(vector)).tolist() == [0, 1, 2, 3, 0]
    joined = quadrants().joined(np.array([0, 1, 1, 0]))
    assert joined.bins == 2
    assert np.asarray(joined.index(vector)).tolist() == [0, 1, 1, 0, 0]


def test_leaves_of_a_tree_are_equally_filled():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(4096, 3)).astype(np.float32)
    tree = grow_tree(vectors, (vectors[:, 1] > 0).astype(int), 5)
    assert np.bincount(np.asarray(tree.leaf(jnp.asarray(vectors))), minlength=32).tolist() == [128] * 32
    # The first cut tells the classes apart.
    turned = vectors @ np.asarray(tree.directions[tree.chosen[0]])
    assert abs(np.corrcoef(turned, vectors[:, 1])[0, 1]) > 0.99


def test_cells_of_the_toy_are_normal_integrals(case, events):
    z = np.array([[NOMINAL], [0.0], [1.3]])
    table = joint_score(ExactScore(True), case, events, np.arange(EVENTS), None, z, quadrants())
    for pair, angle in enumerate(z[:, 0]):
        exact = exact_quadrants(angle)
        weight = exact.sum(axis=1, keepdims=True) / (EVENTS / 2)
        assert np.abs((table.sums[pair] - exact) / np.sqrt(weight * exact)).max() < 4.5
        np.testing.assert_allclose(table.squares[pair], weight * table.sums[pair], rtol=1e-5)


def test_cells_vectors_and_sums_agree(case, events, chosen):
    rows = np.arange(1, 30_000, 3)
    z = np.array([1.1])
    observable = ExactScore(True)
    cells = joint_cells(observable, case, events, rows, None, z, chosen)
    table = joint_score(observable, case, events, rows, None, z[None], chosen)
    for component in range(2):
        expected = np.bincount(cells, events.weights[rows, component].astype(float), chosen.bins)
        np.testing.assert_allclose(table.sums[0, component], expected, rtol=1e-5, atol=1e-9)
    vectors, weights = joint_vectors(observable, case, events, rows, None, z, np.asarray(chosen.anchors, float))
    assert np.array_equal(np.asarray(chosen.index(jnp.asarray(vectors))), cells)
    assert np.array_equal(weights, events.weights[rows])


def test_every_event_is_scored_by_its_fold(case, events):
    rows = np.arange(5000)
    fold_of = (np.arange(EVENTS) % 3 == 0).astype(np.int32)
    observable = first_feature(0.0, 100.0)
    binning = JointBinning(
        jnp.array([[NOMINAL]]),
        ScoreTree(jnp.eye(1), jnp.zeros(1, jnp.int32), jnp.array([50.0]), jnp.arange(2, dtype=jnp.int32)),
        2,
    )
    cells = joint_cells(observable, case, events, rows, fold_of, np.array([NOMINAL]), binning)
    assert np.array_equal(cells, fold_of[rows])
    table = joint_score(observable, case, events, rows, fold_of, np.array([[NOMINAL]]), binning)
    assert table.sums[0, 1, 1] == pytest.approx(float(events.weights[rows[fold_of[rows] == 1], 1].sum()), rel=1e-5)


def test_parts_add_up_to_the_whole(case, events, chosen):
    z, rows = np.array([[NOMINAL], [1.0]]), np.arange(20_000)
    whole = joint_score(ExactScore(True), case, events, rows, None, z, chosen)
    halves = [joint_score(ExactScore(True), case, events, part, None, z, chosen) for part in np.array_split(rows, 2)]
    merged = JointTable.merge(halves)
    np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-12)
    np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12)
    scaled = merged.scaled_to(2 * merged.totals)
    np.testing.assert_allclose(scaled.squares, 4 * merged.squares, rtol=1e-12)
    with pytest.raises(TemplateError, match="pairs, bins or components differ"):
        JointTable.merge([halves[0], dataclasses.replace(halves[1], pairs=Pairs(z + 1, z + 1))])


def test_clustering_joins_leaves_that_are_alike():
    # Four kinds of leaves, ten of each, in a random order: four cells lose nothing.
    draw = np.random.default_rng(5)
    kinds = draw.permutation(np.repeat(np.arange(4), 10))
    relative = np.array([[0.0, 1.0], [1.0, -1.0], [3.0, 0.5], [0.2, -2.0]])[kinds]
    nu = draw.uniform(1, 5, size=(1, 40))
    leaves = LeafInformation(relative[None] * nu[..., None], nu, np.zeros((1, 2, 2)))
    cells = cluster_leaves(leaves, 4, 0, draw)
    assert len(set(zip(cells, kinds, strict=True))) == 4
    np.testing.assert_allclose(leaves.grouped(cells, 4).covariance(), leaves.covariance(), rtol=1e-10)


def test_poor_leaves_are_joined_until_none_is_poor():
    draw = np.random.default_rng(6)
    sums = draw.poisson(4.0, size=(2, 2, 60)).astype(float)
    nu = np.maximum(sums.sum(axis=1), 0.1)
    slopes = np.stack([sums[:, 0], draw.normal(size=(2, 60))], axis=-1)
    leaves = LeafInformation(slopes, nu, np.eye(2)[None].repeat(2, axis=0))
    cells = fill_cells(leaves, sums, sums, signal_strength(), 12.0, 0)
    filled = np.stack([sums[..., cells == cell].sum(axis=-1) for cell in range(cells.max() + 1)], axis=-1)
    assert filled[:, 1].min() >= 12
    assert cells.max() > 5
    with pytest.raises(TemplateError, match="all cells together"):
        fill_cells(leaves, sums, sums, signal_strength(), 1e6, 0)


def test_sparse_cells_are_joined():
    sums = np.array([[[5.0, 5.0, 1.0, 0.1], [50.0, 2.0, 30.0, 40.0]]])
    point = np.zeros((1, 1))
    table = JointTable(Pairs(point, point), sums, sums, ("signal", "background"))
    cells, warning = merge_sparse_cells(table, signal_strength(), 5.0)
    assert warning is not None
    assert "4 cells were joined to 3" in warning
    # The signal-rich cell joins the next richest, not the one beside it.
    assert cells[1] == cells[0] != cells[2]
    assert table.joined(cells).sums[0, 1, cells[1]] == 52
    assert merge_sparse_cells(table, signal_strength(), 1.0)[1] is None


def test_anchors_are_spread_over_the_ranges():
    first = Nuisance("a", 0.0, (-2.0, 4.0), (-2.0, 4.0), (-2.0, 4.0))
    second = Nuisance("b", 1.0, (0.5, 2.0), (0.5, 2.0), (0.5, 2.0))
    assert spread_anchors([first])[:, 0].tolist() == [-1.0, 1.0, 3.0]
    assert spread_anchors([first], 1)[:, 0].tolist() == [0.0]
    both = [[0, 1], [2, 1], [0, 1.5], [-1, 1], [0, 0.75]]
    assert spread_anchors([first, second]).tolist() == both
    assert spread_anchors([first, second], 3).tolist() == both[:3]
    assert spread_anchors([first, second], None, [Normalisation("b", ("x",))])[:, 1].tolist() == [1.0] * 3
    with pytest.raises(ConfigError, match="cannot be spread"):
        spread_anchors([first, second], 7)
    assert joint_points([first, second], [{"a": 1.0}], [Normalisation("b", ("x",))]).tolist() == [
        [0, 1],
        [-2, 1],
        [4, 1],
        [1, 1],
    ]


def test_an_observable_that_is_no_number_is_refused(case, events, chosen):
    rows, z = np.arange(1000), np.array([NOMINAL])
    for call in (joint_score, joint_cells):
        with pytest.raises(TemplateError, match="not a number for 1000 events"):
            call(Undefined(), case, events, rows, None, z[None] if call is joint_score else z, chosen)
    with pytest.raises(ConfigError, match="has no network"):
        joint_cells(ExactScore(True), case, events, rows, np.ones(EVENTS, int), z, chosen)


def test_cells_cannot_be_chosen_without_signal(case, events):
    with pytest.raises(TemplateError, match="component 'signal' has no template events"):
        choose_joint_binning(ExactScore(True), case, events, np.arange(0, 20_000, 2), None, anchors=2)


def test_chosen_cells_are_fixed_by_the_seed(case, events, chosen):
    again = choose_joint_binning(ExactScore(True), case, events, CHOOSING, None, anchors=2, minimum=5.0)
    assert eqx.tree_equal(again, chosen)
    assert choose_joint_binning(ExactScore(False), case, events, np.arange(0, 20_000), None, bins=12).anchors.shape == (
        1,
        1,
    )


def exact_cells(binning: JointBinning, z: float) -> np.ndarray:
    """Return expected counts [component, cell] at angle z by integration over a fine grid of the plane."""
    step = 0.01
    x = np.arange(-4.5, 4.5, step) + step / 2
    anchors = np.asarray(binning.anchors, float)[:, 0]
    vectors = SLOPE * (x[:, None, None] * np.cos(anchors) + x[None, :, None] * np.sin(anchors))
    cells = np.asarray(binning.index(jnp.asarray(vectors.reshape(-1, len(anchors)), jnp.float32)))
    counts = []
    for total, sign in ((SIGNAL, 1), (BACKGROUND, -1)):
        density = np.outer(
            scipy.stats.norm.pdf(x, sign * math.cos(z), NOISE), scipy.stats.norm.pdf(x, sign * math.sin(z), NOISE)
        )
        counts.append(total * step**2 * np.bincount(cells, density.reshape(-1), binning.bins))
    return np.stack(counts)


@pytest.mark.slow
def test_two_anchors_reach_the_bound_of_the_toy(case):
    """The profiled uncertainty of exact templates is within 3 % of the bound wherever the truth lies."""
    big = toy(800_000)
    table = big.load(4)
    binning = choose_joint_binning(
        ExactScore(True), big, table, np.arange(len(table)), None, anchors=2, minimum=10.0, events=800_000
    )
    assert binning.bins <= 200
    for z in ANGLES:
        exact, step = exact_cells(binning, z), 0.01
        slope = (exact_cells(binning, z + step) - exact_cells(binning, z - step)).sum(axis=0) / (2 * step)
        gradient = np.stack([exact[0], slope])
        information = (gradient / exact.sum(axis=0)) @ gradient.T + np.diag([0, 4.0])
        sigma = np.linalg.inv(information)[0, 0] ** 0.5
        bound = big.truth.bound(np.ones(1), np.array([z]))[0]
        assert bound < sigma < 1.03 * bound


@pytest.mark.slow
def test_the_anchored_observable_is_fitted_like_any_other(case, events, chosen):
    """One nominal score cannot tell an angle from its mirror image and is twice as bad off nominal."""
    rows = np.setdiff1d(np.arange(EVENTS), CHOOSING)
    truths = [{"angle": z} for z in ANGLES]
    nuisances = tuple(n.with_anchors(n.nominal, *ANGLES) for n in case.nuisances)
    points = joint_points(nuisances, truths)
    alone = choose_joint_binning(ExactScore(False), case, events, CHOOSING, None, minimum=5.0)
    ratios = []
    for observable, binning, checked in ((ExactScore(True), chosen, (0, 1, 2)), (ExactScore(False), alone, (2,))):
        table = joint_score(observable, case, events, rows, None, points, binning)
        table = table.scaled_to(np.tile([SIGNAL, BACKGROUND], (len(points), 1)))
        cells, _ = merge_sparse_cells(table, case.components, 5.0)
        table = table.joined(cells)
        templates = build_joint_templates(table, case.components, nuisances, true_points=truths)
        assert templates.observable == "anchored"
        assert templates.bins == table.bins
        assert not templates.moving
        model = Model.from_templates(case.components, nuisances, case.constraints, list(templates.counts))
        for number in checked:
            z = ANGLES[number]
            data = Data(model.coefficients([1.0]) @ templates.truth[number], study_auxiliary(model, [z]))
            result = fit(model, data)
            assert result.converged
            assert result.estimate == pytest.approx(1.0, abs=0.01)
            ratios.append(result.sigma / case.truth.bound(np.ones(1), np.array([z]))[0])
    *anchored, nominal = ratios
    assert max(anchored) < 1.06
    assert nominal > 1.4
