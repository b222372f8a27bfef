"""Downloading a data file once, with its checksum verified."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
from requests.exceptions import RequestException

from systwise.errors import DataError

Report = Callable[[str, int, int], None]
"""Called as `report(what, done, total)`, in bytes."""


class _Progress:
    """What pooch expects of a progress bar, passed on to a function."""

    def __init__(self, what: str, report: Report) -> None:
        self.total = 0
        self._what, self._report, self._done = what, report, 0

    def update(self, size: int) -> None:
        self._done += size
        self._report(self._what, self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        self._report(self._what, self.total, self.total)


def cache_folder() -> Path:
    """Return the folder for what can be made again: `SYSTWISE_CACHE`, else the user's cache on this platform."""
    return Path(os.environ.get("SYSTWISE_CACHE") or pooch.os_cache("systwise"))


def fetch(url: str, checksum: str, report: Report, remedy: str, folder: Path | None = None) -> Path:
    """Return the local copy of the file at `url`, downloading it where there is none.

    The file is written under a temporary name and renamed once its checksum is right; an interrupted
    download leaves nothing behind. A copy whose checksum is wrong is downloaded again.

    Args:
        url: address of the file; its last part is the name of the copy.
        checksum: `ALGORITHM:HEXDIGITS`, as pooch takes it.
        report: called as bytes come.
        remedy: what else a user can do; ends the message of an error.
        folder: where to keep the copy; the user's cache where None.

    Raises:
        DataError: the file cannot be had, or is not the expected one.
    """
    name = url.rsplit("/", 1)[-1]
    folder = cache_folder() if folder is None else folder
    # The bytes as they are: a server may offer to unpack what is stored compressed.
    options: dict[str, Any] = {"headers": {"Accept-Encoding": "identity"}, "timeout": 60}
    bar: Any = _Progress(f"downloading {name}", report)
    try:
        path = pooch.retrieve(
            url,
            known_hash=checksum,
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=bar, **options),
        )
    except (RequestException, OSError) as error:
        raise DataError(f"{url}: the download failed ({type(error).__name__}); {remedy}") from error
    except ValueError as error:
        raise DataError(f"{url}: the downloaded file's checksum is not {checksum}; {remedy}") from error
    return Path(path)
