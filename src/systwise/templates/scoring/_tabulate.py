"""One pass of events through an observable: shifted, scored and histogrammed chunk by chunk.

Memory does not grow with the number of events: a chunk is copied to the device, shifted on the fly,
and only its fine bins come back. Sums are taken on the host in float64.
"""

from __future__ import annotations

import collections
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, UInt16

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable
from systwise.templates._pairs import Pairs
from systwise.templates.scoring._binner import NOT_A_SCORE, AbstractBinner, FineBins, bins_of
from systwise.templates.scoring._chunks import Chunks, checked_folds, not_a_number
from systwise.templates.scoring._count_table import CountTable
from systwise.templates.scoring._grid import FineGrid
from systwise.templates.scoring._score_table import ScoreTable


def tabulate(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    pairs: Pairs,
    binner: AbstractBinner,
    *,
    block: int = 4096,
    chunk: int = 65536,
    progress: Progress = no_progress,
) -> CountTable:
    """Count the events at `index` in bins, shifted and scored at every pair; one pass.

    Events of a fold are kept together, each block of events belongs to one fold, and the fold enters
    the compiled function as an array: one compilation serves all folds, pairs and chunks.

    Args:
        observable: the networks.
        case: how nuisances move the events.
        table: all events, `[row]`; only slices are copied.
        index: rows to score.
        fold_of: `[row]`, which network scores a row (the one that never saw it); None for network 0.
        pairs: where to shift to and what to assume, from `anchor_pairs`.
        binner: from scores to bins.
        block: events in one evaluation of the network; a few thousand keep activations in the cache.
        chunk: events on the device at a time.
        progress: called with the network evaluations done so far.

    Raises:
        ConfigError: a fold has no network.
        TemplateError: there are no events, or the observable is not a number for one that counts.
    """
    checked_folds(observable, index, fold_of)
    chunks = Chunks(table, np.asarray(index), None if fold_of is None else np.asarray(fold_of), block, chunk)
    groups = _by_true_point(pairs)
    sums = np.zeros((len(pairs), len(table.component_names), binner.count))
    squares = np.zeros_like(sums)
    pending: collections.deque[tuple[int, UInt16[Array, " event"], np.ndarray]] = collections.deque()
    evaluations = len(binner.hypotheses(jnp.asarray(pairs.z_hypothesis[0], jnp.float32)))
    done, total = 0, len(index) * len(pairs) * evaluations

    def collect() -> None:
        pair, bins, weights = pending.popleft()
        host = np.asarray(bins)
        if host.max() == NOT_A_SCORE:
            raise not_a_number(int((host == NOT_A_SCORE).sum()), pairs.z_true[pair], table)
        for component, column in enumerate(weights):
            sums[pair, component] += np.bincount(host, column, binner.count)
            squares[pair, component] += np.bincount(host, column**2, binner.count)

    progress("scoring", 0, total)
    for events, live, folds, count in chunks:
        for z_true, members in groups:
            varied = shifted(case, events, live, jnp.asarray(z_true, jnp.float32))
            weights = np.asarray(varied.weights, np.float64).T.copy()
            for pair in members:
                assumed = jnp.asarray(pairs.z_hypothesis[pair], jnp.float32)
                pending.append((pair, bins_of(observable, varied, assumed, folds, binner), weights))
                # The device computes the next pair while the host sums this one.
                if len(pending) > 1:
                    collect()
            done += count * len(members) * evaluations
            progress("scoring", done, total)
    while pending:
        collect()
    return CountTable(pairs, sums, squares, table.component_names)


def score(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    pairs: Pairs,
    *,
    block: int = 4096,
    chunk: int = 65536,
    grid: FineGrid | None = None,
    progress: Progress = no_progress,
) -> ScoreTable:
    """Fill a score table with the events at `index`, shifted and scored at every pair.

    Arguments and errors are those of `tabulate`; `grid` holds the fine bins, `FineGrid()` where None.
    """
    binner = FineBins(grid or FineGrid())
    events = (table, index, fold_of)
    found = tabulate(observable, case, *events, pairs, binner, block=block, chunk=chunk, progress=progress)
    return ScoreTable(pairs, found.sums, found.squares, found.component_names, binner.grid.edges)


def yields(
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    z_values: Float64[np.ndarray, "z nuisance"],
    *,
    chunk: int = 65536,
    progress: Progress = no_progress,
) -> Float64[np.ndarray, "z component"]:
    """Return the total weight `[z, component]` of the kept events at each nuisance point.

    No network is evaluated. Points that occur several times are computed once.

    Args:
        case: how nuisances move the events, selection included.
        table: all events.
        index: rows to sum.
        z_values: `[z, nuisance]` points, e.g. `pairs.z_true`.
        chunk: events on the device at a time.
        progress: called with the events done so far.

    Raises:
        TemplateError: there are no events.
    """
    points, inverse = np.unique(np.asarray(z_values, np.float64), axis=0, return_inverse=True)
    totals = np.zeros((len(points), len(table.component_names)))
    done, total = 0, len(index)
    progress("yields", 0, total)
    for events, live, _, count in Chunks(table, np.asarray(index), None, chunk, chunk):
        for row, z in enumerate(points):
            weights = np.asarray(_kept_weights(case, events, live, jnp.asarray(z, jnp.float32)))
            totals[row] += weights.sum(axis=0, dtype=np.float64)
        done += count
        progress("yields", done, total)
    return totals[inverse.reshape(-1)]


def _by_true_point(pairs: Pairs) -> list[tuple[np.ndarray, list[int]]]:
    """Group pairs by their true point, so that events are shifted once for all hypotheses."""
    points, group = np.unique(pairs.z_true, axis=0, return_inverse=True)
    return [(point, np.flatnonzero(group.reshape(-1) == i).tolist()) for i, point in enumerate(points)]


def _cut(case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]) -> Events:
    events = case.vary(events, z)
    return eqx.tree_at(lambda e: e.weights, events, jnp.where(live[:, None], events.weights, 0))


@functools.partial(jax.jit, static_argnames="case")
def shifted(case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]) -> Events:
    """Return events at a nuisance point; those that are not live, and those that the selection drops, weigh nothing."""
    return _cut(case, events, live, z)


@functools.partial(jax.jit, static_argnames="case")
def _kept_weights(
    case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]
) -> Float[Array, "event component"]:
    # A function of its own: the compiler drops all that the selection does not need.
    return _cut(case, events, live, z).weights
