"""The inference-aware loss against the fit it stands for, its slopes, and its bins."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from systwise.cases import CASES
from systwise.cases.eventwise_toy import EventwiseToy, EventwiseToySettings
from systwise.events import AbstractVariation, Events, Exactness, SplitSettings, split_events
from systwise.fit import Data, Model, fit, study_auxiliary
from systwise.learn import STRATEGIES, BinObservable, Problem
from systwise.learn._strategy import feature_scaler
from systwise.learn.networks._network import NetworkSettings, Scaler, multilayer
from systwise.learn.observables._bins import BinNetwork
from systwise.learn.strategies.inference_aware import bin_ranks
from systwise.learn.training._slopes import Difference, SlopedBatch, Tangent, difference, expected_yields, sloped_batch
from systwise.learn.training._variance_game import Binner, log_sigma, prior_of, profiled_variance
from systwise.settings import validate
from systwise.study import build_strategies, resolve_settings
from systwise.study.measure._binned import binned_setups
from systwise.study.plan._plan import make_plan
from systwise.templates import FineGrid, anchor_pairs, build_templates, merge_sparse, score, uniform_edges, yields

SMALL = {
    "network": {"layers": 1, "width": 24},
    "training": {"batch": 4096, "passes": 0.1, "minimum_steps": 160, "evaluations": 2, "patience": None},
    "bins": 6,
}


def vary(case, events, z):
    return case.vary(events, z)


def problem_of(name: str, scheme: str = "third", **settings) -> Problem:
    kind = CASES.get(name)
    case = kind(validate(kind.settings_class, settings, "case"))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme=scheme, folds=2)))


@pytest.fixture(scope="module")
def mixture() -> Problem:
    return problem_of("inferno-mixture", benchmark="B4", events=200_000)


def fitted_sigma(problem: Problem, observable: BinObservable, index: np.ndarray) -> float:
    """Return the Asimov uncertainty of the hard bins (those with events everywhere), from the events at `index`."""
    case = problem.case
    pairs = anchor_pairs(case.nuisances)
    table = score(observable, case, problem.table, index, None, pairs, grid=FineGrid.holding(observable.bins))
    table = table.scaled_to(yields(case, problem.table, np.arange(len(problem.table)), pairs.z_true))
    edges, _ = merge_sparse(uniform_edges(observable.bins), table, case.components, case.nuisances)
    templates = build_templates(table, edges, case.components, case.nuisances)
    model = Model.from_templates(
        case.components,
        case.nuisances,
        case.constraints,
        list(templates.counts),
        normalisations=case.normalisations,
    )
    z = np.array([nuisance.nominal for nuisance in case.nuisances])
    theta = np.array(case.components.nominal)
    sigma = fit(model, Data(model.expected(theta, z), study_auxiliary(model, z))).sigma
    assert sigma is not None
    return sigma


def sloped(problem: Problem, count: int) -> SlopedBatch:
    task = expected_yields(problem.case, problem.table, vary)
    events = problem.table.slice(slice(0, count))
    return sloped_batch(problem.case, task, problem.nominal_draw(), events, jax.random.key(0))


@pytest.mark.slow
def test_the_loss_is_the_uncertainty_that_the_fit_finds(mixture):
    """Shape nuisances, constraints and a rate (B4); soft bins so hard that they are the measured ones."""
    made = validate(STRATEGIES.get("inference_aware"), SMALL).fit(mixture, 0)
    observable = made.observable
    network = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, observable.networks)
    batch = sloped(mixture, 100_000)
    loss = log_sigma(Binner(network, prior_of(mixture.case)), batch, jnp.float32(0.05))
    sigma = fitted_sigma(mixture, observable, np.arange(len(mixture.table)))
    assert math.exp(float(loss)) == pytest.approx(sigma, rel=0.03)
    assert 0.99 * 16.877 < sigma < 22
    assert float(made.histories[0].validation[-1]) == pytest.approx(math.log(sigma), abs=0.05)


def test_batches_have_the_expected_yields_whatever_their_size(mixture):
    for count in (1000, 5000):
        batch = sloped(mixture, count)
        np.testing.assert_allclose(batch.weights.sum(axis=0), [1, 1000], rtol=1e-4)
    assert [type(slope) for slope in batch.slopes] == [Tangent, Tangent]  # the yield of the background moves no event


def test_profiled_variance_is_an_element_of_the_inverse():
    draw = np.random.default_rng(0)
    g, information = draw.standard_normal((4, 9)) * np.array([[1e-3], [1], [50], [1e3]]), np.array([0, 1, 2, 0.1])
    wanted = np.linalg.inv(g @ g.T + np.diag(information))[0, 0]
    found = profiled_variance(jnp.asarray(g, jnp.float32), jnp.asarray(information, jnp.float32))
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_normalisations_and_ranges_enter_the_information():
    prior = prior_of(problem_of("inferno-mixture", benchmark="B4", events=2000).case)
    np.testing.assert_allclose(prior.norm, [[0, 1]])
    np.testing.assert_allclose(prior.poi, [[1, 0]])
    np.testing.assert_allclose(prior.information[1:], [1 / 0.4**2, 1, 100], rtol=1e-4)
    assert 0 < prior.information[0] < 1e-8


class AtAnchors(AbstractVariation):
    """The eventwise toy's shift, known at anchors only: between them it stays at the nearest."""

    nuisance: str = eqx.field(static=True)
    anchors: tuple[float, ...] = eqx.field(static=True)
    inner: AbstractVariation
    exact: ClassVar[Exactness] = "anchors"

    def apply(self, events: Events, z) -> Events:
        anchors = jnp.asarray(self.anchors)
        return self.inner.apply(events, anchors[jnp.argmin(jnp.abs(z[:, None] - anchors), axis=1)])


