"""Parts of a study's pseudo-experiments, run in different places, made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from systwise.errors import ConfigError
from systwise.fit import Toys
from systwise.study.records._results import Results
from systwise.study.run._toy_records import summary_fields
from systwise.study.store._store import Store


def merge_studies(directories: Sequence[Path], out: Path, force: bool = False) -> Results:
    """Join the pseudo-experiments of runs that differ in their numbers only, and return the results.

    Everything else (measurements, figures' data) is the first part's.

    Args:
        directories: output directories of `systwise toys`.
        out: where to write; it must be empty or not exist, unless `force`.
        force: replace what it holds.

    Raises:
        ConfigError: fewer than two parts, or parts with different sets of pseudo-experiments.
        FitError: parts of different models, seeds or true points.
    """
    if len(directories) < 2:
        raise ConfigError("merge: give at least two directories")
    parts = [Results.load(Path(directory) / "results.json") for directory in directories]
    first = parts[0]
    files = [record.file for record in first.toys]
    odd = [file for file in files if Path(file).is_absolute() or ".." in Path(file).parts]
    if odd:
        raise ConfigError(
            f"{directories[0]}: results.json names '{odd[0]}', outside of the run's folder; it was changed by "
            "hand or belongs to no run, make the pseudo-experiments again"
        )
    doubled = [file for file in files if files.count(file) > 1]
    if doubled:
        raise ConfigError(
            f"{directories[0]}: {doubled[0]} holds several true points, of which only the last is left; make the "
            "pseudo-experiments again"
        )
    for directory, other in zip(directories[1:], parts[1:], strict=True):
        if [record.file for record in other.toys] != files:
            raise ConfigError(
                f"{directory}: holds other sets of pseudo-experiments than {directories[0]}; merge parts of one run"
            )
    if not files:
        raise ConfigError(f"{directories[0]}: holds no pseudo-experiments; make them with systwise toys")
    merged = {file: Toys.merge([Toys.load(Path(directory) / file) for directory in directories]) for file in files}
    store = Store.open(out, force)
    try:
        if force:
            store.clear(("checkpoints", "units"))
        for file, toys in merged.items():
            store.save_toys(file, toys)
        records = [record.model_copy(update=summary_fields(merged[record.file])) for record in first.toys]
        results = first.model_copy(update={"toys": records})
        (store.path / "plots.npz").write_bytes((Path(directories[0]) / "plots.npz").read_bytes())
        results.save(store.path / "results.json")
    finally:
        store.close()
    return results
