"""Reading expressions of columns from the files of one sample."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from systwise.cases._case import Progress
from systwise.cases.analysis.file._parts import Paths
from systwise.cases.analysis.file._settings import AnalysisSettings, Sample
from systwise.cases.analysis.reading._remote import is_remote, local_copies
from systwise.errors import ConfigError, DataError
from systwise.events import ColumnType, Expression, as_numpy, base_name, column_names, hash_ids, read_blocks
from systwise.registry import suggestion

MOST_FILES = 10_000
"""Files that a pattern may match."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the events of a sample, or of a shifted one, come from.

    Attributes:
        of: the sample that the files belong to.
        label: for messages and tables.
        where: path in the analysis file, for messages.
        paths: the files.
        tree: tree or group.
        weight: weight of an event.
        filter: selection, None for none.
        cut: the part of it that is applied while reading; the rest depends on columns that functions move.
        factor: on the weights: the scale of an estimate, negative for what it subtracts.
        may_be_empty: whether no event need pass the selection: a process that a control region lacks.
    """

    of: Sample
    label: str
    where: str
    paths: tuple[Path, ...]
    tree: str | None
    weight: Expression
    filter: Expression | None
    cut: tuple[Expression, ...]
    factor: float = 1.0
    may_be_empty: bool = False

    @property
    def sample(self) -> str:
        """Name of the sample that the files belong to."""
        return self.of.name


@dataclasses.dataclass(frozen=True)
class Rows:
    """Events of a source that pass the cut.

    Attributes:
        values: `[event]` float64 of each expression, by its text.
        ids: `[event]` int64 event numbers.
        read: events in the files.
        total: sum of their weights before the cut.
    """

    values: dict[str, np.ndarray]
    ids: np.ndarray
    read: int
    total: float


def find_files(settings: AnalysisSettings, paths: Paths, sample: str, where: str) -> tuple[Path, ...]:
    """Return the files of a sample, wild cards resolved; those on other machines are copied into the cache.

    Raises:
        DataError: a pattern matches nothing, or the sample has no entry.
    """
    # cabinetry writes the place of the file's name into InputPath.
    base = _expanded(settings.general.input_path.replace("{SamplePath}", ""))
    folder = Path(settings.folder) / base
    if not paths:
        raise DataError(f"{where}.SamplePath: is missing; name the file of sample '{sample}'")
    if isinstance(paths, dict):
        if sample not in paths:
            raise DataError(f"{where}.SamplePath: has no entry for sample '{sample}'{suggestion(sample, list(paths))}")
        paths = paths[sample]
    found: list[Path] = []
    for pattern in paths:
        name = _expanded(pattern.replace("{Sample}", sample))
        file, colon, tree = name.partition(".root:")
        if colon:
            raise DataError(f"{where}.SamplePath: write SamplePath: {file}.root and Tree: {tree} for '{name}'")
        name = f"{base.rstrip('/')}/{name}" if is_remote(base) else name
        if is_remote(name):
            found += local_copies(name, f"{where}.SamplePath")
            continue
        matches = [str(folder / name)]
        if glob.has_magic(name):
            matches = sorted(itertools.islice(glob.iglob(str(folder / name), recursive=True), MOST_FILES + 1))
        if len(matches) > MOST_FILES:
            raise DataError(f"{where}.SamplePath: '{name}' matches more than {MOST_FILES:,} files; narrow the pattern")
        if not matches:
            raise DataError(f"{where}.SamplePath: no file matches '{name}' in {folder}; check General.InputPath")
        for match in matches:
            if not Path(match).exists():
                raise DataError(f"{where}.SamplePath: {match}: no such file; check the path and General.InputPath")
        found += [Path(match) for match in matches]
    return tuple(found)


def generated_weights(source: Source) -> float | None:
    """Return the sum of the weights of all generated events that a sample states or its files hold; None: neither.

    Raises:
        ConfigError: the place in the files is no `Tree:branch`.
        DataError: a file has no such tree or branch.
    """
    stated = source.of.sum_of_weights
    if not isinstance(stated, str):
        return stated
    tree, colon, branch = stated.rpartition(":")
    if not colon:
        raise ConfigError(f"{source.where}.SumOfWeights: '{stated}' is neither a number nor Tree:branch")
    blocks = (block for path in source.paths for block in read_blocks(path, {branch: "float64"}, tree=tree))
    return float(sum(np.nansum(as_numpy(block, branch, source.label)) for block in blocks))


def _expanded(name: str) -> str:
    """Return a path with `~` and environment variables filled in."""
    return os.path.expanduser(os.path.expandvars(name))


def paired_ids(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """Return one number an event for several, as run and event; one alone stays as it is."""
    first, *others = numbers
    ids = first
    for other in others:
        ids = (hash_ids(ids, "pair") ^ other.astype(np.uint64)).astype(np.int64)
    return ids


def read_source(
    settings: AnalysisSettings,
    source: Source,
    expressions: Sequence[Expression],
    progress: Progress,
    limit: int | None = None,
) -> Rows:
    """Read the values of expressions for the events of a source.

    Args:
        settings: event id and mark of undefined values.
        source: files, weight and cut.
        expressions: what to evaluate, beside the weight.
        progress: told about blocks read.
        limit: events to read at most.

    Raises:
        DataError: a file or column is missing or damaged; event ids are repeated; a value that counts is NaN.
    """
    joined = join_rows(list(source_blocks(settings, source, expressions, progress, limit)))
    check_kept(source, joined.read, len(joined.ids))
    check_ids(source, joined.ids)
    return joined


def join_rows(blocks: Sequence[Rows]) -> Rows:
    """Return the rows of blocks of one source, one after the other."""
    names = blocks[0].values
    return Rows(
        {name: np.concatenate([block.values[name] for block in blocks]) for name in names},
        np.concatenate([block.ids for block in blocks]),
        sum(block.read for block in blocks),
        sum(block.total for block in blocks),
    )


def check_kept(source: Source, read: int, kept: int) -> None:
    """Refuse a source of which nothing is left.

    Raises:
        DataError: the files are empty, or no event passes the cut.
    """
    if read == 0:
        raise DataError(f"{source.where}: {source.paths[0]} holds no events")
    if kept == 0 and not source.may_be_empty:
        raise DataError(
            f"{source.where}: none of the {read:,} events of {source.label} passes the selection; check Filter"
        )


def source_blocks(
    settings: AnalysisSettings,
    source: Source,
    expressions: Sequence[Expression],
    progress: Progress,
    limit: int | None = None,
) -> Iterator[Rows]:
    """Yield the rows of a source block by block, as the files have them; at least one block, which may be empty.

    Raises:
        DataError: a file or column is missing or damaged; a value that counts is NaN.
    """
    wanted = list(dict.fromkeys([source.weight, *expressions]))
    names, whole = columns_of(settings, source, wanted)
    texts = frozenset().union(*(e.texts for e in (*wanted, *source.cut)))
    kinds: dict[str, ColumnType] = {n: "text" if n in texts else "int64" if n in whole else "float64" for n in names}
    read = 0
    yield Rows({e.text: np.empty(0) for e in wanted}, np.empty(0, np.int64), 0, 0.0)
    for path in source.paths:
        check_columns(path, source, names)
        for block in read_blocks(path, kinds, progress, tree=source.tree):
            columns = {name: as_numpy(block, name, path) for name in names}
            count = block.num_rows
            if limit is not None and read + count > limit:
                count = limit - read
                columns = {name: column[:count] for name, column in columns.items()}
            yield selected(settings, source, wanted, columns, np.arange(read, read + count), path)[0]
            read += count
            if limit is not None and read >= limit:
                return


def columns_of(
    settings: AnalysisSettings, source: Source, expressions: Sequence[Expression]
) -> tuple[list[str], set[str]]:
    """Return the columns that a source needs, and which of them are whole numbers: those of the event id."""
    numbers = [Expression(text) for text in settings.general.event_ids]
    every = [source.weight, *expressions, *source.cut, *numbers]
    return list(dict.fromkeys(n for e in every for n in e.names)), {name for number in numbers for name in number.names}


def selected(
    settings: AnalysisSettings,
    source: Source,
    expressions: Sequence[Expression],
    columns: Mapping[str, np.ndarray],
    row: np.ndarray,
    path: Path,
) -> tuple[Rows, np.ndarray]:
    """Return the events of a block that pass the cut, and which these are.

    Args:
        settings: event id and mark of undefined values.
        source: weight and cut.
        expressions: what to evaluate, the weight among them.
        columns: `[event]` values of the needed columns.
        row: `[event]` place of each event in the files, its number where there is no event id.
        path: for messages.

    Raises:
        DataError: a value that counts is NaN.
    """
    count = len(row)
    own = _broadcast(source.weight, columns, count)
    kept = np.ones(count, bool)
    for part in source.cut:
        kept &= np.broadcast_to(np.asarray(part.evaluate(columns), bool), (count,))
    numbers = [_broadcast(Expression(text), columns, count).astype(np.int64) for text in settings.general.event_ids]
    ids = (paired_ids(numbers) if numbers else row)[kept]
    columns = {name: column[kept] for name, column in columns.items()}
    values = {
        e.text: _defined(settings, e, _broadcast(e, columns, int(kept.sum())), path, source, row[kept])
        for e in expressions
    }
    return Rows(values, ids, count, float(np.sum(own[np.isfinite(own)]))), kept


def check_columns(path: Path, source: Source, names: Sequence[str]) -> None:
    """Refuse a file that lacks a column.

    Raises:
        DataError: naming the column, its nearest existing name and the sample.
    """
    present = column_names(path, source.tree)
    for name in names:
        if name not in present and base_name(name) not in present:
            has = ", ".join(present[:6]) + (", ..." if len(present) > 6 else "")
            raise DataError(f"{path}: no column '{name}' for {source.label}{suggestion(name, present)} (it has {has})")


def _broadcast(expression: Expression, columns: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return the value of an expression for each of `count` events; NaN where it is not defined."""
    with np.errstate(all="ignore"):
        value = np.asarray(expression.evaluate(columns))
    return np.broadcast_to(value, (count,))


