"""Networks that infer the nuisances from a score: a density, a mean, or one of a few levels."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from systwise.learn.networks._network import NetworkSettings, Scaler, evaluate, multilayer
from systwise.learn.training._levels import level_numbers

SEEN = 3


def seen_by_adversary(logits: Float[Array, " event"]) -> Float[Array, "event view"]:
    """Return squashed views of the logit: resolution where events are, bounded where they are not."""
    return jnp.stack([jnp.tanh(logits / 2), jnp.tanh(logits / 6), logits / 6], axis=-1)


class AbstractAdversary(eqx.Module):
    """A network that infers the nuisances from the score."""

    mlp: eqx.AbstractVar[eqx.nn.MLP]

    @abc.abstractmethod
    def event_loss(self, out: Float[Array, "event out"], z: Float[Array, "event nuisance"]) -> Float[Array, " event"]:
        """Return the loss of each event from the network's outputs."""

    def loss(
        self, logits: Float[Array, " event"], z: Float[Array, "event nuisance"], weights: Float[Array, " event"]
    ) -> Float[Array, ""]:
        """Return the weighted mean loss per event."""
        value = self.event_loss(evaluate(self.mlp, seen_by_adversary(logits)), z)
        return jnp.sum(weights * value) / jnp.sum(weights)


class RegressionAdversary(AbstractAdversary):
    """The mean of the scaled nuisances given the score; squared error (arXiv:2105.08742)."""

    mlp: eqx.nn.MLP
    target_scaler: Scaler

    def event_loss(self, out: Float[Array, "event out"], z: Float[Array, "event nuisance"]) -> Float[Array, " event"]:
        """Return the squared error, summed over nuisances."""
        return jnp.sum((out - self.target_scaler(z)) ** 2, axis=-1)


class MixtureAdversary(AbstractAdversary):
    """The density of the scaled nuisances given the score, a Gaussian mixture (arXiv:1611.01046)."""

    mlp: eqx.nn.MLP
    target_scaler: Scaler
    components: int = eqx.field(static=True)

    def event_loss(self, out: Float[Array, "event out"], z: Float[Array, "event nuisance"]) -> Float[Array, " event"]:
        """Return minus the log-density, in nats."""
        target = self.target_scaler(z)
        count, size = self.components, target.shape[1]
        fraction = jax.nn.log_softmax(out[:, :count])
        mean = out[:, count : count + count * size].reshape(-1, count, size)
        log_width = jnp.clip(out[:, count + count * size :].reshape(-1, count, size), -4.0, 3.0)
        pull = (target[:, None, :] - mean) * jnp.exp(-log_width)
        log_gauss = -0.5 * pull**2 - log_width - 0.5 * jnp.log(2 * jnp.pi)
        return -jax.nn.logsumexp(fraction + log_gauss.sum(axis=-1), axis=-1)


class ClassAdversary(AbstractAdversary):
    """Which level every nuisance has, given the score: one softmax a nuisance (arXiv:1807.08763).

    A score that says nothing about the nuisances leaves it with the entropy of the levels, `nuisances ln levels`
    where all are equally likely.
    """

    mlp: eqx.nn.MLP
    levels: Float[Array, "nuisance level"]

    def event_loss(self, out: Float[Array, "event out"], z: Float[Array, "event nuisance"]) -> Float[Array, " event"]:
        """Return the cross-entropy in nats, summed over nuisances."""
        # The optimiser must not move the levels.
        levels = jax.lax.stop_gradient(self.levels)
        told = z[:, : levels.shape[0]]
        logs = jax.nn.log_softmax(out.reshape(-1, *levels.shape), axis=-1)
        chosen = jnp.take_along_axis(logs, level_numbers(levels, told)[:, :, None], axis=-1)
        return -chosen[:, :, 0].sum(axis=-1)


def regression_adversary(settings: NetworkSettings, scaler: Scaler, key: Key[Array, ""]) -> RegressionAdversary:
    """Return a fresh adversary that infers means; `scaler` is that of the nuisances."""
    return RegressionAdversary(multilayer(settings, SEEN, len(scaler.mean), key), scaler)


def mixture_adversary(
    settings: NetworkSettings, scaler: Scaler, components: int, key: Key[Array, ""]
) -> MixtureAdversary:
    """Return a fresh adversary that infers a density; `scaler` is that of the nuisances."""
    count = len(scaler.mean)
    outputs = components * (1 + 2 * count)
    mlp = multilayer(settings, SEEN, outputs, key)
    # Spread the first means over the training range, which has unit variance after scaling.
    means = jnp.repeat(jnp.linspace(-1.5, 1.5, components), count)
    last = jnp.zeros(outputs, jnp.float32)
    bias = last.at[components : components * (1 + count)].set(means)
    return MixtureAdversary(eqx.tree_at(lambda m: m.layers[-1].bias, mlp, bias), scaler, components)


def class_adversary(
    settings: NetworkSettings, levels: Float[Array, "nuisance level"], key: Key[Array, ""]
) -> ClassAdversary:
    """Return a fresh adversary that infers which of the `levels` each nuisance has."""
    return ClassAdversary(multilayer(settings, SEEN, levels.size, key), levels)
