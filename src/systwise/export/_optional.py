"""Packages that not every user has: imported where they are needed, missed in one sentence."""

from __future__ import annotations

import importlib
from types import ModuleType

from systwise.errors import ConfigError

EXTRAS = {
    "pyhf": "export",
    "cabinetry": "export",
    "hist": "export",
    "uproot": "files",
    "h5py": "files",
    "onnx": "onnx",
    "onnxruntime": "onnx",
}


def optional(name: str) -> ModuleType:
    """Return a package that is an extra.

    Raises:
        ConfigError: it is not installed; the message names the extra to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"this needs the package '{name.partition('.')[0]}'; install systwise[{EXTRAS[name.partition('.')[0]]}]"
        ) from None
