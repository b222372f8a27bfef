"""A second opinion: the same likelihood minimised by iminuit, from the found minimum and from the nominal point.

Use it on any fit that matters. Value and gradient come from JAX (the gradient by automatic differentiation,
not from the derivatives that the package's own minimiser uses); the path to the minimum and the interval
(MINOS) are Minuit's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from systwise.errors import FitError
from systwise.fit.inference._engine import poi_number
from systwise.fit.inference._fit import fit
from systwise.fit.likelihood import Likelihood, Observed
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._printed import Printed, plain
from systwise.fit.results._result import Ends, FitResult
from systwise.optional import optional_module
from systwise.precision import in_float64

HEADS = ("parameter", "JAX", "iminuit", "from nominal")
LEVEL = 0.5
NLL_TOLERANCE = 1e-4
"""Difference of NLLs that counts as agreement: 0.01 standard deviations."""
ESTIMATE_TOLERANCE = 0.02
"""The same for estimates and interval ends, in standard deviations."""
IMPOSSIBLE = 1e6
"""Rise above the minimum reported to Minuit where an expected count is not positive: it cannot use infinity."""


@dataclasses.dataclass(frozen=True)
class Referee(Printed):
    """A fit beside iminuit's.

    Attributes:
        result: the fit that was examined.
        estimates: iminuit's, started from the examined minimum.
        nll: its NLL there.
        estimates_from_nominal: iminuit's, started from the nominal parameters.
        nll_from_nominal: its NLL there.
        interval: MINOS interval of the parameter of interest; None for an end that MINOS did not find.
        rises: by how much Minuit's profiled NLL has risen at the examined interval's ends; None where there is none.
        valid: Minuit calls its minimum from the examined one valid.
        agree: minimum, estimates and interval agree.
        verdict: in a sentence.
    """

    result: FitResult
    estimates: dict[str, float]
    nll: float
    estimates_from_nominal: dict[str, float]
    nll_from_nominal: float
    interval: Ends
    rises: Ends
    valid: bool
    agree: bool
    verdict: str

    @property
    def converged(self) -> bool:
        """Both minimisers agree."""
        return self.agree

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""
        rows: list[tuple[str, ...]] = [
            (name, plain(value, 7), plain(self.estimates[name], 7), plain(self.estimates_from_nominal[name], 7))
            for name, value in self.result.estimates.items()
        ]
        rows.append(("NLL", *(f"{nll:.6f}" for nll in (self.result.nll, self.nll, self.nll_from_nominal))))
        for side, here, there, rise in zip(
            ("lower", "upper"), self.result.interval, self.interval, self.rises, strict=True
        ):
            rows.append((f"{side} end", plain(here, 7), plain(there, 7), f"rise {plain(rise, 6)}"))
        return rows

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return HEADS


@jax.jit
def _value(lik: Likelihood, observed: Observed, x: Array) -> Array:
    return lik.value(observed, x) + lik.constant(observed)


_slope = jax.jit(jax.grad(_value, argnums=2))


class _Objective:
    """The NLL as Minuit calls it: finite everywhere, inside the float64 context."""

    def __init__(self, model: Model, data: AbstractData, lowest: float) -> None:
        self.lik, self.ceiling = model.likelihood(), lowest + IMPOSSIBLE
        self.observed = jax.tree.map(lambda leaf: leaf[0], model.observed(data.batch()))

    @in_float64
    def value(self, x: np.ndarray) -> float:
        value = float(_value(self.lik, self.observed, jnp.asarray(x, jnp.float64)))
        return min(value, self.ceiling) if np.isfinite(value) else self.ceiling

    @in_float64
    def slope(self, x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.asarray(_slope(self.lik, self.observed, jnp.asarray(x, jnp.float64))))


def referee(model: Model, data: AbstractData, poi: int | str = 0, result: FitResult | None = None) -> Referee:
    """Fit again with iminuit and say whether minimum, estimates and interval agree.

    Minuit starts from the examined minimum and from the nominal parameters. A higher minimum from the nominal
    point is said but is no disagreement: finding the lower one is what the search is for. The interval is
    compared by the NLL that Minuit profiles at the examined ends, which has to be 0.5 above the minimum, because
    MINOS finds the ends themselves to no more than a percent.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest.
        result: the fit to examine; made here where None.

    Raises:
        ConfigError: iminuit is not installed.
        FitError: a stack of data sets was given, or no such parameter.
    """
    if data.stacked:
        raise FitError(f"referee: {len(data)} stacked data sets given; take one with data[i]")
    number = poi_number(model, poi)
    name = model.components.pois[number]
    result = fit(model, data, number) if result is None else result
    if result.poi != name:
        raise FitError(f"referee: the result's interval is that of '{result.poi}'; fit with poi='{name}'")
    lowest = result.nll if np.isfinite(result.nll) else 0.0
    make = functools.partial(_minuit, model, _Objective(model, data, lowest), result)
    theirs = make(result.estimates)
    _migrate(theirs)
    start = nominal_point(model) | {held: result.estimates[held] for held in result.fixed}
    nominal = make(start)
    _migrate(nominal)
    interval: Ends = (None, None)
    if name not in result.fixed and np.isfinite(result.nll):
        interval = _minos(theirs, name)
    rises = tuple(_rise(make, (result.estimates, start), name, end, float(theirs.fval)) for end in result.interval)
    faults, notes = _compare(result, theirs, nominal, rises)
    return Referee(
        result=result,
        estimates=dict(zip(model.parameter_names, map(float, theirs.values), strict=True)),
        nll=float(theirs.fval),
        estimates_from_nominal=dict(zip(model.parameter_names, map(float, nominal.values), strict=True)),
        nll_from_nominal=float(nominal.fval),
        interval=interval,
        rises=(rises[0], rises[1]),
        valid=bool(theirs.valid),
        agree=not faults,
        verdict="; ".join([("DISAGREE: " + "; ".join(faults)) if faults else "agree", *notes]),
    )


def nominal_point(model: Model) -> dict[str, float]:
    """Return the nominal values of all parameters."""
    theta = zip(model.components.pois, model.components.nominal, strict=True)
    return {**dict(theta), **{nuisance.name: nuisance.nominal for nuisance in model.nuisances}}


def _minuit(model: Model, objective: _Objective, result: FitResult, start: dict[str, float], **held: float) -> Any:
    """Return a Minuit object at a starting point, with ranges as limits."""
    Minuit = optional_module("iminuit", "the referee").Minuit
    start = start | held
    minuit = Minuit(objective.value, list(start.values()), grad=objective.slope, name=list(start))
    ranges = [*model.components.ranges, *(nuisance.range for nuisance in model.nuisances)]
    for name, span in zip(model.parameter_names, ranges, strict=True):
        minuit.limits[name] = span
        minuit.fixed[name] = name in result.fixed or name in held
    minuit.errordef, minuit.strategy, minuit.tol = LEVEL, 2, 1e-3
    return minuit


def _migrate(minuit: Any) -> None:
    """Minimise, unless nothing is free; with Minuit's simplex in between where a kink stops its gradients."""
    if all(minuit.fixed):
        return
    minuit.migrad(ncall=20_000)
    if not minuit.valid:
        before, values = minuit.fval, tuple(minuit.values)
        minuit.simplex(ncall=20_000).migrad(ncall=20_000)
        if minuit.fval > before:
            minuit.values = values
            minuit.migrad(ncall=20_000)


