"""Inference-aware bins: the profiled uncertainty itself is the loss (INFERNO, arXiv:1806.04743)."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Int
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.learn._strategy import STRATEGIES, AbstractNetworkStrategy, Problem, Trained, feature_scaler, lesson_of
from systwise.learn.networks._network import NetworkSettings, multilayer
from systwise.learn.observables._bins import BinNetwork, BinObservable, stack_bins
from systwise.learn.training._folds import train_folds
from systwise.learn.training._game import TrainingSettings
from systwise.learn.training._schedule import count_steps, learning_rates
from systwise.learn.training._slopes import expected_yields, sloped_batch
from systwise.learn.training._training import History, train
from systwise.learn.training._variance_game import Binner, ProfiledVariance, prior_of
from systwise.random import named_key

RANKING_EVENTS = 200_000
"""Events at most that put the bins in order."""
FEW_EVENTS = 50
"""Effective background events among these below which an output has no bin of its own."""


@STRATEGIES.register
class InferenceAware(AbstractNetworkStrategy):
    """Let a network sort events into a few bins so that the profiled uncertainty is smallest.

    Bins are soft in training, a softmax over the network's outputs, and the most probable one in the measurement,
    which takes them as they are.
    """

    name = "inference_aware"
    summary = "bins chosen by the network so that the profiled uncertainty is smallest (INFERNO, arXiv:1806.04743)"
    order = 45
    by_default = False

    network: NetworkSettings = Field(default_factory=lambda: NetworkSettings(layers=2, width=64))
    """The network; a softmax over its outputs gives the soft bins."""
    training: TrainingSettings = Field(
        default_factory=lambda: TrainingSettings(
            batch=8192, passes=8.0, learning_rate=1e-3, patience=None, weight_decay=0.0
        )
    )
    """How it descends. The loss is no mean over events: a small batch takes its noise for information."""
    bins: int = Field(16, ge=2, le=64)
    """Bins."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the softmax; the lower, the harder are the bins that training sees."""
    start_temperature: float = Field(1.0, gt=0)
    """Temperature at the start, from which it falls geometrically over the first half of the steps."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train one network a fold and put the bins in order of their signal.

        Raises:
            DataError: the reference hypothesis expects no events, or the loss is not finite.
        """
        draw = problem.nominal_draw()
        yields, prior = expected_yields(problem.case, problem.table, _vary), prior_of(problem.case)
        game = ProfiledVariance(self.training, self.temperature)

        def one(fold: int, member: int, told: Progress) -> tuple[BinNetwork, History]:
            lesson = lesson_of(problem, fold, draw, yields, sloped_batch)
            # All folds start alike, so that their bins stay comparable.
            fresh = BinNetwork(
                feature_scaler(problem, lesson.training, told=True),
                multilayer(self.network, len(problem.case.features), self.bins, named_key(seed, "network", 0)),
            )
            controls = self._controls(count_steps(self.training, lesson.feed.count))
            binner, history = train(game, Binner(fresh, prior), lesson, controls, seed, ("train", fold), told)
            return binner.network, history

        def join(networks: list[BinNetwork]) -> BinObservable:
            return stack_bins(networks, bin_ranks(problem, networks, self.bins))

        return train_folds(problem, self.name, (self, seed), one, join, progress)

    def _controls(self, steps: int) -> np.ndarray:
        """Return learning rate and temperature of every step, `[step, 2]`."""
        place = np.minimum(1.0, 2 * np.arange(steps) / steps)
        temperature = self.start_temperature * (self.temperature / self.start_temperature) ** place
        return np.stack([learning_rates(self.training, steps), temperature], axis=1)


@eqx.filter_jit
def _vary(case: AbstractCase, events: Any, z: Any) -> Any:
    return case.vary(events, z)


@eqx.filter_jit
def _outputs(networks: list[BinNetwork], case: AbstractCase, events: Any, z: Any) -> Any:
    varied = case.vary(events, z)
    return [jax.numpy.argmax(network(varied.features), axis=-1) for network in networks], varied.weights


def bin_ranks(problem: Problem, networks: list[BinNetwork], count: int) -> Int[np.ndarray, "fold output"]:
    """Return the bin of each network's outputs, in increasing order of the signal fraction in the bin.

    The outputs of different folds are matched to those of the first, so that most events are in the same bin
    whichever network sorts them.

    Args:
        problem: the events.
        networks: one a fold.
        count: outputs of each.
    """
    rows = problem.split.training(0)
    rows = rows[:: max(1, len(rows) // RANKING_EVENTS)]
    hypotheses = problem.case.components.contrast()
    sums, squares, shared = np.zeros((2, count)), np.zeros((2, count)), np.zeros((len(networks), count, count))
    nominal = np.asarray(problem.nominal, np.float32)
    for indices, events in problem.table.blocks(rows, 65_536):
        outputs, weights = jax.device_get(_outputs(networks, problem.case, events, nominal))
        for row, hypothesis in enumerate(hypotheses):
            sums[row] += np.bincount(outputs[0], weights @ hypothesis, count)
            squares[row] += np.bincount(outputs[0], (weights @ hypothesis) ** 2, count)
        for fold, own in enumerate(outputs):
            np.add.at(shared[fold], (own[: len(indices)], outputs[0][: len(indices)]), 1.0)
    fraction = np.divide(sums[0], sums[1], out=np.full(count, np.inf), where=sums[1] > 0)
    order = np.argsort(fraction, kind="stable")
    # An output that is hardly ever the largest shares its neighbour's bin.
    filled = (sums[1] > 0) & (sums[1] ** 2 >= FEW_EVENTS * squares[1])
    rank = np.empty(count, int)
    rank[order] = np.maximum(np.cumsum(filled[order]) - 1, 0)
    return np.stack([rank[linear_sum_assignment(-table)[1]] for table in shared])
