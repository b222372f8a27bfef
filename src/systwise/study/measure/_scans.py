"""The likelihood of one data set as the figures show it: profiled curve and map."""

from __future__ import annotations

import numpy as np

from systwise.fit import AbstractData, FitResult, Model, nll_at, profile
from systwise.parameters import Nuisance
from systwise.study.plan._plan import Plan
from systwise.study.records._plotdata import LikelihoodScan

CURVE_POINTS = 61
MAP_POINTS = (81, 81)
REACH = 3.2
"""Half-width of the curve in units of sigma."""


def likelihood_scan(
    plan: Plan,
    strategy: str,
    binning: str,
    convention: str,
    point: dict[str, float],
    model: Model,
    data: AbstractData,
    result: FitResult,
) -> LikelihoodScan:
    """Scan the first parameter of interest, and the plane of it and the first nuisance.

    Other parameters stay at their best fit in the plane. The map covers the whole range of the
    nuisance, so that a second minimum shows.
    """
    estimates = np.array([result.estimates[name] for name in model.parameter_names])
    poi, nuisance = 0, len(model.components.pois)
    half = REACH * (result.sigma or 0.5)
    low, high = model.components.ranges[poi]
    values = np.linspace(max(low, result.estimate - half), min(high, result.estimate + half), CURVE_POINTS)
    curve = profile(model, data, values, grid=plan.grid)
    stat_only = np.tile(estimates, (len(values), 1))
    stat_only[:, poi] = values
    chosen = plan.nuisances[0]
    map_poi = np.linspace(values[0], values[-1], MAP_POINTS[0])
    map_nuisance = _nuisance_values(chosen, result)
    grid = np.tile(estimates, (len(map_nuisance), len(map_poi), 1))
    grid[..., poi] = map_poi
    grid[..., nuisance] = map_nuisance[:, None]
    surface = nll_at(model, data, grid.reshape(-1, len(estimates))).reshape(grid.shape[:2])
    second = result.second_minimum
    return LikelihoodScan(
        strategy=strategy,
        binning=binning,
        convention=convention,
        true=point,
        poi_values=values,
        profiled=curve.nll - result.nll,
        stat_only=nll_at(model, data, stat_only) - result.nll,
        nuisance_hat=curve.nuisances[:, 0],
        map_poi=map_poi,
        map_nuisance=map_nuisance,
        map_nll=surface - result.nll,
        estimate_poi=result.estimate,
        estimate_nuisance=result.estimates[chosen.name],
        second_minimum=None if second is None else second.nuisances[chosen.name],
        nuisance=chosen.name,
        poi=model.components.pois[poi],
        observable="anchored" if binning == "joint" else "moving" if model.moving else "fixed",
    )


def _nuisance_values(nuisance: Nuisance, result: FitResult) -> np.ndarray:
    """Return values over the whole range, with enough around the best fit to resolve its contours.

    The range can be hundreds of standard deviations wide.
    """
    low, high = nuisance.range
    values = [np.linspace(low, high, MAP_POINTS[1])]
    sigma = result.nuisance_sigma[nuisance.name]
    if sigma is not None:
        values.append(result.estimates[nuisance.name] + np.linspace(-4, 4, 33) * sigma)
    return np.unique(np.clip(np.concatenate(values), low, high))
