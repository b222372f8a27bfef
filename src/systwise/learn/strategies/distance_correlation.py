"""Decorrelation by the distance correlation of score and nuisances (DisCo, arXiv:2001.05310)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from systwise.learn._strategy import STRATEGIES, Problem
from systwise.learn.networks._network import AbstractNetwork
from systwise.learn.penalties._distance import distance_correlation
from systwise.learn.penalties._penalised import AbstractDecorrelation, AbstractPenalty, pivot_weights, protected
from systwise.learn.training._game import Batch, TrainingSettings


class DistancePenalty(AbstractPenalty):
    """The squared distance correlation of the score with each protected variable, summed over the variables."""

    column: int | None = eqx.field(static=True)
    on_both: bool = eqx.field(static=True)

    def __call__(self, network: AbstractNetwork, logits: Float[Array, " event"], batch: Batch) -> Float[Array, ""]:
        """Return the weighted dCorr^2 of the events of a batch."""
        score, weights = jax.nn.sigmoid(logits), pivot_weights(batch, self.on_both)
        return sum(
            (distance_correlation(score, variable, weights) for variable in protected(batch, self.column)),
            jnp.zeros(()),
        )


@STRATEGIES.register
class DistanceCorrelation(AbstractDecorrelation):
    """Add `lambda dCorr^2(score, nuisance)` to the cross-entropy.

    The distance correlation is zero for independent variables only, and needs no second network.
    """

    name = "distance_correlation"
    summary = "distance correlation of score and nuisance as a penalty (DisCo, arXiv:2001.05310)"
    order = 41

    training: TrainingSettings = Field(default_factory=lambda: TrainingSettings(passes=4.0, weight_decay=0.0))
    """How it descends."""
    strength: float = Field(10.0, ge=0, alias="lambda")
    """Strength lambda of the penalty, which is 1 where the score determines the nuisance."""

    def penalty(self, problem: Problem, training: np.ndarray) -> DistancePenalty:
        """Return the distance correlation with the nuisances, or with a feature."""
        return DistancePenalty(self.column(problem), self.pivot_on == "both")
