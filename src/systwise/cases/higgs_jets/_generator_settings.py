"""What is generated: processes, scale choices and the settings of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from systwise.cases.higgs_jets._phase_space import Acceptance
from systwise.cases.higgs_jets._physics import Masses
from systwise.settings import Settings

Process = Literal["hj", "hjj"]
PROCESSES: tuple[Process, ...] = ("hj", "hjj")
"""p p -> h + one jet at one loop with the full top mass, and h + two jets (see `_blend`)."""

SCALES = ((1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (1.0, 0.5), (1.0, 2.0), (0.5, 1.0), (2.0, 1.0))
"""(mu_R, mu_F) over the central scale, in the order of every `[scale]` axis; the first three are the correlated ones.

The seven points are those with 1/2 <= mu_R/mu_F <= 2 (arXiv:0808.3674, for instance).
"""

ScaleChoice = Literal["jets", "half-ht", "higgs-mass"]


class GeneratorSettings(Settings):
    """Settings of the generator; energies and momenta in GeV."""

    energy: float = Field(13_000.0, gt=500)
    """Energy of the proton-proton system."""
    jet_pt: float = Field(30.0, gt=0)
    """Lowest transverse momentum of each jet."""
    jet_eta: float = Field(4.5, gt=0)
    """Largest |pseudorapidity| of each jet."""
    jet_separation: float = Field(0.4, gt=0, lt=3)
    """Smallest distance sqrt(deta^2 + dphi^2) of two jets."""
    higgs_mass: float = Field(125.0, gt=0)
    """Pole mass of the Higgs boson."""
    top_mass: float = Field(173.0, gt=0)
    """Pole mass of the top quark."""
    pdf: str = "NNPDF31_lo_as_0118_0000"
    """Parton densities: name of a member, or path of an LHAPDF6 grid."""
    pdf_folder: str | None = None
    """Folder of LHAPDF6 grids to look into first."""
    alpha_s_loops: int = Field(1, ge=1, le=3)
    """Loops of the running of alpha_s; 1 goes with leading-order densities."""
    alpha_s_z: float = Field(0.118, gt=0, lt=0.2)
    """alpha_s at the Z mass."""
    scale: ScaleChoice = "jets"
    """Central scale: `jets`, the geometric mean of the jets' transverse momenta; `half-ht`,
    (m_T of the Higgs boson + the jets' transverse momenta) / 2; `higgs-mass`."""
    tail_fraction: float = Field(0.2, ge=0, lt=1)
    """Fraction of events drawn with the harder jet above `tail_pt`; 0 for none but those that come by themselves."""
    tail_pt: float = Field(200.0, gt=0)
    """Transverse momentum of the harder jet where that tail sets in."""
    blend: float = Field(0.4, ge=0, le=1)
    """Share of the all-gluon mass ratios in h + two jets (see `blended_coefficients`)."""

    @property
    def masses(self) -> Masses:
        """The pole masses."""
        return Masses(higgs=self.higgs_mass, top=self.top_mass)

    @property
    def acceptance(self) -> Acceptance:
        """The region of phase space."""
        return Acceptance(
            energy=self.energy,
            higgs_mass=self.higgs_mass,
            jet_pt=self.jet_pt,
            jet_eta=self.jet_eta,
            jet_separation=self.jet_separation,
            tail_fraction=self.tail_fraction,
            tail_pt=max(self.tail_pt, self.jet_pt),
        )
