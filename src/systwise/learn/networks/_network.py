"""Networks with their scaler inside: features in their own units go in, a logit comes out."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from pydantic import Field

from systwise.settings import Settings

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh}


class NetworkSettings(Settings):
    """A fully connected network."""

    layers: int = Field(3, ge=1)
    """Hidden layers."""
    width: int = Field(64, ge=1)
    """Units a hidden layer."""
    activation: Literal["relu", "silu", "tanh"] = "relu"
    """Activation of the hidden layers."""


class Scaler(eqx.Module):
    """Standard scaling; undefined values become zero, the mean of the defined ones.

    Attributes:
        mean, width: `[feature]` of the training events at nominal; an infinite width hides a feature.
        undefined: the number that marks an undefined feature, or None.
        logarithmic: features that are scaled as their logarithm.
    """

    mean: Float[Array, " feature"]
    width: Float[Array, " feature"]
    undefined: float | None = eqx.field(static=True, default=None)
    logarithmic: tuple[int, ...] = eqx.field(static=True, default=())

    def __call__(self, features: Float[Array, "*event feature"]) -> Float[Array, "*event feature"]:
        """Scale `features`."""
        # The optimiser must not move the scale of the inputs.
        mean, width = jax.lax.stop_gradient((self.mean, self.width))
        scaled = (logarithms(features, self.logarithmic, self.undefined) - mean) / width
        return scaled if self.undefined is None else jnp.where(features == self.undefined, 0.0, scaled)


def logarithms(
    features: Float[Array, "*event feature"], which: tuple[int, ...], undefined: float | None
) -> Float[Array, "*event feature"]:
    """Return `features` with those numbered `which` as their logarithm; undefined ones stay."""
    if not which:
        return features
    # Not a positive number is no value of such a feature: the smallest one keeps it finite.
    logs = jnp.log(jnp.maximum(features, 1e-30))
    taken = jnp.isin(jnp.arange(features.shape[-1]), jnp.array(which))
    taken = taken if undefined is None else taken & (features != undefined)
    return jnp.where(taken, logs, features)


def fit_scaler(
    features: np.ndarray, weights: np.ndarray, undefined: float | None, logarithmic: tuple[int, ...] = ()
) -> Scaler:
    """Return the scaler of weighted `features` `[event, feature]`, `weights` `[event]` not negative."""
    features = np.asarray(logarithms(jnp.asarray(features), logarithmic, undefined))
    total = np.broadcast_to(weights[:, None], features.shape).astype(np.float64)
    if undefined is not None:
        total = np.where(features == undefined, 0.0, total)
    norm = np.maximum(total.sum(axis=0), np.finfo(np.float64).tiny)
    mean = (total * features).sum(axis=0) / norm
    width = np.sqrt((total * (features - mean) ** 2).sum(axis=0) / norm)
    width = np.where(width > 1e-9 * (1 + np.abs(mean)), width, 1.0)
    return Scaler(jnp.asarray(mean, jnp.float32), jnp.asarray(width, jnp.float32), undefined, logarithmic)


def evaluate(mlp: eqx.nn.MLP, inputs: Float[Array, "event input"]) -> Float[Array, "event ..."]:
    """Return `jax.vmap(mlp)(inputs)`, for a perceptron whose activation has no parameters.

    Units come first and events last inside: `W @ h` is then one matrix product, whose rows are long
    and contiguous, in both directions of the gradient. On CPU this is about a tenth faster.
    """
    hidden = inputs.T
    for layer in mlp.layers[:-1]:
        hidden = mlp.activation(_affine(layer, hidden))
    out = _affine(mlp.layers[-1], hidden)
    return out[0] if mlp.out_size == "scalar" else out.T


def _affine(layer: eqx.nn.Linear, inputs: Float[Array, "input event"]) -> Float[Array, "output event"]:
    product = layer.weight @ inputs
    return product if layer.bias is None else product + layer.bias[:, None]


class AbstractNetwork(eqx.Module):
    """A logit as a function of features and, if it is told about them, nuisances."""

    @abc.abstractmethod
    def __call__(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return the logits."""


class Blind(AbstractNetwork):
    """A network of the features alone."""

    scaler: Scaler
    mlp: eqx.nn.MLP

    def __call__(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return the logits; `z` is not looked at."""
        return evaluate(self.mlp, self.scaler(features))


class Told(AbstractNetwork):
    """A network of the features and the nuisances."""

    scaler: Scaler
    nuisance_scaler: Scaler
    mlp: eqx.nn.MLP

    def __call__(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return the logits at nuisance values `z`."""
        # Nuisances that change yields only come last and are not told.
        told = z[..., : self.nuisance_scaler.mean.shape[0]]
        inputs = jnp.concatenate([self.scaler(features), self.nuisance_scaler(told)], axis=-1)
        return evaluate(self.mlp, inputs)


class Halves(AbstractNetwork):
    """Two networks joined at the nominal value of the first nuisance (arXiv:2105.08742)."""

    below: Told
    above: Told
    joint: Float[Array, ""]

    def __call__(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return `above` for z >= joint and `below` elsewhere; each learns from its own side only."""
        return jnp.where(z[:, 0] >= jax.lax.stop_gradient(self.joint), self.above(features, z), self.below(features, z))


def multilayer(
    settings: NetworkSettings, inputs: int, outputs: int | Literal["scalar"], key: Key[Array, ""]
) -> eqx.nn.MLP:
    """Return a fresh multilayer perceptron with He-normal weights and zero biases."""
    # Equinox starts from U(-1/sqrt(n), 1/sqrt(n)), which dies out in ten layers of ReLU. Numbers come
    # from NumPy: JAX would compile a generator for every shape, which takes longer than a short training.
    mlp = eqx.filter_eval_shape(
        eqx.nn.MLP, inputs, outputs, settings.width, settings.layers, ACTIVATIONS[settings.activation], key=key
    )
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(np.asarray(jax.random.key_data(key)).tolist())))
    weights = [np.sqrt(2 / w.shape[1]) * draw.standard_normal(w.shape) for w in (layer.weight for layer in mlp.layers)]
    weights[-1] *= 0.3  # start near the prior: a logit close to zero
    biases = [np.zeros(layer.bias.shape) for layer in mlp.layers]
    return eqx.tree_at(
        lambda m: [array for layer in m.layers for array in (layer.weight, layer.bias)],
        mlp,
        [jnp.asarray(array, jnp.float32) for pair in zip(weights, biases, strict=True) for array in pair],
    )
