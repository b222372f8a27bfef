"""Writing varied events to files, for tools that need files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from systwise.errors import DataError
from systwise.events._table import Events, EventTable

Vary = Callable[[Events], Events]
"""Returns the events at some nuisance values, the selection applied; pure JAX."""

Report = Callable[[str, int, int], None]
"""Called as `report(what, done, total)`, in events."""

_ROWS = 65_536


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def varied_schema(table: EventTable, metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the columns of a file of varied events.

    `id`; all features; `process` (a word); `weight_COMPONENT`, the expected events in each component,
    and `weight`, their sum; `kept`, whether the event passes the
    selection. `metadata` is stored with the schema.
    """
    fields = [pa.field("id", pa.int64())]
    fields += [pa.field(name, pa.float32()) for name in table.feature_names]
    fields += [pa.field("process", pa.dictionary(pa.int8(), pa.string())), pa.field("weight", pa.float32())]
    fields += [pa.field(f"weight_{name}", pa.float32()) for name in table.component_names]
    fields += [pa.field("kept", pa.bool_())]
    return pa.schema(fields, {"source": table.source, "fingerprint": table.fingerprint, **(metadata or {})})


def varied_blocks(
    table: EventTable, vary: Vary, metadata: Mapping[str, str] | None = None, size: int = _ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the varied events in blocks of `size` rows, every row of the table in its order.

    Events that fail the selection are there with weight zero and `kept` false, so that sums of
    weights are right with and without a cut on `kept`. No more than a block is held.

    Args:
        table: the events at nominal nuisance values.
        vary: e.g. `lambda events: case.vary(events, z)`.
        metadata: words to store with the file, e.g. the nuisance values.
        size: rows a block.
    """
    schema = varied_schema(table, metadata)
    words = pa.array(table.processes, pa.string())

    @jax.jit
    def step(events: Events) -> tuple[Events, jax.Array]:
        # Unit weights tell an event that was cut from one whose weight was zero before.
        unit = eqx.tree_at(lambda e: e.weights, events, jnp.ones_like(events.weights))
        return vary(events), jnp.any(vary(unit).weights != 0, axis=1)

    size = min(size, len(table))
    for index, events in table.blocks(np.arange(len(table)), size):
        count = len(index)
        varied, kept = jax.device_get(step(events))
        weights = varied.weights[:count]
        columns = [pa.array(table.id[index], pa.int64())]
        columns += [pa.array(np.ascontiguousarray(column)) for column in varied.features[:count].T]
        columns += [pa.DictionaryArray.from_arrays(pa.array(varied.process[:count].astype(np.int8)), words)]
        columns += [pa.array(weights.sum(axis=1))]
        columns += [pa.array(np.ascontiguousarray(column)) for column in weights.T]
        columns += [pa.array(kept[:count])]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def varied_table(table: EventTable, vary: Vary, metadata: Mapping[str, str] | None = None) -> pa.Table:
    """Return all varied events as one Arrow table; see `varied_blocks` for its columns."""
    return pa.Table.from_batches(list(varied_blocks(table, vary, metadata)), varied_schema(table, metadata))


def write_varied(
    path: str | Path,
    table: EventTable,
    vary: Vary,
    metadata: Mapping[str, str] | None = None,
    report: Report = _silent,
) -> Path:
    """Write the varied events to a parquet file, block by block, and return its path.

    The file appears under its name when it is complete: an interruption leaves what was there before.

    Raises:
        DataError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file to write")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    done = 0
    try:
        with pa.parquet.ParquetWriter(part, varied_schema(table, metadata), compression="zstd") as writer:
            for block in varied_blocks(table, vary, metadata):
                writer.write_batch(block)
                done += block.num_rows
                report(f"writing {path.name}", done, len(table))
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); choose an existing folder with room") from error
    finally:
        part.unlink(missing_ok=True)
    return path
