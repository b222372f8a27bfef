"""A score that the events come with: an analyst's own classifier, compared with those trained here."""

from __future__ import annotations

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import STRATEGIES, AbstractStrategy, Problem, Trained
from systwise.learn.observables._given import given_observable


@STRATEGIES.register
class Column(AbstractStrategy):
    """Use the score that the events come with."""

    name = "column"
    summary = "a score of your own, a column of your events (Variable of the region); nothing is trained"
    order = 70
    needs_score = True

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Return the case's own score.

        Raises:
            ConfigError: the events have none.
        """
        return Trained(given_observable(problem.case, problem.split.folds), (), 0.0)
