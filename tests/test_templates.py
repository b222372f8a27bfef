"""Templates: shapes, scales, variances, and refusal of empty bins."""

import dataclasses

import numpy as np
import pytest

from systwise.errors import TemplateError
from systwise.parameters import Components, Nuisance, signal_strength, uniform_anchors
from systwise.templates import (
    FineGrid,
    ScoreTable,
    Templates,
    anchor_pairs,
    auc,
    background_mask,
    build_templates,
    effective_counts,
    prune,
    score,
    smooth_353qh_twice,
    smooth_templates,
    uniform_edges,
    yields,
)
from templates_fixtures import NOMINAL, SHIFTED, ExactScore, exact_counts, toy

EVENTS = 60_000
TRUE = ({}, {"angle": SHIFTED})


@pytest.fixture(scope="module")
def scored():
    """Return case, events and the fixed and moving score tables of every third event."""
    case = toy(EVENTS)
    events = case.load(5)
    rows = np.flatnonzero(np.arange(EVENTS) % 3 == 1)
    tables = {
        moving: score(ExactScore(moving), case, events, rows, None, anchor_pairs(case.nuisances, TRUE, moving))
        for moving in (False, True)
    }
    return case, events, tables


def hand_made(sums: np.ndarray, squares: np.ndarray | None = None, anchors: int = 2) -> tuple[ScoreTable, Nuisance]:
    """Return a table with given sums [anchor, component, fine] of equal fine bins, nominal anchor first."""
    nuisance = Nuisance("scale", 0.0, (0.0, 1.0), (0.0, 1.0), uniform_anchors(0.0, 1.0, anchors))
    edges = np.arange(sums.shape[-1] + 1) / sums.shape[-1]
    names = ("signal", "background")
    return ScoreTable(anchor_pairs((nuisance,)), sums, sums if squares is None else squares, names, edges), nuisance


@pytest.mark.parametrize("moving", [False, True])
def test_templates_are_shapes_times_the_yields_of_all_events(scored, moving):
    case, events, tables = scored
    table = tables[moving]
    totals = yields(case, events, np.arange(EVENTS), table.pairs.z_true)
    edges = uniform_edges(10)
    templates = build_templates(
        table, edges, case.components, case.nuisances, totals=totals, true_points=TRUE, moving=moving
    )
    anchors = np.array(case.nuisances[0].anchors)
    np.testing.assert_array_equal(templates.anchors[0], anchors)
    assert templates.counts[0].shape == templates.variances[0].shape == (len(anchors), 2, 10)
    np.testing.assert_allclose(templates.counts[0].sum(axis=-1), [[500, 50_000]] * len(anchors), rtol=1e-6)
    # A third of the events stands for all: (sum w)^2 / sum w^2 is the number of scored events.
    effective = templates.counts[0].sum(axis=-1) ** 2 / templates.variances[0].sum(axis=-1)
    np.testing.assert_allclose(effective, EVENTS / 6, rtol=1e-3)
    exact = np.stack([exact_counts(edges, z, z if moving else NOMINAL) for z in anchors])
    spread = np.sqrt(templates.variances[0])
    assert np.abs((templates.counts[0] - exact)[spread > 0] / spread[spread > 0]).max() < 6
    assert templates.truth.shape == (2, 2, 10)
    nearest = int(np.argmin(np.abs(anchors - NOMINAL)))
    np.testing.assert_allclose(templates.truth[0], templates.counts[0][nearest], rtol=1e-12)
    assert templates.bins == 10
    if not moving:
        assert templates.at_true == ()
        return
    # Data at the shifted truth, as each hypothesis sees it.
    seen = templates.at_true[1][0]
    assert seen.shape == (len(anchors), 2, 10)
    exact = np.stack([exact_counts(edges, SHIFTED, z) for z in anchors])
    assert np.abs(seen[:, 1] - exact[:, 1]).sum(axis=-1).max() < 0.03 * 50_000
    np.testing.assert_allclose(templates.truth[1], exact_counts(edges, SHIFTED, SHIFTED), rtol=0.2, atol=100)


