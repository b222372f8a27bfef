"""Unbinned likelihoods of a study: events of one region, or of several, beside regions in bins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from systwise.cases import Progress
from systwise.fit import (
    AbstractData,
    CombinedModel,
    FitResult,
    Model,
    UnbinnedData,
    UnbinnedModel,
    combined,
    fit,
    fit_log_ratios,
    study_auxiliary,
)
from systwise.learn import AbstractRatioObservable, RatioObservable
from systwise.parameters import Normalisation
from systwise.study.measure._measure import Setup, build_model, record_of_fit, stored, study_data
from systwise.study.measure._unbinned import weighted_events
from systwise.study.plan._plan import Plan
from systwise.study.records._results import Measurement
from systwise.study.records._summary import believable
from systwise.study.store._templates import StoredTemplates
from systwise.templates import Templates, join_templates, nuisance_point


@dataclasses.dataclass(frozen=True)
class EventRegion:
    """A region whose events are fitted one by one.

    Attributes:
        plan: of the region.
        observable: its density ratios.
        elsewhere: factors on yields of other regions only.
    """

    plan: Plan
    observable: AbstractRatioObservable
    elsewhere: tuple[Normalisation, ...] = ()

    @property
    def polynomial(self) -> bool:
        """Whether its ratios are polynomials in the nuisances, so that a fit needs the networks once."""
        return isinstance(self.observable, RatioObservable) and self.observable.polynomial

    def model(self, progress: Progress) -> UnbinnedModel:
        """Return yields and constraints; yields are interpolated between the anchors like templates."""
        plan, rates = self.plan, (*self.plan.case.normalisations, *self.elsewhere)
        arrays = self._yields(progress)
        return UnbinnedModel.from_yields(plan.case.components, plan.nuisances, plan.constraints, arrays, rates)

    def _yields(self, progress: Progress) -> list[np.ndarray]:
        """Return yields `[anchor, component]` for each nuisance that moves events; `[component]` without any."""
        plan = self.plan
        arrays: list[np.ndarray] = []
        for nuisance in plan.nuisances:
            if nuisance.kind != "norm":
                points = [nuisance_point(plan.nuisances, {nuisance.name: anchor}) for anchor in nuisance.anchors]
                arrays.append(plan.yields(np.stack(points), progress))
        return arrays or [plan.yields(nuisance_point(plan.nuisances)[None], progress)[0]]

    def templates(self, points: Sequence[Mapping[str, float]], progress: Progress) -> Templates:
        """Return the yields in one bin, as templates are stored."""
        plan, counts = self.plan, [array[..., None] for array in self._yields(progress)]
        moved = [nuisance for nuisance in plan.nuisances if nuisance.kind != "norm"]
        at = np.array([nuisance_point(plan.nuisances, plan.nuisance_values(dict(point))) for point in points])
        return Templates(
            edges=np.array([0.0, 1.0]),
            nuisances=tuple(nuisance.name for nuisance in moved),
            component_names=plan.case.components.names,
            anchors=tuple(np.asarray(nuisance.anchors, np.float64) for nuisance in moved),
            counts=tuple(counts),
            variances=tuple(np.zeros_like(array) for array in counts),
            moving=False,
            true_points=at.reshape(len(points), len(plan.nuisances)),
            truth=plan.yields(at, progress)[..., None],
            at_true=(),
            observable="unbinned",
        )

    def data(self, model: UnbinnedModel, number: int, point: dict[str, float], progress: Progress) -> UnbinnedData:
        """Return the Asimov data of a true point.

        Raises:
            TypeError: the ratios are no polynomials.
        """
        if not isinstance(self.observable, RatioObservable):
            raise TypeError("only learned ratios are polynomials in the nuisances")
        sample, scale = weighted_events(self.plan, self.observable, point, progress)
        coefficients, weights = sample.polynomial()
        return UnbinnedData(coefficients, self.observable.basis, weights @ scale, study_auxiliary(model, sample.z))

    def fit(self, model: UnbinnedModel, number: int, point: dict[str, float], progress: Progress) -> FitResult:
        """Fit the Asimov data of a true point, whatever the ratios are."""
        if self.polynomial:
            return fit(model, self.data(model, number, point, progress))
        sample, scale = weighted_events(self.plan, self.observable, point, progress)
        return fit_log_ratios(model, sample.log_ratios, sample.weights() @ scale, study_auxiliary(model, sample.z))


@dataclasses.dataclass(frozen=True)
class BinnedRegion:
    """A region in bins beside events.

    Attributes:
        plan: of the region.
        setup: its templates.
        elsewhere: factors on yields of other regions only.
    """

    plan: Plan
    setup: Setup
    elsewhere: tuple[Normalisation, ...] = ()

    def templates(self, points: Sequence[Mapping[str, float]], progress: Progress) -> Templates:
        """Return the templates of its bins."""
        return self.setup.templates

    def model(self, progress: Progress) -> Model:
        """Return the region's bins."""
        fit = self.plan.settings.fit
        return build_model(
            self.plan, self.setup.templates, fit.conventions[0], fit.simulation == "include", self.elsewhere
        )

    def data(self, model: Model, number: int, point: dict[str, float], progress: Progress) -> AbstractData:
        """Return the Asimov data of true point `number`."""
        return study_data(self.plan, model, self.setup.templates, number, point)


