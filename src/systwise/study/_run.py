"""Run a study: units of work (a strategy with a seed), one after the other, saved as they finish."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from systwise.cases import Progress, no_progress, relabelled
from systwise.learn import AbstractObservable, AbstractRatioObservable, AbstractStrategy, RatioObservable
from systwise.study._anchored import anchored_setup
from systwise.study._binned import binned_setups, moves
from systwise.study._channel_tables import channel_plans, channel_table, strength_tables
from systwise.study._channels import ChannelTable
from systwise.study._exhibits import decision_function, feature_exhibits, score_distribution, training_history
from systwise.study._inference import examined, infer
from systwise.study._inference_records import InferenceRecord
from systwise.study._measure import Setup, measure, stored
from systwise.study._plan import Plan, make_plan
from systwise.study._plotdata import (
    DecisionFunction,
    LikelihoodScan,
    PlaneScan,
    PlotData,
    RatioCheck,
    ScoreDistribution,
    ScoreTemplates,
    TrainingHistory,
)
from systwise.study._record import plain
from systwise.study._results import DataRecord, Measurement, NuisanceRecord, Results, Timings, ToyRecord
from systwise.study._settings import StudySettings
from systwise.study._significance import SignificanceResults, significance_study
from systwise.study._store import Store
from systwise.study._strength_scan import scan_trade_off
from systwise.study._toys import check_coverage, fitted_observables
from systwise.study._unbinned import measure_unbinned, ratio_check, unbinned_warnings
from systwise.study._warmup import start_compiling

PACKAGES = ("systwise", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "pyarrow")


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
    tables: dict[str, ChannelTable] = dataclasses.field(default_factory=dict)
    inference_seconds: float = 0.0


def run_study(
    case: str,
    settings: StudySettings,
    directory: Path,
    *,
    force: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
    command: str = "",
) -> Results:
    """Train, measure and store; return the results.

    `results.json` and `plots.npz` are rewritten, whole, after every finished unit, so an interrupted
    study keeps what it has found.

    Args:
        case: name of a case.
        settings: the study's settings.
        directory: where to write; it must be empty or not exist, unless `force`.
        force: replace what the directory holds.
        resume: keep the pseudo-experiments that the directory holds, and run the missing ones.
        progress: told about everything that takes longer than a second.
        command: the command line, for the record.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    start = time.perf_counter()
    plan = make_plan(case, settings, progress)
    store = Store.open(directory, force, resume)
    compiling = start_compiling(plan)
    try:
        progress("feature distributions", 0, 1)
        features, planes = feature_exhibits(plan.case, plan.table)
        progress("feature distributions", 1, 1)
        plots = PlotData(components=plan.case.components.names, feature_distributions=features, plane_densities=planes)
        units: list[Unit] = []
        channels = channel_plans(plan, progress)
        apart = SignificanceResults()
        for number in range(settings.seeds):
            seed, tables = settings.seed + number, {}
            for strategy in plan.strategies:
                if strategy.needs_truth and number > 0:
                    continue  # nothing is trained, so another seed gives the same numbers
                unit = run_unit(plan, strategy, seed, store, plots, number == 0, progress, channels)
                units.append(unit)
                tables.update({strategy.name: unit.tables} if unit.tables else {})
                plots = _extend(plots, unit)
                results = _results(plan, units, command, time.perf_counter() - start, apart)
                store.save(results, plots)
            records = scan_trade_off(plan, store, settings.trade_off, seed, progress)
            if records:
                plots = dataclasses.replace(plots, trade_offs=(*plots.trade_offs, *records))
                store.save(results, plots)
            if tables:
                scanned, strengths = strength_tables(channels, seed, progress)
                found = significance_study(
                    {**tables, **scanned}, settings.significance, progress, seed=seed, strengths=strengths
                )
                apart = apart.joined(found)
                plots = dataclasses.replace(
                    plots, significance_planes=apart.planes, significance_trade_offs=apart.trade_offs
                )
                results = _results(plan, units, command, time.perf_counter() - start, apart)
                store.save(results, plots)
        return results
    finally:
        compiling.join()
        store.close()


