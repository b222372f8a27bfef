"""The exact scores of cases whose densities are known; nothing is trained."""

from __future__ import annotations

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError
from systwise.learn._strategy import STRATEGIES, AbstractStrategy, Problem, Trained
from systwise.learn.observables._truth import TruthObservable


def exact_score(strategy: AbstractStrategy, problem: Problem) -> Trained:
    """Return the case's exact score.

    Raises:
        ConfigError: nobody knows the optimum of this case.
    """
    if problem.case.truth is None:
        raise ConfigError(
            f"strategy '{strategy.name}' needs a known optimum, which case '{problem.case.name}' has not; leave it out"
        )
    return Trained(TruthObservable(moving=strategy.moving, folds=problem.split.folds, case=problem.case), (), 0.0)


@STRATEGIES.register
class Optimal(AbstractStrategy):
    """The exact density ratio at the hypothesised nuisances."""

    name = "optimal"
    summary = "exact density ratio at the hypothesised nuisance (cases with a known optimum)"
    order = 60
    moving = True
    needs_truth = True
    trains = False
    is_yardstick = True

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Return the exact score, moving with the hypothesis."""
        return exact_score(self, problem)


@STRATEGIES.register
class OptimalNominal(AbstractStrategy):
    """The exact density ratio at the nominal nuisances."""

    name = "optimal_nominal"
    summary = "exact density ratio at the nominal nuisance (cases with a known optimum)"
    order = 61
    needs_truth = True
    trains = False
    is_yardstick = True

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Return the exact score at nominal."""
        return exact_score(self, problem)
