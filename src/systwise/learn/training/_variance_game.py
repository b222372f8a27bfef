"""The profiled variance of a parameter of interest as a loss (INFERNO, arXiv:1806.04743).

With soft bins p_b(x), expected counts `nu_b = sum_k c_k(theta) sum_events w_k p_b(x)`. The Asimov likelihood at
the true point has the Hessian

    I_ij = sum_b (d nu_b / d i) (d nu_b / d j) / nu_b + constraints

over parameters of interest and nuisances (its Eq. 7; terms with second derivatives vanish where data equal
expectation), and the loss is `ln [(I^-1)_poi,poi] / 2`, the logarithm of the expected uncertainty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from systwise.cases import AbstractCase
from systwise.learn.observables._bins import BinNetwork
from systwise.learn.training._game import AbstractGame, TrainingSettings, descend, make_optimiser, squared_weights
from systwise.learn.training._slopes import SlopedBatch

RATE, TEMPERATURE = 0, 1
"""Entries of a step's controls."""


class Prior(eqx.Module):
    """The parameters of the likelihood besides the bins.

    Attributes:
        reference: `[component]` coefficients of the reference hypothesis.
        poi: `[poi, component]` slopes of the coefficients in the parameters of interest.
        norm: `[norm, component]` slopes of the normalisations' factors.
        information: `[parameter]` what is known beforehand: of the constraints, and next to nothing from the ranges.
    """

    reference: Float[Array, " component"]
    poi: Float[Array, "poi component"]
    norm: Float[Array, "norm component"]
    information: Float[Array, " parameter"]


class Binner(eqx.Module):
    """A network of bins and the likelihood in which it is judged."""

    network: BinNetwork
    prior: Prior


def prior_of(case: AbstractCase) -> Prior:
    """Return parameters of interest first, then nuisances in the order of the case."""
    components, theta = case.components, jnp.asarray(case.components.nominal, jnp.float32)
    norms = []
    for nuisance in case.nuisances[len(case.shape_nuisances) :]:
        row = np.zeros(len(components.names), np.float32)
        for rate in case.normalisations:
            if rate.nuisance == nuisance.name:
                own = np.isin(components.names, rate.components)
                row += own * float(jax.grad(rate.factor)(jnp.float32(nuisance.nominal)))
        norms.append(row)
    known = [
        float(c.information(jnp.float32(n.nominal))) for n, c in zip(case.nuisances, case.constraints, strict=True)
    ]
    # Parameters stay in their ranges; without that a few bins cannot tell free ones apart at all.
    spans = np.array([high - low for low, high in (*components.ranges, *(n.range for n in case.nuisances))])
    information = np.array([0.0] * len(components.pois) + known) + 1e-6 / spans**2
    return Prior(
        jnp.asarray(components.reference(), jnp.float32),
        jax.jacfwd(components.coefficients)(theta).T,
        jnp.asarray(np.array(norms, np.float32).reshape(-1, len(components.names))),
        jnp.asarray(information, jnp.float32),
    )


def log_sigma(binner: Binner, batch: SlopedBatch, temperature: Float[Array, ""]) -> Float[Array, ""]:
    """Return the logarithm of the profiled expected uncertainty of the first parameter of interest."""
    prior = jax.lax.stop_gradient(binner.prior)

    def count(features: Float[Array, "event feature"], weights: Float[Array, "event component"]) -> Array:
        return jax.nn.softmax(binner.network(features) / temperature, axis=-1).T @ weights

    templates = count(batch.features, batch.weights)
    slopes = [slope.of(count, batch.features, batch.weights) @ prior.reference for slope in batch.slopes]
    rows = [*(templates @ prior.poi.T).T, *slopes, *(templates @ (prior.norm * prior.reference).T).T]
    expected = templates @ prior.reference
    # A soft bin never is quite empty; with negative weights it may look so.
    root = jnp.sqrt(jnp.maximum(expected, 1e-6 * jnp.sum(jnp.abs(expected))))
    return 0.5 * jnp.log(profiled_variance(jnp.stack(rows) / root, prior.information))


def profiled_variance(g: Float[Array, "parameter bin"], information: Float[Array, " parameter"]) -> Float[Array, ""]:
    """Return element (0, 0) of the inverse of `g g^T + diag(information)`."""
    # In units in which the diagonal is one: parameters differ by orders of magnitude, and float32 has seven digits.
    matrix = g @ g.T + jnp.diag(information)
    unit = jax.lax.rsqrt(jnp.diag(matrix))
    scaled = matrix * unit[:, None] * unit
    first = jnp.zeros(len(unit), g.dtype).at[0].set(1.0)
    return jnp.linalg.solve(scaled, first)[0] * unit[0] ** 2


@dataclasses.dataclass(frozen=True)
class ProfiledVariance(AbstractGame):
    """One network of bins descending the expected uncertainty.

    Attributes:
        settings: how it descends.
        temperature: of the validation's soft bins.
    """

    settings: TrainingSettings
    temperature: float

    def begin(self, players: Binner) -> PyTree:
        """Return the optimiser state."""
        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        return optimiser.init(eqx.filter(players.network, eqx.is_inexact_array))

    def step(
        self,
        players: Binner,
        state: PyTree,
        batch: Callable[[Key[Array, ""]], SlopedBatch],
        controls: Float[Array, " control"],
        key: Key[Array, ""],
    ) -> tuple[Binner, PyTree, Float[Array, ""]]:
        """Descend once; controls are the learning rate and the temperature of the soft bins."""
        seen = batch(key)

        def loss(network: BinNetwork) -> Float[Array, ""]:
            value = log_sigma(Binner(network, players.prior), seen, controls[TEMPERATURE])
            return value + self.settings.l2 * squared_weights(network) if self.settings.l2 else value

        optimiser = make_optimiser(self.settings.optimiser, self.settings.weight_decay)
        network, state, value = descend(optimiser, loss, players.network, state, controls[RATE])
        return Binner(network, players.prior), state, value

    def score(self, players: Binner, batch: SlopedBatch, controls: Float[Array, " control"]) -> Float[Array, ""]:
        """Return the logarithm of the expected uncertainty, times the part of the batch that is no filling."""
        live = jnp.mean(jnp.any(batch.weights != 0, axis=1))
        return live * log_sigma(players, batch, jnp.float32(self.temperature))
