"""Adversarial training of a pivot: the score is made independent of the nuisances.

The classifier plays against an adversary that infers the nuisances from the score:
`min_f max_r  L_f - lambda L_r`. The adversary is a regression (arXiv:2105.08742), a Gaussian mixture
that models the whole density of the nuisances given the score (arXiv:1611.01046), or a classifier that
tells which of a few levels the nuisances have (arXiv:1807.08763).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from pydantic import Field

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    Problem,
    Trained,
    blind_network,
    lesson_of,
    nuisance_scaler,
    trainable,
)
from systwise.learn.networks._adversary import (
    AbstractAdversary,
    class_adversary,
    mixture_adversary,
    regression_adversary,
)
from systwise.learn.networks._network import AbstractNetwork, NetworkSettings
from systwise.learn.observables._observable import stack_networks
from systwise.learn.training._folds import train_folds
from systwise.learn.training._game import (
    AbstractGame,
    Batch,
    Draw,
    TrainingSettings,
    classification_loss,
    descend,
    make_optimiser,
)
from systwise.learn.training._levels import LevelDraw, level_draw
from systwise.learn.training._schedule import count_steps, learning_rates
from systwise.learn.training._training import History, train
from systwise.random import named_key


class Players(eqx.Module):
    """The classifier and its adversary."""

    classifier: AbstractNetwork
    adversary: AbstractAdversary


CLASSIFIER_RATE, ADVERSARY_RATE, STRENGTH = range(3)


@dataclasses.dataclass(frozen=True)
class Pivot(AbstractGame):
    """Alternate `adversary_steps` steps of the adversary with one of the classifier.

    Controls of a step: learning rate of the classifier, learning rate of the adversary, lambda.
    """

    settings: TrainingSettings
    adversary_steps: int
    on_both: bool

    def begin(self, players: Players) -> PyTree:
        """Return both optimiser states."""
        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        return optimiser.init(trainable(players.classifier)), optimiser.init(trainable(players.adversary))

    def _pivot_weights(self, weights: Float[Array, "event 2"]) -> Float[Array, " event"]:
        return weights.sum(axis=1) if self.on_both else weights[:, 1]

    def step(
        self,
        players: Players,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], Batch],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[Players, PyTree, Float[Array, ""]]:
        """Train the adversary at fresh nuisance draws, then the classifier against it."""
        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        classifier, (classifier_state, adversary_state) = players.classifier, state
        keys = jax.random.split(key)
        arrays, static = eqx.partition(players.adversary, eqx.is_array)

        def train_adversary(carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            # The classifier stands still meanwhile: its scores are computed once for all these steps.
            seen = batch(keys[1])
            logits = classifier(seen.features, seen.z)
            weights = self._pivot_weights(seen.weights)

            def one(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
                adversary, state, _value = descend(
                    optimiser,
                    lambda adversary: adversary.loss(logits, seen.z, weights),
                    eqx.combine(carry[0], static),
                    carry[1],
                    controls[ADVERSARY_RATE],
                )
                return (eqx.filter(adversary, eqx.is_array), state), None

            return jax.lax.scan(one, carry, None, self.adversary_steps)[0]

        # While the classifier is pre-trained the adversary rests, and costs nothing.
        active = controls[ADVERSARY_RATE] > 0
        arrays, adversary_state = jax.lax.cond(active, train_adversary, lambda c: c, (arrays, adversary_state))
        adversary = eqx.combine(arrays, static)
        seen = batch(keys[0])

        def loss(network: AbstractNetwork) -> Float[Array, ""]:
            logits = network(seen.features, seen.z)
            value = classification_loss(logits, seen.weights)
            return value - controls[STRENGTH] * adversary.loss(logits, seen.z, self._pivot_weights(seen.weights))

        classifier, classifier_state, value = descend(
            optimiser, loss, classifier, classifier_state, controls[CLASSIFIER_RATE]
        )
        return Players(classifier, adversary), (classifier_state, adversary_state), value

    def score(self, players: Players, batch: Batch, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the value of the game, `L_f - lambda L_r`."""
        logits = players.classifier(batch.features, batch.z)
        adversary = players.adversary.loss(logits, batch.z, self._pivot_weights(batch.weights))
        return classification_loss(logits, batch.weights) - controls[STRENGTH] * adversary


