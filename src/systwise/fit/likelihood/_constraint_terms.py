"""The constraints' part of the likelihood: those of one class together, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.parameters import AbstractConstraint, CorrelatedGaussian


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Single:
    """Constraints of one class, each on one nuisance.

    Attributes:
        stacked: the constraint with a leading axis in all its numbers.
        numbers: nuisances, `[constraint]`.
    """

    stacked: Any
    numbers: Int[Array | np.ndarray, " constraint"]

    def terms(self, z: Array, auxiliary: Array) -> tuple[Array, Array, Array]:
        """Return the NLL of each with two derivatives, `[constraint]`."""

        def one(constraint: AbstractConstraint, value: Array, datum: Array) -> tuple[Array, Array, Array]:
            slope = jax.grad(constraint.nll)
            first, second = jax.jvp(lambda x: slope(x, datum), (value,), (jnp.ones_like(value),))
            return constraint.nll(value, datum), first, second

        return jax.vmap(one)(self.stacked, z[jnp.asarray(self.numbers)], auxiliary)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Joint:
    """A Gaussian over several nuisances.

    Attributes:
        precision: inverse covariance, `[nuisance, nuisance]`.
        numbers: the nuisances.
    """

    precision: Float[Array | np.ndarray, "nuisance nuisance"]
    numbers: Int[Array | np.ndarray, " nuisance"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConstraintTerms:
    """All constraints of a model.

    Attributes:
        single: by class; those without an observation say nothing and are left out.
        joint: of several nuisances.
        order: places of each class's members among the model's constraints of one nuisance.
        nuisances: number of all nuisances.
    """

    single: tuple[Single, ...]
    joint: tuple[Joint, ...]
    order: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    nuisances: int = dataclasses.field(metadata={"static": True})

    def arranged(self, auxiliary: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return auxiliary data `[data, auxiliary]`, one a constraint, as this reads them.

        One array `[data, constraint, auxiliary]` a class, then those of several nuisances.
        """
        singles = [np.stack([auxiliary[j] for j in members], axis=1) for members in self.order]
        return (*singles, *auxiliary[self.nuisances :])

    def terms(
        self, z: Float[Array, " nuisance"], auxiliary: Sequence[Array | np.ndarray]
    ) -> tuple[Array, Array, Array]:
        """Return the sum of the constraints' NLL with gradient and Hessian by the nuisances.

        Args:
            z: nuisances.
            auxiliary: of one data set, as `arranged`.
        """
        value, gradient = jnp.zeros((), z.dtype), jnp.zeros_like(z)
        hessian = jnp.zeros((z.shape[0], z.shape[0]), z.dtype)
        for group, datum in zip(self.single, auxiliary, strict=False):
            nll, first, second = group.terms(z, jnp.asarray(datum))
            places = jnp.asarray(group.numbers)
            value = value + jnp.sum(nll)
            gradient = gradient.at[places].add(first)
            hessian = hessian.at[places, places].add(second)
        for joint, datum in zip(self.joint, auxiliary[len(self.single) :], strict=True):
            places, precision = jnp.asarray(joint.numbers), jnp.asarray(joint.precision)
            pull = z[places] - jnp.asarray(datum)
            slope = precision @ pull
            value = value + 0.5 * pull @ slope
            gradient = gradient.at[places].add(slope)
            hessian = hessian.at[places[:, None], places[None]].add(precision)
        return value, gradient, hessian


def constraint_terms(
    names: Sequence[str], constraints: Sequence[AbstractConstraint], joint: Sequence[CorrelatedGaussian]
) -> ConstraintTerms:
    """Return the constraints as arrays, those of one class (and one callable) stacked."""
    groups: dict[Any, list[int]] = {}
    bare = [dataclasses.replace(constraint, nuisance="") for constraint in constraints]
    for j, constraint in enumerate(bare):
        if constraints[j].observed:
            shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(constraint))
            size = jax.eval_shape(constraint.asimov, jax.ShapeDtypeStruct((), np.float64)).shape
            groups.setdefault((jax.tree.structure(constraint), shapes, size), []).append(j)
    stacks = [
        jax.tree.map(lambda *leaves: np.stack([np.asarray(v, np.float64) for v in leaves]), *(bare[j] for j in members))
        for members in groups.values()
    ]
    return ConstraintTerms(
        single=tuple(
            Single(stacked, np.array(members, np.int32))
            for stacked, members in zip(stacks, groups.values(), strict=True)
        ),
        joint=tuple(Joint(c.precision, np.array([names.index(n) for n in c.nuisances], np.int32)) for c in joint),
        order=tuple(tuple(members) for members in groups.values()),
        nuisances=len(constraints),
    )
