"""A nuisance known from samples simulated at other values of it: files of shifted events, rows of one table."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.events._interpolation import AnchorInterpolation
from systwise.events._table import Events
from systwise.events._variation import AbstractVariation, Exactness


class SampleVariation(AbstractVariation):
    """Events of shifted samples stand beside the nominal ones; the nuisance says which of them count.

    At a sample's own value its events count and the nominal ones of its process do not; between samples their
    counts are interpolated, `sum_a c_a(z) T_a` (vertical morphing), which makes coefficients that may be negative.
    Several nuisances of this kind add their differences to the nominal sample.

    Attributes:
        nuisance: its name.
        anchors: values with a sample, the nominal one among them.
        nominal: place of the nominal value among the anchors.
        code: column with the sample of a row: 0 for nominal events, else a number.
        own: first of the columns with the weights of the row in its own sample, one a component.
        first: sample number of the first anchor; nuisances have numbers of their own.
        mirrored: places of anchors without a sample, which take the mirror image of the anchor on the other side.
        processes: whose samples there are, by process code.
    """

    nuisance: str = eqx.field(static=True)
    anchors: tuple[float, ...] = eqx.field(static=True)
    nominal: int = eqx.field(static=True)
    code: int = eqx.field(static=True)
    own: int = eqx.field(static=True)
    first: int = eqx.field(static=True)
    processes: tuple[int, ...] = eqx.field(static=True)
    mirrored: tuple[int, ...] = eqx.field(static=True, default=())
    exact: ClassVar[Exactness] = "anchors"

    def coefficients(self, z: Float[Array, " event"]) -> Float[Array, "event anchor"]:
        """Return what each anchor's sample counts for at `z`; anchors without one count through their mirror image."""
        found = AnchorInterpolation(self.anchors)(z)
        for place in self.mirrored:
            other = 2 * self.nominal - place
            # T_-a = 2 T_0 - T_a.
            found = found.at[:, self.nominal].add(2 * found[:, place]).at[:, other].add(-found[:, place])
            found = found.at[:, place].set(0)
        return found

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Give each row the weight that its sample has at `z`."""
        counts = self.coefficients(z)
        kinds = events.weights.shape[1]
        own = events.columns[:, self.own : self.own + kinds]
        sample = events.columns[:, self.code].astype(jnp.int32) - self.first
        here = jnp.isin(events.process, jnp.array(self.processes))
        mine = here & (sample >= 0) & (sample < len(self.anchors))
        shifted = jnp.take_along_axis(counts, jnp.clip(sample, 0, len(self.anchors) - 1)[:, None], axis=1)
        varied = here & (events.columns[:, self.code] == 0)
        # 1 + (c_0 - 1) of each nuisance: differences add.
        nominal = events.weights + own * jnp.where(varied, counts[:, self.nominal] - 1, 0)[:, None]
        weights = jnp.where(mine[:, None], own * shifted, nominal)
        return eqx.tree_at(lambda e: e.weights, events, weights)


class WeightVariation(AbstractVariation):
    """A nuisance known from weight columns: `w(z) = w(0) exp(sum_a c_a(z) ln r_a)`, exact at its anchors.

    Attributes:
        nuisance: its name.
        anchors: values with a weight column, the nominal one among them.
        nominal: place of the nominal value among the anchors.
        first: first of the columns with `ln r_a`, one an anchor except the nominal one.
    """

    nuisance: str = eqx.field(static=True)
    anchors: tuple[float, ...] = eqx.field(static=True)
    nominal: int = eqx.field(static=True)
    first: int = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply the weights by their ratio at `z`."""
        counts = AnchorInterpolation(self.anchors)(z)
        others = jnp.array([a for a in range(len(self.anchors)) if a != self.nominal])
        logs = events.columns[:, self.first : self.first + len(self.anchors) - 1]
        factor = jnp.exp(jnp.sum(counts[:, others] * logs, axis=1))
        return eqx.tree_at(lambda e: e.weights, events, events.weights * factor[:, None])