def phase_controls(settings: Adversarial, steps: int) -> np.ndarray:
    """Return the controls of every step, `[step, 3]`.

    Three phases: the classifier alone, the adversary alone, then the game, in which lambda rises
    linearly over the first tenth.
    """
    first = round(settings.pretrain_classifier * steps)
    second = first + round(settings.pretrain_adversary * steps)
    rates = np.zeros((steps, 3))
    game = steps - second
    rates[:first, CLASSIFIER_RATE] = settings.training.learning_rate
    rates[first:, ADVERSARY_RATE] = settings.adversary_rate
    rates[second:, CLASSIFIER_RATE] = learning_rates(settings.training, game)
    rates[second:, STRENGTH] = settings.strength * np.minimum(1.0, (np.arange(game) + 1) / max(1, 0.1 * game))
    return rates


@STRATEGIES.register
class Adversarial(AbstractNetworkStrategy):
    """Make the score a pivot with respect to the nuisances."""

    name = "adversarial"
    summary = "score made independent of the nuisance by an adversary (arXiv:1611.01046, arXiv:2105.08742)"
    order = 40
    decorrelates = True
    needs_nuisances = True

    training: TrainingSettings = Field(
        default_factory=lambda: TrainingSettings(passes=4.0, patience=None, weight_decay=0.0)
    )
    """How both descend; the value of a game is no measure of progress, so the last network is kept. A step
    costs twice that of other strategies, hence fewer passes."""
    strength: float = Field(10.0, ge=0, alias="lambda")
    """Strength lambda of the adversary."""
    adversary: Literal["mixture", "regression", "class"] = "mixture"
    """What the adversary models: the density of the nuisances, their mean, or which of a few levels they have.
    With `class` training draws these levels and nothing in between."""
    mixture_components: int = Field(5, ge=1)
    """Gaussians of the mixture."""
    levels: int = Field(3, ge=2)
    """Levels of each nuisance (`class`): low end, nominal and high end of the training range; more are spread
    evenly on either side of the nominal value."""
    adversary_network: NetworkSettings = Field(
        default_factory=lambda: NetworkSettings(layers=2, width=32, activation="silu")
    )
    """The adversary's network."""
    adversary_steps: int = Field(3, ge=1)
    """Adversary steps K between two classifier steps; 1 is plain gradient reversal."""
    adversary_rate: float = Field(3e-3, gt=0)
    """Learning rate of the adversary, constant."""
    pretrain_classifier: float = Field(0.2, ge=0, lt=0.5)
    """Fraction of the steps in which the classifier trains alone."""
    pretrain_adversary: float = Field(0.05, ge=0, lt=0.5)
    """Fraction of the steps, after those, in which the adversary trains alone."""
    pivot_on: Literal["background", "both"] = "background"
    """Classes whose score is made independent."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train the pair over the training ranges and keep the classifier."""
        game = Pivot(self.training, self.adversary_steps, self.pivot_on == "both")
        draw = self._draw(problem)

        def one(fold: int, member: int, told: Progress) -> tuple[AbstractNetwork, History]:
            lesson = lesson_of(problem, fold, draw)
            classifier = blind_network(self.network, problem, lesson.training, named_key(seed, "network", fold))
            players = Players(classifier, self._fresh_adversary(problem, draw, named_key(seed, "adversary", fold)))
            controls = phase_controls(self, count_steps(self.training, lesson.feed.count))
            players, history = train(game, players, lesson, controls, seed, ("train", fold), told)
            return players.classifier, history

        join = functools.partial(stack_networks, moving=self.moving)
        return train_folds(problem, self.name, (self, seed), one, join, progress)

    def _draw(self, problem: Problem) -> Draw:
        return (
            level_draw(problem.case.shape_nuisances, self.levels)
            if self.adversary == "class"
            else problem.training_draw()
        )

    def _fresh_adversary(self, problem: Problem, draw: Draw, key: Key[Array, ""]) -> AbstractAdversary:
        if isinstance(draw, LevelDraw):
            return class_adversary(self.adversary_network, draw.levels, key)
        scaler = nuisance_scaler(problem.case)
        if self.adversary == "mixture":
            return mixture_adversary(self.adversary_network, scaler, self.mixture_components, key)
        return regression_adversary(self.adversary_network, scaler, key)
