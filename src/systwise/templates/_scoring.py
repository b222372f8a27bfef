"""One pass of events through an observable: shifted, scored and histogrammed chunk by chunk.

Memory does not grow with the number of events: a chunk is copied to the device, shifted on the fly,
and only its fine bins come back. Sums are taken on the host in float64.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, UInt16

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import ConfigError, TemplateError
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable, HostObservable, host_logits
from systwise.templates._grid import FineGrid
from systwise.templates._pairs import Pairs
from systwise.templates._score_table import ScoreTable

_NOT_A_SCORE = np.iinfo(np.uint16).max
"""Marks an event with weight whose logit is not a number."""


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

    Events of a fold are kept together, each block of events belongs to one fold, and the fold enters
    the compiled function as an array: one compilation serves all folds, pairs and chunks.

    Args:
        observable: the networks.
        case: how nuisances move the events.
        table: all events, `[row]`; only slices are copied.
        index: rows to score.
        fold_of: `[row]`, which network scores a row (the one that never saw it); None for network 0.
        pairs: where to shift to and what to assume, from `anchor_pairs`.
        block: events in one evaluation of the network; a few thousand keep activations in the cache.
        chunk: events on the device at a time.
        grid: the fine bins, `FineGrid()` where None.
        progress: called with the network evaluations done so far.

    Raises:
        ConfigError: a fold has no network.
        TemplateError: there are no events, or the observable is not a number for one that counts.
    """
    grid = grid or FineGrid()
    chunks = _Chunks(table, np.asarray(index), None if fold_of is None else np.asarray(fold_of), block, chunk)
    if chunks.last_fold >= observable.folds:
        raise ConfigError(
            f"fold_of: fold {chunks.last_fold} has no network, the observable has {observable.folds}; "
            "score with the split it was trained with"
        )
    groups = _by_true_point(pairs)
    components = len(table.component_names)
    sums = np.zeros((len(pairs), components, grid.bins))
    squares = np.zeros_like(sums)
    pending: collections.deque[tuple[int, UInt16[Array, " event"], np.ndarray]] = collections.deque()
    done, total = 0, len(index) * len(pairs)

    def collect() -> None:
        pair, bins, weights = pending.popleft()
        host = np.asarray(bins)
        if host.max() == _NOT_A_SCORE:
            raise TemplateError(
                f"the observable is not a number for {int((host == _NOT_A_SCORE).sum())} events at "
                f"z={pairs.z_true[pair].tolist()}; check its training and the features of {table.source}"
            )
        for component, column in enumerate(weights):
            sums[pair, component] += np.bincount(host, column, grid.bins)
            squares[pair, component] += np.bincount(host, column**2, grid.bins)

    progress("scoring", 0, total)
    for events, live, folds, count in chunks:
        for z_true, members in groups:
            varied = _vary(case, events, live, jnp.asarray(z_true, jnp.float32))
            weights = np.asarray(varied.weights, np.float64).T.copy()
            for pair in members:
                z_hypothesis = jnp.asarray(pairs.z_hypothesis[pair], jnp.float32)
                pending.append((pair, _bins(observable, varied, z_hypothesis, folds, grid), weights))
                # The device computes the next pair while the host sums this one.
                if len(pending) > 1:
                    collect()
            done += count * len(members)
            progress("scoring", done, total)
    while pending:
        collect()
    return ScoreTable(pairs, grid.edges, sums, squares, table.component_names)


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
    for events, live, _, count in _Chunks(table, np.asarray(index), None, chunk, chunk):
        for row, z in enumerate(points):
            weights = np.asarray(_kept_weights(case, events, live, jnp.asarray(z, jnp.float32)))
            totals[row] += weights.sum(axis=0, dtype=np.float64)
        done += count
        progress("yields", done, total)
    return totals[inverse.reshape(-1)]


