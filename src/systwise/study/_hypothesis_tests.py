"""Tests of one choice of couplings against another, from the score histograms of one or several processes.

Each hypothesis is a likelihood of its own, with the scale as its only parameter: expected counts need not be
linear in the couplings' monomials once a score is told the sample's cross section. All likelihoods have one
shape, so that they share one compilation (one more for a scale of its own in each channel).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import xlogy

from systwise.errors import ConfigError, TemplateError
from systwise.fit import Data, FitResults, Model, fit_many, pseudo_data
from systwise.parameters import Components, GaussianConstraint, Nuisance
from systwise.study._channels import ChannelTable, Couplings
from systwise.study._significance_records import Scale
from systwise.study._significance_settings import Told

STANDARD_MODEL = (1.0, 0.0)
ROUNDING = 1e-6
"""A test statistic this far below zero is zero."""
# A hypothesis has no parameter of interest, but a likelihood needs one: a strength, held at 1. Half of the yield
# is constant, because only models with a constant component can be compiled for more bins than they have.
_ALONE = Components(("variable half", "constant half"), ("strength",), ((1,), (0,)), (1.0,), ((0.0, 2.0),))
_HELD = {"strength": 1.0}


class Minima(NamedTuple):
    """The lowest NLL of one hypothesis for each of several data sets.

    Attributes:
        nll: on the scale where perfect agreement is zero (deviance / 2).
        scale: preferred values of the nuisances; no column where the scale is held.
        converged: whether the fit can be believed.
        at_end: whether a nuisance sits at an end of its range.
    """

    nll: Float64[np.ndarray, " data"]
    scale: Float64[np.ndarray, "data nuisance"]
    converged: Bool[np.ndarray, " data"]
    at_end: Bool[np.ndarray, " data"]

    def verdict(self, number: int) -> str:
        """Return in a sentence whether to believe one of them."""
        if not self.converged[number]:
            return "NOT converged: the minimum over the scale cannot be believed"
        return "converged; the scale sits at an end of its range" if self.at_end[number] else "converged"


def counting_nll(
    expected: Float64[np.ndarray, "... bin"], counts: Float64[np.ndarray, "data bin"]
) -> Float64[np.ndarray, " data"]:
    """Return the Poisson NLL above perfect agreement, `sum_b [nu - n + n ln(n / nu)]`.

    >>> float(counting_nll(np.array([100.0]), np.array([[100.0]]))[0])
    0.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = expected - counts + xlogy(counts, counts / expected)
    # An empty bin that expects nothing agrees; one event where nothing is expected never does.
    return np.sum(np.where((expected == 0) & (counts == 0), 0.0, terms), axis=1)


def widened(
    anchors: Sequence[float], templates: Float64[np.ndarray, "anchor bin"], reach: float
) -> tuple[tuple[float, ...], Float64[np.ndarray, "wide bin"]]:
    """Return anchors and templates out to `|z| = reach`.

    Beyond the outermost anchor ln T follows the parabola in z through it, z = 0 and the one opposite; a scale
    variation is log-quadratic in ln mu to 1e-4 (median over events).

    Args:
        anchors: increasing, 0 among them.
        templates: contents, positive.
        reach: largest |z|.
    """
    z = np.asarray(anchors, np.float64)
    nominal, low, high = int(np.argmin(np.abs(z))), z[0], z[-1]
    logs = np.log(np.maximum(templates, 1e-300))
    if not low < 0 < high:
        raise ConfigError(f"scale anchors {tuple(anchors)}: both directions away from z = 0 are needed")
    down, up = (logs[0] - logs[nominal]) / low, (logs[-1] - logs[nominal]) / high
    curvature = (up - down) / (high - low)
    slope = up - curvature * high

    def beyond(values: np.ndarray) -> np.ndarray:
        wide = values[:, None]
        return np.where(templates[nominal] > 0, np.exp(logs[nominal] + wide * (slope + wide * curvature)), 0.0)

    # Steps of the outermost interval at most: the morph's spline would not follow an exponential over a larger one.
    before = np.linspace(-reach, low, max(1, int(np.ceil((low + reach) / (z[1] - low)))) + 1)[:-1]
    after = np.linspace(high, reach, max(1, int(np.ceil((reach - high) / (high - z[-2])))) + 1)[1:]
    before, after = (side if abs(end) < reach - 1e-9 else side[:0] for side, end in ((before, low), (after, high)))
    wide = np.concatenate([before, z, after])
    return tuple(wide.tolist()), np.concatenate([beyond(before), templates, beyond(after)])


