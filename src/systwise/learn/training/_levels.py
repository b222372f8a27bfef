"""Nuisances drawn from a few levels, as simulations of a theory uncertainty come."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from systwise.learn.training._game import Draw
from systwise.parameters import Nuisance


class LevelDraw(Draw):
    """The nuisance values seen in training: one of a few levels, all equally likely, one draw an event and step.

    Every nuisance draws its own level. With levels at the simulated values of a scale (arXiv:1807.08763) no
    event is ever seen in between.

    Attributes:
        levels: `[nuisance, level]`, increasing along the level axis.
    """

    levels: Float[Array, "nuisance level"] = eqx.field(kw_only=True)

    @property
    def constant(self) -> Bool[Array, " nuisance"]:
        """Which nuisances always have the same value."""
        return self.levels[:, 0] == self.levels[:, -1]

    def __call__(self, key: Key[Array, ""], count: int) -> Float[Array, "event nuisance"]:
        """Draw `count` nuisance vectors."""
        nuisances, levels = self.levels.shape
        number = jax.random.randint(key, (count, nuisances), 0, levels, jnp.int32)
        return self.levels[jnp.arange(nuisances), number]

    def nearest(self, z: Float[Array, "event nuisance"]) -> Float[Array, "event nuisance"]:
        """Return the level nearest to each value, which is how values of a prior become classes."""
        return self.levels[jnp.arange(self.levels.shape[0]), level_numbers(self.levels, z)]


def nuisance_levels(nuisances: tuple[Nuisance, ...], count: int) -> Float[np.ndarray, "nuisance level"]:
    """Return `count` levels of each nuisance: both ends of its training range and evenly spaced steps between.

    Steps are even on either side of the nominal value, which is a level where `count` is odd. Where it is no
    inner point of the training range they are even over the whole range.

    >>> scale = Nuisance("scale", 0.0, (-1, 2), (-1, 2), (-1.0, 0.0, 2.0))
    >>> nuisance_levels((scale,), 3).tolist()
    [[-1.0, 0.0, 2.0]]
    """
    place = np.linspace(-1, 1, count)
    rows = []
    for nuisance in nuisances:
        low, high = nuisance.training
        middle = nuisance.nominal if low < nuisance.nominal < high else (low + high) / 2
        rows.append(middle + np.where(place < 0, (middle - low) * place, (high - middle) * place))
    return np.array(rows, np.float64).reshape(len(nuisances), count)


def level_draw(nuisances: tuple[Nuisance, ...], count: int) -> LevelDraw:
    """Return the draw from `count` levels of each nuisance, see `nuisance_levels`."""
    levels = jnp.asarray(nuisance_levels(nuisances, count), jnp.float32)
    return LevelDraw(levels[:, 0], levels[:, -1], levels=levels)


def level_numbers(
    levels: Float[Array, "nuisance level"], z: Float[Array, "event nuisance"]
) -> Int[Array, "event nuisance"]:
    """Return the number of the level nearest to each value."""
    return jnp.argmin(jnp.abs(z[:, :, None] - levels), axis=-1)
