"""The rules of a training: its settings, what a step sees, and one descending network."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree
from pydantic import Field

from systwise.cases import AbstractCase
from systwise.events import Events
from systwise.learn.training._task import Task
from systwise.settings import Settings


class TrainingSettings(Settings):
    """How a network descends."""

    batch: int = Field(2048, ge=1)
    """Events a step."""
    passes: float = Field(6.0, gt=0)
    """Passes over the training events."""
    minimum_steps: int = Field(600, ge=1)
    """Steps to make where the passes are fewer, as with small samples."""
    learning_rate: float = Field(3e-3, gt=0)
    """Highest learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: falling to zero along a cosine, or constant."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Fraction of the steps in which the learning rate rises linearly from zero."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Optimiser."""
    weight_decay: float = Field(1e-4, ge=0)
    """Decoupled weight decay of weight matrices (adam)."""
    l2: float = Field(0.0, ge=0)
    """Coefficient of the sum of squared weights in the loss (the papers' L2)."""
    evaluations: int = Field(24, ge=1)
    """How often the validation loss is computed."""
    patience: int | None = Field(12, ge=1)
    """Evaluations without improvement after which training stops; null: never."""


class Draw(eqx.Module):
    """The nuisance values seen in training: uniform between `low` and `high`, one draw an event and step.

    Equal ends make a constant, so strategies that differ in their draws share one compiled step.
    """

    low: Float[Array, " nuisance"]
    high: Float[Array, " nuisance"]

    def nearest(self, z: Float[Array, "event nuisance"]) -> Float[Array, "event nuisance"]:
        """Return the values nearest to `z` that may be drawn; any value may."""
        return z

    @property
    def constant(self) -> Bool[Array, " nuisance"]:
        """Which nuisances always have the same value."""
        return self.low == self.high

    def __call__(self, key: Key[Array, ""], count: int) -> Float[Array, "event nuisance"]:
        """Draw `count` nuisance vectors."""
        u = jax.random.uniform(key, (count, self.low.shape[0]), jnp.float32)
        return self.low + (self.high - self.low) * u


def draw_between(low: list[float], high: list[float]) -> Draw:
    """Return a draw between two points."""
    return Draw(jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))


class Batch(eqx.Module):
    """What a step sees: varied features, the nuisance values behind them, balanced weights of the classes."""

    features: Float[Array, "event feature"]
    z: Float[Array, "event nuisance"]
    weights: Float[Array, "event class"]


def drawn_events(
    case: AbstractCase, draw: Draw, events: Events, key: Key[Array, ""]
) -> tuple[Events, Float[Array, "event nuisance"], Float[Array, " event"]]:
    """Return events at fresh nuisance values, these values, and what each event counts for.

    Where simulation exists at a few values only, these are drawn (`AbstractCase.settle`).
    """
    z = draw(key, events.weights.shape[0])
    z, share = case.settle(events, z, draw.low, draw.high, jax.random.fold_in(key, 2))
    return case.vary(events, z), z, jnp.ones(z.shape[0]) if share is None else share


def make_batch(case: AbstractCase, task: Task, draw: Draw, events: Events, key: Key[Array, ""]) -> Batch:
    """Vary `events` to fresh nuisance values.

    Where features belong to the sample, every event stands there twice: once as part of each hypothesis, with
    that hypothesis's value and a weight in its class only.
    """
    if not case.sample_features or task.hypotheses is None:
        varied, z, share = drawn_events(case, draw, events, key)
        return Batch(varied.features, z, task.weights(varied) * share[:, None])
    z = draw(key, events.weights.shape[0])
    # How well the sample's value is known is what the prior says, whatever range the events are varied over. A
    # strategy that knows one value of a nuisance only has events of that value, and the prior's sample values.
    at = draw.nearest(prior_draw(case, jax.random.fold_in(key, 1), z.shape[0]))
    z = jnp.where(draw.constant, z, at)
    varied = case.vary(events, z)
    weights = task.weights(varied)
    classes = weights.shape[1]
    # A mean over twice the events keeps its value.
    own = [classes * weights * jnp.eye(classes, dtype=weights.dtype)[k] for k in range(classes)]
    features = seen_features(case, task, varied, at)
    return Batch(features, jnp.tile(z, (classes, 1)), jnp.concatenate(own))


def seen_features(
    case: AbstractCase, task: Task, varied: Events, z: Float[Array, "event nuisance"]
) -> Float[Array, "row feature"]:
    """Return what a network sees of events varied to `z`, once a hypothesis where features belong to the sample."""
    if not case.sample_features or task.hypotheses is None:
        return varied.features
    return jnp.concatenate([case.with_sample_values(varied.features, theta, z) for theta in task.hypotheses])


