"""Tangent propagation: the score's derivative in the nuisances is made small (Simard et al., NIPS 1991)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from pydantic import Field

from systwise.cases import AbstractCase
from systwise.errors import ConfigError
from systwise.events import Events
from systwise.learn._strategy import STRATEGIES, Problem, lesson_of
from systwise.learn.networks._network import AbstractNetwork
from systwise.learn.penalties._penalised import AbstractPenalisedStrategy, AbstractPenalty
from systwise.learn.training._game import Batch, Draw, TrainingSettings, make_batch, seen_features
from systwise.learn.training._slopes import AbstractSlope, Difference, Tangent, difference, step_width
from systwise.learn.training._task import Task
from systwise.learn.training._training import BatchMaker


class TangentBatch(Batch):
    """A batch with the slopes of its features in every nuisance, in units of the constraint's width."""

    slopes: tuple[AbstractSlope, ...]


def tangent_batch(case: AbstractCase, task: Task, draw: Draw, events: Events, key: Key[Array, ""]) -> TangentBatch:
    """Vary `events` to fresh nuisance values, with the slopes of the features there.

    Slopes are exact where the variation is a function of the nuisance; where events are known at anchors only, they
    are those of the parabola through the anchors around the nominal value.
    """
    batch = make_batch(case, task, draw, events, key)
    z = batch.z[: events.weights.shape[0]]

    def at(z: Float[Array, "event nuisance"]) -> Float[Array, "row feature"]:
        return seen_features(case, task, case.vary(events, z), z)

    still = jnp.zeros_like(batch.weights)
    slopes: list[AbstractSlope] = []
    for position, nuisance in enumerate(case.shape_nuisances):
        width = step_width(case, nuisance)
        if all(v.exact == "continuous" for v in case.variations if v.nuisance == nuisance.name):
            unit = jnp.zeros_like(z).at[:, position].set(width)
            slopes.append(Tangent(jax.jvp(at, (z,), (unit,))[1], still))
            continue
        sides, coefficients = difference(case, nuisance, jnp.float32(nuisance.nominal))
        places = [z.at[:, position].set(side) for side in sides]
        features = jnp.stack([at(place) for place in places])
        slopes.append(Difference(features, jnp.stack([still, still]), width * coefficients))
    return TangentBatch(batch.features, batch.z, batch.weights, tuple(slopes))


class TangentPenalty(AbstractPenalty):
    """The mean squared slope of the logit, summed over nuisances."""

    on_both: bool = eqx.field(static=True)

    def __call__(
        self, network: AbstractNetwork, logits: Float[Array, " event"], batch: TangentBatch
    ) -> Float[Array, ""]:
        """Return `sum_j E[(df/dz_j)^2]` over the events of a batch."""

        def score(features: Float[Array, "row feature"], weights: Float[Array, "row weight"]) -> Array:
            return network(features, batch.z)

        weights = batch.weights.sum(axis=1) if self.on_both else batch.weights[:, 1]
        squares = sum(slope.of(score, batch.features, batch.weights) ** 2 for slope in batch.slopes)
        return jnp.sum(weights * squares) / jnp.sum(weights)


@STRATEGIES.register
class TangentPropagation(AbstractPenalisedStrategy):
    """Add `lambda sum_j E[(width_j df/dz_j)^2]` to the cross-entropy, f the logit of an event that moves with z.

    This asks more than independence: every single event must keep its score. A nuisance that changes weights only
    moves no event, and has no part in the penalty.
    """

    name = "tangent_propagation"
    summary = "penalty on the derivative of the score in the nuisance, event by event (Simard et al., NIPS 1991)"
    order = 43

    training: TrainingSettings = Field(default_factory=lambda: TrainingSettings(passes=4.0, weight_decay=0.0))
    """How it descends."""
    strength: float = Field(1.0, ge=0, alias="lambda")
    """Strength lambda of the penalty; slopes are per standard deviation of the nuisance's constraint."""

    @property
    def batches(self) -> BatchMaker:
        """Batches with the slopes of their features."""
        return tangent_batch

    def penalty(self, problem: Problem, training: np.ndarray) -> TangentPenalty:
        """Return the penalty.

        Raises:
            ConfigError: no nuisance moves a feature of any event.
        """
        case = problem.case
        if not _moves(problem, training):
            raise ConfigError(
                f"strategy '{self.name}' needs a nuisance that moves features of events, and those of case "
                f"'{case.name}' change weights only; take distance_correlation or adversarial"
            )
        return TangentPenalty(self.pivot_on == "both")


def _moves(problem: Problem, training: np.ndarray, events: int = 4096) -> bool:
    """Return whether the slopes of some event's features differ from zero."""
    lesson = lesson_of(problem, 0, problem.nominal_draw())
    batch = _first_batch(problem.case, lesson.task, lesson.draw, problem.table.slice(training[:events]))

    def differs(slope: AbstractSlope) -> bool:
        if isinstance(slope, Tangent):
            return bool(np.any(np.asarray(slope.features) != 0))
        return isinstance(slope, Difference) and bool(np.any(np.asarray(slope.features[0] != slope.features[1])))

    return any(differs(slope) for slope in batch.slopes)


@eqx.filter_jit
def _first_batch(case: AbstractCase, task: Task, draw: Draw, events: Events) -> TangentBatch:
    return tangent_batch(case, task, draw, events, jax.random.key(0))
