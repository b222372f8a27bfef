"""Things of the user's own or of another package, named as `module:name`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from systwise.errors import ConfigError
from systwise.optional import remedy
from systwise.registry import suggestion


@contextlib.contextmanager
def modules_here() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python` itself does."""
    here = os.getcwd()
    known = here in sys.path or "" in sys.path
    if not known:
        sys.path.append(here)
    try:
        yield
    finally:
        if not known:
            sys.path.remove(here)


def imported(path: str, key: str) -> Any:
    """Return what `module:name` names; a module of the current folder is found too.

    Args:
        path: e.g. `xgboost:XGBClassifier`.
        key: the setting that holds it, for messages.

    Raises:
        ConfigError: it cannot be imported, or holds no such name.
    """
    module_name, found, name = path.partition(":")
    if not (found and module_name and name):
        raise ConfigError(f"{key}: write module:name, e.g. xgboost:XGBClassifier, not '{path}'")
    try:
        with modules_here():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = (error.name or module_name).partition(".")[0]
        raise ConfigError(f"{key}: '{path}' needs the package '{missing}'; {remedy(missing)}") from None
    except Exception as error:  # whatever the user's module does
        raise ConfigError(f"{key}: module '{module_name}' cannot be imported ({_line(error)})") from None
    value = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = [word for word in dir(value) if not word.startswith("_")]
            raise ConfigError(f"{key}: '{module_name}' has no '{part}'{suggestion(part, known)}")
        value = getattr(value, part)
    return value


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
