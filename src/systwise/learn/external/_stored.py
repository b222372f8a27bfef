"""Models of other libraries on disk: a line of JSON that says what they are, then a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from systwise.atomic import write_atomically
from systwise.errors import DataError
from systwise.learn.external._fitted import FittedModel
from systwise.learn.external._host import HostObservable
from systwise.learn.external._import_path import modules_here
from systwise.learn.training._checkpoints import Checkpoints
from systwise.optional import remedy

FORMAT = "systwise/fitted/1"
KIND = "host"
BinaryFile = IO[bytes] | io.BytesIO


def host_structure(observable: HostObservable) -> dict[str, Any]:
    """Return what a file says of models of another library."""
    package = sorted({model.package for model in observable.models})
    return {"kind": KIND, "packages": package, "columns": list(observable.columns), "told": observable.told}


def write_models(file: BinaryFile, observable: HostObservable) -> None:
    """Write the models of an observable, behind a line with their digest."""
    with modules_here():
        payload = pickle.dumps(observable.models)
    file.write(json.dumps({"digest": hashlib.sha256(payload).hexdigest()}).encode() + b"\n")
    file.write(payload)


def read_models(file: BinaryFile, header: dict[str, Any]) -> HostObservable:
    """Return what `write_models` wrote; the file's position is behind the header.

    A pickle can run code: read only files that you trust.

    Raises:
        DataError: the file is damaged, or needs a package that is not installed.
    """
    structure = header["structure"]
    models = _unpickled(file, getattr(file, "name", "model file"))
    return HostObservable(
        models=models,
        columns=tuple(structure["columns"]),
        told=int(structure["told"]),
        moving=bool(header["moving"]),
        folds=int(header["folds"]),
    )


def _unpickled(file: BinaryFile, name: str) -> Any:
    line, payload = file.readline(), file.read()
    try:
        sound = json.loads(line)["digest"] == hashlib.sha256(payload).hexdigest()
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise DataError(f"{name}: is damaged; train it again")
    try:
        with modules_here():
            return pickle.loads(payload)
    except ModuleNotFoundError as error:
        missing = (error.name or "?").partition(".")[0]
        raise DataError(f"{name}: holds a model of the package '{missing}'; {remedy(missing)}") from None
    except Exception as error:  # a pickle of another version of the package can fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{name}: its model cannot be read ({reason}); train it again with these packages") from None


def kept_model(
    checkpoints: Checkpoints | None, name: str, identity: list[Any], make: Callable[[], FittedModel]
) -> FittedModel:
    """Return a model that an interrupted run has fitted already, or make and keep it.

    Args:
        checkpoints: where models are kept; None: nowhere.
        name: for the file's name.
        identity: all that decides the fit.
        make: fits it.

    Raises:
        DataError: a kept model is damaged.
    """
    if checkpoints is None:
        return make()
    word = hashlib.sha256(json.dumps([FORMAT, identity]).encode()).hexdigest()
    path = Path(checkpoints.folder) / f"{name}-{word[:12]}.fitted"
    if path.exists():
        with path.open("rb") as file:
            model: FittedModel = _unpickled(file, str(path))
            return model
    made = make()
    payload = pickle.dumps(made)

    def write(file: BinaryFile) -> None:
        file.write(json.dumps({"digest": hashlib.sha256(payload).hexdigest()}).encode() + b"\n")
        file.write(payload)

    write_atomically(path, write)
    return made
