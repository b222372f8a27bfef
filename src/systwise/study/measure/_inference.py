"""Beyond one number: pulls, impacts, split, significance, limit, planes of two parameters, and a second minimiser."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np

from systwise.errors import FitError
from systwise.fit import (
    AbstractData,
    FitResult,
    Model,
    asimov,
    expected_significance,
    fit,
    impacts,
    profile_2d,
    pulls,
    referee,
    stat_syst_split,
    upper_limit,
)
from systwise.study.measure._measure import Setup, build_model, study_data
from systwise.study.plan._plan import Plan
from systwise.study.records._inference import ImpactRecord, InferenceRecord, PullRecord, SplitRecord
from systwise.study.records._plotdata import PlaneScan
from systwise.templates import Templates

REACH = 3.2
"""Half-width of a plane in standard deviations."""
MOST_PLANES = 4


def examined(plan: Plan, setups: list[Setup]) -> list[Setup]:
    """Return the observables whose uncertainty is taken apart, at most two a strategy.

    One binning of the score (the optimised one where there is one) and the joint cells; no observable that
    moves with the hypothesis, whose likelihood is not the probability of one observation.
    """
    if plan.taken_apart == "none":
        return []
    fixed = [setup for setup in setups if not setup.templates.moving]
    binned = [setup for setup in fixed if setup.joint is None]
    preferred = [setup for setup in binned if setup.binning == "optimised"] or binned
    return [*preferred[:1], *(setup for setup in fixed if setup.joint is not None)]


def beside(plan: Plan) -> bool:
    """Return whether the simulation's uncertainty stands beside sigma and not in it."""
    return plan.settings.fit.simulation == "beside"


def examined_model(plan: Plan, templates: Templates) -> Model:
    """Return the likelihood that is taken apart: the measurement's."""
    return build_model(plan, templates, plan.settings.fit.conventions[0], not beside(plan))


def examine(plan: Plan, model: Model, point: dict[str, float]) -> None:
    """Go once through everything that `infer` does, on the model's own Asimov data; for what it compiles."""
    theta = dict(zip(model.components.pois, plan.poi_values(point), strict=True))
    data = asimov(model, theta, plan.nuisance_values(point))
    result = fit(model, data)
    numbers(plan, model, data, point, result)
    _planes(plan, model, data, result)


def infer(plan: Plan, setup: Setup) -> tuple[list[InferenceRecord], list[PlaneScan]]:
    """Take the uncertainty apart, at the first true point or at all of them.

    Args:
        plan: the study.
        setup: templates and labels.
    """
    model = examined_model(plan, setup.templates)
    records, planes = [], []
    for number, point in enumerate(setup.points):
        if plan.taken_apart == "first" and point != plan.points[0]:
            continue
        data = study_data(plan, model, setup.templates, number, point)
        result = fit(model, data)
        labels: dict[str, Any] = {
            "strategy": setup.strategy,
            "observable": setup.templates.observable,
            "convention": plan.settings.fit.conventions[0],
            "binning": setup.binning,
            "seed": setup.seed,
            "true": point,
            "poi": model.components.pois[0],
            "total": result.sigma,
        }
        records.append(InferenceRecord.model_validate(labels | numbers(plan, model, data, point, result)))
        planes += [
            PlaneScan(
                strategy=setup.strategy,
                binning=setup.binning,
                observable=setup.templates.observable,
                true=point,
                names=names,
                x=scan.x,
                y=scan.y,
                rise=np.minimum(scan.rise, 1e6),
                best=np.array([scan.best.estimates[name] for name in names]),
                verdict=scan.verdict,
            )
            for names, scan in _planes(plan, model, data, result)
        ]
    return records, planes


