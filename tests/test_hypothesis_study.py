"""Hypotheses told apart in cases of any kind: moving features, moving observables, regions with given bins."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jaxtyping import Array, Float, Int
from typer.testing import CliRunner

from systwise.cases import no_progress
from systwise.cli import app
from systwise.errors import ConfigError
from systwise.events import Events
from systwise.learn import STRATEGIES, AbstractObservable
from systwise.study import HypothesisTests, Results, make_plan, resolve_settings
from systwise.study.plan._plan import Plan
from systwise.study.significance._bins import joined
from systwise.study.significance._prepare import question_of, region_tables
from test_regions import analysis, inputs, write

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]
__all__ = ["inputs"]


class First(AbstractObservable):
    """The first feature itself."""

    moving: bool = eqx.field(static=True, default=False)
    folds: int = eqx.field(static=True, default=1)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the feature."""
        return events.features[:, 0]


def toy_plan(**significance: object) -> Plan:
    tree = {"case": {"events": 200_000}, "split": {"scheme": "third"}, "strategies": ["nominal"]}
    tree |= {"significance": {"points": [{"mu": 1.1}], "toys": 0, **significance}}
    return make_plan("eventwise-toy", resolve_settings("eventwise-toy", overrides=tree), no_progress)


def test_features_that_move_are_observed_where_they_are() -> None:
    plan = toy_plan()
    (table,) = region_tables(plan, "nominal", 0, First(), {}, no_progress).values()
    (shift,) = table.anchors
    assert shift.nuisance == "shift"
    rows = np.flatnonzero(plan.split.template)
    ((_, events),) = plan.table.blocks(rows, len(rows))
    for value, index in zip(shift.values, shift.variations, strict=True):
        varied = plan.case.vary(events, jnp.array([value], jnp.float32))
        # In bins of a score an increasing function of it keeps its order: as many events lie above the median.
        first, weights = np.asarray(varied.features[:, 0]), np.asarray(varied.weights) @ [1.0, 1.0]
        mean_bin = table.expected((1.0,), index) @ np.arange(table.bins) / table.expected((1.0,), index).sum()
        if index == 0:
            nominal_bin, nominal = mean_bin, np.average(first, weights=weights)
        assert table.expected((1.0,), index).sum() == pytest.approx(plan.table.weights.sum(), rel=1e-3)
    means = [table.expected((1.0,), i) @ np.arange(table.bins) for i in shift.variations]
    assert np.all(np.diff(means) != 0)
    assert np.sign(means[-1] - means[0]) == np.sign(np.average(first, weights=weights) - nominal)
    assert nominal_bin > 0


