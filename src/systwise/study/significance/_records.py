"""How well hypotheses are told from the reference, and what wrong nuisances would fake, as stored records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from systwise.study.records._record import Finite, Number, Record

Treatment = Literal["fixed", "shape", "profiled", "uncorrelated"]
"""What the fit does with the nuisances: held at their nominal values, held with a free rate in each region (only the
observable's shape speaks), profiled, or profiled with nuisances of its own in each region."""
Direction = Literal["reference", "alternative"]
"""Whose Asimov data are tested against the other."""


class SignificanceRecord(Record):
    """Median expected significance of one tested point, sqrt(q) of Asimov data (arXiv:1007.1727)."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    regions: list[str]
    """Regions in the likelihood."""
    step: Number
    """Place on the line through the reference; null for a single point."""
    offset: Finite
    """Distance from the line, in the parameter across it."""
    point: dict[str, Finite]
    """Parameters of interest of the alternative."""
    data: Direction
    """`reference`: data of the reference exclude the point; `alternative`: data of the point exclude the reference."""
    nuisances: Treatment
    """As in `Treatment`."""
    z: Number
    """sqrt(q), q = 2 [min NLL(wrong hypothesis) - min NLL(true hypothesis)]."""
    preferred: dict[str, Finite] = Field(default_factory=dict)
    """Values of the nuisances that the wrong hypothesis prefers; none where they are held."""
    converged: bool
    """Whether the fit can be believed."""
    verdict: str
    """Why, in a sentence."""


class FakeRecord(Record):
    """Significance against the reference that its own data, made at other nuisances, would fake."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    regions: list[str]
    """Regions in the likelihood."""
    variation: str
    """How the data were made: `nuisance = value` or the name of a variation."""
    holdout: bool
    """Whether neither training nor fit knows the variation."""
    point: dict[str, Finite]
    """Parameters of interest of the alternative."""
    nuisances: Treatment
    """As in `Treatment`."""
    z: Number
    """sign sqrt|2 [min NLL(reference) - min NLL(alternative)]|: positive where the data prefer the alternative."""
    converged: bool
    """Whether both fits can be believed."""


class ToyCheckRecord(Record):
    """The median of q over pseudo-experiments of the reference, beside its Asimov value."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    regions: list[str]
    """Regions in the likelihood."""
    point: dict[str, Finite]
    """Parameters of interest of the alternative."""
    nuisances: Treatment
    """As in `Treatment`."""
    toys: int
    """Pseudo-experiments with converged fits."""
    median: Finite
    """Median of q = 2 [min NLL(alternative) - min NLL(reference)]."""
    median_error: Finite
    """Its statistical error, from order statistics."""
    asimov: Finite
    """q of the Asimov data."""


class ClassifierRecord(Record):
    """What one strategy's score separates, and how far nuisances move it."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    region: str
    """Where it is observed."""
    told: Literal["sample", "nominal", "nothing"]
    """Sample-wide value that the score is told in the significances: each hypothesis' own, one for all, or none."""
    strength: Number
    """Strength lambda of the adversary; null where there is none."""
    point: dict[str, Finite]
    """Parameters of interest of the alternative."""
    auc: Finite
    """Area under the ROC curve of the alternative against the reference, from the bins, in the order of the
    score and at one sample-wide value."""
    ks: Finite
    """Largest Kolmogorov-Smirnov distance of the reference's score at an anchor of a nuisance from the nominal one,
    told the sample-wide value there."""
    ks_holdout: Number
    """The same over the hold-out variations; null where there are none."""
    rate: Finite
    """Largest relative change of the expected events at an anchor of a nuisance."""


class RegionRecord(Record):
    """What the reference expects in one region, and along which direction of two parameters its rate stays the same."""

    region: str
    """Its name."""
    point: dict[str, Finite]
    """Parameters of interest of the reference."""
    events: Finite
    """Expected events."""
    sample: dict[str, Finite] = Field(default_factory=dict)
    """Values of the features that belong to the whole sample, such as a cross section."""
    effects: dict[str, tuple[Finite, Finite]] = Field(default_factory=dict)
    """Relative change of the events one standard deviation of each nuisance down and up (at the nearest anchors)."""
    blind_slope: Number = None
    """d second / d first of two parameters of interest along which the rate stays the same; null where there is
    another number of them or the rate does not depend on the second."""


class ToldCheckRecord(Record):
    """The significance of one point where the score is told a sample-wide value, by what it is told."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    regions: list[str]
    """Regions in the likelihood."""
    told: Literal["sample", "nominal"]
    """What the score is told: each hypothesis' own value at its nuisances, or one for all."""
    point: dict[str, Finite]
    """Parameters of interest of the alternative."""
    fixed: Number
    """sqrt(q) of the reference's Asimov data, nuisances held."""
    profiled: Number
    """The same, nuisances profiled."""
