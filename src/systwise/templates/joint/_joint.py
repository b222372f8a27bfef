"""The anchored observable: the scores at a few fixed nuisance values, binned jointly.

An aware network evaluated at fixed hypotheses z_1..z_K is K scores that do not depend on the unknown
nuisance. Their joint histogram is one ordinary, fixed observable: valid in every likelihood, with the
power of a score that moves, and exportable. K = 1 at the nominal value is the usual baseline.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import TemplateError
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable
from systwise.templates._pairs import Pairs
from systwise.templates.joint._table import JointTable
from systwise.templates.joint._tree import ScoreTree
from systwise.templates.scoring._binner import NOT_A_SCORE, AbstractBinner, bins_of, vectors_of
from systwise.templates.scoring._chunks import checked_folds, in_order, not_a_number
from systwise.templates.scoring._tabulate import shifted, tabulate


class JointBinning(AbstractBinner):
    """Where the score is evaluated, and which score vectors share a cell.

    Attributes:
        anchors: `[anchor, nuisance]` hypotheses given to the observable.
        tree: from score vectors to cells.
        bins: number of cells.
    """

    anchors: Float[Array, "anchor nuisance"]
    tree: ScoreTree
    bins: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.bins

    def hypotheses(self, assumed: Float[Array, " nuisance"]) -> Float[Array, "anchor told"]:
        """Return the anchors, whatever is assumed."""
        return self.anchors

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
    points = np.asarray(z_true, np.float64)
    pairs = Pairs(points, points)
    events = (table, index, fold_of)
    found = tabulate(observable, case, *events, pairs, binning, block=block, chunk=chunk, progress=progress)
    return JointTable(pairs, found.sums, found.squares, found.component_names)


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
    z = jnp.asarray(z_true, jnp.float32)

    def work(varied: Events, folds: Int[Array, " block"]) -> tuple[Array, ...]:
        return bins_of(observable, varied, z, folds, binning), varied.weights

    cells, weights = _in_blocks(work, observable, case, table, index, fold_of, z, block, chunk)
    if (cells == NOT_A_SCORE).any():
        raise not_a_number(int((cells == NOT_A_SCORE).sum()), np.asarray(z_true), table)
    return np.where(np.any(weights != 0, axis=1), cells.astype(np.int32), -1)


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
    hypotheses = jnp.asarray(anchors, jnp.float32)

    def work(varied: Events, folds: Int[Array, " block"]) -> tuple[Array, ...]:
        return vectors_of(observable, varied, hypotheses, folds), varied.weights

    z = jnp.asarray(z_true, jnp.float32)
    vectors, weights = _in_blocks(work, observable, case, table, index, fold_of, z, block, chunk)
    undefined: np.ndarray = np.any(np.isnan(vectors), axis=1)
    bad = int((undefined & np.any(weights != 0, axis=1)).sum())
    if bad:
        raise not_a_number(bad, np.asarray(z_true), table)
    return np.where(undefined[:, None], np.float32(0), vectors), weights


def _in_blocks(
    work: Callable[[Events, Int[Array, " block"]], tuple[Array, ...]],
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: np.ndarray,
    fold_of: np.ndarray | None,
    z: Float[Array, " nuisance"],
    block: int,
    chunk: int,
) -> list[np.ndarray]:
    """Return what `work` makes of shifted events and the folds of their blocks, one row an event at `index`."""
    folds = checked_folds(observable, index, fold_of)
    if not len(folds):
        raise TemplateError(f"there are no events to score in {table.source}; check the split")
    # A size shared by all parts, so that few events do not pay for many.
    block = min(block, 256 * -(-len(folds) // 256))
    size = block * min(max(1, chunk // block), -(-len(folds) // block))
    live = jnp.ones(size, bool)

    def of_part(events: Events, fold: Int[Array, ""]) -> tuple[Array, ...]:
        return work(shifted(case, events, live, z), jnp.full(size // block, fold, jnp.int32))

    return in_order(of_part, table, index, folds, size)
