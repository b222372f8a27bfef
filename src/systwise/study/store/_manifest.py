"""What a run directory belongs to: `manifest.json`, written before the first number and kept up to date."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from systwise.atomic import write_atomically
from systwise.errors import ConfigError
from systwise.study.records._record import Record
from systwise.study.records._results import DataRecord

FILE = "manifest.json"
PACKAGES = ("systwise", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "pyarrow")
EXTENDABLE = ("strategies", "seeds", "strategy", "toys")
"""Settings that a resumed run may change: what is there already stays valid."""


def versions() -> dict[str, str]:
    """Return the versions that decide the last digits of a number."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


class Look(Record):
    """Observed data that somebody looked at."""

    stage: str
    """`control`, `gof` or `full`."""
    strategy: str
    """Whose observable."""
    observable: str
    """`fixed` or `anchored`."""
    binning: str
    """Name of the binning."""
    seed: int
    """Seed of the training."""
    regions: list[str]
    """Regions whose data were read."""
    when: str
    """When, in UTC."""
    settings: str
    """Digest of the run's settings."""
    data: dict[str, str]
    """Digest of the observed events of each region."""
    hidden: bool = False
    """Whether the value was hidden by an offset."""
    command: str = ""
    """The command line."""


class Manifest(Record):
    """What a run directory belongs to."""

    format: Literal["systwise/manifest/1"] = "systwise/manifest/1"
    """Version of this file."""
    case: str
    """Name of the case."""
    settings: dict[str, Any]
    """All settings of the study, resolved."""
    versions: dict[str, str]
    """Versions of Python and of the packages that compute."""
    data: DataRecord
    """Where the events come from, and their digest."""
    command: str = ""
    """The command line; empty where there was none."""
    started: str
    """When, in UTC."""
    status: Literal["running", "finished"] = "running"
    """`running` also after a kill."""
    units: list[str] = Field(default_factory=list)
    """Strategies and seeds that are finished."""
    looks: list[Look] = Field(default_factory=list)
    """What was looked at of the observed data, in order."""

    @classmethod
    def begin(cls, case: str, settings: dict[str, Any], data: DataRecord, command: str) -> Manifest:
        """Return the manifest of a run that begins now."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(
            case=case,
            settings=json.loads(json.dumps(settings, default=str)),
            versions=versions(),
            data=data,
            command=command,
            started=now,
        )

    def looked(self, stage: str, digests: Mapping[str, str], command: str, **labels: Any) -> Manifest:
        """Return the manifest with a note that observed data were looked at now.

        Args:
            stage: `control`, `gof` or `full`.
            digests: of the observed events, by region.
            command: the command line.
            labels: other fields of `Look`.
        """
        look = Look(
            stage=stage,
            regions=list(digests),
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            settings=hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest(),
            data=dict(digests),
            command=command,
            **labels,
        )
        return self.model_copy(update={"looks": [*self.looks, look]})

    def save(self, folder: Path) -> None:
        """Write the file."""
        text = self.model_dump_json(indent=1)
        write_atomically(folder / FILE, lambda file: file.write(text.encode()))

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """Return the manifest of a directory, None where there is none.

        Raises:
            ConfigError: the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: is damaged ({str(error).splitlines()[0]}); start over with --force, or choose another --out"
            ) from None

    def check_same(self, other: Manifest, folder: Path) -> None:
        """Refuse to go on with a run that was something else.

        Args:
            other: what is to be run now.
            folder: for the message.

        Raises:
            ConfigError: another case, setting, version or data.
        """
        remedy = "use the same, choose another --out, or start over with --force"
        if self.case != other.case:
            raise ConfigError(f"{folder}: holds a run of '{self.case}', not of '{other.case}'; {remedy}")
        before, now = (_flat({k: v for k, v in m.settings.items() if k not in EXTENDABLE}) for m in (self, other))
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                raise ConfigError(f"{folder}: was run with {key}={before.get(key)}, not {now.get(key)}; {remedy}")
        if self.data.fingerprint != other.data.fingerprint:
            raise ConfigError(f"{folder}: the events of {other.data.source} have changed since; {remedy}")
        for name, old in self.versions.items():
            if other.versions.get(name) != old:
                raise ConfigError(
                    f"{folder}: was begun with {name} {old}, and this is {other.versions.get(name)}, which may change "
                    f"digits; {remedy}"
                )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a tree of settings by their path."""
    if isinstance(tree, dict) and tree:
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}" if path else key).items()}
    return {path: tree}
