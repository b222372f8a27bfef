"""Run a study: units of work (a strategy with a seed), here or on a cluster, saved as they finish."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from systwise.cases import Progress, no_progress
from systwise.study.config._settings import StudySettings
from systwise.study.measure._exhibits import feature_exhibits
from systwise.study.measure._strength_scan import scan_trade_off
from systwise.study.plan._plan import Plan, make_plan
from systwise.study.records._plotdata import PlotData
from systwise.study.records._record import plain
from systwise.study.records._results import DataRecord, NuisanceRecord, Results, Timings, YieldRecord
from systwise.study.run._control_fit import at_control_fit, noted
from systwise.study.run._places import AbstractPlace, Job, checkpoints_of, place_of
from systwise.study.run._unit import Unit, run_waiting
from systwise.study.significance._prepare import question_of, strength_tables
from systwise.study.significance._study import SignificanceResults, significance_study
from systwise.study.store._manifest import EXTENDABLE, Manifest, versions
from systwise.study.store._store import Store


def run_study(
    case: str,
    settings: StudySettings,
    directory: Path,
    *,
    force: bool = False,
    resume: bool = False,
    scheduler: str | None = None,
    progress: Progress = no_progress,
    command: str = "",
) -> Results:
    """Train, measure and store; return the results.

    `results.json` and `plots.npz` are rewritten, whole, after every finished unit, so an interrupted
    study keeps what it has found; with `resume` it goes on where it was, trainings included, to the bit.

    Args:
        case: name of a case.
        settings: the study's settings.
        directory: where to write; it must be empty or not exist, unless `force` or `resume`.
        force: replace what the directory holds.
        resume: go on with the run that the directory holds: what is finished is not repeated. Strategies, seeds
            and pseudo-experiments may be added.
        scheduler: address of a Dask scheduler whose workers run the units and pseudo-experiments.
        progress: told about everything that takes longer than a second.
        command: the command line, for the record.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    start = time.perf_counter()
    # The directory first: a run that may not write there should not load events for minutes.
    store = Store.open(directory, force, resume)
    try:
        plan, control = at_control_fit(make_plan(case, settings, progress, checkpoints_of(store.path)), progress)
        data = DataRecord(source=plan.table.source, fingerprint=plan.table.fingerprint, events=plan.events)
        manifest = store.begin(noted(Manifest.begin(plan.case.name, _settings_tree(plan), data, command), control))
        place = place_of(scheduler, case, plan.settings, plan)
        try:
            study = _Study(plan, store, place, manifest, command, start)
            return study.run(progress)
        finally:
            place.close()
    finally:
        store.close()


