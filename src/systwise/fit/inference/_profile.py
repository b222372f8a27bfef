"""The profiled likelihood along a parameter of interest, all scan points in one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from systwise.errors import FitError
from systwise.fit.inference._engine import Task, ends_of_ranges, minima, poi_number, tasks_of
from systwise.fit.inference._fit import AnyData, AnyModel
from systwise.fit.inference._grid import grid_points, on_grid
from systwise.fit.minimise import Found, Problems
from systwise.fit.model._combined import CombinedData
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.model._unbinned_model import UnbinnedData
from systwise.fit.results._hermite import HermiteCurves
from systwise.fit.results._result import at_ends
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True)
class Profile:
    """The profiled NLL at given values of one parameter of interest; float64 NumPy.

    From `profile_many` every array but `values` has a leading axis of data sets.

    Attributes:
        poi: the parameter's name.
        values: its values, `[value]`.
        nll: NLL minimised over everything else; infinite where no nuisance value keeps every expected
            count positive.
        slope: its derivative by the parameter of interest (envelope theorem), which together with
            `nll` gives the curve between the values.
        theta: parameters of interest at the minimum, `[value, poi]`.
        nuisances: nuisances at the minimum, `[value, nuisance]`.
        converged: gradient below tolerance, Hessian positive, no start lower.
        at_boundary: a nuisance sits at an end of its range there.
    """

    poi: str
    values: Float64[np.ndarray, " value"]
    nll: Float64[np.ndarray, "*data value"]
    slope: Float64[np.ndarray, "*data value"]
    theta: Float64[np.ndarray, "*data value poi"]
    nuisances: Float64[np.ndarray, "*data value nuisance"]
    converged: Bool[np.ndarray, "*data value"]
    at_boundary: Bool[np.ndarray, "*data value"]

    @property
    def estimate(self) -> Float64[np.ndarray, "*data"]:
        """Value at the lowest minimum between the scanned values, NaN where it lies beyond them."""
        return self._curve.minimum[0].reshape(self.nll.shape[:-1])

    def interval(self, level: float = 0.5) -> tuple[Float64[np.ndarray, "*data"], Float64[np.ndarray, "*data"]]:
        """Return where the curve has risen by `level` on both sides of its minimum, NaN beyond the scan.

        Values and slopes make a cubic Hermite curve, whose error falls with the fourth power of the
        spacing: 1e-5 for steps of one standard deviation on the Gaussian toy. `fit` solves exactly.
        """
        lower, upper = self._curve.crossings(level)
        return lower.reshape(self.nll.shape[:-1]), upper.reshape(self.nll.shape[:-1])

    @functools.cached_property
    def _curve(self) -> HermiteCurves:
        return HermiteCurves(self.values, np.atleast_2d(self.nll), np.atleast_2d(self.slope))

    @property
    def rise(self) -> Float64[np.ndarray, "*data value"]:
        """NLL above its lowest scanned value."""
        return self.nll - self.nll.min(axis=-1, keepdims=True)


def profile(
    model: AnyModel,
    data: AnyData,
    values: Sequence[float] | np.ndarray,
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
) -> Profile:
    """Profile one data set: for each value of a parameter of interest, minimise over all else.

    All values go through one jitted call. Nuisances vary continuously within their ranges; the search
    starts at the best of all anchors and points between them, and polishes the best two local minima.

    Args:
        model: the model.
        data: one data set.
        values: values of the parameter of interest.
        poi: its number or name.
        grid: minimise over these nuisance values only (the scan of arXiv:2105.08742), not between them.

    Raises:
        DataError: the data do not match the model.
        FitError: a stack of data sets was given, or the parameter is unknown.
    """
    if isinstance(data, AbstractData) and data.stacked:
        raise FitError(f"profile: {len(data)} stacked data sets given; use profile_many")
    many = profile_many(model, data, values, poi, grid)
    return dataclasses.replace(
        many,
        nll=many.nll[0],
        slope=many.slope[0],
        theta=many.theta[0],
        nuisances=many.nuisances[0],
        converged=many.converged[0],
        at_boundary=many.at_boundary[0],
    )


@in_float64
def profile_many(
    model: AnyModel,
    data: AnyData | Sequence[UnbinnedData] | Sequence[CombinedData],
    values: Sequence[float] | np.ndarray,
    poi: int | str = 0,
    grid: Sequence[float] | np.ndarray | None = None,
) -> Profile:
    """Profile every data set of a stack, as `profile` does, in one call.

    Args:
        model: the model.
        data: stacked data sets.
        values: values of the parameter of interest, the same for all data sets.
        poi: its number or name.
        grid: minimise over these nuisance values only.

    Returns:
        a profile whose arrays have a leading axis of data sets.
    """
    number = poi_number(model, poi)
    points = np.atleast_1d(np.asarray(values, dtype=np.float64))
    tasks, pois = tasks_of(model, data), len(model.components.pois)
    if not tasks:
        raise FitError("profile_many: no data sets given")
    choices = None
    if grid is not None:
        if not isinstance(model, Model):
            raise FitError("profile: a grid of nuisances is for binned models; leave it out")
        choices = grid_points(model, grid)
    parts = [_profiled(task, number, points, choices) for task in tasks]
    found = Found(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    lik, sets = tasks[0].lik, sum(task.sets.count for task in tasks)
    at_end = at_ends(found.x, np.asarray(lik.low), np.asarray(lik.high))
    shape = (sets, len(points))
    return Profile(
        poi=model.components.pois[number],
        values=points,
        nll=(found.value + found.constant).reshape(shape),
        slope=found.gradient[:, number].reshape(shape),
        theta=found.x[:, :pois].reshape(*shape, -1),
        nuisances=found.x[:, pois:].reshape(*shape, -1),
        converged=(found.done & (found.lowest | (grid is not None))).reshape(shape),
        at_boundary=at_end[:, pois:].any(axis=1).reshape(shape),
    )


def _profiled(task: Task, poi: int, points: np.ndarray, choices: np.ndarray | None) -> Found:
    """Return the minima at each value for every data set, `[data * value]`."""
    sets = task.sets.count
    low, high = ends_of_ranges(task.model.parameter_names, task.lik, {}, sets * len(points))
    # Values may lie outside the parameter's range: a scan shows what is there.
    low[:, poi] = high[:, poi] = np.tile(points, sets)
    problems = Problems(np.repeat(np.arange(sets), len(points)), low, high)
    if choices is None:
        return minima(task, problems)
    every = on_grid(task, problems, choices)
    best = np.argmin(every.value.reshape(-1, len(choices)), axis=1) + len(choices) * np.arange(len(low))
    return Found(*(np.asarray(array)[best] for array in every))