class _Chunks:
    """Events in chunks of one shape, made of blocks that each belong to one fold."""

    def __init__(
        self, table: EventTable, index: np.ndarray, fold_of: np.ndarray | None, block: int, chunk: int
    ) -> None:
        if len(index) == 0:
            raise TemplateError(f"there are no events to score in {table.source}; check the split")
        self._table = table
        folds = np.zeros(len(index), np.int32) if fold_of is None else fold_of[index].astype(np.int32)
        if folds.min() < 0:
            raise ConfigError("fold_of: a fold is negative; every scored row needs a network")
        self.last_fold = int(folds.max())
        # Small inputs in small blocks, else padding would cost more than the events.
        block = min(block, max(256, _round_up(-(-len(index) // (4 * len(np.unique(folds)))))))
        rows, block_folds = [], []
        for fold in np.unique(folds):
            part = index[folds == fold]
            padded = np.full(-(-len(part) // block) * block, -1, np.int64)
            padded[: len(part)] = part
            rows.append(padded.reshape(-1, block))
            block_folds.append(np.full(len(rows[-1]), fold, np.int32))
        self._rows, self._folds = np.concatenate(rows), np.concatenate(block_folds)
        # Rounded, so that splits of nearly the same size share a compilation.
        chunks = -(-len(self._rows) // max(1, chunk // block))
        self._depth = _round_up(-(-len(self._rows) // chunks))

    def __iter__(self) -> Iterator[tuple[Events, Bool[Array, " event"], Int[Array, " block"], int]]:
        """Yield events, which of them are real, the fold of each block, and the number of real ones."""
        for start in range(0, len(self._rows), self._depth):
            rows, folds = self._rows[start : start + self._depth], self._folds[start : start + self._depth]
            missing = self._depth - len(rows)
            rows = np.pad(rows, ((0, missing), (0, 0)), constant_values=-1).reshape(-1)
            live = rows >= 0
            events = self._table.slice(np.where(live, rows, rows[0]))
            yield events, jnp.asarray(live), jnp.asarray(np.pad(folds, (0, missing), mode="edge")), int(live.sum())


def _round_up(count: int) -> int:
    """Return the next number with at most four significant bits: at most 12.5 % above."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def _by_true_point(pairs: Pairs) -> list[tuple[np.ndarray, list[int]]]:
    """Group pairs by their true point, so that events are shifted once for all hypotheses."""
    points, group = np.unique(pairs.z_true, axis=0, return_inverse=True)
    return [(point, np.flatnonzero(group.reshape(-1) == i).tolist()) for i, point in enumerate(points)]


def _shifted(case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]) -> Events:
    events = case.vary(events, z)
    return eqx.tree_at(lambda e: e.weights, events, jnp.where(live[:, None], events.weights, 0))


@functools.partial(jax.jit, static_argnames="case")
def _vary(case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]) -> Events:
    return _shifted(case, events, live, z)


@functools.partial(jax.jit, static_argnames="case")
def _kept_weights(
    case: AbstractCase, events: Events, live: Bool[Array, " event"], z: Float[Array, " nuisance"]
) -> Float[Array, "event component"]:
    # A function of its own: the compiler drops all that the selection does not need.
    return _shifted(case, events, live, z).weights


def _bins(
    observable: AbstractObservable,
    events: Events,
    z: Float[Array, " nuisance"],
    folds: Int[Array, " block"],
    grid: FineGrid,
) -> UInt16[Array, " event"]:
    """Return the fine bin of every event, wherever the observable is evaluated."""
    if isinstance(observable, HostObservable):
        return _bins_of_logits(jnp.asarray(host_logits(observable, events, z, folds)), events.weights, grid)
    return _fine_bins(observable, events, z, folds, grid)


def _numbered(
    logits: Float[Array, " event"], weights: Float[Array, "event component"], grid: FineGrid
) -> UInt16[Array, " event"]:
    counts = jnp.any(weights != 0, axis=1)
    found = grid.index(jnp.where(jnp.isnan(logits), 0.0, logits))
    return jnp.where(jnp.isnan(logits) & counts, jnp.uint16(_NOT_A_SCORE), found)


_bins_of_logits = eqx.filter_jit(_numbered)


@eqx.filter_jit
def _fine_bins(
    observable: AbstractObservable,
    events: Events,
    z: Float[Array, " nuisance"],
    folds: Int[Array, " block"],
    grid: FineGrid,
) -> UInt16[Array, " event"]:
    """Return the fine bin of every event, evaluated block by block with the block's network."""
    count = folds.shape[0]
    blocks = jax.tree.map(lambda leaf: leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:]), events)

    def bins(arguments: tuple[Events, Int[Array, ""]]) -> UInt16[Array, " event"]:
        part, fold = arguments
        count = part.weights.shape[0]
        logits = observable.output(part, jnp.broadcast_to(z, (count, z.shape[0])), fold)
        return _numbered(logits, part.weights, grid)

    return jax.lax.map(bins, (blocks, folds)).reshape(-1)
