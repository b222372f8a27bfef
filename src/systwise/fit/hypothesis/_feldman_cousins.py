"""Neyman construction with the ordering of Feldman and Cousins (physics/9711021), for one parameter or two."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import contourpy
import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float64

from systwise.errors import FitError
from systwise.fit.hypothesis._hypothetical import check_calculator, conditional, hypothetical, tail
from systwise.fit.inference._fit import fit_many
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._printed import Printed, plain

COARSE = 33
"""Values of the first scan of one parameter."""
CLOSE = {True: 2e-2, False: 2e-5}
"""Distance of the last values around an end, relative to the interval: with pseudo-experiments, and with exact sums."""
ROUNDS = 40
"""Most halvings of the distance to an end."""


@dataclasses.dataclass(frozen=True)
class FeldmanCousins(Printed):
    """Tested values of one parameter or two, and which of them belong to the confidence set.

    Attributes:
        names: the parameters.
        values: tested values of each, `[x]` (and `[y]`), increasing.
        statistic: observed `2 (NLL(tested) - NLL(best))`, `[x]` or `[x, y]`; infinite where no counts are possible.
        p: probability of that or more, if the tested value is true; `[x]` or `[x, y]`.
        error: its standard deviation from the number of pseudo-experiments; 0 where all outcomes were summed.
        level: confidence level.
        best: the fit's values of the parameters, inside their ranges.
        ranges: the parameters' ranges, which are the physical region.
        converged: the fits of the observed data and nearly all (99 %) of the pseudo-experiments have a minimum.
    """

    names: tuple[str, ...]
    values: tuple[Float64[np.ndarray, " value"], ...]
    statistic: Float64[np.ndarray, "*value"]
    p: Float64[np.ndarray, "*value"]
    error: Float64[np.ndarray, "*value"]
    level: float
    best: tuple[float, ...]
    ranges: tuple[tuple[float, float], ...]
    converged: bool

    @property
    def accepted(self) -> Bool[np.ndarray, "*value"]:
        """Whether each tested value belongs to the set: the data are among the most likely outcomes there."""
        return np.asarray(self.p > 1 - self.level)

    @property
    def interval(self) -> tuple[float, float]:
        """Outermost ends of the set of one parameter, p taken as linear between tested values.

        Raises:
            FitError: two parameters were tested; see `contours`.
        """
        return self._ends(self.p)

    @property
    def interval_error(self) -> tuple[float, float]:
        """Standard deviations of both ends from the number of pseudo-experiments."""
        low, high = (np.array(self._ends(self.p + sign * self.error)) for sign in (-1.0, 1.0))
        first, second = np.abs(high - low) / 2
        return float(first), float(second)

    def _ends(self, p: np.ndarray) -> tuple[float, float]:
        if len(self.names) != 1:
            raise FitError(f"interval: {' and '.join(self.names)} were tested together; use contours()")
        x, inside = self.values[0], np.flatnonzero(p > 1 - self.level)
        if len(inside) == 0:
            return self.best[0], self.best[0]
        first, last = int(inside[0]), int(inside[-1])
        return _end(x, p, first, -1, 1 - self.level), _end(x, p, last, 1, 1 - self.level)

    def contours(self) -> list[Float64[np.ndarray, "point 2"]]:
        """Return the lines `[point, (x, y)]` around the set of two parameters; cut where the grid ends.

        Raises:
            FitError: one parameter was tested; see `interval`.
        """
        if len(self.names) != 2:
            raise FitError(f"contours: {self.names[0]} alone was tested; use interval")
        generator = contourpy.contour_generator(self.values[0], self.values[1], self.p.T, name="serial")
        return [np.asarray(line) for line in generator.lines(1 - self.level)]

    @property
    def verdict(self) -> str:
        """Whether to believe it, and what limits it, in a sentence."""
        notes = ["converged" if self.converged else "NOT converged: a fit of the data or of a pseudo-experiment"]
        inside = self.accepted
        for axis, (name, values, ends) in enumerate(zip(self.names, self.values, self.ranges, strict=True)):
            seen = np.atleast_1d(inside.any(axis=1 - axis) if inside.ndim == 2 else inside)
            for place, end in ((0, ends[0]), (-1, ends[1])):
                if seen[place]:
                    what = "an end of its range" if values[place] == end else "an end of the tested values"
                    notes.append(f"the set reaches {name} = {values[place]:g}, {what}")
        if inside.ndim == 1 and inside.any():
            first, last = np.flatnonzero(inside)[[0, -1]]
            if not inside[first : last + 1].all():
                notes.append("some values between the ends are not accepted")
        return "; ".join(notes)

    def cells(self) -> list[tuple[str, str]]:
        """Return the rows."""
        rows = [("level", f"{100 * self.level:g} %")]
        if not self.converged:
            return [*rows, ("confidence set", "-")]
        rows += [(f"best {name}", plain(value)) for name, value in zip(self.names, self.best, strict=True)]
        if len(self.names) == 1:
            pair = zip(("lower", "upper"), self.interval, self.interval_error, strict=True)
            rows += [(word, f"{plain(end)} +- {error:.1g}" if error else plain(end)) for word, end, error in pair]
        else:
            rows.append(("accepted", f"{self.accepted.sum()} of {self.p.size} points"))
        return rows

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return ("Feldman-Cousins", " and ".join(self.names))


def feldman_cousins(
    model: Model,
    data: AbstractData,
    values: Mapping[str, npt.ArrayLike] | None = None,
    level: float = 0.6827,
    *,
    toys: int = 1_000,
    seed: int = 0,
) -> FeldmanCousins:
    """Return the values of one parameter or two that the data do not exclude, ordered by the likelihood ratio.

    Every tested value is a hypothesis with pseudo-experiments of its own, its other parameters those that the data
    prefer there; all outcomes are summed instead of drawn for a single bin without auxiliary data. The ranges are
    the physical region: the best fit of a data set stays inside (`model.with_range("mu", 0, 10)`).

    Args:
        model: the model, its observable fixed.
        data: one data set.
        values: tested values of one parameter or two, by name. None: the first parameter of interest, its range
            scanned first, then both ends of the set narrowed down.
        level: confidence level.
        toys: pseudo-experiments for every tested value.
        seed: their seed, the same for every value.

    Raises:
        FitError: several data sets, a moving observable, too few pseudo-experiments, a level outside (0, 1), no
            parameter or more than two, or a fit of the observed data at a tested value that fails.
    """
    if not 0 < level < 1:
        raise FitError(f"feldman_cousins: level {level:g} is not between 0 and 1")
    check_calculator("feldman_cousins", "toys", toys, data, model)
    test = _Test(model, data, toys, seed)
    if values is None:
        name, ends = model.components.pois[0], model.components.ranges[0]
        points, rows = _searched(test, name, ends, level)
        axes: tuple[np.ndarray, ...] = (points,)
    else:
        if not 1 <= len(values) <= 2:
            raise FitError(f"feldman_cousins: {len(values)} parameters given; test one or two")
        axes = tuple(np.unique(np.asarray(axis, np.float64)) for axis in values.values())
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        rows = [test(dict(zip(values, map(float, point), strict=True))) for point in grid]
    names = tuple(values) if values is not None else (model.components.pois[0],)
    lik, order = model.likelihood(), [model.parameter_names.index(name) for name in names]
    low, high = np.asarray(lik.low), np.asarray(lik.high)
    shape = tuple(len(axis) for axis in axes)
    return FeldmanCousins(
        names=names,
        values=axes,
        statistic=np.array([row.statistic for row in rows]).reshape(shape),
        p=np.array([row.p for row in rows]).reshape(shape),
        error=np.array([row.error for row in rows]).reshape(shape),
        level=level,
        best=tuple(test.best[name] for name in names),
        ranges=tuple((float(low[j]), float(high[j])) for j in order),
        converged=test.found and all(row.good for row in rows),
    )


class _Row(NamedTuple):
    """Statistic, its p-value with error, and whether the fits behind them can be believed."""

    statistic: float
    p: float
    error: float
    good: bool


class _Test:
    """Tests of single hypotheses on the same data, with a number of pseudo-experiments each."""

    def __init__(self, model: Model, data: AbstractData, toys: int, seed: int) -> None:
        self._model, self._data, self._toys, self._seed = model, data, toys, seed
        free = fit_many(model, data, levels=(), stat_only=False)
        self._lowest, self.found = float(free.nll[0]), bool(free.minimum_found[0])
        self.best = dict(zip(model.parameter_names, map(float, free.values[0]), strict=True))

    def __call__(self, held: Mapping[str, float]) -> _Row:
        model = self._model
        observed = fit_many(model, self._data, fixed=held, levels=(), stat_only=False)
        if not np.isfinite(observed.nll[0]):
            return _Row(np.inf, 0.0, 0.0, True)
        statistic = 2 * max(0.0, float(observed.nll[0]) - self._lowest)
        sets = hypothetical(model, self._data, conditional(model, self._data, held), self._toys, self._seed)
        free = fit_many(model, sets.data, levels=(), stat_only=False)
        fixed = fit_many(model, sets.data, fixed=held, levels=(), stat_only=False)
        good = free.minimum_found & fixed.minimum_found
        # A pseudo-experiment without a fit counts as more extreme: it makes the set larger.
        rises = np.where(good, 2 * np.maximum(0.0, fixed.nll - free.nll), np.nan)
        found = tail(sets, rises, statistic)
        return _Row(statistic, found.p, found.error, bool(np.sum(sets.weights[good]) >= 0.99))


def _searched(test: _Test, name: str, ends: tuple[float, float], level: float) -> tuple[np.ndarray, list[_Row]]:
    """Return tested values, increasing, with their rows: a scan of the range, then closer to both ends of the set."""
    start = np.unique([*np.linspace(*ends, COARSE), np.clip(test.best[name], *ends)])
    rows = {float(value): test({name: float(value)}) for value in start}
    drawn = any(row.error for row in rows.values())
    for side in (-1, 1):
        for _ in range(ROUNDS):
            points = np.array(sorted(rows))
            inside = points[[rows[value].p > 1 - level for value in points]]
            if len(inside) == 0:
                break
            outer = inside[0] if side < 0 else inside[-1]
            beyond = points[points < outer][-1:] if side < 0 else points[points > outer][:1]
            scale = max(inside[-1] - inside[0], 1e-6 * (ends[1] - ends[0]))
            if len(beyond) == 0 or abs(beyond[0] - outer) <= CLOSE[drawn] * scale:
                break
            middle = float(0.5 * (outer + beyond[0]))
            rows[middle] = test({name: middle})
    points = np.array(sorted(rows))
    return points, [rows[value] for value in points]


def _end(x: np.ndarray, p: np.ndarray, inside: int, side: int, level: float) -> float:
    """Return where p falls to `level` beyond the outermost accepted value; the value itself where nothing is beyond."""
    if not 0 <= inside + side < len(x):
        return float(x[inside])
    share = (p[inside] - level) / (p[inside] - p[inside + side])
    return float(x[inside] + share * (x[inside + side] - x[inside]))
