"""Where the units of a study run: in this process, or on the workers of a Dask cluster.

The numbers are the same to the bit: units and blocks of pseudo-experiments depend on their own seed and number
only, and each runs whole in one place. A worker that dies loses its current unit, which another one takes up.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
import pickle
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from systwise.cases import Progress, no_progress
from systwise.compilation import keep_compiled
from systwise.errors import ConfigError
from systwise.learn import Checkpoints
from systwise.optional import optional_module
from systwise.settings import validate
from systwise.study.config._settings import StudySettings, is_analysis
from systwise.study.measure._parts import AbstractSpread, Work, part_of
from systwise.study.plan._plan import Plan, make_plan
from systwise.study.records._plotdata import PlaneDensity
from systwise.study.run._toys import Block, ToyJob, run_here, run_toys
from systwise.study.run._unit import Unit, run_unit
from systwise.study.store._manifest import versions
from systwise.study.store._store import Store

if TYPE_CHECKING:
    from dask.distributed import Client

PATIENCE = 30.0
"""Seconds to wait for a scheduler, and for its first worker."""
RETRIES = 5
"""How often a unit is taken up again after a worker was lost."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A unit to run.

    Attributes:
        strategy: its number in the plan.
        seed: of the training.
        shown: whether to gather what figures show.
    """

    strategy: int
    seed: int
    shown: bool


class AbstractPlace(abc.ABC):
    """Where work is done."""

    @abc.abstractmethod
    def units(
        self, plan: Plan, jobs: Sequence[Job], store: Store, density: PlaneDensity | None, progress: Progress
    ) -> Iterator[tuple[Job, Unit]]:
        """Yield units as they are finished; their models and templates are in the store."""

    @abc.abstractmethod
    def toys(self, plan: Plan, job: ToyJob, blocks: list[np.ndarray]) -> Iterator[Block]:
        """Yield blocks of pseudo-experiments, in order."""

    def close(self) -> None:  # noqa: B027 - nothing to let go of, unless a place has something
        """Let go of what the place holds."""


@dataclasses.dataclass(frozen=True)
class Here(AbstractPlace):
    """This process."""

    def units(
        self, plan: Plan, jobs: Sequence[Job], store: Store, density: PlaneDensity | None, progress: Progress
    ) -> Iterator[tuple[Job, Unit]]:
        """Run one unit after the other."""
        for job in jobs:
            strategy = plan.strategies[job.strategy]
            yield job, run_unit(plan, strategy, job.seed, store, density, job.shown, progress)

    def toys(self, plan: Plan, job: ToyJob, blocks: list[np.ndarray]) -> Iterator[Block]:
        """Run one block after the other."""
        return run_here(plan, job, blocks)


@dataclasses.dataclass(frozen=True)
class Cluster(AbstractPlace):
    """Workers of a Dask cluster that is there already; they need this package and the events' files.

    Attributes:
        client: connected to the scheduler.
        study: what workers make their plan from (`study_text`).
    """

    client: Client
    study: str

    @classmethod
    def connect(cls, address: str, study: str) -> Cluster:
        """Return the place behind a scheduler's address.

        Args:
            address: for instance `tcp://host:8786`.
            study: what workers make their plan from.

        Raises:
            ConfigError: Dask is not installed, nothing answers, there is no worker, or a worker has other versions.
        """
        distributed = optional_module("dask.distributed", "--scheduler")
        try:
            client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(
                f"--scheduler {address}: no Dask scheduler answers ({type(error).__name__}); start one, or check the "
                "address that it printed"
            ) from None
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
            _check_workers(client)
        except TimeoutError:
            client.close()
            raise ConfigError(
                f"--scheduler {address}: has no workers; start some with: dask worker {address}"
            ) from None
        except ConfigError:
            client.close()
            raise
        return cls(client, study)

    def units(
        self, plan: Plan, jobs: Sequence[Job], store: Store, density: PlaneDensity | None, progress: Progress
    ) -> Iterator[tuple[Job, Unit]]:
        """Yield units as workers finish them."""
        from dask.distributed import as_completed

        waiting = {
            self.client.submit(_unit, self.study, job, density, retries=RETRIES, pure=False, key=_key("unit", job)): job
            for job in jobs
        }
        progress("units on the cluster", 0, len(jobs))
        done = as_completed(list(waiting), with_results=True, loop=self.client.loop)
        for number, (future, (unit, files)) in enumerate(done):
            store.add(files)
            progress("units on the cluster", number + 1, len(jobs))
            yield waiting[future], unit
            future.release()

    def toys(self, plan: Plan, job: ToyJob, blocks: list[np.ndarray]) -> Iterator[Block]:
        """Yield blocks in order, as soon as those before are there."""
        shared = self.client.scatter(cloudpickle.dumps(job), broadcast=True)
        waiting = [
            self.client.submit(_toys, self.study, shared, numbers, retries=RETRIES, pure=False) for numbers in blocks
        ]
        for future in waiting:
            yield future.result()
            future.release()

    def close(self) -> None:
        """Disconnect; the cluster stays."""
        self.client.close()


def _key(word: str, job: Job) -> str:
    from uuid import uuid4

    return f"systwise-{word}-{job.strategy}-{job.seed}-{uuid4().hex[:8]}"


def study_text(case: str, settings: StudySettings, plan: Plan) -> str:
    """Return all that a worker needs to make the plan of a study, and to know that it is the same."""
    tree = settings.model_dump(mode="json", by_alias=True)
    # What is not set is the case's choice, there as here.
    tree["significance"] = settings.significance.model_dump(mode="json", exclude_unset=True)
    if is_analysis(case):
        # Files are named relative to the analysis, and workers were started elsewhere.
        tree["case"]["Folder"] = str(Path(tree["case"].get("Folder", ".")).resolve())
    return json.dumps([case, tree, _fingerprints(plan)])


def _fingerprints(plan: Plan) -> dict[str, str]:
    """Return what the events of each region are, functions and settings among it."""
    return {name: region.table.fingerprint for name, region in plan.regions.items()}


def _check_workers(client: Client) -> None:
    """Refuse workers that would give other digits."""
    ours = versions()
    for address, theirs in client.run(versions).items():
        different = [f"{name} {theirs[name]} (here {ours[name]})" for name in ours if theirs[name] != ours[name]]
        if different:
            raise ConfigError(
                f"worker {address} has {', '.join(different)}; give all workers the environment of this process"
            )


@functools.lru_cache(maxsize=1)
def worker_plan(study: str) -> Plan:
    """Return a worker's own plan; kept, since all units of a study ask for it, as long as events and functions stay.

    Raises:
        ConfigError: the worker reads other events or functions than the run did.
    """
    keep_compiled()
    case, settings, wanted = json.loads(study)
    # What a lost worker had trained begins again elsewhere: its checkpoints are its own.
    plan = make_plan(case, validate(StudySettings, settings), no_progress)
    found = _fingerprints(plan)
    other = next((name for name, text in wanted.items() if found.get(name) != text), None)
    if other is not None:
        raise ConfigError(
            f"a worker on {platform.node()} reads other events or functions for region '{other}' than the run does; "
            "let all see the same files, or restart the workers"
        )
    return dataclasses.replace(plan, spread=_OtherWorkers(study))


@dataclasses.dataclass(frozen=True)
class _OtherWorkers(AbstractSpread):
    """Lets all workers share the parts of the events that a unit goes through.

    Attributes:
        study: what workers make their plan from.
    """

    study: str

    def work(self, work: Work, numbers: Sequence[int], arguments: tuple[Any, ...]) -> Iterator[Any]:
        """Yield `work` of each part, in order, as a task of its own; this task gives its place away meanwhile."""
        from dask.distributed import worker_client

        with worker_client() as client:
            shared = cloudpickle.dumps((work, arguments))
            waiting = [
                client.submit(_work, self.study, shared, number, retries=RETRIES, pure=False) for number in numbers
            ]
            for future in waiting:
                yield future.result()
                future.release()


def _work(study: str, shared: bytes, number: int) -> Any:
    """Work on a part of the events."""
    plan = worker_plan(study)
    work, arguments = pickle.loads(shared)
    return work(plan, part_of(plan, number), *arguments, progress=no_progress)


def _unit(study: str, job: Job, density: PlaneDensity | None) -> tuple[Unit, dict[str, bytes]]:
    """Run a unit on a worker; return it with the files that it wrote."""
    plan = worker_plan(study)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        strategy = plan.strategies[job.strategy]
        unit = run_unit(plan, strategy, job.seed, store, density, job.shown, no_progress)
        return unit, store.files()


def _toys(study: str, job: bytes, numbers: np.ndarray) -> Block:
    """Make a block of pseudo-experiments on a worker."""
    plan = worker_plan(study)  # first: the job may hold functions of modules that the plan imports
    return run_toys(plan, pickle.loads(job), numbers)


def checkpoints_of(folder: Path) -> Checkpoints:
    """Return where a run keeps its unfinished trainings."""
    return Checkpoints(folder / "checkpoints")


def place_of(scheduler: str | None, case: str, settings: StudySettings, plan: Plan) -> Here | Cluster:
    """Return where to run: on a scheduler's workers, or here."""
    return Here() if scheduler is None else Cluster.connect(scheduler, study_text(case, settings, plan))
