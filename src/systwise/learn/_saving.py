"""Trained observables on disk: a line of JSON that says what it is, then the arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

from systwise.cases import AbstractCase
from systwise.errors import DataError, UntrustedError
from systwise.learn.external._host import HostObservable
from systwise.learn.external._stored import KIND, BinaryFile, host_structure, read_models, write_models
from systwise.learn.networks._structure import observable_like, structure_of
from systwise.learn.observables._observable import AbstractObservable
from systwise.learn.ratios._ratio import RatioObservable
from systwise.learn.ratios._saved import KIND as RATIOS
from systwise.learn.ratios._saved import ratio_structure, ratios_like

if TYPE_CHECKING:
    from systwise.learn._strategy import AbstractStrategy

FORMAT = "systwise/model/1"


def save_observable(
    file: BinaryFile,
    strategy: AbstractStrategy,
    seed: int,
    observable: AbstractObservable,
    case: AbstractCase | None = None,
) -> None:
    """Write the strategy's name and settings, the seed and the arrays of `observable`.

    With the case also what goes in: the features by name, and the nuisances that the score is told.
    """
    header = {
        "format": FORMAT,
        "strategy": strategy.name,
        "settings": strategy.model_dump(mode="json", by_alias=True),
        "seed": seed,
        "folds": observable.folds,
        "moving": observable.moving,
        "structure": _structure(observable),
    }
    if case is not None:
        told = [{"name": n.name, "nominal": n.nominal, "training": n.training} for n in case.shape_nuisances]
        header |= {"case": case.name, "features": list(case.features), "nuisances": told}
    file.write(json.dumps(header).encode() + b"\n")
    if isinstance(observable, HostObservable):
        write_models(file, observable)
        return
    eqx.tree_serialise_leaves(file, eqx.filter(observable, eqx.is_array))


def _structure(observable: AbstractObservable) -> dict[str, Any] | None:
    if isinstance(observable, HostObservable):
        return host_structure(observable)
    return ratio_structure(observable) if isinstance(observable, RatioObservable) else structure_of(observable)


def load_observable(path: Path, trusted: bool = True) -> tuple[dict, AbstractObservable]:
    """Return the header and the score of a file that a run left in `models/`.

    Args:
        path: the file.
        trusted: whether a model of another library may be read: a pickle, which can run code.

    Raises:
        UntrustedError: it holds such a model and is not trusted.
        DataError: the file is missing, damaged, needs a package that is not installed, or holds no score of features.
    """
    try:
        with Path(path).open("rb") as file:
            return read_observable(file, trusted)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file of a run's folder models") from None


def read_observable(file: BinaryFile, trusted: bool = True) -> tuple[dict, AbstractObservable]:
    """Return what `load_observable` does, from an open file that can be searched.

    Raises:
        UntrustedError: as there.
        DataError: as there.
    """
    path = getattr(file, "name", "model")
    try:
        header = json.loads(file.readline())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("it does not begin as one")
    except ValueError as error:
        raise DataError(f"{path}: is no saved model ({error}); give a file of a run's folder models") from None
    if "features" not in header:
        raise DataError(f"{path}: was saved by an earlier version, which did not note the features; train it again")
    if header["structure"] is None:
        raise DataError(
            f"{path}: the score of strategy '{header['strategy']}' is no network of an event's features that gives one "
            "number; choose a strategy that trains a classifier"
        )
    if header["structure"].get("kind") == KIND:
        if not trusted:
            packages = ", ".join(header["structure"].get("packages", ["another library"]))
            raise UntrustedError(
                f"{path}: holds a model of {packages}, a pickle, which can run any code when it is read; give "
                "--trust if you know where the file comes from"
            )
        return header, read_models(file, header)
    like: AbstractObservable = (
        ratios_like(header["structure"], header["folds"])
        if header["structure"].get("kind") == RATIOS
        else observable_like(header["structure"], header["folds"], header["moving"])
    )
    file.seek(0)
    return load_arrays(file, like)


def load_arrays(file: BinaryFile, like: AbstractObservable) -> tuple[dict, AbstractObservable]:
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
        if isinstance(like, HostObservable):
            return header, read_models(file, header)
        arrays, static = eqx.partition(like, eqx.is_array)
        loaded = eqx.tree_deserialise_leaves(file, arrays)
    except (ValueError, AttributeError, EOFError, RuntimeError, TypeError) as error:
        raise DataError(f"{name}: is not a saved observable of this structure ({error}); train it again") from None
    return header, eqx.combine(jax.tree.map(lambda leaf: leaf, loaded), static)
