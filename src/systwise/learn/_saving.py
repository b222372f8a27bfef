"""Trained observables on disk: a line of JSON that says what it is, then the arrays."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

import equinox as eqx
import jax

from systwise.errors import DataError
from systwise.learn._observable import AbstractObservable

if TYPE_CHECKING:
    from systwise.learn._strategy import AbstractStrategy

FORMAT = "systwise/model/1"


def save_observable(file: IO[bytes], strategy: AbstractStrategy, seed: int, observable: AbstractObservable) -> None:
    """Write the strategy's name and settings, the seed and the arrays of `observable`."""
    header = {
        "format": FORMAT,
        "strategy": strategy.name,
        "settings": strategy.model_dump(mode="json", by_alias=True),
        "seed": seed,
        "folds": observable.folds,
        "moving": observable.moving,
    }
    file.write(json.dumps(header).encode() + b"\n")
    eqx.tree_serialise_leaves(file, eqx.filter(observable, eqx.is_array))


def load_arrays(file: IO[bytes], like: AbstractObservable) -> tuple[dict, AbstractObservable]:
    """Read what `save_observable` wrote into an observable of the same structure.

    Args:
        file: opened for reading.
        like: an observable of the same strategy and settings, freshly made or trained.

    Raises:
        DataError: the file is no saved observable, or its arrays do not fit `like`.
    """
    name = getattr(file, "name", "model file")
    try:
        header = json.loads(file.readline())
        if header.get("format") != FORMAT:
            raise ValueError(f"format {header.get('format')!r}")
        arrays, static = eqx.partition(like, eqx.is_array)
        loaded = eqx.tree_deserialise_leaves(file, arrays)
    except (ValueError, AttributeError, EOFError, RuntimeError, TypeError) as error:
        raise DataError(f"{name}: is not a saved observable of this structure ({error}); train it again") from None
    return header, eqx.combine(jax.tree.map(lambda leaf: leaf, loaded), static)
