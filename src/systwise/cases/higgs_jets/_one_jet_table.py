"""A table of the gluon channel of Higgs + jet: the exact ratios to the heavy-top limit, as splines.

The ratios R and I of `gluon_ratios` depend on s and |cos theta| only. They are smooth in
`w = artanh |cos theta| = |ln(t/u)| / 2`, the jet's rapidity in the partons' frame. In s they have a cusp at 4 mt^2,
where the amplitudes behave like sqrt|s - 4 mt^2|; so there is one spline below and one above, each in a variable that
straightens its side of the cusp.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.interpolate import RectBivariateSpline

from systwise.cases.higgs_jets._one_jet import gluon_ratios
from systwise.cases.higgs_jets._physics import Masses
from systwise.errors import ConfigError

LOWEST = 1.02
"""Lower end of the table in units of the squared Higgs mass; nearer to it rounding would show."""
HIGHEST_RAPIDITY = 7.0
"""Upper end of the table in w; at 13 TeV this is a jet of pT > 12 GeV at the highest energy."""
NODES_BELOW, NODES_ABOVE, NODES_RAPIDITY, MIRRORED = 90, 160, 80, 6


@dataclasses.dataclass(frozen=True)
class GluonTable:
    """Bicubic splines of R and I below and above the top threshold; made by `build`.

    Attributes:
        masses: the masses the table was made for.
        upper: highest s of the table, GeV^2.
        below: splines of R and I for s < 4 mt^2, in (x, w) with x = 1 - sqrt[(4 mt^2 - s)/(4 mt^2 - lowest s)].
        above: splines of R and I for s >= 4 mt^2, in (x, w) with x = sqrt[ln(s/4mt^2) / ln(upper/4mt^2)].
    """

    masses: Masses
    upper: float
    below: tuple[RectBivariateSpline, RectBivariateSpline]
    above: tuple[RectBivariateSpline, RectBivariateSpline]

    @classmethod
    def build(cls, masses: Masses, energy: float) -> GluonTable:
        """Tabulate the closed form on 20,000 points; takes about a second.

        Args:
            masses: Higgs and top masses.
            energy: highest energy of two partons, in GeV: the collider's sqrt(S).

        Raises:
            ConfigError: twice the top mass is not between the Higgs mass and `energy`.
        """
        threshold, lowest, upper = 4 * masses.top**2, LOWEST * masses.higgs**2, float(energy) ** 2
        if not lowest < threshold < upper:
            raise ConfigError(
                f"the table of gg -> Hg needs twice the top mass ({2 * masses.top:g} GeV) above the Higgs mass "
                f"({masses.higgs:g} GeV) and below the energy ({energy:g} GeV): change one of the three"
            )
        below, above = np.linspace(0, 1, NODES_BELOW), np.linspace(0, 1, NODES_ABOVE)
        return cls(
            masses,
            upper,
            _splines(below, threshold - (threshold - lowest) * (1 - below) ** 2, masses),
            _splines(above, threshold * (upper / threshold) ** (above**2), masses),
        )

    def __call__(
        self,
        s: Float[np.ndarray, " event"],
        t: Float[np.ndarray, " event"],
        u: Float[np.ndarray, " event"],
    ) -> tuple[Float[np.ndarray, " event"], Float[np.ndarray, " event"]]:
        """Return R and I as `gluon_ratios` does, R to a relative and I to an absolute 1e-5.

        Points outside of the table (s nearer to mh2, or |w| > 7) are rare and take the closed form.

        Args:
            s: squared energy of the partons, GeV^2.
            t: squared momentum transfer of leg 1, GeV^2.
            u: squared momentum transfer of leg 2, GeV^2.
        """
        threshold, lowest = 4 * self.masses.top**2, LOWEST * self.masses.higgs**2
        # cos theta = (t - u)/(t + u), but near +-1 only the quotient keeps the digits of the small one
        rapidity = np.abs(np.log(t / u)) / 2
        inside = (s >= lowest) & (s <= self.upper) & (rapidity <= HIGHEST_RAPIDITY)
        below, above = inside & (s < threshold), inside & (s >= threshold)
        ratios = np.empty((2, s.size))
        x_below = 1 - np.sqrt((threshold - s[below]) / (threshold - lowest))
        x_above = np.sqrt(np.log(s[above] / threshold) / np.log(self.upper / threshold))
        for row in range(2):
            ratios[row, below] = self.below[row].ev(x_below, rapidity[below])
            ratios[row, above] = self.above[row].ev(x_above, rapidity[above])
        if not inside.all():
            ratios[:, ~inside] = gluon_ratios(s[~inside], t[~inside], u[~inside], self.masses)
        # I^2 <= R by Schwarz: no choice of couplings may make a square negative, not even by the splines' error
        return np.maximum(ratios[0], ratios[1] ** 2), ratios[1]


def _splines(
    x: Float[np.ndarray, " node"], s: Float[np.ndarray, " node"], masses: Masses
) -> tuple[RectBivariateSpline, RectBivariateSpline]:
    """Bicubic splines of R and I through a grid of (x(s), w)."""
    rapidity = np.linspace(0, HIGHEST_RAPIDITY, NODES_RAPIDITY)
    energy2 = np.repeat(s, rapidity.size)
    w = np.tile(rapidity, s.size)
    # 1 -+ tanh w = 2 / (1 + e^(+-2w)): t and u without a difference of nearly equal numbers
    t = (masses.higgs**2 - energy2) / (1 + np.exp(2 * w))
    u = (masses.higgs**2 - energy2) / (1 + np.exp(-2 * w))
    square, real = (ratio.reshape(s.size, rapidity.size) for ratio in gluon_ratios(energy2, t, u, masses))
    # R and I are even in w: a few mirrored nodes put w = 0 inside of the grid, where splines are better than at an end
    mirrored = np.concatenate([-rapidity[MIRRORED:0:-1], rapidity])
    columns = np.concatenate([np.arange(MIRRORED, 0, -1), np.arange(rapidity.size)])
    return (
        RectBivariateSpline(x, mirrored, square[:, columns]),
        RectBivariateSpline(x, mirrored, real[:, columns]),
    )
