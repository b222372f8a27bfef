"""Files on other machines (https, s3, xrootd and whatever else fsspec knows), copied once into the cache."""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path
from typing import Any

from systwise.errors import DataError
from systwise.events import cache_folder
from systwise.optional import optional_module


def is_remote(name: str) -> bool:
    """Return whether a path is an address.

    >>> is_remote("https://host/events.root"), is_remote("events.root")
    (True, False)
    """
    return "://" in name


def local_copies(address: str, where: str) -> list[Path]:
    """Return the local copies of the files at an address, copying those that are new or have changed.

    Args:
        address: of a file, or a pattern where the protocol can list files.
        where: path in the analysis file, for messages.

    Raises:
        ConfigError: a package is missing that the protocol needs.
        DataError: there is no such file, or it cannot be had.
    """
    core = optional_module("fsspec.core", f"{where}: reading '{address}'")
    scheme = address.partition("://")[0]
    try:
        system, path = core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{where}: '{address}' cannot be read: {error}; install what reads {scheme} (pip install '.[remote]') or "
            "copy the file here"
        ) from None
    try:
        paths = sorted(system.glob(path)) if glob.has_magic(path) else [path]
        if not paths:
            raise DataError(f"{where}: no file matches '{address}'")
        return [_copied(system, one, scheme) for one in paths]
    except FileNotFoundError:
        raise DataError(f"{where}: '{address}': no such file; check the address") from None
    except (OSError, ValueError, NotImplementedError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{where}: '{address}' cannot be read ({words}); check the address and your access") from None


def _copied(system: Any, path: str, scheme: str) -> Path:
    """Return the copy of one file; another one where size, date or tag have changed."""
    facts = system.info(path)
    known = [str(facts.get(key)) for key in ("size", "mtime", "LastModified", "ETag", "created")]
    key = hashlib.sha256("\n".join([scheme, path, *known]).encode()).hexdigest()[:16]
    copy = cache_folder() / "remote" / key / path.rstrip("/").rpartition("/")[2]
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f".{os.getpid()}-{copy.name}.part")
        try:
            # From beginning to end: servers need not know ranges.
            system.get_file(path, str(part))
            part.replace(copy)
        finally:
            part.unlink(missing_ok=True)
    return copy
