"""The training of density ratios: which component and which nuisance values made this event?

With nuisances drawn from a prior and components equally likely, the posterior of (k, z) given x is
proportional to p_k(x|z). An event of component k made at z competes with the same event's hypotheses at M
shared points, `-ln [e^{f_k(x,z)} / sum_j (e^{f_j(x,z)} + sum_m e^{f_j(x,z_m)})]` (arXiv:2002.03712, with
components as further classes): its optimum is `f = ln p + g(x)` for every M. It is the maximum-likelihood
estimate of the posterior; separate classifiers of each component against a reference, whose optimum is
the same ratio, learn from fewer pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from scipy.stats import qmc

from systwise.cases import AbstractCase
from systwise.errors import DataError
from systwise.events import EventTable
from systwise.learn.ratios._network import AbstractRatioNetwork
from systwise.learn.training._game import AbstractGame, Batch, TrainingSettings, descend, make_optimiser
from systwise.learn.training._schedule import learning_rates
from systwise.learn.training._task import Task

RATE, AVERAGE = 0, 1
"""Entries of a step's controls."""


def component_task(table: EventTable, index: np.ndarray) -> Task:
    """Return the task of telling every component from all others, equally likely over `index`.

    A component without events in the table counts for nothing: its process is not in the region.

    Raises:
        DataError: a component has no positive total weight.
    """
    found = present(table)
    totals = table.weights[index].sum(axis=0, dtype=np.float64)
    for k in found:
        if not totals[k] > 0:
            raise DataError(
                f"{table.source}: the training events of '{table.component_names[k]}' have total weight "
                f"{totals[k]:g}; a density ratio needs "
                "positive ones, so express the components in a positive basis of hypotheses"
            )
    rates = np.zeros(len(totals))
    rates[list(found)] = len(index) / (len(found) * totals[list(found)])
    return Task(jnp.eye(len(totals), dtype=jnp.float32), jnp.asarray(rates, jnp.float32))


def present(table: EventTable) -> tuple[int, ...]:
    """Return the numbers of the components that have events."""
    return tuple(np.flatnonzero(np.any(table.weights != 0, axis=0)).tolist())


def contrast_points(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Return `count` evenly spread points of the box from `low` to `high`, `[point, nuisance]` float32 (Halton)."""
    free = high > low
    unit = np.full((count, len(low)), 0.5)
    if free.any():
        if free.sum() == 1:
            unit[:, free] = ((np.arange(count) + 0.5) / count)[:, None]
        else:
            unit[:, free] = qmc.Halton(int(free.sum()), scramble=False).random(count + 1)[1:]
    return (low + (high - low) * unit).astype(np.float32)


def posterior_loss(
    own: Float[Array, "component event"],
    shared: Float[Array, "component point event"],
    weights: Float[Array, "event component"],
) -> Float[Array, ""]:
    """Return the weighted mean of minus the log-posterior of the true component and nuisances, in nats.

    Zero where nothing can be told: the uniform posterior is the unit.
    """
    components, points, events = shared.shape
    everything = jnp.concatenate([own[:, None], shared], axis=1).reshape(components * (points + 1), events)
    norm = jax.nn.logsumexp(everything, axis=0) - jnp.log(components * (points + 1))
    return jnp.mean(jnp.sum(weights.T * (norm - own), axis=0))


class Averaged(eqx.Module):
    """A network and the running average of its weights along the descent.

    Attributes:
        network: descends.
        average: what is kept.
        points: contrast points of the validation loss, `[point, nuisance]`.
        low, span: the box in which training shifts them, `[nuisance]`.
    """

    network: AbstractRatioNetwork
    average: AbstractRatioNetwork
    points: Float[Array, "point nuisance"]
    low: Float[Array, " nuisance"]
    span: Float[Array, " nuisance"]

    def shifted(self, key: Key[Array, ""]) -> Float[Array, "point nuisance"]:
        """Return the points shifted by a common random vector, cyclically."""
        safe = jnp.where(self.span > 0, self.span, 1.0)
        unit = (self.points - self.low) / safe + jax.random.uniform(key, self.low.shape, jnp.float32)
        return self.low + self.span * (unit % 1.0)


@dataclasses.dataclass(frozen=True)
class Posterior(AbstractGame):
    """One network descending the posterior loss.

    Attributes:
        settings: of the training.
        case: knows at which nuisance values there are events; hypotheses elsewhere would compete with none.
        components: numbers of those that have events, the only ones that compete.
    """

    settings: TrainingSettings
    case: AbstractCase
    components: tuple[int, ...]

    def begin(self, players: Averaged) -> PyTree:
        """Return the optimiser state."""
        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        return optimiser.init(eqx.filter(players.network, eqx.is_inexact_array))

    def step(
        self,
        players: Averaged,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], Batch],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[Averaged, PyTree, Float[Array, ""]]:
        """Descend once; controls are the learning rate and the share of the new weights in the average."""
        batch_key, point_key = jax.random.split(key)
        seen, low, high = batch(batch_key), players.low, players.low + players.span
        points = self.case.settle_points(players.shifted(point_key), low, high, jax.random.fold_in(point_key, 1))

        def loss(network: AbstractRatioNetwork) -> Float[Array, ""]:
            return self._loss(network, seen, points)

        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        network, state, value = descend(optimiser, loss, players.network, state, controls[RATE])
        average = jax.tree.map(
            lambda old, new: old + controls[AVERAGE] * (new - old) if eqx.is_inexact_array(old) else old,
            players.average,
            network,
        )
        return dataclasses.replace(players, network=network, average=average), state, value

    def score(self, players: Averaged, batch: Batch, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the posterior loss of the averaged network."""
        return self._loss(players.average, batch, players.points)

    def _loss(
        self, network: AbstractRatioNetwork, batch: Batch, points: Float[Array, "point nuisance"]
    ) -> Float[Array, ""]:
        own, shared = network.both(batch.features, batch.z, points)
        kept = np.array(self.components)
        return posterior_loss(own[kept], shared[kept], batch.weights[:, kept])


def ratio_controls(settings: TrainingSettings, averaged: float, steps: int) -> np.ndarray:
    """Return learning rate and averaging share of every step, `[step, 2]`.

    Args:
        settings: learning rates.
        averaged: length of the running average as a fraction of all steps; 0 keeps the last network.
        steps: number of steps.
    """
    t = np.arange(steps)
    share = np.maximum(1 / (t + 1), 1 / max(1.0, averaged * steps))
    return np.stack([learning_rates(settings, steps), share], axis=1)
