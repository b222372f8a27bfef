"""Constraints: what is known of the nuisances from outside the fitted histogram.

Use `GaussianConstraint` for a calibration quoted as value and uncertainty (`AsymmetricGaussianConstraint`
where up and down differ, `CorrelatedGaussian` for several at once), `LogNormalConstraint` for a positive
scale, `CountsConstraint` for an auxiliary measurement whose counts are at hand (`PoissonConstraint` for a single one
that is proportional), `UniformConstraint` for a range without preference, `NoConstraint` for a parameter that floats
freely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.errors import ConfigError
from systwise.parameters._constraint import AbstractConstraint
from systwise.parameters._deviations import Deviations


def _check_positive(who: str, **values: float) -> None:
    """Refuse widths that are none.

    Raises:
        ConfigError: a value that is not positive and finite.
    """
    for name, value in values.items():
        if not 0 < float(value) < math.inf:
            raise ConfigError(
                f"{who}: {name} is {float(value):g} and must be positive; leave a nuisance out that is known exactly, "
                "and use NoConstraint for one that is free"
            )


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
    width: float
    measured: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Refuse a width that is none."""
        _check_positive(f"Gaussian constraint on '{self.nuisance}'", width=self.width)

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

    def centre(self, auxiliary: np.ndarray, span: tuple[float, float]) -> float:
        """Return the observed centre, which may lie beyond `span`."""
        return float(auxiliary[0])

    def deviations(self, nominal: float) -> Deviations:
        """Return the map `nominal + width alpha`."""
        return Deviations(nominal, self.width, self.width)


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

    def shifted(self, auxiliary: np.ndarray, centre: float, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the counts scaled as their expectation e: `n e(centre +- width) / e(centre)`."""
        here, up, down = (
            np.asarray(self.expected(jnp.asarray(value))) for value in (centre, centre + width, centre - width)
        )
        safe = np.where(here > 0, here, 1.0)
        above, below = (auxiliary * np.where(here > 0, np.maximum(there, 0) / safe, 1.0) for there in (up, down))
        return above, below


class PoissonConstraint(AbstractConstraint):
    """An auxiliary count whose expectation is proportional: `nll = scale z - n ln(scale z)`; the datum is n.

    HistFactory's `shapesys`, where scale is `(content / uncertainty)^2` (CERN-OPEN-2012-016). n need not be whole.
    """

    nuisance: str = eqx.field(static=True)
    scale: float
    measured: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Refuse a width that is none."""
        _check_positive(f"Poisson constraint on '{self.nuisance}'", scale=self.scale)

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return the Poisson terms that depend on z."""
        expected = self.scale * jnp.maximum(z, 1e-300)
        return expected - jsp.xlogy(auxiliary[0], expected)

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw a Poisson count."""
        expected = jnp.asarray(self.scale * z)
        return jax.random.poisson(key, expected, dtype=jnp.int32).astype(expected.dtype)[None]

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return `[scale z]`."""
        return (self.scale * jnp.asarray(z))[None]

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return scale / z."""
        return self.scale / z

    def centre(self, auxiliary: np.ndarray, span: tuple[float, float]) -> float:
        """Return n / scale, which may lie beyond `span`."""
        return float(auxiliary[0] / self.scale)


class UniformConstraint(AbstractConstraint):
    """No preference within the nuisance's range, whose ends the fit keeps; pseudo-experiments start at the truth.

    In a likelihood it says no more than `NoConstraint`; the name records what was meant.
    """

    nuisance: str = eqx.field(static=True)
    measured: ClassVar[bool] = False

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return zero."""
        return jnp.zeros_like(z)

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return an empty array: there is no auxiliary measurement."""
        return jnp.zeros((0,), jnp.result_type(float))

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return an empty array."""
        return jnp.zeros((0,), jnp.result_type(float))

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return zero."""
        return jnp.zeros_like(z)


class LogNormalConstraint(AbstractConstraint):
    """`nll = (ln z - ln centre)^2 / (2 ln(kappa)^2)`, for a nuisance that is a positive factor.

    The auxiliary datum is ln centre, normally distributed: its density carries no Jacobian in z.
    """

    nuisance: str = eqx.field(static=True)
    kappa: float
    measured: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Refuse a width that is none."""
        if not 1 < self.kappa < math.inf:
            raise ConfigError(
                f"log-normal constraint on '{self.nuisance}': kappa is {self.kappa:g}; it must exceed 1 (1.1 is 10 %)"
            )

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return half the squared pull of ln z; infinite where z is not positive."""
        safe = jnp.where(z > 0, z, 1.0)
        pull = (jnp.log(safe) - auxiliary[0]) / jnp.log(self.kappa)
        return jnp.where(z > 0, 0.5 * pull**2, jnp.inf)

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw ln centre from N(ln z, ln kappa)."""
        return (jnp.log(z) + jnp.log(self.kappa) * jax.random.normal(key, (), jnp.result_type(float)))[None]

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return `[ln z]`."""
        return jnp.log(jnp.asarray(z))[None]

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return 1 / (z ln kappa)^2."""
        return 1 / (z * jnp.log(self.kappa)) ** 2

    def centre(self, auxiliary: np.ndarray, span: tuple[float, float]) -> float:
        """Return the observed centre, which may lie beyond `span`."""
        return float(np.exp(auxiliary[0]))

    def deviations(self, nominal: float) -> Deviations:
        """Return the map `nominal kappa^alpha`."""
        return Deviations(nominal, math.log(self.kappa), math.log(self.kappa), logarithmic=True)


class AsymmetricGaussianConstraint(AbstractConstraint):
    """A value quoted as `centre +up -down`: half the squared pull, in units of `up` above and `down` below.

    The two halves meet with equal value and slope at the centre. The auxiliary datum is the centre; it
    is drawn so that the pull of the true value is normal, which keeps the coverage of the quoted interval.
    """

    nuisance: str = eqx.field(static=True)
    down: float
    up: float
    measured: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Refuse a width that is none."""
        _check_positive(f"asymmetric Gaussian constraint on '{self.nuisance}'", down=self.down, up=self.up)

    def nll(self, z: Float[Array, ""], auxiliary: Float[Array, " auxiliary"]) -> Float[Array, ""]:
        """Return half the squared pull."""
        distance = z - auxiliary[0]
        return 0.5 * (distance / jnp.where(distance >= 0, self.up, self.down)) ** 2

    def draw(self, key: Key[Array, ""], z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Draw a centre: z lies `up` widths above it or `down` widths below."""
        pull = jax.random.normal(key, (), jnp.result_type(float))
        return (z - pull * jnp.where(pull >= 0, self.up, self.down))[None]

    def asimov(self, z: Float[Array, ""]) -> Float[Array, " auxiliary"]:
        """Return `[z]`."""
        return jnp.asarray(z)[None]

    def information(self, z: Float[Array, ""]) -> Float[Array, ""]:
        """Return 1 / (up down), between the two curvatures."""
        return jnp.full_like(z, 1 / (self.up * self.down))

    def centre(self, auxiliary: np.ndarray, span: tuple[float, float]) -> float:
        """Return the observed centre, which may lie beyond `span`."""
        return float(auxiliary[0])

    def shifted(self, auxiliary: np.ndarray, centre: float, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre moved by its two quoted uncertainties."""
        return auxiliary + self.up, auxiliary - self.down

    def deviations(self, nominal: float) -> Deviations:
        """Return the map `nominal + up alpha above, nominal + down alpha below`."""
        return Deviations(nominal, self.up, self.down)
