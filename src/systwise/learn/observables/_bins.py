"""Networks whose outputs are bins: soft ones to train, the most probable one to measure."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.events import Events
from systwise.learn.networks._network import Scaler, evaluate
from systwise.learn.observables._observable import AbstractObservable


class BinNetwork(eqx.Module):
    """One logit a bin as a function of the features."""

    scaler: Scaler
    mlp: eqx.nn.MLP

    def __call__(self, features: Float[Array, "event feature"]) -> Float[Array, "event bin"]:
        """Return the logits of the bins."""
        return evaluate(self.mlp, self.scaler(features))


class AbstractDiscreteObservable(AbstractObservable):
    """An observable with a few values, which are its bins: bin i has the score `(i + 1/2) / bins`."""

    bins: eqx.AbstractVar[int]

    @abc.abstractmethod
    def cell(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Int[Array, " event"]:
        """Return the bin of each event, 0 to `bins - 1`."""

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the logit of the middle of each event's bin, of equal bins in (0, 1)."""
        score = (self.cell(events, z, fold).astype(jnp.float32) + 0.5) / self.bins
        return jnp.log(score) - jnp.log1p(-score)


class BinObservable(AbstractDiscreteObservable):
    """The most probable bin of trained networks, one network a fold.

    Attributes:
        networks: stacked along the first axis of every array.
        rank: `[fold, output]` the bin of each output of a network.
    """

    networks: BinNetwork
    rank: Int[Array, "fold output"]
    bins: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def cell(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Int[Array, " event"]:
        """Return the bin of the largest output of network `fold`."""
        network = jax.tree.map(lambda leaf: leaf[fold] if eqx.is_array(leaf) else leaf, self.networks)
        return self.rank[fold][jnp.argmax(network(events.features), axis=-1)]


def stack_bins(networks: list[BinNetwork], rank: Int[np.ndarray, "fold output"]) -> BinObservable:
    """Join the networks of all folds into one observable; `rank` says which bin each output is."""
    arrays, static = zip(*(eqx.partition(n, eqx.is_array) for n in networks), strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *arrays)
    return BinObservable(
        networks=eqx.combine(stacked, static[0]),
        rank=jnp.asarray(rank, jnp.int32),
        bins=int(rank.max()) + 1,
        moving=False,
        folds=len(networks),
    )
