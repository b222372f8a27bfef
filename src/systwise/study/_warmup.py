"""Compile the fits while the first strategy trains: a training leaves half of a small machine idle."""

from __future__ import annotations

import threading

import numpy as np

from systwise.fit import CONVENTIONS, Data, Model, fit, moving_asimov, study_auxiliary
from systwise.study._inference import beside, examine
from systwise.study._measure import cells_room, room
from systwise.study._plan import Plan
from systwise.study._scans import likelihood_scan


def start_compiling(plan: Plan) -> threading.Thread:
    """Fit invented templates of the study's shapes in a thread of its own, and return it.

    What is compiled is shared through JAX's cache of compiled functions; no number of the study
    depends on it.
    """
    shaped = any(nuisance.kind != "norm" for nuisance in plan.nuisances)
    wanted = [(moving, room(plan)) for moving in sorted({s.moving and shaped for s in plan.strategies})]
    if "anchored" in plan.settings.fit.observables and any("anchored" in s.observables for s in plan.strategies):
        wanted.append((False, cells_room(1)))
    wanted = list(dict.fromkeys(wanted))
    thread = threading.Thread(target=_compile, args=(plan, wanted), name="compile fits")
    thread.start()
    return thread


def _compile(plan: Plan, wanted: list[tuple[bool, int]]) -> None:
    point = dict(plan.points[0])
    theta, z = plan.poi_values(point), np.array([point[nuisance.name] for nuisance in plan.nuisances])
    for moving, bins in wanted:
        model = _model(plan, moving, bins, 0.0)
        if moving:
            data = moving_asimov(model, theta, z, _invented(plan, bins))
        else:
            data = Data(model.expected(theta, z), study_auxiliary(model, z))
        result = fit(model, data, grid=plan.grid)
        if plan.nuisances:
            likelihood_scan(plan, "", "", CONVENTIONS[0], point, model, data, result)
    if plan.taken_apart != "none":
        # All examined observables share one size.
        examine(plan, _model(plan, False, cells_room(1), None if beside(plan) else 0.0), point)


def _model(plan: Plan, moving: bool, bins: int, variance: float | None) -> Model:
    """Return the likelihood of invented templates; `variance` None: no simulation factors."""
    templates = _invented(plan, bins)
    return Model.from_templates(
        plan.case.components,
        plan.nuisances,
        plan.constraints,
        templates,
        convention=CONVENTIONS[0],
        moving=moving,
        room=bins,
        normalisations=plan.case.normalisations,
        variances=None if variance is None else np.full(templates[0].shape[-2:], variance),
    )


def _invented(plan: Plan, bins: int) -> list[np.ndarray]:
    """Return templates with a slope in every nuisance and bin, so that no minimum is flat."""
    components = len(plan.case.components.names)
    shape = 1 + 0.5 * np.arange(bins) / bins
    templates = []
    for nuisance in plan.nuisances:
        if nuisance.kind == "norm":
            continue
        pull = (np.array(nuisance.anchors) - nuisance.nominal) / (nuisance.range[1] - nuisance.range[0])
        rise = 1 + 0.3 * np.outer(pull, shape)
        templates.append(np.stack([(100.0 + 10 * k) * rise for k in range(components)], axis=1))
    return templates or [np.stack([(100.0 + 10 * k) * (1 + shape) for k in range(components)])]
