"""Reading columns of tabular files in blocks: csv, csv.gz and parquet through Arrow, ROOT and HDF5.

Nothing larger than a block is held twice, so a caller that copies blocks into float32 arrays needs
little more memory than the events themselves.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from systwise.errors import DataError
from systwise.events._root import (
    base_name,
    element,
    hdf5_blocks,
    hdf5_names,
    hdf5_rows,
    open_tree,
    reduced,
    root_blocks,
    root_names,
    shape_remedy,
)
from systwise.registry import suggestion

ColumnType = Literal["float32", "float64", "int64", "text"]
"""Type into which a column is converted."""

Report = Callable[[str, int, int], None]
"""Called as `report(what, done, total)`, in bytes or rows."""

_ARROW = {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "text": pa.string()}
_ROWS = 65_536
_BYTES = 16 * 2**20
_FORMATS = {
    (".parquet", ".pq"): "parquet",
    (".csv", ".csv.gz"): "csv",
    (".root",): "ROOT",
    (".h5", ".hdf5"): "HDF5",
}


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def read_blocks(
    path: str | Path, columns: Mapping[str, ColumnType], report: Report = _silent, tree: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield blocks of the named columns, in the given order and types, as the file's rows come.

    The format follows from the name: `.parquet`, `.csv`, `.csv.gz`, `.root` or `.h5`. Columns that are not asked
    for are not converted.

    Args:
        path: the file.
        columns: name and type of each column to read; `name[i]` is an element of a branch or column of vectors.
        report: called after each block.
        tree: name of the tree (ROOT) or group (HDF5); None where there is only one.

    Raises:
        DataError: no such file, unknown format, damaged content, a missing column (the message holds
            the nearest existing name) or a value that does not fit its column's type.
    """
    path = Path(path)
    kind = _format(path)
    readers = {"parquet": _parquet_blocks, "csv": _csv_blocks}
    blocks = readers[kind](path, columns, report) if kind in readers else _other_blocks(path, columns, report, tree)
    with _readable(path, kind):
        yield from blocks


def column_names(path: str | Path, tree: str | None = None) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        DataError: no such file, unknown format, damaged content, or no such tree.
    """
    path = Path(path)
    kind = _format(path)
    with _readable(path, kind):
        if kind == "ROOT":
            return root_names(path, tree)
        if kind == "HDF5":
            return hdf5_names(path, tree)
        if kind == "csv":
            return _csv_header(path, path.suffix.lower() == ".gz")
        return list(pa.parquet.read_schema(path).names)


def estimated_rows(path: str | Path, tree: str | None = None) -> int:
    """Return the number of rows of a file: exact where the format states it, from the first lines of a csv file.

    Raises:
        DataError: no such file, unknown format, damaged content, or no such tree.
    """
    path = Path(path)
    kind = _format(path)
    with _readable(path, kind):
        if kind == "ROOT":
            return int(open_tree(path, tree).num_entries)
        if kind == "HDF5":
            return hdf5_rows(path, tree)
        if kind == "parquet":
            return int(pa.parquet.read_metadata(path).num_rows)
        packed = path.suffix.lower() == ".gz"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            begin = file.read(_BYTES)
        lines, squeezed = max(1, begin.count(b"\n")), len(gzip.compress(begin, 6)) if packed else len(begin)
        return int(path.stat().st_size / max(1, squeezed) * lines)


@contextlib.contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Say of a file that cannot be read which one it is.

    Raises:
        DataError: damaged content.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as {kind} ({reason}); check that the file is complete") from error


def _format(path: Path) -> str:
    """Return the format that a file's name says.

    Raises:
        DataError: there is no such file, or its name says no known format.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the path of a file")
    for endings, kind in _FORMATS.items():
        if path.name.lower().endswith(endings):
            return kind
    raise DataError(f"{path}: unknown format; use a file that ends in .root, .parquet, .h5, .csv or .csv.gz")


def file_fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parquet_blocks(path: Path, columns: Mapping[str, ColumnType], report: Report) -> Iterator[pa.RecordBatch]:
    """Yield blocks of a parquet file."""
    with pa.parquet.ParquetFile(path) as file:
        present = file.schema_arrow.names
        places = {name: (name, None) if name in present else element(name) for name in columns}
        _check_names(path, {branch: columns[name] for name, (branch, _) in places.items()}, present)
        total, done, branches = file.metadata.num_rows, 0, list(dict.fromkeys(branch for branch, _ in places.values()))
        for group in range(file.num_row_groups):
            # One group at a time: over a whole file Arrow keeps the pages of all groups until the end.
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=branches, use_threads=False):
                yield _cast(path, _elements(path, batch, places), columns)
                done += batch.num_rows
                report(f"reading {path.name}", done, total)


def _elements(path: Path, batch: pa.RecordBatch, places: Mapping[str, tuple[str, int | str | None]]) -> pa.RecordBatch:
    """Return a block with `name[i]`, `len(name)` and so on as columns of their own where a column holds lists.

    Raises:
        DataError: an element of a number is asked for, or a list as a number.
    """
    arrays = []
    for branch, place in places.values():
        array = batch.column(branch)
        lists = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        if lists != (place is not None):
            raise DataError(f"{path}: branch '{branch}' {shape_remedy(branch, place)}")
        if place is not None:
            whole = pc.if_else(array.is_null(), pa.scalar([], array.type), array)
            counts = pc.list_value_length(whole).to_numpy(zero_copy_only=False).astype(np.int64)
            values = pc.list_flatten(whole).to_numpy(zero_copy_only=False)
            array = pa.array(reduced(values, counts, place))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=list(places))


