"""Choosing anchors and cells of an anchored observable, on events that its templates do not use."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import ConfigError
from systwise.events import EventTable
from systwise.learn import AbstractObservable
from systwise.parameters import Normalisation, Nuisance
from systwise.templates._pairs import nuisance_point
from systwise.templates.joint._cells import cluster_leaves, fill_cells
from systwise.templates.joint._information import LeafInformation, leaf_information
from systwise.templates.joint._joint import JointBinning, joint_score, joint_vectors
from systwise.templates.joint._table import JointTable, joint_points
from systwise.templates.joint._tree import grow_tree

BINS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Numbers of cells that are tried, the smallest that is good enough being kept."""

TOLERANCE = 0.004
"""How much larger than the best a standard deviation may be."""

POINTS = 7
"""Nuisance values, of each nuisance, at which cells are filled when they are chosen."""


def choose_joint_binning(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: Int[np.ndarray, " event"],
    fold_of: Int[np.ndarray, " row"] | None,
    *,
    anchors: int | Float64[np.ndarray, "anchor nuisance"] | None = None,
    bins: int | None = None,
    minimum: float = 10.0,
    template_events: int | None = None,
    leaf_events: float = 200.0,
    events: int = 500_000,
    rows: int = 2**17,
    poi: int = 0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> JointBinning:
    """Return anchors and cells that keep the profiled information on a parameter of interest.

    A fine tree of score vectors is grown; leaves are filled at several nuisance values, and leaves whose
    relative slopes in all parameters agree at all of them share a cell, wherever they lie
    (`cluster_leaves`). Where `bins` is None, the smallest number of cells is kept whose uncertainty,
    averaged over the points, is within 0.4 % of the best; the slopes of one half of the events are
    multiplied by those of the other, so that noise does not pose as information.

    Args:
        observable: the networks.
        case: components, nuisances and constraints.
        table: all events.
        index: rows on which cells are chosen; none of the rows of the templates.
        fold_of: `[row]`, which network scores a row; None for network 0.
        anchors: hypotheses `[anchor, nuisance]`, or how many (`spread_anchors`); None: `2 J + 1` for J
            nuisances, 1 for an observable that does not depend on the hypothesis.
        bins: how many cells at most; None: as many as are needed.
        minimum: effective events, of the background and of the total, that every cell has at every
            nuisance value tried.
        template_events: how many events the templates will be made of; the effective events of `minimum`
            are theirs. None: as many as there are at `index`.
        leaf_events: events for each leaf of the fine tree; with fewer, noise decides what is joined.
        events: at most so many of the events at `index`, drawn at random, are used.
        rows: events from which the tree is grown.
        poi: position of the parameter whose uncertainty counts; the others are profiled.
        seed: seed of the random choices.
        progress: called with the network evaluations done so far.

    Raises:
        ConfigError: no anchor or cell is asked for, or anchors of the wrong shape.
        TemplateError: fewer than `minimum` effective events altogether at some nuisance value.
    """
    if bins is not None and bins < 1:
        raise ConfigError(f"bins: a binning needs at least one cell, got {bins}")
    hypotheses = _hypotheses(observable, case, anchors)
    coarse = [_thinned(nuisance) for nuisance in case.nuisances]
    points = joint_points(coarse, (), case.normalisations)
    draw = np.random.Generator(np.random.Philox(key=seed))
    index = draw.permutation(index)[:events]
    vectors, classes = _mixture(observable, case, table, index, fold_of, points, hypotheses, rows, draw)
    depth = int(np.clip(np.log2(max(2.0, min(len(index), len(vectors)) / leaf_events)), 1, 13))
    tree = grow_tree(vectors, classes, depth)
    leaves = JointBinning(jnp.asarray(hypotheses, jnp.float32), tree, 2**depth)
    halves = [
        joint_score(observable, case, table, part, fold_of, points, leaves, progress=progress)
        for part in np.array_split(index, 2)
    ]
    merged = JointTable.merge(halves)
    everything = table.weights.sum(axis=0, dtype=np.float64)
    whole, first, second = (
        leaf_information(_raised(part, everything), case.components, coarse, case.constraints, case.normalisations)
        for part in (merged, *halves)
    )
    share = 1.0 if template_events is None else template_events / len(index)
    filled = fill_cells(whole, merged.sums, merged.squares, case.components, minimum / share, poi)
    number = int(filled.max()) + 1
    whole, first, second = (part.grouped(filled, number) for part in (whole, first, second))
    tried = [cluster_leaves(whole, min(count, number), poi, draw) for count in (BINS if bins is None else (bins,))]
    costs = np.array([_cost(first, second, cells, poi) for cells in tried])
    found = tried[int(np.argmax(costs <= costs.min() + TOLERANCE))]
    cells = found[filled]
    labels = jnp.asarray(cells, jnp.int32)
    return JointBinning(leaves.anchors, eqx.tree_at(lambda t: t.labels, tree, labels), int(cells.max()) + 1)


def _cost(first: LeafInformation, second: LeafInformation, cells: np.ndarray, poi: int) -> float:
    """Return the mean logarithm of the standard deviation, from two halves of the events."""
    number = int(cells.max()) + 1
    variance = first.grouped(cells, number).covariance(second.grouped(cells, number))[:, poi, poi]
    return float(np.mean(np.log(np.where(variance > 0, variance, np.inf)))) / 2


def spread_anchors(
    nuisances: Sequence[Nuisance], count: int | None = None, normalisations: Sequence[Normalisation] = ()
) -> Float64[np.ndarray, "anchor nuisance"]:
    """Return `[anchor, nuisance]` hypotheses spread over the ranges of the J nuisances that move events.

    For J = 1 the middles of `count` equal parts of the range; for several the nominal point, then each
    nuisance half-way to the ends of its range, upwards first. One anchor is the nominal point.

    Args:
        nuisances: all nuisances.
        count: how many; `2 J + 1` where None.
        normalisations: nuisances that move no event and stay nominal.

    Raises:
        ConfigError: `count` is not positive, or above `2 J + 1` where J is not 1.
    """
    exact = {n.name for n in nuisances if n.kind == "norm"} | {rate.nuisance for rate in normalisations}
    moving = [j for j, nuisance in enumerate(nuisances) if nuisance.name not in exact]
    most = 2 * len(moving) + 1
    count = most if count is None else count
    if count < 1 or (len(moving) != 1 and count > most):
        raise ConfigError(
            f"anchors: {count} cannot be spread over {len(moving)} nuisances; give 1 to {most}, or the values"
        )
    nominal = nuisance_point(nuisances)
    if count == 1:
        return nominal[None]
    points = np.tile(nominal, (count, 1))
    if len(moving) == 1:
        low, high = nuisances[moving[0]].range
        points[:, moving[0]] = low + (high - low) * (np.arange(count) + 0.5) / count
        return points
    for row, (side, j) in enumerate([(side, j) for side in (1, 0) for j in moving][: count - 1], start=1):
        points[row, j] = (nominal[j] + nuisances[j].range[side]) / 2
    return points


def _hypotheses(
    observable: AbstractObservable, case: AbstractCase, anchors: int | Float64[np.ndarray, "anchor nuisance"] | None
) -> np.ndarray:
    nuisances = case.nuisances
    if anchors is None or isinstance(anchors, int):
        return spread_anchors(nuisances, anchors if observable.moving else 1, case.normalisations)
    values = np.asarray(anchors, np.float64)
    if values.ndim != 2 or values.shape[1] != len(nuisances) or not len(values):
        raise ConfigError(f"anchors: shape {values.shape} where [anchor, {len(nuisances)}] is needed")
    return values


def _thinned(nuisance: Nuisance) -> Nuisance:
    """Return the nuisance with at most `POINTS` of its anchors, the outermost among them."""
    count = len(nuisance.anchors)
    kept = np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))
    return dataclasses.replace(nuisance, anchors=tuple(nuisance.anchors[i] for i in kept))


