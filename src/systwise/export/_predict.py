"""Predictions appended to files of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError
from systwise.export._scorer import Scorer, load_scorer
from systwise.export._tables import Block, Compute, append_columns
from systwise.study import FileColumns, RunEvents


def predict(
    model: Path,
    files: Sequence[Path],
    *,
    name: str = "score",
    nuisances: Mapping[str, float] | None = None,
    features: Sequence[str] | None = None,
    trusted: bool = False,
    friend: str | None = None,
    folder: Path | None = None,
    tree: str | None = None,
    in_place: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
) -> dict[Path, int]:
    """Score the events of files, and return each file that was written with its number of events.

    A new file `STEM-NAME.ENDING` holds all columns and the score; the input is changed only where that is asked for.

    Args:
        model: `.eqx` of a run's folder `models`, or `.onnx`.
        files: parquet, csv, ROOT or HDF5 with the model's features as columns.
        name: the new column.
        nuisances: hypothesised values, nominal where a name is missing; for a score that is told them.
        features: columns, for an ONNX file that does not name them itself.
        trusted: whether a model of another library may be read: a pickle, which can run code.
        friend: the event id's column: the new file then holds that and the score only.
        folder: where new files go; beside the input where None.
        tree: ROOT tree or HDF5 group.
        in_place: replace each input by the file with the new column.
        force: replace files that are there.
        progress: told after each file.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    scorer = load_scorer(model, features, trusted)
    scorer(np.zeros((1, len(scorer.features)), np.float32), nuisances)  # refuses unknown nuisances before any file

    def columns(source: Path) -> tuple[Sequence[str], Compute]:
        return scorer.features, _column(scorer, name, nuisances)

    return _append(files, name, columns, friend, folder, tree, in_place, force, progress)


def predict_run(
    run: Path,
    files: Sequence[Path],
    *,
    name: str = "score",
    choice: Mapping[str, Any] | None = None,
    friend: str | None = None,
    folder: Path | None = None,
    tree: str | None = None,
    in_place: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
) -> dict[Path, int]:
    """Say of the events of files where they fall in a run, and return each file that was written with its events.

    Features, selections, folds and bins are those of the analysis: `NAME_REGION_score`, `_fold` and `_bin` for each of
    its regions. Where it has no event id, events count on from file to file.

    Args:
        run: output directory of a run of an analysis file.
        files: parquet, csv, ROOT or HDF5 with the columns that the analysis needs.
        name: how the new columns begin.
        choice: `sample`, `strategy`, `observable`, `binning` and `seed`, see `systwise.study.RunEvents`.
        friend: the event id's column: the new file then holds that and the new columns only.
        folder: where new files go; beside the input where None.
        tree: ROOT tree or HDF5 group.
        in_place: replace each input by the file with the new columns.
        force: replace files that are there.
        progress: told after each file.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    events = RunEvents(run, **(choice or {}))
    made: FileColumns | None = None

    def columns(source: Path) -> tuple[Sequence[str], Compute]:
        nonlocal made
        made = events.file(source, name, tree, 0 if made is None else made.next)
        return made.columns, made

    return _append(files, name, columns, friend, folder, tree, in_place, force, progress)


def _append(
    files: Sequence[Path],
    name: str,
    columns: Callable[[Path], tuple[Sequence[str], Compute]],
    friend: str | None,
    folder: Path | None,
    tree: str | None,
    in_place: bool,
    force: bool,
    progress: Progress,
) -> dict[Path, int]:
    """Write new columns of every file, once it is known that all can be written."""
    if in_place and (friend or folder):
        raise ConfigError("predict: --in-place writes no other file; leave out --friend and --out")
    targets = [Path(f) if in_place else _target(Path(f), name, folder) for f in files]
    for target in targets:
        if target.exists() and not (in_place or force):
            raise ConfigError(f"{target}: exists already; replace it with --force, or choose another folder with --out")
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: two of the files would be written there; give them different names")
    done = {}
    for number, (source, target) in enumerate(zip(files, targets, strict=True)):
        keep = None if friend is None else [friend]
        needed, compute = columns(Path(source))
        done[target] = append_columns(Path(source), target, needed, compute, keep=keep, tree=tree)
        progress("predict", number + 1, len(files))
    return done


def _target(source: Path, name: str, folder: Path | None) -> Path:
    return (folder or source.parent) / f"{source.stem}-{name}{source.suffix}"


def _column(scorer: Scorer, name: str, nuisances: Mapping[str, float] | None) -> Compute:
    def compute(block: Block) -> dict[str, np.ndarray]:
        inputs = np.stack([np.asarray(block[feature], np.float32) for feature in scorer.features], axis=1)
        return {name: scorer(inputs, nuisances)}

    return compute
