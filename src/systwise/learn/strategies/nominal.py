"""The baseline: trained on the nominal simulation, nuisances ignored."""

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
class Nominal(AbstractNetworkStrategy):
    """Train at the nominal nuisance values."""

    name = "nominal"
    summary = "baseline: trained on the nominal simulation, nuisances ignored"
    order = 10

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train on nominal events."""
        return fit_networks(self, problem, problem.nominal_draw(), blind_network, seed, progress)
