"""The fit: global minimum, covariance and intervals of the profiled likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from systwise.errors import FitError
from systwise.fit.inference._engine import LEVELS, Fixed, Task, fitted, poi_number, results_of
from systwise.fit.inference._grid import fit_on_grid, grid_points
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._result import FitResult, FitResults
from systwise.precision import in_float64


@in_float64
def fit_many(
    model: Model,
    data: AbstractData,
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
        data: stacked data sets.
        poi: number or name of the parameter of interest whose intervals are wanted.
        grid: minimise over these nuisance values only.
        fixed: parameters held at a value: a number, or an array `[data]`.
        levels: rises of the NLL at which intervals are wanted, at most two; none for the minimum alone.
        stat_only: find the interval with fixed nuisances as well.

    Returns:
        arrays with a leading axis of data sets; `results[i]` is a `FitResult`.

    Raises:
        DataError: the data do not match the model.
        FitError: no such parameter, or a fixed value outside its range.
    """
    number = poi_number(model, poi)
    data = data.batch()
    if len(data) == 0:
        raise FitError("fit_many: the stack holds no data sets")
    lik = model.likelihood()
    task = Task(model, lik, model.sets(data), None, model.theta_starts())
    if grid is not None:
        points = grid_points(model, grid)
        found, ends = fit_on_grid(task, points, number, fixed or {}, tuple(levels), stat_only)
    else:
        found, ends = fitted(task, number, fixed or {}, tuple(levels), stat_only, search=model.moving)
    return results_of(
        model,
        found,
        ends,
        lik,
        number,
        fixed=tuple(fixed or {}),
        levels=tuple(levels),
        convention=model.convention,
        moving=model.moving,
        gridded=grid is not None,
    )


def fit(
    model: Model,
    data: AbstractData,
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
        model: the model.
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
    if data.stacked:
        raise FitError(f"fit: {len(data)} stacked data sets given; use fit_many")
    return fit_many(model, data, poi, grid, fixed=fixed)[0]
