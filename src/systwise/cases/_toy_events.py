"""What the toys of two processes share: how their events are put into a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from systwise.cases._case import AbstractCase, event_generator, sampled_ids
from systwise.events import EventTable

BACKGROUND, SIGNAL = 0, 1
PROCESSES = ("background", "signal")

# How arXiv:1807.08763 trains the pair: batches of 500 in turns, a class adversary, nothing pre-trained. The
# number of passes is ours.
PAPER: dict[str, Any] = {
    "training": {"batch": 500, "passes": 10},
    "strategy": {
        "adversarial": {
            "adversary": "class",
            "adversary_steps": 1,
            "pretrain_classifier": 0.0,
            "pretrain_adversary": 0.0,
            "pivot_on": "both",
        }
    },
}
QUICK: dict[str, Any] = {
    "case": {"events": 40_000, "anchors": 9},
    "training": {"batch": 1024, "minimum_steps": 256, "evaluations": 8},
}

Features = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""`features(is_signal, generator)` returns `[event, feature]` at the nominal nuisance values."""


def simulated_table(
    case: AbstractCase, features: Features, events: int, yields: tuple[float, float], seed: int
) -> EventTable:
    """Return `events` weighted events; background and signal alternate in id.

    Args:
        case: gives names and settings.
        features: draws the features.
        events: number of events.
        yields: expected (signal, background) events, to which the weights add up.
        seed: seed of the stream of random numbers.
    """
    process = (np.arange(events) % 2).astype(np.int8)
    weights = np.zeros((events, 2), np.float32)
    for component, code in enumerate((SIGNAL, BACKGROUND)):
        own = process == code
        weights[own, component] = yields[component] / own.sum()
    return _table(case, features, process, weights, np.arange(events, dtype=np.int64), seed, "load")


def sampled_table(case: AbstractCase, features: Features, counts: Sequence[int], seed: int) -> EventTable:
    """Return `counts` (signal, background) events of weight 1, independent of those of `simulated_table`."""
    component = np.repeat(np.arange(2), counts)
    process = np.where(component == 0, SIGNAL, BACKGROUND).astype(np.int8)
    weights = np.eye(2, dtype=np.float32)[component]
    return _table(case, features, process, weights, sampled_ids(seed, len(process)), seed, "sample")


def _table(
    case: AbstractCase,
    features: Features,
    process: np.ndarray,
    weights: np.ndarray,
    ids: np.ndarray,
    seed: int,
    word: str,
) -> EventTable:
    drawn = features(process == SIGNAL, event_generator(seed, word))
    counts = [int(np.sum(process == code)) for code in (SIGNAL, BACKGROUND)]
    text = f"{case.name} {case.settings.model_dump_json()} {word}={seed} {counts}"
    return EventTable(
        features=drawn.astype(np.float32),
        weights=weights,
        process=process,
        id=ids,
        feature_names=case.features,
        component_names=case.components.names,
        processes=PROCESSES,
        source=f"generated, seed {seed}",
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )
