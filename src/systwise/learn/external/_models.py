"""Models that others have trained: ONNX files, TorchScript files, Python functions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from systwise.errors import ConfigError, DataError
from systwise.learn.external._host import AbstractHostModel, logits_of_probabilities
from systwise.learn.external._import_path import imported
from systwise.optional import optional_module

Output = Literal["probability", "logit"]


class ExternalModel(AbstractHostModel):
    """A model given by its file's content, or by the name of a function.

    Attributes:
        kind: `onnx`, `torch` or `python`.
        content: the file's bytes, or `module:name`.
        name: for messages.
        output: what its numbers are.
        features: how many of the inputs are features; nuisances follow.
    """

    def __init__(self, kind: str, content: bytes | str, name: str, output: Output, features: int) -> None:
        """Keep what the model is; it is loaded when it is first asked."""
        self.kind, self.content, self.name, self.output, self.features = kind, content, name, output, features
        self._function: Callable[[np.ndarray], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded model out: it is loaded again from its content."""
        return {**self.__dict__, "_function": None}

    @property
    def package(self) -> str:
        """The package that runs it."""
        if isinstance(self.content, bytes):
            return {"onnx": "onnxruntime", "torch": "torch"}[self.kind]
        return self.content.partition(":")[0].partition(".")[0]

    def logits(self, inputs: Float32[np.ndarray, "event input"]) -> Float32[np.ndarray, " event"]:
        """Return the logits of events."""
        if self._function is None:
            self._function = self._loaded()
        try:
            found = np.asarray(self._function(inputs), np.float64)
        except Exception as error:  # every runtime has its own
            raise DataError(
                f"{self.name}: cannot score events of {inputs.shape[1]} inputs ({_line(error)}); check features"
            ) from None
        if found.size == 0 or found.shape[0] != len(inputs):
            raise DataError(f"{self.name}: gives shape {found.shape} for {len(inputs)} events, not one score each")
        # A classifier may give one column a class, the last one the signal's.
        found = found.reshape(len(inputs), -1)
        if self.output == "logit":
            return (found[:, -1] if found.shape[1] != 2 else found[:, 1] - found[:, 0]).astype(np.float32)
        found = found[:, -1]
        if np.any((found < -1e-6) | (found > 1 + 1e-6)):
            raise DataError(f"{self.name}: gives {_outside(found):g}, which is no probability; set output to logit")
        return logits_of_probabilities(found)

    def _loaded(self) -> Callable[[np.ndarray], Any]:
        if self.kind == "onnx":
            return _onnx(self.content, self.name, self.features)
        if self.kind == "torch":
            return _torch(self.content, self.name)
        path = str(self.content)
        function = imported(path, self.name)
        if not callable(function):
            raise ConfigError(f"{self.name}: '{path}' is no function")
        checked: Callable[[np.ndarray], Any] = function
        return checked


def external_model(model: str, output: Output, features: int, key: str) -> ExternalModel:
    """Return the model that a setting names.

    Args:
        model: path of an `.onnx` or TorchScript `.pt` file, or `module:function`.
        output: what its numbers are.
        features: how many features it sees; further inputs are nuisances.
        key: the setting, for messages.

    Raises:
        ConfigError: no such file, ending, function or package.
    """
    path = Path(model)
    kind = {".onnx": "onnx", ".pt": "torch", ".pth": "torch"}.get(path.suffix)
    if kind is None and (":" not in model or path.is_file()):
        raise ConfigError(f"{key}: '{model}' is no .onnx or .pt file and no module:function")
    if kind is None:
        made = ExternalModel("python", model, key, output, features)
    else:
        try:
            made = ExternalModel(kind, path.read_bytes(), f"{key} ({path.name})", output, features)
        except OSError as error:
            raise ConfigError(f"{key}: {model} cannot be read ({error.strerror}); check the path") from None
    made._function = made._loaded()
    return made


def onnx_features(model: str) -> tuple[str, ...]:
    """Return the features that an ONNX file of `systwise export` names, none for any other model."""
    if not model.endswith(".onnx") or not Path(model).is_file():
        return ()
    session = optional_module("onnxruntime", model).InferenceSession(model, providers=["CPUExecutionProvider"])
    words = json.loads(session.get_modelmeta().custom_metadata_map.get("systwise", "{}"))
    return tuple(words.get("features", ()))


def _onnx(content: Any, name: str, features: int) -> Callable[[np.ndarray], Any]:
    runtime = optional_module("onnxruntime", name)
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own without a common base
        raise ConfigError(f"{name}: cannot be read as ONNX ({_line(error)}); export it again") from None
    inputs = [entry.name for entry in session.get_inputs()]
    if len(inputs) > 2:
        raise ConfigError(f"{name}: has the inputs {', '.join(inputs)}; features, and nuisances, are what it may have")
    outputs = session.get_outputs()
    # scikit-learn's converter gives labels first and probabilities second.
    floats = [entry.name for entry in outputs if "float" in entry.type and "seq" not in entry.type]
    if not floats:
        raise ConfigError(f"{name}: has no output of floating-point numbers; convert it with zipmap=False")
    out = "score" if "score" in floats else floats[-1]

    def function(x: np.ndarray) -> Any:
        given = {inputs[0]: x} if len(inputs) == 1 else {inputs[0]: x[:, :features], inputs[1]: x[:, features:]}
        return session.run([out], given)[0]

    return function


def _torch(content: Any, name: str) -> Callable[[np.ndarray], Any]:
    torch = optional_module("torch", name)
    try:
        module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    except Exception as error:  # TorchScript's errors are RuntimeErrors of many lines
        raise ConfigError(f"{name}: cannot be read as TorchScript ({_line(error)}); save it with torch.jit") from None

    def function(x: np.ndarray) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(np.array(x))).numpy()

    return function


def _outside(values: np.ndarray) -> float:
    return float(values[np.argmax(np.abs(values - 0.5))])


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
