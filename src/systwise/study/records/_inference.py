"""What makes up an uncertainty, and what the same likelihood says of discovery and exclusion, as stored records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from systwise.study.records._record import Finite, Number, Record


class PullRecord(Record):
    """One nuisance before and after the fit."""

    nuisance: str
    """Its name."""
    estimate: Finite
    """Best-fit value, in the nuisance's unit."""
    sigma: Number
    """Standard deviation after the fit."""
    centre: Number
    """Value that its auxiliary observation prefers; null for a free nuisance."""
    width: Number
    """Standard deviation before the fit; null for a free nuisance."""
    pull: Number
    """(estimate - centre) / width."""
    constraint: Number
    """sigma / width: 1 where the data say nothing."""
    remark: str = ""
    """Why a number is missing."""


class ImpactRecord(Record):
    """Change of the parameter of interest when one auxiliary observation moves by one standard deviation."""

    nuisance: str
    """Its name."""
    up: Number
    """Change for the shift up."""
    down: Number
    """Change for the shift down."""
    size: Finite
    """Root mean square of both."""
    remark: str = ""
    """Why a number is missing or unusual."""


class SplitRecord(Record):
    """The interval with some nuisances held at their best-fit values."""

    held: str
    """A group of nuisances, `simulation`, or `everything`."""
    half: Number
    """Half of the interval that remains."""
    removed: Number
    """sqrt(total^2 - half^2)."""


class InferenceRecord(Record):
    """Pulls, impacts, split, significance, limit and a second minimiser's word, for one Asimov data set."""

    strategy: str
    """Name of the training strategy."""
    observable: Literal["fixed", "moving", "anchored"]
    """As in `Measurement`."""
    convention: str
    """As in `Measurement`."""
    binning: str
    """As in `Measurement`."""
    seed: int
    """Seed of the training."""
    true: dict[str, Finite]
    """True values of nuisances and parameters of interest."""
    poi: str
    """Parameter of interest."""
    total: Number
    """Half of the interval at a rise of 0.5."""
    pulls: list[PullRecord] = Field(default_factory=list)
    """One a nuisance, in the case's order."""
    impacts: list[ImpactRecord] = Field(default_factory=list)
    """One a nuisance, the largest first."""
    groups: dict[str, Number] = Field(default_factory=dict)
    """Impact of each group (kind) of nuisances: quadrature sum over their auxiliary observations."""
    simulation: Number = None
    """Contribution of the simulation's limited size; null for templates taken as exact."""
    systematic: Number = None
    """Quadrature sum of all auxiliary observations and the simulation."""
    statistical: Number = None
    """sqrt(total^2 - systematic^2)."""
    statistical_by_shifts: Number = None
    """The same from shifting the counts."""
    split: list[SplitRecord] = Field(default_factory=list)
    """Intervals with groups held at their best fit: what many papers quote."""
    significance: Number = None
    """Median expected discovery significance sqrt(q0), arXiv:1007.1727."""
    significance_bands: list[Number] = Field(default_factory=list)
    """The same at -2, -1, 0, 1, 2 standard deviations."""
    limit_level: Number = None
    """Confidence level of the limits."""
    limit: Number = None
    """CLs upper limit on the Asimov data."""
    limit_expected: list[Number] = Field(default_factory=list)
    """CLs upper limits expected without signal at -2, -1, 0, 1, 2 standard deviations."""
    referee: bool | None = None
    """Whether iminuit finds the same minimum and interval; null where it was not asked."""
    verdicts: dict[str, str] = Field(default_factory=dict)
    """In a sentence, of each of the above."""
