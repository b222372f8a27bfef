"""What puts events into bins: scores under some hypotheses, and the bins of their vectors."""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt16

from systwise.events import Events
from systwise.learn import AbstractObservable, HostObservable, host_logits
from systwise.templates.scoring._grid import FineGrid

NOT_A_SCORE = np.iinfo(np.uint16).max
"""Marks an event with weight at least one of whose logits is not a number."""


class AbstractBinner(eqx.Module):
    """Puts events into numbered bins by their scores under some hypotheses."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """Number of bins."""

    @abc.abstractmethod
    def hypotheses(self, assumed: Float[Array, " nuisance"]) -> Float[Array, "hypothesis told"]:
        """Return what the observable is told, one evaluation each.

        Args:
            assumed: the nuisances of a pair's hypothesis.
        """

    @abc.abstractmethod
    def index(self, vector: Float[Array, "event hypothesis"]) -> Shaped[Array, " event"]:
        """Return the bin of each vector of logits, an integer; pure JAX."""


class FineBins(AbstractBinner):
    """The fine bins of one score under the hypothesis of the pair."""

    grid: FineGrid = eqx.field(static=True)

    @property
    def count(self) -> int:
        """Number of fine bins."""
        return self.grid.bins

    def hypotheses(self, assumed: Float[Array, " nuisance"]) -> Float[Array, "hypothesis told"]:
        """Return the pair's hypothesis."""
        return assumed[None]

    def index(self, vector: Float[Array, "event hypothesis"]) -> Shaped[Array, " event"]:
        """Return the fine bin of each logit."""
        return self.grid.index(vector[:, 0])


def bins_of(
    observable: AbstractObservable,
    events: Events,
    assumed: Float[Array, " nuisance"],
    folds: Int[Array, " block"],
    binner: AbstractBinner,
) -> UInt16[Array, " event"]:
    """Return the bin of every event, `NOT_A_SCORE` where the observable is not a number for one that counts."""
    if isinstance(observable, HostObservable):
        vectors = vectors_of(observable, events, binner.hypotheses(assumed), folds)
        return _bins_of_vectors(vectors, events.weights, binner)
    return _compiled_bins(observable, events, assumed, folds, binner)


def vectors_of(
    observable: AbstractObservable,
    events: Events,
    hypotheses: Float[Array, "hypothesis nuisance"],
    folds: Int[Array, " block"],
) -> Float[Array, "event hypothesis"]:
    """Return the logits of every event under each hypothesis, wherever the observable is evaluated."""
    if isinstance(observable, HostObservable):
        return jnp.asarray(np.stack([host_logits(observable, events, z, folds) for z in hypotheses], axis=-1))
    return _compiled_vectors(observable, events, hypotheses, folds)


def _numbered(
    vector: Float[Array, "event hypothesis"], weights: Float[Array, "event component"], binner: AbstractBinner
) -> UInt16[Array, " event"]:
    undefined = jnp.any(jnp.isnan(vector), axis=1)
    found = binner.index(jnp.where(undefined[:, None], 0.0, vector)).astype(jnp.uint16)
    return jnp.where(undefined & jnp.any(weights != 0, axis=1), jnp.uint16(NOT_A_SCORE), found)


_bins_of_vectors = eqx.filter_jit(_numbered)


def _by_block(
    work: Callable[[Events, Int[Array, ""]], Array], events: Events, folds: Int[Array, " block"]
) -> Shaped[Array, "event ..."]:
    """Return what `work` makes of every event, block by block with the block's network."""
    count = folds.shape[0]
    blocks = jax.tree.map(lambda leaf: leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:]), events)
    found = jax.lax.map(lambda part: work(*part), (blocks, folds))
    return found.reshape(found.shape[0] * found.shape[1], *found.shape[2:])


def _vector(
    observable: AbstractObservable,
    events: Events,
    hypotheses: Float[Array, "hypothesis nuisance"],
    fold: Int[Array, ""],
) -> Float[Array, "event hypothesis"]:
    """Return the logits of `events` under each hypothesis, from network `fold`."""
    count = events.weights.shape[0]
    told = [jnp.broadcast_to(z, (count, z.shape[0])) for z in hypotheses]
    return jnp.stack([observable.output(events, z, fold) for z in told], axis=-1)


@eqx.filter_jit
def _compiled_vectors(
    observable: AbstractObservable,
    events: Events,
    hypotheses: Float[Array, "hypothesis nuisance"],
    folds: Int[Array, " block"],
) -> Float[Array, "event hypothesis"]:
    return _by_block(lambda part, fold: _vector(observable, part, hypotheses, fold), events, folds)


@eqx.filter_jit
def _compiled_bins(
    observable: AbstractObservable,
    events: Events,
    assumed: Float[Array, " nuisance"],
    folds: Int[Array, " block"],
    binner: AbstractBinner,
) -> UInt16[Array, " event"]:
    def bins(part: Events, fold: Int[Array, ""]) -> UInt16[Array, " event"]:
        return _numbered(_vector(observable, part, binner.hypotheses(assumed), fold), part.weights, binner)

    return _by_block(bins, events, folds)
