"""Events on disk, more of them than fit in memory: parts of shuffled rows, each small enough to be held."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pydantic import Field

from systwise.atomic import write_atomically
from systwise.errors import DataError
from systwise.events._table import EventTable
from systwise.settings import Settings

FORMAT = "systwise/events/1"
HEADER = "events.json"


class StreamSettings(Settings):
    """When events stay on disk, and in what portions they are read from there."""

    above: int = Field(5_000_000, ge=0)
    """Events that are kept in memory at most; more are streamed from disk, where the case can do that."""
    part: int = Field(500_000, ge=1000)
    """Events in memory at a time while streaming."""
    sample: int = Field(1_000_000, ge=1000)
    """Events of a random sample that stays in memory: for scalers, early stopping, the choice of bins, figures."""


@dataclasses.dataclass(frozen=True)
class EventStore:
    """A folder of event tables, the parts; which rows are in which part is random, so that each is a fair sample.

    Attributes:
        folder: where they lie.
        rows: events in each part.
        feature_names, component_names, processes, source, fingerprint, notes: as in `EventTable`.
        columns: number of further columns.
    """

    folder: Path
    rows: tuple[int, ...]
    feature_names: tuple[str, ...]
    component_names: tuple[str, ...]
    processes: tuple[str, ...]
    source: str
    fingerprint: str
    notes: tuple[str, ...]
    columns: int

    def __len__(self) -> int:
        """Return the number of events."""
        return sum(self.rows)

    @staticmethod
    def open(folder: Path) -> EventStore | None:
        """Return the store in a folder, None where there is none.

        Raises:
            DataError: it is damaged.
        """
        path = Path(folder) / HEADER
        if not path.exists():
            return None
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
            if header.pop("format") != FORMAT:
                return None
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header.items()}
            return EventStore(Path(folder), **fields)
        except (ValueError, TypeError, KeyError, UnicodeDecodeError):
            raise DataError(f"{path}: is damaged; delete the folder, and the events are read again") from None

    def part(self, number: int) -> EventTable:
        """Read one part.

        Raises:
            DataError: the file is missing or damaged.
        """
        file = _read(self._path(number), None)
        count = self.rows[number]
        if file.num_rows != count:
            raise self._damaged(number)

        def rows(word: str, width: int) -> np.ndarray:
            # One row an event: the training gathers rows.
            block = np.empty((count, width), np.float32)
            for place in range(width):
                block[:, place] = file.column(f"{word}_{place}").to_numpy()
            return block

        return EventTable(
            features=rows("feature", len(self.feature_names)),
            weights=rows("weight", len(self.component_names)),
            process=file.column("process").to_numpy(),
            id=file.column("id").to_numpy(),
            feature_names=self.feature_names,
            component_names=self.component_names,
            processes=self.processes,
            source=self.source,
            fingerprint=self.fingerprint,
            columns=rows("column", self.columns) if self.columns else None,
            origin=file.column("origin").to_numpy(),
            notes=self.notes,
        )

    def kin(self, number: int) -> np.ndarray:
        """Read what decides the parts that events of part `number` play, `[event]` int64 (`EventTable.kin`)."""
        return _read(self._path(number), ["origin"]).column("origin").to_numpy()

    def head(self, events: int) -> EventTable:
        """Return the first parts that hold `events` events together, which are a random sample of all."""
        wanted = int(np.searchsorted(np.cumsum(self.rows), min(events, len(self)))) + 1
        return join_tables([self.part(number) for number in range(wanted)])

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"

    def _damaged(self, number: int) -> DataError:
        return DataError(f"{self._path(number)}: is damaged; delete the folder, and the events are read again")


class StoreWriter:
    """Fills a new store part by part; it exists once `finish` was called."""

    def __init__(self, folder: Path) -> None:
        """Make room beside `folder`.

        Raises:
            DataError: nothing can be written there.
        """
        self.folder = Path(folder)
        self.room = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.part")
        self._described: EventTable | None = None
        self._rows: list[int] = []
        try:
            self.room.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.room}: cannot be made ({error.strerror}); name another folder") from None

    def add(self, table: EventTable) -> None:
        """Write the next part."""
        columns = table.columns if table.columns is not None else np.empty((len(table), 0), np.float32)
        arrays = {"id": table.id, "origin": table.kin, "process": table.process}
        for word, block in (("feature", table.features), ("weight", table.weights), ("column", columns)):
            for place in range(block.shape[1]):
                arrays[f"{word}_{place}"] = np.ascontiguousarray(block[:, place])
        path = self.room / f"part-{len(self._rows):05d}.parquet"
        # Numbers that look random are neither compressed nor summarised: it would only cost time at every reading.
        pa.parquet.write_table(
            pa.table(arrays),
            path,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            row_group_size=max(1, len(table)),
        )
        self._rows.append(len(table))
        nothing = np.empty((0, columns.shape[1]), np.float32)
        if self._described is None:  # what describes the events, without the events
            self._described = dataclasses.replace(
                table, features=nothing, weights=nothing, columns=nothing, process=nothing, id=nothing, origin=None
            )

    def finish(self) -> EventStore:
        """Put the store in its place and return it.

        Raises:
            DataError: nothing was added.
        """
        table = self._described
        if table is None or table.columns is None:
            raise DataError(f"{self.folder}: no events; give files that hold some")
        header = {
            "rows": self._rows,
            "feature_names": table.feature_names,
            "component_names": table.component_names,
            "processes": table.processes,
            "source": table.source,
            "fingerprint": table.fingerprint,
            "notes": table.notes,
            "columns": int(table.columns.shape[1]),
        }
        text = json.dumps({"format": FORMAT, **header})
        write_atomically(self.room / HEADER, lambda file: file.write(text.encode()))
        if EventStore.open(self.folder) is None:  # else another process was faster, and may be reading already
            shutil.rmtree(self.folder, ignore_errors=True)
            self.room.replace(self.folder)
        store = EventStore.open(self.folder)
        if store is None:
            raise DataError(f"{self.folder}: vanished while it was written; run again")
        return store

    def give_up(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.room, ignore_errors=True)


def join_tables(tables: Sequence[EventTable]) -> EventTable:
    """Return the rows of tables of one kind, one after the other."""
    first = tables[0]
    if len(tables) == 1:
        return first

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name) for table in tables])

    return dataclasses.replace(
        first,
        features=joined("features"),
        weights=joined("weights"),
        process=joined("process"),
        id=joined("id"),
        columns=None if first.columns is None else joined("columns"),
        origin=None if first.origin is None else joined("origin"),
    )


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        return pa.parquet.read_table(path, columns=columns, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({reason}); delete its folder, and the events are read again"
        ) from error
