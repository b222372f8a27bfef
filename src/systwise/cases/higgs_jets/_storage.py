"""Samples in parquet files: written once, found again by their settings, and read from elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from systwise.cases._case import Progress, no_progress
from systwise.cases.higgs_jets._generator import generate
from systwise.cases.higgs_jets._generator_settings import PROCESSES, SCALES, GeneratorSettings, Process
from systwise.cases.higgs_jets._partons import PartonDensities
from systwise.cases.higgs_jets._physics import COEFFICIENTS
from systwise.cases.higgs_jets._sample import FEATURES, WEIGHT_COLUMNS, Sample, run_fingerprint
from systwise.errors import DataError
from systwise.events import ColumnType, as_numpy, cache_folder, file_fingerprint, read_blocks
from systwise.settings import validate

_ROWS = 131_072


def load_sample(
    process: Process,
    events: int,
    seed: int,
    settings: GeneratorSettings | None = None,
    folder: str | Path | None = None,
    progress: Progress = no_progress,
) -> Sample:
    """Return a generated sample, from the cache where it is there and into the cache where it is not.

    Args:
        process: `hj` or `hjj`.
        events: number of points drawn.
        seed: seed of the random numbers.
        settings: what to generate.
        folder: where samples are kept; the user's cache directory by default.
        progress: called as events are made or read.

    Raises:
        ConfigError: as `generate`.
        DataError: as `generate`, or the folder cannot be written to.
    """
    settings = GeneratorSettings() if settings is None else settings
    partons = PartonDensities.read(settings.pdf, settings.pdf_folder).fingerprint
    fingerprint = run_fingerprint(process, events, seed, settings, partons)
    base = cache_folder() / "higgs-jets" if folder is None else Path(folder)
    path = base / f"{process}-{fingerprint[:16]}.parquet"
    if path.is_file():
        stored = read_sample(path, process, progress)
        if stored.fingerprint == fingerprint:
            return dataclasses.replace(stored, settings=settings)
    sample = generate(process, events, seed, settings, progress)
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{base}: cannot be made ({error}); name another folder for generated events") from error
    write_sample(path, sample)
    return sample


def write_sample(path: str | Path, sample: Sample) -> Path:
    """Write a sample to a parquet file and return its path.

    Columns: `number`, the features, and `WEIGHT_COLUMNS` in pb, of which each adds up to a cross section.
    Process, number of drawn points, seed, settings and fingerprint are stored with the schema.

    Raises:
        DataError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    schema = _schema(sample)
    flat = sample.weights.reshape(len(sample), len(WEIGHT_COLUMNS))
    try:
        with pa.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            for start in range(0, max(len(sample), 1), _ROWS):
                rows = slice(start, start + _ROWS)
                columns = [sample.number[rows], *sample.features[rows].T, *flat[rows].T]
                arrays = [pa.array(np.ascontiguousarray(column)) for column in columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); choose an existing folder with room") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def read_sample(path: str | Path, process: Process, progress: Progress = no_progress) -> Sample:
    """Return the events of a parquet (or csv) file with the columns of `write_sample`.

    A file from elsewhere needs the features of the process and `WEIGHT_COLUMNS`; its weights must add up
    to cross sections in pb. Its rows count as all drawn points, and `number` is made up.

    Args:
        path: the file.
        process: what the file holds.
        progress: called after each block of rows.

    Raises:
        DataError: the file cannot be read, lacks a column, holds another process or a value that is not finite.
    """
    path = Path(path)
    known = _metadata(path)
    if known.get("process", process) != process:
        raise DataError(f"{path}: holds events of {known['process']}, not of {process}; give another file")
    names = (*FEATURES[process], *WEIGHT_COLUMNS)
    columns: dict[str, ColumnType] = {name: "float32" for name in names}
    if known:
        columns = {"number": "int64", **columns}
    parts = [[as_numpy(batch, name, path) for name in columns] for batch in read_blocks(path, columns, progress)]
    if not any(len(part[0]) for part in parts):
        raise DataError(f"{path}: holds no events; give another file")
    values = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(columns)}
    for name in names:
        if not np.isfinite(values[name]).all():
            raise DataError(f"{path}: column '{name}' has empty or infinite values; drop these rows")
    count = len(values[names[0]])
    weights = np.stack([values[name] for name in WEIGHT_COLUMNS], axis=-1)
    settings = known.get("settings")
    return Sample(
        process,
        int(known.get("generated", count)),
        values["number"] if known else np.arange(count, dtype=np.int64),
        np.stack([values[name] for name in FEATURES[process]], axis=-1),
        weights.reshape(count, len(SCALES), len(COEFFICIENTS)),
        str(known["fingerprint"]) if known else file_fingerprint(path),
        known.get("seed"),
        None if settings is None else validate(GeneratorSettings, settings, str(path)),
    )


def _schema(sample: Sample) -> pa.Schema:
    """Return columns and metadata of a sample's file."""
    fields = [pa.field("number", pa.int64())]
    fields += [pa.field(name, pa.float32()) for name in (*FEATURES[sample.process], *WEIGHT_COLUMNS)]
    settings = None if sample.settings is None else sample.settings.model_dump(mode="json", exclude={"pdf_folder"})
    stored = {
        "process": sample.process,
        "generated": sample.generated,
        "seed": sample.seed,
        "settings": settings,
        "fingerprint": sample.fingerprint,
    }
    return pa.schema(fields, {"systwise.higgs_jets": json.dumps(stored)})


def _metadata(path: Path) -> dict[str, Any]:
    """Return what `write_sample` stored with a file; empty for files from elsewhere."""
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return {}
    try:
        metadata = pa.parquet.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); check that the file is complete") from error
    text = metadata.get(b"systwise.higgs_jets")
    found = json.loads(text) if text else {}
    if found and found.get("process") not in PROCESSES:
        raise DataError(f"{path}: holds events of {found.get('process')!r}, which this version does not know")
    return found
