"""A nuisance parameter: its nominal value, its ranges, and where templates are made."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from systwise.errors import ConfigError

Kind = Literal["detector", "theory", "norm"]
REACH = 5.0
"""Widths that a fit may reach to each side where no range is given."""


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """A nuisance parameter of the simulation, in its own unit.

    `Nuisance("jes", width=1)` suffices for a fit: templates at one width up and down, a fit reaches five of them.

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
        extrapolated: whether `range` may go beyond the anchors, where nothing is simulated: contents of bins
            continue there as exponentials (HistFactory's code 1).
        width: standard deviation from outside. Where nothing else is given, anchors lie at the nominal value and one
            width from it, training draws between them, and `range` is `REACH` widths to each side, extrapolated.

    >>> Nuisance("jes", width=1).range
    (-5.0, 5.0)
    >>> Nuisance("tes", nominal=1.0, width=0.03).anchors
    (0.97, 1.0, 1.03)
    """

    name: str
    nominal: float = 0.0
    range: tuple[float, float] = ()  # type: ignore[assignment]
    training: tuple[float, float] = ()  # type: ignore[assignment]
    anchors: tuple[float, ...] = ()
    kind: Kind = "detector"
    unit: str = ""
    label: str = ""
    extrapolated: bool = False
    width: dataclasses.InitVar[float | None] = None

    def __post_init__(self, width: float | None) -> None:
        """Fill what was not given; refuse ranges and anchors that do not hold together."""
        self._fill(width)
        low, high = self.range
        if not np.all(np.isfinite([self.nominal, low, high, *self.anchors])):
            raise ConfigError(f"nuisance '{self.name}': nominal value, range and anchors must be finite numbers")
        if not low <= self.nominal <= high:
            raise ConfigError(
                f"nuisance '{self.name}': nominal {self.nominal:g} is outside its range [{low:g}, {high:g}]"
            )
        if len(self.anchors) < 2 or np.any(np.diff(self.anchors) <= 0):
            raise ConfigError(f"nuisance '{self.name}': anchors must be at least two increasing values")
        if self.extrapolated:
            return
        if self.anchors[0] > low + 1e-12 or self.anchors[-1] < high - 1e-12:
            raise ConfigError(f"nuisance '{self.name}': anchors must span the range [{low:g}, {high:g}]")

    def _fill(self, width: float | None) -> None:
        """Set what was not given from the width, or from the range.

        Raises:
            ConfigError: a width that is not positive, or neither width nor range.
        """
        if width is not None and not 0 < width < np.inf:
            raise ConfigError(f"nuisance '{self.name}': width {width:g} must be positive and finite")
        if width is None and not self.range:
            raise ConfigError(
                f"nuisance '{self.name}': give a width (its standard deviation), or a range with anchors that span it"
            )
        step = width if width is not None else 0.0
        # Decimal steps are meant: 1 - 0.03 is 0.97.
        one = tuple(float(f"{self.nominal + side * step:.12g}") for side in (-1, 1))
        filled: dict[str, object] = {}
        if not self.range:
            filled["range"] = tuple(float(f"{self.nominal + side * REACH * step:.12g}") for side in (-1, 1))
            filled["extrapolated"] = True
        ends = one if width is not None else self.range
        if not self.anchors:
            filled["anchors"] = tuple(sorted({ends[0], self.nominal, ends[1]}))
            filled["extrapolated"] = self.extrapolated or width is not None
        if not self.training:
            filled["training"] = ends
        for name, value in filled.items():
            object.__setattr__(self, name, value)

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
        """Return the same nuisance with `values` among its anchors, in place of anchors beside them.

        Raises:
            ConfigError: a value is outside `range`, or two are so close that a curve through templates
                at both would follow their noise.
        """
        near = 1e-3 * min(np.diff(self.anchors))
        new: list[float] = []
        for value in values:
            if any(abs(value - other) <= 1e-9 * max(1.0, abs(value)) for other in new):
                continue
            for other in new:
                if abs(value - other) < near:
                    raise ConfigError(
                        f"{self.name}={value:.9g} is too close to {self.name}={other:.9g} for templates at both; "
                        "use the same value"
                    )
            new.append(self.check(value))
        kept = [anchor for anchor in self.anchors if all(abs(anchor - value) > near for value in new)]
        anchors = sorted([*kept, *new])
        # The ends stay where they were: the range must be spanned.
        if anchors[0] > self.anchors[0]:
            anchors[0] = self.anchors[0]
        if anchors[-1] < self.anchors[-1]:
            anchors[-1] = self.anchors[-1]
        return dataclasses.replace(self, anchors=tuple(anchors))

    def snapped(self, value: float) -> float:
        """Return the nominal value for one that differs from it by next to nothing, else `value`."""
        return self.nominal if abs(value - self.nominal) < 1e-3 * min(np.diff(self.anchors)) else value


def uniform_anchors(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return `count` evenly spaced anchors from `low` to `high`, both included."""
    return tuple(float(a) for a in np.linspace(low, high, count))
