"""What is known of several nuisances together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.errors import ConfigError


class CorrelatedGaussian(eqx.Module):
    """One Gaussian for several nuisances: `nll = (z - a)^T C^-1 (z - a) / 2`; the auxiliary data are the centres.

    Attributes:
        nuisances: names, in the order of the covariance.
        covariance: `[nuisance, nuisance]` as nested tuples, positive definite.
    """

    nuisances: tuple[str, ...] = eqx.field(static=True)
    covariance: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    measured: ClassVar[bool] = False

    def __init__(self, nuisances: Sequence[str], covariance: Any) -> None:
        """Check and keep names and covariance.

        Raises:
            ConfigError: the matrix has another shape, is not symmetric or not positive definite.
        """
        matrix = np.asarray(covariance, dtype=np.float64)
        names = tuple(nuisances)
        who = f"correlated constraint on {', '.join(names)}"
        if matrix.shape != (len(names), len(names)):
            raise ConfigError(f"{who}: covariance has shape {matrix.shape} where {(len(names),) * 2} is needed")
        if not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
            raise ConfigError(f"{who}: the covariance must be finite and symmetric")
        smallest = float(np.linalg.eigvalsh(matrix)[0])
        if smallest <= 1e-12 * float(np.trace(matrix)):
            raise ConfigError(
                f"{who}: the covariance is not positive definite (smallest eigenvalue {smallest:.3g}); "
                "check signs and correlations, or drop a nuisance that others determine"
            )
        self.nuisances = names
        self.covariance = tuple(tuple(float(v) for v in row) for row in matrix)

    @property
    def precision(self) -> np.ndarray:
        """The inverse covariance, `[nuisance, nuisance]` float64."""
        return np.linalg.inv(np.asarray(self.covariance))

    def draw(self, key: Key[Array, ""], z: Float[Array, " nuisance"]) -> Float[Array, " nuisance"]:
        """Draw centres from N(z, C)."""
        root = np.linalg.cholesky(np.asarray(self.covariance))
        return z + root @ jax.random.normal(key, z.shape, jnp.result_type(float))

    def asimov(self, z: Float[Array, " nuisance"]) -> Float[Array, " nuisance"]:
        """Return `z`."""
        return jnp.asarray(z)

    @property
    def observed(self) -> bool:
        """There always is an observation."""
        return True

    def information_matrix(self, z: np.ndarray) -> np.ndarray:
        """Return the inverse covariance, `[nuisance, nuisance]`, whatever `z` `[nuisance]` is."""
        return self.precision

    def record(self) -> dict[str, Any]:
        """Return kind, nuisances and covariance, for a file."""
        return {"kind": type(self).__name__, "nuisances": list(self.nuisances), "covariance": self.covariance}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CorrelatedGaussian:
        """Return the constraint of a record."""
        return cls(tuple(record["nuisances"]), np.asarray(record["covariance"]))
