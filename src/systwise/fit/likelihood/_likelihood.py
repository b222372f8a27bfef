"""The likelihood of all regions together: one function, its gradient and its Hessian, at one point."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.fit.likelihood._bins import BinnedData, Bins, Terms
from systwise.fit.likelihood._constraint_terms import ConstraintTerms
from systwise.fit.likelihood._events import EventData, Events


class Observed(NamedTuple):
    """One data set as the likelihood reads it; binned leaves of a stack have a leading axis of data sets.

    Attributes:
        regions: one entry a region, in the likelihood's order.
        auxiliary: as `ConstraintTerms.arranged`.
    """

    regions: tuple[BinnedData | EventData, ...]
    auxiliary: tuple[Array | np.ndarray, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """What the compiled functions need of a model; parameters of interest first, then nuisances.

    Attributes:
        regions: bins and events.
        constraints: all constraints.
        low: lower ends of the parameters' ranges, `[parameter]`.
        high: upper ends.
        reach: longest Newton step in each parameter, `[parameter]`.
        pois: number of parameters of interest.
    """

    regions: tuple[Bins | Events, ...]
    constraints: ConstraintTerms
    low: Float[Array | np.ndarray, " parameter"]
    high: Float[Array | np.ndarray, " parameter"]
    reach: Float[Array | np.ndarray, " parameter"]
    pois: int = dataclasses.field(metadata={"static": True})

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.low.shape[0]

    @property
    def binned(self) -> bool:
        """Whether all regions are binned."""
        return all(isinstance(region, Bins) for region in self.regions)

    def terms(self, observed: Observed, x: Float[Array, " parameter"]) -> Terms:
        """Return NLL, gradient `[parameter]` and Hessian `[parameter, parameter]` of one data set at x.

        Terms in fixed counts alone are left out (`constant`); infinite where an expected count is not positive.
        """
        value, slope, bend = self.constraints.terms(x[self.pois :], observed.auxiliary)
        gradient = jnp.concatenate([jnp.zeros(self.pois, x.dtype), slope])
        hessian = jnp.pad(bend, ((self.pois, 0), (self.pois, 0)))
        for region, data in zip(self.regions, observed.regions, strict=True):
            terms = region.terms(data, x)  # type: ignore[arg-type]
            value, gradient, hessian = value + terms.value, gradient + terms.gradient, hessian + terms.hessian
        return Terms(value, gradient, hessian)

    def value(self, observed: Observed, x: Float[Array, " parameter"]) -> Array:
        """Return the NLL alone."""
        # What only the derivatives need is dropped by the compiler.
        return self.terms(observed, x).value

    def constant(self, observed: Observed) -> Array:
        """Return the terms in fixed counts alone."""
        return sum(
            (r.constant(d) for r, d in zip(self.regions, observed.regions, strict=True)),  # type: ignore[arg-type]
            jnp.zeros(()),
        )

    def smallest(self, observed: Observed, x: Float[Array, " parameter"]) -> Array:
        """Return the smallest expected count of a bin, or share of an event's density, at x."""
        lowest = jnp.asarray(jnp.inf)
        for region, data in zip(self.regions, observed.regions, strict=True):
            if isinstance(region, Bins):
                here = jnp.min(jnp.where(jnp.asarray(region.real), region.expected(x), jnp.inf))
            else:
                here = region.smallest(data, x)  # type: ignore[arg-type]
            lowest = jnp.minimum(lowest, here)
        return lowest
