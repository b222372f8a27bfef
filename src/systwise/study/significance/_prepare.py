"""What a study tests, and what its strategies observe for that in its regions."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from systwise.cases import Progress, relabelled
from systwise.errors import ConfigError
from systwise.learn import AbstractObservable
from systwise.study.config._strengths import trade_off_strategies
from systwise.study.measure._regions import Observed, observe
from systwise.study.plan._plan import Plan
from systwise.study.significance._hypothesis_tests import Systematics
from systwise.study.significance._region_table import RegionTable
from systwise.study.significance._region_tables import region_table
from systwise.study.significance._study import Question, wrong_values
from systwise.study.store._store import Store


def question_of(plan: Plan) -> Question:
    """Return what a study asks: its hypotheses, the nuisances of its likelihood, and where they are wrong."""
    nominal = {nuisance.name: nuisance.nominal for nuisance in plan.case.nuisances}
    information = {c.nuisance: float(c.information(jnp.asarray(nominal[c.nuisance]))) for c in plan.case.constraints}
    widths = {name: value**-0.5 for name, value in information.items() if value > 0}
    wrong = wrong_values(plan.case.nuisances, widths, plan.significance.wrong)
    shape = {nuisance.name for nuisance in plan.case.shape_nuisances}
    nuisances = tuple(
        nuisance.with_anchors(nuisance.nominal, *wrong.get(nuisance.name, ())) if nuisance.name in shape else nuisance
        for nuisance in plan.case.nuisances
    )
    samples = {}
    for name, region in plan.regions.items():
        at = jnp.asarray([n.nominal for n in region.case.shape_nuisances], jnp.float32)
        values = region.case.sample_values(jnp.asarray(plan.hypotheses.reference, jnp.float32), at)
        samples[name] = dict(zip(region.case.sample_features, np.asarray(values).tolist(), strict=True))
    alone = tuple(name for name, region in plan.regions.items() if region.case.kind == "signal")
    histfactory = plan.morph == "histfactory"
    systematics = Systematics(
        nuisances,
        plan.constraints,
        plan.normalisations,
        interpolation="histfactory" if histfactory else "spline",
        mirrored=plan.case.mirrored if histfactory else {},
    )
    return Question(plan.hypotheses, systematics, alone, widths, samples)


def region_tables(
    plan: Plan,
    strategy: str,
    seed: int,
    observable: AbstractObservable,
    observed: Mapping[str, Observed],
    progress: Progress,
) -> dict[str, RegionTable]:
    """Return the histograms of what a strategy observes in every region of the likelihood.

    Args:
        plan: the study.
        strategy: for messages.
        seed: of the training.
        observable: of the first region.
        observed: the other regions.
        progress: told about scoring.

    Raises:
        ConfigError: scores shall be told a sample-wide value that is no rate.
    """
    every = {plan.case.region: (plan, observable)}
    every |= {name: (one.plan, one.observable) for name, one in observed.items() if one.plan.case.kind != "validation"}
    wrong, hypotheses = question_of(plan).wrong, plan.hypotheses
    points = [hypotheses.reference, *(tested.theta for tested in hypotheses.tested())]
    tables = {
        name: region_table(own, strategy, seed, score, wrong, points, progress) for name, (own, score) in every.items()
    }
    if plan.significance.told == "sample":
        for name, (own, score) in every.items():
            if own.case.sample_features and not score.moving and len(tables[name].sample_values) == 1:
                raise ConfigError(
                    f"significance.told: 'sample' needs one number a sample that is proportional to its rate, which "
                    f"{', '.join(own.case.sample_features)} of region '{name}' is not; use 'nominal'"
                )
    return tables


def strength_tables(
    plan: Plan, store: Store, seed: int, progress: Progress
) -> tuple[dict[str, dict[str, RegionTable]], dict[str, float]]:
    """Return the histograms of the strategies of a scan of strengths, `name@strength`, and the strengths by that name.

    A training that the study has made already is not made again.

    Args:
        plan: the study.
        store: where models go.
        seed: of the trainings.
        progress: told about training and scoring.
    """
    tables: dict[str, dict[str, RegionTable]] = {}
    strengths: dict[str, float] = {}
    for strength, strategy in trade_off_strategies(plan.strategies, plan.settings.trade_off):
        label = f"{strategy.name}@{strength:g}"
        made = strategy.fit(plan.problem, seed, relabelled(progress, label))
        observed, _ = observe(plan, strategy, made.observable, label, label, seed, store, progress)
        tables[label] = region_tables(plan, label, seed, made.observable, observed, progress)
        strengths[label] = strength
    return tables, strengths
