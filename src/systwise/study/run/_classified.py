"""Where single events of files fall in a finished run: region, fold, score, and bin or cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from systwise.cases import FileEvents
from systwise.errors import ConfigError
from systwise.events import EventTable
from systwise.learn import GivenBins
from systwise.study.measure._regions import file_word
from systwise.study.run._placed import Places, observed_in, places_of, uniform_of
from systwise.study.run._unblind import run_case, stored_rows


class RunEvents:
    """Columns that say where events of files fall in a run, for one of its observables.

    Attributes:
        strategy, binning: of the observable.
        regions: names of the run's regions.
    """

    def __init__(
        self,
        folder: Path,
        sample: str | None = None,
        strategy: str | None = None,
        observable: str | None = None,
        binning: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Read what the run has stored.

        Args:
            folder: of the run.
            sample: whose selection and folds files get; None: the data's, where there is one sample of data.
            strategy: one of the run's; None: its only one.
            observable: `fixed` or `anchored`; None: the anchored one where there is one.
            binning: of a fixed observable; None: the best there is.
            seed: of the training; None: the first.

        Raises:
            ConfigError: no such run, sample or observable, or a choice is needed.
        """
        manifest, self._case = run_case(folder)
        rows = stored_rows(folder, None if strategy is None else [strategy], observable, binning, seed, events=False)
        if len(rows) > 1:
            raise ConfigError(
                f"{folder}: has several strategies; choose one with --strategy: "
                f"{', '.join(row.strategy for row in rows)}"
            )
        (self._row,) = rows
        self.strategy, self.binning = self._row.strategy, self._row.binning
        self.regions = list(self._row.kinds) or [self._row.region]
        data = [one.name for one in self._case.settings.observed]
        if sample is None and len(data) != 1:
            every = [one.name for one in self._case.settings.samples]
            raise ConfigError(f"{folder}: say with --sample whose selection and folds to use: {', '.join(every)}")
        self.sample = sample or data[0]
        self._uniform = uniform_of(manifest, self._case)
        self._seen = {name: observed_in(folder, self._row, self._case, name) for name in self.regions}

    def file(self, path: Path, name: str, tree: str | None = None, first: int = 0) -> FileColumns:
        """Return what makes new columns of a file.

        Args:
            path: of the file.
            name: how the new columns begin.
            tree: of a ROOT file.
            first: number of its first event, which counts where the analysis has no event id.
        """
        selections = {region: self._case.regions[region].events_of(path, self.sample, tree) for region in self.regions}
        return FileColumns(self, selections, name, first)

    def place(self, region: str, table: EventTable) -> Places:
        """Return score, bin and fold of the events of a region.

        Args:
            region: its name.
            table: events that it selects.
        """
        return places_of(self._row, *self._seen[region], region, table, self._uniform)

    def scored(self, region: str) -> bool:
        """Return whether a region has a score, and not only bins of a given variable."""
        return not isinstance(self._seen[region][1], GivenBins)


class FileColumns:
    """New columns of one file, block after block.

    Attributes:
        columns: what a block must hold.
    """

    def __init__(self, run: RunEvents, selections: Mapping[str, FileEvents], name: str, first: int) -> None:
        """Keep where the file begins; see `RunEvents.file`."""
        self._run, self._selections, self._name, self.next = run, selections, name, first
        self.columns = tuple(dict.fromkeys(c for events in selections.values() for c in events.columns))

    def __call__(self, block: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the new columns of the next block of the file.

        `NAME_REGION_score` (NaN outside of the region), `NAME_REGION_bin` and `NAME_REGION_fold` (-1 outside).
        """
        count, first = len(next(iter(block.values()))), self.next
        self.next += count
        made: dict[str, np.ndarray] = {}
        for region, events in self._selections.items():
            score = np.full(count, np.nan, np.float32)
            places, folds = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
            kept, table = events.of({name: block[name] for name in events.columns}, first)
            if table is not None:
                found = self._run.place(region, table)
                score[kept], places[kept], folds[kept] = found.score, found.bin, found.fold
            word = f"{self._name}_{file_word(region)}"
            if self._run.scored(region):
                made |= {f"{word}_score": score, f"{word}_fold": folds}
            made[f"{word}_bin"] = places
        return made
