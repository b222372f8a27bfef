"""Nuisances in units of their standard deviations, as HistFactory counts them."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Deviations:
    """The map between a nuisance in its own unit and alpha, whose constraint is a unit Gaussian around 0.

    Gaussian: `z = nominal + width alpha`; asymmetric: `up` above and `down` below; log-normal:
    `z = nominal kappa^alpha`. Each turns our constraint into `alpha^2 / 2` exactly.

    Attributes:
        nominal: the value at alpha = 0.
        up, down: widths, or the logarithm of kappa.
        logarithmic: whether alpha is linear in ln z.
    """

    nominal: float
    up: float
    down: float
    logarithmic: bool = False

    def value(self, alpha: float) -> float:
        """Return the nuisance in its own unit.

        >>> Deviations(1.0, 0.05, 0.02).value(-1.0)
        0.98
        """
        shift = alpha * (self.up if alpha >= 0 else self.down)
        return self.nominal * math.exp(shift) if self.logarithmic else self.nominal + shift

    def alpha(self, z: float) -> float:
        """Return how many standard deviations `z` lies above the nominal value."""
        shift = z - self.nominal
        if self.logarithmic:
            shift = math.log(z / self.nominal) if z > 0 else -math.inf
        return shift / (self.up if shift >= 0 else self.down)

    @property
    def width(self) -> float | None:
        """The standard deviation in the nuisance's own unit; None where it depends on the side or the value."""
        return self.up if self.up == self.down and not self.logarithmic else None
