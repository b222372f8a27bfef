"""Which nuisance values an event is trained at where samples exist at a few values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from systwise.cases.analysis.reading._layout import CODE
from systwise.events import Events, SampleVariation
from systwise.parameters import Nuisance


@dataclasses.dataclass(frozen=True)
class Star:
    """The nominal point and the points with one nuisance moved to a value of which there are samples.

    In training each point is equally likely for every process, so that nothing tells a class by the nuisance
    values. A row of a shifted sample is seen at its point; a nominal row at the points to which its process has no
    sample of its own, and each row counts for the probability of its points: no event is wasted.

    Attributes:
        nuisance: `[point]` number of the nuisance that is moved, -1 at the nominal point, which comes first.
        value: `[point]` the value it is moved to.
        nominal_rows: `[process, point]` whether nominal rows of a process stand for the point.
        point_of: `[sample]` the point of each sample's number, 0 where training has no use for it.
        moved: numbers of the nuisances that have samples.
        centre: their nominal values, as all nuisances', `[nuisance]`.
    """

    nuisance: np.ndarray
    value: np.ndarray
    nominal_rows: np.ndarray
    point_of: np.ndarray
    moved: tuple[int, ...]
    centre: np.ndarray

    def settle(
        self,
        events: Events,
        z: Float[Array, "event nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "event nuisance"], Float[Array, " event"]]:
        """Return the values at which each row is seen, and what it counts for.

        Args:
            events: rows of the table.
            z: values that were drawn; those of nuisances with samples are drawn anew, unless they are constant.
            low: lowest values of the draw.
            high: highest values of the draw.
            key: of the draw.
        """
        active = self._active(low, high)
        allowed = jnp.asarray(self.nominal_rows)[events.process] & active
        count = allowed.sum(axis=1)
        chosen = _chosen(allowed, key)
        code = events.columns[:, CODE].astype(jnp.int32)
        own = jnp.asarray(self.point_of)[code]
        chosen = jnp.where(code > 0, jnp.where(active[own], own, 0), chosen)
        share = jnp.where(code > 0, 1, count) / active.sum()
        return self._at(z, chosen, low < high), share

    def settle_points(
        self,
        z: Float[Array, "point nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> Float[Array, "point nuisance"]:
        """Return hypotheses among which each point of training is equally likely; arguments as those of `settle`."""
        active = self._active(low, high)
        return self._at(z, _chosen(jnp.broadcast_to(active, (z.shape[0], active.shape[0])), key), low < high)

    def _active(self, low: Float[Array, " nuisance"], high: Float[Array, " nuisance"]) -> Bool[Array, " point"]:
        """Return which points lie within the draw."""
        value, which = jnp.asarray(self.value, low.dtype), jnp.asarray(self.nuisance)
        within = (value >= low[which] - 1e-6) & (value <= high[which] + 1e-6)
        return (which < 0) | ((low < high)[which] & within)

    def _at(
        self, z: Float[Array, "row nuisance"], chosen: Int[Array, " row"], free: Bool[Array, " nuisance"]
    ) -> Float[Array, "row nuisance"]:
        """Return nuisance values with those that have samples at the chosen points, unless they are constant."""
        value, which = jnp.asarray(self.value, z.dtype), jnp.asarray(self.nuisance)
        for j in self.moved:
            at = jnp.where(which[chosen] == j, value[chosen], self.centre[j])
            z = z.at[:, j].set(jnp.where(free[j], at, z[:, j]))
        return z


def _chosen(allowed: Bool[Array, "row point"], key: Key[Array, ""]) -> Int[Array, " row"]:
    """Return one of each row's allowed points, all equally likely."""
    count = allowed.sum(axis=1)
    uniform = jax.random.uniform(key, (allowed.shape[0],), jnp.float32)
    rank = jnp.minimum((uniform * count).astype(jnp.int32), count - 1)
    return jnp.argmax(jnp.cumsum(allowed, axis=1) > rank[:, None], axis=1)


def build_star(nuisances: Sequence[Nuisance], variations: Sequence[SampleVariation], processes: int) -> Star:
    """Return the points of training for variations by samples.

    Where several variations of one nuisance have samples at different values, the common values are used.
    """
    names = [nuisance.name for nuisance in nuisances]
    values: dict[int, set[float]] = {}
    for variation in variations:
        kept = range(len(variation.anchors))
        own = {variation.anchors[a] for a in kept if a not in (variation.nominal, *variation.mirrored)}
        j = names.index(variation.nuisance)
        values[j] = values[j] & own if j in values else own
    points = [(-1, 0.0), *((j, value) for j, found in values.items() for value in sorted(found))]
    rows = np.ones((processes, len(points)), bool)
    point_of = np.zeros(1 + sum(len(v.anchors) for v in variations), np.int32)
    for variation in variations:
        j = names.index(variation.nuisance)
        for number, (nuisance, value) in enumerate(points):
            if nuisance == j:
                rows[list(variation.processes), number] = False
                point_of[variation.first + variation.anchors.index(value)] = number
    return Star(
        np.array([j for j, _ in points]),
        np.array([value for _, value in points], np.float32),
        rows,
        point_of,
        tuple(values),
        np.array([nuisance.nominal for nuisance in nuisances], np.float32),
    )
