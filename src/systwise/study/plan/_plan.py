"""A study made ready: events loaded, checked and split, points and anchors fixed."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping

import numpy as np

from systwise.cases import AbstractCase, Progress
from systwise.errors import Complaints, ConfigError
from systwise.events import EventStore, EventTable, Split, check_events, split_events, split_part, whole
from systwise.learn import AbstractStrategy, Checkpoints, Problem
from systwise.parameters import AbstractConstraint, CorrelatedGaussian, Normalisation, Nuisance
from systwise.settings import validate
from systwise.study.config._correlations import correlated
from systwise.study.config._settings import StudySettings, build_case, build_strategies, true_points
from systwise.study.config._strengths import trade_off_strategies
from systwise.study.measure._parts import AbstractSpread, total_yields
from systwise.study.significance._hypotheses import Hypotheses
from systwise.study.significance._settings import SignificanceSettings


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that the units of a study (a strategy with a seed) share.

    Attributes:
        case: the physics problem.
        settings: the study's settings.
        strategies: what to train.
        points: true points, every parameter named.
        table: the events, or a random sample of those in `store`, weighted to stand for all.
        split: who trains on which event.
        nuisances: the case's, with the true values among the anchors.
        grid: nuisance values to profile over, or None to profile continuously.
        problem: what strategies learn from.
        generate_seconds: wall-clock time of generating or reading the events.
        store: all events where they do not fit in memory.
        spread: works on parts of the store elsewhere; None: here.
        others: plans of the other regions, by name, those of kind `validation` among them.
    """

    case: AbstractCase
    settings: StudySettings
    strategies: tuple[AbstractStrategy, ...]
    points: tuple[dict[str, float], ...]
    table: EventTable
    split: Split
    nuisances: tuple[Nuisance, ...]
    grid: tuple[float, ...] | None
    problem: Problem
    generate_seconds: float
    store: EventStore | None = None
    spread: AbstractSpread | None = None
    others: Mapping[str, Plan] = dataclasses.field(default_factory=dict)
    _yields: dict[tuple[float, ...], np.ndarray] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint | CorrelatedGaussian, ...]:
        """The case's constraints, those of correlated nuisances joined."""
        return correlated(self.case.constraints, self.settings.fit.correlations)

    @functools.cached_property
    def regions(self) -> dict[str, Plan]:
        """The plans of all regions by name, this one first."""
        return {self.case.region: self, **self.others}

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of every region; empty where there is one region only."""
        return {name: plan.case.kind for name, plan in self.regions.items()} if self.others else {}

    @functools.cached_property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """The factors on yields in all regions; each says in which it acts where it does not in all."""
        found: dict[Normalisation, list[str]] = {}
        for name, plan in self.regions.items():
            for rate in plan.case.normalisations:
                found.setdefault(rate, []).append(name)
        return tuple(
            rate if len(names) == len(self.regions) else dataclasses.replace(rate, regions=tuple(names))
            for rate, names in found.items()
        )

    def as_given(self) -> Plan:
        """Return the region with its given observable, for which nothing is trained or chosen: no event is held back.

        A copy that shares the events; itself where it is that already.
        """
        if self.split.scheme == "whole":
            return self
        split, case = whole(self.table), self.case.in_bins()
        problem = dataclasses.replace(self.problem, case=case, split=split, done={})
        return dataclasses.replace(self, case=case, split=split, problem=problem, _yields={})

    def as_lent(self, scheme: str) -> Plan:
        """Return the region with the classifiers of another one, which saw none of its events.

        Args:
            scheme: of the other region's split; an event is scored by the network of its fold.
        """
        split = split_part(self.table, self.settings.split, "unseen" if scheme == "third" else scheme)
        problem = dataclasses.replace(self.problem, split=split, done={})
        return dataclasses.replace(self, split=split, problem=problem, _yields={})

    def at_control(self, values: Mapping[str, float]) -> Plan:
        """Return the study with `control` among its true points at these values of the nuisances, behind the others."""
        given = [point for point in self.settings.true or () if not isinstance(point, str)]
        settings = self.settings.model_copy(update={"true": (*given, dict(values))})
        points = tuple(true_points(self.case, settings))
        nuisances = tuple(n.with_anchors(*(point[n.name] for point in points)) for n in self.nuisances)

        def moved(plan: Plan, others: Mapping[str, Plan]) -> Plan:
            return dataclasses.replace(
                plan, settings=settings, points=points, nuisances=nuisances, others=others, _yields={}
            )

        return moved(self, {name: moved(plan, {}) for name, plan in self.others.items()})

    @functools.cached_property
    def significance(self) -> SignificanceSettings:
        """Which hypotheses are told from a reference: the case's, but for what was set."""
        return _significance(self.case, self.settings)

    @functools.cached_property
    def hypotheses(self) -> Hypotheses:
        """The same by the names of the parameters of interest."""
        return Hypotheses(self.significance, self.case.components)

    @property
    def events(self) -> int:
        """Number of all events."""
        return len(self.table) if self.store is None else len(self.store)

    @property
    def taken_apart(self) -> str:
        """At which true points the uncertainty is taken apart: `first`, `all` or `none`."""
        return self.settings.inference.points or self.case.defaults.taken_apart

    @property
    def morph(self) -> str:
        """How templates become functions of the nuisances."""
        given = all(plan.case.given for plan in self.regions.values())
        return self.settings.fit.morph or ("histfactory" if given else "factorised")

    @property
    def joint_grid(self) -> bool:
        """Whether templates of fixed observables cover all combinations of the nuisances' anchors."""
        return self.morph == "joint" and sum(n.kind != "norm" for n in self.nuisances) > 1

    def nuisance_values(self, point: dict[str, float]) -> dict[str, float]:
        """Return the nuisance part of a true point."""
        return {nuisance.name: point[nuisance.name] for nuisance in self.nuisances}

    def poi_values(self, point: dict[str, float]) -> np.ndarray:
        """Return the parameters of interest of a true point, `[poi]`."""
        return np.array([point[name] for name in self.case.components.pois])

    def yields(self, z: np.ndarray, progress: Progress) -> np.ndarray:
        """Return the expected yields `[point, component]` of all events at `z` `[point, nuisance]`."""
        keys = [tuple(float(v) for v in row) for row in z]
        missing = [key for key in dict.fromkeys(keys) if key not in self._yields]
        if missing:
            totals = total_yields(self, np.array(missing), progress)
            self._yields.update(zip(missing, totals, strict=True))
        return np.stack([self._yields[key] for key in keys])


