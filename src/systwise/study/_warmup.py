"""Compile the fits while the first strategy trains: a training leaves half of a small machine idle."""

from __future__ import annotations

import threading

import numpy as np

from systwise.fit import CONVENTIONS, Data, Model, fit, moving_asimov, study_auxiliary
from systwise.study._measure import room
from systwise.study._plan import Plan
from systwise.study._scans import likelihood_scan


def start_compiling(plan: Plan) -> threading.Thread:
    """Fit invented templates of the study's shapes in a thread of its own, and return it.

    What is compiled is shared through JAX's cache of compiled functions; no number of the study
    depends on it.
    """
    kinds = sorted({strategy.moving and bool(plan.nuisances) for strategy in plan.strategies})
    thread = threading.Thread(target=_compile, args=(plan, kinds), name="compile fits")
    thread.start()
    return thread


def _compile(plan: Plan, kinds: list[bool]) -> None:
    bins, components = room(plan), plan.case.components
    # A slope in every nuisance and bin, so that no minimum is flat.
    shape = 1 + 0.5 * np.arange(bins) / bins
    templates = []
    for nuisance in plan.nuisances:
        pull = (np.array(nuisance.anchors) - nuisance.nominal) / (nuisance.range[1] - nuisance.range[0])
        rise = 1 + 0.3 * np.outer(pull, shape)
        templates.append(np.stack([(100.0 + 10 * k) * rise for k in range(len(components.names))], axis=1))
    if not templates:
        templates = [np.stack([(100.0 + 10 * k) * (1 + shape) for k in range(len(components.names))])]
    point = dict(plan.points[0])
    theta, z = plan.poi_values(point), np.array([point[nuisance.name] for nuisance in plan.nuisances])
    for moving in kinds:
        model = Model.from_templates(
            components,
            plan.nuisances,
            plan.case.constraints,
            templates,
            convention=CONVENTIONS[0],
            moving=moving,
            room=bins,
        )
        if moving:
            data = moving_asimov(model, theta, z, templates)
        else:
            data = Data(model.expected(theta, z), study_auxiliary(model, z))
        result = fit(model, data, grid=plan.grid)
        if plan.nuisances:
            likelihood_scan(plan, "", "", CONVENTIONS[0], point, model, data, result)
