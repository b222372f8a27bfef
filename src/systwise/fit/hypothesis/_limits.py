"""Upper limits by CLs, with the asymptotic distributions of q-tilde-mu (arXiv:1007.1727)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.stats import norm

from systwise.errors import FitError
from systwise.fit.hypothesis._asymptotics import BANDS
from systwise.fit.hypothesis._hypothetical import check_calculator, conditional, doubt, hypothetical, parts, tail
from systwise.fit.hypothesis._profile_ratio import POINTS, not_below_zero, profile_ratio
from systwise.fit.inference._engine import poi_number
from systwise.fit.model._best_factors import best_factors, simulated_part
from systwise.fit.model._data import AbstractData, Data, asimov, stack
from systwise.fit.model._model import Model
from systwise.fit.results._printed import Printed, plain

ROUNDS = 4, 24
"""Fewest and most calls in the search for a limit, each with closer values than the one before."""
CLOSE = 1e-4
"""Distance of the last tested values around a limit, relative to it: the range must not decide."""


@dataclasses.dataclass(frozen=True)
class CLs(Printed):
    """CLs at tested values of the parameter of interest.

    Attributes:
        poi: its name.
        values: tested values, `[value]`.
        q: observed q-tilde-mu, `[value]`.
        signal_and_background: probability of data as background-like or more, with signal: CLs+b, `[value]`.
        background: the same without signal: CLb.
        observed: `CLs = CLs+b / CLb`; 1 where the data cannot tell the tested value from no signal.
        expected: CLs without signal for limits at -2, -1, 0, 1, 2 standard deviations, `[band, value]` (eq. 89).
        error: standard deviation of `observed` from the number of pseudo-experiments, `[value]`; None: asymptotic.
        converged: all fits can be believed.
        caution: why asymptotic results cannot be trusted or tests say nothing, empty where they do.
    """

    poi: str
    values: Float64[np.ndarray, " value"]
    q: Float64[np.ndarray, " value"]
    signal_and_background: Float64[np.ndarray, " value"]
    background: Float64[np.ndarray, " value"]
    observed: Float64[np.ndarray, " value"]
    expected: Float64[np.ndarray, "band value"]
    error: Float64[np.ndarray, " value"] | None
    converged: bool
    caution: str = ""

    @property
    def verdict(self) -> str:
        """Whether to believe it, in a sentence."""
        good = "converged" if self.converged else "NOT converged: a fit at a tested value or a free one"
        return "; ".join(filter(None, [good, self.caution]))

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""
        numbers = [self.q, self.observed, *self.expected]
        # A number beside the verdict that it is none would be quoted.
        columns = [self.values, *(each if self.converged else np.full(each.shape, np.nan) for each in numbers)]
        cells = [tuple(plain(float(value), 4) for value in row) for row in zip(*columns, strict=True)]
        if self.error is None or not self.error.any() or not self.converged:
            return cells
        return [(*row[:2], f"{row[2]} +- {error:.1g}", *row[3:]) for row, error in zip(cells, self.error, strict=True)]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        bands = ("median" if n == 0 else f"{n:+d} sigma" for n in BANDS)
        return (self.poi, "q", "CLs", *bands)


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
    null = conditional(model, data, {name: 0.0})
    theta, z = parts(model, null)
    expected = asimov(model, theta, z, auxiliary_at=z)
    if model.variance is None:
        return expected
    factors = best_factors(model, data, null)
    simulated, nu = simulated_part(model, null)
    return dataclasses.replace(expected, counts=nu + (factors - 1) * simulated, simulated=factors)


def cls(
    model: Model,
    data: AbstractData,
    mu: float | Sequence[float] | np.ndarray,
    poi: int | str = 0,
    *,
    calculator: str = "asymptotic",
    toys: int = 2_000,
    seed: int = 0,
) -> CLs:
    """Return observed and expected CLs at tested values.

    Args:
        model: the model.
        data: one data set.
        mu: tested value, or several `[value]`.
        poi: number or name of the parameter of interest.
        calculator: `asymptotic`, or `toys`: for every tested value pseudo-experiments with and without signal, with
            the nuisances that the data prefer there; a counting experiment's outcomes are summed instead.
        toys: pseudo-experiments for each hypothesis.
        seed: their seed.

    Raises:
        FitError: a stack of data sets, no such parameter, a tested value outside its range, or toys of what has none.
    """
    check_calculator("cls", calculator, toys, data, model)
    values = np.atleast_1d(np.asarray(mu, dtype=np.float64))
    if calculator == "toys":
        return _cls_from_toys(model, data, values, poi_number(model, poi), toys, seed)
    number, both = _observed_and_asimov(model, data, poi)
    tested = _cls(model, both, values, number)
    name = model.components.pois[number]
    if tested.caution or model.moving:
        return tested
    doubts = filter(None, (doubt(model, name, float(value)) for value in (0.0, values.min())))
    return dataclasses.replace(tested, caution=next(doubts, ""))


def _cls_from_toys(model: Model, data: AbstractData, values: np.ndarray, poi: int, toys: int, seed: int) -> CLs:
    """Return CLs from data sets under the tested hypotheses and under that without signal."""
    bounded = not_below_zero(model, poi)
    name = model.components.pois[poi]
    observed = profile_ratio(model, data.batch(), values, poi)
    without = hypothetical(bounded, data, conditional(bounded, data, {name: 0.0}), toys, seed)
    background = profile_ratio(model, without.data, values, poi)
    rows = []
    for i, value in enumerate(values):
        sets = hypothetical(bounded, data, conditional(bounded, data, {name: float(value)}), toys, seed + 1)
        signal = profile_ratio(model, sets.data, [float(value)], poi)
        with_signal = np.where(signal.converged, signal.q_mu_tilde[:, 0], np.nan)
        # A failed fit makes CLs larger on either side, not smaller.
        no_signal = np.where(background.converged, background.q_mu_tilde[:, i], -np.inf)
        q = float(observed.q_mu_tilde[0, i])
        both = tail(sets, with_signal, q), tail(without, no_signal, q)
        # Limits below the median belong to data more background-like than the median: a larger q.
        order = np.argsort(no_signal)
        shares = np.cumsum(without.weights[order])
        typical = no_signal[order][np.searchsorted(shares, norm.cdf(-np.array(BANDS))).clip(max=len(order) - 1)]
        bands = [tail(sets, with_signal, at).p / tail(without, no_signal, at).p for at in typical]
        rows.append((q, both, bands))
    p = np.array([[each.p for each in both] for _, both, _ in rows])
    errors = np.array([[each.error for each in both] for _, both, _ in rows])
    safe = np.maximum(p, 1 / toys)
    ratio = np.where(p[:, 1] > 0, p[:, 0] / np.where(p[:, 1] > 0, p[:, 1], 1.0), np.nan)
    none = [f"{value:g}" for value, share in zip(values, p[:, 1], strict=True) if share == 0]
    return CLs(
        poi=name,
        values=values,
        q=np.array([q for q, _, _ in rows]),
        signal_and_background=p[:, 0],
        background=p[:, 1],
        observed=ratio,
        expected=np.array([bands for _, _, bands in rows]).T,
        error=safe[:, 0] / safe[:, 1] * np.hypot(errors[:, 0] / safe[:, 0], errors[:, 1] / safe[:, 1]),
        converged=bool(observed.converged.all()),
        caution=f"no background pseudo-experiment is as extreme at {', '.join(none)}; take more" if none else "",
    )


def _observed_and_asimov(model: Model, data: AbstractData, poi: int | str) -> tuple[int, AbstractData]:
    if data.stacked:
        raise FitError(f"cls: {len(data)} stacked data sets given; take one with data[i]")
    number = poi_number(model, poi)
    if model.variance is not None and data.simulated is None:
        data = dataclasses.replace(data, simulated=np.ones(model.bins))
    return number, stack([data, background_asimov(not_below_zero(model, number), data, number)])


def _cls(model: Model, both: AbstractData, values: np.ndarray, poi: int) -> CLs:
    """Return CLs by the asymptotic distributions from observed and background-only Asimov data.

    The statistic `sqrt(q) - sqrt(q_A)` up to `q = q_A` and `(q - q_A) / (2 sqrt(q_A))` above (from eqs. 64 to 66) is
    normal with unit width: around 0 without signal, around `-sqrt(q_A)` with it.
    """
    ratio = profile_ratio(model, both, values, poi)
    q, q_asimov = ratio.q_mu_tilde
    root, reach = np.sqrt(q), np.sqrt(q_asimov)
    safe = np.where(reach > 0, reach, 1.0)
    above = np.where(reach > 0, (q - q_asimov) / (2 * safe), np.inf)
    statistic = np.where(root <= reach, root - reach, above)
    name = model.components.pois[poi]
    blind = np.all(q_asimov[values > 0] < 1e-12) and np.any(values > 0)
    return CLs(
        poi=name,
        values=values,
        q=q,
        signal_and_background=np.asarray(norm.sf(statistic + reach)),
        background=np.asarray(norm.sf(statistic)),
        observed=_ratio(statistic, reach),
        expected=np.stack([_ratio(np.full(q.shape, -float(n)), reach) for n in BANDS]),
        error=None,
        converged=bool(ratio.converged.all()),
        caution=f"the data cannot tell any tested {name} from no signal" if blind else "",
    )


@dataclasses.dataclass(frozen=True)
class UpperLimit(Printed):
    """Largest value of the parameter of interest that CLs does not exclude.

    Attributes:
        poi: its name.
        level: confidence level.
        observed: observed limit; None where the range ends before it.
        expected: limits expected without signal, at -2, -1, 0, 1, 2 standard deviations.
        converged: all fits can be believed.
        verdict: in a sentence.
        error: standard deviation of the observed limit from the number of pseudo-experiments; None: asymptotic.
    """

    poi: str
    level: float
    observed: float | None
    expected: tuple[float | None, ...]
    converged: bool
    verdict: str
    error: float | None = None

    def cells(self) -> list[tuple[str, str]]:
        """Return the rows."""
        if not self.converged:
            return [("observed and expected", "-")]
        bands = ("median expected" if n == 0 else f"expected {n:+d} sigma" for n in BANDS)
        observed = plain(self.observed) if not self.error else f"{plain(self.observed)} +- {self.error:.1g}"
        return [("observed", observed), *zip(bands, map(plain, self.expected), strict=True)]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return (f"{100 * self.level:g} % CLs limit", self.poi)


def upper_limit(
    model: Model,
    data: AbstractData,
    level: float = 0.95,
    poi: int | str = 0,
    *,
    calculator: str = "asymptotic",
    toys: int = 2_000,
    seed: int = 0,
) -> UpperLimit:
    """Return the values of the parameter of interest at which observed and expected CLs fall to `1 - level`.

    Values from 0 to the end of the range are tested in one call, then those around each crossing, until they
    lie within 1e-4 of it (1e-2 with pseudo-experiments); between the last values log CLs is taken as linear.

    Args:
        model: the model.
        data: one data set.
        level: confidence level.
        poi: number or name of the parameter of interest.
        calculator: `asymptotic` or `toys`, as in `cls`.
        toys: pseudo-experiments for each hypothesis at each tested value.
        seed: their seed.

    Raises:
        FitError: a stack of data sets, no such parameter, a level outside (0, 1), or toys of what has none.
    """
    if not 0 < level < 1:
        raise FitError(f"upper_limit: level {level:g} is not between 0 and 1")
    check_calculator("upper_limit", calculator, toys, data, model)
    drawn = calculator == "toys"
    number, both = (poi_number(model, poi), data) if drawn else _observed_and_asimov(model, data, poi)
    close, fewest = (1e-2, 2) if drawn else (CLOSE, ROUNDS[0])
    name, high = model.components.pois[number], model.components.ranges[number][1]
    curves = 1 + len(BANDS)
    brackets = np.tile([[0.0, high]], (curves, 1))
    crossed, good, limits = np.ones(curves, dtype=bool), True, np.full(curves, np.nan)
    narrow, error, cautions = False, None, []
    for turn in range(ROUNDS[1]):
        if narrow and turn >= fewest:
            break
        points = np.linspace(0, high, POINTS) if turn == 0 else _inside(brackets)
        tested = _cls_from_toys(model, data, points, number, toys, seed) if drawn else _cls(model, both, points, number)
        good = good and tested.converged
        rows = np.concatenate([tested.observed[None], tested.expected])
        for k in np.flatnonzero(crossed):
            own = slice(None) if turn == 0 else slice(k * POINTS // curves, (k + 1) * POINTS // curves)
            place = _crossing(points[own], rows[k, own], 1 - level)
            crossed[k] = place is not None
            if place is not None:
                brackets[k], limits[k] = place
        cautions = [tested.caution] if drawn and tested.caution else []
        if drawn and crossed[0]:
            error = _limit_error(tested, limits[0], 1 - level)
        narrow = bool(np.all(np.diff(brackets[crossed])[:, 0] <= close * np.abs(limits[crossed])))
    numbers = [float(limit) if flag else None for limit, flag in zip(limits, crossed, strict=True)]
    notes = ["converged" if good else "NOT converged: a fit at a tested value or a free one"]
    if not narrow:
        good = False
        notes[0] = f"NOT converged: tested values lie more than {close:g} of a limit apart; narrow the range of {name}"
    if not crossed.all():
        words = ["observed", *(f"expected {n:+d} sigma" for n in BANDS)]
        missing = ", ".join(word for word, flag in zip(words, crossed, strict=True) if not flag)
        notes.append(f"no limit below {name} = {high:g}, the end of its range ({missing}); widen the range")
    notes += cautions
    if not model.moving and not drawn:
        notes += filter(None, [doubt(model, name, 0.0)])
    return UpperLimit(name, level, numbers[0], tuple(numbers[1:]), good, "; ".join(notes), error)


def _limit_error(tested: CLs, limit: float, level: float) -> float:
    """Return the standard deviation of the observed limit: that of CLs there, over the slope of its logarithm.

    The slope is that of the line from CLs = 1 without signal: between two close values it would be noise.
    """
    assert tested.error is not None
    nearest = int(np.argmin(np.abs(tested.values - limit)))
    return float(tested.error[nearest] / level * limit / -np.log(level))


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
