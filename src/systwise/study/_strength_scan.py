"""What decorrelation costs: the adversarial strategy trained at several strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator

from systwise.cases import Progress, relabelled
from systwise.errors import ConfigError
from systwise.learn import AbstractStrategy
from systwise.settings import Settings, validate
from systwise.study._binned import binned_setups
from systwise.study._exhibits import background_shift
from systwise.study._measure import Setup, measure
from systwise.study._plan import Plan
from systwise.study._plotdata import TradeOff
from systwise.study._store import Store
from systwise.templates import auc


class TradeOffSettings(Settings):
    """The scan of the adversary's strength."""

    strengths: tuple[float, ...] = ()
    """Strengths lambda, 0 for no adversary, e.g. `[0, 1, 3, 10, 30]`; one training each, none by default."""
    strategy: str = Field("adversarial", min_length=1)
    """Strategy that is trained, with its settings but for the strength."""

    @field_validator("strengths")
    @classmethod
    def _in_order(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= strength < float("inf") for strength in strengths):
            raise ValueError("must be finite and not negative")
        return tuple(sorted(set(strengths)))


def trade_off_strategies(
    strategies: Sequence[AbstractStrategy], settings: TradeOffSettings
) -> list[tuple[float, AbstractStrategy]]:
    """Return (strength, strategy) of every training of the scan; an empty list where none is asked for.

    Args:
        strategies: those of the study.
        settings: which of them to scan, and where.

    Raises:
        ConfigError: the study has no such strategy, or it has no strength.
    """
    if not settings.strengths:
        return []
    chosen = next((strategy for strategy in strategies if strategy.name == settings.strategy), None)
    if chosen is None:
        raise ConfigError(
            f"trade_off.strategy: '{settings.strategy}' is not among the strategies of this study "
            f"({', '.join(s.name for s in strategies)}); add it to strategies, or leave trade_off.strengths empty"
        )
    field = type(chosen).model_fields.get("strength")
    if field is None:
        raise ConfigError(f"trade_off.strategy: '{settings.strategy}' has no strength to scan; name 'adversarial'")
    key = field.alias or "strength"
    tree = chosen.model_dump(by_alias=True)
    path = f"strategy.{chosen.name}"
    return [(strength, validate(type(chosen), {**tree, key: strength}, path)) for strength in settings.strengths]


def scan_trade_off(
    plan: Plan, store: Store, settings: TradeOffSettings, seed: int, progress: Progress
) -> TradeOff | None:
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
        One row a strength, or None where the settings ask for no strength. With the study's last true point
        z: area under the ROC curve at z; KS distance of the background score between the nominal point and z
        (the largest one over the anchors where z is the nominal point); sigma of the first parameter of
        interest from Asimov data at z, in the binning named last; NaN where the fit has no two-sided interval.

    Raises:
        ConfigError: the strategy of the scan is not one of the study's or has no strength.
    """
    rows = []
    for strength, strategy in trade_off_strategies(plan.strategies, settings):
        label = f"{strategy.name}-lambda{strength:g}"
        trained = strategy.fit(plan.problem, seed, relabelled(progress, f"train {label}"))
        store.save_model(strategy, label, seed, trained.observable)
        setups, _ = binned_setups(plan, label, seed, trained.observable, plan.points[-1:], progress)
        progress(f"fit {label}", 0, 1)
        rows.append((strength, *_measured(plan, setups[-1])))
        progress(f"fit {label}", 1, 1)
    if not rows:
        return None
    strengths, areas, distances, sigmas = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return TradeOff(strengths, areas, distances, sigmas, strategy=settings.strategy)


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
