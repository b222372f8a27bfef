"""One score in bins: scored once, binned in every way that was asked for."""

from __future__ import annotations

import dataclasses

import numpy as np

from systwise.cases import Progress, relabelled
from systwise.learn import AbstractDiscreteObservable, AbstractObservable, GivenBins
from systwise.parameters import NoConstraint, UniformConstraint
from systwise.study.measure._binning import choose_edges, uniform_bins
from systwise.study.measure._measure import Setup
from systwise.study.measure._parts import scored
from systwise.study.plan._plan import Plan
from systwise.templates import FineGrid, Templates, anchor_pairs, build_templates, grid_points, prune, smooth_templates

NO_PRIOR = (NoConstraint, UniformConstraint)
"""Constraints that say nothing of a nuisance."""


def own_bins(observable: AbstractObservable) -> int | None:
    """Return the number of values of an observable that has a few only; None for a continuous score."""
    return observable.bins if isinstance(observable, AbstractDiscreteObservable) else None


def fine_grid(plan: Plan, observable: AbstractObservable) -> FineGrid:
    """Return the fine bins in which the study's uniform binning, or the observable's own, is exact."""
    return FineGrid.holding(own_bins(observable) or uniform_bins(plan.settings.binning, plan.case))


def moves(plan: Plan, observable: AbstractObservable) -> bool:
    """Return whether the observable depends on a hypothesis that the study has."""
    return observable.moving and any(nuisance.kind != "norm" for nuisance in plan.nuisances)


def finished(plan: Plan, templates: Templates) -> tuple[Templates, list[str]]:
    """Return the templates as they are fitted, with warnings.

    Without effects that are too small to matter (`fit.prune`); zero where a sample made of data less simulation is
    negative, and how much that was; no variance where the limited size of a sample shall be no uncertainty.
    """
    names, threshold = templates.component_names, plan.settings.fit.prune
    free = {n.name for n in plan.nuisances} - {c.nuisance for c in plan.case.constraints if not isinstance(c, NO_PRIOR)}
    templates, left, total = prune(templates, plan.nuisances, threshold, free)
    known = np.array([name in plan.case.exact for name in names])[:, None]
    chosen = np.array([name in plan.case.estimated for name in names])
    nominal = templates.truth[0] if len(templates.truth) else templates.counts[0][0]
    below = np.minimum(nominal, 0) * chosen[:, None]
    warnings = [
        f"'{names[k]}' is negative in {int((below[k] < 0).sum())} bins, {below[k].sum():.4g} events of "
        f"{nominal[k].sum():.4g}; they are set to zero (fewer bins help)"
        for k in np.flatnonzero(below.any(axis=1))
    ]
    if left:
        warnings.append(
            f"{len(left)} of {total} effects of nuisances on components change no bin by {100 * threshold:g} % and are "
            f"left out: {', '.join(left)}"
        )

    def raised(counts: np.ndarray) -> np.ndarray:
        return np.where(chosen[:, None], np.maximum(counts, 0), counts)

    return (
        dataclasses.replace(
            templates,
            counts=tuple(map(raised, templates.counts)),
            variances=tuple(np.where(known, 0.0, variances) for variances in templates.variances),
            truth=raised(templates.truth),
            at_true=tuple(tuple(map(raised, each)) for each in templates.at_true),
            grid=None if templates.grid is None else raised(templates.grid),
        ),
        warnings,
    )


def binned_setups(
    plan: Plan,
    strategy: str,
    seed: int,
    observable: AbstractObservable,
    points: tuple[dict[str, float], ...],
    progress: Progress,
) -> tuple[list[Setup], list[str]]:
    """Score the events once and return what is fitted, one setup a binning, with warnings."""
    moving = moves(plan, observable)
    true = [plan.nuisance_values(point) for point in points]
    joint = plan.joint_grid and not moving
    true += grid_points(plan.nuisances) if joint else []

    told, grid = relabelled(progress, f"score {strategy}"), fine_grid(plan, observable)
    measuring = scored(plan, observable, "template", anchor_pairs(plan.nuisances, true, moving), grid, told)
    choosing = scored(plan, observable, "binning", anchor_pairs(plan.nuisances, [], False), grid, told)
    setups, warnings = [], []
    own, settings = own_bins(observable), plan.settings.binning
    if isinstance(observable, GivenBins):
        # The analyst chose these bins; they are fitted as they are.
        settings = settings.model_copy(update={"merge_below": 0.0})
    # A given observable in bins of its own has nothing to choose.
    names = ("given",) if isinstance(observable, GivenBins) else plan.settings.binning.names
    for name in names or plan.case.defaults.binnings:
        edges, said = choose_edges(name, settings, plan.case, plan.nuisances, choosing, measuring, own)
        warnings += [f"{strategy}, {name} binning: {warning}" for warning in said]
        templates = build_templates(
            measuring, edges, plan.case.components, plan.nuisances, true_points=true, moving=moving
        )
        templates, said = finished(plan, smooth_templates(templates, plan.nuisances, plan.case.smoothed))
        warnings += [f"{strategy}, {name} binning: {warning}" for warning in said]
        templates = templates.with_grid(plan.nuisances) if joint else templates
        setups.append(Setup(strategy, name, seed, points, templates, measuring))
    return setups, warnings