def _defined(
    settings: AnalysisSettings, expression: Expression, values: np.ndarray, path: Path, source: Source, row: np.ndarray
) -> np.ndarray:
    """Return float64 values, missing elements of vectors marked, and refuse others that are no numbers."""
    values = np.array(values, np.float64)
    bad = ~np.isfinite(values)
    if bad.any() and settings.general.undefined is not None and "[" in expression.text:
        values[bad] = settings.general.undefined
    elif bad.any():
        shown = expression.text.strip("`")
        kind = "weight" if expression == source.weight else "value"
        remedy = "; set General.Undefined for elements that are missing" if "[" in expression.text else ""
        raise DataError(
            f"{path}: {kind} '{shown}' is NaN or infinite in {int(bad.sum()):,} of {len(bad):,} events of "
            f"{source.label}, first in row {int(row[np.argmax(bad)]) + 1}; correct or cut these events{remedy}"
        )
    return values


def check_ids(source: Source, ids: np.ndarray) -> None:
    """Refuse repeated event ids.

    Raises:
        DataError: naming the first.
    """
    if np.all(ids[1:] > ids[:-1]):  # row numbers are
        return
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        first = int(np.argmax(counts > 1))
        raise DataError(
            f"{source.paths[0]}: event id {values[first]} occurs {counts[first]} times in {source.label} "
            f"({int((counts > 1).sum()):,} ids are repeated); let General.EventId tell events apart, e.g. "
            "[run, event], or remove the copies"
        )
