"""Training events as rows for libraries that want features, labels and weights in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float32, Int8

from systwise.errors import DataError
from systwise.learn._strategy import Problem
from systwise.learn.training._game import Draw, make_batch
from systwise.learn.training._task import hypothesis_task
from systwise.learn.training._training import _compiled_batch
from systwise.random import named_key

NegativeWeights = Literal["refuse", "zero", "absolute", "keep"]
BLOCK = 65_536

Rows = tuple[Float32[np.ndarray, "row input"], Int8[np.ndarray, " row"], Float32[np.ndarray, " row"]]


def training_rows(
    problem: Problem,
    fold: int,
    draw: Draw,
    copies: int,
    columns: tuple[int, ...],
    told: int,
    seed: int,
    negative: NegativeWeights,
    key: str,
) -> Rows:
    """Return inputs, labels and weights of the training events of a fold, varied to drawn nuisance values.

    An event is a row of each class in which it has a weight, 1 for the numerator. Weights have the mean 1/2 an
    event in either class. Each copy of an event has nuisance values of its own, which depend on the seed, the copy
    and the event's place only.

    Args:
        problem: the events.
        fold: which network is trained.
        draw: nuisance values.
        copies: of every event.
        columns: places of the features that the model sees.
        told: how many nuisances it is told, after the features.
        seed: the study's seed.
        negative: what becomes of negative weights.
        key: path of the settings, for messages.

    Raises:
        DataError: weights are negative and `negative` is `refuse`, or a class has no positive weight.
    """
    parts = list(_blocks(problem, fold, draw, copies, columns, told, seed))
    inputs, labels, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return inputs, labels, _positive(weights, labels, negative, key)


def _blocks(
    problem: Problem, fold: int, draw: Draw, copies: int, columns: tuple[int, ...], told: int, seed: int
) -> Iterator[Rows]:
    index = problem.split.training(fold)
    task = hypothesis_task(problem.case, problem.table, index)
    size = min(BLOCK, len(index))
    for copy in range(copies):
        stream = named_key(seed, "rows", fold, copy)
        for number, (_, events) in enumerate(problem.table.blocks(index, size)):
            batch = _compiled_batch(make_batch, problem.case, task, draw, events, jax.random.fold_in(stream, number))
            inputs = np.asarray(batch.features)[:, columns]
            if told:
                inputs = np.concatenate([inputs, np.asarray(batch.z)[:, :told]], axis=1)
            weights = np.asarray(batch.weights)
            for label, column in ((1, 0), (0, 1)):
                kept = np.flatnonzero(weights[:, column])
                yield inputs[kept], np.full(len(kept), label, np.int8), weights[kept, column]


def _positive(
    weights: Float32[np.ndarray, " row"], labels: Int8[np.ndarray, " row"], negative: NegativeWeights, key: str
) -> Float32[np.ndarray, " row"]:
    """Return the weights as the estimator gets them; each class keeps its total."""
    below = weights < 0
    if not below.any() or negative == "keep":
        return weights
    if negative == "refuse":
        raise DataError(
            f"{key}: {int(below.sum())} of {len(weights)} training weights are negative, which few estimators take; "
            "set negative_weights to zero, absolute or keep"
        )
    changed = np.where(below, 0.0, weights) if negative == "zero" else np.abs(weights)
    for label in (0, 1):
        own = labels == label
        total = weights[own].sum(dtype=np.float64)
        if not total > 0:
            raise DataError(f"{key}: the training weights of class {label} add up to {total:g}; they must be positive")
        changed[own] *= total / changed[own].sum(dtype=np.float64)
    return changed.astype(np.float32)
