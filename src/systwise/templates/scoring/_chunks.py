"""Events a chunk at a time, each with the number of the network that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from systwise.errors import ConfigError, TemplateError
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable


class Chunks:
    """Events in chunks of one shape, made of blocks that each belong to one fold."""

    def __init__(
        self, table: EventTable, index: np.ndarray, fold_of: np.ndarray | None, block: int, chunk: int
    ) -> None:
        if len(index) == 0:
            raise TemplateError(f"there are no events to score in {table.source}; check the split")
        self._table = table
        folds = np.zeros(len(index), np.int32) if fold_of is None else fold_of[index].astype(np.int32)
        # Small inputs in small blocks, else padding would cost more than the events.
        block = min(block, max(256, _round_up(-(-len(index) // (4 * len(np.unique(folds)))))))
        rows, block_folds = [], []
        for fold in np.unique(folds):
            part = index[folds == fold]
            padded = np.full(-(-len(part) // block) * block, -1, np.int64)
            padded[: len(part)] = part
            rows.append(padded.reshape(-1, block))
            block_folds.append(np.full(len(rows[-1]), fold, np.int32))
        self._rows, self._folds = np.concatenate(rows), np.concatenate(block_folds)
        # Rounded, so that splits of nearly the same size share a compilation.
        chunks = -(-len(self._rows) // max(1, chunk // block))
        self._depth = _round_up(-(-len(self._rows) // chunks))

    def __iter__(self) -> Iterator[tuple[Events, Bool[Array, " event"], Int[Array, " block"], int]]:
        """Yield events, which of them are real, the fold of each block, and the number of real ones."""
        for start in range(0, len(self._rows), self._depth):
            rows, folds = self._rows[start : start + self._depth], self._folds[start : start + self._depth]
            missing = self._depth - len(rows)
            rows = np.pad(rows, ((0, missing), (0, 0)), constant_values=-1).reshape(-1)
            live = rows >= 0
            events = self._table.slice(np.where(live, rows, rows[0]))
            yield events, jnp.asarray(live), jnp.asarray(np.pad(folds, (0, missing), mode="edge")), int(live.sum())


def _round_up(count: int) -> int:
    """Return the next number with at most four significant bits: at most 12.5 % above."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def in_order(
    work: Callable[[Events, Int[Array, ""]], Sequence[Array | np.ndarray]],
    table: EventTable,
    index: Int[np.ndarray, " event"],
    folds: Int[np.ndarray, " event"],
    size: int,
    told: Callable[[int], None] = lambda done: None,
) -> list[np.ndarray]:
    """Return arrays with one row an event at `index`, each worked on with the number of its network.

    Args:
        work: `work(events, fold)` returns arrays `[event, ...]`; it is given exactly `size` events, the last ones
            filled up.
        table: all events.
        index: rows.
        folds: the network of each event at `index`.
        size: events at a time.
        told: called with the number of events done.
    """
    found: list[np.ndarray] = []
    total = 0
    for fold in np.unique(folds):
        places, done = np.flatnonzero(folds == fold), 0
        for rows, events in table.blocks(np.asarray(index)[places], size):
            parts = [np.asarray(part) for part in work(events, jnp.asarray(fold, jnp.int32))]
            found = found or [np.zeros((len(index), *part.shape[1:]), part.dtype) for part in parts]
            for whole, part in zip(found, parts, strict=True):
                whole[places[done : done + len(rows)]] = part[: len(rows)]
            done, total = done + len(rows), total + len(rows)
            told(total)
    return found


def checked_folds(
    observable: AbstractObservable, index: Int[np.ndarray, " event"], fold_of: Int[np.ndarray, " row"] | None
) -> Int[np.ndarray, " event"]:
    """Return the network of each event at `index`.

    Raises:
        ConfigError: a fold has no network.
    """
    folds = np.zeros(len(index), np.int32) if fold_of is None else np.asarray(fold_of)[index].astype(np.int32)
    if len(folds) and not 0 <= folds.min() <= folds.max() < observable.folds:
        raise ConfigError(
            f"fold_of: fold {folds.max()} has no network, the observable has {observable.folds}; "
            "score with the split it was trained with"
        )
    return folds


def not_a_number(count: int, z: np.ndarray, table: EventTable) -> TemplateError:
    """Return the error of an observable that is not a number for events that count."""
    return TemplateError(
        f"the observable is not a number for {count} events at z={z.tolist()}; check its training and the features "
        f"of {table.source}"
    )
