"""What a saved network is made of, so that it can be read without training one like it first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from systwise.errors import DataError
from systwise.learn.networks._network import ACTIVATIONS, AbstractNetwork, Blind, Halves, Scaler, Told
from systwise.learn.observables._observable import AbstractObservable, NetworkObservable


def structure_of(observable: AbstractObservable) -> dict[str, Any] | None:
    """Return the structure of trained networks as plain values; None for an observable that is something else."""
    if not isinstance(observable, NetworkObservable):
        return None
    return _network(observable.networks)


def _network(network: AbstractNetwork) -> dict[str, Any] | None:
    if isinstance(network, Blind):
        return {"kind": "Blind", "scaler": scaler_of(network.scaler), "mlp": layers_of(network.mlp)}
    if isinstance(network, Told):
        told = {"nuisance_scaler": scaler_of(network.nuisance_scaler)}
        return {"kind": "Told", "scaler": scaler_of(network.scaler), **told, "mlp": layers_of(network.mlp)}
    if isinstance(network, Halves):
        return {"kind": "Halves", "below": _network(network.below), "above": _network(network.above)}
    return None


def scaler_of(scaler: Scaler) -> dict[str, Any]:
    """Return the structure of a scaler."""
    size = int(scaler.mean.shape[-1])
    return {"size": size, "undefined": scaler.undefined, "logarithmic": [int(i) for i in scaler.logarithmic]}


def layers_of(mlp: eqx.nn.MLP) -> dict[str, Any]:
    """Return the structure of a multilayer perceptron."""
    name = next((name for name, function in ACTIVATIONS.items() if function is mlp.activation), None)
    sizes = {"inputs": int(mlp.in_size), "outputs": mlp.out_size, "width": int(mlp.width_size), "depth": int(mlp.depth)}
    return {**sizes, "activation": name}


def observable_like(structure: Mapping[str, Any], folds: int, moving: bool) -> NetworkObservable:
    """Return networks of a structure with all numbers zero, stacked along folds, into which arrays can be read.

    Raises:
        DataError: the structure is of a kind that this version does not know.
    """
    try:
        network = _rebuilt(structure)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"saved network: its structure cannot be read ({error}); train it again") from None
    stacked = jax.tree.map(
        lambda leaf: jnp.zeros((folds, *leaf.shape), leaf.dtype) if eqx.is_array(leaf) else leaf, network
    )
    return NetworkObservable(moving=moving, folds=folds, networks=stacked)


def _rebuilt(structure: Mapping[str, Any]) -> AbstractNetwork:
    kind = structure["kind"]
    if kind == "Blind":
        return Blind(empty_scaler(structure["scaler"]), empty_layers(structure["mlp"]))
    if kind == "Told":
        scalers = empty_scaler(structure["scaler"]), empty_scaler(structure["nuisance_scaler"])
        return Told(*scalers, empty_layers(structure["mlp"]))
    if kind == "Halves":
        below, above = _rebuilt(structure["below"]), _rebuilt(structure["above"])
        return Halves(below, above, jnp.zeros(()))  # type: ignore[arg-type]
    raise ValueError(f"unknown kind of network '{kind}'")


def empty_scaler(entry: Mapping[str, Any]) -> Scaler:
    """Return a scaler of a structure with all numbers zero."""
    zeros = jnp.zeros(entry["size"], jnp.float32)
    return Scaler(zeros, zeros, entry["undefined"], tuple(entry["logarithmic"]))


def empty_layers(entry: Mapping[str, Any]) -> eqx.nn.MLP:
    """Return a multilayer perceptron of a structure with all numbers zero."""
    shape = entry["inputs"], entry["outputs"], entry["width"], entry["depth"], ACTIVATIONS[entry["activation"]]
    mlp = eqx.filter_eval_shape(eqx.nn.MLP, *shape, key=jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, mlp
    )
