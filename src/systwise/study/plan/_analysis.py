"""Analysis files: the example, the schema, and a check that reads the first events."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from systwise.atomic import write_atomically
from systwise.cases import Analysis, AnalysisSettings, Progress, no_progress
from systwise.errors import Complaints, ConfigError
from systwise.learn import STRATEGIES, NetworkSettings, TrainingSettings
from systwise.optional import optional_module
from systwise.parameters import Nuisance
from systwise.settings import Settings
from systwise.study.config._settings import (
    StudySettings,
    build_case,
    build_strategies,
    is_analysis,
    resolve_settings,
)
from systwise.study.plan._checked import RegionCheck, check_region
from systwise.study.plan._plan import check_settings

SCHEMA_ID = "systwise/analysis/1"


@dataclasses.dataclass(frozen=True)
class AnalysisCheck:
    """What an analysis file and the first events of its samples hold.

    Attributes:
        title: name of the measurement.
        regions: what was found in each.
        events: events read of each sample at most, all where None; yields refer to these.
        components: names and coefficients as formulas.
        nuisances: all.
        ways: how each nuisance acts, by name.
        strategies: what `systwise run` would train.
        notes: what deserves a warning.
    """

    title: str
    regions: tuple[RegionCheck, ...]
    events: int | None
    components: tuple[tuple[str, str], ...]
    nuisances: tuple[Nuisance, ...]
    ways: Mapping[str, str]
    strategies: tuple[str, ...]
    notes: tuple[str, ...]


def check_analysis(
    path: str, overrides: Mapping[str, Any] | None = None, events: int | None = None, progress: Progress = no_progress
) -> AnalysisCheck:
    """Validate an analysis file, read the first events of each sample and return what was found.

    What can be looked at one by one is, so that all mistakes are told at once: keys, then settings of the study, files
    and columns, then the events of each region.

    Raises:
        ConfigError: the file has a mistake.
        DataError: the events are missing or unusable.
    """
    if not is_analysis(path):
        raise ConfigError(f"{path}: is no analysis file; give one that ends in .yaml")
    settings = resolve_settings(path, overrides=overrides)
    case = build_case(path, settings)
    if not isinstance(case, Analysis):
        raise TypeError(f"{path} made a {type(case).__name__}")
    complaints = Complaints()
    check_settings(case, settings, complaints)
    for region in case.regions.values():
        region.complain(complaints)
    complaints.tell()
    checks = []
    for region in case.regions.values():
        with complaints.gathered():
            checks.append(check_region(region, events, settings.split, progress))
    complaints.tell()
    return AnalysisCheck(
        case.title,
        tuple(checks),
        events,
        case.formulas,
        case.nuisances,
        case.ways,
        tuple(strategy.name for strategy in build_strategies(case, settings)),
        tuple(
            dict.fromkeys(note if len(checks) == 1 else f"{one.name}: {note}" for one in checks for note in one.notes)
        ),
    )


def example_analysis() -> str:
    """Return a commented example of an analysis file."""
    return _example("analysis.yaml")


def write_example(path: Path, events: int = 4_000) -> list[Path]:
    """Write the example with what it needs to be checked and run: its function, and the events that it reads.

    Args:
        path: of the analysis file; the rest goes beside it.
        events: of each sample.

    Returns:
        what was written.

    Raises:
        ConfigError: uproot, which writes the events, is not installed.
    """
    optional_module("uproot", "the example's events are ROOT files; this")
    folder = path.parent
    texts = {path: "analysis.yaml"} | {folder / name: f"{name}.txt" for name in ("shifts.py", "make_ntuples.py")}
    for target, name in texts.items():
        text = _example(name)
        write_atomically(target, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    runpy.run_path(str(folder / "make_ntuples.py"))["write"](folder / "ntuples", events)
    return [*texts, folder / "ntuples"]


def _example(name: str) -> str:
    return resources.files("systwise.cases.analysis").joinpath("example", name).read_text(encoding="utf-8")


def analysis_schema() -> str:
    """Return the JSON schema of analysis files, the text of `analysis.schema.json`, which a test keeps equal to it."""
    tree = AnalysisSettings.model_json_schema(by_alias=True)
    tree["properties"].pop("Folder")
    study = StudySettings.model_json_schema(by_alias=True)
    study["properties"].pop("case")
    own: dict[str, type[Settings]] = {"network": NetworkSettings, "training": TrainingSettings}
    study["properties"] |= {name: _described(kind, study, name) for name, kind in own.items()}
    kinds = {name: STRATEGIES.get(name) for name in STRATEGIES.names()}
    known = {n: _described(kind, study, "") for n, kind in kinds.items() if kind.__module__.startswith("systwise.")}
    study["properties"]["strategy"] |= {"properties": known}
    tree["$defs"] = {**tree.get("$defs", {}), **study.pop("$defs", {})}
    tree["properties"]["study"] = study
    tree = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **tree}
    return json.dumps(tree, indent=1) + "\n"


def _described(kind: type[Settings], tree: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of settings, its definitions moved to those of `tree`; described as the key `name` is there."""
    schema = kind.model_json_schema(by_alias=True)
    tree.setdefault("$defs", {}).update(schema.pop("$defs", {}))
    description = tree["properties"].get(name, {}).get("description")
    return schema if description is None else schema | {"description": description}
