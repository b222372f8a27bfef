"""A classifier that descends its cross-entropy and a penalty on what its score does with the nuisances."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError
from systwise.learn._strategy import (
    AbstractNetworkStrategy,
    Problem,
    Trained,
    blind_network,
    lesson_of,
    trainable,
)
from systwise.learn.networks._network import AbstractNetwork
from systwise.learn.observables._observable import stack_networks
from systwise.learn.training._folds import train_folds
from systwise.learn.training._game import (
    AbstractGame,
    Batch,
    Draw,
    TrainingSettings,
    classification_loss,
    descend,
    make_batch,
    make_optimiser,
    squared_weights,
)
from systwise.learn.training._schedule import count_steps, learning_rates
from systwise.learn.training._training import BatchMaker, History, train
from systwise.random import named_key
from systwise.registry import suggestion

RATE, STRENGTH = 0, 1
"""Entries of a step's controls."""


class AbstractPenalty(eqx.Module):
    """What is added to the cross-entropy, at strength 1."""

    @abc.abstractmethod
    def __call__(self, network: AbstractNetwork, logits: Float[Array, " event"], batch: Any) -> Float[Array, ""]:
        """Return the penalty of `network`, whose outputs on the batch are `logits`."""


class Penalised(eqx.Module):
    """A classifier and its penalty, which stays as it is."""

    classifier: AbstractNetwork
    penalty: AbstractPenalty


@dataclasses.dataclass(frozen=True)
class PenalisedDescent(AbstractGame):
    """One network descending `cross-entropy + strength * penalty`; controls are learning rate and strength."""

    settings: TrainingSettings

    def begin(self, players: Penalised) -> PyTree:
        """Return the optimiser state."""
        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        return optimiser.init(trainable(players.classifier))

    def step(
        self,
        players: Penalised,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], Batch],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[Penalised, PyTree, Float[Array, ""]]:
        """Descend once."""
        seen = batch(key)

        def loss(network: AbstractNetwork) -> Float[Array, ""]:
            value = self._value(network, players.penalty, seen, controls[STRENGTH])
            return value + self.settings.l2 * squared_weights(network) if self.settings.l2 else value

        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        classifier, state, value = descend(optimiser, loss, players.classifier, state, controls[RATE])
        return Penalised(classifier, players.penalty), state, value

    def score(self, players: Penalised, batch: Batch, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the penalised loss, the penalty times the part of the batch that is no filling."""
        live = jnp.mean(jnp.any(batch.weights != 0, axis=1))
        return self._value(players.classifier, players.penalty, batch, live * controls[STRENGTH])

    def _value(
        self, network: AbstractNetwork, penalty: AbstractPenalty, batch: Batch, strength: Float[Array, ""]
    ) -> Float[Array, ""]:
        logits = network(batch.features, batch.z)
        return classification_loss(logits, batch.weights) + strength * penalty(network, logits, batch)


def pivot_weights(batch: Batch, on_both: bool) -> Float[Array, " event"]:
    """Return the weights of the events whose score is penalised: the background's, or those of both classes."""
    return batch.weights.sum(axis=1) if on_both else batch.weights[:, 1]


class AbstractPenalisedStrategy(AbstractNetworkStrategy):
    """A strategy that adds a penalty to the cross-entropy of a network of the features."""

    decorrelates: ClassVar[bool] = True
    needs_nuisances: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    strength: float
    pivot_on: Literal["background", "both"] = "background"
    """Classes whose score is penalised."""

    @abc.abstractmethod
    def penalty(self, problem: Problem, training: np.ndarray) -> AbstractPenalty:
        """Return the penalty of a network trained on the events `training`.

        Raises:
            ConfigError: there is nothing to penalise.
        """

    @property
    def batches(self) -> BatchMaker:
        """What makes the batches that the penalty wants."""
        return make_batch

    def draw(self, problem: Problem) -> Draw:
        """Return the nuisance values seen in training."""
        return problem.training_draw()

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train one network a fold.

        Raises:
            ConfigError: the case has nothing to penalise.
            DataError: the loss is not finite.
        """
        game = PenalisedDescent(self.training)

        def one(fold: int, member: int, told: Progress) -> tuple[AbstractNetwork, History]:
            lesson = lesson_of(problem, fold, self.draw(problem), batches=self.batches)
            penalty = self.penalty(problem, lesson.training)
            fresh = blind_network(self.network, problem, lesson.training, named_key(seed, "network", fold))
            rates = learning_rates(self.training, count_steps(self.training, lesson.feed.count))
            controls = np.stack([rates, np.full(len(rates), self.strength)], axis=1)
            players, history = train(game, Penalised(fresh, penalty), lesson, controls, seed, ("train", fold), told)
            return players.classifier, history

        join = functools.partial(stack_networks, moving=self.moving)
        return train_folds(problem, self.name, (self, seed), one, join, progress)


class AbstractDecorrelation(AbstractPenalisedStrategy):
    """A penalty on the dependence of the score on other variables, the nuisances or a feature."""

    against: str | None = None
    """Variable that the score must not depend on: a feature by name (events are then at the nominal point), or null
    for all nuisances that move events."""

    def draw(self, problem: Problem) -> Draw:
        """Return the nuisance values seen in training: nominal where a feature is protected."""
        return problem.training_draw() if self.against is None else problem.nominal_draw()

    def column(self, problem: Problem) -> int | None:
        """Return the place of the protected feature, or None for the nuisances.

        Raises:
            ConfigError: there is no such feature, or no nuisance that moves events.
        """
        case = problem.case
        if self.against is None:
            if not case.shape_nuisances:
                raise ConfigError(
                    f"strategy '{self.name}': no nuisance of case '{case.name}' moves events; leave it out, or name a "
                    f"feature with strategy.{self.name}.against"
                )
            return None
        if self.against not in case.features:
            raise ConfigError(
                f"strategy.{self.name}.against: case '{case.name}' has no feature '{self.against}'"
                f"{suggestion(self.against, list(case.features))} (known: {', '.join(case.features)})"
            )
        return case.features.index(self.against)


def protected(batch: Batch, column: int | None) -> Float[Array, "variable event"]:
    """Return the variables that the score must not depend on."""
    return batch.z.T if column is None else batch.features[:, column][None]
