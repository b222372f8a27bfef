"""Calibration of the ratio's classifier on held-out events: a monotone or binned map of every component's ln r.

The classifier of component k against the reference, `g = r_k / (1 + r_k)`, is calibrated if among events
with equal g, as many of the component as of the reference, the fraction g is of the component
(arXiv:1506.02169, section 2.3). The map is learnt at the nominal nuisance values and acts at all: it adds a
function of the features, which leaves the polynomial form a polynomial and every fit smooth in the nuisances.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int
from scipy.optimize import isotonic_regression

Method = Literal["histogram", "isotonic"]

KNOTS = 64
"""Steps of a map, at most."""
FINE = 512
"""Bins from which steps are made."""
EFFECTIVE_EVENTS = 300
"""Effective events, of the component and of the reference each, that a step holds at least."""


class RatioCalibrator(eqx.Module):
    """What is added to ln r_k: a piecewise linear function of the nominal ln r_k, constant beyond its ends.

    Attributes:
        nominal: nuisance values at which the map is learnt and looked up, `[nuisance]`.
        knots: nominal ln r_k before normalisation, increasing, `[fold, component, knot]`.
        offsets: what is added there, `[fold, component, knot]`.
        shift: normalisation of the calibrated ratios on top of the uncalibrated ones', `[fold, component, term]`.
    """

    nominal: Float[Array, " nuisance"]
    knots: Float[Array, "fold component knot"]
    offsets: Float[Array, "fold component knot"]
    shift: Float[Array, "fold component term"]

    def added(
        self, log_ratio: Float[Array, "component event"], fold: Int[Array, ""]
    ) -> Float[Array, "component event"]:
        """Return what the map of network `fold` adds to ln r_k, given the nominal ln r_k before normalisation."""
        return jax.vmap(jnp.interp)(log_ratio, self.knots[fold], self.offsets[fold])


def fresh_calibrator(nominal: np.ndarray, folds: int, components: int, terms: int) -> RatioCalibrator:
    """Return a map that adds nothing, in the shape of every map of these networks."""
    knots = np.broadcast_to(np.arange(KNOTS, dtype=np.float32), (folds, components, KNOTS))
    return RatioCalibrator(
        nominal=jnp.asarray(nominal, jnp.float32),
        knots=jnp.asarray(knots),
        offsets=jnp.zeros((folds, components, KNOTS), jnp.float32),
        shift=jnp.zeros((folds, components, terms), jnp.float32),
    )


def calibration_map(
    component: tuple[Float[np.ndarray, " own"], Float[np.ndarray, " own"]],
    reference: tuple[Float[np.ndarray, " other"], Float[np.ndarray, " other"]],
    method: Method,
) -> tuple[Float64[np.ndarray, " step"], Float64[np.ndarray, " step"]]:
    """Return the steps of the calibration map: predicted ln r, and the offset to the observed one.

    A step adds `ln [sum_component w / sum_reference w r]`, each sum in units of its sample's total: after it
    the reweighted reference holds as much there as the component. `histogram` takes steps of equal numbers of
    events; `isotonic` pools adjacent violators first (Zadrozny and Elkan, 2002), so that calibrated ratios rise
    with predicted ones. Steps are joined until each holds `EFFECTIVE_EVENTS` effective events of both samples,
    `(sum w)^2 / sum w^2`.

    Args:
        component: ln r and weights of the component's events.
        reference: ln r and weights of the reference's events.
        method: `histogram` or `isotonic`.

    >>> rng = np.random.default_rng(0)
    >>> x, y, w = rng.normal(1, 1, 100_000), rng.normal(0, 1, 100_000), np.ones(100_000)
    >>> at, offset = calibration_map((2 * x, w), (2 * y, w), "isotonic")   # exact: ln r = x - 1/2
    >>> bool(np.abs(at + offset - (at / 2 - 0.5))[1:-1].max() < 0.15)
    True
    """
    sums = _fine_sums(component, reference)
    own, _, other, _, reweighted = _joined(_rising(sums) if method == "isotonic" else sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        at, offset = np.log(reweighted / other), np.log(own / reweighted)
    known = np.isfinite(at) & np.isfinite(offset)
    # Weights of either sign may turn two steps around; the later one gives way.
    first = at[known] > np.concatenate([[-np.inf], np.maximum.accumulate(at[known])[:-1]])
    return at[known][first], offset[known][first]


def _fine_sums(
    component: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> Float64[np.ndarray, "5 bin"]:
    """Return component w, w^2, reference w, w^2 and w r in bins of equal numbers of events of both."""
    own, other = np.asarray(component[0], np.float64), np.asarray(reference[0], np.float64)
    w, v = (np.asarray(a[1], np.float64) / np.sum(a[1], dtype=np.float64) for a in (component, reference))
    edges = np.unique(np.quantile(np.concatenate([own, other]), np.arange(1, FINE) / FINE))
    i, j = np.searchsorted(edges, own), np.searchsorted(edges, other)
    count = len(edges) + 1
    filled = [(i, w), (i, w**2), (j, v), (j, v**2), (j, v * np.exp(other))]
    return np.stack([np.bincount(k, values, count) for k, values in filled])


def _rising(sums: Float64[np.ndarray, "5 bin"]) -> Float64[np.ndarray, "5 step"]:
    """Return the sums over runs of bins in which the nearest never falling observed fraction is constant."""
    own, _, other, _, _ = sums
    both = own + other
    fraction = np.clip(np.divide(own, both, out=np.zeros_like(both), where=both > 0), 0.0, 1.0)
    fitted = isotonic_regression(fraction, weights=np.maximum(both, 1e-12)).x
    first = np.flatnonzero(np.diff(fitted, prepend=-1.0) > 0)
    return np.add.reduceat(sums, first, axis=1)


def _joined(sums: Float64[np.ndarray, "5 bin"]) -> Float64[np.ndarray, "5 step"]:
    """Return the sums over steps that each hold enough events, and not less than their share of `KNOTS` steps."""
    steps: list[np.ndarray] = []
    total = np.zeros(5)
    for column in sums.T:
        total = total + column
        own, own2, other, other2, _ = total
        enough = min(own, other) > 0 and min(own**2 / own2, other**2 / other2) >= EFFECTIVE_EVENTS
        if enough and own + other >= 2 / KNOTS:
            steps.append(total)
            total = np.zeros(5)
    if not steps:
        return total[:, None]
    steps[-1] = steps[-1] + total
    return np.stack(steps, axis=1)


def stored(
    at: Float64[np.ndarray, " step"], offset: Float64[np.ndarray, " step"]
) -> tuple[Float64[np.ndarray, " knot"], Float64[np.ndarray, " knot"]]:
    """Return a map of at most `KNOTS` steps as exactly `KNOTS`: the last value is repeated."""
    if not len(at):
        return np.arange(KNOTS, dtype=np.float64), np.zeros(KNOTS)
    missing = KNOTS - len(at)
    return np.concatenate([at, at[-1] + 1 + np.arange(missing)]), np.concatenate([offset, np.full(missing, offset[-1])])
