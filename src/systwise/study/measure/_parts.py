"""All events of a study, part after part: in one piece from memory, or streamed from disk.

What is summed over events is summed over parts in their order, so that the numbers do not depend on where the parts
are worked on.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from systwise.cases import Progress, no_progress
from systwise.events import EventTable, Split, split_part
from systwise.learn import AbstractObservable
from systwise.templates import FineGrid, JointBinning, JointTable, Pairs, ScoreTable, joint_score, score, yields

if TYPE_CHECKING:
    from systwise.study.plan._plan import Plan


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of the events.

    Attributes:
        table: the events.
        split: who plays which part.
    """

    table: EventTable
    split: Split


Work = Callable[..., Any]
"""`work(plan, part, *arguments, progress)`: a function of a module, so that it can be sent elsewhere."""


class AbstractSpread(abc.ABC):
    """Works on parts somewhere else."""

    @abc.abstractmethod
    def work(self, work: Work, numbers: Sequence[int], arguments: tuple[Any, ...]) -> Iterator[Any]:
        """Yield `work` of each part, in the order of `numbers`."""


def part_of(plan: Plan, number: int) -> Part:
    """Return part `number` of the events."""
    if plan.store is None:
        return Part(plan.table, plan.split)
    table = plan.store.part(number)
    return Part(table, split_part(table, plan.settings.split, plan.split.scheme))


def over_parts(plan: Plan, work: Work, *arguments: Any, progress: Progress = no_progress) -> Iterator[Any]:
    """Yield `work` of every part, in order.

    Args:
        plan: the study.
        work: a function of a module.
        arguments: what it needs beside the plan and the part.
        progress: told about events in memory, else about parts.
    """
    if plan.store is None:
        yield work(plan, part_of(plan, 0), *arguments, progress=progress)
        return
    numbers = range(len(plan.store.rows))
    progress("parts", 0, len(numbers))
    found = (
        (work(plan, part_of(plan, number), *arguments, progress=no_progress) for number in numbers)
        if plan.spread is None
        else plan.spread.work(work, numbers, arguments)
    )
    for number, one in enumerate(found):
        progress("parts", number + 1, len(numbers))
        yield one


def scored(
    plan: Plan, observable: AbstractObservable, which: str, pairs: Pairs, grid: FineGrid, progress: Progress
) -> ScoreTable:
    """Return the score table of all events of a kind, with the yields of all events.

    Args:
        plan: the study.
        observable: the score.
        which: `template`, or `binning` for the events that choose bins (those in memory are enough for that).
        pairs: where to shift to and what to assume.
        grid: the fine bins.
        progress: told about events.
    """
    arguments = (observable, which, pairs, grid)
    if which == "binning":
        table = _scored(plan, Part(plan.table, plan.split), *arguments, progress=progress)
    else:
        table = _sum(ScoreTable, over_parts(plan, _scored, *arguments, progress=progress))
    return table.scaled_to(plan.yields(pairs.z_true, progress))


def filled(
    plan: Plan, observable: AbstractObservable, binning: JointBinning, z: np.ndarray, progress: Progress
) -> JointTable:
    """Return the cells of a joint observable filled with all template events at the points `z`, `[pair, nuisance]`."""
    return _sum(JointTable, over_parts(plan, _filled, observable, binning, z, progress=progress))


def total_yields(plan: Plan, z: np.ndarray, progress: Progress) -> np.ndarray:
    """Return the expected yields `[point, component]` of all events at `z` `[point, nuisance]`."""
    total: np.ndarray = np.zeros((len(z), len(plan.table.component_names)))
    for one in over_parts(plan, _yields, z, progress=progress):
        total = total + one
    return total


def _sum(kind: Any, tables: Iterator[Any]) -> Any:
    """Add up tables as they come, so that no more than two are held."""
    total = next(tables)
    for table in tables:
        total = kind.merge([total, table])
    return total


def _scored(
    plan: Plan,
    part: Part,
    observable: AbstractObservable,
    which: str,
    pairs: Pairs,
    grid: FineGrid,
    *,
    progress: Progress,
) -> ScoreTable:
    rows = np.flatnonzero(getattr(part.split, which))
    return score(observable, plan.case, part.table, rows, part.split.scorer, pairs, grid=grid, progress=progress)


def _filled(
    plan: Plan,
    part: Part,
    observable: AbstractObservable,
    binning: JointBinning,
    z: np.ndarray,
    *,
    progress: Progress,
) -> JointTable:
    rows = np.flatnonzero(part.split.template)
    return joint_score(observable, plan.case, part.table, rows, part.split.scorer, z, binning, progress=progress)


def _yields(plan: Plan, part: Part, z: np.ndarray, *, progress: Progress) -> np.ndarray:
    return yields(plan.case, part.table, np.arange(len(part.table)), z, progress=progress)