def run_unit(
    plan: Plan,
    strategy: AbstractStrategy,
    seed: int,
    store: Store,
    plots: PlotData,
    shown: bool,
    progress: Progress,
    channels: Mapping[str, Plan] | None = None,
) -> Unit:
    """Train one strategy with one seed, and measure at every true point.

    Args:
        plan: the study.
        strategy: what to train.
        seed: seed of the training.
        store: where trained models go.
        plots: what is known for figures so far (the plane in which decision functions are drawn).
        shown: whether to gather what the figures show.
        progress: told about training and scoring.
        channels: plans of all channels in which hypotheses are told apart, this one among them.
    """
    unit = Unit(strategy.name)
    trained = []
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
        _measure_observable(plan, unit, store, strategy, label, seed, made.observable, points, shown, progress)
        trained.append((made.observable, points))
    if channels and not strategy.is_yardstick and "unbinned" not in strategy.observables:
        _tabulate(channels, plan, unit, strategy, seed, trained[0][0], store, progress)
    if shown and plots.plane_densities:
        unit.decisions.append(_decisions(plan, plots, strategy, trained))
    return unit


def _tabulate(
    channels: Mapping[str, Plan],
    plan: Plan,
    unit: Unit,
    strategy: AbstractStrategy,
    seed: int,
    observable: AbstractObservable,
    store: Store,
    progress: Progress,
) -> None:
    """Fill a unit's histograms of all channels, training on the channels that are not the study's own."""
    for name, other in channels.items():
        score = observable
        if other is not plan:
            made = strategy.fit(other.problem, seed, relabelled(progress, f"{strategy.name}, {name}"))
            unit.train_seconds += made.seconds
            score = made.observable
            store.save_model(strategy, f"{strategy.name}-{name}", seed, score, other.case)
        start = time.perf_counter()
        unit.tables[name] = channel_table(name, other, strategy.name, seed, score, progress)
        unit.score_seconds += time.perf_counter() - start


def _measure_observable(
    plan: Plan,
    unit: Unit,
    store: Store,
    strategy: AbstractStrategy,
    label: str,
    seed: int,
    observable: AbstractObservable,
    points: tuple[dict[str, float], ...],
    shown: bool,
    progress: Progress,
) -> None:
    """Measure with every observable that the strategy offers and the settings ask for."""
    kinds = [kind for kind in strategy.observables if kind in plan.settings.fit.observables] or ["binned"]
    setups: list[Setup] = []
    start = time.perf_counter()
    if "binned" in kinds:
        setups, warnings = binned_setups(plan, strategy.name, seed, observable, points, progress)
        unit.warnings += warnings
        if shown:
            unit.distributions.append(_distribution(plan, setups[0], points))
    if "anchored" in kinds and moves(plan, observable):
        told = relabelled(progress, f"anchor {strategy.name}")
        setup, warnings = anchored_setup(plan, strategy.name, seed, observable, points, told)
        unit.warnings += warnings
        setups.append(setup)
    unit.score_seconds += time.perf_counter() - start
    start = time.perf_counter()
    for setup in setups:
        store.save_templates(label, stored(plan, setup))
        progress(f"fit {strategy.name}", 0, 1)
        records, scans = measure(plan, setup, shown)
        progress(f"fit {strategy.name}", 1, 1)
        unit.measurements += records
        if shown:
            unit.scans += scans
            unit.templates += _exhibited(plan, setup)
    if "unbinned" in kinds and isinstance(observable, AbstractRatioObservable):
        found = measure_unbinned(plan, strategy.name, seed, observable, points, progress)
        unit.measurements += found
        unit.warnings += unbinned_warnings(found)
        if shown and isinstance(observable, RatioObservable):
            unit.ratio_checks.append(ratio_check(plan, strategy.name, observable, points, seed))
    unit.fit_seconds += time.perf_counter() - start
    if shown:
        start = time.perf_counter()
        for setup in examined(plan, setups):
            progress(f"impacts {strategy.name}", 0, 1)
            inferences, planes = infer(plan, setup)
            unit.inferences += inferences
            unit.planes += planes
            progress(f"impacts {strategy.name}", 1, 1)
        unit.inference_seconds += time.perf_counter() - start
    if plan.settings.toys.count:
        start = time.perf_counter()
        fitted = fitted_observables(plan, setups, observable, "unbinned" in kinds, progress)
        toys, warnings = check_coverage(plan, store, strategy.name, seed, observable, fitted, points, progress)
        unit.toys += toys
        unit.warnings += warnings
        unit.toy_seconds += time.perf_counter() - start


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
    templates = setup.templates
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
    plots: PlotData,
    strategy: AbstractStrategy,
    trained: list[tuple[AbstractObservable, tuple[dict[str, float], ...]]],
) -> DecisionFunction:
    """Return the decision function at the first and the last true point."""
    nuisance = plan.nuisances[0].name
    ends = [plan.points[0], plan.points[-1]]
    observables = [next(o for o, points in trained if end in points) for end in ends]
    return decision_function(
        plan.case, plots.plane_densities[0], strategy.name, observables, [end[nuisance] for end in ends]
    )


