"""One score in bins: scored once, binned in every way that was asked for."""

from __future__ import annotations

from systwise.cases import Progress, relabelled
from systwise.learn import AbstractDiscreteObservable, AbstractObservable
from systwise.study._binning import choose_edges, uniform_bins
from systwise.study._measure import Setup
from systwise.study._parts import scored
from systwise.study._plan import Plan
from systwise.templates import FineGrid, anchor_pairs, build_templates, grid_points


def own_bins(observable: AbstractObservable) -> int | None:
    """Return the number of values of an observable that has a few only; None for a continuous score."""
    return observable.bins if isinstance(observable, AbstractDiscreteObservable) else None


def fine_grid(plan: Plan, observable: AbstractObservable) -> FineGrid:
    """Return the fine bins in which the study's uniform binning, or the observable's own, is exact."""
    return FineGrid.holding(own_bins(observable) or uniform_bins(plan.settings.binning, plan.case))


def moves(plan: Plan, observable: AbstractObservable) -> bool:
    """Return whether the observable depends on a hypothesis that the study has."""
    return observable.moving and any(nuisance.kind != "norm" for nuisance in plan.nuisances)


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
    for name in plan.settings.binning.names or plan.case.defaults.binnings:
        edges, said = choose_edges(
            name, plan.settings.binning, plan.case, plan.nuisances, choosing, measuring, own_bins(observable)
        )
        warnings += [f"{strategy}, {name} binning: {warning}" for warning in said]
        templates = build_templates(
            measuring, edges, plan.case.components, plan.nuisances, true_points=true, moving=moving
        )
        templates = templates.with_grid(plan.nuisances) if joint else templates
        setups.append(Setup(strategy, name, seed, points, templates, measuring))
    return setups, warnings