def _mixture(
    observable: AbstractObservable,
    case: AbstractCase,
    table: EventTable,
    index: np.ndarray,
    fold_of: np.ndarray | None,
    points: np.ndarray,
    anchors: np.ndarray,
    rows: int,
    draw: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return score vectors of as many events of each component at each point, and which these are."""
    weights = np.abs(table.weights[index]).astype(np.float64)
    components = [k for k in range(weights.shape[1]) if weights[:, k].sum() > 0]
    each = max(1, rows // (len(points) * len(components)))
    vectors: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    for z in points:
        picked = [
            index[np.sort(draw.choice(len(index), each, p=weights[:, k] / weights[:, k].sum()))] for k in components
        ]
        scores, kept = joint_vectors(observable, case, table, np.concatenate(picked), fold_of, z, anchors)
        passed = np.any(kept != 0, axis=1)
        vectors.append(scores[passed])
        classes.append((len(classes) * len(components) + np.repeat(np.arange(len(components)), each))[passed])
    order = draw.permutation(sum(len(v) for v in vectors))
    return np.concatenate(vectors)[order], np.concatenate(classes)[order]


def _raised(table: JointTable, everything: np.ndarray) -> JointTable:
    """Return the table scaled, one factor a component, from its part of the events to all of them."""
    own = table.totals[0]
    # A component without events is passed on, so that the table names it.
    factor = np.divide(everything, own, out=np.ones_like(own), where=own != 0)
    return table.scaled_to(np.where(own != 0, table.totals * factor, everything))
