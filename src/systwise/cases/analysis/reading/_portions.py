"""The events of a region a few at a time, for what adds up over events: sample by sample, large samples in parts."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from systwise.cases._case import Progress
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._compare import Finding, merged
from systwise.cases.analysis.reading._load import Reader
from systwise.cases.analysis.reading._read import Source, read_source
from systwise.cases.analysis.reading._sources import Sources
from systwise.cases.analysis.reading._stage import Stage
from systwise.cases.analysis.reading._stored import MakeLoader
from systwise.cases.analysis.reading._tallies import Tallies
from systwise.events import EventTable, estimated_rows

TOGETHER = 2_000_000
"""Events of a sample and its shifted versions that are in memory at a time, about."""


@dataclasses.dataclass(frozen=True)
class Portion:
    """Some events of one sample, shifted ones among them.

    Attributes:
        sample: number of the sample.
        table: the events.
        findings: what was found in the files, when the last portion of the sample comes; none before.
        notes: what deserves a warning.
    """

    sample: int
    table: EventTable
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def whole_of(settings: AnalysisSettings, sources: Sources, make: MakeLoader, progress: Progress) -> EventTable:
    """Return the events of all samples of a region at once; see `portions_of`."""
    tallies = Tallies()
    sources.all()
    read = functools.partial(read_source, settings, progress=progress)
    table = make(sources, read, tallies, 0).load(sources.fingerprint()).table
    tallies.check()
    return table


def portions_of(
    settings: AnalysisSettings, sources: Sources, make: MakeLoader, progress: Progress, limit: int | None
) -> Iterator[Portion]:
    """Yield the events of all samples of a region, and check in the end what must hold for all of them.

    Args:
        settings: the analysis.
        sources: where files are.
        make: `make(sources, read, tallies, first id)` returns a loader.
        progress: told about blocks read.
        limit: events to read of each sample, all where None.

    Raises:
        DataError: the input is missing or unusable.
    """
    tallies = Tallies()
    sources.all()
    for number, of_sample in sources.by_sample():
        rows = 0 if limit is not None else sum(_rows(source) for source in of_sample)
        count = max(1, -(-rows // TOGETHER))
        if count == 1:
            read = functools.partial(read_source, settings, progress=progress, limit=limit)
            yield from _of_sample(number, 1, None, read, sources, make, tallies)
            continue
        with tempfile.TemporaryDirectory() as room:
            stage = Stage(Path(room), count, settings, progress)
            yield from _of_sample(number, count, stage, stage.read, sources, make, tallies)
    tallies.check()


def _of_sample(
    number: int,
    count: int,
    stage: Stage | None,
    read: Reader,
    sources: Sources,
    make: MakeLoader,
    tallies: Tallies,
) -> Iterator[Portion]:
    found: list[tuple[Finding, ...]] = []
    for portion in range(count):
        if stage is not None:
            stage.portion = portion
        loaded = make(sources, read, tallies, 0).load(samples=(number,))
        found.append(loaded.findings)
        # Portions are fair samples of one another: what is worth a warning is seen in the first.
        notes = loaded.table.notes if portion == 0 else ()
        yield Portion(number, loaded.table, merged(found) if portion == count - 1 else (), notes)


def _rows(source: Source) -> int:
    return sum(estimated_rows(path, source.tree) for path in source.paths)
