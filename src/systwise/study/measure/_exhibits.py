"""What the figures show, computed from events and observables while both are at hand."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.cases import AbstractCase
from systwise.events import Events, EventTable
from systwise.learn import AbstractObservable, History, logits_of
from systwise.study.records._plotdata import (
    DecisionFunction,
    FeatureDistribution,
    PlaneDensity,
    ScoreDistribution,
    TrainingHistory,
)
from systwise.templates import Pairs, ScoreTable, ks_distance

SHOWN_EVENTS = 200_000
BLOCK = 65_536
FEATURE_BINS = 40
PLANE_BINS = 60
DECISION_POINTS = 121


@eqx.filter_jit
def _vary(case: AbstractCase, events: Events, z: Float[Array, " nuisance"]) -> Events:
    return case.vary(events, z)


def _varied(case: AbstractCase, table: EventTable, index: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features `[event, feature]` and weights `[event, component]` at `z`, on the host."""
    parts = []
    for rows, events in table.blocks(index, min(BLOCK, len(index))):
        varied = jax.device_get(_vary(case, events, jnp.asarray(z, jnp.float32)))
        parts.append((varied.features[: len(rows)], varied.weights[: len(rows)]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]).astype(np.float64)


def _sample(table: EventTable) -> tuple[np.ndarray, float]:
    """Return an even sample of all events and the factor that restores the yields."""
    step = max(1, len(table) // SHOWN_EVENTS)
    # An odd step meets every process of a table in which two of them alternate.
    index = np.arange(0, len(table), step + (step % 2 == 0))
    return index, len(table) / len(index)


def feature_exhibits(
    case: AbstractCase, table: EventTable
) -> tuple[tuple[FeatureDistribution, ...], tuple[PlaneDensity, ...]]:
    """Return the distributions of all features at the shown values of the first nuisance.

    Cases of two features get the density in their plane as well. Undefined values are left out.
    """
    name_of_first = case.nuisances[0].name if case.nuisances else ""
    shown = np.array(case.defaults.shown if case.nuisances else (0.0,))
    index, factor = _sample(table)
    nominal = np.array([n.nominal for n in case.nuisances])
    varied = []
    for value in shown:
        point = nominal.copy()
        point[:1] = value
        features, weights = _varied(case, table, index, point)
        varied.append((features, weights * factor))
    distributions = []
    for j, name in enumerate(case.features):
        columns = [features[:, j] for features, _ in varied]
        defined = [c[(c != case.undefined) & (w != 0).any(axis=1)] for c, (_, w) in zip(columns, varied, strict=True)]
        pooled = np.concatenate(defined)
        if len(pooled) == 0:
            continue
        edges = _edges(pooled)
        counts = np.stack(
            [
                np.stack([np.histogram(c, edges, weights=w[:, k])[0] for k in range(w.shape[1])])
                for c, (_, w) in zip(columns, varied, strict=True)
            ]
        )
        distributions.append(FeatureDistribution(name, case.label(name), edges, shown, counts, name_of_first))
    if len(case.features) != 2:
        return tuple(distributions), ()
    x, y = (_plane_edges(np.concatenate([features[:, j] for features, _ in varied])) for j in range(2))
    density = np.stack(
        [
            np.stack([np.histogram2d(f[:, 1], f[:, 0], (y, x), weights=w[:, k])[0] for k in range(w.shape[1])])
            for f, w in varied
        ]
    )
    x_label, y_label = (case.label(name) for name in case.features)
    return tuple(distributions), (PlaneDensity(x, y, shown, density, x_label, y_label, name_of_first),)


def _edges(values: np.ndarray) -> np.ndarray:
    """Return edges over the bulk of `values`; whole numbers get a bin each."""
    low, high = np.quantile(values, [0.002, 0.995])
    if high - low < FEATURE_BINS and np.all(values == np.round(values)):
        return np.arange(low - 0.5, high + 1.0)
    return np.linspace(low, high if high > low else low + 1, FEATURE_BINS + 1)


def _plane_edges(values: np.ndarray) -> np.ndarray:
    """Return edges with some room around nearly all values, for contours that close."""
    low, high = np.quantile(values, [0.001, 0.999])
    room = 0.1 * (high - low)
    return np.linspace(low - room, high + room, PLANE_BINS + 1)


def decision_function(
    case: AbstractCase,
    plane: PlaneDensity,
    strategy: str,
    observables: Sequence[AbstractObservable],
    z: Sequence[float],
) -> DecisionFunction:
    """Return the score over the plane; one observable a value of `z` (the same where it serves all)."""
    x = np.linspace(plane.x_edges[0], plane.x_edges[-1], DECISION_POINTS)
    y = np.linspace(plane.y_edges[0], plane.y_edges[-1], DECISION_POINTS)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    count = len(grid)
    events = Events(
        jnp.asarray(grid),
        jnp.ones((count, len(case.components.names)), jnp.float32),
        jnp.zeros(count, jnp.int32),
        jnp.zeros(count, jnp.uint32),
        jnp.zeros((count, 0), jnp.float32),
    )
    nominal = np.array([n.nominal for n in case.nuisances], np.float32)
    scores = []
    for observable, value in zip(observables, z, strict=True):
        point = nominal.copy()
        point[:1] = value
        told = jnp.broadcast_to(jnp.asarray(point), (count, len(point)))
        logits = logits_of(observable, events, told, jnp.zeros((), jnp.int32))
        scores.append(np.asarray(jax.nn.sigmoid(logits)).reshape(len(y), len(x)))
    return DecisionFunction(
        strategy, x, y, np.asarray(z), np.stack(scores), plane.x_label, plane.y_label, plane.nuisance
    )


def score_distribution(
    case: AbstractCase, strategy: str, scores: ScoreTable, values: Sequence[float], bins: int = 50
) -> ScoreDistribution:
    """Return the binned score at several values of the first nuisance, the nominal one first."""
    edges = scores.edges[scores.positions(np.arange(bins + 1) / bins)]
    coarse, _ = scores.rebin(edges)
    _, background = case.components.contrast()
    rows, fine = [], []
    for value in values:
        point = np.array([n.nominal for n in case.nuisances])
        point[:1] = value
        pair = scores.pairs.find(point)
        rows.append(coarse[pair])
        fine.append(background @ scores.sums[pair])
    ks = max((ks_distance(fine[0], other) for other in fine[1:]), default=0.0)
    return ScoreDistribution(
        strategy, edges, np.asarray(values), np.stack(rows), ks, case.nuisances[0].name if case.nuisances else ""
    )


def training_history(strategy: str, seed: int, history: History, steps_a_pass: float) -> TrainingHistory:
    """Return one fold's losses against passes over the events."""
    return TrainingHistory(strategy, seed, history.step / steps_a_pass, history.training, history.validation)


def background_shift(case: AbstractCase, scores: ScoreTable, pairs: Pairs, z_true: np.ndarray) -> float:
    """Return the KS distance of the background score between the nominal and the true point."""
    _, background = case.components.contrast()
    nominal = np.array([n.nominal for n in case.nuisances])
    here, there = (background @ scores.sums[pairs.find(point)] for point in (nominal, z_true))
    return ks_distance(here, there)
