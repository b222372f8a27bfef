"""The profiled likelihood along a parameter of interest, all scan points in one call."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float64

from systwise.errors import FitError
from systwise.fit._chunks import chunk_size, in_chunks
from systwise.fit._data import Data
from systwise.fit._hermite import HermiteCurves
from systwise.fit._likelihood import Likelihood, Observed, constant_terms, evaluate
from systwise.fit._model import Model
from systwise.fit._search import full_range, search
from systwise.fit._starts import Starts
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


@functools.partial(jax.jit, static_argnames="poi")
def _profile(
    lik: Likelihood, observed: Observed, starts: Starts, first: Array, values: Array, poi: int
) -> tuple[Array, ...]:
    """Return NLL, its slope, parameters `[parameter, ...]`, converged, at boundary, each `[point, data]`."""
    theta = [jnp.asarray(values)[:, None] if p == poi else jnp.zeros((1, 1)) for p in range(lik.pois)]
    free = tuple(i for i in range(lik.parameters) if i != poi)
    found = search(lik, observed, starts, first, theta, free, full_range(lik), len(values))
    _, slope, _ = evaluate(lik, observed, found.x[: lik.pois], found.x[lik.pois :], (poi,))
    bounded = jnp.zeros(found.value.shape, bool)
    for i in range(lik.pois, lik.parameters):
        bounded = bounded | (found.x[i] <= lik.low[i]) | (found.x[i] >= lik.high[i])
    return found.value + constant_terms(lik, observed), slope[0], jnp.stack(found.x), found.done, bounded


def profile(
    model: Model,
    data: Data,
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
    if data.stacked:
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
    model: Model,
    data: Data,
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
    lik, starts, first = model.likelihood(), model.starts(grid), model.theta_starts()
    data = data.batch()

    def part(index: np.ndarray) -> tuple[Array, ...]:
        return _profile(lik, model.observed(data[index]), starts, first, points, poi=number)

    size = chunk_size(len(data), len(points) * math.prod(starts.shape))
    nll, slope, x, converged, bounded = in_chunks(part, len(data), size)
    parameters, pois = np.transpose(x, (2, 1, 0)), len(model.components.pois)
    return Profile(
        poi=model.components.pois[number],
        values=points,
        nll=nll.T,
        slope=slope.T,
        theta=parameters[..., :pois],
        nuisances=parameters[..., pois:],
        converged=converged.T,
        at_boundary=bounded.T,
    )


def poi_number(model: Model, poi: int | str) -> int:
    """Return the number of a parameter of interest given by number or name.

    Raises:
        FitError: no such parameter.
    """
    names = model.components.pois
    if isinstance(poi, str):
        if poi not in names:
            raise FitError(f"unknown parameter of interest '{poi}' (known: {', '.join(names)})")
        return names.index(poi)
    if not 0 <= poi < len(names):
        raise FitError(f"parameter of interest number {poi} does not exist; the model has {len(names)}")
    return poi
