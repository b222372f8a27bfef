"""Data augmentation: the classifier sees all nuisance values and is told none."""

from __future__ import annotations

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    Problem,
    Trained,
    blind_network,
)
from systwise.learn.training._folds import fit_networks


@STRATEGIES.register
class Augmented(AbstractNetworkStrategy):
    """Draw the nuisances afresh for every event in every step, uniformly in their training ranges."""

    name = "augmented"
    summary = "trained over the whole training range of the nuisances, drawn per event and step"
    order = 30

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train on events varied over the training ranges."""
        return fit_networks(self, problem, problem.training_draw(), blind_network, seed, progress)
