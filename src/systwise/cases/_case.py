"""What a physics problem must offer, and the one method through which nuisances act."""

from __future__ import annotations

import abc
import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from systwise.cases._study_defaults import StudyDefaults
from systwise.cases._truth import AbstractTruth
from systwise.errors import ConfigError
from systwise.events import AbstractVariation, Events, EventStore, EventTable, StreamSettings
from systwise.parameters import AbstractConstraint, Components, Normalisation, Nuisance
from systwise.registry import Registry
from systwise.settings import Settings

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)` by anything that may take longer than a second."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


def event_generator(seed: int, word: str) -> np.random.Generator:
    """Return the stream of random numbers that belongs to `seed` and `word`, the same on every machine."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(word.encode())])
    return np.random.Generator(np.random.Philox(sequence))


def sampled_ids(seed: int, count: int) -> np.ndarray:
    """Return `count` event ids of pseudo-experiment `seed`, unlike those of any other and of `load`."""
    return (np.int64(seed) + 1) * 2**31 + np.arange(count, dtype=np.int64)


def relabelled(progress: Progress, label: str) -> Progress:
    """Return a progress callback that reports everything under `label`."""
    return lambda what, done, total: progress(label, done, total)


class AbstractCase(abc.ABC):
    """A physics problem: its events, how nuisances move them, and its known optimum.

    Subclasses are immutable, hold validated `settings`, and compare equal when their settings do, so
    that jitted functions may take them as static arguments.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_class: ClassVar[type[Settings]]
    region: str = "signal region"
    """Which region of phase space the events are of."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named layers of study settings: `paper` (a publication's choices), `quick` (a small version)."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; subclasses derive everything else from them."""
        self.settings = settings

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells cases apart."""
        return (type(self), self.settings, self.region)

    def __hash__(self) -> int:
        """Hash by `identity`."""
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        """Compare by `identity`."""
        return isinstance(other, AbstractCase) and self.identity == other.identity

    @property
    def title(self) -> str:
        """What tables and reports call the case."""
        return self.name

    @property
    @abc.abstractmethod
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of the `[feature]` axis."""

    @property
    @abc.abstractmethod
    def components(self) -> Components:
        """The components and their coefficients."""

    @property
    @abc.abstractmethod
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The nuisances, in the order of every `[nuisance]` axis; those of kind `norm` (yields only) last."""

    @property
    @abc.abstractmethod
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """One constraint a nuisance, in the same order."""

    @property
    @abc.abstractmethod
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The variations, applied in this order."""

    @property
    def shape_nuisances(self) -> tuple[Nuisance, ...]:
        """The nuisances that move events: all but those of kind `norm`, which come last."""
        return tuple(nuisance for nuisance in self.nuisances if nuisance.kind != "norm")

    @property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """Factors on the components' yields, exact in the fit; they move no event (none by default)."""
        return ()

    @property
    def hypotheses(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Parameters of interest of the two hypotheses that a classifier tells apart, the alternative first.

        None where the components name no alternative: the first component is told from all others.
        """
        alternative = self.components.alternative
        return None if alternative is None else (alternative, self.components.nominal)

    @property
    def kind(self) -> str:
        """`signal`, `control` or `validation`: what the region is for."""
        return "signal"

    @property
    def lender(self) -> str | None:
        """Name of the region whose classifiers are used here; None where they are trained here."""
        return None

    @property
    def given(self) -> bool:
        """Whether there is a given observable only, so that nothing is trained."""
        return False

    @property
    def score_edges(self) -> tuple[float, ...] | None:
        """Edges of the analyst's own score in its own unit, where it comes in bins; it is then fitted in these."""
        return None

    def in_bins(self) -> AbstractCase:
        """Return the case without events outside the bins in which its own score comes (itself by default)."""
        return self

    @property
    def regions(self) -> Mapping[str, AbstractCase]:
        """All regions by name, this one first; those of kind `validation` do not enter the likelihood.

        Their components and nuisances are the same.
        """
        return {self.region: self}

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the components that have events in this region; all by default."""
        return self.components.names

    @property
    def estimated(self) -> tuple[str, ...]:
        """Names of the components that are made of data less simulation, so that a bin may be negative."""
        return ()

    @property
    def exact(self) -> tuple[str, ...]:
        """Names of the components whose limited simulation is no uncertainty."""
        return ()

    @property
    def smoothed(self) -> Mapping[str, frozenset[str]]:
        """Components whose templates are smoothed in this region, by nuisance."""
        return {}

    @property
    def mirrored(self) -> Mapping[str, int]:
        """Nuisances of which one side is the mirror image of the other, with the sign of that side."""
        return {}

    @property
    def sample_features(self) -> tuple[str, ...]:
        """Features that belong to a data set and not to an event: one value for all its events (none by default).

        Their column in the table is a placeholder. `vary` sets them to the value of the reference hypothesis, at the
        nuisance values or always at the nominal ones (`sample_moves`); training draws them for each hypothesis, an
        event at a time, so that the network learns how well the number is known. Strategies that are told the
        nuisances do not see them: hypothesis and nuisances determine the value, which would give the hypothesis away.
        """
        return ()

    @property
    def sample_moves(self) -> bool:
        """Whether `vary` lets features of the sample follow the nuisances.

        If it does not, a score is one function of the event, whatever the hypothesis: a fixed observable.
        """
        return True

    def sample_values(
        self, theta: Float[Array, " poi"], z: Float[Array, "*event nuisance"]
    ) -> Float[Array, "*event sample_feature"]:
        """Return the values of `sample_features` for data of hypothesis `theta` at nuisances `z`; pure JAX."""
        return jnp.zeros((*z.shape[:-1], 0), jnp.float32)

    def holdouts(self) -> Mapping[str, np.ndarray]:
        """Return variations that no training sees: weights `[event, component]` of the loaded events, by name."""
        return {}

    @property
    def log_features(self) -> tuple[str, ...]:
        """Positive features with a long tail, which networks see as their logarithm (none by default)."""
        return ()

    def columns_of(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the places of features by name."""
        return tuple(self.features.index(name) for name in names)

    def with_sample_values(
        self,
        features: Float[Array, "event feature"],
        theta: Float[Array, " poi"],
        z: Float[Array, "event nuisance"],
    ) -> Float[Array, "event feature"]:
        """Return the features with those of the sample as `theta` and `z` have them."""
        values = self.sample_values(theta, z).astype(features.dtype)
        return features.at[:, jnp.array(self.columns_of(self.sample_features))].set(values)

    @property
    @abc.abstractmethod
    def defaults(self) -> StudyDefaults:
        """What a study does unless told otherwise."""

    def label(self, feature: str) -> str:
        """Return the axis label of a feature, with unit (its name unless a case knows better)."""
        return feature

    @property
    def undefined(self) -> float | None:
        """The number that marks an undefined feature, or None."""
        return None

    @property
    def truth(self) -> AbstractTruth | None:
        """The known optimum, or None where nobody knows it."""
        return None

    @abc.abstractmethod
    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Generate or read the events at nominal nuisance values.

        Raises:
            DataError: the input is missing or unusable.
        """

    def observed(self, progress: Progress = no_progress) -> EventTable:
        """Return the observed events of the region, with weight 1 in the first component.

        Raises:
            ConfigError: the case or the region has none.
            DataError: the data are missing or unusable.
        """
        raise ConfigError(f"case '{self.name}' has no observed data; describe some in an analysis file")

    def store(self, settings: StreamSettings, progress: Progress = no_progress) -> EventStore | None:
        """Return the events on disk where they are too many for memory; None where `load` is the way (the default).

        Args:
            settings: how many are too many, and the size of a part.
            progress: told about blocks read.

        Raises:
            DataError: the input is missing or unusable.
        """
        return None

    def thinned(self, table: EventTable, factor: float) -> EventTable:
        """Return a random sample of the events with weights that stand for all of them, `factor` times its own."""
        return dataclasses.replace(table, weights=(table.weights * factor).astype(np.float32))

    def sample(self, seed: int, counts: Sequence[int]) -> EventTable | None:
        """Draw fresh events for a pseudo-experiment, or return None where events are finite in number.

        The events are at nominal nuisance values (`vary` moves them to the true ones) and independent
        of those of `load`, whatever the seeds.

        Args:
            seed: seed of the pseudo-experiment.
            counts: `[component]` number of events of each component.

        Returns:
            `counts[k]` events of weight 1 in component k and 0 elsewhere, one component after the other.
        """
        return None

    def generate(self, path: Path, seed: int, progress: Progress = no_progress) -> list[tuple[str, str]]:
        """Write freshly generated events to a file and return what they are, as rows of a table.

        Raises:
            ConfigError: the case has no generator of its own.
            DataError: the file cannot be written.
        """
        raise ConfigError(f"case '{self.name}' has no generator; `systwise vary` writes its events to a file")

    @property
    def smooth(self) -> bool:
        """Whether events are smooth functions of continuous nuisances: not where a selection cuts on what moves."""
        return type(self).select is AbstractCase.select

    def settle(
        self,
        events: Events,
        z: Float[Array, "event nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "event nuisance"], Float[Array, " event"] | None]:
        """Return the nuisance values at which training sees each event, and what each event then counts for.

        A case whose simulation exists at a few values only settles on these; all others take the values drawn.

        Args:
            events: as in the table.
            z: values drawn.
            low: lowest value of the draw; equal to `high` where the value is fixed.
            high: highest value of the draw.
            key: for choices of its own.

        Returns:
            The values, and factors on the weights (None: all 1).
        """
        return z, None

    def settle_points(
        self,
        z: Float[Array, "point nuisance"],
        low: Float[Array, " nuisance"],
        high: Float[Array, " nuisance"],
        key: Key[Array, ""],
    ) -> Float[Array, "point nuisance"]:
        """Return hypotheses distributed as the nuisance values at which `settle` sees events.

        Args:
            z: uniform draws.
            low: lowest value of the draw; equal to `high` where the value is fixed.
            high: highest value of the draw.
            key: for choices of its own.
        """
        return z

    @property
    def settled(self) -> Mapping[str, int]:
        """Nuisances that training sees at a few values only (`settle`), with their number; never two moved at once."""
        return {}

    @property
    def has_score(self) -> bool:
        """Whether the events come with a score of the analyst's own."""
        return False

    def score(self, events: Events) -> Float[Array, " event"]:
        """Return the analyst's own score of varied events, between 0 and 1; pure JAX.

        Raises:
            ConfigError: the events have none.
        """
        raise ConfigError(f"case '{self.name}' has no score of its own; leave strategy 'column' out")

    def select(self, events: Events) -> Events:
        """Set the weights of events that fail the selection to zero (no selection by default)."""
        return events

    def vary(self, events: Events, z: Float[Array, "*event nuisance"]) -> Events:
        """Return the events at nuisance values `z`, `[nuisance]` or `[event, nuisance]`; pure JAX.

        Values of nuisances of kind `norm`, which move no event, may be left out. The nominal point takes
        the same path as any other. The selection comes last: a threshold acts on shifted quantities.
        """
        count = events.weights.shape[0]
        values = jnp.broadcast_to(z, (count, z.shape[-1]))
        names = [nuisance.name for nuisance in self.nuisances]
        for variation in self.variations:
            events = variation.apply(events, values[:, names.index(variation.nuisance)])
        if self.sample_features:
            reference = jnp.asarray(self.components.nominal, jnp.float32)
            nominal = jnp.asarray([nuisance.nominal for nuisance in self.shape_nuisances], values.dtype)
            at = values if self.sample_moves else jnp.broadcast_to(nominal, (count, len(nominal)))
            features = self.with_sample_values(events.features, reference, at)
            events = eqx.tree_at(lambda e: e.features, events, features)
        return self.select(events)


CASES: Registry[AbstractCase] = Registry("case", "systwise.cases")
