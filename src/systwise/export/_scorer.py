"""A trained score as a function of arrays, from our own file or from any ONNX file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from systwise.errors import ConfigError, DataError
from systwise.export._onnx import KEY, told_count
from systwise.export._onnx_graph import fold_networks
from systwise.learn import HostObservable, NetworkObservable, load_observable
from systwise.optional import optional_module
from systwise.registry import suggestion


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A score of events.

    Attributes:
        features: columns that it needs, in order.
        nuisances: nominal values of the nuisances that it is told, by name; empty for a score of features alone.
        function: maps `[event, feature]` and `[event, nuisance]` to scores `[event]`.
    """

    features: tuple[str, ...]
    nuisances: Mapping[str, float]
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __call__(
        self, features: Float32[np.ndarray, "event feature"], nuisances: Mapping[str, float] | None = None
    ) -> Float32[np.ndarray, " event"]:
        """Return the scores of events under hypothesised nuisance values, nominal where a name is missing.

        Raises:
            ConfigError: the score is not told a nuisance of that name, or a value is not finite.
        """
        values = {**self.nuisances, **(nuisances or {})}
        unknown = [name for name in values if name not in self.nuisances]
        if unknown:
            known = list(self.nuisances)
            told = f"it is told {', '.join(known)}" if known else "it is told none"
            raise ConfigError(
                f"nuisance '{unknown[0]}': the model does not know it{suggestion(unknown[0], known)} ({told})"
            )
        odd = [name for name, value in values.items() if not math.isfinite(value)]
        if odd:
            raise ConfigError(f"nuisance '{odd[0]}': {values[odd[0]]} is not a finite number; give one")
        point = np.array(list(values.values()), np.float32)
        z = np.broadcast_to(point, (len(features), len(point)))
        return np.asarray(
            self.function(np.ascontiguousarray(features, np.float32), np.ascontiguousarray(z)), np.float32
        )


def load_scorer(path: Path, features: Sequence[str] | None = None, trusted: bool = False) -> Scorer:
    """Return the score that a file holds; networks of several folds give the sigmoid of their mean logit.

    Args:
        path: `.eqx` of a run's folder `models`, or `.onnx`.
        features: columns, for an ONNX file that does not name them itself.
        trusted: whether a model of another library may be read: a pickle, which can run code.

    Raises:
        DataError: the file cannot be read.
        ConfigError: another ending, unnamed features, or a package is not installed.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return _of_onnx(path, features)
    if path.suffix == ".eqx":
        return _of_networks(path, trusted)
    raise ConfigError(f"{path}: give a model that ends in .eqx (a run's folder models) or .onnx")


def _of_networks(path: Path, trusted: bool) -> Scorer:
    header, observable = load_observable(path, trusted)
    if isinstance(observable, HostObservable):
        return _of_models(header, observable)
    if not isinstance(observable, NetworkObservable):
        raise DataError(f"{path}: holds no score of one number; choose a strategy that trains a classifier")
    networks = fold_networks(observable.networks, observable.folds)

    @jax.jit
    def scores(features: jax.Array, z: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(sum(network(features, z) for network in networks) / len(networks))

    told = header["nuisances"][: told_count(networks[0])]
    nominal = {entry["name"]: float(entry["nominal"]) for entry in told}
    return Scorer(tuple(header["features"]), nominal, lambda x, z: np.asarray(scores(jnp.asarray(x), jnp.asarray(z))))


def _of_models(header: Mapping[str, Any], observable: HostObservable) -> Scorer:
    """Return the score of models of another library."""
    folds = range(len(observable.models))

    def scores(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        logits = sum((observable.on_host(x, z, fold).astype(np.float64) for fold in folds), np.zeros(len(x)))
        return 1 / (1 + np.exp(-logits / len(folds)))

    nominal = {entry["name"]: float(entry["nominal"]) for entry in header["nuisances"][: observable.told]}
    return Scorer(tuple(header["features"]), nominal, scores)


def _of_onnx(path: Path, features: Sequence[str] | None) -> Scorer:
    runtime = optional_module("onnxruntime", "this")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own without a common base
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as ONNX ({reason}); export it again") from None
    inputs = [entry.name for entry in session.get_inputs()]
    words = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
    names = tuple(features or words.get("features", ()))
    if not names:
        raise ConfigError(f"{path}: does not name its features; give them in order with --features a,b,c")
    nominal = {}
    if "nuisances" in inputs:
        nominal = {entry["name"]: float(entry["nominal"]) for entry in words.get("nuisances", [])}
    if len(inputs) > 1 + bool(nominal):
        raise ConfigError(
            f"{path}: has the inputs {', '.join(inputs)}; a model of another program may have one, the features"
        )
    outputs = [entry.name for entry in session.get_outputs()]
    first, out = next(name for name in inputs if name != "nuisances"), "score" if "score" in outputs else outputs[0]

    def scores(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        given: dict[str, Any] = {first: x, "nuisances": z} if nominal else {first: x}
        try:
            found = np.asarray(session.run([out], given)[0], np.float32)
        except Exception as error:  # as above
            raise DataError(f"{path}: cannot score ({' '.join(str(error).split())[:200]})") from None
        # A classifier of another program gives one column a class, the last one the signal's.
        return found if found.ndim == 1 else found.reshape(len(x), -1)[:, -1]

    return Scorer(names, nominal, scores)
