"""A strategy's score at a few fixed hypotheses as one fixed observable: cells chosen, filled, made templates."""

from __future__ import annotations

import numpy as np

from systwise.cases import Progress
from systwise.learn import AbstractObservable
from systwise.study.measure._binned import finished
from systwise.study.measure._measure import Setup
from systwise.study.measure._parts import filled
from systwise.study.plan._plan import Plan
from systwise.templates import (
    JointBinning,
    build_joint_templates,
    choose_joint_binning,
    grid_points,
    joint_points,
    merge_sparse_cells,
)

BINNING = "joint"


def choose_cells(plan: Plan, observable: AbstractObservable, seed: int, progress: Progress) -> JointBinning:
    """Choose joint cells of a moving observable on events that the templates do not use."""
    settings, split = plan.settings, plan.split
    # With one network every event outside the templates may choose cells; with folds only the events set
    # aside for it, since the others are templates.
    choosing = split.binning if split.folds > 1 else ~split.template
    return choose_joint_binning(
        observable,
        plan.case,
        plan.table,
        np.flatnonzero(choosing),
        plan.split.scorer,
        anchors=settings.fit.anchors,
        bins=settings.fit.cells,
        minimum=settings.binning.minimum / 3,
        template_events=round(split.template.sum() * plan.events / len(plan.table)),
        seed=seed,
        progress=progress,
    )


def anchored_setup(
    plan: Plan,
    strategy: str,
    seed: int,
    observable: AbstractObservable,
    points: tuple[dict[str, float], ...],
    progress: Progress,
) -> tuple[Setup, list[str]]:
    """Choose cells on events that the templates do not use, fill them, and return what is fitted, with warnings."""
    settings, binning = plan.settings, choose_cells(plan, observable, seed, progress)
    true = [plan.nuisance_values(point) for point in points]
    true += grid_points(plan.nuisances) if plan.joint_grid else []
    z = joint_points(plan.nuisances, true, plan.case.normalisations)
    table = filled(plan, observable, binning, z, progress)
    table = table.scaled_to(plan.yields(z, progress))
    cells, warning = merge_sparse_cells(table, plan.case.components, max(settings.binning.merge_below, 1.0))
    table, binning = table.joined(cells), binning.joined(cells)
    templates = build_joint_templates(
        table,
        plan.case.components,
        plan.nuisances,
        true_points=true,
        normalisations=plan.case.normalisations,
    )
    templates, said = finished(plan, templates)
    templates = templates.with_grid(plan.nuisances) if plan.joint_grid else templates
    setup = Setup(strategy, BINNING, seed, points, templates, None, binning)
    return setup, [f"{strategy}, anchored: {each}" for each in [*([warning] if warning else []), *said]]