def _other_blocks(
    path: Path, columns: Mapping[str, ColumnType], report: Report, tree: str | None
) -> Iterator[pa.RecordBatch]:
    """Yield blocks of a ROOT or HDF5 file."""
    root = _format(path) == "ROOT"
    present = root_names(path, tree) if root else hdf5_names(path, tree)
    whole = {name if name in present else base_name(name): kind for name, kind in columns.items()}
    _check_names(path, whole if root else columns, present)
    done = 0
    for arrays, total in (root_blocks if root else hdf5_blocks)(path, list(columns), tree):
        batch = pa.RecordBatch.from_arrays([pa.array(array) for array in arrays.values()], names=list(arrays))
        yield _cast(path, batch, columns)
        done += batch.num_rows
        report(f"reading {path.name}", done, total)


def _csv_blocks(path: Path, columns: Mapping[str, ColumnType], report: Report) -> Iterator[pa.RecordBatch]:
    """Yield blocks of a csv file, compressed or not."""
    packed = path.suffix.lower() == ".gz"
    header = _csv_header(path, packed)
    _hint_delimiter(path, columns, header)
    _check_names(path, columns, header)
    total = path.stat().st_size
    types = {name: _ARROW[kind] for name, kind in columns.items()}
    convert = pa.csv.ConvertOptions(column_types=types, include_columns=list(columns))
    # Opened by hand, since the position in the compressed file is the only measure of progress.
    with pa.OSFile(str(path)) as raw:
        stream = pa.CompressedInputStream(raw, "gzip") if packed else raw
        try:
            with pa.csv.open_csv(stream, pa.csv.ReadOptions(block_size=_BYTES), convert_options=convert) as reader:
                for batch in reader:
                    yield batch
                    report(f"reading {path.name}", min(raw.tell(), total), total)
        except pa.ArrowInvalid as error:
            # Arrow counts columns; people know their names.
            found = re.search(r"CSV column #(\d+): (.*)", str(error), re.DOTALL)
            if found is None:
                raise
            name = header[int(found[1])]
            raise DataError(f"{path}: column '{name}': {found[2]}; correct or drop these rows") from error


def _csv_header(path: Path, packed: bool) -> list[str]:
    """Return the column names in the first line."""
    with gzip.open(path, "rt", newline="") if packed else path.open("rt", newline="") as file:
        return next(csv.reader(file), [])


def _hint_delimiter(path: Path, columns: Mapping[str, ColumnType], header: list[str]) -> None:
    """Refuse a csv file whose first line holds no names between commas, with what it seems to hold.

    Raises:
        DataError: a column is missing, and the line begins as a comment or has another delimiter.
    """
    first = header[0] if header else ""
    if all(name in header for name in columns):
        return
    if first.startswith("#"):
        raise DataError(f"{path}: begins with a comment, '{first[:30]}'; the first line must be the columns' names")
    other = next((sign for sign in (";", "\t", "|", " ") if len(header) == 1 and sign in first.strip()), None)
    if other is not None:
        word = {"\t": "tabs", " ": "spaces"}.get(other, f"'{other}'")
        raise DataError(f"{path}: its columns are separated by {word}; write the file with commas")
    stripped = [name.strip() for name in header]
    if all(name in stripped for name in columns):
        raise DataError(f"{path}: the columns' names have spaces around them; write the first line without")


def _check_names(path: Path, columns: Mapping[str, ColumnType], present: list[str]) -> None:
    """Refuse a file that lacks a column."""
    missing = [name for name in columns if name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        # A column that goes by another name is among those that nobody asked for.
        hint = suggestion(missing[0], [name for name in present if name not in columns])
        has = ", ".join(present[:6]) + (", ..." if len(present) > 6 else "")
        remedy = hint if hint else f" (it has {has}); rename a column or give another file"
        raise DataError(f"{path}: column '{missing[0]}'{more} is missing{remedy}")


def _cast(path: Path, batch: pa.RecordBatch, columns: Mapping[str, ColumnType]) -> pa.RecordBatch:
    """Convert the columns of a block to the types asked for."""
    arrays = []
    for name, kind in columns.items():
        array = batch.column(name)
        try:
            # Narrowing to float32 is meant; an event id that is not whole is not.
            arrays.append(array.cast(_ARROW[kind], safe=kind == "int64"))
        except pa.ArrowException as error:
            raise DataError(f"{path}: column '{name}' holds {array.type} values that are not {kind}") from error
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def as_numpy(batch: pa.RecordBatch, name: str, source: str | Path) -> np.ndarray:
    """Return a numeric column of a block; empty values of a floating-point column become NaN.

    Raises:
        DataError: an integer column has empty values; the message begins with `source`.
    """
    array = batch.column(name)
    if array.null_count and pa.types.is_integer(array.type):
        raise DataError(f"{source}: column '{name}' has empty values; fill them in or drop these rows")
    return array.to_numpy(zero_copy_only=False)
