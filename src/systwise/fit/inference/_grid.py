"""Fits over given nuisance values only, without going between them (the scan of arXiv:2105.08742)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import FitError
from systwise.fit.inference._engine import Fixed, Intervals, Task, ends_from, ends_of_ranges, minima
from systwise.fit.minimise import Found, Problems
from systwise.fit.model._model import Model


def grid_points(model: Model, grid: Sequence[float] | np.ndarray) -> Float64[np.ndarray, "value nuisance"]:
    """Return the nuisance points to minimise over.

    Raises:
        FitError: the grid's shape does not match the nuisances.
    """
    values = np.asarray(grid, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(model.nuisances) or not len(values):
        raise FitError(
            f"grid: shape {np.shape(grid)} does not fit {len(model.nuisances)} nuisance(s); "
            "give [value] for one nuisance, [value, nuisance] for several"
        )
    return values


def on_grid(task: Task, problems: Problems, points: np.ndarray) -> Found:
    """Return the minimum of each problem at each point of the nuisances, `[problem * point]`, NaN where not allowed.

    A nuisance that is fixed keeps the grid to its value.
    """
    pois, count = task.lik.pois, len(points)
    rows = np.repeat(np.arange(len(problems.owners)), count)
    low, high = problems.low[rows].copy(), problems.high[rows].copy()
    wide = np.tile(points, (len(problems.owners), 1))
    allowed = np.all((low[:, pois:] != high[:, pois:]) | (wide == low[:, pois:]), axis=1)
    low[:, pois:] = high[:, pois:] = wide
    found = minima(task, Problems(problems.owners[rows], low, high))
    return found._replace(value=np.where(allowed & np.isfinite(found.value), found.value, np.inf))


def fit_on_grid(
    task: Task, points: np.ndarray, poi: int, fixed: Fixed, levels: tuple[float, ...], stat_only: bool
) -> tuple[Found, Intervals]:
    """Return minima and intervals over given nuisance points; intervals hold those of all points."""
    sets, count = task.sets.count, len(points)
    low, high = ends_of_ranges(task.model.parameter_names, task.lik, fixed, sets)
    problems = Problems(np.arange(sets), low, high)
    every = on_grid(task, problems, points)
    values = every.value.reshape(sets, count)
    best = np.argmin(values, axis=1) + count * np.arange(sets)
    found = Found(*(np.asarray(array)[best] for array in every))
    # Nothing is differentiated by nuisances that are chosen, not varied.
    pois = task.lik.pois
    lowest = np.min(values, axis=1)
    full, statistical = np.full((sets, 4), np.nan), np.full((sets, 2), np.nan)
    if levels:
        sides, rises = np.tile([-1.0, 1.0], len(levels)), np.repeat(np.array(levels), 2)
        reference = np.repeat(lowest, count)
        near = np.flatnonzero(every.value - reference < max(levels))
        rows = np.repeat(np.arange(sets), count)
        pinned_low, pinned_high = low[rows].copy(), high[rows].copy()
        pinned_low[:, pois:] = pinned_high[:, pois:] = np.tile(points, (sets, 1))
        pinned = Problems(rows, pinned_low, pinned_high)
        at, _ = ends_from(task, pinned, near, poi, sides, rises, every.x, every.hessian, reference, False)
        for number, (side, rise) in enumerate(zip(sides, rises, strict=True)):
            inside = (every.value - reference)[near] < rise
            reached = np.full(sets, -np.inf)
            np.maximum.at(reached, rows[near[inside]], side * np.nan_to_num(at[inside, number], nan=np.inf))
            full[:, number] = np.where(np.isfinite(reached), side * reached, np.nan)
        if stat_only:
            own = best
            two = np.array([-1.0, 1.0])
            statistical, _ = ends_from(
                task, pinned, own, poi, two, np.full(2, levels[0]), every.x, every.hessian, reference, False
            )
    return found._replace(
        lowest=np.isfinite(found.value), second_value=np.full(sets, np.inf), second_x=np.full(found.x.shape, np.nan)
    ), Intervals(full, statistical, np.zeros(sets))
