"""The profiled likelihood of any parameter, and of two together, everything else minimised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import contourpy
import numpy as np
from jaxtyping import Bool, Float64

from systwise.errors import FitError
from systwise.fit.inference._fit import fit, fit_many
from systwise.fit.inference._profile import Profile
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._printed import html_table, text_table
from systwise.fit.results._result import FitResult, at_ends

LEVELS = (0.6827, 0.9545)
"""Probabilities of one and two standard deviations."""

Axis = tuple[str, Sequence[float] | np.ndarray]
"""A parameter's name and the values at which it is held."""


def rise_at(probability: float) -> float:
    """Return the rise of the NLL that encloses two parameters with a probability: `-ln(1 - probability)`.

    Twice the rise follows chi-square with two degrees of freedom (Wilks), whose distribution is exponential.

    >>> round(2 * rise_at(0.6827), 3), round(2 * rise_at(0.9545), 3)
    (2.296, 6.18)
    """
    if not 0 < probability < 1:
        raise FitError(f"contour: probability {probability:g} is not between 0 and 1")
    return -math.log1p(-probability)


@dataclasses.dataclass(frozen=True)
class Profile2D:
    """The NLL profiled over all but two parameters, on a grid of those.

    Attributes:
        names: the two parameters.
        x: values of the first, `[x]`.
        y: values of the second, `[y]`.
        nll: minimum over everything else, `[x, y]`; infinite where no expected counts are possible.
        parameters: all parameters there, `[x, y, parameter]`, in the order of `parameter_names`.
        parameter_names: parameters of interest, then nuisances.
        converged: the minimum can be believed, `[x, y]`.
        best: the fit with both free.
    """

    names: tuple[str, str]
    x: Float64[np.ndarray, " x"]
    y: Float64[np.ndarray, " y"]
    nll: Float64[np.ndarray, "x y"]
    parameters: Float64[np.ndarray, "x y parameter"]
    parameter_names: tuple[str, ...]
    converged: Bool[np.ndarray, "x y"]
    best: FitResult

    @property
    def rise(self) -> Float64[np.ndarray, "x y"]:
        """NLL above the minimum with both free (or above the lowest point, should that be lower)."""
        return self.nll - min(self.best.nll, float(np.min(self.nll)))

    @property
    def levels(self) -> dict[float, float]:
        """Rises of the NLL on the contours of 68.27 % and 95.45 % (half of 2.296 and 6.180)."""
        return {probability: rise_at(probability) for probability in LEVELS}

    def contours(self, probability: float = LEVELS[0]) -> list[Float64[np.ndarray, "point 2"]]:
        """Return the lines `[point, (x, y)]` on which the NLL has risen by `rise_at(probability)`.

        A line that leaves the grid is cut there.
        """
        rise = np.minimum(self.rise, 1e6)
        generator = contourpy.contour_generator(self.x, self.y, rise.T, name="serial")
        return [np.asarray(line) for line in generator.lines(rise_at(probability))]

    @property
    def verdict(self) -> str:
        """Whether to believe the map, in a sentence."""
        notes = [f"best fit: {self.best.verdict}"]
        impossible = ~np.isfinite(self.nll)
        if impossible.any():
            where = f"{impossible.sum()} of {self.nll.size} points"
            notes.append(f"{where} have no minimum: no possible expected counts were found")
        bad = ~self.converged & ~impossible
        if bad.any():
            i, j = (int(k) for k in np.argwhere(bad)[0])
            where = f"{self.names[0]} = {self.x[i]:.4g}, {self.names[1]} = {self.y[j]:.4g}"
            notes.append(f"{bad.sum()} of {self.nll.size} points have NOT converged (the first at {where})")
        lower = self.best.nll - float(np.min(self.nll))
        if lower > 1e-6:
            notes.append(f"the scan lies {lower:.2g} below the fit")
        edge = np.concatenate([self.rise[0], self.rise[-1], self.rise[:, 0], self.rise[:, -1]])
        for probability, rise in self.levels.items():
            if edge.min() < rise:
                notes.append(f"the {100 * probability:.2f} % contour leaves the grid")
        return "; ".join(notes)

    def _cells(self) -> list[tuple[str, str]]:
        cells = [(name, f"{self.best.estimates[name]:.6g}") for name in self.names]
        cells += [
            ("grid", f"{len(self.x)} x {len(self.y)}"),
            ("converged", f"{self.converged.sum()} of {self.nll.size}"),
        ]
        for probability, rise in self.levels.items():
            inside = self.rise <= rise
            for name, values, axis in zip(self.names, (self.x, self.y), (1, 0), strict=True):
                seen = values[inside.any(axis=axis)]
                text = f"[{seen[0]:.4g}, {seen[-1]:.4g}]" if len(seen) else "no point"
                cells.append((f"{name} inside {100 * probability:.2f} %", text))
        return cells

    def __str__(self) -> str:
        """Return the summary as text."""
        return text_table(("scan", " x ".join(self.names)), self._cells(), [f"verdict: {self.verdict}"])

    def _repr_html_(self) -> str:
        good = self.best.converged and bool(np.all(self.converged | ~np.isfinite(self.nll)))
        return html_table(("scan", " x ".join(self.names)), self._cells(), [f"verdict: {self.verdict}"], good)


