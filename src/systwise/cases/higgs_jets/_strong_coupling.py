"""The running of the strong coupling with five flavours."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from systwise.errors import ConfigError, DataError

Z_MASS = 91.1876
"""Mass of the Z boson in GeV, where the coupling is given."""
FLAVOUR_COUNT = 5
_LOWEST, _HIGHEST = 4.0, 1.0e5


def beta_coefficients(flavours: int = FLAVOUR_COUNT) -> tuple[float, float, float]:
    """Return (b_0, b_1, b_2) of `d alpha_s / d ln mu^2 = -alpha_s^2 (b_0 + b_1 alpha_s + b_2 alpha_s^2)`.

    b_0 = (33 - 2 n)/(12 pi), b_1 = (153 - 19 n)/(24 pi^2), b_2 = (2857 - 5033 n/9 + 325 n^2/27)/(128 pi^3)
    in the MS-bar scheme (Review of Particle Physics, "Quantum chromodynamics", eq. 9.3).
    """
    n = flavours
    return (
        (33 - 2 * n) / (12 * math.pi),
        (153 - 19 * n) / (24 * math.pi**2),
        (2857 - 5033 * n / 9 + 325 * n**2 / 27) / (128 * math.pi**3),
    )


class StrongCoupling:
    """alpha_s(mu) at one, two or three loops; the equation is integrated numerically beyond one.

    >>> round(float(StrongCoupling()(np.array([125.0]))[0]), 6)
    0.112874
    """

    def __init__(self, loops: int = 1, at_z: float = 0.118) -> None:
        """Solve the running from alpha_s(m_Z) = `at_z`.

        Args:
            loops: 1 (goes with leading-order densities), 2 or 3.
            at_z: the coupling at 91.1876 GeV.

        Raises:
            ConfigError: another number of loops.
        """
        if loops not in (1, 2, 3):
            raise ConfigError(f"alpha_s runs at 1, 2 or 3 loops, got {loops}; choose one of them")
        self.loops, self.at_z = loops, at_z
        self._solution = None if loops == 1 else _solve(loops, at_z)

    def __call__(self, scale: Float[np.ndarray, "*event"]) -> Float[np.ndarray, "*event"]:
        """Return alpha_s at `scale`, in GeV.

        At one loop `a_Z / (1 + a_Z b_0 ln(mu^2/m_Z^2))`.

        Raises:
            DataError: a scale below 4 GeV or above 100 TeV, where five flavours are the wrong number.
        """
        if scale.size and (scale.min() < _LOWEST or scale.max() > _HIGHEST):
            raise DataError(
                f"alpha_s with five flavours runs from {_LOWEST:g} to {_HIGHEST:g} GeV and a scale of "
                f"{scale.min():.4g} or {scale.max():.4g} GeV was asked for; raise the jet threshold"
            )
        logarithm = 2 * np.log(scale / Z_MASS)
        if self._solution is None:
            return self.at_z / (1 + self.at_z * beta_coefficients()[0] * logarithm)
        return self._solution(logarithm)


def _solve(loops: int, at_z: float) -> CubicSpline:
    """Return the solution as a spline in ln(mu^2/m_Z^2)."""
    coefficients = beta_coefficients()[:loops]
    knots = np.linspace(2 * math.log(_LOWEST / Z_MASS) - 1e-9, 2 * math.log(_HIGHEST / Z_MASS) + 1e-9, 801)

    def slope(_: float, coupling: np.ndarray) -> np.ndarray:
        return -(coupling**2) * sum(b * coupling**power for power, b in enumerate(coefficients))

    below, above = knots[knots < 0][::-1], knots[knots >= 0]
    down, up = (
        solve_ivp(slope, (0.0, part[-1]), [at_z], t_eval=part, rtol=1e-11, atol=1e-13, method="DOP853").y[0]
        for part in (below, above)
    )
    return CubicSpline(knots, np.concatenate([down[::-1], up]))
