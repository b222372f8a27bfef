"""Columns appended to files of events, block by block: parquet, csv, ROOT, HDF5."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from systwise.errors import ConfigError, DataError
from systwise.optional import optional_module
from systwise.registry import suggestion

Block = Mapping[str, np.ndarray]
Compute = Callable[[Block], Mapping[str, np.ndarray]]
"""New columns of a block of events."""
ENDINGS = (".parquet", ".pq", ".csv", ".root", ".h5", ".hdf5")
ROWS = 65_536


def append_columns(
    source: Path,
    target: Path,
    needed: Sequence[str],
    compute: Compute,
    *,
    keep: Sequence[str] | None = None,
    tree: str | None = None,
) -> int:
    """Write a file of events with new columns, and return the number of events.

    The target is complete or absent; it may be the source itself.

    Args:
        source: parquet, csv, ROOT (a tree) or HDF5 (datasets of equal length), by its ending.
        target: the file to write, in the source's format.
        needed: columns that `compute` reads.
        compute: maps columns of a block to new columns.
        keep: columns of the source to keep; all where None.
        tree: the ROOT tree, or the HDF5 group; the only one where None.

    Raises:
        DataError: the source cannot be read, or lacks a column.
        ConfigError: unknown ending, or a package is not installed.
    """
    writers = {".parquet": _parquet, ".pq": _parquet, ".csv": _csv, ".root": _root, ".h5": _hdf5, ".hdf5": _hdf5}
    ending = source.suffix.lower()
    if ending not in writers:
        raise ConfigError(f"{source}: unknown format; use a file that ends in {', '.join(ENDINGS)}")
    if not source.exists():
        raise DataError(f"{source}: no such file; check the path")
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: its folder does not exist; make it first")
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{ending}")
    try:
        count = writers[ending](source, part, tuple(needed), compute, keep, tree)
        part.replace(target)
        return count
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{source}: cannot be read or written ({reason}); check that the file is complete") from None
    finally:
        part.unlink(missing_ok=True)


def check_columns(source: Path, wanted: Sequence[str], present: Sequence[str], new: Sequence[str] = ()) -> None:
    """Refuse a file that lacks a column, or has one that would be written.

    Raises:
        DataError: the message names the column and the nearest one that exists.
    """
    missing = [name for name in wanted if name not in present]
    if missing:
        hint = suggestion(missing[0], list(present)) or f" (it has {', '.join(list(present)[:8])})"
        raise DataError(
            f"{source}: column '{missing[0]}' is missing{hint}; the model needs it (where an analysis file makes it of "
            "other columns, give predict the run's directory)"
        )
    twice = [name for name in new if name in present]
    if twice:
        raise DataError(f"{source}: has a column '{twice[0]}' already; choose another name with --name")


def _extended(
    source: Path, block: pa.RecordBatch, needed: Sequence[str], compute: Compute, keep: Any
) -> pa.RecordBatch:
    names = block.schema.names
    new = compute({name: _numbers(source, block, name) for name in needed})
    kept = [name for name in names if keep is None or name in keep]
    check_columns(source, (), kept, list(new))
    arrays = [block.column(name) for name in kept] + [pa.array(values) for values in new.values()]
    return pa.RecordBatch.from_arrays(arrays, names=[*kept, *new])


def _numbers(source: Path, block: pa.RecordBatch, name: str) -> np.ndarray:
    column = block.column(name)
    try:
        # Whole numbers stay: an event id has more digits than a float.
        column = column if pa.types.is_integer(column.type) and not column.null_count else column.cast(pa.float64())
        return column.to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise DataError(f"{source}: column '{name}' holds {block.column(name).type}, which is no number") from None


def _parquet(source: Path, part: Path, needed: Sequence[str], compute: Compute, keep: Any, tree: str | None) -> int:
    with pa.parquet.ParquetFile(source) as file:
        check_columns(source, [*needed, *(keep or ())], file.schema_arrow.names)
        if file.metadata.num_rows == 0:
            raise DataError(f"{source}: has no events; give a file with some")
        writer, count = None, 0
        try:
            for block in file.iter_batches(batch_size=ROWS):
                made = _extended(source, block, needed, compute, keep)
                writer = writer or pa.parquet.ParquetWriter(part, made.schema)
                writer.write_batch(made)
                count += made.num_rows
        finally:
            if writer is not None:
                writer.close()
    return count


def _csv(source: Path, part: Path, needed: Sequence[str], compute: Compute, keep: Any, tree: str | None) -> int:
    writer, count = None, 0
    with pa.csv.open_csv(source) as reader:
        check_columns(source, [*needed, *(keep or ())], reader.schema.names)
        try:
            for block in reader:
                made = _extended(source, block, needed, compute, keep)
                writer = writer or pa.csv.CSVWriter(part, made.schema)
                writer.write_batch(made)
                count += made.num_rows
        finally:
            if writer is not None:
                writer.close()
    if count == 0:
        raise DataError(f"{source}: has no events; give a file with some")
    return count


def _root(source: Path, part: Path, needed: Sequence[str], compute: Compute, keep: Any, tree: str | None) -> int:
    uproot = optional_module("uproot", "this")
    with uproot.open(source) as file:
        trees = list(dict.fromkeys(key.partition(";")[0] for key in file.keys(filter_classname="TTree")))
        name = _only(source, "tree", trees, tree)
        branches = file[name].keys()
        check_columns(source, [*needed, *(keep or ())], branches)
        kept = [branch for branch in branches if keep is None or branch in keep]
        count = 0
        with uproot.recreate(part) as made:
            for block in file[name].iterate([*dict.fromkeys([*kept, *needed])], library="np", step_size=ROWS):
                ragged = [key for key, values in block.items() if values.dtype == object]
                if ragged:
                    raise DataError(
                        f"{source}: branch '{ragged[0]}' holds a list an event, which is not copied; write a friend "
                        "file with --friend instead"
                    )
                new = compute({key: np.asarray(block[key]) for key in needed})
                check_columns(source, (), kept, list(new))
                columns = {**{key: block[key] for key in kept}, **new}
                if count == 0:
                    made.mktree(name, {key: values.dtype for key, values in columns.items()})
                made[name].extend(columns)
                count += len(next(iter(new.values())))
    if count == 0:
        raise DataError(f"{source}: has no events; give a file with some")
    return count


def _hdf5(source: Path, part: Path, needed: Sequence[str], compute: Compute, keep: Any, tree: str | None) -> int:
    h5py = optional_module("h5py", "this")
    with h5py.File(source, "r") as file, h5py.File(part, "w") as made:
        group = file if tree is None else file[tree]
        out = made if tree is None else made.create_group(tree)
        names = [key for key, value in group.items() if isinstance(value, h5py.Dataset)]
        check_columns(source, [*needed, *(keep or ())], names)
        kept = [name for name in names if keep is None or name in keep]
        count = len(group[needed[0]])
        odd = [name for name in {*kept, *needed} if group[name].shape[:1] != (count,)]
        if odd or count == 0:
            raise DataError(
                f"{source}: dataset '{odd[0] if odd else needed[0]}' has another length than the others or none"
            )
        for name in kept:
            file.copy(group[name], out, name)
        for start, stop in _ranges(count):
            new = compute({name: np.asarray(group[name][start:stop]) for name in needed})
            check_columns(source, (), kept, list(new))
            for name, values in new.items():
                if start == 0:
                    out.create_dataset(name, (count,), values.dtype)
                out[name][start:stop] = values
    return count


def _ranges(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, ROWS):
        yield start, min(start + ROWS, count)


def _only(source: Path, what: str, known: list[str], name: str | None) -> str:
    if name is None:
        if len(known) != 1:
            raise ConfigError(f"{source}: has {len(known)} {what}s ({', '.join(known)}); name one with --tree")
        return known[0]
    if name not in known:
        raise ConfigError(f"{source}: no {what} '{name}'{suggestion(name, known)} (it has {', '.join(known)})")
    return name
