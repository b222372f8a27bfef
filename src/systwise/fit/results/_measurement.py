"""Everything that one asks of observed data, from one call: value, intervals, tests, pulls, impacts and yields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from systwise.errors import FitError
from systwise.fit.hypothesis._asymptotics import Discovery, q0
from systwise.fit.hypothesis._goodness_of_fit import GoodnessOfFit, goodness_of_fit
from systwise.fit.hypothesis._limits import UpperLimit, upper_limit
from systwise.fit.inference._engine import poi_number
from systwise.fit.inference._fit import AnyModel, fit
from systwise.fit.inference._profile import Profile, profile
from systwise.fit.model._combined import CombinedData, CombinedModel
from systwise.fit.model._data import AbstractData, Data
from systwise.fit.model._model import Model
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit.results._impacts import Impacts, impacts
from systwise.fit.results._printed import Ends
from systwise.fit.results._pulls import Pulls, pulls
from systwise.fit.results._result import FitResult
from systwise.fit.results._yields import Yields, postfit_yields, predicted_yields, prefit_yields

POINTS = 41
"""Values of the profile."""
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A fit of one data set and what belongs to it; None where `missing` says why.

    Attributes:
        poi: the measured parameter.
        result: the fit.
        profile: the profiled likelihood beyond the ends at two standard deviations.
        pulls: of the nuisances.
        impacts: of the nuisances, by shifts of the auxiliary observations.
        prefit: yields before the fit.
        postfit: yields after it.
        goodness: saturated goodness of fit.
        discovery: test of the hypothesis without signal.
        limit: upper limit by CLs.
        missing: why a part is None, by its name.
    """

    poi: str
    result: FitResult
    profile: Profile | None
    pulls: Pulls | None
    impacts: Impacts | None
    prefit: Yields
    postfit: Yields | None
    goodness: GoodnessOfFit | None
    discovery: Discovery | None
    limit: UpperLimit | None
    missing: dict[str, str]

    @property
    def tables(self) -> list[str]:
        """All tables as text."""
        parts = (self.result, self.goodness, self.discovery, self.limit, self.pulls, self.impacts, self.postfit)
        return [str(part) for part in parts if part is not None]

    def __str__(self) -> str:
        """Return all tables, and why what is missing is."""
        return "\n\n".join([*self.tables, *(f"{part}: {why}" for part, why in self.missing.items())])

    def hidden(self, offset: float) -> Measurement:
        """Return the same with `offset` added to the measured parameter, without what would give its value away."""
        result = self.result

        def moved(ends: Ends) -> Ends:
            low, high = (None if end is None else end + offset for end in ends)
            return low, high

        hidden = dataclasses.replace(
            result,
            estimates={**result.estimates, self.poi: result.estimates[self.poi] + offset},
            interval=moved(result.interval),
            interval_95=moved(result.interval_95),
            interval_stat_only=moved(result.interval_stat_only),
        )
        lost = dict.fromkeys(("profile", "postfit", "discovery", "limit"), "would show the value, which is hidden")
        return dataclasses.replace(
            self,
            result=hidden,
            profile=None,
            pulls=self.pulls and dataclasses.replace(self.pulls, result=hidden),
            impacts=self.impacts and dataclasses.replace(self.impacts, result=hidden),
            postfit=None,
            discovery=None,
            limit=None,
            missing={**self.missing, **lost},
        )

    def record(self) -> dict[str, Any]:
        """Return all numbers as plain Python values, for a file; NaN and infinity are None."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        # Pulls and impacts hold the fit again.
        for name in ("pulls", "impacts"):
            part = parts[name]
            parts[name] = part and {
                f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "result"
            }
        if self.discovery is not None:
            numbers = {name: getattr(self.discovery, name) for name in ("significance", "p_value", "verdict")}
            parts["discovery"] = {**plain_values(self.discovery), **numbers}
        parts["correlation"] = self.result.correlation
        return dict(plain_values(parts))


def measure(
    model: Model, data: AbstractData, poi: int | str = 0, *, level: float = 0.95, toys: int = 0, seed: int = 0
) -> Measurement:
    """Fit one data set and return everything about it.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the measured parameter of interest.
        level: confidence level of the upper limit.
        toys: pseudo-experiments for goodness of fit, significance and limit; none: asymptotic results only.
        seed: their seed.

    Raises:
        FitError: a stack of data sets, no such parameter, or pseudo-experiments of what has none.
    """
    number = poi_number(model, poi)
    result = fit(model, data, number)
    name, missing = result.poi, {}
    calculator: dict[str, Any] = {"calculator": "toys", "toys": toys, "seed": seed} if toys else {}

    def part(what: str, make: Callable[[], T], signal: bool = False) -> T | None:
        low, high = model.components.ranges[number]
        if not result.minimum_found:
            missing[what] = "the fit has no minimum"
        elif signal and not low <= 0 < high:
            missing[what] = f"the range of {name}, [{low:g}, {high:g}], does not hold 0 and values above"
        else:
            try:
                return make()
            except FitError as error:  # a test whose own fits fail is no reason to lose the measurement
                missing[what] = str(error)
        return None

    return Measurement(
        poi=name,
        result=result,
        profile=part("profile", lambda: profile(model, data, _around(model, result), number)),
        pulls=part("pulls", lambda: pulls(model, data, result)),
        impacts=part("impacts", lambda: impacts(model, data, number)),
        prefit=prefit_yields(model),
        postfit=part("postfit", lambda: postfit_yields(model, data)),
        goodness=part("goodness", lambda: goodness_of_fit(model, data, toys=toys, seed=seed)),
        discovery=part("discovery", lambda: q0(model, data, number, **calculator), signal=True),
        limit=part("limit", lambda: upper_limit(model, data, level, number, **calculator), signal=True),
        missing=missing,
    )


def measure_events(
    model: UnbinnedModel | CombinedModel,
    data: UnbinnedData | CombinedData,
    counted: Model,
    counts: Data,
    poi: int | str = 0,
) -> Measurement:
    """Fit one data set of events and return what there is to say of it.

    Args:
        model: of events, or of events beside bins.
        data: one data set.
        counted: the yields of the regions of events in one bin each, and the bins of the others.
        counts: the data in these bins.
        poi: number or name of the measured parameter of interest.

    Raises:
        FitError: no such parameter.
    """
    result = fit(model, data, poi)
    name = result.poi
    no = "needs counts in bins, and this likelihood is of single events; measure with a binned observable beside it"
    missing = dict.fromkeys(("goodness", "limit", "impacts"), no)
    found = result.minimum_found
    missing |= {} if found else dict.fromkeys(("profile", "pulls", "postfit", "discovery"), "the fit has no minimum")
    return Measurement(
        poi=name,
        result=result,
        profile=profile(model, data, _around(model, result), name) if found else None,
        pulls=pulls(counted, counts, result) if found else None,
        impacts=None,
        prefit=prefit_yields(counted),
        postfit=predicted_yields(counted, result, counts.counts) if found else None,
        goodness=None,
        discovery=_discovery(model, data, result, missing) if found else None,
        limit=None,
        missing=missing,
    )


def _discovery(
    model: UnbinnedModel | CombinedModel,
    data: UnbinnedData | CombinedData,
    result: FitResult,
    missing: dict[str, str],
) -> Discovery | None:
    """Return the asymptotic test of the hypothesis without signal."""
    low, high = model.components.ranges[model.components.pois.index(result.poi)]
    if not low <= 0 < high:
        missing["discovery"] = f"the range of {result.poi}, [{low:g}, {high:g}], does not hold 0 and values above"
        return None
    without = fit(model, data, result.poi, fixed={result.poi: 0.0})
    rise = 2 * (without.nll - result.nll) if result.estimate > 0 else 0.0
    good = result.converged and without.minimum_found
    return Discovery(result.poi, np.asarray(max(rise, 0.0)), np.asarray(max(result.estimate, 0.0)), np.asarray(good))


def _around(model: AnyModel, result: FitResult) -> np.ndarray:
    """Return values from beyond one end at two standard deviations to beyond the other, inside the range."""
    low, high = model.components.ranges[model.components.pois.index(result.poi)]
    ends = [end for end in result.interval_95 if end is not None]
    width = max((abs(end - result.estimate) for end in ends), default=0.25 * (high - low))
    first, last = result.interval_95
    first = result.estimate - width if first is None else first
    last = result.estimate + width if last is None else last
    room = 0.15 * (last - first)
    return np.linspace(max(low, first - room), min(high, last + room), POINTS)


def plain_values(value: Any) -> Any:
    """Return dataclasses, arrays and numbers as dictionaries, lists and numbers that JSON has.

    >>> plain_values({"a": np.array([1.0, np.nan]), "b": (True, "c")})
    {'a': [1.0, None], 'b': [True, 'c']}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain_values(each) for key, each in value.items()}
    if isinstance(value, slice):
        return [value.start, value.stop]
    if isinstance(value, np.ndarray | np.generic):
        return plain_values(value.tolist())
    if hasattr(value, "_asdict"):
        return plain_values(value._asdict())
    if isinstance(value, list | tuple):
        return [plain_values(each) for each in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    raise FitError(f"record: a {type(value).__name__} has no plain form")
