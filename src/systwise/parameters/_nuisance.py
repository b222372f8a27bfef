"""A nuisance parameter: its nominal value, its ranges, and where templates are made."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from systwise.errors import ConfigError

Kind = Literal["detector", "theory", "norm"]


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """A nuisance parameter of the simulation, in its own unit.

    Attributes:
        name: as printed and as written after `--true`.
        nominal: the value at which the simulation was made.
        range: (lowest, highest) value a fit may reach.
        training: (lowest, highest) value drawn in training; independent of `range`.
        anchors: increasing values at which templates are made; they span `range`.
        kind: `detector`, `theory` or `norm`; decorrelating a `theory` nuisance can shrink the
            apparent uncertainty only (arXiv:2109.08159), so reports warn there.
        unit: for axis labels, may be empty.
        label: for axis labels (mathtext allowed); the name where empty.
    """

    name: str
    nominal: float
    range: tuple[float, float]
    training: tuple[float, float]
    anchors: tuple[float, ...]
    kind: Kind = "detector"
    unit: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse ranges and anchors that do not hold together."""
        low, high = self.range
        if not low <= self.nominal <= high:
            raise ConfigError(
                f"nuisance '{self.name}': nominal {self.nominal:g} is outside its range [{low:g}, {high:g}]"
            )
        if len(self.anchors) < 2 or np.any(np.diff(self.anchors) <= 0):
            raise ConfigError(f"nuisance '{self.name}': anchors must be at least two increasing values")
        if self.anchors[0] > low + 1e-12 or self.anchors[-1] < high - 1e-12:
            raise ConfigError(f"nuisance '{self.name}': anchors must span the range [{low:g}, {high:g}]")

    def check(self, value: float) -> float:
        """Return `value` if a fit may reach it.

        Raises:
            ConfigError: the value is outside `range`.
        """
        low, high = self.range
        if not low - 1e-12 <= value <= high + 1e-12:
            raise ConfigError(
                f"{self.name}={value:g} is outside the nuisance's range [{low:g}, {high:g}]; "
                "widen the range or choose another value"
            )
        return value

    def with_anchors(self, *values: float) -> Nuisance:
        """Return the same nuisance with `values` among its anchors (near duplicates are dropped)."""
        spacing = min(np.diff(self.anchors))
        kept = [a for a in self.anchors if all(abs(a - v) > 1e-3 * spacing for v in values)]
        ends = {self.anchors[0], self.anchors[-1]} - set(kept)
        new = {self.check(v) for v in values}
        new -= {v for v in new if any(v != e and abs(v - e) <= 1e-3 * spacing for e in ends)}
        return dataclasses.replace(self, anchors=tuple(sorted({*kept, *new, *ends})))


def uniform_anchors(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return `count` evenly spaced anchors from `low` to `high`, both included."""
    return tuple(float(a) for a in np.linspace(low, high, count))
