"""Where single events of files fall in a finished run: region, fold, score, and bin or cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32
from scipy.special import expit

from systwise.cases import AbstractCase, FileEvents
from systwise.errors import ConfigError
from systwise.events import Events, EventTable, fold_of
from systwise.learn import AbstractObservable, GivenBins, logits_of
from systwise.study.measure._regions import file_word
from systwise.study.run._unblind import observed_in, run_case, run_grid, stored_rows, uniform_of
from systwise.templates import joint_cells

BLOCK = 8192
"""Events scored at a time."""


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
        rows = stored_rows(folder, None if strategy is None else [strategy], observable, binning, seed)
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
        case, observable = self._seen[region]
        folds = fold_of(table.kin, observable.folds)
        logits, counts = _logits(case, observable, table, folds)
        if region in self._row.cells:
            z = np.array([nuisance.nominal for nuisance in case.nuisances])
            rows = np.arange(len(table))
            bins = joint_cells(observable, case, table, rows, folds, z, self._row.cells[region])
        else:
            grid, edges = run_grid(observable, self._uniform), self._row.templates.region_edges(region)[region]
            # The edges are some of the fine ones, so that an event is in the same bin as in the templates.
            inner = np.searchsorted(grid.edges, edges[1:-1])
            bins = np.searchsorted(inner, np.asarray(grid.index(jnp.asarray(logits))), side="right")
        return Places(expit(logits).astype(np.float32), np.where(counts, bins, -1).astype(np.int32), folds)

    def scored(self, region: str) -> bool:
        """Return whether a region has a score, and not only bins of a given variable."""
        return not isinstance(self._seen[region][1], GivenBins)


class Places(NamedTuple):
    """Where events fall.

    Attributes:
        score: between 0 and 1, that of the nominal hypothesis where it moves.
        bin: number of the bin or cell; -1 for events that the selection drops.
        fold: of the network that scores the event.
    """

    score: Float32[np.ndarray, " event"]
    bin: Int32[np.ndarray, " event"]
    fold: Int[np.ndarray, " event"]


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


def _logits(
    case: AbstractCase, observable: AbstractObservable, table: EventTable, folds: Int[np.ndarray, " event"]
) -> tuple[Float32[np.ndarray, " event"], Bool[np.ndarray, " event"]]:
    """Return the score of every event from the network of its fold, and whether the selection keeps the event."""
    found, counts = np.zeros(len(table), np.float32), np.zeros(len(table), bool)
    nominal = jnp.asarray([nuisance.nominal for nuisance in case.shape_nuisances], jnp.float32)
    hypothesis = jnp.broadcast_to(nominal, (BLOCK, len(nominal)))
    for fold in np.unique(folds):
        for rows, events in table.blocks(np.flatnonzero(folds == fold), BLOCK):
            varied = _nominal(case, events, nominal)
            scores = logits_of(observable, varied, hypothesis, jnp.asarray(fold))
            found[rows] = np.asarray(scores)[: len(rows)]
            counts[rows] = np.any(np.asarray(varied.weights)[: len(rows)] != 0, axis=1)
    return found, counts


@eqx.filter_jit
def _nominal(case: AbstractCase, events: Events, z: Float[Array, " nuisance"]) -> Events:
    return case.vary(events, z)
