"""An analysis described in a file, as a case like any other."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.cases._case import AbstractCase, Progress, no_progress
from systwise.cases._study_defaults import StudyDefaults
from systwise.cases.analysis._functions import (
    check_function,
    check_functions,
    import_function,
    source_of,
)
from systwise.cases.analysis._star import Star, build_star
from systwise.cases.analysis._variations import build_variations
from systwise.cases.analysis.file._formula import monomial
from systwise.cases.analysis.file._nuisances import build_constraints, build_nuisances
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.file._structure import (
    Action,
    Term,
    actions,
    build_components,
    build_normalisations,
    build_terms,
    freely_normalised,
    mirrored_sides,
)
from systwise.cases.analysis.file._view import RegionView, refuse_idle
from systwise.cases.analysis.reading._block import FileEvents
from systwise.cases.analysis.reading._layout import OWN, Layout, build_layout
from systwise.cases.analysis.reading._load import Loader, Reader
from systwise.cases.analysis.reading._missing import gather_missing
from systwise.cases.analysis.reading._portions import Portion, portions_of, whole_of
from systwise.cases.analysis.reading._read import read_source
from systwise.cases.analysis.reading._sources import Sources
from systwise.cases.analysis.reading._stored import store_of
from systwise.cases.analysis.reading._tallies import Tallies
from systwise.errors import Complaints
from systwise.events import AbstractVariation, Events, EventStore, EventTable, Expression, StreamSettings
from systwise.parameters import AbstractConstraint, Components, Normalisation, Nuisance

QUICK: dict[str, Any] = {
    "network": {"layers": 2, "width": 32},
    "training": {"passes": 4, "minimum_steps": 300, "evaluations": 8},
    "split": {"scheme": "folds", "folds": 2},
    "fit": {"conventions": ["poisson"]},
    "inference": {"plane": 0},
}


class Analysis(AbstractCase):
    """Events, parameters and uncertainties as a file describes them.

    Variations act in this order: samples, weights, rates, functions; then features are what they follow from, and
    the selection is applied.
    """

    name = "analysis"
    summary = "your own analysis, described in a YAML file"
    settings_class = AnalysisSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": QUICK}
    settings: AnalysisSettings

    def __init__(self, settings: AnalysisSettings, region: str | None = None) -> None:
        """Look up every name.

        Args:
            settings: the whole analysis.
            region: which of its regions this is; the first signal region with an observable of its own where None.

        Raises:
            ConfigError: the parts of the file do not fit together.
        """
        super().__init__(settings)
        first = next(r.name for r in settings.regions if r.kind == "signal" and r.observable is None)
        self.region: str = first if region is None else region
        self.view = RegionView(settings, self.region)
        self._binned = self.view.given and self.view.region.binning is not None
        self.terms: tuple[Term, ...] = build_terms(settings)
        self.actions: tuple[Action, ...] = actions(settings)
        self._components = build_components(settings, self.terms)
        self._nuisances = build_nuisances(settings, self.actions)
        self._normalisations = build_normalisations(settings, self.terms, self.actions, self.region)
        self.layout: Layout = build_layout(self.view, self.terms)
        self._functions = tuple(
            import_function(a.entry.function or "", Path(settings.folder), a.where) for a in self.layout.functions
        )
        refuse_idle(settings)
        self._moved = tuple(
            dict.fromkeys(
                name
                for action, function in zip(self.layout.functions, self._functions, strict=True)
                for name in check_function(function, self.layout.raw, action.where)
            )
        )

    @property
    def title(self) -> str:
        """The name of the measurement."""
        return self.settings.general.measurement

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the region's features."""
        return tuple(name for name, _ in self.view.features)

    @functools.cached_property
    def regions(self) -> Mapping[str, Analysis]:
        """All regions, this one first."""
        names = [r.name for r in self.settings.regions if r.name != self.region]
        return {self.region: self, **{name: Analysis(self.settings, name) for name in names}}

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the components whose samples are in this region."""
        return tuple(term.name for term in self.terms if term.sample in self.view.samples)

    @property
    def estimated(self) -> tuple[str, ...]:
        """Names of the components of samples that are estimated from data."""
        samples = self.settings.processes
        return tuple(term.name for term in self.terms if samples[term.sample].estimate is not None)

    @property
    def freely_normalised(self) -> frozenset[str]:
        """Names of the samples whose yield a free NormFactor multiplies, parameters of interest left out."""
        return freely_normalised(self.settings)

    @property
    def mirrored(self) -> Mapping[str, int]:
        """Nuisances with a symmetrised side in every entry, with the sign of that side."""
        return mirrored_sides(self.actions)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells cases apart: whether events outside the bins count is part of it."""
        return (*super().identity, self._binned)

    def in_bins(self) -> Analysis:
        """Return the region without events outside its Binning."""
        other = copy.copy(self)
        other._binned = self.view.region.binning is not None
        return other

    @property
    def exact(self) -> tuple[str, ...]:
        """Components of samples with DisableStaterror."""
        return tuple(t.name for t in self.terms if self.settings.processes[t.sample].disable_staterror)

    @functools.cached_property
    def smoothed(self) -> Mapping[str, frozenset[str]]:
        """Components whose templates are smoothed in this region, by nuisance."""
        return self.view.smoothed(self.terms)

    @property
    def kind(self) -> str:
        """`signal`, `control` or `validation`."""
        return self.view.region.kind

    @property
    def given(self) -> bool:
        """Whether the region has a given observable only: nothing is trained there."""
        return self.view.given

    @property
    def lender(self) -> str | None:
        """Name of the region whose classifiers are used here; None where they are trained here."""
        return self.view.lender

    @property
    def components(self) -> Components:
        """A component a sample, or several where its formula has several terms."""
        return self._components

    @property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The systematic uncertainties and the free factors that are no parameters of interest."""
        return self._nuisances

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """As the file says; Gaussian by default."""
        return build_constraints(self.nuisances, self.actions)

    @property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """Free factors and normalisation uncertainties."""
        return self._normalisations

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """Samples, weights, rates that go with a shape, functions."""
        return build_variations(self.view, self.layout, self.actions, self._functions)

    @property
    def formulas(self) -> tuple[tuple[str, str], ...]:
        """Names of the components and their coefficients, as words."""
        pois = self.settings.general.poi
        return tuple((term.name, monomial(term.powers, pois)) for term in self.terms)

    @property
    def ways(self) -> dict[str, str]:
        """How each nuisance acts on events, in words."""
        out: dict[str, list[str]] = {nuisance.name: [] for nuisance in self.nuisances}
        for action in self.actions:
            out[action.entry.name].append("envelope" if action.entry.envelope else action.entry.way)
        return {name: " and ".join(dict.fromkeys(ways)) or "free factor" for name, ways in out.items()}

    @property
    def defaults(self) -> StudyDefaults:
        """The nominal point, and one with the first shape nuisance one width up."""
        shapes = self.shape_nuisances
        true: tuple[dict[str, float], ...] = ({},)
        shown: tuple[float, ...] = tuple(n.nominal for n in self.nuisances[:1])
        if shapes:
            first = shapes[0]
            width = next(a.entry.width for a in self.actions if a.entry.name == first.name)
            low, high = first.range
            down, up = max(low, first.nominal - width), min(high, first.nominal + width)
            true = ({}, {first.name: up})
            shown = tuple(dict.fromkeys((down, first.nominal, up)))
        return StudyDefaults(true=true, uniform_bins=10, optimised_bins=15, shown=shown)

    def label(self, feature: str) -> str:
        """Return the label that the file gives, or the name."""
        return next((f.label for f in self.view.seen if f.name == feature and f.label), feature)

    @property
    def undefined(self) -> float | None:
        """The number that marks an undefined feature."""
        return self.settings.general.undefined

    @functools.cached_property
    def _late_cuts(self) -> tuple[tuple[Expression, tuple[int, ...]], ...]:
        """Parts of the selection that depend on columns which functions move, with the processes they hold for."""
        return self.view.late_cuts(self._moved)

    def select(self, events: Events) -> Events:
        """Set the weights of events to zero that fail the selection after a function moved them."""
        edges = self.view.region.binning
        if not self._late_cuts and not self._binned:
            return events
        columns = self._raw(events)
        kept = jnp.ones(events.weights.shape[0], bool)
        if edges and self._binned:
            value = self._variable(events)
            kept = (value >= edges[0]) & (value < edges[-1])
        for cut, processes in self._late_cuts:
            others = ~jnp.isin(events.process, jnp.array(processes))
            kept = kept & (others | jnp.asarray(cut.evaluate(columns, jnp), bool))
        return eqx.tree_at(lambda e: e.weights, events, jnp.where(kept[:, None], events.weights, 0))

    def _raw(self, events: Events) -> dict[str, Array]:
        return {name: events.columns[:, self.layout.first_raw + i] for i, name in enumerate(self.layout.raw)}

    @property
    def has_score(self) -> bool:
        """Whether the region has a Variable."""
        return self.view.region.variable is not None

    @property
    def score_edges(self) -> tuple[float, ...] | None:
        """Edges of the bins in which the region's Variable comes, None where it is continuous."""
        return self.view.region.binning

    def score(self, events: Events) -> Float[Array, " event"]:
        """Return the region's Variable, scaled from its range to [0, 1]; with Binning the middle of its bin there."""
        region, value = self.view.region, self._variable(events)
        if region.binning is not None:
            edges = jnp.asarray(region.binning, jnp.float32)
            count = len(region.binning) - 1
            return (jnp.clip(jnp.searchsorted(edges, value, side="right") - 1, 0, count - 1) + 0.5) / count
        low, high = region.variable_range
        return jnp.clip((value - low) / (high - low), 0, 1)

    def _variable(self, events: Events) -> Float[Array, " event"]:
        text = self.view.region.variable or "0"
        value = jnp.asarray(Expression(text).evaluate(self._raw(events), jnp), jnp.float32)
        return jnp.broadcast_to(value, events.process.shape)

    @functools.cached_property
    def _star(self) -> Star:
        variations = [variation for _, variation in self.layout.samples]
        return build_star(self.shape_nuisances, variations, len(self.settings.processes))

    def settle(
        self,
        events: Events,
        z: Float[Array, "event nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "event nuisance"], Float[Array, " event"] | None]:
        """Return the values at which rows are trained: those of samples where there are samples, see `Star`."""
        return self._star.settle(events, z, low, high, key) if self.layout.samples else (z, None)

    def settle_points(
        self,
        z: Float[Array, "point nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> Float[Array, "point nuisance"]:
        """Return hypotheses at which samples exist, see `Star`."""
        return self._star.settle_points(z, low, high, key) if self.layout.samples else z

    @property
    def settled(self) -> Mapping[str, int]:
        """Nuisances with samples, and at how many values there are any, the nominal one among them."""
        star, names = self._star, [nuisance.name for nuisance in self.shape_nuisances]
        return {names[j]: 1 + int((star.nuisance == j).sum()) for j in star.moved}

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Read the files; `seed` plays no part.

        Raises:
            DataError: the input is missing or unusable.
        """
        table = whole_of(self.settings, self._sources(), self._loader, progress)
        check_functions(self.layout, self._functions, table, self.view.samples)
        return table

    def store(self, settings: StreamSettings, progress: Progress = no_progress) -> EventStore | None:
        """Deal the events to parts on disk where there are more than `settings.above`; found again by their files.

        Raises:
            DataError: the input is missing or unusable.
        """
        return store_of(self.settings, self.region, self._sources(), self._loader, settings, progress)

    def thinned(self, table: EventTable, factor: float) -> EventTable:
        """Return a sample of the events with weights that stand for all, those of shifted samples included."""
        table = super().thinned(table, factor)
        if not self.layout.samples or table.columns is None:
            return table
        columns = table.columns.copy()
        columns[:, OWN : OWN + len(self.terms)] *= np.float32(factor)
        return dataclasses.replace(table, columns=columns)

    def _sources(self) -> Sources:
        return Sources(self.view, self.layout, self._moved, "\n".join(map(source_of, self._functions)))

    def _loader(self, sources: Sources, read: Reader, tallies: Tallies, first_id: int = 0) -> Loader:
        return Loader(self.view, self.layout, self.terms, sources, read, tallies, first_id)

    def portions(self, progress: Progress = no_progress, limit: int | None = None) -> Iterator[Portion]:
        """Read the files and yield their events a few at a time, with what was found in them.

        Args:
            progress: told about blocks read.
            limit: events to read of each sample, all where None.

        Raises:
            DataError: the input is missing or unusable.
        """
        for portion in portions_of(self.settings, self._sources(), self._loader, progress, limit):
            check_functions(self.layout, self._functions, portion.table, (portion.sample,))
            yield portion

    def observed(self, progress: Progress = no_progress) -> EventTable:
        """Read the observed events of the region.

        Raises:
            ConfigError: the region has no data.
            DataError: the data are missing or unusable.
        """
        sources, tallies = self._sources(), Tallies()
        sources.data()
        read = functools.partial(read_source, self.settings, progress=progress)
        return self._loader(sources, read, tallies).observed()

    def complain(self, complaints: Complaints) -> None:
        """Look for the files of the region and the columns that they should have, and gather what is missing."""
        sources = self._sources()
        read = functools.partial(read_source, self.settings)
        gather_missing(self.settings, sources, self._loader(sources, read, Tallies()), complaints)

    def events_of(self, path: Path, sample: str, tree: str | None = None) -> FileEvents:
        """Return what this region sees of a file of events, taken as those of a sample at the nominal point.

        Raises:
            ConfigError: there is no such sample, or it is made of others.
            DataError: the file cannot be read.
        """
        sources = self._sources()
        source = sources.file(sample, path, tree)
        return FileEvents(self.settings, source, lambda read: self._loader(sources, read, Tallies()), path)