def elsewhere(plan: Plan, region: str) -> tuple[Normalisation, ...]:
    """Return the study's factors on yields that do not act in a region, as factors on nothing."""
    return tuple(
        dataclasses.replace(rate, regions=()) for rate in plan.normalisations if rate.within((region,)) is None
    )


@dataclasses.dataclass(frozen=True)
class UnbinnedFit:
    """One likelihood of regions of events, and of regions in bins beside them.

    Attributes:
        every: all regions by name, the first one of events.
    """

    every: Mapping[str, EventRegion | BinnedRegion]

    @property
    def regions(self) -> dict[str, EventRegion | BinnedRegion]:
        """Those that are fitted."""
        return {name: one for name, one in self.every.items() if one.plan.case.kind != "validation"}

    def stored(
        self, plan: Plan, strategy: str, seed: int, points: tuple[dict[str, float], ...], progress: Progress
    ) -> StoredTemplates:
        """Return what a measurement needs beside the networks: yields, and the bins of other regions."""
        parts = {name: one.templates(points, progress) for name, one in self.every.items()}
        first, *others = parts.values()
        setup = Setup(strategy, "none", seed, points, join_templates(parts) if others else first, None)
        events = tuple(name for name, one in self.every.items() if isinstance(one, EventRegion))
        return stored(plan, setup, events)

    @property
    def polynomial(self) -> bool:
        """Whether all ratios are polynomials in the nuisances."""
        return all(one.polynomial for one in self.regions.values() if isinstance(one, EventRegion))

    @property
    def bins(self) -> int:
        """Number of bins of the regions that are not of events."""
        return sum(one.setup.templates.bins for one in self.regions.values() if isinstance(one, BinnedRegion))

    def model(self, progress: Progress) -> UnbinnedModel | CombinedModel:
        """Return the likelihood; of one region its own."""
        models = {name: one.model(progress) for name, one in self.regions.items()}
        first = next(iter(models.values()))
        return first if len(models) == 1 and isinstance(first, UnbinnedModel) else combined(models)

    def fit(
        self, model: UnbinnedModel | CombinedModel, number: int, point: dict[str, float], progress: Progress
    ) -> FitResult:
        """Fit the Asimov data of true point `number`."""
        if isinstance(model, UnbinnedModel):
            (region,) = self.regions.values()
            return region.fit(model, number, point, progress)  # type: ignore[union-attr]
        data = {
            name: one.data(model.parts[name], number, point, progress)  # type: ignore[arg-type]
            for name, one in self.regions.items()
        }
        return fit(model, model.data(data))


def measure_unbinned(
    plan: Plan,
    strategy: str,
    seed: int,
    likelihood: UnbinnedFit,
    points: tuple[dict[str, float], ...],
    progress: Progress,
) -> list[Measurement]:
    """Fit weighted events of every true point that neither trained nor calibrated the ratios."""
    model = likelihood.model(progress)
    records = []
    for number, point in enumerate(points):
        progress(f"fit {strategy} unbinned", number, len(points))
        result = likelihood.fit(model, number, point, progress)
        labels = {"observable": "unbinned", "convention": "poisson", "binning": "none", "bins": likelihood.bins}
        records.append(record_of_fit(plan, strategy, seed, point, result, **labels))
    progress(f"fit {strategy} unbinned", len(points), len(points))
    return records


def unbinned_warnings(records: list[Measurement]) -> list[str]:
    """Return a sentence where the ratios do not find what was put in."""
    sentences = []
    for record in records:
        if believable(record) or record.estimate is None or record.sigma is None:
            continue
        off = (record.estimate - record.true[record.poi]) / record.sigma
        where = ", ".join(f"{name} = {value:.4g}" for name, value in record.true.items())
        sentences.append(
            f"{record.strategy}, unbinned, at {where}: the estimate is {off:+.1f} sigma off on events that trained "
            "nothing, so its sigma is not to be believed and does not compete; more simulated events, an ensemble or "
            "longer training help"
        )
    return sentences
