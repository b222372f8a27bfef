"""Files and columns that an analysis needs and that are not there, all of them at once."""

from __future__ import annotations

import itertools

from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.reading._load import Loader
from systwise.cases.analysis.reading._read import check_columns, columns_of
from systwise.cases.analysis.reading._sources import Sources
from systwise.errors import Complaints, DataError


def gather_missing(settings: AnalysisSettings, sources: Sources, loader: Loader, complaints: Complaints) -> None:
    """Look for the files of a region and the columns that they should have; a column is named once.

    Args:
        settings: of the analysis.
        sources: of the region.
        loader: of the region; reads nothing here.
        complaints: gets what is missing.
    """
    lost: dict[str, list[DataError]] = {}
    for number, look in sources.each():
        with complaints.gathered():
            for source in look():
                more = [] if number is None else loader.weight_expressions(number)
                names, _ = columns_of(settings, source, [*loader.wanted(source), *more])
                for path, name in itertools.product(source.paths, names):
                    try:
                        check_columns(path, source, [name])
                    except DataError as error:
                        lost.setdefault(name, []).append(error)
    for first, *others in lost.values():
        complaints.found.append(DataError(f"{first}; {len(others)} more files lack it") if others else first)
