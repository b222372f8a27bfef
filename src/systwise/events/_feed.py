"""Training events in chunks of one size, shuffled, pass after pass: from memory or from disk."""

from __future__ import annotations

import abc
import concurrent.futures
import dataclasses
from collections.abc import Iterator

import numpy as np

from systwise.events._splits import SplitSettings, split_part, training_rows
from systwise.events._store import EventStore, join_tables
from systwise.events._table import Events, EventTable


class AbstractFeed(abc.ABC):
    """The events on which a network descends."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """Events in a pass."""

    @abc.abstractmethod
    def chunks(self, size: int, seed: np.random.SeedSequence, skip: int = 0) -> Iterator[Events]:
        """Yield `size` events at a time, without end, each pass in a new order that follows from the seed.

        Args:
            size: events in a chunk.
            seed: of the order.
            skip: chunks to leave out at the beginning, for a training that goes on.
        """


@dataclasses.dataclass(frozen=True)
class TableFeed(AbstractFeed):
    """Events in memory.

    Attributes:
        table: all events.
        index: rows to train on.
    """

    table: EventTable
    index: np.ndarray

    @property
    def count(self) -> int:
        """Events in a pass."""
        return len(self.index)

    def chunks(self, size: int, seed: np.random.SeedSequence, skip: int = 0) -> Iterator[Events]:
        """Yield chunks of the table in a random order of all its rows."""
        generator = np.random.Generator(np.random.Philox(seed))
        left = np.empty(0, self.index.dtype)
        while True:
            while len(left) < size:
                left = np.concatenate([left, generator.permutation(self.index)])
            if skip:
                skip -= 1
            else:
                yield self.table.slice(left[:size])
            left = left[size:]


@dataclasses.dataclass(frozen=True)
class StoreFeed(AbstractFeed):
    """Events on disk: parts in random order, the rows of each in random order.

    Rows were dealt to parts at random, so this is as good as an order of all rows. The next part is read while
    the present one is trained on.

    Attributes:
        store: all events.
        settings: who plays which part.
        scheme: how the events are split.
        fold: the network.
        counts: training events in each part of the store.
    """

    store: EventStore
    settings: SplitSettings
    scheme: str
    fold: int
    counts: tuple[int, ...]

    @classmethod
    def of(cls, store: EventStore, settings: SplitSettings, scheme: str, fold: int) -> StoreFeed:
        """Count the training events of a network, which needs the ids only."""
        numbers = range(len(store.rows))
        counts = tuple(int(training_rows(store.kin(n), settings, scheme, fold).sum()) for n in numbers)
        return cls(store, settings, scheme, fold, counts)

    @property
    def count(self) -> int:
        """Events in a pass."""
        return sum(self.counts)

    def chunks(self, size: int, seed: np.random.SeedSequence, skip: int = 0) -> Iterator[Events]:
        """Yield chunks; parts that are skipped are not read."""
        waiting: list[EventTable] = []
        held = 0
        with concurrent.futures.ThreadPoolExecutor(1) as reader:
            for table in self._ahead(reader, seed, skip * size):
                waiting.append(table)
                held += len(table)
                while held >= size:
                    taken, waiting = _take(waiting, size)
                    held -= size
                    yield taken.slice(slice(0, size))

    def _ahead(
        self, reader: concurrent.futures.Executor, seed: np.random.SeedSequence, skip: int
    ) -> Iterator[EventTable]:
        """Yield shuffled training events of one part after the other, one part read ahead."""
        order = self._order(seed, skip)
        ready = reader.submit(self._shuffled, *next(order))
        for following in order:
            table = ready.result()
            ready = reader.submit(self._shuffled, *following)
            yield table

    def _order(self, seed: np.random.SeedSequence, skip: int) -> Iterator[tuple[int, int, int]]:
        """Yield parts, the seed of each one's order, and how many of its events come first and are skipped."""
        generator = np.random.Generator(np.random.Philox(seed))
        while True:
            for number in generator.permutation(len(self.counts)).tolist():
                own = int(generator.integers(2**63))
                if self.counts[number] <= skip:
                    skip -= self.counts[number]
                    continue
                yield number, own, skip
                skip = 0

    def _shuffled(self, number: int, seed: int, skip: int) -> EventTable:
        table = self.store.part(number)
        rows = split_part(table, self.settings, self.scheme).training(self.fold)
        rows = np.random.Generator(np.random.Philox(seed)).permutation(rows)[skip:]
        return _rows(table, rows)


def _rows(table: EventTable, index: np.ndarray | slice) -> EventTable:
    def rows(array: np.ndarray) -> np.ndarray:
        return array[index] if isinstance(index, slice) else np.take(array, index, axis=0)

    return dataclasses.replace(
        table,
        features=rows(table.features),
        weights=rows(table.weights),
        process=rows(table.process),
        id=rows(table.id),
        columns=None if table.columns is None else rows(table.columns),
        origin=None if table.origin is None else rows(table.origin),
    )


def _take(tables: list[EventTable], size: int) -> tuple[EventTable, list[EventTable]]:
    """Return the first `size` events of tables that hold as many, and what is left of them."""
    found: list[EventTable] = []
    left = list(tables)
    while size:
        first = left.pop(0)
        found.append(_rows(first, slice(0, size)))
        if len(first) > size:
            left.insert(0, _rows(first, slice(size, None)))
        size -= len(found[-1])
    return join_tables(found), left
