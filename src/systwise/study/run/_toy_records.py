"""What a set of pseudo-experiments is: the observable that is fitted, its file, its identity and its record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from systwise.errors import ConfigError
from systwise.fit import Toys
from systwise.study.measure._measurement import Fitted
from systwise.study.measure._regions import file_word
from systwise.study.plan._plan import Plan
from systwise.study.records._results import ToyRecord

Source = Literal["events", "templates"]


def data_source(plan: Plan) -> Source:
    """Return where pseudo-experiments take their data from."""
    wanted = plan.settings.toys.source
    if plan.others and wanted == "events":
        raise ConfigError("toys.source: events are drawn for one region only; set it to templates")
    if wanted != "auto":
        return wanted
    if plan.others:
        return "templates"
    fresh = plan.case.sample(0, [1] * len(plan.case.components.names))
    return "templates" if fresh is None else "events"


def toy_file(plan: Plan, strategy: str, one: Fitted, seed: int, point: dict[str, float]) -> str:
    """Return where the rows of a set of pseudo-experiments lie, relative to the results.

    Nuisances name it, and parameters of interest that are not nominal.

    Args:
        plan: the study.
        strategy: name of the training strategy.
        one: what is fitted.
        seed: of the training.
        point: true values of all parameters.
    """
    pois = zip(plan.case.components.pois, plan.case.components.nominal, strict=True)
    named = plan.nuisance_values(point) | {name: point[name] for name, value in pois if point[name] != value}
    where = "-".join(f"{file_word(name)}={value:.6g}" for name, value in named.items()) or "nominal"
    return f"toys/{strategy}-{one.kind}-{one.binning}-seed{seed}-{where}.npz"


def identity(plan: Plan, strategy: str, seed: int, one: Fitted) -> str:
    """Return what identifies the fitted model, so that only parts of the same run are merged."""
    settings = plan.settings.model_dump(by_alias=True, mode="json")
    for extendable in ("toys", "strategies", "seeds"):
        settings.pop(extendable)
    # Where the files of an analysis lie decides no number; the fingerprint holds what is in them.
    settings["case"].pop("Folder", None)
    case = Path(plan.case.name).name
    text = json.dumps(
        [case, settings, plan.table.fingerprint, strategy, seed, one.kind, one.binning, one.convention],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def toy_record(
    plan: Plan, strategy: str, seed: int, one: Fitted, point: dict[str, float], toys: Toys, file: str
) -> ToyRecord:
    """Return the summary of a set of pseudo-experiments as it is stored."""
    truth = plan.case.truth
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    return ToyRecord(
        strategy=strategy,
        observable=one.kind,
        convention=one.convention,
        binning=one.binning,
        seed=seed,
        true=point,
        poi=toys.poi,
        source=data_source(plan),
        bound=truth.bound(plan.poi_values(point), z)[0] if truth is not None else None,
        file=file,
        **summary_fields(toys),
    )


def summary_fields(toys: Toys) -> dict[str, Any]:
    """Return the numbers of a summary by the names of `ToyRecord`."""
    summary = toys.summary()
    return {
        "toys": summary.toys,
        "converged": summary.converged,
        "mean": summary.mean,
        "mean_error": summary.mean_error,
        "rms": summary.rms,
        "rms_error": summary.rms_error,
        "half_width": summary.half_width,
        "bias": summary.bias,
        "pull_mean": summary.pull_mean,
        "pull_width": summary.pull_width,
        "coverage": summary.coverage.value,
        "coverage_error": summary.coverage.error,
        "coverage_two": summary.coverage_two.value,
        "coverage_two_error": summary.coverage_two.error,
    }
