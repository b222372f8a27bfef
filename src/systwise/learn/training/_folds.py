"""One training a fold: kept, timed, labelled and joined in one place for all strategies."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from systwise.cases import Progress, relabelled
from systwise.learn._strategy import AbstractNetworkStrategy, Problem, Trained, lesson_of
from systwise.learn.networks._network import AbstractNetwork
from systwise.learn.observables._observable import AbstractObservable, stack_networks
from systwise.learn.training._game import Descent, Draw
from systwise.learn.training._schedule import count_steps, learning_rates
from systwise.learn.training._training import History, train
from systwise.random import named_key

P = TypeVar("P")


def train_folds(
    problem: Problem,
    name: str,
    identity: Hashable,
    one: Callable[[int, int, Progress], tuple[P, History | None]],
    join: Callable[[list[P]], AbstractObservable],
    progress: Progress,
    members: int = 1,
) -> Trained:
    """Return the observable of trainings on all folds; one that was made for the problem already is not made again.

    Args:
        problem: the events and their split; keeps what was trained.
        name: of the strategy, for messages.
        identity: all that decides the trainings.
        one: `one(fold, member, progress)` makes what scores the events of a fold, a `member` of an ensemble (0 where
            there is one only), and returns it with the history of its training, None where there is no such thing.
        join: makes the observable, of all in the order of folds and, within a fold, of members.
        progress: told about each training, under the strategy's name and its number.
        members: how many of each fold there are.
    """
    if identity in problem.done:
        return dataclasses.replace(problem.done[identity], seconds=0.0)
    start, count = time.perf_counter(), problem.split.folds * members
    players: list[P] = []
    histories: list[History] = []
    for number in range(count):
        fold, member = divmod(number, members)
        label = name if count == 1 else f"{name} {number + 1}/{count}"
        player, history = one(fold, member, relabelled(progress, label))
        players.append(player)
        histories += [] if history is None else [history]
    problem.done[identity] = Trained(join(players), tuple(histories), time.perf_counter() - start)
    return problem.done[identity]


def fit_networks(
    strategy: AbstractNetworkStrategy,
    problem: Problem,
    draw: Draw,
    make: Any,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train one network a fold by plain descent.

    Keys depend on seed and fold only: two strategies with equal draws and networks are the same
    training, and a comparison is not blurred by different starts.

    Args:
        strategy: gives network and training settings.
        problem: the events.
        draw: nuisance values seen in training.
        make: `make(settings, problem, index, key)` returns a fresh network.
        seed: the study's seed.
        progress: told after each chunk of steps.
    """
    ends = tuple(np.asarray(draw.low).tolist()), tuple(np.asarray(draw.high).tolist())
    game = Descent(strategy.training)

    def one(fold: int, member: int, told: Progress) -> tuple[AbstractNetwork, History]:
        lesson = lesson_of(problem, fold, draw)
        fresh = make(strategy.network, problem, lesson.training, named_key(seed, "network", fold))
        controls = learning_rates(strategy.training, count_steps(strategy.training, lesson.feed.count))[:, None]
        return train(game, fresh, lesson, controls, seed, ("train", fold), told)

    what = (strategy.network, strategy.training, ends, make, seed)
    join = functools.partial(stack_networks, moving=strategy.moving)
    return train_folds(problem, strategy.name, what, one, join, progress)
