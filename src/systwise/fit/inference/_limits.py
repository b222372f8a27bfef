"""Upper limits by CLs, with the asymptotic distributions of q-tilde-mu (arXiv:1007.1727)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from scipy.stats import norm

from systwise.errors import FitError
from systwise.fit.inference._asymptotics import BANDS
from systwise.fit.inference._fit import fit_many, poi_number
from systwise.fit.inference._profile_ratio import POINTS, not_below_zero, profile_ratio
from systwise.fit.model._best_factors import best_factors, simulated_part
from systwise.fit.model._data import AbstractData, Data, asimov, stack
from systwise.fit.model._model import Model
from systwise.fit.results._printed import html_table, plain, text_table

ROUNDS = 4, 24
"""Fewest and most calls in the search for a limit, each with closer values than the one before."""
CLOSE = 1e-4
"""Distance of the last tested values around a limit, relative to it: the range must not decide."""


@dataclasses.dataclass(frozen=True)
class CLs:
    """CLs at tested values of the parameter of interest.

    Attributes:
        poi: its name.
        values: tested values, `[value]`.
        q: observed q-tilde-mu, `[value]`.
        q_asimov: that of background-only Asimov data with nuisances profiled at 0 on the observed data.
        converged: all fits can be believed.
    """

    poi: str
    values: Float64[np.ndarray, " value"]
    q: Float64[np.ndarray, " value"]
    q_asimov: Float64[np.ndarray, " value"]
    converged: bool

    @property
    def statistic(self) -> Float64[np.ndarray, " value"]:
        """The statistic that is normal with unit width: around 0 without signal, around `-sqrt(q_A)` with it.

        `sqrt(q) - sqrt(q_A)` up to `q = q_A` and `(q - q_A) / (2 sqrt(q_A))` above (from eqs. 64 to 66).
        """
        root, reach = np.sqrt(self.q), np.sqrt(self.q_asimov)
        safe = np.where(reach > 0, reach, 1.0)
        return np.where(root <= reach, root - reach, np.where(reach > 0, (self.q - self.q_asimov) / (2 * safe), np.inf))

    @property
    def signal_and_background(self) -> Float64[np.ndarray, " value"]:
        """Probability of data as background-like or more, with signal: CLs+b."""
        return np.asarray(norm.sf(self.statistic + np.sqrt(self.q_asimov)))

    @property
    def background(self) -> Float64[np.ndarray, " value"]:
        """The same without signal: CLb."""
        return np.asarray(norm.sf(self.statistic))

    @property
    def observed(self) -> Float64[np.ndarray, " value"]:
        """`CLs = CLs+b / CLb`; 1 where the data cannot tell the tested value from no signal."""
        return _ratio(self.statistic, np.sqrt(self.q_asimov))

    @property
    def expected(self) -> Float64[np.ndarray, "band value"]:
        """CLs without signal for limits at -2, -1, 0, 1, 2 standard deviations, `[band, value]` (eq. 89)."""
        return np.stack([_ratio(np.full(self.q.shape, -float(n)), np.sqrt(self.q_asimov)) for n in BANDS])

    @property
    def verdict(self) -> str:
        """Whether to believe it, in a sentence."""
        notes = ["converged" if self.converged else "NOT converged: a fit at a tested value or a free one"]
        if np.all(self.q_asimov[self.values > 0] < 1e-12) and np.any(self.values > 0):
            notes.append(f"the data cannot tell any tested {self.poi} from no signal")
        return "; ".join(notes)

    def _cells(self) -> list[tuple[str, ...]]:
        columns = [self.values, self.q, self.q_asimov, self.observed, *self.expected]
        return [tuple(plain(float(value), 4) for value in row) for row in zip(*columns, strict=True)]

    @property
    def _heads(self) -> tuple[str, ...]:
        bands = ("median" if n == 0 else f"{n:+d} sigma" for n in BANDS)
        return (self.poi, "q", "q Asimov", "CLs", *bands)

    def __str__(self) -> str:
        """Return the table as text."""
        return text_table(self._heads, self._cells(), [f"verdict: {self.verdict}"])

    def _repr_html_(self) -> str:
        return html_table(self._heads, self._cells(), [f"verdict: {self.verdict}"], self.converged)


def _ratio(statistic: np.ndarray, reach: np.ndarray) -> Float64[np.ndarray, " value"]:
    """Return CLs from the statistic; by logarithms, because both probabilities may be tiny."""
    with np.errstate(invalid="ignore"):
        ratio = np.exp(norm.logsf(statistic + reach) - norm.logsf(statistic))
    return np.asarray(np.where(np.isposinf(statistic), 0.0, ratio))


def background_asimov(model: Model, data: AbstractData, poi: int | str = 0) -> Data:
    """Return background-only Asimov data: everything else profiled at 0 on the observed data.

    Counts, constraint centres and simulation factors take the values that this fit prefers, as in pyhf.

    Args:
        model: the model.
        data: one observed data set.
        poi: number or name of the parameter of interest.

    Raises:
        FitError: the observable moves with the hypothesis, or the fit without signal does not converge.
    """
    name = model.components.pois[poi_number(model, poi)]
    null = fit_many(model, data, fixed={name: 0.0}, levels=(), stat_only=False)[0]
    if not null.minimum_found:
        raise FitError(f"background-only Asimov data: the fit with {name} = 0 has failed ({null.verdict})")
    theta, z = _parts(model, null.estimates)
    expected = asimov(model, theta, z, auxiliary_at=z)
    if model.variance is None:
        return expected
    factors = best_factors(model, data, null.estimates)
    simulated, nu = simulated_part(model, null.estimates)
    return dataclasses.replace(expected, counts=nu + (factors - 1) * simulated, simulated=factors)


def cls(model: Model, data: AbstractData, mu: float | Sequence[float] | np.ndarray, poi: int | str = 0) -> CLs:
    """Return observed and expected CLs at tested values, all fits in two stacked calls.

    Args:
        model: the model.
        data: one data set.
        mu: tested value, or several `[value]`.
        poi: number or name of the parameter of interest.

    Raises:
        FitError: a stack of data sets, no such parameter, or a tested value outside its range.
    """
    number, both = _observed_and_asimov(model, data, poi)
    return _cls(model, both, np.atleast_1d(np.asarray(mu, dtype=np.float64)), number)


def _observed_and_asimov(model: Model, data: AbstractData, poi: int | str) -> tuple[int, AbstractData]:
    if data.stacked:
        raise FitError(f"cls: {len(data)} stacked data sets given; take one with data[i]")
    number = poi_number(model, poi)
    if model.variance is not None and data.simulated is None:
        data = dataclasses.replace(data, simulated=np.ones(model.bins))
    return number, stack([data, background_asimov(not_below_zero(model, number), data, number)])


def _cls(model: Model, both: AbstractData, values: np.ndarray, poi: int) -> CLs:
    ratio = profile_ratio(model, both, values, poi)
    q = ratio.q_mu_tilde
    return CLs(model.components.pois[poi], values, q[0], q[1], bool(ratio.converged.all()))


@dataclasses.dataclass(frozen=True)
class UpperLimit:
    """Largest value of the parameter of interest that CLs does not exclude.

    Attributes:
        poi: its name.
        level: confidence level.
        observed: observed limit; None where the range ends before it.
        expected: limits expected without signal, at -2, -1, 0, 1, 2 standard deviations.
        converged: all fits can be believed.
        verdict: in a sentence.
    """

    poi: str
    level: float
    observed: float | None
    expected: tuple[float | None, ...]
    converged: bool
    verdict: str

    def _cells(self) -> list[tuple[str, str]]:
        bands = ("median expected" if n == 0 else f"expected {n:+d} sigma" for n in BANDS)
        return [("observed", plain(self.observed)), *zip(bands, map(plain, self.expected), strict=True)]

    def __str__(self) -> str:
        """Return the table as text."""
        return text_table((f"{100 * self.level:g} % CLs limit", self.poi), self._cells(), [f"verdict: {self.verdict}"])

    def _repr_html_(self) -> str:
        heads = (f"{100 * self.level:g} % CLs limit", self.poi)
        return html_table(heads, self._cells(), [f"verdict: {self.verdict}"], self.converged)


def upper_limit(model: Model, data: AbstractData, level: float = 0.95, poi: int | str = 0) -> UpperLimit:
    """Return the values of the parameter of interest at which observed and expected CLs fall to `1 - level`.

    Values from 0 to the end of the range are tested in one call, then those around each crossing, until they
    lie within 1e-4 of it; between the last values log CLs is taken as linear.

    Args:
        model: the model.
        data: one data set.
        level: confidence level.
        poi: number or name of the parameter of interest.

    Raises:
        FitError: a stack of data sets, no such parameter, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise FitError(f"upper_limit: level {level:g} is not between 0 and 1")
    number, both = _observed_and_asimov(model, data, poi)
    name, high = model.components.pois[number], model.components.ranges[number][1]
    curves = 1 + len(BANDS)
    brackets = np.tile([[0.0, high]], (curves, 1))
    crossed, good, limits = np.ones(curves, dtype=bool), True, np.full(curves, np.nan)
    narrow = False
    for turn in range(ROUNDS[1]):
        if narrow and turn >= ROUNDS[0]:
            break
        points = np.linspace(0, high, POINTS) if turn == 0 else _inside(brackets)
        tested = _cls(model, both, points, number)
        good = good and tested.converged
        rows = np.concatenate([tested.observed[None], tested.expected])
        for k in np.flatnonzero(crossed):
            own = slice(None) if turn == 0 else slice(k * POINTS // curves, (k + 1) * POINTS // curves)
            place = _crossing(points[own], rows[k, own], 1 - level)
            crossed[k] = place is not None
            if place is not None:
                brackets[k], limits[k] = place
        narrow = bool(np.all(np.diff(brackets[crossed])[:, 0] <= CLOSE * np.abs(limits[crossed])))
    numbers = [float(limit) if flag else None for limit, flag in zip(limits, crossed, strict=True)]
    notes = ["converged" if good else "NOT converged: a fit at a tested value or a free one"]
    if not narrow:
        good = False
        notes[0] = f"NOT converged: tested values lie more than {CLOSE:g} of a limit apart; narrow the range of {name}"
    if not crossed.all():
        words = ["observed", *(f"expected {n:+d} sigma" for n in BANDS)]
        missing = ", ".join(word for word, flag in zip(words, crossed, strict=True) if not flag)
        notes.append(f"no limit below {name} = {high:g}, the end of its range ({missing}); widen the range")
    return UpperLimit(name, level, numbers[0], tuple(numbers[1:]), good, "; ".join(notes))


def _inside(brackets: Float64[np.ndarray, "curve 2"]) -> Float64[np.ndarray, " point"]:
    """Return equally many values in each bracket, ends included."""
    return np.concatenate([np.linspace(low, high, POINTS // len(brackets)) for low, high in brackets])


def _crossing(points: np.ndarray, values: np.ndarray, level: float) -> tuple[np.ndarray, float] | None:
    """Return the last interval in which the curve falls to `level`, and where; None where it stays above at the end."""
    above = values > level
    if above[-1] or not above.any():
        return None
    i = int(np.flatnonzero(above)[-1])
    logs = np.log(np.maximum(values[i : i + 2], 1e-300))
    share = (logs[0] - np.log(level)) / (logs[0] - logs[1])
    return points[i : i + 2], float(points[i] + share * (points[i + 1] - points[i]))


def _parts(model: Model, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return parameters of interest and nuisances."""
    theta = {name: values[name] for name in model.components.pois}
    return theta, {nuisance.name: values[nuisance.name] for nuisance in model.nuisances}
