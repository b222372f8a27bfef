"""The scan of strengths on the event-wise toy, whose two ends are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from systwise.cases import no_progress
from systwise.errors import ConfigError
from systwise.learn import STRATEGIES
from systwise.learn.strategies import adversarial
from systwise.settings import validate
from systwise.study.config._settings import resolve_settings
from systwise.study.config._strengths import TradeOffSettings, trade_off_strategies
from systwise.study.measure._strength_scan import scan_trade_off
from systwise.study.plan._plan import make_plan
from systwise.study.store._store import Store

SMALL = {
    "case": {"events": 40_000, "anchors": 9},
    "strategies": ["adversarial"],
    "strategy": {"adversarial": {"adversary": "class", "adversary_steps": 2, "lambda": 2.0}},
    "network": {"layers": 2, "width": 16},
    "training": {"batch": 512, "passes": 0.1, "minimum_steps": 512, "evaluations": 2},
    "split": {"scheme": "third"},
}
SCAN = TradeOffSettings(strengths=(2, 0))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return the plan, the scan of two strengths, how often it was compiled, and the names of the models."""
    plan = make_plan("eventwise-toy", resolve_settings("eventwise-toy", overrides=SMALL), no_progress)
    traces = []
    inner = adversarial.Pivot.step

    def counting(self, *arguments):
        traces.append(1)
        return inner(self, *arguments)

    store = Store.open(tmp_path_factory.mktemp("scan") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial.Pivot, "step", counting)
        # As a study does: the strategy with its own strength comes first.
        plan.strategies[0].fit(plan.problem, 0)
        done = len(plan.problem.done)
        (record,) = scan_trade_off(plan, store, SCAN, 0, no_progress)
    store.close()
    names = sorted(path.name for path in (store.path / "models").iterdir())
    return plan, record, len(traces), len(plan.problem.done) - done, names


@pytest.mark.slow
def test_one_compilation_serves_all_strengths_and_known_trainings_are_not_repeated(scanned):
    _, record, traces, trained, names = scanned
    np.testing.assert_array_equal(record.strength, [0, 2])
    assert record.strategy == "adversarial"
    assert traces == 1
    assert trained == 1
    assert names == ["adversarial-lambda0-seed0.eqx", "adversarial-lambda2-seed0.eqx"]


@pytest.mark.slow
def test_without_an_adversary_all_features_are_used_and_with_one_the_still_feature_is_left(scanned):
    """At z = 1: areas between those of the still feature alone and of the exact ratio there; KS falls."""
    plan, record, *_ = scanned
    s = plan.case.settings
    still = scipy.stats.norm.cdf(s.still / math.sqrt(2))
    exact = scipy.stats.norm.cdf(math.hypot(s.moved - s.shift, s.still) / math.sqrt(2))
    assert still + 0.03 < record.auc[0] < exact + 0.01
    cos = s.moved / math.hypot(s.moved, s.still)
    assert record.ks[0] == pytest.approx(2 * scipy.stats.norm.cdf(s.shift * cos / 2) - 1, abs=0.08)
    assert record.ks[1] < 0.4 * record.ks[0]
    assert record.auc[1] < record.auc[0]
    assert record.auc[1] > 0.6
    bound = plan.case.truth.bound(np.array([1.0]), np.array([1.0]))[0]
    assert np.all(record.sigma > 0.99 * bound)
    assert np.all(record.sigma < 2 * bound)


def test_strengths_are_put_in_order_and_nonsense_is_refused():
    assert TradeOffSettings(strengths=(3, 0, 3, 1)).strengths == (0, 1, 3)
    for wrong in ([-1], [float("inf")], [float("nan")]):
        with pytest.raises(ConfigError, match=r"trade_off.strengths.*finite and not negative"):
            validate(TradeOffSettings, {"strengths": wrong}, "trade_off")


def test_nothing_is_scanned_unless_asked_and_the_strategy_must_be_there():
    pivot, nominal = (STRATEGIES.get(name)() for name in ("adversarial", "nominal"))
    assert trade_off_strategies([nominal], TradeOffSettings()) == []
    with pytest.raises(ConfigError, match=r"'adversarial' is not among the strategies of this study \(nominal\)"):
        trade_off_strategies([nominal], TradeOffSettings(strengths=(1,), strategy="adversarial"))
    with pytest.raises(ConfigError, match=r"\(nominal\) have no strength to scan; name one of adversarial, distance_"):
        trade_off_strategies([nominal], TradeOffSettings(strengths=(1,)))
    with pytest.raises(ConfigError, match="'nominal' has no strength to scan"):
        trade_off_strategies([nominal, pivot], TradeOffSettings(strengths=(1,), strategy="nominal"))
    scan = trade_off_strategies([nominal, pivot], TradeOffSettings(strengths=(0, 5)))
    assert [(value, strategy.strength) for value, strategy in scan] == [(0, 0), (5, 5)]
    assert scan[1][1].network == pivot.network


def test_every_strategy_with_a_strength_is_scanned_unless_one_is_named():
    able = [
        STRATEGIES.get(name)() for name in ("nominal", "adversarial", "distance_correlation", "tangent_propagation")
    ]
    scan = trade_off_strategies(able, TradeOffSettings(strengths=(0, 2)))
    assert [(strategy.name, value, strategy.strength) for value, strategy in scan] == [
        (name, value, value)
        for name in ("adversarial", "distance_correlation", "tangent_propagation")
        for value in (0, 2)
    ]