def profile_2d(model: Model, data: AbstractData, x: Axis, y: Axis) -> Profile2D:
    """Profile two parameters, of interest or nuisances, on a grid of their values, in one stacked call.

    Args:
        model: the model.
        data: one data set.
        x: name and values of the first.
        y: name and values of the second.

    Raises:
        FitError: a stack of data sets, twice the same or an unknown parameter, or a value outside its range.
    """
    _one(data, "profile_2d")
    names = (x[0], y[0])
    if names[0] == names[1]:
        raise FitError(f"profile_2d: '{names[0]}' given twice; name two parameters, or use profile_parameter")
    points = [_increasing(*axis) for axis in (x, y)]
    grid = [axis.ravel() for axis in np.meshgrid(*points, indexing="ij")]
    shape = (len(points[0]), len(points[1]))
    fits = _held(model, data, dict(zip(names, grid, strict=True)))
    return Profile2D(
        names=names,
        x=points[0],
        y=points[1],
        nll=fits.nll.reshape(shape),
        parameters=fits.values.reshape(*shape, -1),
        parameter_names=fits.names,
        converged=fits.converged.reshape(shape),
        best=fit(model, data),
    )


def profile_parameter(model: Model, data: AbstractData, name: str, values: Sequence[float] | np.ndarray) -> Profile:
    """Profile one parameter, of interest or a nuisance, over everything else.

    Args:
        model: the model.
        data: one data set.
        name: the parameter.
        values: its values, increasing.

    Returns:
        a profile whose `poi` is the parameter, with `estimate` and `interval` from its curve.

    Raises:
        FitError: a stack of data sets, an unknown parameter, or a value outside its range.
    """
    _one(data, "profile_parameter")
    points, pois = _increasing(name, values), len(model.components.pois)
    fits = _held(model, data, {name: points})
    at_end = at_ends(fits.values, *np.array(fits.ranges, np.float64).T)
    others = [j for j, other in enumerate(fits.names) if j >= pois and other != name]
    return Profile(
        poi=name,
        values=points,
        nll=fits.nll,
        slope=fits.gradient[:, fits.names.index(name)],
        theta=fits.values[:, :pois],
        nuisances=fits.values[:, pois:],
        converged=fits.converged,
        at_boundary=np.asarray(at_end[:, others].any(axis=1), dtype=bool),
    )


def _one(data: AbstractData, function: str) -> None:
    if data.stacked:
        raise FitError(f"{function}: {len(data)} stacked data sets given; take one with data[i]")


def _increasing(name: str, values: Sequence[float] | np.ndarray) -> Float64[np.ndarray, " value"]:
    """Return values as an array.

    Raises:
        FitError: fewer than two, or not increasing.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 1 or len(points) < 2 or not np.all(np.diff(points) > 0):
        raise FitError(f"scan of '{name}': give at least two increasing values, got {points.tolist()}")
    return points


class _Held(NamedTuple):
    """Minima at held values; leading axis: points."""

    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    nll: np.ndarray
    values: np.ndarray
    gradient: np.ndarray
    converged: np.ndarray


def _held(model: Model, data: AbstractData, fixed: dict[str, np.ndarray]) -> _Held:
    """Return the minimum for each set of held values `[point]`."""
    count = len(next(iter(fixed.values())))
    copies = data.batch()[np.zeros(count, dtype=np.int64)]
    # Where no expected counts are possible the NLL is infinite, and so are both of its minima.
    with np.errstate(invalid="ignore"):
        many = fit_many(model, copies, fixed=fixed, levels=(), stat_only=False)
        held = _Held(
            many.names, many.ranges, many.nll.copy(), many.values.copy(), many.gradient.copy(), many.minimum_found
        )
        good = held.converged.copy()
        for i in np.flatnonzero(~good):
            # One by one the starts are at the held values, too: that finds minima far from the common starts.
            alone = {name: float(values[i]) for name, values in fixed.items()}
            one = fit_many(model, data, fixed=alone, levels=(), stat_only=False)
            if np.isnan(held.nll[i]) or not one.nll[0] > held.nll[i] + 1e-9:
                held.nll[i], held.values[i], held.gradient[i] = one.nll[0], one.values[0], one.gradient[0]
                good[i] = one.minimum_found[0]
    return held._replace(nll=np.where(np.isnan(held.nll), np.inf, held.nll), converged=good)