def check_settings(case: AbstractCase, settings: StudySettings, complaints: Complaints) -> None:
    """Gather what is wrong with the settings of a study of a case, before any event is touched."""
    with complaints.gathered():
        trade_off_strategies(build_strategies(case, settings), settings.trade_off)
    for look in (
        lambda: true_points(case, settings),
        lambda: Hypotheses(_significance(case, settings), case.components),
        lambda: _grid(case, settings),
        lambda: correlated(case.constraints, settings.fit.correlations),
    ):
        with complaints.gathered():
            look()


def make_plan(name: str, settings: StudySettings, progress: Progress, checkpoints: Checkpoints | None = None) -> Plan:
    """Validate all settings first, then load, check and split the events.

    Args:
        name: of the case.
        settings: the study's settings.
        progress: told about loading.
        checkpoints: where trainings are kept as they go; None: nowhere.

    Raises:
        ConfigError: a setting is wrong; no event has been touched yet.
        DataError: the events are unusable.
    """
    case, complaints = build_case(name, settings), Complaints()
    check_settings(case, settings, complaints)
    complaints.tell()
    strategies, points, grid = build_strategies(case, settings), true_points(case, settings), _grid(case, settings)
    nuisances = tuple(n.with_anchors(n.nominal, *(p[n.name] for p in points), *(grid or ())) for n in case.nuisances)

    def of(region: AbstractCase, others: Mapping[str, Plan]) -> Plan:
        start = time.perf_counter()
        store = region.store(settings.stream, progress)
        if store is None:
            table = region.load(settings.seed, progress)
        else:
            table = store.head(settings.stream.sample)
            table = region.thinned(table, len(store) / len(table))
        seconds = time.perf_counter() - start
        check_events(table, () if region.given else region.present)
        split = (
            whole(table) if region.given else split_events(table, settings.split, None if store is None else len(store))
        )
        problem = Problem(region, table, split, checkpoints=checkpoints, store=store, split_settings=settings.split)
        plan = (region, settings, tuple(strategies), tuple(points), table, split, nuisances, grid, problem, seconds)
        return Plan(*plan, store, others=others)

    others = {name: of(region, {}) for name, region in case.regions.items() if name != case.region}
    return of(case, others)


def _significance(case: AbstractCase, settings: StudySettings) -> SignificanceSettings:
    given = settings.significance.model_dump(exclude_unset=True)
    return validate(SignificanceSettings, {**case.defaults.significance, **given}, "significance")


def _grid(case: AbstractCase, settings: StudySettings) -> tuple[float, ...] | None:
    grid = settings.fit.grid
    if grid is None:
        return None
    if len(case.nuisances) != 1:
        raise ConfigError("fit.grid: profiling on a grid is for cases of one nuisance; set it to null")
    if grid == "paper":
        grid = case.defaults.paper_grid
        if grid is None:
            raise ConfigError(f"fit.grid: case '{case.name}' has no paper's grid; give the values or null")
    for value in grid:
        case.nuisances[0].check(value)
    return tuple(grid)
