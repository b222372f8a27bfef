"""Too many events for memory: their columns are dealt to portions on disk, which are then loaded one by one.

Every source (a sample, or a shifted one) is read once, block by block. A row's portion follows from a hash of its
event id, so that shifted copies of an event stand together and every portion is a fair sample of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from systwise.cases._case import Progress
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._read import Rows, Source, check_ids, check_kept, source_blocks
from systwise.events import Expression, hash_ids

BUFFERED = 262_144
"""Rows that are held before they are dealt out."""


@dataclasses.dataclass
class _Staged:
    """What is known of a source whose rows lie on disk."""

    number: int
    names: tuple[str, ...]
    read: int = 0
    total: float = 0.0
    kept: int = 0


class Stage:
    """Portions of the sources of an analysis.

    The first time a source is asked for, it is read and dealt out; all sources must be asked for in portion 0.

    Attributes:
        portions: how many there are.
        portion: which one is read at present.
    """

    def __init__(self, folder: Path, portions: int, settings: AnalysisSettings, progress: Progress) -> None:
        """Keep where portions lie."""
        self.portions, self.portion = portions, 0
        self._folder, self._settings, self._progress = folder, settings, progress
        self._sources: dict[tuple[str, str], _Staged] = {}

    def read(self, source: Source, expressions: Sequence[Expression]) -> Rows:
        """Return the rows of a source that belong to the present portion, once.

        `Rows.read` and `Rows.total` are those of the whole source.

        Raises:
            DataError: a file or column is missing or damaged; event ids are repeated; a value that counts is NaN.
        """
        key = (source.where, source.label)
        if key not in self._sources:
            self._sources[key] = self._deal(len(self._sources), source, expressions)
        staged = self._sources[key]
        path = self._path(staged.number, self.portion)
        width = len(staged.names) + 1
        found = np.fromfile(path, np.float64).reshape(-1, width) if path.exists() else np.empty((0, width))
        path.unlink(missing_ok=True)
        ids = np.ascontiguousarray(found[:, 0]).view(np.int64)
        check_ids(source, ids)
        values = {name: np.ascontiguousarray(found[:, 1 + i]) for i, name in enumerate(staged.names)}
        return Rows(values, ids, staged.read, staged.total)

    def _path(self, number: int, portion: int) -> Path:
        return self._folder / f"{number:04d}-{portion:05d}.rows"

    def _deal(self, number: int, source: Source, expressions: Sequence[Expression]) -> _Staged:
        staged: _Staged | None = None
        waiting: list[np.ndarray] = []
        held = 0
        for rows in source_blocks(self._settings, source, expressions, self._progress):
            staged = staged or _Staged(number, tuple(rows.values))
            staged.read += rows.read
            staged.total += rows.total
            staged.kept += len(rows.ids)
            waiting.append(np.column_stack([rows.ids.view(np.float64), *rows.values.values()]))
            held += len(rows.ids)
            if held >= BUFFERED:
                self._write(number, waiting)
                waiting, held = [], 0
        self._write(number, waiting)
        if staged is None:
            raise TypeError("a source yields one block at least")
        check_kept(source, staged.read, staged.kept)
        return staged

    def _write(self, number: int, waiting: list[np.ndarray]) -> None:
        """Append rows to the files of their portions."""
        rows = np.concatenate(waiting)
        ids = np.ascontiguousarray(rows[:, 0]).view(np.int64)
        portion = (hash_ids(ids, "portion") % np.uint64(self.portions)).astype(np.int64)
        order = np.argsort(portion, kind="stable")
        ends = np.searchsorted(portion[order], np.arange(self.portions + 1))
        sorted_rows = rows[order]
        for p in np.flatnonzero(np.diff(ends)):
            with self._path(number, int(p)).open("ab") as file:
                sorted_rows[ends[p] : ends[p + 1]].tofile(file)
