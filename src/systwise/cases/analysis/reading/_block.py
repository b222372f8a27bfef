"""Events of a file as a region of an analysis sees them, from blocks of its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._load import Loader, Reader
from systwise.cases.analysis.reading._read import Rows, Source, columns_of, selected
from systwise.events import EventTable, Expression


class FileEvents:
    """Applies features and selection of a region to blocks of a file.

    Attributes:
        columns: what a block must hold.
    """

    def __init__(
        self, settings: AnalysisSettings, source: Source, make: Callable[[Reader], Loader], path: Path
    ) -> None:
        """Find the columns.

        Args:
            settings: of the analysis.
            source: the file as a sample, see `Sources.file`.
            make: returns a loader that reads as it is told.
            path: of the file.
        """
        self._settings, self._source, self._make, self._path = settings, source, make, path
        wanted = [source.weight, *make(self._nothing).wanted(source)]
        names, self._whole = columns_of(settings, source, wanted)
        self.columns: tuple[str, ...] = tuple(names)

    @staticmethod
    def _nothing(source: Source, expressions: Sequence[Expression]) -> Rows:
        raise RuntimeError("columns are asked for before there are events")

    def of(self, block: Mapping[str, np.ndarray], first: int) -> tuple[Bool[np.ndarray, " row"], EventTable | None]:
        """Return which rows of a block the region selects, and their events; None where there is none.

        Args:
            block: `[row]` values of the columns.
            first: number of the first row, which counts where there is no event id.

        Raises:
            DataError: a value that counts is NaN.
        """
        count = len(next(iter(block.values())))
        kept = np.zeros(count, bool)
        columns = {
            name: np.asarray(values, np.int64 if name in self._whole else np.float64) for name, values in block.items()
        }

        def read(source: Source, expressions: Sequence[Expression]) -> Rows:
            nonlocal kept
            wanted = list(dict.fromkeys([source.weight, *expressions]))
            row = np.arange(first, first + count)
            rows, kept = selected(self._settings, source, wanted, columns, row, self._path)
            return rows

        table = self._make(read).count(self._source)
        return kept, table if kept.any() else None