@dataclasses.dataclass
class _Study:
    """A study while it runs.

    Attributes:
        plan: what is run.
        store: where results go.
        place: where work is done.
        manifest: what the directory belongs to.
        command: for the record.
        start: when it began.
        units: what is finished.
        apart: significances found so far.
        plots: data of figures that are not a unit's.
    """

    plan: Plan
    store: Store
    place: AbstractPlace
    manifest: Manifest
    command: str
    start: float
    units: dict[Job, Unit] = dataclasses.field(default_factory=dict)
    apart: SignificanceResults = dataclasses.field(default_factory=SignificanceResults)
    plots: PlotData = dataclasses.field(default_factory=lambda: PlotData(components=()))

    def run(self, progress: Progress) -> Results:
        """Run all units, then what compares them."""
        plan = self.plan
        progress("feature distributions", 0, 1)
        features, planes = feature_exhibits(plan.case, plan.table)
        progress("feature distributions", 1, 1)
        self.plots = PlotData(
            components=plan.case.components.names, feature_distributions=features, plane_densities=planes
        )
        jobs = self._jobs()
        for job in jobs:
            found = self.store.unit(self._name(job), self._identity(job))
            if found is not None:
                self._finish(job, found, progress)
        left = [job for job in jobs if job not in self.units]
        density = planes[0] if planes else None
        for job, unit in self.place.units(plan, left, self.store, density, progress):
            # Pseudo-experiments may take hours: what they start from is kept before.
            self.store.save_unit(self._name(job), self._identity(job), unit)
            self._finish(job, unit, progress)
        for number in range(plan.settings.seeds):
            self._compare(plan.settings.seed + number, progress)
        self.manifest = self.manifest.model_copy(update={"status": "finished"})
        return self._save()

    def _finish(self, job: Job, unit: Unit, progress: Progress) -> None:
        """Make a unit's pseudo-experiments, and count it among the finished ones."""
        if unit.waiting:
            run_waiting(self.plan, self.store, unit, job.seed, self.place.toys, progress)
            self.store.save_unit(self._name(job), self._identity(job), unit)
        self.units[job] = unit
        self._save()

    def _jobs(self) -> list[Job]:
        """Return all units, in the order of the results."""
        return [
            Job(place, self.plan.settings.seed + number, number == 0)
            for number in range(self.plan.settings.seeds)
            for place, strategy in enumerate(self.plan.strategies)
            # Where nothing is trained, another seed gives the same numbers.
            if number == 0 or strategy.trains
        ]

    def _name(self, job: Job) -> str:
        return f"{self.plan.strategies[job.strategy].name}-seed{job.seed}"

    def _identity(self, job: Job) -> str:
        """Return what decides a unit's numbers; other strategies and seeds of the study do not."""
        tree = _settings_tree(self.plan)
        strategy = self.plan.strategies[job.strategy].model_dump(mode="json", by_alias=True)
        parts = [
            self.plan.case.name,
            {key: value for key, value in tree.items() if key not in EXTENDABLE},
            tree.get("toys"),
            strategy,
            job.seed,
            job.shown,
            self.plan.table.fingerprint,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def _compare(self, seed: int, progress: Progress) -> None:
        """Run what needs the units of a seed together: the scan of strengths, and significances."""
        plan = self.plan
        records = scan_trade_off(plan, self.store, plan.settings.trade_off, seed, progress)
        if records:
            self.plots = dataclasses.replace(self.plots, trade_offs=(*self.plots.trade_offs, *records))
            self._save()
        tables = {unit.strategy: unit.tables for job, unit in self._finished() if job.seed == seed and unit.tables}
        if tables:
            scanned, strengths = strength_tables(plan, self.store, seed, progress)
            every = {**tables, **scanned}
            found = significance_study(every, question_of(plan), progress, seed=seed, strengths=strengths)
            self.apart = self.apart.joined(found)
            self.plots = dataclasses.replace(
                self.plots,
                significance_planes=self.apart.planes,
                significance_trade_offs=self.apart.trade_offs,
            )
            self._save()

    def _finished(self) -> list[tuple[Job, Unit]]:
        return [(job, self.units[job]) for job in self._jobs() if job in self.units]

    def _save(self) -> Results:
        """Write all that is known, in an order that does not depend on what was finished first."""
        units, plots = [], self.plots
        for _, unit in self._finished():
            units.append(unit)
            plots = _extend(plots, unit)
        results = _results(self.plan, units, self.command, time.perf_counter() - self.start, self.apart)
        self.store.save(results, plots)
        self.manifest = self.manifest.model_copy(update={"units": [self._name(job) for job, _ in self._finished()]})
        self.manifest.save(self.store.path)
        return results


def _settings_tree(plan: Plan) -> dict[str, Any]:
    """Return all settings of a study, with those of its case and strategies resolved."""
    tree = plan.settings.model_dump(by_alias=True)
    tree["case"] = plan.case.settings.model_dump(by_alias=True)
    tree["strategies"] = [strategy.name for strategy in plan.strategies]
    tree["strategy"] = {strategy.name: strategy.model_dump(by_alias=True) for strategy in plan.strategies}
    tree["true"] = list(plan.points)
    tree["significance"] = plan.significance.model_dump(by_alias=True)
    return tree


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
    settings, tree = plan.settings, _settings_tree(plan)
    tree["split"]["scheme"] = plan.split.scheme
    names = [strategy.name for strategy in plan.strategies]
    yields = [row for name, region in plan.regions.items() for row in _yields(name, region)]

    def by_strategy(field: str) -> dict[str, float | None]:
        return {n: sum(getattr(u, field) for u in units if u.strategy == n) for n in names}

    return Results(
        case=plan.case.title,
        settings=plain(tree),
        seeds=[settings.seed + i for i in range(settings.seeds)],
        versions=versions(),
        timings=Timings(
            generate=plan.generate_seconds,
            train=by_strategy("train_seconds"),
            score=by_strategy("score_seconds"),
            fit=sum(unit.fit_seconds for unit in units),
            inference=sum(unit.inference_seconds for unit in units),
            toys=sum(unit.toy_seconds for unit in units),
            total=total,
        ),
        data=DataRecord(source=plan.table.source, fingerprint=plan.table.fingerprint, events=plan.events),
        command=command,
        nuisances=[NuisanceRecord.of(n) for n in plan.nuisances],
        yields=yields,
        yardsticks=[s.name for s in plan.strategies if s.is_yardstick],
        warnings=list(
            dict.fromkeys([*plan.table.notes, *_cautions(plan), *(w for unit in units for w in unit.warnings)])
        ),
        measurements=[record for unit in units for record in unit.measurements],
        toys=[record for unit in units for record in unit.toys],
        inferences=[record for unit in units for record in unit.inferences],
        significances=list(apart.significances),
        fakes=list(apart.fakes),
        toy_checks=list(apart.toys),
        classifiers=list(apart.classifiers),
        regions=[record for place, record in enumerate(apart.regions) if record not in apart.regions[:place]],
        told_checks=list(apart.told),
    )


def _yields(name: str, plan: Plan) -> list[YieldRecord]:
    """Return what is expected in a region at the nominal parameters, with the simulation's uncertainty."""
    if plan.table.component_names != plan.case.components.names:
        return []
    coefficients = plan.case.components.reference()
    nominal = np.array([[n.nominal for n in plan.nuisances]])
    totals = plan.yields(nominal, no_progress)[0] * coefficients
    own = plan.table.weights.astype(np.float64)
    # Relative errors are those of the events in memory, which may be a sample of all.
    sums, squares = own.sum(axis=0), (own**2).sum(axis=0)
    relative = np.divide(np.sqrt(squares), np.abs(sums), out=np.zeros_like(sums), where=sums != 0)
    return [
        YieldRecord(region=name, component=component, expected=total, error=abs(total) * part)
        for component, total, part in zip(plan.case.components.names, totals, relative, strict=True)
    ]


def _cautions(plan: Plan) -> list[str]:
    """Return what a reader must know before believing a decorrelated score, and of events that stayed on disk."""
    theory = [n.name for n in plan.nuisances if n.kind == "theory"]
    sampled = [
        f"{plan.events:,} events were streamed from disk; scalers, early stopping, choices of bins, unbinned fits and "
        f"boosted trees saw a random sample of {len(plan.table):,}"
    ]
    return (sampled if plan.store is not None else []) + [
        f"strategy '{strategy.name}' decorrelates from the theory nuisance '{name}': this can shrink the apparent "
        "uncertainty without shrinking the real one (arXiv:2109.08159); test it on a variation that training never saw"
        for strategy in plan.strategies
        if strategy.decorrelates
        for name in theory
    ]
