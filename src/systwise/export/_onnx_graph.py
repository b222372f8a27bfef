"""Our networks as ONNX graphs, written node by node: the layers are few, and a converter would be a dependency."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from systwise.errors import ConfigError
from systwise.learn import ACTIVATIONS, AbstractNetwork, Blind, Halves, Scaler, Told
from systwise.optional import optional_module

OPSET = 17
IR_VERSION = 9


class GraphWriter:
    """Nodes and constants of a graph as they are put together."""

    def __init__(self) -> None:
        """Start with nothing.

        Raises:
            ConfigError: onnx is not installed.
        """
        self.onnx = optional_module("onnx", "this")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = out or f"n{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def scaled(self, scaler: Scaler, values: str) -> str:
        """Add standard scaling: logarithms where they are asked for, zero where a feature is undefined."""
        undefined = None
        if scaler.undefined is not None:
            undefined = self.add("Equal", values, self.constant(np.float32(scaler.undefined)))
        shown = values
        if scaler.logarithmic:
            logs = self.add("Log", self.add("Max", values, self.constant(np.float32(1e-30))))
            taken = np.isin(np.arange(scaler.mean.shape[-1]), scaler.logarithmic)
            chosen = self.constant(taken[None])
            if undefined is not None:
                chosen = self.add("And", chosen, self.add("Not", undefined))
            shown = self.add("Where", chosen, logs, values)
        mean, width = (np.asarray(array, np.float32) for array in (scaler.mean, scaler.width))
        result = self.add("Div", self.add("Sub", shown, self.constant(mean)), self.constant(width))
        return result if undefined is None else self.add("Where", undefined, self.constant(np.float32(0)), result)

    def layers(self, mlp: eqx.nn.MLP, values: str) -> str:
        """Add a multilayer perceptron and return its logits `[event]`."""
        activation = next((name for name, function in ACTIVATIONS.items() if function is mlp.activation), None)
        for number, layer in enumerate(mlp.layers):
            weight, bias = np.asarray(layer.weight, np.float32), np.asarray(layer.bias, np.float32)
            values = self.add("Gemm", values, self.constant(weight.T), self.constant(bias))
            if number < len(mlp.layers) - 1:
                values = self.activated(activation, values)
        return self.add("Squeeze", values, self.constant(np.array([1], np.int64)))

    def activated(self, name: str | None, values: str) -> str:
        """Add an activation."""
        if name == "silu":
            return self.add("Mul", values, self.add("Sigmoid", values))
        if name in ("relu", "tanh"):
            return self.add({"relu": "Relu", "tanh": "Tanh"}[name], values)
        raise ConfigError(
            "ONNX: the network has an activation that is not relu, silu or tanh; train it with one of them"
        )

    def network(self, network: AbstractNetwork, features: str, nuisances: str) -> str:
        """Add one network and return its logits `[event]`.

        Raises:
            ConfigError: a kind of network that has no graph yet.
        """
        if isinstance(network, Blind):
            return self.layers(network.mlp, self.scaled(network.scaler, features))
        if isinstance(network, Told):
            told = self.scaled(network.nuisance_scaler, nuisances)
            return self.layers(network.mlp, self.add("Concat", self.scaled(network.scaler, features), told, axis=1))
        if isinstance(network, Halves):
            first = self.add("Gather", nuisances, self.constant(np.array(0, np.int64)), axis=1)
            upper = self.add("GreaterOrEqual", first, self.constant(np.asarray(network.joint, np.float32)))
            sides = (self.network(side, features, nuisances) for side in (network.above, network.below))
            return self.add("Where", upper, *sides)
        raise ConfigError(f"ONNX: a network of kind '{type(network).__name__}' has no graph; export another strategy")


def build_graph(networks: list[AbstractNetwork], features: int, nuisances: int) -> Any:
    """Return an ONNX model: `features [event, feature]` (and `nuisances`) to `logit` and `score`, `[event]`.

    Args:
        networks: their logits are averaged.
        features: number of features.
        nuisances: number of nuisances that the networks are told; 0: no such input.

    Raises:
        ConfigError: onnx is not installed, or a network has no graph.
    """
    writer = GraphWriter()
    helper, kinds = writer.onnx.helper, writer.onnx.TensorProto
    logits = [writer.network(network, "features", "nuisances") for network in networks]
    total = logits[0] if len(logits) == 1 else writer.add("Sum", *logits)
    writer.add("Mul", total, writer.constant(np.float32(1 / len(logits))), out="logit")
    writer.add("Sigmoid", "logit", out="score")
    inputs = [helper.make_tensor_value_info("features", kinds.FLOAT, ["event", features])]
    if nuisances:
        inputs.append(helper.make_tensor_value_info("nuisances", kinds.FLOAT, ["event", nuisances]))
    outputs = [helper.make_tensor_value_info(name, kinds.FLOAT, ["event"]) for name in ("score", "logit")]
    graph = helper.make_graph(writer.nodes, "systwise", inputs, outputs, writer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="systwise")
    model.ir_version = IR_VERSION
    writer.onnx.checker.check_model(model)
    return model


def fold_networks(networks: AbstractNetwork, folds: int) -> list[AbstractNetwork]:
    """Return the networks of all folds, which are stacked along the first axis, one by one."""
    return [
        jax.tree.map(lambda leaf, fold=fold: leaf[fold] if eqx.is_array(leaf) else leaf, networks)
        for fold in range(folds)
    ]
