"""A score that the events come with: an analyst's own classifier, compared with those trained here."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import ConfigError
from systwise.events import Events
from systwise.learn._observable import AbstractObservable
from systwise.learn._strategy import STRATEGIES, AbstractStrategy, Problem, Trained

EDGE = 1e-6
"""Scores nearer than this to 0 or 1 get the logit there."""


class ColumnObservable(AbstractObservable):
    """The score of the case; it does not move with the hypothesis, and any fold may score any event."""

    case: AbstractCase = eqx.field(static=True)
    folds: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return `ln(s / (1 - s))` of the score s."""
        score = jnp.clip(self.case.score(events), EDGE, 1 - EDGE)
        return jnp.log(score) - jnp.log1p(-score)


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
        if not problem.case.has_score:
            raise ConfigError(f"strategy 'column' needs a score of your own, which case '{problem.case.name}' has not")
        return Trained(ColumnObservable(case=problem.case, folds=problem.split.folds, moving=False), (), 0.0)
