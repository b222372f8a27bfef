"""An analysis with more events than fit in memory: its files dealt once to parts on disk, and found there again."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from systwise.cases._case import Progress
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._load import Loader, Reader
from systwise.cases.analysis.reading._sources import Sources
from systwise.cases.analysis.reading._stage import Stage
from systwise.cases.analysis.reading._tallies import Tallies
from systwise.errors import DataError
from systwise.events import EventStore, StoreWriter, StreamSettings, cache_folder, check_finite, estimated_rows

MakeLoader = Callable[[Sources, Reader, Tallies, int], Loader]


def store_of(
    settings: AnalysisSettings,
    region: str,
    sources: Sources,
    make: MakeLoader,
    stream: StreamSettings,
    progress: Progress,
) -> EventStore | None:
    """Return the store of an analysis, None where its events fit in memory.

    Args:
        settings: the analysis.
        region: name of the region.
        sources: where files are.
        make: `make(sources, read, tallies, first id)` returns a loader.
        stream: how many events are too many, and the size of a part.
        progress: told about blocks read, then about parts.

    Raises:
        DataError: the input is missing or unusable.
    """
    rows = sum(estimated_rows(path, source.tree) for source in sources.all() for path in source.paths)
    if rows <= stream.above:
        return None
    portions = -(-rows // stream.part)
    folder = cache_folder() / "events" / _key(settings, region, sources, portions)
    found = EventStore.open(folder)
    return found if found is not None else _fill(settings, sources, make, folder, portions, progress)


def _key(settings: AnalysisSettings, region: str, sources: Sources, portions: int) -> str:
    """Return a word for the settings and for the files as they are now, without reading them."""
    text = settings.model_dump_json(exclude={"folder"})
    digest = hashlib.sha256(f"{portions} {region} {text}".encode())
    for path in sources.files:
        facts = Path(path).stat()
        digest.update(f"{Path(path).resolve()} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _fill(
    settings: AnalysisSettings, sources: Sources, make: MakeLoader, folder: Path, portions: int, progress: Progress
) -> EventStore:
    """Read all files once and write the parts."""
    writer = StoreWriter(folder)
    try:
        with tempfile.TemporaryDirectory(dir=writer.room) as room:
            stage, tallies = Stage(Path(room), portions, settings, progress), Tallies()
            events, fingerprint = 0, sources.fingerprint()
            for portion in range(portions):
                stage.portion = portion
                table = make(sources, stage.read, tallies, events).load(fingerprint).table
                if len(table):
                    check_finite(table)
                    writer.add(table)
                events += len(table)
                progress("writing parts", portion + 1, portions)
            tallies.check()
        return writer.finish()
    except OSError as error:
        raise DataError(
            f"{writer.room}: cannot be written ({error.strerror}); let SYSTWISE_CACHE name a folder with room for the "
            "events, or raise stream.above to keep them in memory"
        ) from None
    finally:
        writer.give_up()
