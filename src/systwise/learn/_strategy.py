"""What a strategy is: hyperparameters that turn events into an observable."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Hashable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from pydantic import Field

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.events import AbstractFeed, EventStore, EventTable, Split, SplitSettings, StoreFeed, TableFeed
from systwise.learn.networks._network import (
    Blind,
    NetworkSettings,
    Scaler,
    Told,
    fit_scaler,
    multilayer,
)
from systwise.learn.observables._observable import AbstractObservable
from systwise.learn.training._checkpoints import Checkpoints
from systwise.learn.training._game import Draw, TrainingSettings, draw_between, make_batch, prior_draw
from systwise.learn.training._task import Task, hypothesis_task
from systwise.learn.training._training import BatchMaker, History, Lesson
from systwise.random import named_key
from systwise.registry import Registry
from systwise.settings import Settings

SCALER_EVENTS = 200_000


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a strategy learns from: a case, its events, and who plays which part.

    Attributes:
        case: how nuisances move events.
        table: all events, or a random sample of those in `store`.
        split: who plays which part in `table`.
        done: trainings by what decides them: two strategies that ask for the same one share it.
        checkpoints: where unfinished trainings are kept; None: nowhere.
        store: all events where they do not fit in memory.
        split_settings: how `store` is split.
    """

    case: AbstractCase
    table: EventTable
    split: Split
    done: dict[Hashable, Trained] = dataclasses.field(default_factory=dict, compare=False)
    checkpoints: Checkpoints | None = None
    store: EventStore | None = None
    split_settings: SplitSettings = dataclasses.field(default_factory=SplitSettings)

    def feed(self, fold: int) -> AbstractFeed:
        """Return the events on which network `fold` descends."""
        if self.store is None:
            return TableFeed(self.table, self.split.training(fold))
        return StoreFeed.of(self.store, self.split_settings, self.split.scheme, fold)

    @property
    def nominal(self) -> list[float]:
        """Nominal values of the nuisances that move events, in the order of the `[nuisance]` axis."""
        return [nuisance.nominal for nuisance in self.case.shape_nuisances]

    def nominal_draw(self) -> Draw:
        """Return the draw that always gives the nominal values."""
        return draw_between(self.nominal, self.nominal)

    def training_draw(self) -> Draw:
        """Return the uniform draw over the training ranges."""
        ranges = [nuisance.training for nuisance in self.case.shape_nuisances]
        return draw_between([low for low, _ in ranges], [high for _, high in ranges])


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a strategy leaves behind.

    Attributes:
        observable: the score.
        histories: one training history a fold (empty for an analytic score).
        seconds: wall-clock time of the training.
    """

    observable: AbstractObservable
    histories: tuple[History, ...]
    seconds: float


class AbstractStrategy(Settings):
    """A way to train with nuisances in mind; an instance is its hyperparameters.

    Class attributes:
        name: the word used on the command line.
        summary: one line for `systwise strategies`.
        order: place in tables.
        moving: whether its score depends on the hypothesised nuisances.
        decorrelates: whether it makes the score blind to nuisances, which is dangerous for nuisances
            of kind `theory` (arXiv:2109.08159).
        needs_truth: whether it exists only where the case knows its optimum.
        needs_nuisances: whether it exists only where a nuisance moves events.
        needs_score: whether it exists only where the events come with a score of the analyst's own.
        observables: how its score may be measured: `binned`, `anchored` at fixed hypotheses, `unbinned`.
        trains: whether another seed gives another score.
        is_yardstick: whether it uses what no measurement has, and so does not compete.
        by_default: whether a study runs it without being asked; `all` asks for every one.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    order: ClassVar[int] = 50
    moving: ClassVar[bool] = False
    decorrelates: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = False
    needs_nuisances: ClassVar[bool] = False
    needs_score: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    is_yardstick: ClassVar[bool] = False
    by_default: ClassVar[bool] = True
    observables: ClassVar[tuple[str, ...]] = ("binned",)

    @abc.abstractmethod
    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train on the problem's training events and return the observable.

        Raises:
            DataError: the events cannot be learnt from.
        """

    def specialise(self, true_points: list[dict[str, float]]) -> list[tuple[AbstractStrategy, list[int]]]:
        """Return the trainings that a study of `true_points` needs, each with the points it serves."""
        return [(self, list(range(len(true_points))))]


class AbstractNetworkStrategy(AbstractStrategy):
    """A strategy that trains networks, one a fold, with the shared loop."""

    network: NetworkSettings = Field(default_factory=NetworkSettings)
    """The classifier."""
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    """How it descends."""


STRATEGIES: Registry[AbstractStrategy] = Registry("strategy", "systwise.learn.strategies")


def feature_scaler(problem: Problem, index: np.ndarray, told: bool = False, task: Task | None = None) -> Scaler:
    """Return the scaler of the balanced training events at nominal nuisance values.

    Args:
        problem: the events.
        index: training events.
        told: the network is told the nuisances, and so must not see features of the sample.
        task: balances the events; the case's two hypotheses where None.
    """
    case = problem.case
    features, weights = nominal_events(problem, index, task)
    scaler = fit_scaler(features, np.abs(weights).sum(axis=1), case.undefined, case.columns_of(case.log_features))
    if not case.sample_features:
        return scaler
    mean, width = _sample_scales(case)
    columns = jnp.array(case.columns_of(case.sample_features))
    width = np.full_like(width, np.inf) if told else width
    return eqx.tree_at(
        lambda s: (s.mean, s.width), scaler, (scaler.mean.at[columns].set(mean), scaler.width.at[columns].set(width))
    )


def nominal_events(problem: Problem, index: np.ndarray, task: Task | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return features and balanced weights `[event, class]` of events at nominal, some 200,000 of them at most."""
    part = index[:: max(1, len(index) // SCALER_EVENTS)]
    task = hypothesis_task(problem.case, problem.table, index) if task is None else task
    nominal = np.asarray(problem.nominal, np.float32)
    rows, weights = [], []
    for indices, events in problem.table.blocks(part, 65_536):
        varied = _vary(problem.case, events, nominal)
        rows.append(np.asarray(varied.features)[: len(indices)])
        weights.append(np.asarray(jax.device_get(task.weights(varied)))[: len(indices)])
    return np.concatenate(rows), np.concatenate(weights)


def _sample_scales(case: AbstractCase) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and width of the sample's features over what is known of the nuisances, both hypotheses together."""
    z = prior_draw(case, named_key(0, "sample features"), 4096)
    thetas = case.hypotheses or (case.components.nominal,)
    values = np.concatenate([np.asarray(case.sample_values(jnp.asarray(t, jnp.float32), z)) for t in thetas])
    if set(case.sample_features) & set(case.log_features):
        which = np.isin(case.sample_features, case.log_features)
        values = np.where(which, np.log(np.maximum(values, 1e-30)), values)
    width = values.std(axis=0)
    return values.mean(axis=0).astype(np.float32), np.where(width > 0, width, 1.0).astype(np.float32)


@eqx.filter_jit
def _vary(case: AbstractCase, events: Any, z: Any) -> Any:
    return case.vary(events, z)


def nuisance_scaler(case: AbstractCase) -> Scaler:
    """Return the scaler that maps each nuisance's training range to [-sqrt(3), sqrt(3)], unit variance."""
    low, high = np.array([n.training for n in case.shape_nuisances], np.float32).reshape(-1, 2).T
    return Scaler(jnp.asarray((low + high) / 2), jnp.asarray(np.maximum(high - low, 1e-6) / np.sqrt(12)))


def blind_network(settings: NetworkSettings, problem: Problem, index: np.ndarray, key: Any) -> Blind:
    """Return a fresh network of the features."""
    return Blind(feature_scaler(problem, index), multilayer(settings, len(problem.case.features), "scalar", key))


def told_network(settings: NetworkSettings, problem: Problem, index: np.ndarray, key: Any) -> Told:
    """Return a fresh network of the features and the nuisances."""
    inputs = len(problem.case.features) + len(problem.case.shape_nuisances)
    scalers = feature_scaler(problem, index, told=True), nuisance_scaler(problem.case)
    return Told(*scalers, multilayer(settings, inputs, "scalar", key))


def lesson_of(problem: Problem, fold: int, draw: Draw, task: PyTree = None, batches: BatchMaker = make_batch) -> Lesson:
    """Return what network `fold` is trained on.

    Args:
        problem: the events.
        fold: which network.
        draw: nuisance values seen in training.
        task: what events weigh, as `batches` wants it; None: the two hypotheses that a classifier tells apart.
        batches: makes what a step sees of its events.
    """
    training = problem.split.training(fold)
    return Lesson(
        problem.case,
        problem.table,
        hypothesis_task(problem.case, problem.table, training) if task is None else task,
        draw,
        training,
        problem.split.stopping(fold),
        problem.feed(fold),
        batches,
        problem.checkpoints,
    )


def trainable(player: PyTree) -> PyTree:
    """Return the arrays of a player that an optimiser moves."""
    return eqx.filter(player, eqx.is_inexact_array)
