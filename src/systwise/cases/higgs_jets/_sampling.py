"""Densities that are drawn by inverting their distribution function, and mixtures of them."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from systwise.cases.higgs_jets._adaptive_grid import AdaptiveGrid

Numbers = Float[np.ndarray, " event"]


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """The density proportional to v^-power between two ends.

    Attributes:
        power: the exponent, not 1.
    """

    power: float

    def draw(self, uniform: Numbers, low: Numbers | float, high: Numbers | float) -> Numbers:
        """Return values in (low, high) from uniform numbers in (0, 1)."""
        low, ratio = np.asarray(low), np.asarray(high) / low
        return low * (1 - uniform * (1 - ratio ** (1 - self.power))) ** (1 / (1 - self.power))

    def density(self, value: Numbers, low: Numbers | float, high: Numbers | float) -> Numbers:
        """Return the normalised density; zero outside of (low, high)."""
        low = np.asarray(low)
        inside = (value >= low) & (value <= high)
        norm = (self.power - 1) / (low * (1 - (np.asarray(high) / low) ** (1 - self.power)))
        return np.where(inside, norm * (value / low) ** -self.power, 0.0)

    def cumulative(self, value: Numbers, low: Numbers | float, high: Numbers | float) -> Numbers:
        """Return the distribution function, the inverse of `draw`."""
        low = np.asarray(low)
        whole = 1 - (np.asarray(high) / low) ** (1 - self.power)
        return np.clip((1 - np.maximum(value / low, 1.0) ** (1 - self.power)) / whole, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class AdaptedPowerLaw:
    """A power law whose distribution function has been adapted to an integrand.

    Attributes:
        law: where it starts from.
        grid: of the one number that `law` is drawn from.
    """

    law: PowerLaw
    grid: AdaptiveGrid

    def draw(self, uniform: Numbers, low: float, high: float) -> Numbers:
        """Return values in (low, high) from uniform numbers in (0, 1)."""
        return self.law.draw(self.grid.draw(uniform[None])[0][0], low, high)

    def density(self, value: Numbers, low: float, high: float) -> Numbers:
        """Return the normalised density; zero outside of (low, high)."""
        return self.law.density(value, low, high) * self.grid.density(self.law.cumulative(value, low, high)[None])


@dataclasses.dataclass(frozen=True)
class TailedPowerLaw:
    """A power law above a threshold, mixed with a tail that sets in at a higher one.

    The tail's density is `r^2 ln(v/v0) (v/v0)^-r / v`, r = power - 1, above v0 = `tail_from`: it starts from
    zero, so that weights are continuous there, and falls like v^-power. A value's weight is taken from
    the mixture's density and does not depend on which part the value was drawn from.

    Attributes:
        body: density from the threshold to `high`.
        power: exponent of the tail, above 1.
        fraction: fraction of values drawn from the tail.
        low: the threshold.
        tail_from: the higher threshold.
        high: upper end of the body; the tail has none.
    """

    body: PowerLaw | AdaptedPowerLaw
    power: float
    fraction: float
    low: float
    tail_from: float
    high: float

    def draw(self, uniform: Float[np.ndarray, "3 event"]) -> Numbers:
        """Return values from uniform numbers in (0, 1), the first of which decides between body and tail."""
        tail = self.tail_from * (uniform[1] * uniform[2]) ** (-1 / (self.power - 1))
        return np.where(uniform[0] < self.fraction, tail, self.body.draw(uniform[1], self.low, self.high))

    def density(self, value: Numbers) -> Numbers:
        """Return the normalised density of the mixture."""
        ratio, rate = np.maximum(value / self.tail_from, 1.0), self.power - 1
        tail = rate**2 * np.log(ratio) * ratio**-rate / value
        return (1 - self.fraction) * self.body.density(value, self.low, self.high) + self.fraction * tail


@dataclasses.dataclass(frozen=True)
class Logistic:
    """The density `1/(4 w cosh^2(v/2w))`, whole or cut to an interval.

    Attributes:
        width: w; the standard deviation of the whole is 1.81 w.
    """

    width: float

    def draw(self, uniform: Numbers) -> Numbers:
        """Return values from uniform numbers in (0, 1)."""
        return self.width * np.log(uniform / (1 - uniform))

    def density(self, value: Numbers) -> Numbers:
        """Return the normalised density."""
        return 0.25 / self.width / np.cosh(np.clip(value / (2 * self.width), -350, 350)) ** 2

    def draw_between(self, uniform: Numbers, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
        """Return values in (low, high) and the inverse of their density there; 0 where low >= high."""
        first, last = self._cumulative(low), self._cumulative(high)
        values = self.draw(np.clip(first + uniform * (last - first), 1e-300, 1 - 1e-16))
        share = np.where(high > low, last - first, 0.0)
        return np.where(high > low, np.clip(values, low, high), 0.0), share / self.density(values)

    def _cumulative(self, value: Numbers) -> Numbers:
        return 0.5 * (1 + np.tanh(value / (2 * self.width)))
