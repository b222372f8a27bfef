"""Constraints: what is known of the nuisances from outside the fitted histogram.

Use `GaussianConstraint` for a calibration quoted as value and uncertainty, `CountsConstraint` for an
auxiliary measurement whose counts are at hand, `NoConstraint` for a parameter that floats freely.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
from jaxtyping import Array, Float, Key


class AbstractConstraint(eqx.Module):
    """The density of one nuisance's auxiliary data.

    `measured` tells the two kinds apart: a belief (False) stays centred on the nominal value when a
    study shifts the true one; a measurement taken along with the data (True) follows the true value.
    """

    nuisance: eqx.AbstractVar[str]
    measured: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return minus the log-density of `auxiliary` at `z`, without constants."""

    @abc.abstractmethod
    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw auxiliary data for a true value `z`."""

    @abc.abstractmethod
    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return the auxiliary data whose best-fit value is `z`."""

    @abc.abstractmethod
    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return the Fisher information on the nuisance at `z`."""


class NoConstraint(AbstractConstraint):
    """A nuisance that nothing constrains but the data."""

    nuisance: str = eqx.field(static=True)
    measured: ClassVar[bool] = False

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return zero."""
        return jnp.zeros_like(z)

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return an empty array."""
        return jnp.zeros((0,), jnp.result_type(float))

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return an empty array."""
        return jnp.zeros((0,), jnp.result_type(float))

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return zero."""
        return jnp.zeros_like(z)


class GaussianConstraint(AbstractConstraint):
    """`nll = (z - centre)^2 / (2 width^2)`; the auxiliary datum is the centre."""

    nuisance: str = eqx.field(static=True)
    width: float = eqx.field(static=True)
    measured: ClassVar[bool] = False

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return half the squared pull."""
        return 0.5 * ((z - auxiliary[0]) / self.width) ** 2

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw a centre from N(z, width)."""
        dtype = jnp.result_type(float)
        return (z + self.width * jax.random.normal(key, (), dtype))[None]

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return `[z]`."""
        return jnp.asarray(z)[None]

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return 1 / width^2."""
        return jnp.full_like(z, self.width**-2)


class CountsConstraint(AbstractConstraint):
    """An auxiliary histogram: `nll = sum_b scale [e_b(z) - n_b ln e_b(z)]`.

    `expected` maps z to the expected counts `[bin]`; it is pure JAX.
    """

    nuisance: str = eqx.field(static=True)
    expected: Callable[[Float[Array, ""]], Float[Array, " auxiliary"]] = eqx.field(static=True)
    measured: ClassVar[bool] = True

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return the Poisson terms that depend on z."""
        expected = self.expected(z)
        return jnp.sum(expected - jsp.xlogy(auxiliary, expected))

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw Poisson counts."""
        expected = self.expected(z)
        return jax.random.poisson(key, expected, dtype=jnp.int32).astype(expected.dtype)

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return the expected counts."""
        return self.expected(jnp.asarray(z))

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return `sum_b (de_b/dz)^2 / e_b`."""
        expected, slope = jax.jvp(self.expected, (z,), (jnp.ones_like(z),))
        return jnp.sum(slope**2 / expected)
