"""Tests of one hypothesis against another, from the histograms of one or several regions.

Each hypothesis is a likelihood of its own, with the nuisances as its only parameters: expected counts need not be
linear in the monomials of the parameters of interest once a score is told a number that belongs to the sample. All
likelihoods have one shape, so that they share one compilation (one more where each region has nuisances of its own).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import xlogy

from systwise.errors import ConfigError, TemplateError
from systwise.fit import Data, FitResults, Model, asimov, fit_many, histfactory_interpolation, pseudo_data
from systwise.parameters import AbstractConstraint, Components, CorrelatedGaussian, Normalisation, Nuisance
from systwise.study.significance._records import Treatment
from systwise.study.significance._region_table import NOMINAL, RegionTable, Theta
from systwise.study.significance._settings import Told

ROUNDING = 1e-6
"""A test statistic this far below zero is zero."""
_HELD = {"strength": 1.0}


class Minima(NamedTuple):
    """The lowest NLL of one hypothesis for each of several data sets.

    Attributes:
        nll: on the scale where perfect agreement is zero (deviance / 2).
        nuisances: names of the columns of `values`; none where they are held.
        values: preferred values of the nuisances.
        converged: whether the fit can be believed.
        at_end: whether a nuisance sits at an end of its range.
    """

    nll: Float64[np.ndarray, " data"]
    nuisances: tuple[str, ...]
    values: Float64[np.ndarray, "data nuisance"]
    converged: Bool[np.ndarray, " data"]
    at_end: Bool[np.ndarray, " data"]

    def verdict(self, number: int) -> str:
        """Return in a sentence whether to believe one of them."""
        if not self.converged[number]:
            return "NOT converged: the minimum over the nuisances cannot be believed"
        return "converged; a nuisance sits at an end of its range" if self.at_end[number] else "converged"

    def preferred(self, number: int) -> dict[str, float]:
        """Return the preferred values of one of them by name."""
        return dict(zip(self.nuisances, self.values[number].tolist(), strict=True))


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


@dataclasses.dataclass(frozen=True)
class Systematics:
    """The nuisances of all regions.

    Attributes:
        nuisances: those that move events first, then those of kind `norm`.
        constraints: what is known of them.
        normalisations: exact factors on yields.
        interpolation: `spline` through all anchors, or `histfactory` (see `histfactory_interpolation`).
        mirrored: nuisances of which one side mirrors the other, with the sign of that side.
    """

    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint | CorrelatedGaussian, ...]
    normalisations: tuple[Normalisation, ...] = ()
    interpolation: Literal["spline", "histfactory"] = "spline"
    mirrored: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def separable(self) -> bool:
        """Whether each region can have nuisances of its own: not where some are known together."""
        return bool(self.nuisances) and not any(isinstance(c, CorrelatedGaussian) for c in self.constraints)

    def within(self, regions: Sequence[str]) -> Systematics:
        """Return what is left in some of the regions; a factor that acts in none of them goes with its constraint."""
        together = {name for c in self.constraints if isinstance(c, CorrelatedGaussian) for name in c.nuisances}
        named = {rate.nuisance for rate in self.normalisations}
        acting = [rate for one in self.normalisations if (rate := one.within(regions)) is not None]
        idle = named - {rate.nuisance for rate in acting}
        # What is known together with others stays a parameter, of a factor that acts nowhere.
        acting += [dataclasses.replace(r, regions=()) for r in self.normalisations if r.nuisance in idle & together]
        lost = idle - together
        return dataclasses.replace(
            self,
            nuisances=tuple(n for n in self.nuisances if n.name not in lost),
            constraints=tuple(
                c for c in self.constraints if isinstance(c, CorrelatedGaussian) or c.nuisance not in lost
            ),
            normalisations=tuple(acting),
        )

    def for_each(self, regions: Sequence[str]) -> Systematics:
        """Return a copy of every nuisance for each region, which acts there only."""
        nuisances, constraints, rates = [], [], []
        factors = {rate.nuisance for rate in self.normalisations}
        for nuisance in self.nuisances:
            own = [rate for rate in self.normalisations if rate.nuisance == nuisance.name]
            for region in regions:
                here = [rate for rate in own if rate.regions is None or region in rate.regions]
                if nuisance.name in factors and not here:
                    continue
                name = f"{nuisance.name} {region}"
                nuisances.append(dataclasses.replace(nuisance, name=name))
                rates += [dataclasses.replace(rate, nuisance=name, regions=(region,)) for rate in here]
                constraints += [
                    dataclasses.replace(constraint, nuisance=name)
                    for constraint in self.constraints
                    if not isinstance(constraint, CorrelatedGaussian) and constraint.nuisance == nuisance.name
                ]
        mirrored = {f"{name} {region}": side for name, side in self.mirrored.items() for region in regions}
        return Systematics(tuple(nuisances), tuple(constraints), tuple(rates), self.interpolation, mirrored)


@dataclasses.dataclass(frozen=True, eq=False)
class HypothesisTests:
    """Likelihood-ratio tests of hypotheses against each other, on one set of regions.

    `q = 2 [min NLL(wrong) - min NLL(right)]`; its Asimov value is the median over data sets, and sqrt(q) the
    median significance (A. Wald; G. Cowan et al., arXiv:1007.1727, section 5).

    Attributes:
        tables: histograms of the regions that are combined; their anchors are the same.
        systematics: nuisances of the likelihood.
        reference: parameters of interest of the reference.
        told: sample-wide value that scores are told (see `SignificanceSettings`).
    """

    tables: tuple[RegionTable, ...]
    systematics: Systematics
    reference: tuple[float, ...]
    told: Told = "nominal"

    def __post_init__(self) -> None:
        """Refuse regions that cannot share nuisances.

        Raises:
            ConfigError: no regions, or other anchors than those of the nuisances.
        """
        factors = {rate.nuisance for rate in self.systematics.normalisations}
        anchors = [(n.name, n.anchors) for n in self.systematics.nuisances if n.name not in factors]
        if not self.tables or any([row[:2] for row in table.anchors] != anchors for table in self.tables):
            raise ConfigError("hypothesis tests: give at least one region, all with the same anchors of the nuisances")

    @property
    def regions(self) -> list[str]:
        """Names of the regions."""
        return [table.name for table in self.tables]

    @property
    def treatments(self) -> tuple[Treatment, ...]:
        """What can be done with the nuisances; one region shares them with none."""
        separate = len(self.tables) > 1 and self.systematics.separable
        return ("fixed", "shape", "profiled", *(("uncorrelated",) if separate else ()))

    def _s(self, table: RegionTable) -> float | None:
        return None if self.told == "sample" else table.rate(self.reference)

    def counts(
        self, theta: Theta, variation: str | None = None, at: Mapping[str, float] | None = None
    ) -> Float64[np.ndarray, " bin"]:
        """Return Asimov counts of all regions' bins.

        Args:
            theta: true parameters of interest.
            variation: name of a variation; None: the nominal one.
            at: true values of nuisances, between the tabulated ones too.
        """
        if at:
            model = self.model(theta)
            return model.expected(1.0, [at.get(nuisance.name, nuisance.nominal) for nuisance in model.nuisances])
        chosen = NOMINAL if variation is None else variation
        return np.concatenate([t.expected(theta, chosen, self._s(t)) for t in self.tables])

    def model(self, theta: Theta, treatment: Treatment = "profiled") -> Model:
        """Return the likelihood of one hypothesis.

        Args:
            theta: parameters of interest.
            treatment: `uncorrelated` for nuisances of each region's own, which move its bins; else one for all.

        Raises:
            TemplateError: nothing is expected in a bin.
        """
        groups, rates = self._groups()
        separate = treatment == "uncorrelated" and len(self.tables) > 1
        known = dataclasses.replace(self.systematics, normalisations=rates).within(self.regions)
        known = known.for_each(self.regions) if separate else known
        parts = [self._templates(table, theta, list(groups.values())) for table in self.tables]
        arrays = []
        for number, (_, values, index) in enumerate(self.tables[0].anchors):
            nominal = index.index(NOMINAL)
            for moved in range(len(parts)) if separate else [None]:
                # A region's own nuisance leaves the others as they are.
                own = [
                    part[number] if moved in (None, place) else np.repeat(part[number][[nominal]], len(values), axis=0)
                    for place, part in enumerate(parts)
                ]
                arrays.append(_halved(np.concatenate(own, axis=2)))
        plain = _halved(np.concatenate([part[-1] for part in parts], axis=2))[0]
        # A hypothesis has no parameter of interest, but a likelihood needs one: a strength, held at 1. Half of the
        # first group is constant, because only models with a constant component compile for more bins than they have.
        names = ("half", *groups)
        alone = Components(names, ("strength",), ((1,), *((0,) for _ in groups)), (1.0,), ((0.0, 2.0),))
        model = Model.from_templates(
            alone,
            known.nuisances,
            known.constraints,
            arrays or plain,
            "deviance",
            normalisations=known.normalisations,
            regions={table.name: table.bins for table in self.tables},
        )
        return histfactory_interpolation(model, known.mirrored) if known.interpolation == "histfactory" else model

    def _groups(self) -> tuple[dict[str, list[int]], tuple[Normalisation, ...]]:
        """Return components by the factors that act on them, and the factors on these groups.

        Components that interfere share their factors: a group is positive where one of them need not be.
        """
        rates = self.systematics.normalisations
        members: dict[tuple[int, ...], list[int]] = {}
        for k, name in enumerate(self.tables[0].component_names):
            acting = tuple(number for number, rate in enumerate(rates) if name in rate.components)
            members.setdefault(acting, []).append(k)
        groups = {f"group {number}": own for number, own in enumerate(members.values())}
        first = next(iter(groups))
        named = []
        for number, rate in enumerate(rates):
            own = [group for group, acting in zip(groups, members, strict=True) if number in acting]
            named.append(dataclasses.replace(rate, components=("half", *own) if first in own else tuple(own)))
        return groups, tuple(named)

    def _templates(
        self, table: RegionTable, theta: Theta, groups: list[list[int]]
    ) -> list[Float64[np.ndarray, "anchor group bin"]]:
        """Return the contents of a region at the anchors of every nuisance, and last at the nominal point alone."""
        found = []
        for index in (*(one.variations for one in table.anchors), (NOMINAL,)):
            contents = table.contents(theta, index, self._s(table), groups)
            total = contents.sum(axis=1)
            if np.any(total <= 0):
                a, b = (int(i) for i in np.argwhere(total <= 0)[0])
                raise TemplateError(
                    f"region '{table.name}': nothing is expected in bin {b} at '{table.variations[index[a]]}'; "
                    "merge bins or simulate more events"
                )
            found.append(contents)
        return found

    def lowest(
        self,
        theta: Theta,
        counts: Float64[np.ndarray, "data bin"],
        treatment: Treatment,
        auxiliary: Sequence[Float64[np.ndarray, "data _"]] | None = None,
    ) -> Minima:
        """Return the lowest NLL of a hypothesis for each data set.

        Args:
            theta: parameters of interest of the hypothesis.
            counts: data sets.
            treatment: `fixed` at the nominal nuisances, `shape` there with a free rate in each region, `profiled`, or
                `uncorrelated`.
            auxiliary: observations of the nuisances, one array a constraint; all at their nominal values where None.
        """
        sets = len(counts)
        if treatment in ("fixed", "shape") or not self.systematics.nuisances:
            true = np.ones(sets, bool)
            return Minima(self._held(theta, counts, treatment == "shape"), (), np.zeros((sets, 0)), true, ~true)
        model = self.model(theta, treatment)
        nominal = [nuisance.nominal for nuisance in model.nuisances]
        # One data set alone would be another compilation.
        index = np.arange(sets) if sets > 1 else np.zeros(2, int)
        centred = asimov(model, 1.0, nominal).auxiliary
        known = [np.repeat(np.asarray(a)[None], sets, axis=0) for a in centred] if auxiliary is None else auxiliary
        data = Data(counts[index], tuple(np.asarray(a)[index] for a in known))
        found: FitResults = fit_many(model, data, fixed=_HELD, levels=(), stat_only=False)
        values = found.nuisances[:sets]
        ends = np.array([nuisance.range for nuisance in model.nuisances])
        slack = 1e-9 * (ends[:, 1] - ends[:, 0])
        at_end = np.any((values <= ends[:, 0] + slack) | (values >= ends[:, 1] - slack), axis=1)
        names = tuple(nuisance.name for nuisance in model.nuisances)
        return Minima(found.nll[:sets], names, values, found.minimum_found[:sets], at_end)

    def _held(
        self, theta: Theta, counts: Float64[np.ndarray, "data bin"], free_rate: bool
    ) -> Float64[np.ndarray, " data"]:
        """Return the NLL at the nominal nuisances; a free rate is best where it meets the region's total."""
        ends = np.cumsum([table.bins for table in self.tables])[:-1]
        total = np.zeros(len(counts))
        parts = zip(np.split(self.counts(theta), ends), np.split(counts, ends, axis=1), strict=True)
        for expected, seen in parts:
            rate = seen.sum(axis=1, keepdims=True) / expected.sum() if free_rate else 1.0
            total += counting_nll(expected * rate, seen)
        return total

    def toys(self, theta: Theta, treatment: Treatment, seed: int, count: int) -> Float64[np.ndarray, " toy"]:
        """Return q of a hypothesis over pseudo-experiments of the reference, of converged fits only.

        Counts are Poisson, observations of the nuisances are drawn around their nominal values.
        """
        right = self.model(self.reference, treatment)
        nominal = [nuisance.nominal for nuisance in right.nuisances]
        data = pseudo_data(right, 1.0, nominal, seed, range(count))
        counts = np.asarray(data.counts)
        minima = [self.lowest(point, counts, treatment, data.auxiliary) for point in (theta, self.reference)]
        believed = minima[0].converged & minima[1].converged
        return 2 * (minima[0].nll - minima[1].nll)[believed]


def _halved(contents: Float64[np.ndarray, "anchor group bin"]) -> Float64[np.ndarray, "anchor component bin"]:
    """Return the contents with the first group in two equal parts."""
    half = 0.5 * contents[:, :1]
    return np.concatenate([half, half, contents[:, 1:]], axis=1)


def root(q: Float64[np.ndarray, " data"]) -> Float64[np.ndarray, " data"]:
    """Return sqrt(q) of Asimov data; NaN where q is negative by more than rounding.

    >>> root(np.array([4.0, -1e-12])).tolist()
    [2.0, 0.0]
    """
    return np.sqrt(np.where(q < -ROUNDING * (1 + np.abs(q)), np.nan, np.maximum(q, 0.0)))


def signed_root(q: Float64[np.ndarray, " data"]) -> Float64[np.ndarray, " data"]:
    """Return sign(q) sqrt|q|."""
    return np.sign(q) * np.sqrt(np.abs(q))