class AnchoredToy(EventwiseToy):
    @property
    def variations(self):
        (inner,) = super().variations
        return (AtAnchors(inner.nuisance, self.nuisances[0].anchors, inner),)


class CutToy(EventwiseToy):
    """A threshold on the moving feature: events cross it."""

    def select(self, events: Events) -> Events:
        kept = events.features[:, 0] > -0.5
        return eqx.tree_at(lambda e: e.weights, events, jnp.where(kept[:, None], events.weights, 0))


def toy(kind, **settings) -> Problem:
    case = kind(EventwiseToySettings(events=40_000, **settings))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="third")))


def counted(problem, batch):
    """Return the slopes of soft bins of a fixed network, `[nuisance, bin, component]`."""
    scaler = feature_scaler(problem, problem.split.training(0))
    network = BinNetwork(scaler, multilayer(NetworkSettings(layers=1, width=8), 2, 5, jax.random.key(4)))

    def count(features, weights):
        return jax.nn.softmax(3 * network(features), axis=-1).T @ weights

    return count(batch.features, batch.weights), [s.of(count, batch.features, batch.weights) for s in batch.slopes]


@pytest.mark.slow
def test_slopes_at_anchors_follow_the_exact_ones():
    exact, anchored = (toy(kind, anchors=25) for kind in (EventwiseToy, AnchoredToy))
    batches = [sloped(problem, 40_000) for problem in (exact, anchored)]
    assert isinstance(batches[0].slopes[0], Tangent)
    assert isinstance(batches[1].slopes[0], Difference)
    (_, (wanted,)), (_, (found,)) = (counted(exact, batch) for batch in batches)
    assert np.abs(wanted).max() > 20
    np.testing.assert_allclose(found, wanted, atol=0.02 * float(np.abs(wanted).max()))


def test_events_that_cross_a_threshold_are_in_the_slopes():
    problem = toy(CutToy)
    assert toy(EventwiseToy).case.smooth
    assert not problem.case.smooth
    batch = sloped(problem, 40_000)
    counts, (slope,) = counted(problem, batch)
    # Background N(z, 1) above -1/2, shape and rate; a tangent would leave the rate where it is.
    background = problem.table.weights[:, 1].sum()
    below, here, above = (scipy.stats.norm.cdf(z + 0.5) for z in (-1, 0, 1))
    assert float(counts[:, 1].sum()) == pytest.approx(here * background, rel=0.02)
    assert float(slope[:, 1].sum()) == pytest.approx((above - below) / 2 * background, rel=0.02)


