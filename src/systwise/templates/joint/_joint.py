"""The anchored observable: the scores at a few fixed nuisance values, binned jointly.

An aware network evaluated at fixed hypotheses z_1..z_K is K scores that do not depend on the unknown
nuisance. Their joint histogram is one ordinary, fixed observable: valid in every likelihood, with the
power of a score that moves, and exportable. K = 1 at the nominal value is the usual baseline.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import ConfigError, TemplateError
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable, HostObservable, host_logits
from systwise.templates._pairs import Pairs
from systwise.templates._scoring import _Chunks, _vary
from systwise.templates.joint._table import JointTable
from systwise.templates.joint._tree import ScoreTree

_NOT_A_SCORE = -1
"""Marks an event with weight at least one of whose logits is not a number."""


class JointBinning(eqx.Module):
    """Where the score is evaluated, and which score vectors share a cell.

    Attributes:
        anchors: `[anchor, nuisance]` hypotheses given to the observable.
        tree: from score vectors to cells.
        bins: number of cells.
    """

    anchors: Float[Array, "anchor nuisance"]
    tree: ScoreTree
    bins: int = eqx.field(static=True)

    def index(self, vector: Float[Array, "event anchor"]) -> Int[Array, " event"]:
        """Return the cell of each vector of logits, int32 `[event]`; pure JAX."""
        return self.tree.cell(vector)

    def joined(self, cells: Int[np.ndarray, " bin"]) -> JointBinning:
        """Return the binning in which bin b is part of bin `cells[b]`, numbered without gaps."""
        labels = jnp.asarray(cells, jnp.int32)[self.tree.labels]
        tree = eqx.tree_at(lambda t: t.labels, self.tree, labels)
        return JointBinning(self.anchors, tree, int(np.max(cells)) + 1)


def joint_score(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    z_true: Float64[np.ndarray, "pair nuisance"],
    binning: JointBinning,
    *,
    block: int = 2048,
    chunk: int = 65536,
    progress: Progress = no_progress,
) -> JointTable:
    """Fill the cells with the events at `index`, shifted to every true point; one pass.

    Args:
        observable: the networks.
        case: how nuisances move the events.
        table: all events, `[row]`; only slices are copied.
        index: rows to score.
        fold_of: `[row]`, which network scores a row (the one that never saw it); None for network 0.
        z_true: `[pair, nuisance]` points to which the events are shifted, e.g. those of `anchor_pairs`.
        binning: anchors and cells.
        block: events in one evaluation of the network; a few thousand keep activations in the cache.
        chunk: events on the device at a time.
        progress: called with the network evaluations done so far.

    Raises:
        ConfigError: a fold has no network.
        TemplateError: there are no events, or the observable is not a number for one that counts.
    """
    _checked_folds(observable, index, fold_of)
    chunks = _Chunks(table, np.asarray(index), None if fold_of is None else np.asarray(fold_of), block, chunk)
    points = np.asarray(z_true, np.float64)
    sums = np.zeros((len(points), len(table.component_names), binning.bins))
    squares = np.zeros_like(sums)
    pending: collections.deque[tuple[int, Array, np.ndarray]] = collections.deque()
    done, total = 0, len(index) * len(points) * len(binning.anchors)

    def collect() -> None:
        pair, cells, weights = pending.popleft()
        host = np.asarray(cells)
        if host.min() == _NOT_A_SCORE:
            raise _not_a_number(int((host == _NOT_A_SCORE).sum()), points[pair], table)
        for component, column in enumerate(weights):
            sums[pair, component] += np.bincount(host, column, binning.bins)
            squares[pair, component] += np.bincount(host, column**2, binning.bins)

    progress("scoring", 0, total)
    for events, live, folds, count in chunks:
        for pair, z in enumerate(points):
            varied = _vary(case, events, live, jnp.asarray(z, jnp.float32))
            weights = np.asarray(varied.weights, np.float64).T.copy()
            pending.append((pair, _cells(observable, varied, folds, binning), weights))
            # The device computes the next point while the host sums this one.
            if len(pending) > 1:
                collect()
            done += count * len(binning.anchors)
            progress("scoring", done, total)
    while pending:
        collect()
    return JointTable(Pairs(points, points), sums, squares, table.component_names)


def joint_cells(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    z_true: Float64[np.ndarray, " nuisance"],
    binning: JointBinning,
    *,
    block: int = 2048,
    chunk: int = 65536,
) -> Int[np.ndarray, " event"]:
    """Return the cell of each event at `index`, shifted to `z_true`, int32 in the order of `index`.

    For pseudo-experiments: events that the selection at `z_true` drops are in cell -1.

    Args:
        observable: the networks.
        case: how nuisances move the events.
        table: all events, `[row]`.
        index: rows to score.
        fold_of: `[row]`, which network scores a row; None for network 0.
        z_true: `[nuisance]`, the point to which the events are shifted.
        binning: anchors and cells.
        block: events in one evaluation of the network.
        chunk: events on the device at a time.

    Raises:
        ConfigError: a fold has no network.
        TemplateError: there are no events, or the observable is not a number for one that counts.
    """
    found = np.full(len(index), -1, np.int32)
    for place, varied, of_block in _parts(observable, case, table, index, fold_of, z_true, block, chunk):
        cells = np.asarray(_cells(observable, varied, of_block, binning))[: len(place)]
        if (cells == _NOT_A_SCORE).any():
            raise _not_a_number(int((cells == _NOT_A_SCORE).sum()), np.asarray(z_true), table)
        kept: np.ndarray = np.any(np.asarray(varied.weights)[: len(place)] != 0, axis=1)
        found[place] = np.where(kept, cells, -1)
    return found


def joint_vectors(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    z_true: Float64[np.ndarray, " nuisance"],
    anchors: Float64[np.ndarray, "anchor nuisance"],
    *,
    block: int = 2048,
    chunk: int = 65536,
) -> tuple[Float32[np.ndarray, "event anchor"], Float32[np.ndarray, "event component"]]:
    """Return logits at every anchor, and weights, of the events at `index` shifted to `z_true`.

    For choosing cells and for looking at score vectors; templates need no vectors in memory.

    Args:
        observable: the networks.
        case: how nuisances move the events.
        table: all events, `[row]`.
        index: rows to score.
        fold_of: `[row]`, which network scores a row; None for network 0.
        z_true: `[nuisance]`, the point to which the events are shifted.
        anchors: `[anchor, nuisance]` hypotheses.
        block: events in one evaluation of the network.
        chunk: events on the device at a time.

    Raises:
        ConfigError: a fold has no network.
        TemplateError: the observable is not a number for an event that counts.
    """
    vectors = np.zeros((len(index), len(anchors)), np.float32)
    weights = np.zeros((len(index), len(table.component_names)), np.float32)
    hypotheses = jnp.asarray(anchors, jnp.float32)
    for place, varied, of_block in _parts(observable, case, table, index, fold_of, z_true, block, chunk):
        weights[place] = np.asarray(varied.weights)[: len(place)]
        vectors[place] = np.asarray(_vectors(observable, varied, of_block, hypotheses))[: len(place)]
    undefined: np.ndarray = np.any(np.isnan(vectors), axis=1)
    bad = int((undefined & np.any(weights != 0, axis=1)).sum())
    if bad:
        raise _not_a_number(bad, np.asarray(z_true), table)
    return np.where(undefined[:, None], np.float32(0), vectors), weights


def _parts(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: np.ndarray,
    fold_of: np.ndarray | None,
    z_true: np.ndarray,
    block: int,
    chunk: int,
) -> Iterator[tuple[np.ndarray, Events, Int[Array, " block"]]]:
    """Yield, fold by fold, places in `index`, shifted events (more than places: padded) and folds of blocks."""
    folds = _checked_folds(observable, index, fold_of)
    # A size shared by all parts, so that few events do not pay for many.
    block = min(block, 256 * -(-max(1, len(folds)) // 256))
    size = block * min(max(1, chunk // block), -(-max(1, len(folds)) // block))
    z, live = jnp.asarray(z_true, jnp.float32), jnp.ones(size, bool)
    for fold in np.unique(folds):
        place, done = np.flatnonzero(folds == fold), 0
        of_block = jnp.full(size // block, fold, jnp.int32)
        for part, events in table.blocks(np.asarray(index)[place], size):
            yield place[done : done + len(part)], _vary(case, events, live, z), of_block
            done += len(part)


def _checked_folds(observable: AbstractObservable, index: np.ndarray, fold_of: np.ndarray | None) -> np.ndarray:
    """Return the network `[event]` of each event at `index`."""
    folds = np.zeros(len(index), np.int32) if fold_of is None else np.asarray(fold_of)[index].astype(np.int32)
    if len(folds) and not 0 <= folds.min() <= folds.max() < observable.folds:
        raise ConfigError(
            f"fold_of: fold {folds.max()} has no network, the observable has {observable.folds}; "
            "score with the split it was trained with"
        )
    return folds


def _not_a_number(count: int, z: np.ndarray, table: EventTable) -> TemplateError:
    return TemplateError(
        f"the observable is not a number for {count} events at z={z.tolist()}; check its training and the features "
        f"of {table.source}"
    )


def _vector(
    observable: AbstractObservable,
    events: Events,
    anchors: Float[Array, "anchor nuisance"],
    fold: Int[Array, ""],
) -> Float[Array, "event anchor"]:
    """Return the logits of `events` under each hypothesis, from network `fold`."""
    count = events.weights.shape[0]
    return jnp.stack(
        [observable.output(events, jnp.broadcast_to(z, (count, z.shape[0])), fold) for z in anchors], axis=-1
    )


def _blocks(events: Events, folds: Int[Array, " block"]) -> Events:
    """Return the events with a leading axis of blocks."""
    count = folds.shape[0]
    return jax.tree.map(lambda leaf: leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:]), events)


def _vectors(
    observable: AbstractObservable,
    events: Events,
    folds: Int[Array, " block"],
    anchors: Float[Array, "anchor nuisance"],
) -> Float[Array, "event anchor"]:
    """Return the score vector of every event, wherever the observable is evaluated."""
    if isinstance(observable, HostObservable):
        return jnp.asarray(np.stack([host_logits(observable, events, z, folds) for z in anchors], axis=-1))
    return _compiled_vectors(observable, events, folds, anchors)


def _cells(
    observable: AbstractObservable, events: Events, folds: Int[Array, " block"], binning: JointBinning
) -> Int[Array, " event"]:
    """Return the cell of every event, wherever the observable is evaluated."""
    if isinstance(observable, HostObservable):
        vectors = _vectors(observable, events, folds, jnp.asarray(binning.anchors))
        return _cells_of_vectors(vectors, events.weights, binning)
    return _compiled_cells(observable, events, folds, binning)


def _numbered(
    vector: Float[Array, "event anchor"], weights: Float[Array, "event component"], binning: JointBinning
) -> Int[Array, " event"]:
    undefined = jnp.any(jnp.isnan(vector), axis=1)
    found = binning.index(jnp.where(undefined[:, None], 0.0, vector))
    return jnp.where(undefined & jnp.any(weights != 0, axis=1), _NOT_A_SCORE, found)


_cells_of_vectors = eqx.filter_jit(_numbered)


@eqx.filter_jit
def _compiled_vectors(
    observable: AbstractObservable,
    events: Events,
    folds: Int[Array, " block"],
    anchors: Float[Array, "anchor nuisance"],
) -> Float[Array, "event anchor"]:
    """Return the score vector of every event, evaluated block by block with the block's network."""
    found = jax.lax.map(lambda part: _vector(observable, part[0], anchors, part[1]), (_blocks(events, folds), folds))
    return found.reshape(-1, anchors.shape[0])


@eqx.filter_jit
def _compiled_cells(
    observable: AbstractObservable, events: Events, folds: Int[Array, " block"], binning: JointBinning
) -> Int[Array, " event"]:
    """Return the cell of every event, evaluated block by block with the block's network."""

    def cells(arguments: tuple[Events, Int[Array, ""]]) -> Int[Array, " event"]:
        part, fold = arguments
        return _numbered(_vector(observable, part, binning.anchors, fold), part.weights, binning)

    return jax.lax.map(cells, (_blocks(events, folds), folds)).reshape(-1)