def prior_draw(case: AbstractCase, key: Key[Array, ""], count: int) -> Float[Array, "event nuisance"]:
    """Draw the nuisances that move events from what is known of them beforehand, `[event, nuisance]`.

    Gaussian around the nominal value with the constraint's width, within the range of the fit; over the training
    range where there is no constraint.
    """
    by_name = {constraint.nuisance: constraint for constraint in case.constraints}
    widths = []
    for nuisance in case.shape_nuisances:
        constraint = by_name.get(nuisance.name)
        known = 0.0
        if constraint is not None:
            with jax.ensure_compile_time_eval():  # a number of the case, also inside a traced function
                known = float(constraint.information(jnp.asarray(nuisance.nominal)))
        low, high = nuisance.training
        widths.append(known**-0.5 if known > 0 else (high - low) / 12**0.5)
    nominal = jnp.array([nuisance.nominal for nuisance in case.shape_nuisances], jnp.float32)
    ends = jnp.array([nuisance.range for nuisance in case.shape_nuisances], jnp.float32).reshape(-1, 2)
    normal = jax.random.normal(key, (count, len(widths)), jnp.float32)
    return jnp.clip(nominal + jnp.array(widths, jnp.float32) * normal, ends[:, 0], ends[:, 1])


def classification_loss(logits: Float[Array, " event"], weights: Float[Array, "event 2"]) -> Float[Array, ""]:
    """Return the balanced cross-entropy `mean(w_1 ln(1 + e^-f) + w_0 ln(1 + e^f))`, in nats."""
    return jnp.mean(weights[:, 0] * jax.nn.softplus(-logits) + weights[:, 1] * jax.nn.softplus(logits))


@functools.lru_cache(maxsize=64)
def make_optimiser(kind: str, weight_decay: float) -> optax.GradientTransformation:
    """Return the optimiser without its learning rate; one object a setting, so that nothing recompiles."""
    if kind == "rmsprop":
        return optax.scale_by_rms(decay=0.9)
    decay = optax.add_decayed_weights(weight_decay, mask=functools.partial(jax.tree.map, lambda leaf: leaf.ndim >= 2))
    return optax.chain(optax.scale_by_adam(), decay)


def squared_weights(player: PyTree) -> Float[Array, ""]:
    """Return the sum of squared entries of all weight matrices."""
    matrices = [leaf for leaf in jax.tree.leaves(eqx.filter(player, eqx.is_inexact_array)) if leaf.ndim >= 2]
    return sum((jnp.sum(m**2) for m in matrices), jnp.zeros(()))


def descend(
    optimiser: optax.GradientTransformation,
    loss: Callable[[PyTree], Float[Array, ""]],
    player: PyTree,
    state: PyTree,
    rate: Float[Array, ""],
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """Make one step of `player` down `loss`; return the new player, optimiser state and the loss."""
    value, gradient = eqx.filter_value_and_grad(loss)(player)
    parameters = eqx.filter(player, eqx.is_inexact_array)
    updates, state = optimiser.update(gradient, state, parameters)
    return eqx.apply_updates(player, jax.tree.map(lambda u: -rate * u, updates)), state, value


class AbstractGame(abc.ABC):
    """The rules of a training: who the players are and what one step does.

    Games are frozen dataclasses: hashable, static under `jit`. What changes from step to step or is
    scanned over (learning rates, the strength of an adversary) comes in `controls`. What a batch is, the lesson's
    `batches` says.
    """

    settings: TrainingSettings

    @abc.abstractmethod
    def begin(self, players: PyTree) -> PyTree:
        """Return the optimiser state."""

    @abc.abstractmethod
    def step(
        self,
        players: PyTree,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], Any],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[PyTree, PyTree, Float[Array, ""]]:
        """Make one step; `batch(key)` gives the step's events at freshly drawn nuisance values."""

    @abc.abstractmethod
    def score(self, players: PyTree, batch: Any, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the validation loss of a batch (a mean over events)."""


@dataclasses.dataclass(frozen=True)
class Descent(AbstractGame):
    """One network descending the balanced cross-entropy."""

    settings: TrainingSettings

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return make_optimiser(self.settings.optimiser, self.settings.weight_decay)

    def begin(self, players: PyTree) -> PyTree:
        """Return the optimiser state."""
        return self._optimiser.init(eqx.filter(players, eqx.is_inexact_array))

    def step(
        self,
        players: PyTree,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], Batch],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[PyTree, PyTree, Float[Array, ""]]:
        """Descend once; `controls[0]` is the learning rate."""
        seen = batch(key)

        def loss(network: Any) -> Float[Array, ""]:
            value = classification_loss(network(seen.features, seen.z), seen.weights)
            return value + self.settings.l2 * squared_weights(network) if self.settings.l2 else value

        return descend(self._optimiser, loss, players, state, controls[0])

    def score(self, players: PyTree, batch: Batch, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the balanced cross-entropy."""
        return classification_loss(players(batch.features, batch.z), batch.weights)
