"""What every constraint answers: a new one is a class, and nothing else has to know of it."""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.errors import ConfigError
from systwise.parameters._correlated import CorrelatedGaussian
from systwise.parameters._deviations import Deviations

SEARCHED = 401
"""Values at which a constraint's NLL is evaluated to find its centre, before it is refined."""
REFINED = 4


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

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The constrained nuisances: one, as opposed to `CorrelatedGaussian`."""
        return (self.nuisance,)

    @property
    def observed(self) -> bool:
        """Whether there is an auxiliary observation."""
        return jax.eval_shape(self.asimov, jax.ShapeDtypeStruct((), jnp.result_type(float))).size > 0

    def centre(self, auxiliary: np.ndarray, span: tuple[float, float]) -> float:
        """Return the value in `span` that the auxiliary observation alone prefers, where `nll` is lowest."""
        low, high = span
        best = 0.5 * (low + high)
        for _ in range(REFINED):
            z = np.linspace(low, high, SEARCHED)
            best = float(z[np.nanargmin(np.asarray(_along(self, jnp.asarray(z), jnp.asarray(auxiliary))))])
            step = z[1] - z[0]
            low, high = max(span[0], best - step), min(span[1], best + step)
        return best

    def lowest(self, auxiliary: np.ndarray, span: tuple[float, float]) -> np.ndarray:
        """Return the NLL where each observation is at its best, `[data]`; in `span` unless `centre` looks beyond.

        Args:
            auxiliary: observations, `[data, auxiliary]`.
            span: range of the nuisance.
        """
        best = jnp.asarray([self.centre(own, span) for own in auxiliary])
        return np.asarray(jax.vmap(self.nll)(best, jnp.asarray(auxiliary)))

    def shifted(self, auxiliary: np.ndarray, centre: float, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the auxiliary observation moved up and down by one standard deviation of its own.

        The nuisance's width is carried over by the slope of `asimov`: `auxiliary +- width d(asimov)/dz`.

        Args:
            auxiliary: the observation, `[auxiliary]`.
            centre: what it prefers.
            width: `information^-1/2` there.
        """
        z = jnp.asarray(centre, jnp.result_type(float))
        step = width * np.asarray(jax.jvp(self.asimov, (z,), (jnp.ones_like(z),))[1])
        return auxiliary + step, auxiliary - step

    def information_matrix(self, z: np.ndarray) -> np.ndarray:
        """Return the Fisher information at `z` `[nuisance]`, `[nuisance, nuisance]`."""
        return np.asarray(self.information(jnp.asarray(z[0])), np.float64).reshape(1, 1)

    def deviations(self, nominal: float) -> Deviations | None:
        """Return the nuisance in standard deviations from the observation at `nominal`, where these make it Gaussian.

        None, as here, where no simple variable does.
        """
        return None

    def record(self) -> dict[str, Any]:
        """Return kind, nuisance and numbers, for a file; what is no number, as a formula, is left out."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        numbers = {
            name: float(value)
            for name, value in own.items()
            if isinstance(value, int | float | np.number | np.ndarray | jax.Array) and np.size(value) == 1
        }
        return {"kind": type(self).__name__, "nuisance": self.nuisance, **numbers}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> AbstractConstraint:
        """Return the constraint of a record.

        Raises:
            ConfigError: something of it was left out.
        """
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        missing = [name for name in names if name not in record]
        if missing:
            raise ConfigError(
                f"constraint on '{record['nuisance']}': its {missing[0]} is a formula, which files do not hold; "
                "use a Gaussian constraint, or build the model in Python"
            )
        return cls(**{name: record[name] for name in names})


def constraint_of(record: Mapping[str, Any]) -> AbstractConstraint | CorrelatedGaussian:
    """Return the constraint of a record that its `record` has made; any imported class is found by its name.

    Raises:
        ConfigError: no such class, or a constraint that a file does not hold.
    """
    if record["kind"] == CorrelatedGaussian.__name__:
        return CorrelatedGaussian.from_record(record)
    kinds = {kind.__name__: kind for kind in constraint_kinds()}
    if record["kind"] not in kinds:
        raise ConfigError(
            f"constraint on '{record['nuisance']}': no class '{record['kind']}' (known: {', '.join(sorted(kinds))}); "
            "import the module that defines it"
        )
    return kinds[record["kind"]].from_record(record)


def constraint_kinds() -> list[type[AbstractConstraint]]:
    """Return all final classes of constraints of one nuisance that have been imported."""
    found, waiting = [], list(AbstractConstraint.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind):
            found.append(kind)
    return found


@jax.jit
def _along(
    constraint: AbstractConstraint, z: Float[Array, " value"], auxiliary: Float[Array, " auxiliary"]
) -> Float[Array, " value"]:
    """Return the NLL of one observation along the nuisance."""
    return jax.vmap(lambda value: constraint.nll(value, auxiliary))(z)
