"""Pseudo-experiments of a study: data drawn at the true points, fitted with every observable of a strategy.

Data are fresh events wherever the case can draw them: independent of what trained the networks and of what
built the templates, shared by all observables and strategies, so that their estimates can be compared one by one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

from systwise.cases import Progress
from systwise.events import EventTable
from systwise.fit import (
    AbstractData,
    CombinedModel,
    Data,
    Model,
    MovingData,
    Toys,
    UnbinnedData,
    UnbinnedModel,
    draw_auxiliary,
    fit_many,
    pseudo_data,
    stack,
    toy_generator,
)
from systwise.learn import AbstractObservable, RatioObservable
from systwise.study.measure._binned import fine_grid
from systwise.study.measure._measure import study_data
from systwise.study.measure._measurement import Fitted
from systwise.study.measure._unbinned import Sample, true_yields
from systwise.study.plan._plan import Plan
from systwise.study.records._results import ToyRecord
from systwise.study.run._toy_records import data_source, identity, toy_file, toy_record
from systwise.study.store._store import Store
from systwise.templates import Pairs, anchor_pairs, joint_score, score

TOGETHER = 50
"""Pseudo-experiments whose data are in memory at a time."""
SECONDS = 20.0
"""Time after which those that are done are written."""


def check_coverage(
    plan: Plan,
    store: Store,
    strategy: str,
    seed: int,
    observable: AbstractObservable,
    fitted: list[Fitted],
    points: tuple[dict[str, float], ...],
    progress: Progress,
    run: ToyRunner | None = None,
) -> tuple[list[ToyRecord], list[str]]:
    """Fit pseudo-experiments at every true point, keeping those that a resumed directory holds already.

    They come in blocks of fixed numbers, each the same whatever else is run, and wherever.

    Returns:
        one record an observable and true point, and warnings.
    """
    settings, records, warnings = plan.settings.toys, [], []
    wanted = range(settings.first, settings.first + settings.count)
    for number, point in enumerate(points):
        files = [toy_file(plan, strategy, one, seed, point) for one in fitted]
        names = [identity(plan, strategy, seed, one) for one in fitted]
        earlier = [store.toys(file, name) for file, name in zip(files, names, strict=True)]
        # A moving observable has fewer, by its own limit.
        complete = [old for one, old in zip(fitted, earlier, strict=True) if one.kind != "moving"] or earlier
        held = [set(old.numbers.tolist()) if old else set() for old in complete]
        missing = np.array([i for i in wanted if not all(i in numbers for numbers in held)], dtype=np.int64)
        new: list[Toys | None] = [None] * len(fitted)
        if len(missing):
            job = ToyJob(strategy, seed, observable, tuple(fitted), point, number)

            def keep(parts: Block, files: list[str] = files, earlier: Block = earlier) -> None:
                for file, *both in zip(files, earlier, parts, strict=True):
                    rows = [part for part in both if part is not None]
                    if rows:
                        store.save_toys(file, Toys.merge(rows))

            new = _joined(run or run_here, plan, job, missing, settings.first, keep, progress)
        for one, file, *both in zip(fitted, files, earlier, new, strict=True):
            parts = [part for part in both if part is not None]
            who = f"{strategy}, {one.kind}, {one.binning} binning"
            if not parts:
                warnings.append(
                    f"{who}: no pseudo-experiments, since templates give data for fixed observables only; "
                    "set toys.source to events where the case can draw them"
                )
                continue
            merged = Toys.merge(parts)
            store.save_toys(file, merged)
            if merged.converged.any():
                records.append(toy_record(plan, strategy, seed, one, point, merged, file))
            else:
                warnings.append(f"{who}: no pseudo-experiment's fit converged; look at the verdict of the Asimov fit")
    return records, warnings


@dataclasses.dataclass(frozen=True)
class ToyJob:
    """Whose pseudo-experiments, and where.

    Attributes:
        strategy: its name.
        seed: seed of the training.
        observable: the score.
        fitted: what is fitted.
        point: the true point.
        number: its place among the points that the templates serve.
    """

    strategy: str
    seed: int
    observable: AbstractObservable
    fitted: tuple[Fitted, ...]
    point: dict[str, float]
    number: int


Block = list[Toys | None]
"""Fits of some pseudo-experiments, one set an observable; None where the source has no data for it."""
ToyRunner = Callable[[Plan, ToyJob, list[np.ndarray]], Iterator[Block]]
"""Makes blocks of pseudo-experiments, in order."""


def run_here(plan: Plan, job: ToyJob, blocks: list[np.ndarray]) -> Iterator[Block]:
    """Yield the blocks, made one after the other in this process."""
    for numbers in blocks:
        yield run_toys(plan, job, numbers)


def toy_blocks(missing: np.ndarray, first: int) -> list[np.ndarray]:
    """Return the missing numbers in blocks that begin at multiples of `TOGETHER` from `first`.

    >>> [block.tolist() for block in toy_blocks(np.array([48, 49, 50, 120]), 0)]
    [[48, 49], [50], [120]]
    """
    return [missing[(missing - first) // TOGETHER == k] for k in np.unique((missing - first) // TOGETHER)]


def _joined(
    run: ToyRunner,
    plan: Plan,
    job: ToyJob,
    missing: np.ndarray,
    first: int,
    keep: Callable[[Block], None],
    progress: Progress,
) -> Block:
    """Return all missing pseudo-experiments, one set an observable; `keep` is given what is there now and then."""
    parts: list[list[Toys]] = [[] for _ in job.fitted]
    kept = time.monotonic()
    what, done = f"toys {job.strategy}", 0
    blocks = toy_blocks(missing, first)
    progress(what, 0, len(missing))
    for numbers, block in zip(blocks, run(plan, job, blocks), strict=True):
        for part, toys in zip(parts, block, strict=True):
            part += [] if toys is None else [toys]
        done += len(numbers)
        if done < len(missing) and time.monotonic() - kept > SECONDS:
            keep([Toys.merge(part) if part else None for part in parts])
            kept = time.monotonic()
        progress(what, done, len(missing))
    return [Toys.merge(part) if part else None for part in parts]


def run_toys(plan: Plan, job: ToyJob, numbers: np.ndarray) -> Block:
    """Return the fits of pseudo-experiments `numbers` at one true point.

    Args:
        plan: the study.
        job: whose, and where.
        numbers: which pseudo-experiments.
    """
    fitted = list(job.fitted)
    drawn = (
        _from_templates(plan, fitted, job.point, job.number, numbers)
        if data_source(plan) == "templates"
        else _from_events(plan, job.observable, fitted, job.point, numbers)
    )
    found: Block = []
    for one, data in zip(fitted, drawn, strict=True):
        if data is None:
            found.append(None)
            continue
        results = fit_many(one.model, data, stat_only=False)
        name = identity(plan, job.strategy, job.seed, one)
        found.append(Toys.of(results, name, plan.settings.seed, job.point, numbers[: len(results)]))
    return found


def _auxiliary(
    model: Model | UnbinnedModel | CombinedModel, plan: Plan, point: dict[str, float], numbers: np.ndarray
) -> tuple[np.ndarray, ...]:
    values = [np.asarray(point[nuisance.name]) for nuisance in plan.nuisances]
    of_joint = [np.array([point[name] for name in c.nuisances]) for c in model.joint]
    return draw_auxiliary([*model.constraints, *model.joint], [*values, *of_joint], plan.settings.seed, numbers)


def _from_templates(
    plan: Plan, fitted: list[Fitted], point: dict[str, float], number: int, numbers: np.ndarray
) -> Iterator[AbstractData | None]:
    """Yield Poisson data around the templates; observables whose data need events have none."""
    theta = plan.poi_values(point)
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    for one in fitted:
        if one.setup is None or not isinstance(one.model, Model) or one.setup.templates.moving:
            yield None
            continue
        expected = None
        if plan.settings.fit.simulation == "beside":
            expected = study_data(plan, one.model, one.setup.templates, number, point).counts
        yield pseudo_data(one.model, theta, z, plan.settings.seed, numbers, expected)


def _from_events(
    plan: Plan, observable: AbstractObservable, fitted: list[Fitted], point: dict[str, float], numbers: np.ndarray
) -> list[AbstractData | list[UnbinnedData] | None]:
    """Return data sets of fresh events, for every observable the same events."""
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    mean = true_yields(plan, point, lambda what, done, total: None)
    auxiliary = [_auxiliary(one.model, plan, point, numbers) for one in fitted]
    rows: list[list] = [[] for _ in fitted]
    limit = plan.settings.toys.moving
    for place, i in enumerate(numbers):
        counts = toy_generator(plan.settings.seed, "events", int(i)).poisson(mean)
        table = plan.case.sample((plan.settings.seed * 1_000_003 + int(i)) % 2**31, counts.tolist())
        if table is None:
            return [None] * len(fitted)
        for which, one in enumerate(fitted):
            own = tuple(a[place] for a in auxiliary[which])
            if one.kind == "moving" and int(i) - plan.settings.toys.first >= limit:
                continue
            rows[which].append(_data_set(plan, observable, one, table, z, own))
    return [
        (sets if one.setup is None else stack(sets)) if sets else None for one, sets in zip(fitted, rows, strict=True)
    ]


def _data_set(
    plan: Plan,
    observable: AbstractObservable,
    one: Fitted,
    table: EventTable,
    z: np.ndarray,
    auxiliary: tuple[np.ndarray, ...],
) -> AbstractData | UnbinnedData:
    """Return one data set as an observable sees it; no network saw these events, so the first one serves."""
    rows = np.arange(len(table))
    if one.setup is None:
        if not isinstance(observable, RatioObservable):
            raise TypeError("an unbinned fit needs density ratios")
        coefficients, weights = Sample(observable, plan.case, table, rows, None, z).polynomial()
        return UnbinnedData(coefficients, observable.basis, weights.sum(axis=1), auxiliary)
    templates = one.setup.templates
    if one.setup.joint is not None:
        cells = joint_score(observable, plan.case, table, rows, None, z[None], one.setup.joint)
        return Data(cells.sums[0].sum(axis=0), auxiliary)
    if not templates.moving:
        scored = score(
            observable, plan.case, table, rows, None, Pairs(z[None], z[None]), grid=fine_grid(plan, observable)
        )
        return Data(scored.rebin(templates.edges)[0][0].sum(axis=0), auxiliary)
    point = {nuisance.name: float(value) for nuisance, value in zip(plan.nuisances, z, strict=True)}
    every = anchor_pairs(plan.nuisances, [point], moving=True)
    chosen = [every.find(z, every.z_hypothesis[i]) for at in every.at_true(plan.nuisances, z) for i in at]
    pairs = Pairs(every.z_true[chosen], every.z_hypothesis[chosen])
    scored = score(observable, plan.case, table, rows, None, pairs, grid=fine_grid(plan, observable))
    binned = scored.rebin(templates.edges)[0].sum(axis=1)
    splits = np.cumsum([len(n.anchors) for n in plan.nuisances if n.kind != "norm"])[:-1]
    return MovingData(tuple(np.split(binned, splits)), auxiliary)
