"""Higgs + jets as a case: weights under the scale, the sample's cross section, and what a training sees of it."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases import CASES
from systwise.cases.higgs_jets import HiggsJets, HiggsJetsSettings, load_sample, read_sample, write_sample
from systwise.errors import ConfigError, DataError
from systwise.events import EventTable, SplitSettings, log_quadratic_columns, split_events
from systwise.learn import NetworkSettings, Problem
from systwise.learn._strategy import blind_network, told_network
from systwise.learn.training._game import draw_between, make_batch, prior_draw
from systwise.learn.training._task import hypothesis_task

pytest.importorskip("pythia8mc", reason="the parton densities come with the extra [higgs-jets]")

EVENTS = 20_000


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> HiggsJets:
    path = tmp_path_factory.mktemp("higgs-jets") / "hj.parquet"
    write_sample(path, load_sample("hj", EVENTS, 3, folder=path.parent))
    return HiggsJets(HiggsJetsSettings(sample=str(path)))


@pytest.fixture(scope="module")
def table(case: HiggsJets) -> EventTable:
    return case.load(0)


def test_the_registry_knows_it() -> None:
    assert CASES.get("higgs-jets") is HiggsJets


def test_yields_are_cross_section_times_luminosity_times_efficiency(case: HiggsJets, table: EventTable) -> None:
    s = case.settings
    value, error = case.generated.cross_section(1.0, 0.0)
    expected = s.luminosity * 1000 * s.efficiency * value
    total = table.weights.sum(axis=0, dtype=np.float64) @ case.components.reference()
    assert total == pytest.approx(expected, rel=1e-5)
    # 11.61 pb: see the validation of the generator.
    assert abs(value - 11.608) < 4 * error
    # Along the blind line the rate stands still: (0.8, 0.2) within 2 % of the Standard Model.
    alternative = table.weights.sum(axis=0, dtype=np.float64) @ case.components.at((0.8, 0.2))
    assert alternative / total == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize(("z", "scale"), [(-1.0, 1), (0.0, 0), (1.0, 2)])
def test_the_scale_reproduces_the_stored_weights(case: HiggsJets, table: EventTable, z: float, scale: int) -> None:
    events = table.slice(slice(0, 5000))
    varied = case.vary(events, jnp.array([z]))
    stored = case.generated.weights[:5000, scale] * case.events_per_picobarn
    positive = (case.generated.weights[:5000, :3] > 0).all(axis=1)
    np.testing.assert_allclose(np.asarray(varied.weights)[positive], stored[positive], rtol=2e-4)
    # The sample's cross section is one number: that of the Standard Model, at this scale where scores are told so.
    told = HiggsJets(case.settings.model_copy(update={"rate_told": "sample"}))
    for which, at in ((case, 0), (told, scale)):
        sigma = np.asarray(which.vary(events, jnp.array([z])).features)[:, 0]
        assert np.ptp(sigma) == 0
        assert sigma[0] == pytest.approx(case.generated.cross_section(1.0, 0.0, at)[0], rel=1e-5)


def test_the_cross_section_is_log_quadratic_between_the_scales(case: HiggsJets) -> None:
    theta = jnp.array([0.8, 0.2])
    low, middle, high = (case.generated.cross_section(0.8, 0.2, scale)[0] for scale in (1, 0, 2))
    found = np.asarray(case.cross_section(theta, jnp.array([-1.0, 0.0, 1.0, 0.5])))
    np.testing.assert_allclose(found[:3], [low, middle, high], rtol=1e-5)
    logs = np.log([low, middle, high])
    assert np.log(found[3]) == pytest.approx(logs[1] + (logs[2] - logs[0]) / 4 + (logs[2] + logs[0] - 2 * logs[1]) / 8)
    assert low / middle == pytest.approx(1.414, abs=0.01)
    assert high / middle == pytest.approx(0.724, abs=0.01)


def test_training_draws_the_cross_section_for_each_hypothesis(case: HiggsJets, table: EventTable) -> None:
    task = hypothesis_task(case, table, np.arange(len(table)))
    events, key = table.slice(slice(0, 8000)), jax.random.key(1)
    batch = make_batch(case, task, draw_between([0.0], [0.0]), events, key)
    assert batch.features.shape == (16_000, 3)
    alternative, standard = np.asarray(batch.features)[:8000], np.asarray(batch.features)[8000:]
    np.testing.assert_array_equal(alternative[:, 1:], standard[:, 1:])
    weights = np.asarray(batch.weights)
    assert np.all(weights[:8000, 1] == 0)
    assert np.all(weights[8000:, 0] == 0)
    # Averages over twice the events are those of the plain task.
    plain = np.asarray(task.weights(case.vary(events, jnp.zeros(1))))
    np.testing.assert_allclose(weights.mean(axis=0), plain.mean(axis=0), rtol=1e-5)
    # The prior: the median is the central value, 68 % lie between the values at half and twice the scale.
    for features, couplings in ((alternative, (0.8, 0.2)), (standard, (1.0, 0.0))):
        low, middle, high = np.quantile(features[:, 0], [0.15866, 0.5, 0.84134])
        wanted = [case.generated.cross_section(*couplings, scale)[0] for scale in (2, 0, 1)]
        np.testing.assert_allclose([low, middle, high], wanted, rtol=0.03)
    # An event that is varied carries the cross section of its own scale.
    moved = make_batch(case, task, draw_between([-1.0], [1.0]), events, key)
    own = np.asarray(case.cross_section(jnp.array([1.0, 0.0]), moved.z[8000:, 0]))
    np.testing.assert_allclose(np.asarray(moved.features)[8000:, 0], own, rtol=1e-5)


def test_the_prior_follows_the_constraint(case: HiggsJets) -> None:
    z = np.asarray(prior_draw(case, jax.random.key(0), 50_000))[:, 0]
    assert np.mean(z) == pytest.approx(0.0, abs=0.02)
    assert np.std(z) == pytest.approx(1.0, abs=0.03)
    assert np.abs(z).max() <= case.settings.scale_reach


def test_who_is_told_the_scale_does_not_see_the_cross_section(case: HiggsJets, table: EventTable) -> None:
    problem = Problem(case, table, split_events(table, SplitSettings()))
    index, key = np.arange(len(table)), jax.random.key(2)
    small = NetworkSettings(layers=1, width=8)
    features = case.vary(table.slice(slice(0, 100)), jnp.zeros(1)).features
    changed, z = features.at[:, 0].multiply(1.3), jnp.zeros((100, 1))
    told, blind = (make(small, problem, index, key) for make in (told_network, blind_network))
    np.testing.assert_array_equal(told(features, z), told(changed, z))
    assert np.abs(np.asarray(blind(features, z) - blind(changed, z))).max() > 1e-4
    # Momenta are seen as logarithms, of mean zero and width one.
    scaled = np.asarray(blind.scaler(jnp.asarray(features)))
    assert np.abs(scaled[:, 1]).max() < 12


def test_without_the_rate_nothing_belongs_to_the_sample(case: HiggsJets) -> None:
    without = HiggsJets(case.settings.model_copy(update={"rate_input": False}))
    assert without.features == ("pt_j1", "eta_j1")
    assert without.load(0).features.shape[1] == 2
    assert without.sample_features == ()


def test_generated_files_are_read_back(case: HiggsJets, tmp_path: Path) -> None:
    small = HiggsJets(HiggsJetsSettings(events=2000))
    rows = dict(small.generate(tmp_path / "new.parquet", 7))
    assert len(read_sample(tmp_path / "new.parquet", "hj")) == int(rows["events kept"].split()[0])
    assert rows["blind slope dc_g/dc_t"].startswith("-1.02")
    with pytest.raises(ConfigError, match="has no generator"):
        CASES.get("gaussian-toy")(CASES.get("gaussian-toy").settings_class()).generate(tmp_path / "x.parquet", 0)


def test_weights_that_are_not_positive_take_the_sample_s_ratio() -> None:
    nominal = np.array([[1.0], [2.0], [0.0], [3.0]])
    down, up = np.array([[1.4], [2.8], [0.0], [-1.0]]), np.array([[0.7], [1.4], [0.0], [2.1]])
    columns, mended = log_quadratic_columns(nominal, down, up)
    assert mended == 1
    a, b = columns[0]
    assert np.exp(a + b) == pytest.approx(0.7)
    assert np.exp(-a + b) == pytest.approx(1.4)
    # The third has no weight at all, the fourth a negative one at half the scale.
    assert np.exp(-columns[3, 0] + columns[3, 1]) == pytest.approx(down.sum() / nominal.sum())
    with pytest.raises(DataError, match="no positive total"):
        log_quadratic_columns(nominal, -down, up)


def test_weights_that_no_parabola_continues_take_the_sample_s_variation():
    """One event of hardly any weight grows 1e5-fold on both sides: at z = 2.5 its parabola would be all there is."""
    nominal = np.array([[1.0], [1.0], [1e-9]])
    down, up = 1.4 * nominal, 0.7 * nominal
    down[2], up[2] = 1e5 * nominal[2], 1e5 * nominal[2]
    columns, mended = log_quadratic_columns(nominal, down, up)
    assert mended == 1
    assert columns[2] == pytest.approx(columns[0], abs=1e-3)
    assert np.exp(2.5 * columns[:, 0] + 2.5**2 * columns[:, 1]).max() < 10
