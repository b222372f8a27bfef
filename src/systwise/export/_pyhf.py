"""From a run's templates to a workspace file, with its loss measured before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from systwise.errors import ConfigError
from systwise.export._refit import Comparison, compare
from systwise.export._workspace import Workspace, histfactory_workspace, refuse_inexpressible
from systwise.fit import Data, Model, fit
from systwise.study import StoredTemplates, write_atomically

GOOD = 0.01
"""Loss below which templates at one standard deviation stay."""
NEAR = 2.0
"""Where the data constrain a nuisance: so many of its fitted uncertainties from the nominal value."""


def translate(
    model: Model, data: Data, *, channel: str = "observable", lumi: bool = True
) -> tuple[Workspace, Comparison]:
    """Return a model's workspace and what pyhf makes of it.

    Templates are taken at one standard deviation of each nuisance, as everybody does. Where pyhf's result then differs
    by more than 1 %, they are taken also at twice the fitted uncertainty (`steps` of `histfactory_workspace`), and what
    agrees better is kept.

    Args:
        model: of a fixed or an anchored observable.
        data: one data set.
        channel: name of the channel.
        lumi: see `histfactory_workspace`.

    Raises:
        ConfigError: HistFactory cannot express the model, or pyhf is not installed.
        FitError: pyhf finds no likelihood.
    """
    workspace = histfactory_workspace(model, data, channel=channel, lumi=lumi)
    found = compare(model, data, workspace)
    if found.loss <= GOOD:
        return workspace, found
    steps = nearer_steps(model, data, workspace)
    if not steps:
        return workspace, found
    other = histfactory_workspace(model, data, channel=channel, lumi=lumi, steps=steps)
    better = compare(model, data, other)
    return (other, better) if better.loss < found.loss else (workspace, found)


def nearer_steps(model: Model, data: Data, workspace: Workspace) -> dict[str, float]:
    """Return where the data put each nuisance that they constrain better than its constraint, in deviations."""
    sigmas = fit(model, data).nuisance_sigma
    steps = {}
    for name, scale in workspace.maps.items():
        width = sigmas.get(name)
        step = math.inf if width is None or not math.isfinite(width) else NEAR * width / max(scale.up, scale.down)
        if step < 0.5:
            steps[name] = max(step, 1e-3)
    return steps


def export_pyhf(
    stored: StoredTemplates,
    path: Path,
    *,
    point: Mapping[str, float] | None = None,
    observed: Mapping[str, Sequence[float]] | None = None,
    simulation: bool | None = None,
    allow: float = 0.1,
) -> Comparison:
    """Write a workspace for pyhf, and beside it `NAME.about.json`: where it comes from and what it loses.

    The data are the Asimov data of a true point of the study, or observed ones. (pyhf's schema has no place for
    remarks, hence the second file.)

    Args:
        stored: templates of a run.
        path: the file to write, `NAME.json`.
        point: the true point, the nominal one where None.
        observed: counts by region as `unblind` left them, instead of Asimov data; pulls, estimates and uncertainties
            are then those of the measurement.
        simulation: include the uncertainty of the simulation; the study's choice where None.
        allow: largest loss: relative change of the uncertainty, or shift of the estimate in units of it.

    Raises:
        ConfigError: HistFactory cannot express the observable, or the loss is larger than `allow`.
    """
    model = stored.model(simulation)
    refuse_inexpressible(model)
    data = workspace_data(stored, model, point, observed)
    workspace, found = translate(model, data, channel=stored.strategy.replace("@", "_at_"))
    check_loss(found, allow)
    path = Path(path)
    write_json(path, workspace.document)
    write_json(about_path(path), about(stored, point or {}, found, model, observed is not None))
    return found


def workspace_data(
    stored: StoredTemplates,
    model: Model,
    point: Mapping[str, float] | None,
    observed: Mapping[str, Sequence[float]] | None,
) -> Data:
    """Return the data of a workspace: observed counts, else the Asimov data of a true point."""
    if observed is None:
        return stored.data(model, point or {})
    return stored.observed_data(model, {name: np.asarray(counts) for name, counts in observed.items()})


def check_loss(found: Comparison, allow: float) -> None:
    """Refuse a workspace that says something else than the model.

    Raises:
        ConfigError: the loss is larger than `allow`.
    """
    if found.loss <= allow:
        return
    ours, theirs = found.ours, found.theirs
    why = "; ".join(found.losses) or "both fits differ"
    raise ConfigError(
        f"HistFactory cannot express this model: {found.poi} is {shown(ours.estimate)} ± {shown(ours.sigma)} here and "
        f"{shown(theirs.estimate)} ± {shown(theirs.sigma)} in pyhf, because {why}; "
        f"a larger loss than {allow:g} is written with --allow-loss"
    )


def shown(value: float | None) -> str:
    """Return a number as sentences have it."""
    return "unknown" if value is None else f"{value:.4g}"


def about(
    stored: StoredTemplates, point: Mapping[str, float], found: Comparison, model: Model, observed: bool = False
) -> dict[str, Any]:
    """Return where a workspace comes from and what it loses, as plain values."""
    return {
        "case": stored.case,
        "strategy": stored.strategy,
        "observable": stored.observable,
        "binning": stored.binning,
        "seed": stored.seed,
        "data": "observed" if observed else "asimov",
        "true": {} if observed else dict(stored.points[stored.point_number(point)]),
        "simulation": "include" if model.variance is not None else "exclude",
        "versions": dict(stored.versions),
        "comparison": found.record(),
    }


def about_path(path: Path) -> Path:
    """Return the name of the file of remarks beside `path`."""
    return path.with_name(f"{path.stem}.about.json")


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree, complete or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(tree, indent=1, default=float) + "\n"
    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another file with -o") from None
