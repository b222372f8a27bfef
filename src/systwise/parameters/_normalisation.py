"""Normalisations: nuisances that change the yield of components and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """A factor on the yields of some components, exact in the fit and never morphed.

    Attributes:
        nuisance: name of the nuisance (kind `norm`).
        components: names of the components it multiplies.
        kind: `linear`: the factor is the nuisance itself, nominal 1; `lognormal`: `up^z` for z >= 0 and
            `down^-z` below, nominal 0 (HistFactory's exponential interpolation, arXiv:1007.1727).
        up: factor at z = +1 (`lognormal`).
        down: factor at z = -1 (`lognormal`); 1/up where None.
    """

    nuisance: str
    components: tuple[str, ...]
    kind: Literal["linear", "lognormal"] = "linear"
    up: float = 1.0
    down: float | None = None

    def __post_init__(self) -> None:
        """Refuse factors that cannot be raised to a power."""
        if not self.components:
            raise ConfigError(f"normalisation '{self.nuisance}': name at least one component")
        if self.up <= 0 or (self.down is not None and self.down <= 0):
            raise ConfigError(f"normalisation '{self.nuisance}': factors up and down must be above zero")

    @property
    def nominal(self) -> float:
        """The nuisance value at which the factor is 1."""
        return 1.0 if self.kind == "linear" else 0.0

    @property
    def factors(self) -> tuple[float, float]:
        """Factors at z = -1 and z = +1 (`lognormal`)."""
        return (1 / self.up if self.down is None else self.down, self.up)

    def factor(self, z: Float[Array, "*point"]) -> Float[Array, "*point"]:
        """Return the factor at nuisance values `z`, any shape.

        >>> round(float(Normalisation("lumi", ("background",), "lognormal", up=1.1).factor(jnp.array(1.0))), 4)
        1.1
        """
        if self.kind == "linear":
            return z
        down, up = self.factors
        return jnp.where(z >= 0, jnp.asarray(up, z.dtype) ** z, jnp.asarray(down, z.dtype) ** -z)
