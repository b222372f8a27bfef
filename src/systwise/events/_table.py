"""The event table on the host and its slices on the device."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

NO_PROCESS = -1
"""Code of the events that fill a block."""


class Events(eqx.Module):
    """A slice of events inside a jitted computation.

    Attributes:
        features: `[event, feature]` float32.
        weights: `[event, component]` float32, expected events at the stated luminosity; an event has
            a weight in each component, zero where it does not contribute.
        process: `[event]` codes into the table's process names.
        seed: `[event]` numbers that belong to the event, for random smearing.
        columns: `[event, column]` float32, further numbers that variations of the case need (weight ratios).
    """

    features: Float[Array, "event feature"]
    weights: Float[Array, "event component"]
    process: Int[Array, " event"]
    seed: UInt[Array, " event"]
    columns: Float[Array, "event column"]


@dataclasses.dataclass(frozen=True)
class EventTable:
    """All events of a case at the nominal nuisance values, NumPy arrays on the host.

    Arrays may be memory-mapped: only slices are ever copied. Event ids are 64-bit and stay here,
    since the device would truncate them.

    Attributes:
        features: `[event, feature]` float32.
        weights: `[event, component]` float32.
        process: `[event]` int8 codes into `processes`.
        id: `[event]` int64, stable from run to run.
        feature_names, component_names, processes: names of the axes.
        columns: `[event, column]` float32, further numbers that variations need; None where there are none.
        source: where the events come from (a path or a generator), for messages and records.
        fingerprint: hash of the content or of the generator's settings.
        origin: `[event]` int64, equal for rows that are one simulated event in several samples (nominal and
            shifted): a network must not be trained on one of them and score another; None where all differ.
        notes: what a reader of results should know of these events; printed as warnings.
    """

    features: np.ndarray
    weights: np.ndarray
    process: np.ndarray
    id: np.ndarray
    feature_names: tuple[str, ...]
    component_names: tuple[str, ...]
    processes: tuple[str, ...]
    source: str
    fingerprint: str
    columns: np.ndarray | None = None
    origin: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def kin(self) -> np.ndarray:
        """What decides an event's part in a study, `[event]` int64: its origin, or its id where it has none."""
        return self.id if self.origin is None else self.origin

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.id)

    def slice(self, index: np.ndarray | slice) -> Events:
        """Copy the events at `index` (row numbers or a slice) to the device."""

        def rows(array: np.ndarray) -> np.ndarray:
            # np.take gathers rows several times faster than fancy indexing.
            return array[index] if isinstance(index, slice) else np.take(array, index, axis=0)

        return Events(
            features=jnp.asarray(np.asarray(rows(self.features), np.float32)),
            weights=jnp.asarray(np.asarray(rows(self.weights), np.float32)),
            process=jnp.asarray(np.asarray(rows(self.process), np.int32)),
            seed=jnp.asarray(event_seed(rows(self.kin))),
            columns=self._columns(index),
        )

    def _columns(self, index: np.ndarray | builtins.slice) -> Array:
        if self.columns is None:
            count = len(self.id[index]) if isinstance(index, slice) else len(index)
            return jnp.zeros((count, 0), jnp.float32)
        rows = self.columns[index] if isinstance(index, slice) else np.take(self.columns, index, axis=0)
        return jnp.asarray(np.asarray(rows, np.float32))

    def blocks(self, index: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, Events]]:
        """Yield `(index, events)` of exactly `size` events; the last block is filled with events of no process.

        They weigh nothing, and as no variation acts on them they weigh nothing wherever the events are shifted to.
        """
        for start in range(0, len(index), size):
            part = index[start : start + size]
            missing = size - len(part)
            events = self.slice(np.concatenate([part, np.repeat(part[:1], missing)]) if missing else part)
            if missing:
                live = jnp.arange(size) < len(part)
                weights = jnp.where(live[:, None], events.weights, 0)
                process = jnp.where(live, events.process, NO_PROCESS)
                events = eqx.tree_at(lambda e: (e.weights, e.process), events, (weights, process))
            yield part, events


def event_seed(ids: np.ndarray) -> np.ndarray:
    """Return one uint32 an event, a hash of its id (the low half of `hash_ids`)."""
    return (hash_ids(ids, "seed") & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def hash_ids(ids: np.ndarray, salt: str) -> np.ndarray:
    """Return 64-bit hashes of event ids (the SplitMix64 finaliser), independent for each `salt`.

    >>> int(hash_ids(np.array([1]), "fold")[0]) != int(hash_ids(np.array([1]), "seed")[0])
    True
    """
    start = np.uint64(int.from_bytes(salt.encode()[:8].ljust(8, b"\0"), "little"))
    with np.errstate(over="ignore"):
        x = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def uniform_hash(ids: np.ndarray, salt: str) -> np.ndarray:
    """Return one number in [0, 1) an event, a function of its id and `salt` only."""
    return (hash_ids(ids, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53
