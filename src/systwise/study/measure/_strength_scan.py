"""What decorrelation costs: strategies trained at several strengths of their adversary or penalty."""

from __future__ import annotations

import numpy as np

from systwise.cases import Progress, relabelled
from systwise.study.config._strengths import TradeOffSettings, trade_off_strategies
from systwise.study.measure._binned import binned_setups
from systwise.study.measure._exhibits import background_shift
from systwise.study.measure._measure import Setup, measure
from systwise.study.plan._plan import Plan
from systwise.study.records._plotdata import TradeOff
from systwise.study.store._store import Store
from systwise.templates import auc


def scan_trade_off(
    plan: Plan, store: Store, settings: TradeOffSettings, seed: int, progress: Progress
) -> tuple[TradeOff, ...]:
    """Train at every strength, and measure separation, residual dependence and uncertainty.

    The strength is a control of the compiled step, so that all trainings share one compilation. Models are
    kept as `models/<strategy>-lambda<strength>-seed<seed>.eqx`. A strength that the study has trained
    already is not trained again.

    Args:
        plan: the study.
        store: where trained models go.
        settings: the scan.
        seed: seed of the trainings.
        progress: told about training and scoring.

    Returns:
        One record a strategy, with one row a strength; none where the settings ask for no strength. With the
        study's last true point z: area under the ROC curve at z; KS distance of the background score between the
        nominal point and z (the largest one over the anchors where z is the nominal point); sigma of the first
        parameter of interest from Asimov data at z, in the binning named last; NaN where the fit has no two-sided
        interval.

    Raises:
        ConfigError: the strategy of the scan is not one of the study's or has no strength.
    """
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    for strength, strategy in trade_off_strategies(plan.strategies, settings):
        label = f"{strategy.name}-lambda{strength:g}"
        trained = strategy.fit(plan.problem, seed, relabelled(progress, f"train {label}"))
        store.save_model(strategy, label, seed, trained.observable, plan.case)
        setups, _ = binned_setups(plan, label, seed, trained.observable, plan.points[-1:], progress)
        progress(f"fit {label}", 0, 1)
        rows.setdefault(strategy.name, []).append((strength, *_measured(plan, setups[-1])))
        progress(f"fit {label}", 1, 1)
    records = []
    for name, own in rows.items():
        strengths, areas, distances, sigmas = (np.array(column, np.float64) for column in zip(*own, strict=True))
        records.append(TradeOff(strengths, areas, distances, sigmas, strategy=name))
    return tuple(records)


def _measured(plan: Plan, setup: Setup) -> tuple[float, float, float]:
    """Return area under the ROC curve, KS distance and sigma at the setup's only true point."""
    if setup.scores is None:
        raise TypeError("a trade-off is measured on one score, which an anchored observable has not")
    pairs = setup.scores.pairs
    z = np.array([setup.points[0][nuisance.name] for nuisance in plan.nuisances])
    moved = [z] if np.any(z != [n.nominal for n in plan.nuisances]) else list(pairs.z_true)
    shift = max(background_shift(plan.case, setup.scores, pairs, point) for point in moved)
    records, _ = measure(plan, setup, False)
    sigma = records[0].sigma
    return auc(setup.scores, pairs.find(z), plan.case.components), shift, np.nan if sigma is None else sigma
