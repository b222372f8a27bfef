"""Where single events fall in an observable of a finished run: score, bin or cell, and fold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Int32
from scipy.special import expit

from systwise.cases import AbstractCase
from systwise.events import Events, EventTable, fold_of
from systwise.learn import (
    STRATEGIES,
    AbstractDiscreteObservable,
    AbstractObservable,
    given_observable,
    load_observable,
    logits_of,
)
from systwise.study.measure._regions import file_word
from systwise.study.store._manifest import Manifest
from systwise.study.store._templates import StoredTemplates
from systwise.templates import FineGrid, in_order, joint_cells

BLOCK = 8192
"""Events scored at a time."""


class Places(NamedTuple):
    """Where events fall.

    Attributes:
        score: between 0 and 1, that of the nominal hypothesis where it moves.
        bin: number of the bin or cell; -1 for events that the selection drops.
        fold: of the network that scores the event.
    """

    score: Float32[np.ndarray, " event"]
    bin: Int32[np.ndarray, " event"]
    fold: Int[np.ndarray, " event"]


def uniform_of(manifest: Manifest, case: AbstractCase) -> int:
    """Return the number of bins of a run's uniform binning, which decide its fine bins."""
    return int(manifest.settings["binning"]["uniform"] or case.defaults.uniform_bins)


def observed_in(
    folder: Path, row: StoredTemplates, case: AbstractCase, region: str
) -> tuple[AbstractCase, AbstractObservable]:
    """Return a region of a run and what is observed there: given, or trained and stored by the run."""
    own = case.regions[region].in_bins() if row.binning == "given" else case.regions[region]
    if own.given or STRATEGIES.get(row.strategy).needs_score:
        return own, given_observable(own, 1)
    word = "" if region == row.region else f"-{file_word(region)}"
    return own, load_observable(folder / "models" / f"{row.strategy}{word}-seed{row.seed}.eqx")[1]


def places_of(
    row: StoredTemplates,
    case: AbstractCase,
    observable: AbstractObservable,
    region: str,
    table: EventTable,
    uniform: int,
) -> Places:
    """Return where the events of a region fall.

    Each event is scored by the network of its fold, as the events of the templates were.

    Args:
        row: the stored observable.
        case: the region.
        observable: what is observed there.
        region: its name.
        table: events that it selects.
        uniform: bins of the run's uniform binning, which decide the fine bins.
    """
    folds = fold_of(table.kin, observable.folds)
    logits, counts = _logits(case, observable, table, folds)
    if region in row.cells:
        z = np.array([nuisance.nominal for nuisance in case.nuisances])
        bins = joint_cells(observable, case, table, np.arange(len(table)), folds, z, row.cells[region])
    else:
        grid = FineGrid.holding(observable.bins if isinstance(observable, AbstractDiscreteObservable) else uniform)
        edges = row.templates.region_edges(region)[region]
        # The edges are some of the fine ones, so that an event is in the same bin as in the templates.
        inner = np.searchsorted(grid.edges, edges[1:-1])
        bins = np.searchsorted(inner, np.asarray(grid.index(jnp.asarray(logits))), side="right")
    return Places(expit(logits).astype(np.float32), np.where(counts, bins, -1).astype(np.int32), folds)


def counts_of(
    row: StoredTemplates,
    case: AbstractCase,
    observable: AbstractObservable,
    region: str,
    table: EventTable,
    uniform: int,
) -> Float64[np.ndarray, " bin"]:
    """Return the weights of a region's events in the bins of a stored observable; arguments as those of `places_of`."""
    bins = places_of(row, case, observable, region, table, uniform).bin
    cells = row.cells.get(region)
    count = len(row.templates.region_edges(region)[region]) - 1 if cells is None else cells.bins
    weights = table.weights.sum(axis=1, dtype=np.float64)
    return np.bincount(bins[bins >= 0], weights[bins >= 0], count)


def _logits(
    case: AbstractCase, observable: AbstractObservable, table: EventTable, folds: Int[np.ndarray, " event"]
) -> tuple[Float32[np.ndarray, " event"], Bool[np.ndarray, " event"]]:
    """Return the score of every event from the network of its fold, and whether the selection keeps the event."""
    nominal = jnp.asarray([nuisance.nominal for nuisance in case.shape_nuisances], jnp.float32)
    hypothesis = jnp.broadcast_to(nominal, (BLOCK, len(nominal)))

    def work(events: Events, fold: Int[Array, ""]) -> tuple[Array, Array]:
        varied = _nominal(case, events, nominal)
        return logits_of(observable, varied, hypothesis, fold), jnp.any(varied.weights != 0, axis=1)

    if not len(table):
        return np.zeros(0, np.float32), np.zeros(0, bool)
    logits, counts = in_order(work, table, np.arange(len(table)), folds, BLOCK)
    return logits, counts


@eqx.filter_jit
def _nominal(case: AbstractCase, events: Events, z: Float[Array, " nuisance"]) -> Events:
    return case.vary(events, z)