@dataclasses.dataclass(frozen=True, eq=False)
class HypothesisTests:
    """Likelihood-ratio tests of couplings against each other, on one set of channels.

    `q = 2 [min NLL(wrong) - min NLL(right)]`; its Asimov value is the median over data sets, and sqrt(q) the
    median significance (A. Wald; G. Cowan et al., arXiv:1007.1727, section 5).

    Attributes:
        channels: histograms of the processes that are combined; their anchors of the scale are the same.
        reach: largest |z| of the scale.
        told: cross section that scores are told (see `SignificanceSettings`).
    """

    channels: tuple[ChannelTable, ...]
    reach: float = 3.0
    told: Told = "sample"

    def __post_init__(self) -> None:
        """Refuse channels that cannot share a scale.

        Raises:
            ConfigError: no channels, or different anchors.
        """
        if not self.channels or len({table.anchor_z for table in self.channels}) != 1:
            raise ConfigError("hypothesis tests: give at least one channel, all with the same anchors of the scale")

    @property
    def name(self) -> str:
        """Names of the channels, joined by `+`."""
        return "+".join(table.name for table in self.channels)

    def _s(self, table: ChannelTable) -> float | None:
        return None if self.told == "sample" else table.cross_section(STANDARD_MODEL, table.nominal)

    def counts(self, theta: Couplings, variation: str | float = 0.0) -> Float64[np.ndarray, " bin"]:
        """Return Asimov counts of all channels' bins.

        Args:
            theta: true couplings.
            variation: true scale z, or the name of a variation.
        """
        if isinstance(variation, str):
            return np.concatenate([t.expected(theta, variation, self._s(t)) for t in self.channels])
        if variation in self.channels[0].anchor_z:
            place = self.channels[0].anchor_z.index(variation)
            parts = [t.expected(theta, t.anchor_index[place], self._s(t)) for t in self.channels]
            return np.concatenate(parts)
        return self.model(theta).expected(1.0, variation)

    def model(self, theta: Couplings, scale: Scale = "profiled") -> Model:
        """Return the likelihood of one hypothesis, the scale its nuisance with constraint N(0, 1).

        Args:
            theta: couplings.
            scale: `uncorrelated` for a nuisance a channel, which moves its own bins; else one for all.

        Raises:
            TemplateError: nothing is expected in a bin.
        """
        parts = []
        for table in self.channels:
            templates = table.templates(theta, self._s(table))
            if np.any(templates <= 0):
                a, b = (int(i) for i in np.argwhere(templates <= 0)[0])
                raise TemplateError(
                    f"channel '{table.name}': nothing is expected in bin {b} at z = {table.anchor_z[a]:g}; "
                    "merge bins or simulate more events"
                )
            parts.append(widened(table.anchor_z, templates, self.reach))
        anchors, nominal = parts[0][0], int(np.argmin(np.abs(parts[0][0])))
        words = [f"scale {t.name}" for t in self.channels] if self._separate(scale) else ["scale"]
        nuisances = [
            Nuisance(word, 0.0, (-self.reach, self.reach), (-1.0, 1.0), anchors, kind="theory") for word in words
        ]
        arrays = []
        for moved in range(len(words)):
            own = [
                wide if not self._separate(scale) or number == moved else np.repeat(wide[[nominal]], len(wide), axis=0)
                for number, (_, wide) in enumerate(parts)
            ]
            half = 0.5 * np.concatenate(own, axis=1)
            arrays.append(np.stack([half, half], axis=1))
        constraints = [GaussianConstraint(word, 1.0) for word in words]
        return Model.from_templates(_ALONE, nuisances, constraints, arrays, "deviance")

    def _separate(self, scale: Scale) -> bool:
        return scale == "uncorrelated" and len(self.channels) > 1

    def lowest(
        self,
        theta: Couplings,
        counts: Float64[np.ndarray, "data bin"],
        scale: Scale,
        auxiliary: Sequence[Float64[np.ndarray, "data 1"]] | None = None,
    ) -> Minima:
        """Return the lowest NLL of a hypothesis for each data set.

        Args:
            theta: couplings of the hypothesis.
            counts: data sets.
            scale: `fixed` at z = 0, `shape` at z = 0 with a free rate in each channel, `profiled`, or `uncorrelated`.
            auxiliary: observations of the scale, one array a nuisance; all zero where None.
        """
        sets = len(counts)
        if scale in ("fixed", "shape"):
            true = np.ones(sets, bool)
            return Minima(self._held(theta, counts, scale == "shape"), np.zeros((sets, 0)), true, ~true)
        model = self.model(theta, scale)
        known = auxiliary if auxiliary is not None else [np.zeros((sets, 1)) for _ in model.nuisances]
        # One data set alone would be another compilation.
        index = np.arange(sets) if sets > 1 else np.zeros(2, int)
        data = Data(counts[index], tuple(np.asarray(a)[index] for a in known))
        found: FitResults = fit_many(model, data, fixed=_HELD, levels=(), stat_only=False)
        z = found.nuisances[:sets]
        return Minima(found.nll[:sets], z, found.minimum_found[:sets], np.any(np.abs(z) >= self.reach - 1e-9, axis=1))

    def _held(
        self, theta: Couplings, counts: Float64[np.ndarray, "data bin"], free_rate: bool
    ) -> Float64[np.ndarray, " data"]:
        """Return the NLL at z = 0; a free rate is best where it meets the channel's total."""
        ends = np.cumsum([table.bins for table in self.channels])[:-1]
        total = np.zeros(len(counts))
        parts = zip(np.split(self.counts(theta), ends), np.split(counts, ends, axis=1), strict=True)
        for expected, seen in parts:
            rate = seen.sum(axis=1, keepdims=True) / expected.sum() if free_rate else 1.0
            total += counting_nll(expected * rate, seen)
        return total

    def toys(self, theta: Couplings, scale: Scale, seed: int, count: int) -> Float64[np.ndarray, " toy"]:
        """Return q of a hypothesis over pseudo-experiments of the standard model, of converged fits only.

        Counts are Poisson, observations of the scale are drawn from N(0, 1).
        """
        right = self.model(STANDARD_MODEL, scale)
        data = pseudo_data(right, 1.0, [0.0] * len(right.nuisances), seed, range(count))
        counts = np.asarray(data.counts)
        minima = [self.lowest(point, counts, scale, data.auxiliary) for point in (theta, STANDARD_MODEL)]
        believed = minima[0].converged & minima[1].converged
        return 2 * (minima[0].nll - minima[1].nll)[believed]


def root(q: Float64[np.ndarray, " data"]) -> Float64[np.ndarray, " data"]:
    """Return sqrt(q) of Asimov data; NaN where q is negative by more than rounding.

    >>> root(np.array([4.0, -1e-12])).tolist()
    [2.0, 0.0]
    """
    return np.sqrt(np.where(q < -ROUNDING * (1 + np.abs(q)), np.nan, np.maximum(q, 0.0)))


def signed_root(q: Float64[np.ndarray, " data"]) -> Float64[np.ndarray, " data"]:
    """Return sign(q) sqrt|q|."""
    return np.sign(q) * np.sqrt(np.abs(q))
