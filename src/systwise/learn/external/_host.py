"""Scores that another library computes: on the host, outside compiled functions.

A callback out of a compiled function (`jax.pure_callback`) would need no path of its own, but on CPU it waits for its
arguments in the threads that compute them: two computations at a time, as with compilation in the background, can
wait for each other for ever.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from systwise.events import Events
from systwise.learn.observables._observable import AbstractObservable

CERTAIN = 1e-6
"""Probabilities nearer to 0 or 1 than this count as this near: a tree's leaf may hold one class only."""


class AbstractHostModel(abc.ABC):
    """A model of another library; it can be pickled with everything that it needs."""

    @property
    @abc.abstractmethod
    def package(self) -> str:
        """The package that it needs, with its version where that is known."""

    @abc.abstractmethod
    def logits(self, inputs: Float32[np.ndarray, "event input"]) -> Float32[np.ndarray, " event"]:
        """Return the logits of events; inputs are features in their own units, then nuisances where it is told them.

        Raises:
            DataError: the model does not take such inputs.
        """


def logits_of_probabilities(values: np.ndarray) -> Float32[np.ndarray, " event"]:
    """Return `ln p / (1 - p)`, p no nearer to 0 or 1 than 1e-6; what is not a number stays so."""
    p = np.clip(np.asarray(values, np.float64), CERTAIN, 1 - CERTAIN)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


class HostObservable(AbstractObservable):
    """Models of another library, one a fold or one for all of them.

    Attributes:
        models: in the order of the folds.
        columns: places of the features that they see.
        told: how many nuisances they are told.
    """

    models: tuple[AbstractHostModel, ...] = eqx.field(static=True)
    columns: tuple[int, ...] = eqx.field(static=True)
    told: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the logits of the model of `fold`; not inside a compiled function.

        Raises:
            TypeError: the arrays are traced; `host_logits` belongs outside.
        """
        if any(isinstance(leaf, jax.core.Tracer) for leaf in (events.features, z, fold)):
            raise TypeError("the model of another library is evaluated on the host, outside compiled functions")
        return jax.numpy.asarray(self.on_host(np.asarray(events.features), np.asarray(z), int(fold)))

    def on_host(
        self, features: Float32[np.ndarray, "event feature"], z: Float[np.ndarray, "*event nuisance"], fold: int
    ) -> Float32[np.ndarray, " event"]:
        """Return the logits of `features` under the hypothesis `z`, one for all or one an event."""
        inputs = features[:, self.columns]
        if self.told:
            told = np.broadcast_to(np.asarray(z, np.float32)[..., : self.told], (len(features), self.told))
            inputs = np.concatenate([inputs, told], axis=1)
        return self.models[fold % len(self.models)].logits(np.ascontiguousarray(inputs))


def host_logits(
    observable: HostObservable,
    events: Events,
    z: Float[Array, " nuisance"],
    folds: Int[Array, " block"],
) -> Float32[np.ndarray, " event"]:
    """Return the logit of every event, all blocks of a fold in one call; 0 for events without weight.

    Args:
        observable: the models.
        events: as many a block.
        z: the hypothesis.
        folds: which model scores a block.
    """
    features, weights = np.asarray(events.features), np.asarray(events.weights)
    point = np.asarray(z)
    count = len(folds)
    fold_of = np.repeat(np.asarray(folds), len(features) // count)
    counts: np.ndarray = np.any(weights != 0, axis=1)
    found = np.zeros(len(features), np.float32)
    for fold in np.unique(fold_of):
        rows = np.flatnonzero((fold_of == fold) & counts)
        if len(rows):
            found[rows] = observable.on_host(features[rows], point, int(fold))
    return found


@eqx.filter_jit
def _compiled_logits(
    observable: AbstractObservable, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
) -> Float[Array, " event"]:
    return observable.output(events, z, fold)


def logits_of(
    observable: AbstractObservable, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
) -> Float[Array, " event"]:
    """Return the logits of `events` under the hypothesis `z`, compiled where the observable can be."""
    if isinstance(observable, HostObservable):
        return observable.output(events, z, fold)
    return _compiled_logits(observable, events, z, fold)