def test_a_bin_without_background_names_bin_process_nuisance_and_remedy():
    sums = np.ones((2, 2, 4))
    sums[1, 1, 2] = 0
    table, nuisance = hand_made(sums)
    with pytest.raises(TemplateError) as error:
        build_templates(table, uniform_edges(4), signal_strength(), (nuisance,))
    assert str(error.value) == (
        "template bin 3 of 4 (score 0.5 to 0.75) has no 'background' at scale=1; "
        "use fewer bins, merge sparse ones or use more events"
    )
    merged = build_templates(table, uniform_edges(2), signal_strength(), (nuisance,))
    np.testing.assert_array_equal(merged.counts[0][1], [[2, 2], [2, 1]])


def test_an_empty_signal_bin_is_no_error():
    sums = np.ones((2, 2, 4))
    sums[:, 0, 0] = 0
    table, nuisance = hand_made(sums)
    templates = build_templates(table, uniform_edges(4), signal_strength(), (nuisance,))
    assert templates.counts[0][0, 0, 0] == 0


def test_interference_may_be_negative_but_not_the_total():
    components = Components(
        ("tt", "tg", "gg"), ("ct", "cg"), ((2, 0), (1, 1), (0, 2)), (1.0, 1.0), ((0.0, 2.0), (0.0, 2.0))
    )
    assert not background_mask(components).any()
    nuisance = Nuisance("scale", 0.0, (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    sums = np.stack([np.full((2, 4), 3.0), np.full((2, 4), -4.0), np.full((2, 4), 2.0)], axis=1)
    table = ScoreTable(anchor_pairs((nuisance,)), sums, np.abs(sums), components.names, uniform_edges(4))
    templates = build_templates(table, uniform_edges(2), components, (nuisance,))
    np.testing.assert_array_equal(templates.counts[0][0], [[6, 6], [-8, -8], [4, 4]])
    sums[1, 1, 0] = -6
    with pytest.raises(TemplateError, match=r"bin 1 of 4 .* has no 'total' at scale=1"):
        build_templates(table, uniform_edges(4), components, (nuisance,))
    with pytest.raises(TemplateError, match="signal and background must both"):
        auc(table, 0, components)


def test_scaling_refuses_a_component_without_events():
    table, _ = hand_made(np.stack([np.ones((2, 4)), np.zeros((2, 4))], axis=1))
    with pytest.raises(TemplateError, match="'background' has no template events"):
        table.scaled_to(np.full((2, 2), 10.0))
    scaled = table.scaled_to(np.array([[8.0, 0.0], [2.0, 0.0]]))
    np.testing.assert_allclose(scaled.totals, [[8, 0], [2, 0]])
    np.testing.assert_allclose(scaled.squares[0, 0], 4 * table.squares[0, 0])


def test_rebinning_keeps_totals_and_refuses_foreign_edges():
    grid = FineGrid()
    rng = np.random.default_rng(0)
    sums = rng.random((2, 2, grid.bins))
    nuisance = Nuisance("scale", 0.0, (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    table = ScoreTable(anchor_pairs((nuisance,)), sums, sums**2, ("signal", "background"), grid.edges)
    for bins in (1, 10, 30, 50, 200):
        coarse, squares = table.rebin(uniform_edges(bins))
        assert coarse.shape == (2, 2, bins)
        np.testing.assert_allclose(coarse.sum(axis=-1), sums.sum(axis=-1))
        np.testing.assert_allclose(squares.sum(axis=-1), (sums**2).sum(axis=-1))
    below = grid.edges[1:] <= 0.5
    np.testing.assert_allclose(table.rebin(uniform_edges(2))[0][..., 0], sums[..., below].sum(axis=-1))
    with pytest.raises(TemplateError, match=r"edge 0\.142857143 is not among the fine edges"):
        table.rebin(uniform_edges(7))
    with pytest.raises(TemplateError, match="increase from 0 to 1"):
        table.rebin(np.array([0.0, 0.5]))


def test_effective_counts_are_those_of_the_poorest_required_sum():
    sums = np.array([[4.0, 0.0], [3.0, 2.0]])
    squares = np.array([[4.0, 0.0], [1.0, 4.0]])
    # Background: 9/1 and 4/4; total: 49/5 and 4/4.
    np.testing.assert_allclose(effective_counts(sums, squares, signal_strength()), [9, 1])


def test_running_medians_are_those_of_cabinetry():
    smooth = pytest.importorskip("cabinetry.smooth")
    draw = np.random.default_rng(0)
    for bins in range(3, 25):
        for values in (draw.normal(1, 0.3, bins), draw.integers(0, 4, bins).astype(float), draw.normal(0, 1, bins)):
            wanted = np.asarray(smooth.smooth_353qh_twice(values.copy()))
            np.testing.assert_allclose(smooth_353qh_twice(values), wanted, atol=1e-12)
    np.testing.assert_array_equal(smooth_353qh_twice(np.array([3.0, 1.0])), [3.0, 1.0])


JES = [Nuisance("jes", 0.0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0))]


def of_one_nuisance(counts: np.ndarray) -> Templates:
    """Return templates of components b and s at -1, 0 and 1 of a nuisance, `[anchor, component, bin]`."""
    bins = counts.shape[2]
    return Templates(
        edges=np.linspace(0, 1, bins + 1),
        nuisances=("jes",),
        component_names=("b", "s"),
        anchors=(np.array([-1.0, 0.0, 1.0]),),
        counts=(counts,),
        variances=(counts,),
        moving=False,
        true_points=np.zeros((0, 1)),
        truth=np.zeros((0, 2, bins)),
        at_true=(),
    )


def test_smoothing_keeps_totals_and_what_was_not_chosen():
    base = np.array([[40.0, 30, 20, 10, 5], [4, 3, 2, 1, 1]])
    noise = np.array([1.0, 1.3, 0.8, 1.2, 0.9])
    counts = np.stack([base * 0.9, base, base * noise])
    templates = of_one_nuisance(counts)
    (found,) = smooth_templates(templates, JES, {"jes": {"b"}}).counts
    np.testing.assert_allclose(found.sum(axis=2), counts.sum(axis=2), rtol=1e-12)
    np.testing.assert_array_equal(found[:, 1], counts[:, 1])
    np.testing.assert_array_equal(found[1], counts[1])
    np.testing.assert_allclose(found[0], counts[0], rtol=1e-12)
    wanted = smooth_353qh_twice(noise) * base[0]
    np.testing.assert_allclose(found[2, 0], wanted * counts[2, 0].sum() / wanted.sum(), rtol=1e-12)
    assert np.ptp(found[2, 0] / base[0]) < 0.5 * np.ptp(noise)
    np.testing.assert_array_equal(smooth_templates(templates, JES, {}).counts[0], counts)
    bare = dataclasses.replace(templates, nuisances=(), anchors=(), counts=(base,), variances=(base,))
    assert smooth_templates(bare, [], {"jes": {"b"}}) is bare


def test_small_effects_are_pruned_and_counted():
    base = np.array([[40.0, 30], [4, 0]])
    counts = np.stack([base * [[0.99], [0.9]], base, base * [[1.02], [1.1]]])
    templates = of_one_nuisance(counts)
    found, left, total = prune(templates, JES, 0.05)
    assert (left, total) == (["jes on b"], 2)
    np.testing.assert_array_equal(found.counts[0][:, 0], np.tile(base[0], (3, 1)))
    np.testing.assert_array_equal(found.counts[0][:, 1], counts[:, 1])
    # 2 % is the largest change of b; nothing that nothing else constrains is left out; a moving score keeps all.
    assert prune(templates, JES, 0.02)[1] == []
    assert prune(templates, JES, 0.5, {"jes"})[1] == []
    assert prune(dataclasses.replace(templates, moving=True), JES, 0.5)[1:] == ([], 0)
