"""Predictions appended to files of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError
from systwise.export._scorer import Scorer, load_scorer
from systwise.export._tables import Block, Compute, append_columns


def predict(
    model: Path,
    files: Sequence[Path],
    *,
    name: str = "score",
    nuisances: Mapping[str, float] | None = None,
    features: Sequence[str] | None = None,
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
        friend: the event id's column: the new file then holds that and the score only.
        folder: where new files go; beside the input where None.
        tree: ROOT tree or HDF5 group.
        in_place: replace each input by the file with the new column.
        force: replace files that are there.
        progress: told after each file.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    if in_place and (friend or folder):
        raise ConfigError("predict: --in-place writes no other file; leave out --friend and --out")
    scorer = load_scorer(model, features)
    scorer(np.zeros((1, len(scorer.features)), np.float32), nuisances)  # refuses unknown nuisances before any file
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
        compute = _column(scorer, name, nuisances)
        done[target] = append_columns(Path(source), target, scorer.features, compute, keep=keep, tree=tree)
        progress("predict", number + 1, len(files))
    return done


def _target(source: Path, name: str, folder: Path | None) -> Path:
    return (folder or source.parent) / f"{source.stem}-{name}{source.suffix}"


def _column(scorer: Scorer, name: str, nuisances: Mapping[str, float] | None) -> Compute:
    def compute(block: Block) -> dict[str, np.ndarray]:
        return {name: scorer(np.stack([block[feature] for feature in scorer.features], axis=1), nuisances)}

    return compute