def _minos(minuit: Any, name: str) -> Ends:
    """Return the MINOS interval, None for an end that was not found."""
    if not minuit.valid:
        return (None, None)
    try:
        minuit.minos(name)
    except RuntimeError:  # Minuit's way to say that the minimum is no good for MINOS; the verdict says it too
        return (None, None)
    errors, value = minuit.merrors[name], minuit.values[name]
    lower = float(value + errors.lower) if errors.lower_valid else None
    return (lower, float(value + errors.upper) if errors.upper_valid else None)


def _rise(
    make: Callable[..., Any], starts: Sequence[dict[str, float]], name: str, end: float | None, lowest: float
) -> float | None:
    """Return Minuit's profiled NLL at an end of the examined interval above its minimum, the lower from two starts."""
    if end is None:
        return None
    heights = []
    for start in starts:
        minuit = make(start, **{name: end})
        _migrate(minuit)
        heights.append(float(minuit.fval if minuit.nfcn else minuit.fcn(minuit.values)))
    return min(heights) - lowest


def _compare(
    result: FitResult, theirs: Any, nominal: Any, rises: tuple[float | None, ...]
) -> tuple[list[str], list[str]]:
    """Return what disagrees, and what else is worth saying."""
    faults, notes = [], []
    if not np.isfinite(result.nll):
        return [f"there is no fit to examine ({result.verdict})"], []
    better = result.nll - min(theirs.fval, nominal.fval)
    if better > NLL_TOLERANCE:
        faults.append(f"iminuit finds an NLL lower by {better:.2g}")
    deviations = dict(zip(result.estimates, np.sqrt(np.diag(result.covariance)), strict=True))
    for name, value in result.estimates.items():
        distance = abs(theirs.values[name] - value)
        if np.isfinite(deviations[name]) and distance > ESTIMATE_TOLERANCE * deviations[name]:
            faults.append(f"{name} differs by {distance / deviations[name]:.2g} standard deviations")
    for side, rise in zip(("lower", "upper"), rises, strict=True):
        # A slope of one a standard deviation: the rise at the end is wrong by about the end's error.
        if rise is not None and abs(rise - LEVEL) > ESTIMATE_TOLERANCE:
            faults.append(f"at the {side} end iminuit's NLL has risen by {rise:.4g} instead of 0.5")
    if not theirs.valid and not all(theirs.fixed):
        notes.append("iminuit does not call its minimum valid")
    if nominal.fval > result.nll + NLL_TOLERANCE:
        notes.append(f"from the nominal point iminuit stops {nominal.fval - result.nll:.2g} higher, at another minimum")
    if not result.converged:
        notes.append(f"the examined fit: {result.verdict}")
    return faults, notes
