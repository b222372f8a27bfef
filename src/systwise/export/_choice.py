"""What a run directory holds, and which of it is meant."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from systwise.errors import ConfigError
from systwise.registry import suggestion

_PREFERRED = ("anchored", "fixed", "moving")
_BINNINGS = ("joint", "optimised", "uniform")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a run: templates, or a model where `observable` and `binning` are empty."""

    path: Path
    strategy: str
    seed: int
    observable: str = ""
    binning: str = ""


def choose_templates(
    run: Path,
    strategy: str | None = None,
    observable: str | None = None,
    binning: str | None = None,
    seed: int | None = None,
) -> Path:
    """Return the file of templates that is meant.

    What is not given is chosen: the only strategy; anchored before fixed before moving; the optimised binning; the
    first seed.

    Args:
        run: output directory of a run.
        strategy: its name, with the true point behind `@` where it was trained for one.
        observable: `fixed`, `anchored` or `moving`.
        binning: `uniform`, `optimised`, ...
        seed: seed of the training.

    Raises:
        ConfigError: no such directory, no templates in it, or nothing that fits.
    """
    entries = []
    for path in _files(run, "templates", ".npz"):
        parts = path.stem.rsplit("-", 3)
        if len(parts) == 4 and parts[3].startswith("seed") and parts[3][4:].isdigit():
            entries.append(Entry(path, parts[0], int(parts[3][4:]), parts[1], parts[2]))
    counted = [entry for entry in entries if entry.observable != "unbinned"]
    if entries and not counted:
        raise ConfigError(f"{run}: holds likelihoods of single events only, which have no histograms to export")
    entries = counted
    if not entries:
        raise ConfigError(f"{run}: holds no templates; repeat the run with this version, which stores them")
    entries = _of_strategy(run, entries, strategy, "templates")
    entries = _of(run, entries, "observable", observable, _PREFERRED)
    entries = _of(run, entries, "binning", binning, _BINNINGS)
    return _of_seed(run, entries, seed).path


def choose_model(run: Path, strategy: str | None = None, seed: int | None = None) -> Path:
    """Return the file of a trained model; see `choose_templates`.

    Raises:
        ConfigError: no such directory, no models in it, or nothing that fits.
    """
    entries = []
    for path in _files(run, "models", ".eqx"):
        label, _, number = path.stem.rpartition("-seed")
        if number.isdigit():
            entries.append(Entry(path, label, int(number)))
    if not entries:
        raise ConfigError(f"{run}: holds no trained models; point to the output directory of a run")
    return _of_seed(run, _of_strategy(run, entries, strategy, "models"), seed).path


def _files(run: Path, folder: str, ending: str) -> list[Path]:
    run = Path(run)
    if not run.is_dir():
        raise ConfigError(f"{run}: no such directory; give the output directory of a run")
    if not (run / "results.json").exists():
        raise ConfigError(f"{run}: is no output directory of a run (it has no results.json)")
    return sorted((run / folder).glob(f"*{ending}"))


def _of_strategy(run: Path, entries: list[Entry], name: str | None, what: str) -> list[Entry]:
    known = list(dict.fromkeys(entry.strategy for entry in entries))
    if name is None:
        if len(known) > 1:
            raise ConfigError(
                f"{run}: holds {what} of several strategies ({', '.join(known)}); name one with --strategy"
            )
        name = known[0]
    if name not in known:
        raise ConfigError(
            f"{run}: no {what} of strategy '{name}'{suggestion(name, known)} (the run has {', '.join(known)})"
        )
    return [entry for entry in entries if entry.strategy == name]


def _of(run: Path, entries: list[Entry], what: str, name: str | None, preferred: tuple[str, ...]) -> list[Entry]:
    known = list(dict.fromkeys(getattr(entry, what) for entry in entries))
    if name is None:
        name = next((entry for entry in preferred if entry in known), known[0])
    if name not in known:
        raise ConfigError(
            f"{run}: strategy '{entries[0].strategy}' has no {what} '{name}'{suggestion(name, known)} "
            f"(it has {', '.join(known)})"
        )
    return [entry for entry in entries if getattr(entry, what) == name]


def _of_seed(run: Path, entries: list[Entry], seed: int | None) -> Entry:
    known = sorted(entry.seed for entry in entries)
    wanted = known[0] if seed is None else seed
    if wanted not in known:
        raise ConfigError(f"{run}: no seed {wanted} (the run has {', '.join(map(str, known))})")
    return next(entry for entry in entries if entry.seed == wanted)
