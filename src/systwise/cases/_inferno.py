"""The three-feature mixture of arXiv:1806.04743: its settings, densities and the information they carry."""

from __future__ import annotations

import functools
import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from systwise.cases._truth import AbstractTruth
from systwise.errors import ConfigError
from systwise.settings import Settings

Benchmark = Literal["B0", "B1", "B2", "B3", "B4"]

# Background: (x0, x1) ~ N((2 + r, 0), diag(5, 9)), a covariance; signal: (x0, x1) ~ N((0, 0), I) (the
# paper's code and table; its text prints (1, 1)); x2 is exponential, signal at rate 2.
BACKGROUND_MEAN = 2.0
BACKGROUND_VARIANCES = (5.0, 9.0)
SIGNAL_RATE = 2.0


class InfernoSettings(Settings):
    """Settings of the mixture; yields in events."""

    benchmark: Benchmark = "B3"
    """`B0`: no nuisance; `B1`: r free; `B2`: r and rate free; `B3`: both constrained; `B4`: `B3` and the
    background's yield constrained."""
    signal: float = Field(50.0, gt=0)
    """Expected signal events, the nominal value of the parameter of interest."""
    background: float = Field(1000.0, gt=0)
    """Expected background events."""
    r: float = 0.0
    """Nominal shift of the background's x0."""
    rate: float = Field(3.0, gt=0)
    """Nominal rate of the background's x2."""
    r_width: float = Field(0.4, gt=0)
    """Width of the Gaussian constraint on r (B3, B4)."""
    rate_width: float = Field(1.0, gt=0)
    """Width of the Gaussian constraint on the rate (B3, B4)."""
    background_width: float = Field(100.0, gt=0)
    """Width of the Gaussian constraint on the background's yield, in events (B4)."""
    r_reach: float = Field(1.2, gt=0)
    """Half-width of the range of r that a fit may reach and training sees."""
    rate_reach: float = Field(2.5, gt=1)
    """Factor by which the rate may leave its nominal value, either way."""
    r_anchors: int = Field(7, ge=5)
    """Values of r at which templates are made, evenly spaced."""
    rate_anchors: int = Field(13, ge=5)
    """Rates at which templates are made, evenly spaced in the logarithm."""
    events: int = Field(1_200_000, ge=1000)
    """Simulated events, half of them signal."""

    @property
    def nuisance_names(self) -> tuple[str, ...]:
        """Names of the benchmark's nuisances, in the order of every `[nuisance]` axis."""
        free = {"B0": 0, "B1": 1, "B2": 2, "B3": 2, "B4": 3}[self.benchmark]
        return ("r", "rate", "background_rate")[:free]

    @property
    def constraint_widths(self) -> dict[str, float]:
        """Widths of the Gaussian constraints by nuisance; a nuisance without one floats freely."""
        if self.benchmark not in ("B3", "B4"):
            return {}
        widths = {"r": self.r_width, "rate": self.rate_width}
        relative = {"background_rate": self.background_width / self.background}
        return widths | relative if self.benchmark == "B4" else widths


