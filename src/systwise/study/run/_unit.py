"""A unit of work: one strategy with one seed, trained and measured."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from systwise.cases import Progress
from systwise.learn import (
    AbstractObservable,
    AbstractStrategy,
    GivenBins,
    given_observable,
)
from systwise.study.measure._exhibits import decision_function, score_distribution, training_history
from systwise.study.measure._inference import examined, infer
from systwise.study.measure._measure import Setup
from systwise.study.measure._measurement import MEASUREMENTS, Fitted, Subject
from systwise.study.measure._regions import RegionSetups, observe
from systwise.study.plan._plan import Plan
from systwise.study.records._inference import InferenceRecord
from systwise.study.records._plotdata import (
    DecisionFunction,
    LikelihoodScan,
    PlaneDensity,
    PlaneScan,
    RatioCheck,
    ScoreDistribution,
    ScoreTemplates,
    TrainingHistory,
)
from systwise.study.records._results import Measurement, ToyRecord
from systwise.study.run._toys import ToyRunner, check_coverage
from systwise.study.significance._prepare import region_tables
from systwise.study.significance._region_table import RegionTable
from systwise.study.store._store import Store


@dataclasses.dataclass(frozen=True)
class Waiting:
    """An observable whose pseudo-experiments are still to be made.

    Attributes:
        observable: the score.
        fitted: what is fitted with it.
        points: true points that it serves.
    """

    observable: AbstractObservable
    fitted: list[Fitted]
    points: tuple[dict[str, float], ...]


@dataclasses.dataclass
class Unit:
    """What one strategy with one seed contributes."""

    strategy: str
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    scans: list[LikelihoodScan] = dataclasses.field(default_factory=list)
    templates: list[ScoreTemplates] = dataclasses.field(default_factory=list)
    distributions: list[ScoreDistribution] = dataclasses.field(default_factory=list)
    decisions: list[DecisionFunction] = dataclasses.field(default_factory=list)
    histories: list[TrainingHistory] = dataclasses.field(default_factory=list)
    train_seconds: float = 0.0
    score_seconds: float = 0.0
    fit_seconds: float = 0.0
    toys: list[ToyRecord] = dataclasses.field(default_factory=list)
    ratio_checks: list[RatioCheck] = dataclasses.field(default_factory=list)
    toy_seconds: float = 0.0
    inferences: list[InferenceRecord] = dataclasses.field(default_factory=list)
    planes: list[PlaneScan] = dataclasses.field(default_factory=list)
    tables: dict[str, RegionTable] = dataclasses.field(default_factory=dict)
    inference_seconds: float = 0.0
    waiting: list[Waiting] = dataclasses.field(default_factory=list)


def run_unit(
    plan: Plan,
    strategy: AbstractStrategy,
    seed: int,
    store: Store,
    density: PlaneDensity | None,
    shown: bool,
    progress: Progress,
) -> Unit:
    """Train one strategy with one seed, and measure at every true point; pseudo-experiments wait.

    Args:
        plan: the study.
        strategy: what to train.
        seed: seed of the training.
        store: where trained models go.
        density: the plane in which decision functions are drawn, None where there is none.
        shown: whether to gather what the figures show.
        progress: told about training and scoring.
    """
    unit = Unit(strategy.name)
    trained: list[tuple[AbstractObservable, tuple[dict[str, float], ...]]] = []
    for special, numbers in strategy.specialise([plan.nuisance_values(point) for point in plan.points]):
        made = special.fit(plan.problem, seed, progress)
        unit.train_seconds += made.seconds
        points = tuple(plan.points[i] for i in numbers)
        label = strategy.name
        if len(points) < len(plan.points):
            label += "@" + ",".join(f"{name}={points[0][name]:.4g}" for name in plan.nuisance_values(points[0]))
        store.save_model(special, label, seed, made.observable, plan.case)
        steps_a_pass = _steps_a_pass(plan, special)
        if shown:
            unit.histories += [training_history(label, seed, h, steps_a_pass) for h in made.histories[:1]]
        observed, seconds = observe(plan, special, made.observable, strategy.name, label, seed, store, progress)
        unit.train_seconds += seconds
        # A given observable has nothing to train and holds no event back.
        given = isinstance(made.observable, GivenBins)
        here = plan.as_given() if given else plan
        score = given_observable(here.case, 1) if given else made.observable
        others = RegionSetups(observed, strategy.name, seed, points, progress)
        subject = Subject(here, strategy.name, seed, score, points, others, progress)
        _measure_observable(unit, store, strategy, label, subject, shown)
        binned = not strategy.is_yardstick and "unbinned" not in strategy.observables
        if plan.significance.active and binned and not trained:
            start = time.perf_counter()
            unit.tables = region_tables(here, strategy.name, seed, score, observed, progress)
            unit.score_seconds += time.perf_counter() - start
        trained.append((made.observable, points))
    # A score of the analyst's own is no function of the features, and has none in their plane.
    if shown and density is not None and not strategy.needs_score:
        unit.decisions.append(_decisions(plan, density, strategy, trained))
    return unit


def _measure_observable(
    unit: Unit, store: Store, strategy: AbstractStrategy, label: str, subject: Subject, shown: bool
) -> None:
    """Measure in every way that the strategy offers and the settings ask for."""
    plan = subject.plan
    asked = [kind for kind in strategy.observables if kind in plan.settings.fit.observables] or ["binned"]
    measurements = [way(subject) for way in MEASUREMENTS if way.kind in asked]
    start = time.perf_counter()
    for measurement in measurements:
        measurement.prepare()
        unit.warnings += measurement.warnings
    setups = [setup for measurement in measurements for setup in measurement.setups]
    unit.warnings += subject.others.warnings
    if shown:
        unit.distributions += [_distribution(plan, s, subject.points) for s in setups[:1] if s.scores is not None]
        unit.templates += [exhibit for setup in setups for exhibit in _exhibited(plan, setup)]
    for measurement in measurements:
        for kept in measurement.stored():
            store.save_templates(label, kept)
    unit.score_seconds += time.perf_counter() - start
    start = time.perf_counter()
    for measurement in measurements:
        known = len(measurement.warnings)
        records, scans = measurement.fit(shown)
        unit.measurements += records
        unit.warnings += measurement.warnings[known:]
        if shown:
            unit.scans += scans
            unit.ratio_checks += measurement.checks()
    unit.fit_seconds += time.perf_counter() - start
    if shown:
        start = time.perf_counter()
        for setup in examined(plan, setups):
            subject.progress(f"impacts {strategy.name}", 0, 1)
            inferences, planes = infer(plan, setup)
            unit.inferences += inferences
            unit.planes += planes
            subject.progress(f"impacts {strategy.name}", 1, 1)
        unit.inference_seconds += time.perf_counter() - start
    if plan.settings.toys.count:
        fitted = [one for measurement in measurements for one in measurement.toys()]
        unit.waiting.append(Waiting(subject.observable, fitted, subject.points))


def _distribution(plan: Plan, setup: Setup, points: tuple[dict[str, float], ...]) -> ScoreDistribution:
    """Return the binned score at the true values of the first nuisance."""
    if setup.scores is None:
        raise TypeError("an anchored observable has no distribution of one score")
    if not plan.nuisances:
        return score_distribution(plan.case, setup.strategy, setup.scores, [0.0])
    nuisance = plan.nuisances[0]
    values = [p[nuisance.name] for p in points if p[nuisance.name] != nuisance.nominal]
    return score_distribution(plan.case, setup.strategy, setup.scores, [nuisance.nominal, *dict.fromkeys(values)][:4])


def _exhibited(plan: Plan, setup: Setup) -> list[ScoreTemplates]:
    """Return the templates along the first nuisance, as the figures show them; cells have no axis to show."""
    templates = setup.shown or setup.templates
    if setup.scores is None:
        return []
    if not templates.nuisances:
        return [
            ScoreTemplates(
                setup.strategy, setup.binning, "", templates.edges, np.zeros(1), templates.counts[0][None], False
            )
        ]
    return [
        ScoreTemplates(
            setup.strategy,
            setup.binning,
            plan.nuisances[0].name,
            templates.edges,
            templates.anchors[0],
            templates.counts[0],
            templates.moving,
        )
    ]


def _decisions(
    plan: Plan,
    density: PlaneDensity,
    strategy: AbstractStrategy,
    trained: list[tuple[AbstractObservable, tuple[dict[str, float], ...]]],
) -> DecisionFunction:
    """Return the decision function at the first and the last true point."""
    nuisance = plan.nuisances[0].name
    ends = [plan.points[0], plan.points[-1]]
    observables = [next(o for o, points in trained if end in points) for end in ends]
    return decision_function(plan.case, density, strategy.name, observables, [end[nuisance] for end in ends])


def _steps_a_pass(plan: Plan, strategy: AbstractStrategy) -> float:
    training = getattr(strategy, "training", None)
    return len(plan.split.training(0)) / training.batch if training is not None else 1.0


def run_waiting(plan: Plan, store: Store, unit: Unit, seed: int, run: ToyRunner, progress: Progress) -> None:
    """Make the pseudo-experiments of a unit, and forget what they needed.

    Args:
        plan: the study.
        store: keeps the rows.
        unit: gets the records.
        seed: seed of the training.
        run: makes pseudo-experiments, here or elsewhere.
        progress: told after each block.
    """
    start = time.perf_counter()
    for one in unit.waiting:
        toys, warnings = check_coverage(
            plan, store, unit.strategy, seed, one.observable, one.fitted, one.points, progress, run
        )
        unit.toys += toys
        unit.warnings += warnings
    unit.waiting = []
    unit.toy_seconds += time.perf_counter() - start
