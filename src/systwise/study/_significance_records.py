"""How well couplings are told from the standard model, and what a wrong scale would fake, as stored records."""

from __future__ import annotations

from typing import Literal

from systwise.study._record import Finite, Number, Record

Scale = Literal["fixed", "shape", "profiled", "uncorrelated"]
"""What the fit does with the scale: held at z = 0, held with a free rate in each channel (only the score's shape
speaks), one for all channels with its constraint, or one a channel."""
Direction = Literal["sm_data", "eft_data"]
"""Whose Asimov data are tested against the other."""


class SignificanceRecord(Record):
    """Median expected significance of one tested point, sqrt(q) of Asimov data (arXiv:1007.1727)."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    channels: str
    """Processes in the likelihood, joined by `+`."""
    offset: Finite
    """Distance of the point from the blind line, in c_t."""
    c_t: Finite
    """Top coupling."""
    c_g: Finite
    """Gluon coupling."""
    direction: Direction
    """`sm_data`: data of the standard model exclude the point; `eft_data`: data of the point exclude it."""
    scale: Scale
    """As in `Scale`."""
    z: Number
    """sqrt(q), q = 2 [min NLL(wrong hypothesis) - min NLL(true hypothesis)]."""
    pull: Number = None
    """Scale z that the wrong hypothesis prefers; null where it is held or there are several."""
    converged: bool
    """Whether the fit can be believed."""
    verdict: str
    """Why, in a sentence."""


class FakeRecord(Record):
    """Significance against the standard model that its own data, made at another scale, would fake."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    channels: str
    """Processes in the likelihood, joined by `+`."""
    variation: str
    """How the data were made: `z = ...` or the name of a variation."""
    holdout: bool
    """Whether neither training nor fit knows the variation."""
    c_t: Finite
    """Top coupling of the alternative."""
    c_g: Finite
    """Gluon coupling of the alternative."""
    scale: Scale
    """As in `Scale`."""
    z: Number
    """sign sqrt|2 [min NLL(SM) - min NLL(alternative)]|: positive where the data prefer the alternative."""
    converged: bool
    """Whether both fits can be believed."""


class ToyCheckRecord(Record):
    """The median of q over pseudo-experiments of the standard model, beside its Asimov value."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    channels: str
    """Processes in the likelihood, joined by `+`."""
    c_t: Finite
    """Top coupling of the alternative."""
    c_g: Finite
    """Gluon coupling of the alternative."""
    scale: Scale
    """As in `Scale`."""
    toys: int
    """Pseudo-experiments with converged fits."""
    median: Finite
    """Median of q = 2 [min NLL(alternative) - min NLL(SM)]."""
    median_error: Finite
    """Its statistical error, from order statistics."""
    asimov: Finite
    """q of the Asimov data."""


class ClassifierRecord(Record):
    """What one strategy's score separates, and how far the scale moves it."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    channel: str
    """Process."""
    told: Literal["sample", "nominal", "nothing"]
    """Cross section that the score is told in the significances: each hypothesis' own at its scale, one for all, or
    none."""
    strength: Number
    """Strength lambda of the adversary; null where there is none."""
    c_t: Finite
    """Top coupling of the alternative in `auc`."""
    c_g: Finite
    """Gluon coupling of the alternative in `auc`."""
    auc: Finite
    """Area under the ROC curve of the alternative against the standard model, from the bins, in the order of the
    score and at one cross section."""
    ks: Finite
    """Largest Kolmogorov-Smirnov distance of the standard model's score at an anchor of the scale from z = 0, told the
    cross section at that scale."""
    ks_holdout: Number
    """The same over the hold-out variations; null where there are none."""
    rate: Finite
    """Largest relative change of the expected events at an anchor of the scale."""


class ChannelRecord(Record):
    """What the standard model expects in one channel, and where couplings leave its rate alone."""

    channel: str
    """Process."""
    cross_section: Finite
    """Of the standard model at the central scale, pb."""
    events: Finite
    """Expected there at the study's luminosity."""
    down: Finite
    """Relative change of the rate at the anchor of the scale nearest to -1."""
    up: Finite
    """Relative change of the rate at the anchor nearest to 1."""
    blind_slope: Number
    """d c_g / d c_t of the line of constant rate through the standard model, -(dsigma/dc_t) / (dsigma/dc_g)."""


class ToldCheckRecord(Record):
    """The significance of one point where the score is told a cross section, by what it is told."""

    strategy: str
    """Name of the training strategy."""
    seed: int
    """Seed of the training."""
    channels: str
    """Processes in the likelihood, joined by `+`."""
    told: Literal["sample", "nominal"]
    """Cross section that the score is told: each hypothesis' own at its scale, or one for all."""
    c_t: Finite
    """Top coupling of the tested point."""
    c_g: Finite
    """Gluon coupling of the tested point."""
    fixed: Number
    """sqrt(q) of the standard model's Asimov data, scale held at z = 0."""
    profiled: Number
    """The same, scale profiled."""