class Shifted(First):
    """The first feature beside where the first nuisance is believed to be."""

    moving: bool = eqx.field(static=True, default=True)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the feature, scaled, less the nuisance."""
        return events.features[:, 0] / 30 - z[:, 0]


@pytest.mark.parametrize("observable", [First(), Shifted()])
def test_events_of_shifted_samples_are_in_bins_of_their_own(inputs, observable):
    """They count nothing at the nominal point; there they must not be sorted."""
    tree = analysis()
    tree["Regions"] = [{"Name": "signal", "Features": ["mass", "other"], "Filter": "far < 0.6"}]
    tree["Systematics"] = tree["Systematics"][:3]
    study = {"significance": {"points": [{"mu": 0}]}, "strategies": ["nominal"], "split": {"scheme": "third"}}
    path = str(write(inputs, tree | {"study": study}, "shifted.yaml"))
    plan = make_plan(path, resolve_settings(path), no_progress)
    (table,) = region_tables(plan, "x", 0, observable, {}, no_progress).values()
    places = np.arange(table.bins)
    means = {}
    for variation in ("nominal", "model = 1", "weights = 1"):
        bins = table.expected((0.0,), variation)
        assert np.count_nonzero(bins) == table.bins > 3
        means[variation] = bins @ places / bins.sum()
    # The shifted sample lies 4 GeV higher, the weights grow with the mass: both move the mean the same way.
    assert (means["model = 1"] - means["nominal"]) * (means["weights = 1"] - means["nominal"]) > 0
    totals = plan.yields(np.array([[n.nominal for n in plan.nuisances]]), no_progress)[0]
    assert table.expected((1.0,)).sum() == pytest.approx(totals.sum(), rel=1e-3)


def test_the_known_optimum_is_reached_with_the_exact_ratio() -> None:
    """Close to the reference sqrt(q) is the distance over the Cramer-Rao bound, shift profiled with its constraint."""
    plan = toy_plan(points=[{"mu": 1.1}, {"mu": 0.9}])
    optimal = STRATEGIES.get("optimal")().fit(plan.problem, 0).observable
    assert optimal.moving
    tables = region_tables(plan, "optimal", 0, optimal, {}, no_progress)
    question = question_of(plan)
    tests = HypothesisTests(tuple(tables.values()), question.systematics, question.hypotheses.reference)
    nominal = [n.nominal for n in plan.nuisances]
    sigma = float(plan.case.truth.bound(np.array([1.0]), np.array(nominal))[0])
    z = []
    for point in question.hypotheses.tested():
        found = tests.lowest(point.theta, tests.counts(tests.reference)[None], "profiled")
        assert found.converged[0]
        z.append(np.sqrt(2 * found.nll[0]))
    # The mean over both sides takes the third derivative of the likelihood out; cells lose a part of the information.
    assert 0.88 < np.mean(z) * sigma / 0.1 < 1.005


def test_bins_are_joined_for_every_hypothesis() -> None:
    counts = np.array([[[[5.0, 3.0, 0.0, 1.0], [9.0, 0.0, 4.0, 2.0]]]])
    expected = np.stack([counts[0, 0].sum(axis=0), counts[0, 0, 1]])
    found = joined(counts, expected)[0, 0]
    np.testing.assert_array_equal(found, [[5.0, 3.0, 1.0], [9.0, 4.0, 2.0]])
    # Nothing at all is left as one bin.
    assert joined(counts, np.zeros((1, 4))).shape[-1] == 1


def test_names_are_checked_before_events_are_loaded() -> None:
    with pytest.raises(ConfigError, match=r"significance.points.0: 'nu' is no parameter of interest \(known: mu\)"):
        toy_plan(points=[{"nu": 1.0}])


@pytest.mark.slow
def test_two_regions_with_given_bins_have_the_discovery_significance_of_the_study(inputs, tmp_path) -> None:
    """mu = 0 against data of mu = 1 is q0: the inference of the same study has it from HistFactory's likelihood."""
    tree = analysis()
    tree["Samples"][2]["Weight"] = "0.4 * w"
    study = {"true": [{}], "significance": {"points": [{"mu": 0}], "toys": 200, "wrong": [1]}}
    write(inputs, tree | {"study": study}, "pairs.yaml")
    done = CliRunner().invoke(app, ["run", str(inputs / "pairs.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    results = Results.load(tmp_path / "out" / "results.json")
    assert {tuple(r.regions) for r in results.significances} == {("signal",), ("signal", "control")}
    (record,) = (
        r
        for r in results.significances
        if (r.regions, r.data, r.nuisances) == (["signal", "control"], "reference", "profiled")
    )
    (inference,) = results.inferences
    assert inference.significance is not None
    assert inference.significance > 2
    assert record.z == pytest.approx(inference.significance, rel=0.01)
    assert set(record.preferred) == {"lumi", "model", "weights", "extrapolation", "norm_B"}
    # What is free has no wrong value; a rate of the control region moves no event of the signal region.
    assert {f.variation for f in results.fakes} == {"lumi = 1", "model = 1", "weights = 1", "extrapolation = 1"}
    alone = [f for f in results.fakes if f.regions == ["signal"] and f.nuisances == "fixed"]
    nominal = next(r.z for r in results.significances if (r.regions, r.nuisances) == (["signal"], "fixed"))
    unmoved = next(f for f in alone if f.variation == "extrapolation = 1")
    assert unmoved.z == pytest.approx(-nominal, rel=1e-6)
    for check in results.toy_checks:
        assert abs(check.median - check.asimov) < 5 * check.median_error
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Hypotheses told from mu = 1.00" in report
    assert "hold-outs" not in report
    stored = yaml.safe_load((tmp_path / "out" / "results.json").read_text())["settings"]["significance"]
    assert stored["points"] == [{"mu": 0.0}]
