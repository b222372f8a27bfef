"""Which couplings are told from the standard model, and how."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from systwise.settings import Settings

Told = Literal["sample", "nominal"]
"""Cross section that a score is told: the sample's own, or one for all data and hypotheses."""


class SignificanceSettings(Settings):
    """Tested points along and beside a blind line through the standard model (1, 0), and the plane around it."""

    c_g: tuple[float, ...] = Field((-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), min_length=1)
    """Gluon couplings of the tested points; on the line, 0 is the standard model itself and left out."""
    slope: float = -1.0
    """d c_g / d c_t of the line: c_t = 1 + c_g / slope; -1 where only the heavy-top limit of the rate counts."""
    offsets: tuple[float, ...] = (-0.03, 0.0, 0.03)
    """Shifts of c_t away from the line; 0 is the line."""
    grid: int = Field(17, ge=0)
    """Points of the plane along the line; 0: no plane."""
    across: int = Field(25, ge=3)
    """Points of the plane across the line, dense near it."""
    c_g_range: tuple[float, float] = (-0.6, 0.6)
    """Ends of the plane in c_g."""
    width: float = Field(0.4, gt=0)
    """Ends of the plane across the line: largest |shift| of c_t."""
    reach: float = Field(3.0, gt=0)
    """Largest |z| that a fit of the scale may reach; beyond the outermost anchors the logarithm of every content
    follows the parabola through the outermost anchors and z = 0."""
    wrong_scales: tuple[float, ...] = (-1.0, -0.5, 0.5, 1.0)
    """True scales z of data whose fit believes in z = 0 +- 1."""
    told: Told = "nominal"
    """Cross section told to scores that ask for it: `nominal` is the standard model's at z = 0 for all, which makes the
    score one fixed observable; `sample` is each hypothesis' own at its own scale, in data and templates. At one point
    the study states both."""
    toys: int = Field(1000, ge=0)
    """Pseudo-experiments of the check, once a channel set for the first strategy; 0: none."""
    toy_significance: float = Field(2.0, gt=0)
    """The check is made at the point of the line whose significance is closest to this."""

    def point(self, c_g: float, offset: float = 0.0) -> tuple[float, float]:
        """Return (c_t, c_g) on the line, or `offset` in c_t beside it.

        >>> SignificanceSettings().point(0.25)
        (0.75, 0.25)
        """
        return 1.0 + c_g / self.slope + offset, c_g

    def points(self) -> list[tuple[float, float, float]]:
        """Return (offset, c_t, c_g) of all tested points, without the standard model."""
        every = [(offset, *self.point(c_g, offset)) for offset in self.offsets for c_g in self.c_g]
        return [row for row in every if row[1:] != (1.0, 0.0)]

    def axes(self) -> tuple[Float64[np.ndarray, " offset"], Float64[np.ndarray, " c_g"]]:
        """Return the plane's shifts of c_t away from the line, and its values of c_g.

        The line is a valley as narrow as the rate is well known, hence steps that grow with the distance from it.
        """
        steps = np.sinh(4 * np.linspace(-1, 1, self.across)) / np.sinh(4)
        return self.width * steps, np.linspace(*self.c_g_range, self.grid)
