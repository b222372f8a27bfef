"""From templates to measurements: every convention, every true point."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from systwise.fit import (
    AbstractData,
    Convention,
    Data,
    FitResult,
    Model,
    fit,
    histfactory_interpolation,
    moving_asimov,
    study_auxiliary,
)
from systwise.parameters import Normalisation
from systwise.study.measure._exhibits import background_shift
from systwise.study.measure._scans import likelihood_scan
from systwise.study.plan._plan import Plan
from systwise.study.records._plotdata import LikelihoodScan
from systwise.study.records._results import Measurement
from systwise.study.store._templates import (
    StoredTemplates,
    acting,
    nominal_variances,
    normalisation_factors,
    region_bins,
)
from systwise.templates import JointBinning, ScoreTable, Templates, auc


@dataclasses.dataclass(frozen=True)
class Setup:
    """One strategy with one seed and one binning, ready to be fitted.

    Attributes:
        strategy, binning, seed: labels of the records.
        points: the true points that these templates serve.
        templates: expected counts.
        scores: the fine table behind them, for the separation; None for an anchored observable.
        joint: anchors and cells of an anchored observable.
        shown: templates of the first region alone, where `templates` are of several.
        every: templates of all regions, those that are not fitted among them, where there are several.
        cells: anchors and cells of anchored observables in the other regions.
    """

    strategy: str
    binning: str
    seed: int
    points: tuple[dict[str, float], ...]
    templates: Templates
    scores: ScoreTable | None
    joint: JointBinning | None = None
    shown: Templates | None = None
    every: Templates | None = None
    cells: Mapping[str, JointBinning] = dataclasses.field(default_factory=dict)


def build_model(
    plan: Plan,
    templates: Templates,
    convention: Convention,
    simulation: bool,
    elsewhere: tuple[Normalisation, ...] = (),
) -> Model:
    """Return the likelihood of the templates.

    Args:
        plan: the study.
        templates: expected counts.
        convention: terms in the data alone.
        simulation: give every bin a simulation factor (Barlow-Beeston lite).
        elsewhere: factors that act on nothing here, so that the parameters are those of other regions.
    """
    model = Model.from_templates(
        plan.case.components,
        plan.nuisances,
        plan.constraints,
        list(templates.counts) if templates.grid is None else [templates.grid],
        convention=convention,
        moving=templates.moving,
        normalisations=(*acting(plan.normalisations, templates), *elsewhere),
        variances=nominal_variances(templates, plan.nuisances) if simulation else None,
        regions=region_bins(templates),
    )
    return (
        histfactory_interpolation(model, plan.case.mirrored)
        if plan.morph == "histfactory" and not model.moving
        else model
    )


def stored(plan: Plan, setup: Setup, events: tuple[str, ...] = ()) -> StoredTemplates:
    """Return what a later export, or a measurement, needs to know of a setup; `events`: regions fitted by event."""
    return StoredTemplates(
        case=plan.case.name,
        strategy=setup.strategy,
        seed=setup.seed,
        binning=setup.binning,
        components=plan.case.components,
        nuisances=plan.nuisances,
        constraints=tuple(constraint.record() for constraint in plan.constraints),
        normalisations=plan.normalisations,
        points=setup.points,
        convention=plan.settings.fit.conventions[0],
        simulation=plan.settings.fit.simulation == "include",
        interpolation="histfactory" if plan.morph == "histfactory" else "spline",
        mirrored=plan.case.mirrored,
        templates=setup.every or setup.templates,
        kinds=plan.kinds,
        cells={**({} if setup.joint is None else {plan.case.region: setup.joint}), **setup.cells},
        region=plan.case.region,
        events=events,
    )


def rate_factors(plan: Plan, point: dict[str, float]) -> np.ndarray:
    """Return the factor of this region's normalisations on each component's yield at a true point, `[component]`."""
    return normalisation_factors(plan.case.normalisations, plan.case.components.names, point, {})[:, 0]


def study_data(plan: Plan, model: Model, templates: Templates, number: int, point: dict[str, float]) -> AbstractData:
    """Return the Asimov data of true point `number` of the templates.

    Events of the true point itself, not the morph's interpolation to it: a study at a point off the
    axes of several nuisances shows what the factorisation costs.
    """
    theta = plan.poi_values(point)
    factors = normalisation_factors(
        acting(plan.normalisations, templates), plan.case.components.names, point, region_bins(templates)
    )
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    if templates.moving:
        return moving_asimov(model, theta, z, [at * factors for at in templates.at_true[number]])
    return Data(model.coefficients(theta) @ (templates.truth[number] * factors), study_auxiliary(model, z))


def measure(plan: Plan, setup: Setup, shown: bool) -> tuple[list[Measurement], list[LikelihoodScan]]:
    """Fit the first parameter of interest at every true point, in every convention that matters.

    Args:
        plan: the study.
        setup: templates and labels.
        shown: whether to scan the likelihood of the first convention for the figures.
    """
    conventions: Sequence[Convention] = plan.settings.fit.conventions
    if not setup.templates.moving:
        # Terms in n alone are constants for a fixed observable.
        conventions = conventions[:1]
    records, scans = [], []
    included = plan.settings.fit.simulation == "include"
    for convention in conventions:
        exact, limited = (build_model(plan, setup.templates, convention, simulation) for simulation in (False, True))
        model = limited if included else exact
        for number, point in enumerate(setup.points):
            data = study_data(plan, model, setup.templates, number, point)
            result = fit(model, data, grid=plan.grid)
            other = fit(exact if included else limited, data, grid=plan.grid)
            part = simulation_part(*((other, result) if included else (result, other)))
            records.append(_record(plan, setup, convention, point, result, part))
            if shown and plan.nuisances and convention == conventions[0]:
                scans.append(
                    likelihood_scan(plan, setup.strategy, setup.binning, convention, point, model, data, result)
                )
    return records, scans


def simulation_part(exact: FitResult, limited: FitResult) -> float | None:
    """Return what the size of the simulation adds to the uncertainty, in quadrature; None where a fit has none."""
    if exact.sigma is None or limited.sigma is None:
        return None
    return math.sqrt(max(0.0, limited.sigma**2 - exact.sigma**2))


def record_of_fit(
    plan: Plan, strategy: str, seed: int, point: dict[str, float], result: FitResult, **fields: object
) -> Measurement:
    """Return the record of one fit; `fields` are those that depend on the kind of observable."""
    truth = plan.case.truth
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    bound = truth.bound(plan.poi_values(point), z) if truth is not None else (None, None)
    labels = {"strategy": strategy, "seed": seed, "data": "asimov", "true": point}
    bounds = {"bound": bound[0], "bound_stat_only": bound[1]}
    return Measurement.model_validate(labels | bounds | fitted_fields(result) | fields)


FITTED = (
    "poi",
    "estimate",
    "sigma",
    "sigma_down",
    "sigma_up",
    "sigma_stat_only",
    "interval_95",
    "nuisance_estimate",
    "nuisance_sigma",
    "converged",
    "verdict",
)
"""Fields of a record that are those of the fit."""


def fitted_fields(result: FitResult) -> dict[str, Any]:
    """Return the fields of a record that a fit decides; no numbers where there is no minimum."""
    second = result.second_minimum
    values: dict[str, Any] = {name: getattr(result, name) for name in FITTED}
    values["second_minimum"] = None if second is None else {**second.nuisances, "delta_nll": second.rise}
    if not result.minimum_found:
        # A number beside the verdict that it is none would be quoted.
        values |= dict.fromkeys(("estimate", "sigma", "sigma_down", "sigma_up", "sigma_stat_only", "second_minimum"))
        values |= {"interval_95": (None, None), "nuisance_estimate": {}, "nuisance_sigma": {}}
    return values


def _record(
    plan: Plan,
    setup: Setup,
    convention: Convention,
    point: dict[str, float],
    result: FitResult,
    part: float | None,
) -> Measurement:
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    separation: dict[str, object] = {}
    if setup.scores is not None:
        separation["auc"] = auc(setup.scores, setup.scores.pairs.find(z), plan.case.components)
        separation["ks_background"] = background_shift(plan.case, setup.scores, setup.scores.pairs, z)
    return record_of_fit(
        plan,
        setup.strategy,
        setup.seed,
        point,
        result,
        observable=setup.templates.observable,
        convention=convention,
        binning=setup.binning,
        bins=setup.templates.bins,
        sigma_simulation=part,
        **separation,
    )
