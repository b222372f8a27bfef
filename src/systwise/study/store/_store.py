"""The output directory of a study: what lies where, and who may write there."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import cloudpickle

from systwise.atomic import write_atomically
from systwise.cases import AbstractCase
from systwise.errors import ConfigError, FitError
from systwise.fit import Toys
from systwise.learn import AbstractObservable, AbstractStrategy, save_observable
from systwise.study.records._plotdata import PlotData
from systwise.study.records._results import Results
from systwise.study.store._manifest import Manifest
from systwise.study.store._templates import FOLDER, StoredTemplates

LOCK = ".systwise-running"
FOLDERS = ("checkpoints", "units", "models", FOLDER, "toys", "unblinded", "figures")
FILES = ("results.json", "plots.npz", "report.html")
"""What a run leaves beside its manifest, and what another one that takes its place removes."""
UNIT_FORMAT = "systwise/unit/1"


@dataclasses.dataclass(frozen=True)
class Store:
    """A directory that one run owns.

    Files: `manifest.json`, `results.json`, `plots.npz`, `models/`, `templates/`, `toys/`, what the report adds, and
    for a run that goes on later `checkpoints/` and `units/`. Each is written to a temporary name and renamed, so a
    run that dies leaves complete files only.

    Attributes:
        path: the directory.
        resume: whether to take up what an earlier run left.
        made: whether the directory was not there before.
        replace: whether what an earlier run left goes when this one begins.
    """

    path: Path
    resume: bool = False
    made: bool = False
    replace: bool = False

    @staticmethod
    def open(path: Path, force: bool = False, resume: bool = False) -> Store:
        """Take a directory for a new run, or with `resume` for one that goes on there.

        Raises:
            ConfigError: it holds something already (unless `force`), another run is writing there,
                or it cannot be made.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: is a file; choose another directory with --out")
        if path.is_dir() and any(path.iterdir()) and not (force or resume):
            raise ConfigError(
                f"{path}: is already in use; choose another directory with --out, or replace its results with --force"
            )
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            _take_lock(path / LOCK)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); choose another directory with --out"
            ) from None
        return Store(path, resume, made, force)

    def begin(self, manifest: Manifest) -> Manifest:
        """Write what the directory belongs to, and return what is there of an earlier run of the same.

        Raises:
            ConfigError: the directory holds another run, or something else.
        """
        earlier = Manifest.load(self.path) if self.resume else None
        if earlier is not None:
            earlier.check_same(manifest, self.path)
            manifest = manifest.model_copy(update={"started": earlier.started, "looks": earlier.looks})
        elif self.resume and any(path.name != LOCK for path in self.path.iterdir()):
            raise ConfigError(
                f"{self.path}: holds no run that could go on; choose another directory with --out, or use --force"
            )
        if self.replace and not self.resume:
            # Not before: a run that is refused leaves the earlier one as it was.
            self.clear()
        manifest.save(self.path)
        return manifest

    def clear(self, names: Sequence[str] = (*FOLDERS, *FILES)) -> None:
        """Remove what an earlier run left, its manifest excepted."""
        for name in names:
            if name in FOLDERS:
                shutil.rmtree(self.path / name, ignore_errors=True)
            else:
                (self.path / name).unlink(missing_ok=True)

    def save_unit(self, name: str, identity: str, unit: Any) -> None:
        """Keep a finished unit, so that a resumed run need not repeat it."""
        payload = cloudpickle.dumps(unit)
        header = {"format": UNIT_FORMAT, "identity": identity, "digest": hashlib.sha256(payload).hexdigest()}

        def write(file: Any) -> None:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(payload)

        write_atomically(self.path / "units" / f"{name}.unit", write)

    def unit(self, name: str, identity: str) -> Any | None:
        """Return a unit that an earlier run finished, None where there is none or its settings were others.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path / "units" / f"{name}.unit"
        if not self.resume or not path.exists():
            return None
        with path.open("rb") as file:
            line, payload = file.readline(), file.read()
        try:
            header = json.loads(line)
            sound = header["format"] == UNIT_FORMAT and header["digest"] == hashlib.sha256(payload).hexdigest()
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise ConfigError(f"{path}: is damaged; delete this file, and its strategy is measured again")
        return pickle.loads(payload) if header["identity"] == identity else None

    def files(self) -> dict[str, bytes]:
        """Return everything in the directory, by its path in it."""
        found = (path for path in self.path.rglob("*") if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in sorted(found)}

    def add(self, files: dict[str, bytes]) -> None:
        """Write files that another process made for this directory."""
        for name, content in files.items():
            write_atomically(self.path / name, functools.partial(_write, content=content))

    def close(self) -> None:
        """Let the directory go, and leave no trace of a run that was refused before it wrote anything."""
        (self.path / LOCK).unlink(missing_ok=True)
        if self.made and not any(self.path.iterdir()):
            self.path.rmdir()

    def save_model(
        self,
        strategy: AbstractStrategy,
        label: str,
        seed: int,
        observable: AbstractObservable,
        case: AbstractCase | None = None,
    ) -> None:
        """Write a trained observable of a case to `models/<label>-seed<seed>.eqx`."""
        target = self.path / "models" / f"{label}-seed{seed}.eqx"
        write_atomically(target, lambda file: save_observable(file, strategy, seed, observable, case))

    def save_templates(self, label: str, templates: StoredTemplates) -> None:
        """Write templates to `templates/<label>-<observable>-<binning>-seed<seed>.npz`."""
        name = f"{label}-{templates.observable}-{templates.binning}-seed{templates.seed}.npz"
        templates.save(self.path / FOLDER / name)

    def save_toys(self, file: str, toys: Toys) -> None:
        """Write the rows of pseudo-experiments to `file`, relative to the directory."""
        target = self.path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part")
        toys.save(temporary)
        temporary.replace(target)

    def toys(self, file: str, identity: str) -> Toys | None:
        """Return the rows that an earlier run left in `file`, None where there are none.

        Raises:
            FitError: they belong to another model.
        """
        path = self.path / file
        if not self.resume or not path.exists():
            return None
        rows = Toys.load(path)
        if rows.model != identity:
            raise FitError(f"{path}: belongs to other settings; choose another directory with --out, or use --force")
        return rows

    def save(self, results: Results, plots: PlotData) -> None:
        """Write results and plot data; called after every finished strategy."""
        plots.save(self.path / "plots.npz")
        results.save(self.path / "results.json")


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)


def _take_lock(path: Path) -> None:
    """Write our process number into the lock file, unless a living process holds it."""
    if path.exists():
        text = path.read_text(encoding="utf-8").strip()
        if text.isdigit() and _alive(int(text)) and int(text) != os.getpid():
            raise ConfigError(
                f"{path.parent}: process {text} is writing there; wait for it or choose another directory with --out"
            )
    path.write_text(str(os.getpid()), encoding="utf-8")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
