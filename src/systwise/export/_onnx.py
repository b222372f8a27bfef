"""Trained networks as ONNX files, scaler and nuisances inside, compared with our numbers before they are written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from systwise.errors import ConfigError, DataError, UntrustedError
from systwise.export._onnx_graph import build_graph, fold_networks
from systwise.learn import (
    AbstractNetwork,
    Blind,
    Halves,
    NetworkObservable,
    Scaler,
    Told,
    load_observable,
)
from systwise.optional import optional_module
from systwise.study import versions, write_atomically

TOLERANCE = 1e-5
"""Largest difference of scores, and of logits relative to the larger of their size and 1."""
KEY = "systwise"

Folds = Literal["mean", "separate"]


def export_onnx(model: Path, path: Path, folds: Folds = "mean") -> dict[Path, float]:
    """Write a saved model as ONNX, and return each file with its largest difference to our own numbers.

    The inputs are `features [event, feature]` in their own units, in the order of the metadata, and `nuisances
    [event, nuisance]` where the network is told them; outputs are `score` in (0, 1) and `logit`.

    Args:
        model: a file of a run's folder `models`.
        path: the file to write, `NAME.onnx`.
        folds: what becomes of networks that were trained on different folds: `mean`: one file with the mean of their
            logits, for events that none of them saw; `separate`: one file each, `NAME-fold0.onnx`, ...

    Raises:
        DataError: the model cannot be read, or is no network of features.
        ConfigError: onnx or onnxruntime is not installed, or the graph's numbers differ by more than 1e-5.
    """
    if folds not in ("mean", "separate"):
        raise ConfigError(f"--folds {folds}: write mean (one file) or separate (one file a fold)")
    try:
        header, observable = load_observable(model, trusted=False)
    except UntrustedError:
        raise DataError(
            f"{model}: holds a model of another library; use its own converter to ONNX, e.g. skl2onnx or onnxmltools"
        ) from None
    if not isinstance(observable, NetworkObservable):
        raise DataError(f"{model}: holds no score of one number; choose a strategy that trains a classifier")
    networks = fold_networks(observable.networks, observable.folds)
    groups = [[network] for network in networks] if folds == "separate" else [networks]
    path = Path(path)
    made = []
    for number, group in enumerate(groups):
        target = path if len(groups) == 1 else path.with_name(f"{path.stem}-fold{number}{path.suffix}")
        graph = build_graph(group, len(header["features"]), told_count(group[0]))
        _annotate(graph, header, number if len(groups) > 1 else None)
        made.append((target, graph, parity(graph, group)))
    for target, graph, _ in made:
        text = graph.SerializeToString()
        try:
            write_atomically(target, lambda file, text=text: file.write(text))  # type: ignore[misc]
        except OSError as error:
            raise ConfigError(f"{target}: cannot be written ({error.strerror}); choose another file with -o") from None
    return {target: difference for target, _, difference in made}


def told_count(network: AbstractNetwork) -> int:
    """Return how many nuisances a network is told."""
    if isinstance(network, Halves):
        return told_count(network.below)
    return int(network.nuisance_scaler.mean.shape[-1]) if isinstance(network, Told) else 0


def _annotate(graph: Any, header: dict[str, Any], fold: int | None) -> None:
    about = {key: header[key] for key in ("case", "strategy", "seed", "features", "nuisances", "moving", "folds")}
    words = {**about, "fold": fold, "versions": versions()}
    optional_module("onnx", "this").helper.set_model_props(graph, {KEY: json.dumps(words)})


def parity(graph: Any, networks: list[AbstractNetwork], events: int = 2000) -> float:
    """Return the largest difference between onnxruntime and our networks on random events.

    Features are drawn over three widths around their means, some of them undefined.

    Raises:
        ConfigError: onnxruntime is not installed, or the difference is not below 1e-5.
    """
    runtime = optional_module("onnxruntime", "this")
    features, nuisances = _random_inputs(networks[0], events)
    logits = [np.asarray(network(jnp.asarray(features), jnp.asarray(nuisances)), np.float64) for network in networks]
    logit = np.mean(logits, axis=0)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"features": features, "nuisances": nuisances}
    score, other = session.run(["score", "logit"], {entry.name: given[entry.name] for entry in session.get_inputs()})
    by_score = np.max(np.abs(score - 1 / (1 + np.exp(-logit))))
    by_logit = np.max(np.abs(other - logit) / np.maximum(1.0, np.abs(logit)))
    worst = float(max(by_score, by_logit))
    if not worst < TOLERANCE:
        raise ConfigError(
            f"ONNX: onnxruntime's scores differ from ours by {worst:.2g}, more than {TOLERANCE:g}; nothing was "
            "written, please report it"
        )
    return worst


def _random_inputs(
    network: AbstractNetwork, events: int
) -> tuple[Float32[np.ndarray, "event feature"], Float32[np.ndarray, "event nuisance"]]:
    draw = np.random.default_rng(0)
    while isinstance(network, Halves):
        network = network.above
    if not isinstance(network, Blind | Told):
        raise ConfigError(f"ONNX: a network of kind '{type(network).__name__}' has no graph; export another strategy")
    features = _around(network.scaler, draw, events, 3.0)
    scaler = network.nuisance_scaler if isinstance(network, Told) else None
    # The training range lies within sqrt(3) widths.
    z = np.zeros((events, 1), np.float32) if scaler is None else _around(scaler, draw, events, math.sqrt(3))
    return features, z


def _around(scaler: Scaler, draw: np.random.Generator, events: int, reach: float) -> Float32[np.ndarray, "event value"]:
    mean, width = (np.asarray(array, np.float64) for array in (scaler.mean, scaler.width))
    values = mean + np.where(np.isfinite(width), width, 1.0) * draw.uniform(-reach, reach, (events, len(mean)))
    for column in scaler.logarithmic:
        values[:, column] = np.exp(np.minimum(values[:, column], 80))
    if scaler.undefined is not None:
        values = np.where(draw.random(values.shape) < 0.1, scaler.undefined, values)
    return values.astype(np.float32)
