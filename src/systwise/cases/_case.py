"""What a physics problem must offer, and the one method through which nuisances act."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.events import AbstractVariation, Events, EventTable
from systwise.parameters import AbstractConstraint, Components, Nuisance
from systwise.registry import Registry
from systwise.settings import Settings

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)` by anything that may take longer than a second."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


def relabelled(progress: Progress, label: str) -> Progress:
    """Return a progress callback that reports everything under `label`."""
    return lambda what, done, total: progress(label, done, total)


@dataclasses.dataclass(frozen=True)
class StudyDefaults:
    """What a study of the case does unless told otherwise (a paper's choice where there is one).

    Attributes:
        true: true nuisance values to study, `{nuisance: value}` each; the nominal point first.
        uniform_bins: bins of the uniform binning of the score in (0, 1).
        optimised_bins: bins of the optimised binning.
        shown: three values of the first nuisance for feature and score distributions.
        paper_grid: the paper's nuisance values for its profile, where it has one.
    """

    true: tuple[dict[str, float], ...]
    uniform_bins: int
    optimised_bins: int
    shown: tuple[float, ...]
    paper_grid: tuple[float, ...] | None = None


class AbstractTruth(abc.ABC):
    """The known optimum of a problem whose densities can be written down."""

    @abc.abstractmethod
    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return ln of the density ratio of signal to background at nuisance values `z`."""

    @abc.abstractmethod
    def bound(self, poi: Float[np.ndarray, " poi"], z: Float[np.ndarray, " nuisance"]) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on the first parameter of interest: (profiled, nuisances known)."""


class AbstractCase(abc.ABC):
    """A physics problem: its events, how nuisances move them, and its known optimum.

    Subclasses are immutable, hold validated `settings`, and compare equal when their settings do, so
    that jitted functions may take them as static arguments.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_class: ClassVar[type[Settings]]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named layers of study settings: `paper` (a publication's choices), `quick` (a small version)."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; subclasses derive everything else from them."""
        self.settings = settings

    def __hash__(self) -> int:
        """Hash by class and settings."""
        return hash((type(self), self.settings))

    def __eq__(self, other: object) -> bool:
        """Compare by class and settings."""
        return type(self) is type(other) and self.settings == other.settings  # type: ignore[attr-defined]

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
        """The nuisances, in the order of every `[nuisance]` axis."""

    @property
    @abc.abstractmethod
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """One constraint a nuisance, in the same order."""

    @property
    @abc.abstractmethod
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The variations, applied in this order."""

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

    def select(self, events: Events) -> Events:
        """Set the weights of events that fail the selection to zero (no selection by default)."""
        return events

    def vary(self, events: Events, z: Float[Array, "*event nuisance"]) -> Events:
        """Return the events at nuisance values `z`, `[nuisance]` or `[event, nuisance]`; pure JAX.

        The nominal point takes the same path as any other. The selection comes last: a threshold
        acts on shifted quantities.
        """
        count = events.weights.shape[0]
        values = jnp.broadcast_to(z, (count, len(self.nuisances)))
        names = [nuisance.name for nuisance in self.nuisances]
        for variation in self.variations:
            events = variation.apply(events, values[:, names.index(variation.nuisance)])
        return self.select(events)


CASES: Registry[AbstractCase] = Registry("case", "systwise.cases")
