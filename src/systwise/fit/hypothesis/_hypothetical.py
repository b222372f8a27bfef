"""Data sets under a hypothesis: pseudo-experiments with their weights, or every outcome of a counting experiment.

Nuisances and simulation factors are those that the observed data prefer under the hypothesis, and auxiliary
observations are drawn around them, as in the toys of arXiv:1007.1727 and of pyhf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import poisson

from systwise.errors import FitError
from systwise.fit.inference._fit import fit_many
from systwise.fit.inference._pseudo_experiments import pseudo_data
from systwise.fit.model._best_factors import best_factors
from systwise.fit.model._data import AbstractData, Data
from systwise.fit.model._model import Model

NEGLIGIBLE = 1e-12
"""Probability of the outcomes of a counting experiment that are left out on either side."""
RELIABLE = 20.0
"""Effective number of expected events below which asymptotic results are doubted. For one bin of b events and none
observed the asymptotic 95 % CLs limit is 2.57 at b = 3 where 3.00 is exact; `test_hypothetical` holds the sizes."""
CALCULATORS = ("asymptotic", "toys")


class Hypothetical(NamedTuple):
    """Stacked data sets under a hypothesis.

    Attributes:
        data: the data sets.
        weights: their probabilities, `[data]`, which sum to 1.
        drawn: they are pseudo-experiments; else every outcome there is.
    """

    data: Data
    weights: Float64[np.ndarray, " data"]
    drawn: bool


class Tail(NamedTuple):
    """Probability of a statistic as large as observed, or larger.

    Attributes:
        p: the probability.
        error: its standard deviation from the number of pseudo-experiments; 0 where every outcome was summed.
    """

    p: float
    error: float


def check_calculator(who: str, calculator: str, toys: int, data: AbstractData, model: Model) -> None:
    """Refuse what cannot be done with pseudo-experiments.

    Raises:
        FitError: unknown calculator, fewer than 100 pseudo-experiments, several data sets or a moving observable.
    """
    if calculator not in CALCULATORS:
        raise FitError(f"{who}: unknown calculator '{calculator}' (known: {', '.join(CALCULATORS)})")
    if calculator == "asymptotic":
        return
    if toys < 100:
        raise FitError(f"{who}: {toys} pseudo-experiments say nothing about a tail; take toys=1000 or more")
    if data.stacked:
        raise FitError(f"{who}: {len(data)} stacked data sets given; with toys take one with data[i]")
    if model.moving:
        raise FitError(
            f"{who}: pseudo-experiments of a moving observable come from events scored at every anchor; "
            "use the asymptotic result"
        )


def conditional(model: Model, data: AbstractData, held: Mapping[str, float]) -> dict[str, float]:
    """Return the parameters that one data set prefers with some held.

    Raises:
        FitError: that fit does not converge.
    """
    result = fit_many(model, data, fixed=held, levels=(), stat_only=False)[0]
    if not result.minimum_found:
        words = ", ".join(f"{name} = {value:g}" for name, value in held.items()) or "everything free"
        raise FitError(f"the fit of the observed data with {words} has failed ({result.verdict})")
    return result.estimates


def parts(model: Model, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return parameters of interest and nuisances."""
    theta = {name: values[name] for name in model.components.pois}
    return theta, {nuisance.name: values[nuisance.name] for nuisance in model.nuisances}


def hypothetical(model: Model, data: AbstractData, values: Mapping[str, float], toys: int, seed: int) -> Hypothetical:
    """Return data sets under given parameters; those of one bin without auxiliary data are every outcome.

    Args:
        model: the model, its observable fixed.
        data: the observed data set, which says what the simulation factors are.
        values: all parameters by name.
        toys: number of pseudo-experiments.
        seed: their seed.
    """
    theta, z = parts(model, values)
    counting = model.bins == 1 and model.variance is None and not model.joint
    if counting and not any(constraint.observed for constraint in model.constraints):
        mean = float(model.expected(theta, z)[0])
        counts = np.arange(poisson.ppf(NEGLIGIBLE, mean), poisson.isf(NEGLIGIBLE, mean) + 1)
        weights = poisson.pmf(counts, mean)
        return Hypothetical(model.data(counts[:, None]), weights / weights.sum(), False)
    factors = None if model.variance is None else best_factors(model, data, values)
    drawn = pseudo_data(model, theta, z, seed, range(toys), factors=factors)
    return Hypothetical(drawn, np.full(toys, 1 / toys), True)


def tail(sets: Hypothetical, statistic: Float64[np.ndarray, " data"], observed: float) -> Tail:
    """Return the probability of the observed statistic or more; equal outcomes may differ by the fits' rounding.

    A statistic that is NaN, of a fit that failed, counts as larger: it makes a p-value larger, not smaller.
    """
    larger = ~(statistic < observed - 1e-6 * (1 + abs(observed)))
    p = min(1.0, float(np.sum(sets.weights[larger])))
    # With none beyond, the uncertainty is that of one.
    some = min(max(p, 1 / len(sets.weights)), 1 - 1 / len(sets.weights))
    return Tail(p, math.sqrt(some * (1 - some) / len(sets.weights)) if sets.drawn else 0.0)


def doubt(model: Model, poi: str, value: float) -> str:
    """Return a sentence where too few events are expected for asymptotic results, empty elsewhere.

    Events count by how much they tell about the parameter: with s the size of the slope of the expected counts nu, the
    weighted sum `sum s n / nu` fluctuates like `(sum s)^2 / sum(s^2 / nu)` events.

    Args:
        model: the model, its observable fixed.
        poi: parameter of interest.
        value: its value.
    """
    z = {nuisance.name: nuisance.nominal for nuisance in model.nuisances}
    low, high = model.components.ranges[model.components.pois.index(poi)]
    step = 1e-3 * (high - low)
    ahead = value + step if value + step <= high else value - step
    nu = model.expected({poi: value}, z)
    slope = np.abs(model.expected({poi: ahead}, z) - nu) / abs(ahead - value)
    weight = np.sum(np.divide(slope**2, nu, out=np.zeros_like(nu), where=nu > 0))
    events = float(np.sum(slope) ** 2 / weight) if weight > 0 else np.inf
    if events >= RELIABLE:
        return ""
    return (
        f"only about {events:.2g} events count at {poi} = {value:g}: "
        "asymptotic results may be off, ask for calculator='toys'"
    )