def _steps_a_pass(plan: Plan, strategy: AbstractStrategy) -> float:
    training = getattr(strategy, "training", None)
    return len(plan.split.training(0)) / training.batch if training is not None else 1.0


def _extend(plots: PlotData, unit: Unit) -> PlotData:
    return dataclasses.replace(
        plots,
        decision_functions=(*plots.decision_functions, *unit.decisions),
        ratio_checks=(*plots.ratio_checks, *unit.ratio_checks),
        score_templates=(*plots.score_templates, *unit.templates),
        score_distributions=(*plots.score_distributions, *unit.distributions),
        likelihood_scans=(*plots.likelihood_scans, *unit.scans),
        plane_scans=(*plots.plane_scans, *unit.planes),
        training_histories=(*plots.training_histories, *unit.histories),
    )


def _results(plan: Plan, units: list[Unit], command: str, total: float, apart: SignificanceResults) -> Results:
    """Assemble the results of the units that are finished."""
    settings = plan.settings
    tree = settings.model_dump(by_alias=True)
    tree["case"] = plan.case.settings.model_dump(by_alias=True)
    tree["strategies"] = [strategy.name for strategy in plan.strategies]
    tree["strategy"] = {strategy.name: strategy.model_dump(by_alias=True) for strategy in plan.strategies}
    tree["true"] = list(plan.points)
    tree["split"]["scheme"] = plan.split.scheme
    names = [strategy.name for strategy in plan.strategies]

    def by_strategy(field: str) -> dict[str, float | None]:
        return {n: sum(getattr(u, field) for u in units if u.strategy == n) for n in names}

    return Results(
        case=plan.case.name,
        settings=plain(tree),
        seeds=[settings.seed + i for i in range(settings.seeds)],
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        timings=Timings(
            generate=plan.generate_seconds,
            train=by_strategy("train_seconds"),
            score=by_strategy("score_seconds"),
            fit=sum(unit.fit_seconds for unit in units),
            inference=sum(unit.inference_seconds for unit in units),
            toys=sum(unit.toy_seconds for unit in units),
            total=total,
        ),
        data=DataRecord(source=plan.table.source, fingerprint=plan.table.fingerprint, events=len(plan.table)),
        command=command,
        nuisances=[
            NuisanceRecord(name=n.name, nominal=n.nominal, kind=n.kind, unit=n.unit, label=n.label)
            for n in plan.nuisances
        ],
        yardsticks=[s.name for s in plan.strategies if s.is_yardstick],
        warnings=list(dict.fromkeys([*_cautions(plan), *(w for unit in units for w in unit.warnings)])),
        measurements=[record for unit in units for record in unit.measurements],
        toys=[record for unit in units for record in unit.toys],
        inferences=[record for unit in units for record in unit.inferences],
        significances=list(apart.significances),
        fakes=list(apart.fakes),
        toy_checks=list(apart.toys),
        classifiers=list(apart.classifiers),
        channels=list(dict.fromkeys(apart.channels)),
        told_checks=list(apart.told),
    )


def _cautions(plan: Plan) -> list[str]:
    """Return what a reader must know before believing a decorrelated score."""
    theory = [n.name for n in plan.nuisances if n.kind == "theory"]
    return [
        f"strategy '{strategy.name}' decorrelates from the theory nuisance '{name}': this can shrink the apparent "
        "uncertainty without shrinking the real one (arXiv:2109.08159); test it on a variation that training never saw"
        for strategy in plan.strategies
        if strategy.decorrelates
        for name in theory
    ]
