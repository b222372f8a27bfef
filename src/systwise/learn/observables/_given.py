"""Observables that the events come with: an analyst's own score or variable, where nothing is trained."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from systwise.cases import AbstractCase
from systwise.errors import ConfigError
from systwise.events import Events
from systwise.learn.observables._bins import AbstractDiscreteObservable
from systwise.learn.observables._observable import AbstractObservable

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


class GivenBins(AbstractDiscreteObservable):
    """The score of the case where it comes in bins: its bins."""

    case: AbstractCase = eqx.field(static=True)
    folds: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)
    bins: int = eqx.field(static=True)

    def cell(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Int[Array, " event"]:
        """Return the bin of each event."""
        return jnp.floor(self.case.score(events) * self.bins).astype(jnp.int32)


def given_observable(case: AbstractCase, folds: int) -> AbstractObservable:
    """Return the score that the events of a case come with; any of `folds` folds may score any event.

    Raises:
        ConfigError: the events have none.
    """
    if not case.has_score:
        raise ConfigError(f"strategy 'column' needs a score of your own, which case '{case.name}' has not")
    if case.score_edges is None:
        return ColumnObservable(case=case, folds=folds, moving=False)
    return GivenBins(case=case, folds=folds, moving=False, bins=len(case.score_edges) - 1)
