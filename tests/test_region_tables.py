"""Histograms of a region: every variation and hold-out, the sample-wide value, and informative bins."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from systwise.cases import no_progress
from systwise.cases.higgs_jets import load_sample, write_sample
from systwise.events import Events
from systwise.learn import AbstractObservable
from systwise.study import build_case, build_strategies, make_plan, resolve_settings
from systwise.study.plan._plan import Plan
from systwise.study.significance._bins import informative_edges
from systwise.study.significance._region_tables import REACH, SAMPLE_VALUES, region_table

pytest.importorskip("pythia8mc", reason="the parton densities come with the extra [higgs-jets]")


class Momentum(AbstractObservable):
    """A score that is the jet's momentum, less so the larger the sample's cross section."""

    moving: bool = eqx.field(static=True, default=False)
    folds: int = eqx.field(static=True, default=1)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return ln(pT / 100 GeV) - ln(sigma / 11 pb)."""
        return jnp.log(events.features[:, 1] / 100) - jnp.log(events.features[:, 0] / 11)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("channel") / "hj.parquet"
    write_sample(path, load_sample("hj", 40_000, 3, folder=path.parent))
    tree = {"case": {"sample": str(path)}, "split": {"scheme": "third"}, "strategies": ["nominal"]}
    return make_plan("higgs-jets", resolve_settings("higgs-jets", overrides=tree), no_progress)


def test_a_file_is_one_region(plan: Plan) -> None:
    assert list(plan.regions) == ["hj"]


def test_both_processes_are_regions_of_one_likelihood() -> None:
    case = build_case("higgs-jets", resolve_settings("higgs-jets"))
    assert list(case.regions) == ["hj", "hjj"]
    assert case.regions["hj"] is case
    assert case.regions["hjj"].features[1:] == ("pt_j1", "eta_j1", "pt_j2", "eta_j2", "dphi_jj", "m_jj", "deta_jj")
    assert case.regions["hjj"].region == "hjj"
    other = build_case("higgs-jets", resolve_settings("higgs-jets", overrides={"case": {"process": "hjj"}}))
    assert list(other.regions) == ["hjj", "hj"]
    alone = build_case("higgs-jets", resolve_settings("higgs-jets", overrides={"case": {"combine": False}}))
    assert list(alone.regions) == ["hj"]


def test_tables_hold_every_scale_and_the_cross_section_of_the_sample(plan: Plan) -> None:
    table = region_table(plan, "nominal", 0, Momentum(), {"scale": (0.7,)}, [(1.0, 0.0)], no_progress)
    sample, per_picobarn = plan.case.generated, plan.case.events_per_picobarn
    # Template events are a part of all; their histograms add up to the whole yield.
    for scale, variation in ((0, "nominal"), (1, "scale = -1"), (2, "scale = 1"), (5, "muR x0.5, muF x1")):
        wanted = sample.weights[:, scale].sum(axis=0, dtype=np.float64)
        found = table.counts[:, table.index(variation)]
        np.testing.assert_allclose(found.sum(axis=2), np.tile(wanted * per_picobarn, (SAMPLE_VALUES, 1)), rtol=2e-3)
        np.testing.assert_allclose(table.rates[table.index(variation)], wanted, rtol=2e-3)
    assert [table.variations[i] for i in table.holdouts] == [
        "muR x1, muF x0.5",
        "muR x1, muF x2",
        "muR x0.5, muF x1",
        "muR x2, muF x1",
    ]
    (scale,) = table.anchors
    assert scale.values == tuple(sorted({*plan.case.nuisances[0].anchors, 0.7}))
    assert table.variations[scale.variations[scale.values.index(0.7)]] == "scale = 0.7"
    assert scale.variations[scale.values.index(0.0)] == 0
    # The grid of cross sections surrounds the sample's own; a larger one moves every event down in this score.
    own = sample.cross_section(1.0, 0.0)[0]
    assert table.sample_values[0] == pytest.approx(own / REACH, rel=1e-3)
    mean = (table.counts[:, 0, 0] * np.arange(table.bins)).sum(axis=1)
    assert np.all(np.diff(mean) < 0)
    # At its own cross section the score is the momentum: the last bin holds the hardest jets.
    ratio = table.expected((0.6, 0.4)) / table.expected((1.0, 0.0))
    assert ratio[-1] > 1.2 > 1.0 > ratio[0]


def test_bins_follow_what_tells_hypotheses_apart() -> None:
    draw = np.random.default_rng(1)
    score = draw.exponential(1.0, 50_000)
    nominal = np.ones_like(score)
    # Nothing is different below 4, where 98 % of the events are.
    alternative = nominal * np.where(score > 4, 1.5, 1.0)
    edges = informative_edges(score, alternative, nominal, nominal, 20, 30.0)
    assert np.all(np.diff(edges) > 0)
    assert 8 <= np.sum(edges > 4) <= 12
    counts = np.histogram(score, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
    assert counts.min() >= 30
    # Few events allow few bins.
    few = informative_edges(score[:200], alternative[:200], nominal[:200], nominal[:200], 20, 30.0)
    assert len(few) <= 5
    # Two equal hypotheses are told apart by nothing: quantiles of the events.
    same = informative_edges(score, nominal, nominal, nominal, 4, 30.0)
    np.testing.assert_allclose(same, np.quantile(score, [0.25, 0.5, 0.75]), atol=0.01)


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    from systwise.errors import DataError

    tree = {"case": {"sample": str(tmp_path / "none.parquet")}, "strategies": ["nominal"]}
    with pytest.raises(DataError, match=r"none\.parquet"):
        make_plan("higgs-jets", resolve_settings("higgs-jets", overrides=tree), no_progress)


def test_density_ratios_of_components_are_left_to_those_who_ask() -> None:
    settings = resolve_settings("higgs-jets")
    names = [strategy.name for strategy in build_strategies(build_case("higgs-jets", settings), settings)]
    assert {"nominal", "augmented", "adversarial", "aware"} <= set(names)
    assert "ratio" not in names
    asked = resolve_settings("higgs-jets", overrides={"strategies": ["ratio"]})
    assert [s.name for s in build_strategies(build_case("higgs-jets", asked), asked)] == ["ratio"]
