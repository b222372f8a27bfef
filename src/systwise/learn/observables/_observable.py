"""Observables: what a strategy leaves behind, a score of events that templates can be made of."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.events import Events
from systwise.learn.networks._network import AbstractNetwork


class AbstractObservable(eqx.Module):
    """A score of events.

    `moving` says whether the score depends on the hypothesised nuisances; `folds` is the number of
    networks, of which an event may be scored by the one that never saw it.
    """

    moving: eqx.AbstractVar[bool]
    folds: eqx.AbstractVar[int]

    @abc.abstractmethod
    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return logits of `events` under the hypothesis `z`, from network `fold`."""


class NetworkObservable(AbstractObservable):
    """Trained networks, one a fold, stacked along the first axis of every array."""

    networks: AbstractNetwork
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the logits of network `fold`."""
        network = jax.tree.map(lambda leaf: leaf[fold] if eqx.is_array(leaf) else leaf, self.networks)
        return network(events.features, z)


def stack_networks(networks: list[AbstractNetwork], moving: bool) -> NetworkObservable:
    """Join the networks of all folds into one observable."""
    arrays, static = zip(*(eqx.partition(n, eqx.is_array) for n in networks), strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *arrays)
    return NetworkObservable(moving=moving, folds=len(networks), networks=eqx.combine(stacked, static[0]))
