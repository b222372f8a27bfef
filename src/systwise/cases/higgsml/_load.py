"""From a HiggsML file to an event table, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from systwise.cases._case import Progress
from systwise.cases.higgsml._columns import FEATURES, ID, LABEL, POSITIVE, PROCESSES, WEIGHT, recover_process
from systwise.cases.higgsml._invariants import recompute_invariants
from systwise.errors import DataError
from systwise.events import (
    ColumnType,
    EventTable,
    as_numpy,
    check_events,
    check_labels,
    check_positive,
    file_fingerprint,
    read_blocks,
)

URL = "https://opendata.cern.ch/record/328/files/atlas-higgs-challenge-2014-v2.csv.gz"
"""The full file, 65,630,848 bytes, 818,238 events."""

CHECKSUM = "sha1:639b1dbd97a709a739122a9a5dcd99b49d55d86c"
"""As published with record 328 (cernopendata/opendata.cern.ch, `atlas-higgs-challenge-2014.json`)."""

_COMPONENTS = ("signal", "background")


def load_table(path: Path, yields: tuple[float, float], progress: Progress) -> EventTable:
    """Read a file of the challenge's columns into an event table.

    The weights of signal and of background are scaled, each with one factor, to the expected yields
    before any selection: a part of the file stands for the whole, and the factors do not depend on
    the nuisance.

    Args:
        path: `.csv`, `.csv.gz` or `.parquet` with the columns of record 328.
        yields: expected events of (signal, background).
        progress: called as blocks are read.

    Raises:
        DataError: the file is missing or unusable; the message names it, the column and the event.
    """
    types: dict[str, ColumnType] = {ID: "int64", **dict.fromkeys(FEATURES, "float32"), WEIGHT: "float64", LABEL: "text"}
    features, weights, signal, ids = [], [], [], []
    row = 1
    for block in read_blocks(path, types, progress):
        ids.append(as_numpy(block, ID, path))
        signal.append(_is_signal(block, str(path), row))
        weights.append(as_numpy(block, WEIGHT, path))
        features.append(_features(block, path, ids[-1]))
        row += block.num_rows
    if row == 1:
        raise DataError(f"{path}: no events; give a file that holds some")

    weight, is_signal = np.concatenate(weights), np.concatenate(signal)
    table = EventTable(
        features=np.concatenate(features),
        weights=_component_weights(weight, is_signal, yields, path),
        process=recover_process(weight, is_signal),
        id=np.concatenate(ids),
        feature_names=FEATURES,
        component_names=_COMPONENTS,
        processes=PROCESSES,
        source=str(path),
        fingerprint=file_fingerprint(path),
    )
    return check_events(table)


def _is_signal(block: pa.RecordBatch, source: str, row: int) -> np.ndarray:
    """Return whether each label says signal."""
    labels = block.column(LABEL).to_numpy(zero_copy_only=False)
    is_signal = labels == "s"
    check_labels(source, LABEL, is_signal | (labels == "b"), labels, row, "'s' (signal) or 'b' (background)")
    return is_signal


def _features(block: pa.RecordBatch, path: Path, ids: np.ndarray) -> np.ndarray:
    """Return the features of a block, float32 `[event, feature]`, the invariants recomputed."""
    values = np.stack([as_numpy(block, name, path) for name in FEATURES], axis=1)
    check_positive(str(path), POSITIVE, values[:, [FEATURES.index(name) for name in POSITIVE]], ids)
    # Rows with a NaN stay the file's, so that `check_events` names the column that is at fault.
    good = np.isfinite(values).all(axis=1)
    if good.all():
        recompute_invariants(values)
    else:
        values[good] = recompute_invariants(values[good])
    return values


def _component_weights(
    weight: np.ndarray, is_signal: np.ndarray, yields: tuple[float, float], path: Path
) -> np.ndarray:
    """Return weights `[event, component]` that sum to the expected yields."""
    out = np.zeros((len(weight), 2), np.float32)
    for component, chosen in enumerate((is_signal, ~is_signal)):
        total = weight[chosen].sum()
        # A total that is zero, negative or NaN cannot be scaled; the checks name what is wrong with it.
        factor = yields[component] / total if total > 0 and np.isfinite(total) else 1.0
        out[chosen, component] = weight[chosen] * factor
    return out