def numbers(plan: Plan, model: Model, data: AbstractData, point: dict[str, float], result: FitResult) -> dict[str, Any]:
    """Return the fields of the record; what does not exist for this observable is said in `verdicts`."""
    fields: dict[str, Any] = {}
    verdicts: dict[str, str] = {"fit": result.verdict}
    poi = model.components.pois[0]
    parts = {
        "pulls": lambda: _pulls(model, data, result),
        "impacts": lambda: _impacts(model, data),
        "split": lambda: _split(model, data),
        "significance": lambda: _significance(model, data, point[poi]),
        "limit": lambda: _limit(model, data, plan.settings.inference.level),
        "referee": lambda: _referee(model, data, result),
    }
    if not plan.nuisances and model.variance is None:
        for name in ("pulls", "impacts", "split"):
            del parts[name]
    for name, part in parts.items():
        try:
            found, verdicts[name] = part()
        except FitError as error:
            # A test that an observable does not offer (a limit of a moving one) is no reason to lose the others.
            verdicts[name] = f"not available: {error}"
        else:
            fields |= found
    return {**fields, "verdicts": verdicts}


def _pulls(model: Model, data: AbstractData, result: FitResult) -> tuple[dict[str, Any], str]:
    found = pulls(model, data, result)
    return {"pulls": [PullRecord.of(row) for row in found.rows]}, found.verdict


def _impacts(model: Model, data: AbstractData) -> tuple[dict[str, Any], str]:
    found = impacts(model, data)
    names = ("groups", "simulation", "systematic", "statistical", "statistical_by_shifts")
    fields = {name: getattr(found, name) for name in names}
    return {"impacts": [ImpactRecord.of(row) for row in found.rows], **fields}, found.verdict


def _split(model: Model, data: AbstractData) -> tuple[dict[str, Any], str]:
    found = stat_syst_split(model, data)
    rows = (*found.groups, found.statistical)
    return {"split": [SplitRecord.of(row, held=row.name) for row in rows]}, found.verdict


def _significance(model: Model, data: AbstractData, mu: float) -> tuple[dict[str, Any], str]:
    found = expected_significance(model, mu, data=data)
    return {"significance": found.median, "significance_bands": list(found.bands)}, found.verdict


def _limit(model: Model, data: AbstractData, level: float) -> tuple[dict[str, Any], str]:
    found = upper_limit(model, data, level)
    return {"limit_level": level, "limit": found.observed, "limit_expected": list(found.expected)}, found.verdict


def _referee(model: Model, data: AbstractData, result: FitResult) -> tuple[dict[str, Any], str]:
    if importlib.util.find_spec("iminuit") is None:
        return {}, "not asked: iminuit is not installed (pip install '.[referee]')"
    found = referee(model, data, result=result)
    return {"referee": found.agree}, found.verdict


def _planes(plan: Plan, model: Model, data: AbstractData, result: FitResult) -> list[tuple[tuple[str, str], Any]]:
    """Scan pairs of parameters of interest, and the first one with each nuisance, everything else profiled.

    One parameter of interest and one nuisance leave nothing to profile: their map is drawn elsewhere.
    """
    if len(model.parameter_names) < 3 or not plan.settings.inference.plane:
        return []
    pois, nuisances = model.components.pois, [nuisance.name for nuisance in model.nuisances]
    pairs = [*itertools.combinations(pois, 2), *((pois[0], name) for name in nuisances)][:MOST_PLANES]
    axes = dict(zip(model.parameter_names, _axes(plan, model, result), strict=True))
    return [((x, y), profile_2d(model, data, (x, axes[x]), (y, axes[y]))) for x, y in pairs]


def _axes(plan: Plan, model: Model, result: FitResult) -> list[np.ndarray]:
    """Return values of each parameter around its estimate, within its range."""
    spreads = np.sqrt(np.clip(np.diag(result.covariance), 0, None))
    ranges = [*model.components.ranges, *(nuisance.range for nuisance in model.nuisances)]
    axes = []
    for name, spread, (low, high) in zip(model.parameter_names, spreads, ranges, strict=True):
        half = REACH * spread if np.isfinite(spread) and spread > 0 else 0.5 * (high - low)
        value = result.estimates[name]
        axes.append(np.linspace(max(low, value - half), min(high, value + half), plan.settings.inference.plane))
    return axes
