"""The output directory of a study: what lies where, and who may write there."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from systwise.atomic import write_atomically
from systwise.cases import AbstractCase
from systwise.errors import ConfigError, FitError
from systwise.fit import Toys
from systwise.learn import AbstractObservable, AbstractStrategy, save_observable
from systwise.study._plotdata import PlotData
from systwise.study._results import Results
from systwise.study._stored_templates import FOLDER, StoredTemplates

LOCK = ".systwise-running"


@dataclasses.dataclass(frozen=True)
class Store:
    """A directory that one run owns.

    Files: `results.json`, `plots.npz`, `models/`, `templates/`, and what the report adds. Each is written to a
    temporary name and renamed, so a run that dies leaves complete files only.
    """

    path: Path
    resume: bool = False

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
        try:
            path.mkdir(parents=True, exist_ok=True)
            _take_lock(path / LOCK)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); choose another directory with --out"
            ) from None
        return Store(path, resume)

    def close(self) -> None:
        """Let the directory go."""
        (self.path / LOCK).unlink(missing_ok=True)

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
