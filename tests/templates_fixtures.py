"""Exact truth of the Gaussian toy and small observables for the tests of `templates`."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Array

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.learn import AbstractObservable

NOMINAL, SHIFTED = math.pi / 4, math.pi / 2
NOISE, SIGNAL, BACKGROUND = 0.7, 500.0, 50_000.0
SLOPE = 2 / NOISE**2


class ExactScore(AbstractObservable):
    """The exact logit of the toy, at the hypothesised angle (moving) or at the nominal one."""

    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True, default=1)

    def output(self, events, z, fold):
        angle = z[:, 0] if self.moving else jnp.full(z.shape[0], NOMINAL)
        return SLOPE * (events.features[:, 0] * jnp.cos(angle) + events.features[:, 1] * jnp.sin(angle))


class FirstFeature(AbstractObservable):
    """The logit is the first feature plus an offset that belongs to the fold."""

    offsets: Array
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def output(self, events, z, fold):
        TRACES.append(1)
        return events.features[:, 0] + self.offsets[fold]


TRACES: list[int] = []


def first_feature(*offsets: float) -> FirstFeature:
    """Return an observable with one network an offset."""
    return FirstFeature(offsets=jnp.asarray(offsets, jnp.float32), moving=False, folds=len(offsets))


def toy(events: int) -> GaussianToy:
    return GaussianToy(GaussianToySettings(events=events))


def exact_counts(edges, z_true, z_hypothesis) -> np.ndarray:
    """Return exact expected counts [component, bin]: the logit is normal with mean +-SLOPE cos(dz)."""
    with np.errstate(divide="ignore"):
        logits = scipy.special.logit(np.asarray(edges))
    mean, width = SLOPE * math.cos(z_true - z_hypothesis), SLOPE * NOISE
    signal = np.diff(scipy.stats.norm.cdf(logits, mean, width))
    return np.stack([SIGNAL * signal, BACKGROUND * np.diff(scipy.stats.norm.cdf(logits, -mean, width))])


def exact_sigma(edges, z: float, moving: bool = False, constraint: float = 0.5) -> float:
    """Return the profiled Fisher uncertainty on mu = 1 at angle z, from exact counts."""
    step = 1e-4

    def counts(angle: float) -> np.ndarray:
        return exact_counts(edges, angle, angle if moving else NOMINAL)

    slope = (counts(z + step) - counts(z - step)).sum(axis=0) / (2 * step)
    gradient = np.stack([counts(z)[0], slope], axis=1)
    information = (gradient.T / counts(z).sum(axis=0)) @ gradient + np.diag([0, constraint**-2])
    return float(np.linalg.inv(information)[0, 0] ** 0.5)
