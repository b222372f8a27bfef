"""From Wilson coefficients to the couplings (c_t, c_g)."""

from __future__ import annotations

import math

from systwise.cases.higgs_jets._physics import Masses
from systwise.errors import ConfigError


def couplings(
    c_tphi: float,
    c_phig: float,
    *,
    new_physics: float = 1000.0,
    normalisation: float = 1.0,
    alpha_s: float = 0.118,
    masses: Masses | None = None,
) -> tuple[float, float]:
    """Return (c_t, c_g) of two operators of dimension six, at first order in their coefficients.

    With `L = sum C_i O_i / Lambda^2`, `O_tphi = phi^dag phi Qbar phi~ t + h.c.` and
    `O_phiG = N phi^dag phi G G`:

    `c_t = 1 - C_tphi v^3 / (sqrt(2) m_t Lambda^2)`, `c_g = N 12 pi v^2 C_phiG / (alpha_s Lambda^2)`.

    Publications differ in the normalisation N of the gluon operator (1, g_s^2, alpha_s/pi, ...): it decides the
    slope of the blind line in the plane of the coefficients.

    Args:
        c_tphi: coefficient of the top-Yukawa operator.
        c_phig: coefficient of the gluon operator.
        new_physics: Lambda in GeV.
        normalisation: N.
        alpha_s: at the scale of the process.
        masses: pole masses.

    Raises:
        ConfigError: Lambda or alpha_s is not positive.

    >>> c_t, c_g = couplings(-1.0, 0.0)
    >>> round(c_t, 4), c_g
    (1.061, 0.0)
    """
    if new_physics <= 0 or alpha_s <= 0:
        raise ConfigError(f"couplings: Lambda = {new_physics:g} and alpha_s = {alpha_s:g} must be positive")
    masses = Masses() if masses is None else masses
    v = masses.vacuum
    c_t = 1 - c_tphi * v**3 / (math.sqrt(2) * masses.top * new_physics**2)
    return c_t, normalisation * 12 * math.pi * v**2 * c_phig / (alpha_s * new_physics**2)


def blind_direction(normalisation: float = 1.0, alpha_s: float = 0.118, masses: Masses | None = None) -> float:
    """Return `C_phiG / C_tphi` along which the rate stands still in the heavy-top limit, `delta c_t + c_g = 0`.

    `alpha_s v / (12 pi N sqrt(2) m_t)`, positive.

    >>> round(blind_direction(), 4), round(blind_direction(0.118 / (8 * math.pi)), 3)
    (0.0032, 0.671)
    """
    masses = Masses() if masses is None else masses
    return alpha_s * masses.vacuum / (12 * math.pi * normalisation * math.sqrt(2) * masses.top)
