"""Packages that not every user has: imported where they are needed, missed in one sentence."""

from __future__ import annotations

import importlib
from typing import Any

from systwise.errors import ConfigError

EXTRAS = {
    "awkward": "root",
    "cabinetry": "export",
    "dask": "dask",
    "distributed": "dask",
    "fsspec": "remote",
    "h5py": "hdf5",
    "hist": "export",
    "iminuit": "referee",
    "lightgbm": "trees",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pyhf": "export",
    "pylhe": "lhe",
    "sklearn": "trees",
    "torch": "torch",
    "uproot": "root",
    "xgboost": "trees",
}
"""The extra of this package that brings a package."""


def optional_module(name: str, what: str) -> Any:
    """Import a package, or a module of one, that is an extra.

    Args:
        name: of the module.
        what: needs it, for the message: `reading ROOT files`.

    Raises:
        ConfigError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{what} needs the package '{name.partition('.')[0]}'; {remedy(name)}") from None


def remedy(name: str) -> str:
    """Return how to install a package: with the extra that brings it, where there is one.

    >>> remedy("xgboost")
    "pip install '.[trees]'"
    """
    package = name.partition(".")[0]
    return f"pip install '.[{EXTRAS[package]}]'" if package in EXTRAS else "install it, or run where it can be imported"
