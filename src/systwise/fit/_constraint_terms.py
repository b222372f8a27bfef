"""The constraints' part of the likelihood, with its derivatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.parameters import AbstractConstraint

if TYPE_CHECKING:
    from systwise.fit._likelihood import Likelihood, Observed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JointTerm:
    """A Gaussian over several nuisances.

    Attributes:
        precision: inverse covariance, `[nuisance, nuisance]`.
        nuisances: their numbers.
    """

    precision: Float[Array | np.ndarray, "nuisance nuisance"]
    nuisances: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def jet(self, z: Sequence[Array], auxiliary: Array | np.ndarray) -> tuple[Array, list[Array]]:
        """Return the NLL and its gradient by the term's nuisances, each `[point, data]`."""
        pulls = [z[j] - jnp.asarray(auxiliary)[number] for number, j in enumerate(self.nuisances)]
        matrix = jnp.asarray(self.precision)
        count = range(len(pulls))
        gradient = [sum((matrix[i, j] * pulls[j] for j in count), jnp.zeros_like(pulls[0])) for i in count]
        return sum((0.5 * p * g for p, g in zip(pulls, gradient, strict=True)), jnp.zeros_like(pulls[0])), gradient


def add_constraints(
    lik: Likelihood,
    observed: Observed,
    z: Sequence[Array],
    free: tuple[int, ...],
    jet: tuple[Array, list[Array], list[list[Array]]],
) -> tuple[Array, list[Array], list[list[Array]]]:
    """Return the jet with the constraints' terms added."""
    value, gradient, hessian = jet[0] - lik.offset, list(jet[1]), [list(row) for row in jet[2]]
    single = observed.auxiliary[: len(lik.constraints)]
    for j, (constraint, values, auxiliary) in enumerate(zip(lik.constraints, z, single, strict=True)):
        parameter = lik.pois + j
        terms = constraint_jet(constraint, values, auxiliary)
        value = value + terms[0]
        if parameter in free:
            a = free.index(parameter)
            gradient[a] = gradient[a] + terms[1]
            hessian[a][a] = hessian[a][a] + terms[2]
    for term, auxiliary in zip(lik.joint, observed.auxiliary[len(lik.constraints) :], strict=True):
        nll, slopes = term.jet(z, auxiliary)
        value = value + nll
        places = [free.index(lik.pois + j) if lik.pois + j in free else None for j in term.nuisances]
        wanted = [(i, place) for i, place in enumerate(places) if place is not None]
        for i, row in wanted:
            gradient[row] = gradient[row] + slopes[i]
            for k, column in wanted:
                hessian[row][column] = hessian[row][column] + jnp.asarray(term.precision)[i, k]
    return value, gradient, hessian


def constraint_values(lik: Likelihood, observed: Observed, z: Sequence[Array]) -> Array:
    """Return the sum of all constraints' NLL at nuisance values `z`, each `[point, data]`."""
    total = jnp.zeros((1, 1))
    single = observed.auxiliary[: len(lik.constraints)]
    for constraint, values, auxiliary in zip(lik.constraints, z, single, strict=True):
        total = total + constraint_jet(constraint, values, auxiliary)[0]
    for term, auxiliary in zip(lik.joint, observed.auxiliary[len(lik.constraints) :], strict=True):
        total = total + term.jet(z, auxiliary)[0]
    return total


def constraint_jet(
    constraint: AbstractConstraint, z: Array, auxiliary: Array | np.ndarray
) -> tuple[Array, Array, Array]:
    """Return a constraint's NLL and two derivatives, each `[point, data]`."""
    slope = jax.grad(constraint.nll)

    def jet(value: Array, datum: Array) -> tuple[Array, Array, Array]:
        first, second = jax.jvp(lambda x: slope(x, datum), (value,), (jnp.ones_like(value),))
        return constraint.nll(value, datum), first, second

    auxiliary = jnp.asarray(auxiliary)
    data = max(z.shape[1], auxiliary.shape[1])
    z = jnp.broadcast_to(z, (z.shape[0], data))
    auxiliary = jnp.broadcast_to(auxiliary, (auxiliary.shape[0], data))
    over_data = jax.vmap(jet, in_axes=(0, 1))
    return jax.vmap(over_data, in_axes=(0, None))(z, auxiliary)
