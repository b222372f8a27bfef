"""Checks that a table of events can carry a measurement, for any case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from systwise.errors import DataError
from systwise.events._table import EventTable

_ROWS = 262_144


def check_events(table: EventTable, needed: Sequence[str] | None = None) -> EventTable:
    """Return the table if its events can be used.

    Infinite or missing numbers, weights that are all zero, negative yields and repeated ids do not
    stop a training; they spoil its result without a word. Here they are errors.

    Args:
        table: the events.
        needed: components that must have events; all where None.

    Raises:
        DataError: arrays of different lengths; no events; a feature or weight that is NaN or infinite
            (the message names the column, the number of rows and the first event); a component or
            process without weight, or of negative total yield; an event id that occurs twice.
    """
    check_finite(table)
    _check_zero(table)
    named = table.component_names if needed is None else needed
    check_yields(table.source, table.processes, table.component_names, process_yields(table), named)
    _check_ids(table)
    return table


def check_finite(table: EventTable) -> None:
    """Check what holds for any part of the events as well: shapes, codes, and that all is finite.

    Raises:
        DataError: as `check_events`.
    """
    _check_shapes(table)
    _check_finite(table, table.features, table.feature_names, "feature")
    _check_finite(table, table.weights, table.component_names, "weight of component")


def _check_shapes(table: EventTable) -> None:
    count = len(table.id)
    if count == 0:
        raise DataError(f"{table.source}: no events; give a file that holds some")
    for name, array, width in (
        ("features", table.features, len(table.feature_names)),
        ("weights", table.weights, len(table.component_names)),
    ):
        if array.shape != (count, width):
            raise DataError(
                f"{table.source}: {name} have the shape {array.shape} where {(count, width)} is expected"
                " (events, columns); build the table from arrays of one length"
            )
    if table.process.shape != (count,):
        raise DataError(f"{table.source}: {len(table.process)} process codes for {count} events; give one an event")
    if table.process.min() < 0 or table.process.max() >= len(table.processes):
        raise DataError(
            f"{table.source}: process codes reach from {table.process.min()} to {table.process.max()},"
            f" the names are {len(table.processes)}; use codes from 0 to {len(table.processes) - 1}"
        )


def _check_finite(table: EventTable, values: np.ndarray, names: tuple[str, ...], what: str) -> None:
    """Refuse NaN and infinite values, block by block so that no copy of the table is made."""
    bad = np.zeros(values.shape[1], np.int64)
    first = np.full(values.shape[1], -1, np.int64)
    for start in range(0, len(values), _ROWS):
        finite = np.isfinite(values[start : start + _ROWS])
        if finite.all():
            continue
        new = (first < 0) & ~finite.all(axis=0)
        first[new] = start + np.argmin(finite[:, new], axis=0)
        bad += (~finite).sum(axis=0)
    if bad.any():
        column = int(np.argmax(bad > 0))
        others = int((bad > 0).sum()) - 1
        more = f" (and {others} more column{'s' if others > 1 else ''})" if others else ""
        raise DataError(
            f"{table.source}: {what} '{names[column]}'{more} is NaN or infinite in {bad[column]:,} of"
            f" {len(values):,} events, first in event {table.id[first[column]]}; correct or drop these events"
        )


def _check_zero(table: EventTable) -> None:
    """Refuse processes whose weights are all zero."""
    for code, process in enumerate(table.processes):
        chosen = table.process == code
        if chosen.any() and not np.any(table.weights[chosen]):
            raise DataError(f"{table.source}: all weights of process '{process}' are zero; check the weight column")


def check_yields(
    source: str,
    processes: Sequence[str],
    components: Sequence[str],
    totals: Float[np.ndarray, "process component"],
    needed: Sequence[str],
) -> None:
    """Refuse processes and components that contribute nothing or less.

    Args:
        source: the file, for the message.
        processes: names.
        components: names.
        totals: total weights.
        needed: components that must have events.

    Raises:
        DataError: naming the process or component.
    """
    for process, total in zip(processes, totals.sum(axis=1), strict=True):
        # A component may be negative (an interference); a process as a whole may not.
        if total < 0:
            raise DataError(
                f"{source}: process '{process}' has a negative total yield of {total:.6g} events;"
                " check the signs in the weight column"
            )
    for component, weights in zip(components, totals.T, strict=True):
        if component in needed and not weights.any():
            raise DataError(f"{source}: component '{component}' has no events; give a file that holds all components")


def _check_ids(table: EventTable) -> None:
    """Refuse repeated ids: folds and random smearing go by the id."""
    if np.all(table.id[1:] > table.id[:-1]):
        return
    values, counts = np.unique(table.id, return_counts=True)
    repeated = counts > 1
    if repeated.any():
        raise DataError(
            f"{table.source}: event id {values[repeated][0]} occurs {counts[repeated][0]} times"
            f" ({repeated.sum():,} ids are repeated); number the events, or remove the copies"
        )


def process_yields(table: EventTable) -> np.ndarray:
    """Return the total weight of each process in each component, float64 `[process, component]`."""
    count = len(table.processes)
    columns = [np.bincount(table.process, table.weights[:, k], count) for k in range(table.weights.shape[1])]
    return np.stack(columns, axis=1)


def check_labels(
    source: str, column: str, valid: Bool[np.ndarray, " event"], values: np.ndarray, row: int, known: str
) -> None:
    """Refuse labels that are none of the known ones.

    Args:
        source: the file, for the message.
        column: name of the label column.
        valid: whether each label is known.
        values: the labels, `[event]`.
        row: number of the first event's row in the file, counted from 1 without a header.
        known: the known labels, as written in the message.

    Raises:
        DataError: a label is unknown; the message holds it and its row.
    """
    if not valid.all():
        index = int(np.argmin(valid))
        raise DataError(
            f"{source}: column '{column}' is {values[index]!r} in row {row + index} of the data; it must be {known}"
        )


def check_positive(source: str, names: tuple[str, ...], values: np.ndarray, ids: Int[np.ndarray, " event"]) -> None:
    """Refuse columns `[event, column]` with values at or below zero.

    Raises:
        DataError: naming the column, the number of rows and the first event.
    """
    # NaN is not at fault here: `check_events` has the sentence for it.
    bad = values <= 0
    if bad.any():
        column = int(np.argmax(bad.any(axis=0)))
        raise DataError(
            f"{source}: column '{names[column]}' must be above zero, it is not in {bad[:, column].sum():,} events,"
            f" first in event {ids[int(np.argmax(bad[:, column]))]}; correct or drop these events"
        )