def _normal(x: Array, mean: Array | float, variance: float) -> Array:
    return -((x - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


class InfernoTruth(AbstractTruth):
    """The exact densities and the information they carry."""

    def __init__(self, settings: InfernoSettings) -> None:
        """Keep the settings."""
        self._s = settings

    def log_density(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "event component"]:
        """Return the log-densities of (signal, background); minus infinity where x2 is negative."""
        inside = jnp.where(features[:, 2] >= 0, 0.0, -jnp.inf)
        return self._continued(features, z) + inside[:, None]

    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return `ln p_s - ln p_b`, whose formula goes on where x2 is negative."""
        both = self._continued(features, z)
        return both[:, 0] - both[:, 1]

    def _continued(self, features: Array, z: Array) -> Array:
        x0, x1, x2 = features[:, 0], features[:, 1], features[:, 2]
        r, rate = self._value(z, "r"), self._value(z, "rate")
        signal = _normal(x0, 0.0, 1.0) + _normal(x1, 0.0, 1.0) + math.log(SIGNAL_RATE) - SIGNAL_RATE * x2
        background = _normal(x0, BACKGROUND_MEAN + r, BACKGROUND_VARIANCES[0]) + _normal(
            x1, 0.0, BACKGROUND_VARIANCES[1]
        )
        return jnp.stack([signal, background + jnp.log(rate) - rate * x2], axis=-1)

    def _value(self, z: Array, name: str) -> Array:
        """Return `[event]` values of a nuisance, the nominal one where the benchmark has none."""
        names = self._s.nuisance_names
        if name in names:
            return z[:, names.index(name)]
        return jnp.full(z.shape[0], getattr(self._s, name), z.dtype)

    def bound(self, poi: np.ndarray, z: np.ndarray) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on the signal count, from the unbinned extended information.

        `F_ij = int d_i nu d_j nu / nu dx` with nu = s p_s + b p_b, plus the constraints' information,
        inverted over the benchmark's parameters. At the nominal point 14.705, 15.503, 15.634, 15.605
        and 16.877 for B0 to B4.

        Raises:
            ConfigError: the signal count is negative (nu is then negative somewhere), or it is zero and the
                rate near or above twice the signal's (the integral of p_s^2 / p_b diverges from there).
        """
        s, names = self._s, self._s.nuisance_names
        value = {"r": s.r, "rate": s.rate, "background_rate": 1.0} | dict(
            zip(names, np.asarray(z, np.float64).ravel().tolist(), strict=True)
        )
        signal = float(np.asarray(poi).ravel()[0])
        if signal < 0:
            raise ConfigError(
                f"s={signal:g}: the density is negative where the background is rare, so no bound exists;"
                " choose a true signal count that is not negative"
            )
        if signal == 0 and value["rate"] > 0.95 * 2 * SIGNAL_RATE:
            raise ConfigError(
                f"s=0 and rate={value['rate']:g}: the information diverges where the background is rare, so no bound"
                f" exists; choose a true signal count above zero, or a rate below {1.9 * SIGNAL_RATE:g}"
            )
        full = fisher_matrix(signal, s.background, value["r"], value["rate"], value["background_rate"])
        kept = [0, *(1 + index for index in range(len(names)))]
        matrix = full[np.ix_(kept, kept)]
        for position, name in enumerate(names):
            matrix[1 + position, 1 + position] += s.constraint_widths.get(name, math.inf) ** -2
        return math.sqrt(np.linalg.inv(matrix)[0, 0]), float(full[0, 0] ** -0.5)


@functools.lru_cache(maxsize=64)
def _fisher_matrix(signal: float, background: float, r: float, rate: float, scale: float) -> np.ndarray:
    # Trapezoids converge exponentially for these analytic integrands, as Gauss-Legendre does in x2;
    # halving the steps changes nothing in ten digits.
    step = 0.25
    x0 = np.arange(-18.0, 18.0 + step, step) + BACKGROUND_MEAN + r
    x1 = np.arange(0.0, 27.0, step)
    in_x1 = np.where(x1 == 0, step, 2 * step)
    # Integrands fall like the rarer density; without signal, p_s^2 / p_b falls more slowly.
    top = 40 / min(SIGNAL_RATE, rate, 2 * SIGNAL_RATE - rate if signal == 0 else math.inf)
    nodes, in_x2 = np.polynomial.legendre.leggauss(max(160, round(6 * top)))
    x2, in_x2 = (nodes + 1) * top / 2, in_x2 * top / 2

    def normal(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    b0 = normal(x0, BACKGROUND_MEAN + r, BACKGROUND_VARIANCES[0])
    b1 = normal(x1, 0.0, BACKGROUND_VARIANCES[1])
    b2 = rate * np.exp(-rate * x2)
    ratios = normal(x0, 0, 1) / b0, normal(x1, 0, 1) / b1, SIGNAL_RATE * np.exp(-SIGNAL_RATE * x2) / b2
    ratio = np.einsum("i,k,j->ikj", ratios[0], ratios[2], ratios[1])
    inverse = 1 / (signal * ratio + scale * background)
    # No score depends on x1. `moments[p]` is the integral over x1 of p_s^p p_b^(2-p) / nu.
    plane = np.outer(b0 * step, b2 * in_x2)
    moments = [plane * ((inverse * ratio**power) @ (b1 * in_x1)) for power in range(3)]
    ones = np.ones_like(plane)
    scores = [
        scale * ones * ((x0 - BACKGROUND_MEAN - r) / BACKGROUND_VARIANCES[0])[:, None],
        scale * ones * (1 / rate - x2),
        ones,
    ]
    fisher = np.empty((4, 4))
    fisher[0, 0] = moments[2].sum()
    for i, one in enumerate(scores, 1):
        fisher[0, i] = fisher[i, 0] = background * np.sum(moments[1] * one)
        for j, other in enumerate(scores, 1):
            fisher[i, j] = background**2 * np.sum(moments[0] * one * other)
    return fisher


def fisher_matrix(
    signal: float, background: float, r: float, rate: float, scale: float = 1.0
) -> Float[np.ndarray, "parameter parameter"]:
    """Return the unbinned extended Fisher matrix of (s, r, rate, background_rate), by quadrature.

    Args:
        signal: expected signal events.
        background: expected background events at `scale` 1.
        r: shift of the background's x0.
        rate: rate of the background's x2.
        scale: factor on the background's yield.
    """
    return _fisher_matrix(signal, background, r, rate, scale).copy()
