"""The exact optimum of a case as an observable: the yardstick of everything learned."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from systwise.cases import AbstractCase
from systwise.events import Events
from systwise.learn.ratios._ratio import AbstractRatioObservable


class TruthObservable(AbstractRatioObservable):
    """The exact optimum of a case, at the hypothesised nuisances (`moving`) or at the nominal ones.

    It never saw an event, so it serves any number of folds.
    """

    case: AbstractCase = eqx.field(static=True)
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return the exact logits; no fold saw any event."""
        truth = self.case.truth
        if truth is None:
            raise TypeError(f"case '{self.case.name}' has no known optimum")
        nominal = jnp.array([nuisance.nominal for nuisance in self.case.nuisances], z.dtype)[: z.shape[-1]]
        return truth.logit(events.features, z if self.moving else jnp.broadcast_to(nominal, z.shape))

    def log_ratios(
        self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
    ) -> Float[Array, "event component"]:
        """Return the exact log-densities; no fold saw any event."""
        truth = self.case.truth
        if truth is None:
            raise TypeError(f"case '{self.case.name}' has no known optimum")
        return truth.log_density(events.features, z)
