"""Uncertainty-aware learning (arXiv:2105.08742): the classifier is told the nuisances."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    Problem,
    Trained,
    told_network,
)
from systwise.learn.networks._network import Halves, NetworkSettings
from systwise.learn.training._folds import fit_networks


def halves_network(settings: NetworkSettings, problem: Problem, index: np.ndarray, key: Any) -> Halves:
    """Return two fresh networks joined at the nominal value of the first nuisance."""
    below, above = jax.random.split(key)
    return Halves(
        told_network(settings, problem, index, below),
        told_network(settings, problem, index, above),
        jnp.asarray(problem.nominal[0], jnp.float32),
    )


@STRATEGIES.register
class Aware(AbstractNetworkStrategy):
    """Give the nuisances to the network and evaluate it at the hypothesised values."""

    name = "aware"
    summary = "told the nuisance values; its score moves with the hypothesis (arXiv:2105.08742)"
    order = 50
    moving = True
    observables = ("binned", "anchored")

    halves: bool = False
    """Two networks joined at the nominal value, as in the paper, instead of one."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train on events varied over the training ranges, nuisances among the inputs."""
        make = halves_network if self.halves else told_network
        return fit_networks(self, problem, problem.training_draw(), make, seed, progress)
