"""Constants and masses of gluon-fusion Higgs production with an effective gluon coupling.

The Lagrangian is `L = -c_t (m_t/v) h tbar t + c_g (alpha_s / 12 pi) (h/v) G G`, so amplitudes are
`c_t F_full(m_t) + c_g F_heavy-top` and squares are quadratic in (c_t, c_g); the Standard Model is (1, 0).
"""

from __future__ import annotations

import dataclasses

FERMI_CONSTANT = 1.1663787e-5
"""G_F in GeV^-2."""
PICOBARN = 0.3893793656e9
"""1 GeV^-2 in pb."""
COEFFICIENTS = ("tt", "tg", "gg")
"""The coefficients of c_t^2, c_t c_g and c_g^2, in the order of every `[coefficient]` axis."""


@dataclasses.dataclass(frozen=True)
class Masses:
    """Pole masses in GeV; the bottom-quark loop is left out.

    Attributes:
        higgs: Higgs mass.
        top: top-quark mass.
    """

    higgs: float = 125.0
    top: float = 173.0

    @property
    def vacuum(self) -> float:
        """The vacuum expectation value v = (sqrt(2) G_F)^(-1/2), in GeV."""
        return float((2**0.5 * FERMI_CONSTANT) ** -0.5)
