"""Expected yields of every region, sample and bin before and after a fit, with their uncertainties."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.errors import FitError
from systwise.fit.inference._fit import fit_many
from systwise.fit.likelihood import BinnedData, Bins
from systwise.fit.model._best_factors import best_factors
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._auxiliary_shifts import prefit_widths
from systwise.fit.results._printed import Printed, decimals
from systwise.fit.results._result import FitResult
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True)
class Yields(Printed):
    """Expected counts with standard deviations, NaN where there is no fit.

    The variance is `Delta^T rho Delta` with rho the parameters' correlations and Delta_i half of the difference
    between parameter i one standard deviation up and down, inside its range; simulation factors are parameters too.

    Attributes:
        regions: bins of each region.
        samples: names of the components, those of the other arrays' sample axis.
        expected: `[sample, bin]`.
        error: `[sample, bin]`.
        total: sum of all samples, `[bin]`.
        total_error: `[bin]`.
        total_covariance: between bins, `[bin, bin]`.
        region_expected: sum of a region's bins, `[sample, region]`.
        region_error: `[sample, region]`; bins are correlated.
        region_total: `[region]`.
        region_total_error: `[region]`.
        observed: counts, `[bin]`; None before a fit.
        converged: the parameters are those of a converged fit, or of none.
        verdict: in a sentence.
    """

    regions: dict[str, slice]
    samples: tuple[str, ...]
    expected: Float64[np.ndarray, "sample bin"]
    error: Float64[np.ndarray, "sample bin"]
    total: Float64[np.ndarray, " bin"]
    total_error: Float64[np.ndarray, " bin"]
    total_covariance: Float64[np.ndarray, "bin bin"]
    region_expected: Float64[np.ndarray, "sample region"]
    region_error: Float64[np.ndarray, "sample region"]
    region_total: Float64[np.ndarray, " region"]
    region_total_error: Float64[np.ndarray, " region"]
    observed: Float64[np.ndarray, " bin"] | None
    converged: bool
    verdict: str

    def cells(self) -> list[tuple[str, ...]]:
        """Return the table of regions behind the printed form: a row a sample, then the total and the data."""
        names = (*self.samples, "total")
        values = np.vstack([self.region_expected, self.region_total])
        errors = np.vstack([self.region_error, self.region_total_error])
        rows = [(name, *map(_cell, *pair)) for name, pair in zip(names, zip(values, errors, strict=True), strict=True)]
        if self.observed is not None:
            rows.append(("data", *(f"{self.observed[bins].sum():g}" for bins in self.regions.values())))
        return rows

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return ("yields", *self.regions)


def prefit_yields(model: Model) -> Yields:
    """Return what the model expects before a fit: parameters nominal, uncertainties those of the constraints.

    Parameters of interest and nuisances without a constraint have none.
    """
    z = model.nuisance_values({})
    x = np.concatenate([model.poi_values(model.components.nominal), z])
    pois, free = len(x) - len(z), np.zeros((len(x), len(x)))
    free[pois:, pois:] = _constraint_covariance(model, z)
    variance = np.zeros(model.bins)
    if model.variance is not None:
        variance = model.factor_variance(x[:pois], z)
    factors = _Factors(np.ones(model.bins), np.zeros((model.bins, len(x))), variance)
    return _yields(model, x, free, factors, None, True, "before any fit, as the constraints say")


def predicted_yields(model: Model, result: FitResult, observed: np.ndarray | None = None) -> Yields:
    """Return what a model expects at the parameters of a fit of other bins: a validation region after a control fit.

    The simulation's own uncertainty is that before the fit, since these bins told the fit nothing.

    Args:
        model: with parameters that the fit has; those that it lacks are nominal, with the uncertainty of their
            constraints.
        result: the fit.
        observed: counts to compare with, `[bin]`; none: not looked at.
    """
    names = list(model.parameter_names)
    known = list(result.estimates)
    z = model.nuisance_values({})
    x = np.concatenate([model.poi_values(model.components.nominal), z])
    covariance = np.zeros((len(x), len(x)))
    covariance[len(x) - len(z) :, len(x) - len(z) :] = _constraint_covariance(model, z)
    own = [i for i, name in enumerate(names) if name in known]
    places = [known.index(names[i]) for i in own]
    x[own] = [result.estimates[names[i]] for i in own]
    covariance[own, :] = covariance[:, own] = 0
    covariance[np.ix_(own, own)] = np.nan_to_num(result.covariance[np.ix_(places, places)])
    pois = len(x) - len(z)
    variance = np.zeros(model.bins) if model.variance is None else model.factor_variance(x[:pois], x[pois:])
    factors = _Factors(np.ones(model.bins), np.zeros((model.bins, len(x))), variance)
    return _yields(model, x, covariance, factors, observed, result.minimum_found, result.verdict)


def postfit_yields(model: Model, data: AbstractData, fixed: Mapping[str, float] | None = None) -> Yields:
    """Fit one data set, and return what the model expects there.

    Args:
        model: the model; of a moving observable the expectation and the data are those at the fitted nuisances.
        data: one data set.
        fixed: parameters held at a value.

    Raises:
        FitError: a stack of data sets was given.
    """
    if data.stacked:
        raise FitError(f"postfit_yields: {len(data)} stacked data sets given; take one with data[i]")
    result = fit_many(model, data, fixed=fixed, levels=(), stat_only=False)[0]
    if not result.minimum_found:
        nothing = np.full(len(result.estimates), np.nan)
        factors = _Factors(np.ones(model.bins), np.zeros((model.bins, len(nothing))), np.zeros(model.bins))
        return _yields(model, nothing, np.zeros(2 * nothing.shape), factors, None, False, result.verdict)
    x = np.array(list(result.estimates.values()))
    factors, observed = _fitted(model, data, result.estimates)
    # A parameter at an end of its range has no standard deviation, as in the covariance.
    covariance = np.where(np.isfinite(result.covariance), result.covariance, 0.0)
    return _yields(model, x, covariance, factors, observed, result.converged, result.verdict)


class _Factors(NamedTuple):
    """Simulation factors `[bin]`, their slopes `[bin, parameter]` and their variances at given parameters `[bin]`."""

    values: np.ndarray
    slopes: np.ndarray
    variances: np.ndarray


@in_float64
def _fitted(model: Model, data: AbstractData, values: dict[str, float]) -> tuple[_Factors, np.ndarray]:
    """Return the simulation factors at the minimum, and the counts as seen there."""
    x = jnp.asarray(list(values.values()))
    observed = jax.tree.map(lambda leaf: leaf[0], model.observed(data.batch())).regions[0]
    counts = np.asarray(model.arrays.counts(observed, x[len(model.components.pois) :]))[: model.bins]
    if model.variance is None:
        return _Factors(np.ones(model.bins), np.zeros((model.bins, len(x))), np.zeros(model.bins)), counts
    factors = best_factors(model, data, values)
    slopes = np.asarray(_slopes(model.arrays, observed, x))[: model.bins]
    each = np.asarray(_contents(model.arrays, x[None]))[0, :, : model.bins]
    mask = np.ones_like(each) if model.simulated is None else model.simulated
    simulated = np.sum(mask * each, axis=0)
    total = each.sum(axis=0) + (factors - 1) * simulated
    theta = x[: len(model.components.pois)]
    variance = model.factor_variance(np.asarray(theta), np.asarray(x[len(theta) :]))
    # The cost of a factor g in one bin is `u - n ln u + (g - 1)^2 / (2 v)` with u = total, du/dg = simulated.
    curvature = counts * (simulated / total) ** 2 + 1 / np.where(variance > 0, variance, np.inf)
    return _Factors(factors, slopes, np.where(variance > 0, 1 / np.maximum(curvature, 1e-300), 0.0)), counts


@jax.jit
def _slopes(bins: Bins, data: BinnedData, x: Array) -> Array:
    return jax.jacfwd(lambda at: bins.best_factors(data, at))(x)


@jax.jit
def _contents(bins: Bins, points: Array) -> Array:
    """Return the contents with coefficients at several points, `[point, component, row]`."""
    return jax.lax.map(lambda x: bins.contents(x).each, points)


def _constraint_covariance(model: Model, z: np.ndarray) -> np.ndarray:
    """Return the covariance of the nuisances before a fit; 0 for those without a constraint."""
    covariance = np.diag(np.nan_to_num(prefit_widths(model, z)) ** 2)
    names = [nuisance.name for nuisance in model.nuisances]
    for term in model.joint:
        own = [names.index(name) for name in term.nuisances]
        covariance[np.ix_(own, own)] = np.asarray(term.covariance)
    return covariance


@in_float64
def _yields(
    model: Model,
    x: np.ndarray,
    covariance: np.ndarray,
    factors: _Factors,
    observed: np.ndarray | None,
    converged: bool,
    verdict: str,
) -> Yields:
    """Propagate the parameters' covariance to the yields."""
    sigma = np.sqrt(np.diag(covariance))
    moved = np.flatnonzero(sigma > 0)
    lik = model.likelihood()
    steps = np.zeros((2, len(moved), len(x)))
    steps[:, np.arange(len(moved)), moved] = sigma[moved] * np.array([[1.0], [-1.0]])
    points = np.clip(x + steps, np.asarray(lik.low), np.asarray(lik.high))
    lengths = (points[0] - points[1])[np.arange(len(moved)), moved]
    stacked = jnp.asarray(np.concatenate([x[None], *points]))
    each = np.asarray(_contents(model.arrays, stacked))[:, :, : model.bins]
    mask = np.ones_like(each[0]) if model.simulated is None else model.simulated
    by_factor = mask * each[0]
    scaled = each * (1 + mask * (factors.values - 1))
    expected, (up, down) = scaled[0], np.split(scaled[1:], 2)
    slopes = (up - down) / lengths[:, None, None] + by_factor * factors.slopes.T[moved][:, None]
    # A lower triangle L with V = L L^T turns sums over pairs of parameters into sums of squares.
    values, vectors = np.linalg.eigh(covariance[np.ix_(moved, moved)])
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    parts = np.einsum("ij,ikb->jkb", root, slopes)
    own = by_factor**2 * factors.variances
    regions = model.region_slices()

    def by_region(array: np.ndarray) -> np.ndarray:
        return np.stack([np.sum(array[..., bins], axis=-1) for bins in regions.values()], axis=-1)

    def deviation(parts: np.ndarray, own: np.ndarray) -> np.ndarray:
        return np.sqrt(np.sum(parts**2, axis=0) + own) + nothing

    nothing = np.where(np.isfinite(x).all(), 0.0, np.nan)
    total_parts, total_own = parts.sum(axis=1), by_factor.sum(axis=0) ** 2 * factors.variances
    return Yields(
        regions=regions,
        samples=model.components.names,
        expected=expected + nothing,
        error=deviation(parts, own),
        total=expected.sum(axis=0) + nothing,
        total_error=deviation(total_parts, total_own),
        total_covariance=total_parts.T @ total_parts + np.diag(total_own) + nothing,
        region_expected=by_region(expected) + nothing,
        region_error=deviation(by_region(parts), by_region(own)),
        region_total=by_region(expected.sum(axis=0)) + nothing,
        region_total_error=deviation(by_region(total_parts), by_region(total_own)),
        observed=observed,
        converged=converged,
        verdict=verdict,
    )


def _cell(value: float, error: float) -> str:
    """Return a yield with its uncertainty, a dash where there is no fit or a region without the sample."""
    if not np.isfinite(value) or value == error == 0:
        return "-"
    digits = decimals(error) if error > 0 else 1
    return f"{value:.{digits}f} +- {error:.{digits}f}"
