"""Normalisations: nuisances that change the yield of components and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

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
        regions: names of the regions in which it acts; all where None, none where empty.
    """

    nuisance: str
    components: tuple[str, ...]
    kind: Literal["linear", "lognormal"] = "linear"
    up: float = 1.0
    down: float | None = None
    regions: tuple[str, ...] | None = None

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

    def within(self, regions: Collection[str]) -> Normalisation | None:
        """Return the factor as it is said of some regions only; None where it acts in none of them."""
        if self.regions is None:
            return self
        own = tuple(name for name in self.regions if name in regions)
        return None if not own else dataclasses.replace(self, regions=None if set(regions) <= set(own) else own)

    @property
    def factors(self) -> tuple[float, float]:
        """Factors at z = -1 and z = +1 (`lognormal`)."""
        return (1 / self.up if self.down is None else self.down, self.up)

    def acts(
        self, components: Sequence[str], regions: Mapping[str, int] | None = None
    ) -> Bool[np.ndarray, "component bin"]:
        """Return where it acts, `[component, bin]`; one bin stands for all where it acts in all regions.

        Args:
            components: names of the component axis.
            regions: names of regions with their numbers of bins, in the bins' order.

        Raises:
            ConfigError: it acts in a region that is not there.
        """
        mine = np.array([name in self.components for name in components])[:, None]
        if self.regions is None:
            return mine
        if not self.regions:
            return np.zeros_like(mine)
        unknown = set(self.regions) - set(regions or ())
        if unknown:
            raise ConfigError(
                f"normalisation '{self.nuisance}': unknown region '{min(unknown)}' (known: "
                f"{', '.join(regions or ()) or 'none'})"
            )
        here = [np.full(bins, name in self.regions) for name, bins in (regions or {}).items()]
        return mine & np.concatenate(here)

    def factor(self, z: Float[Array, "*point"]) -> Float[Array, "*point"]:
        """Return the factor at nuisance values `z`, any shape.

        >>> round(float(Normalisation("lumi", ("background",), "lognormal", up=1.1).factor(jnp.array(1.0))), 4)
        1.1
        """
        if self.kind == "linear":
            return z
        down, up = self.factors
        return jnp.where(z >= 0, jnp.asarray(up, z.dtype) ** z, jnp.asarray(down, z.dtype) ** -z)
