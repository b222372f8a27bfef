"""Ways to measure with an observable: each is prepared once, fitted at its true points, and repeated by toys."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Literal

from systwise.cases import Progress, relabelled
from systwise.fit import CombinedModel, Model, UnbinnedModel
from systwise.learn import AbstractObservable, AbstractRatioObservable, RatioObservable
from systwise.study.measure._anchored import anchored_setup
from systwise.study.measure._binned import binned_setups, moves
from systwise.study.measure._measure import Setup, build_model, measure, stored
from systwise.study.measure._regions import RegionSetups
from systwise.study.measure._unbinned import ratio_check
from systwise.study.measure._unbinned_fit import (
    BinnedRegion,
    EventRegion,
    UnbinnedFit,
    elsewhere,
    measure_unbinned,
    unbinned_warnings,
)
from systwise.study.plan._plan import Plan
from systwise.study.records._plotdata import LikelihoodScan, RatioCheck
from systwise.study.records._results import Measurement
from systwise.study.store._templates import StoredTemplates


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An observable ready for pseudo-experiments.

    Attributes:
        setup: templates of a binned or anchored observable; None for an unbinned one.
        model: what is fitted.
        convention: terms in the data alone.
    """

    setup: Setup | None
    model: Model | UnbinnedModel | CombinedModel
    convention: str

    @property
    def kind(self) -> Literal["fixed", "moving", "anchored", "unbinned"]:
        """Kind of the observable."""
        return "unbinned" if self.setup is None else self.setup.templates.observable

    @property
    def binning(self) -> str:
        """Name of the binning."""
        return "none" if self.setup is None else self.setup.binning


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a strategy made for some true points.

    Attributes:
        plan: the study, in its first region.
        strategy: name of the strategy.
        seed: of the training.
        observable: of the first region.
        points: true points that it serves.
        others: what is observed in the other regions.
        progress: told about scoring and fits.
    """

    plan: Plan
    strategy: str
    seed: int
    observable: AbstractObservable
    points: tuple[dict[str, float], ...]
    others: RegionSetups
    progress: Progress


class AbstractMeasurement(abc.ABC):
    """One way to measure with an observable.

    Attributes:
        subject: what is measured with.
        setups: templates, after `prepare`; none where there are no bins.
        warnings: what was noticed.
    """

    kind: ClassVar[str]
    """Its name in `fit.observables`."""

    def __init__(self, subject: Subject) -> None:
        """Keep what is measured with."""
        self.subject = subject
        self.setups: list[Setup] = []
        self.warnings: list[str] = []

    @abc.abstractmethod
    def prepare(self) -> None:
        """Score the events once."""

    @abc.abstractmethod
    def fit(self, shown: bool) -> tuple[list[Measurement], list[LikelihoodScan]]:
        """Return a record a fit, and what figures show of them where `shown`."""

    @abc.abstractmethod
    def toys(self) -> list[Fitted]:
        """Return what pseudo-experiments fit: one convention each."""

    def stored(self) -> list[StoredTemplates]:
        """Return what observed data are measured with later."""
        return [stored(self.subject.plan, setup) for setup in self.setups]

    def checks(self) -> list[RatioCheck]:
        """Return diagnostics of density ratios, where the measurement rests on them."""
        return []


class AbstractTemplateMeasurement(AbstractMeasurement):
    """A likelihood of counts in bins or cells, joined to those of the other regions."""

    def fit(self, shown: bool) -> tuple[list[Measurement], list[LikelihoodScan]]:
        """Return a record a fit, and what figures show of them where `shown`."""
        records, scans = [], []
        for setup in self.setups:
            self.subject.progress(f"fit {self.subject.strategy}", 0, 1)
            found, shown_scans = measure(self.subject.plan, setup, shown)
            self.subject.progress(f"fit {self.subject.strategy}", 1, 1)
            records += found
            scans += shown_scans
        return records, scans

    def toys(self) -> list[Fitted]:
        """Return what pseudo-experiments fit: one convention each."""
        fit = self.subject.plan.settings.fit
        convention, included = fit.conventions[0], fit.simulation == "include"
        return [
            Fitted(setup, build_model(self.subject.plan, setup.templates, convention, included), convention)
            for setup in self.setups
        ]


class BinnedMeasurement(AbstractTemplateMeasurement):
    """The score in bins, one setup a binning."""

    kind = "binned"

    def prepare(self) -> None:
        """Score the events once and bin them."""
        s = self.subject
        setups, said = binned_setups(s.plan, s.strategy, s.seed, s.observable, s.points, s.progress)
        self.warnings += said
        self.setups = s.others.joined(s.plan.case.region, setups)


class AnchoredMeasurement(AbstractTemplateMeasurement):
    """A score that moves with the hypothesis, taken at fixed hypotheses, in joint cells."""

    kind = "anchored"

    def prepare(self) -> None:
        """Choose cells and fill them."""
        s = self.subject
        if moves(s.plan, s.observable):
            told = relabelled(s.progress, f"anchor {s.strategy}")
            setup, said = anchored_setup(s.plan, s.strategy, s.seed, s.observable, s.points, told)
            self.warnings += said
            self.setups = s.others.joined(s.plan.case.region, [setup])


class UnbinnedMeasurement(AbstractMeasurement):
    """The density ratios of single events, beside the bins of regions that have none."""

    kind = "unbinned"

    def __init__(self, subject: Subject) -> None:
        """Keep what is measured with."""
        super().__init__(subject)
        self.likelihood: UnbinnedFit | None = None

    def prepare(self) -> None:
        """Score the events of the other regions; those with ratios are scored in the fit."""
        s = self.subject
        if not isinstance(s.observable, AbstractRatioObservable):
            return
        regions: dict[str, EventRegion | BinnedRegion] = {}
        observed: dict[str, tuple[Plan, AbstractObservable]] = {s.plan.case.region: (s.plan, s.observable)}
        observed |= {name: (one.plan, one.observable) for name, one in s.others.observed.items()}
        for name, (plan, observable) in observed.items():
            rates = elsewhere(s.plan, name) if len(observed) > 1 else ()
            if isinstance(observable, AbstractRatioObservable):
                regions[name] = EventRegion(plan, observable, rates)
            else:
                setup = s.others.binned(name)
                regions[name] = BinnedRegion(plan, setup, rates)
        exact = [name for name, one in regions.items() if isinstance(one, EventRegion) and not one.polynomial]
        if len(regions) > 1 and exact:
            self.warnings.append(
                f"{s.strategy}: its unbinned likelihood was not measured, because the ratios in {', '.join(exact)} are "
                "no polynomials in the nuisances, which a fit of several regions needs; set its form to polynomial"
            )
            return
        self.likelihood = UnbinnedFit(regions)

    def fit(self, shown: bool) -> tuple[list[Measurement], list[LikelihoodScan]]:
        """Return a record a true point."""
        s = self.subject
        if self.likelihood is None:
            return [], []
        found = measure_unbinned(s.plan, s.strategy, s.seed, self.likelihood, s.points, s.progress)
        self.warnings += unbinned_warnings(found)
        return found, []

    def stored(self) -> list[StoredTemplates]:
        """Return yields and bins, where the ratios are polynomials."""
        s = self.subject
        if self.likelihood is None or not self.likelihood.polynomial:
            return []
        return [self.likelihood.stored(s.plan, s.strategy, s.seed, s.points, s.progress)]

    def toys(self) -> list[Fitted]:
        """Return the likelihood of one region whose ratios are polynomials; others are too slow, or have no events."""
        s = self.subject
        if self.likelihood is None or s.plan.others or not self.likelihood.polynomial:
            return []
        return [Fitted(None, self.likelihood.model(s.progress), "poisson")]

    def checks(self) -> list[RatioCheck]:
        """Return the diagnostics of the ratios, region by region."""
        s = self.subject
        return [
            ratio_check(one.plan, s.strategy, one.observable, s.points, s.seed, name if s.plan.others else "")
            for name, one in (self.likelihood.regions.items() if self.likelihood is not None else ())
            if isinstance(one, EventRegion) and isinstance(one.observable, RatioObservable)
        ]


MEASUREMENTS: tuple[type[AbstractMeasurement], ...] = (BinnedMeasurement, AnchoredMeasurement, UnbinnedMeasurement)
"""All of them, in the order of the records."""
