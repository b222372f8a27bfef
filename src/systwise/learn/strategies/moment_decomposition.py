"""Moment decomposition: a score whose distribution is a low polynomial in a nuisance (MoDe, arXiv:2010.09745)."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from systwise.learn._strategy import STRATEGIES, Problem, nominal_events
from systwise.learn.networks._network import AbstractNetwork
from systwise.learn.penalties._moments import legendre_basis, moment_penalty
from systwise.learn.penalties._penalised import AbstractDecorrelation, AbstractPenalty, pivot_weights, protected
from systwise.learn.training._game import Batch, TrainingSettings


class MomentPenalty(AbstractPenalty):
    """The moment penalty of each protected variable, summed over the variables.

    Attributes:
        edges: `[variable, slices - 1]` inner edges of the slices.
        basis: `[moment, slice]`.
    """

    edges: Float[Array, "variable edge"]
    basis: Float[Array, "moment slice"]
    column: int | None = eqx.field(static=True)
    on_both: bool = eqx.field(static=True)
    max_slope: float | None = eqx.field(static=True)
    monotonic: bool = eqx.field(static=True)

    def __call__(self, network: AbstractNetwork, logits: Float[Array, " event"], batch: Batch) -> Float[Array, ""]:
        """Return the penalty of the events of a batch."""
        score, weights = jax.nn.sigmoid(logits), pivot_weights(batch, self.on_both)
        basis, total = jax.lax.stop_gradient(self.basis), jnp.zeros(())
        for edges, variable in zip(self.edges, protected(batch, self.column), strict=True):
            slices = jnp.searchsorted(edges, variable)
            total += moment_penalty(score, slices, weights, basis, max_slope=self.max_slope, monotonic=self.monotonic)
        return total


@STRATEGIES.register
class MomentDecomposition(AbstractDecorrelation):
    """Let the distribution of the score depend on a nuisance through its lowest Legendre moments only.

    Order 0 asks for independence; orders 1 and 2 leave a linear or quadratic dependence, which a fit can follow.
    """

    name = "moment_decomposition"
    summary = "score whose distribution is at most a low polynomial in the nuisance (MoDe, arXiv:2010.09745)"
    order = 42

    training: TrainingSettings = Field(
        default_factory=lambda: TrainingSettings(batch=4096, passes=6.0, weight_decay=0.0)
    )
    """How it descends; a small batch leaves few events a slice."""
    strength: float = Field(100.0, ge=0, alias="lambda")
    """Strength lambda of the penalty, a mean square difference of cumulative distributions."""
    moments: Literal[0, 1, 2] = 0
    """Highest Legendre order that is left alone: 0 flat, 1 linear, 2 quadratic."""
    slices: int = Field(12, ge=4, le=128)
    """Slices of each nuisance or feature, of equal content."""
    max_slope: float | None = Field(None, ge=0)
    """Largest change of the cumulative distribution over half of the range that order 1 may have; null: any."""
    monotonic: bool = False
    """Keep the linear and quadratic part together (order 2) from changing direction."""

    def penalty(self, problem: Problem, training: np.ndarray) -> MomentPenalty:
        """Return the penalty with slices of equal content: of the training range, or of a feature's quantiles."""
        column = self.column(problem)
        return MomentPenalty(
            edges=jnp.asarray(self._edges(problem, training, column), jnp.float32),
            basis=jnp.asarray(legendre_basis(self.slices, self.moments), jnp.float32),
            column=column,
            on_both=self.pivot_on == "both",
            max_slope=self.max_slope,
            monotonic=self.monotonic,
        )

    def _edges(self, problem: Problem, training: np.ndarray, column: int | None) -> np.ndarray:
        place = np.arange(1, self.slices) / self.slices
        if column is None:
            ranges = np.array([nuisance.training for nuisance in problem.case.shape_nuisances])
            return ranges[:, :1] + (ranges[:, 1:] - ranges[:, :1]) * place
        features, weights = nominal_events(problem, training)
        used = np.maximum(weights.sum(axis=1) if self.pivot_on == "both" else weights[:, 1], 0.0)
        order = np.argsort(features[:, column])
        below = np.cumsum(used[order])
        return features[order[np.searchsorted(below, below[-1] * place)], column][None]
