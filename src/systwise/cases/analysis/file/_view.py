"""An analysis as one of its regions sees it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Sequence

from systwise.cases.analysis.file._parts import matching
from systwise.cases.analysis.file._settings import AnalysisSettings, Feature, Region
from systwise.cases.analysis.file._structure import Action, Term, actions, chosen_samples
from systwise.errors import ConfigError
from systwise.events import Expression


@dataclasses.dataclass(frozen=True)
class RegionView:
    """The settings of an analysis and one of its regions.

    Attributes:
        settings: the whole analysis.
        name: of the region.
    """

    settings: AnalysisSettings
    name: str

    @functools.cached_property
    def region(self) -> Region:
        """The region."""
        return next(region for region in self.settings.regions if region.name == self.name)

    @functools.cached_property
    def actions(self) -> tuple[Action, ...]:
        """The systematic uncertainties that act here, on the samples that are here."""
        here = set(self.samples)
        found = (
            dataclasses.replace(action, samples=tuple(k for k in action.samples if k in here))
            for action in actions(self.settings)
            if self.name in action.regions
        )
        return tuple(action for action in found if action.samples)

    @functools.cached_property
    def samples(self) -> tuple[int, ...]:
        """Numbers of the expected samples that are in this region.

        Raises:
            ConfigError: a pattern matches no region, an estimate has no filter for the region, or no sample is here.
        """
        settings = self.settings
        found = []
        for number, sample in enumerate(settings.processes):
            where = settings.place(sample)
            if self.name not in settings.in_regions(sample.regions, f"{where}.Regions"):
                continue
            if sample.estimate is not None and isinstance(sample.estimate.filter, dict):
                unknown = set(sample.estimate.filter) - {region.name for region in settings.regions}
                if unknown:
                    raise ConfigError(f"{where}.Estimate.Filter: unknown region '{min(unknown)}'")
                if self.name not in sample.estimate.filter:
                    raise ConfigError(
                        f"{where}.Estimate.Filter: has no selection for region '{self.name}'; give it, or say with "
                        "Regions where the sample is"
                    )
            found.append(number)
        if not found:
            raise ConfigError(f"Regions ('{self.name}'): no sample is in this region; see Regions of the samples")
        return tuple(found)

    def filter_of(self, number: int) -> str | None:
        """Return the selection of an expected sample; its own one takes the place of the region's, as in cabinetry."""
        sample = self.settings.processes[number]
        if sample.estimate is not None:
            own = sample.estimate.filter
            return own if isinstance(own, str) else own[self.name]
        return sample.filter or self.region.filter

    def smoothed(self, terms: Sequence[Term]) -> dict[str, frozenset[str]]:
        """Return the components whose templates are smoothed in the region, by nuisance.

        Raises:
            ConfigError: a sample or region is unknown.
        """
        names = [sample.name for sample in self.settings.processes]
        found: dict[str, frozenset[str]] = {}
        for number, entry in enumerate(self.settings.systematics):
            where, smoothing = f"Systematics.{number}.Smoothing", entry.smoothing
            if smoothing is None or self.name not in self.settings.in_regions(smoothing.regions, f"{where}.Regions"):
                continue
            asked = names if smoothing.samples is None else smoothing.samples
            chosen = matching(asked, names, f"{where}.Samples", "sample")
            own = frozenset(term.name for term in terms if names[term.sample] in chosen)
            found[entry.name] = found.get(entry.name, frozenset()) | own
        return found

    def late_cuts(self, moved: Collection[str]) -> tuple[tuple[Expression, tuple[int, ...]], ...]:
        """Return parts of the selection that depend on columns which functions move, with the samples they hold for."""
        cuts: dict[str, list[int]] = {}
        for number in self.samples:
            text = self.filter_of(number)
            if self.settings.processes[number].estimate is not None:
                continue
            for part in Expression(text).parts() if text is not None else ():
                if set(part.names) & set(moved):
                    cuts.setdefault(part.text, []).append(number)
        return tuple((Expression(text), tuple(numbers)) for text, numbers in cuts.items())

    @property
    def given(self) -> bool:
        """Whether the region has a given observable only."""
        return not self.region.features and self.region.observable is None

    @functools.cached_property
    def features(self) -> tuple[tuple[str, Expression], ...]:
        """Names and expressions of what classifiers see; the Variable where nothing is trained."""
        region = self.region
        if self.given:
            return ((region.variable or "", Expression(region.variable or "0")),)
        return tuple((f.name, Expression(f.expression or f"`{f.name}`")) for f in self.seen)

    @property
    def seen(self) -> tuple[Feature, ...]:
        """The features, of the lending region where the observable is lent; none of a given observable."""
        lender = self.lender
        return self.region.features if lender is None else RegionView(self.settings, lender).seen

    @property
    def lender(self) -> str | None:
        """Name of the region whose classifiers are used here."""
        return None if self.region.observable is None else self.region.observable.region


def refuse_idle(settings: AnalysisSettings) -> None:
    """Refuse a free factor that no fitted region can determine.

    Raises:
        ConfigError: naming it.
    """
    views = [RegionView(settings, region.name) for region in settings.regions if region.kind != "validation"]
    for number, factor in enumerate(settings.norm_factors):
        if factor.name in settings.general.poi or factor.fixed:
            continue
        where = f"NormFactors.{number} ('{factor.name}')"
        own = set(chosen_samples(factor.samples, settings, f"{where}.Samples"))
        names = settings.in_regions(factor.regions, f"{where}.Regions")
        if not any(view.name in names and own & set(view.samples) for view in views):
            raise ConfigError(
                f"{where}: nothing constrains it, because none of its samples is in a fitted region where it acts; see "
                "Regions of the samples and of the factor, or leave it out"
            )