def test_the_slope_of_a_parabola_is_exact_also_at_the_ends():
    problem = toy(AnchoredToy)
    (nuisance,) = problem.case.nuisances
    uneven = dataclasses.replace(nuisance, anchors=(-3.0, -1.0, 0.0, 0.5, 3.0), range=(-3.0, 3.0))
    for z in (0.0, -1.0, 0.2, 0.5):
        (below, above), c = difference(problem.case, uneven, jnp.float32(z))
        values = [2 - v + 3 * v**2 for v in (float(below), z, float(above))]
        assert below < z < above
        assert float(c @ jnp.asarray(values)) == pytest.approx(-1 + 6 * z, abs=1e-4)
    (below, above), c = difference(problem.case, uneven, jnp.float32(3.0))
    assert float(above) == 3.0
    assert float(c @ jnp.asarray([1.0, 6.0, 6.0])) == pytest.approx(5 / 2.5, rel=1e-5)


def test_bins_stand_in_the_middle_of_equal_bins_and_keep_apart(mixture):
    plan_settings = resolve_settings(
        "inferno-mixture",
        overrides={
            "case": {"benchmark": "B1", "events": 60_000, "r_anchors": 5},
            "strategies": ["inference_aware"],
            "strategy": {"inference_aware": {**SMALL, "bins": 7}},
            "split": {"scheme": "third"},
        },
    )
    plan = make_plan("inferno-mixture", plan_settings, lambda *_: None)
    observable = plan.strategies[0].fit(plan.problem, 0).observable
    setups, _ = binned_setups(plan, "inference_aware", 0, observable, plan.points, lambda *_: None)
    by_name = {setup.binning: setup.templates for setup in setups}
    used = np.unique(
        np.asarray(observable.cell(plan.table.slice(slice(0, 60_000)), jnp.zeros((60_000, 1)), jnp.int32(0)))
    )
    assert by_name["uniform"].bins <= len(used) == observable.bins <= 7
    place = np.asarray(by_name["uniform"].edges) * observable.bins
    np.testing.assert_allclose(place, np.round(place), atol=1e-9)
    fraction = by_name["uniform"].counts[0][2, 0] / by_name["uniform"].counts[0][2, 1]
    assert np.all(np.diff(fraction) > -0.1 * fraction.max())


def test_outputs_of_all_folds_are_put_in_one_order():
    problem = toy(EventwiseToy)
    scaler = Scaler(jnp.zeros(2), jnp.ones(2))
    mlp = multilayer(NetworkSettings(layers=1, width=8), 2, 4, jax.random.key(1))
    order = np.array([2, 0, 3, 1])
    last = mlp.layers[-1]
    other = eqx.tree_at(lambda m: (m.layers[-1].weight, m.layers[-1].bias), mlp, (last.weight[order], last.bias[order]))
    ranks = bin_ranks(problem, [BinNetwork(scaler, mlp), BinNetwork(scaler, other)], 4)
    assert sorted(set(ranks[0].tolist())) == list(range(ranks.max() + 1))
    np.testing.assert_array_equal(ranks[1], ranks[0][order])


def test_new_strategies_run_when_asked_for(mixture):
    by_default = [s.name for s in build_strategies(mixture.case, resolve_settings("inferno-mixture"))]
    everything = [
        s.name
        for s in build_strategies(mixture.case, resolve_settings("inferno-mixture", overrides={"strategies": ["all"]}))
    ]
    assert set(everything) - set(by_default) >= {"inference_aware", "distance_correlation"}
    assert set(by_default) < set(everything)


@pytest.mark.slow
@pytest.mark.parametrize(("benchmark", "published"), [("B2", 16.95)])
def test_it_reaches_the_published_uncertainty(benchmark, published):
    """INFERNO's row of the paper's table, with 3 % to spare, and not below the exact likelihood."""
    problem = problem_of("inferno-mixture", benchmark=benchmark, events=600_000)
    observable = STRATEGIES.get("inference_aware")().fit(problem, 0).observable
    sigma = fitted_sigma(problem, observable, np.flatnonzero(problem.split.template))
    exact = problem.case.truth.bound(np.array([50.0]), np.array([0.0, 3.0])[: len(problem.case.nuisances)])[0]
    assert exact < sigma < 1.03 * published
