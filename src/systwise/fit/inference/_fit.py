"""The fit: global minimum, covariance and intervals of the profiled likelihood."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from systwise.errors import FitError
from systwise.fit.inference._engine import (
    LEVELS,
    Fixed,
    Intervals,
    fitted,
    poi_number,
    results_of,
    tasks_of,
)
from systwise.fit.inference._grid import fit_on_grid, grid_points
from systwise.fit.minimise import Found
from systwise.fit.model._combined import CombinedData, CombinedModel
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit.results._result import FitResult, FitResults
from systwise.precision import in_float64

AnyModel = Model | UnbinnedModel | CombinedModel
AnyData = AbstractData | UnbinnedData | CombinedData


def fit_many(
    model: AnyModel,
    data: AnyData | Sequence[UnbinnedData] | Sequence[CombinedData],
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
    *,
    fixed: Fixed | None = None,
    levels: Sequence[float] = LEVELS,
    stat_only: bool = True,
) -> FitResults:
    """Fit every data set of a stack, as `fit` does, in one call.

    Args:
        model: the model.
        data: stacked data sets, or a list of unbinned ones, which may differ in size.
        poi: number or name of the parameter of interest whose intervals are wanted.
        grid: minimise over these nuisance values only; of binned models.
        fixed: parameters held at a value: a number, or an array `[data]`.
        levels: rises of the NLL at which intervals are wanted, at most two; none for the minimum alone.
        stat_only: find the interval with fixed nuisances as well.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter, or a fixed value outside its range.
    """
    number, rises = poi_number(model, poi), tuple(levels)
    tasks = tasks_of(model, data)
    if not tasks or not tasks[0].sets.count:
        raise FitError("fit_many: no data sets given")
    if grid is not None and not isinstance(model, Model):
        raise FitError("fit_many: a grid of nuisances is for binned models; leave it out")
    ends = np.cumsum([0, *(task.sets.count for task in tasks)])

    @in_float64
    def run(place: int) -> tuple[Found, Intervals]:
        own = slice(ends[place], ends[place + 1])
        held = {name: value if np.ndim(value) == 0 else np.asarray(value)[own] for name, value in (fixed or {}).items()}
        if grid is not None and isinstance(model, Model):
            return fit_on_grid(tasks[place], grid_points(model, grid), number, held, rises, stat_only)
        return fitted(tasks[place], number, held, rises, stat_only, search=model.moving)

    parts = [run(0)]  # alone, so that functions are compiled once
    if len(tasks) > 1:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            parts += pool.map(run, range(1, len(tasks)))
    found, intervals = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return results_of(
        model,
        found,
        intervals,
        tasks[0].lik,
        number,
        fixed=tuple(fixed or {}),
        levels=rises,
        gridded=grid is not None,
    )


def fit(
    model: AnyModel,
    data: AnyData,
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
    *,
    fixed: Fixed | None = None,
) -> FitResult:
    """Fit one data set: minimum, covariance, intervals, and a verdict on whether to believe them.

    The search looks at every anchor of the nuisances and at points between them, polishes the best two
    local minima by Newton's method, and keeps the lower. Intervals end where the profiled NLL has risen
    by 0.5 and 2, each side by itself; where a second minimum is about as low they hold both.

    Args:
        model: the model: binned, unbinned, or both in several regions.
        data: one data set.
        poi: number or name of the parameter of interest whose intervals are wanted; others are
            profiled like nuisances.
        grid: minimise over these nuisance values only, `[value]` or `[value, nuisance]`; parameters of
            interest stay continuous.
        fixed: parameters held at a value.

    Raises:
        DataError: the data do not match the model.
        FitError: a stack of data sets was given, or no such parameter.

    >>> from systwise.fit import Model, asimov
    >>> from systwise.parameters import signal_strength
    >>> model = Model.from_templates(signal_strength(), (), (), np.array([[100.0], [900.0]]))
    >>> result = fit(model, asimov(model, 1.0, ()))
    >>> round(result.estimate, 6), round(result.sigma, 3)
    (1.0, 0.316)
    """
    if isinstance(data, AbstractData) and data.stacked:
        raise FitError(f"fit: {len(data)} stacked data sets given; use fit_many")
    return fit_many(model, data, poi, grid, fixed=fixed)[0]
