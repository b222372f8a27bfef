"""An event-wise uncertainty: a nuisance that moves one feature of the background and leaves another alone.

Background is N((shift z, 0), I), signal N((moved, still), I). The first feature separates better, and what
it says depends on z; the second separates less and says the same at every z. A classifier whose background
score is independent of z (a pivot, arXiv:1611.01046) can use the second one only. Areas under the ROC curve
at z = 0 and the distance that the background's score moves are known:

    all features: AUC = Phi(sqrt(moved^2 + still^2) / sqrt 2), KS(0, z) = 2 Phi(shift |z| cos / 2) - 1
    pivot:        AUC = Phi(still / sqrt 2),                   KS(0, z) = 0

with cos = moved / sqrt(moved^2 + still^2) and Phi the standard normal distribution.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from jaxtyping import Array, Float
from pydantic import Field

from systwise.cases._case import CASES, AbstractCase, Progress, no_progress
from systwise.cases._study_defaults import StudyDefaults
from systwise.cases._toy_events import BACKGROUND, PAPER, QUICK, sampled_table, simulated_table
from systwise.cases._truth import AbstractTruth
from systwise.events import AbstractVariation, Events, EventTable, Exactness
from systwise.parameters import (
    AbstractConstraint,
    Components,
    GaussianConstraint,
    Nuisance,
    signal_strength,
    uniform_anchors,
)
from systwise.settings import Settings


class EventwiseToySettings(Settings):
    """Settings of the event-wise toy; features and their shifts in units of their width."""

    moved: float = Field(2.0, gt=0)
    """Distance of signal and background at z = 0 in the feature that the nuisance moves."""
    still: float = Field(1.0, gt=0)
    """Distance of signal and background in the other feature."""
    shift: float = Field(1.0, gt=0)
    """Shift of the background towards the signal at z = 1."""
    signal: float = Field(100.0, gt=0)
    """Expected signal events at mu = 1."""
    background: float = Field(1_000.0, gt=0)
    """Expected background events."""
    width: float = Field(1.0, gt=0)
    """Width of the Gaussian constraint on z, around 0."""
    reach: float = Field(2.0, gt=1)
    """Largest |z| in the fit and in training."""
    anchors: int = Field(17, ge=5)
    """Values of z at which templates are made."""
    events: int = Field(100_000, ge=1000)
    """Simulated events, half of them signal."""


class _Shift(AbstractVariation):
    """Shift the first feature of the background."""

    nuisance: str = eqx.field(static=True)
    shift: float = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Add `shift z` to the first feature of background events."""
        moved = jnp.where(events.process == BACKGROUND, self.shift * z, 0)
        return eqx.tree_at(lambda e: e.features, events, events.features.at[:, 0].add(moved))


class EventwiseTruth(AbstractTruth):
    """The exact density ratio and the information it carries."""

    def __init__(self, settings: EventwiseToySettings) -> None:
        """Keep the settings."""
        self._s = settings

    def log_density(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "event component"]:
        """Return `ln N(x; (moved, still), I)` and `ln N(x; (shift z, 0), I)`."""
        s = self._s
        signal = (features[:, 0] - s.moved) ** 2 + (features[:, 1] - s.still) ** 2
        background = (features[:, 0] - s.shift * z[:, 0]) ** 2 + features[:, 1] ** 2
        return -jnp.stack([signal, background], axis=-1) / 2 - math.log(2 * math.pi)

    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return `x.D + (shift^2 z^2 - moved^2 - still^2) / 2`, D = (moved - shift z, still)."""
        s, at = self._s, self._s.shift * z[..., 0]
        along = features[:, 0] * (s.moved - at) + features[:, 1] * s.still
        return along + (at**2 - s.moved**2 - s.still**2) / 2

    def bound(self, poi: Float[np.ndarray, " poi"], z: Float[np.ndarray, " nuisance"]) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on mu, (profiled, nuisance known), by quadrature.

        The unbinned extended Fisher matrix is `int d_i nu d_j nu / nu`, with `nu = mu S p_s + B p_b` and
        `d_z nu = shift B p_b (x_0 - shift z)`. In the coordinate t along the distance D of the two means,
        counted from the background's, and the coordinate across, which integrates out, `x_0 - shift z` is
        `t cos - o sin` with cos = D_0/|D|. The constraint adds 1/width^2.
        """
        mu, s = float(np.asarray(poi).ravel()[0]), self._s
        apart = math.hypot(s.moved - s.shift * float(z[0]), s.still)
        cos = (s.moved - s.shift * float(z[0])) / apart

        def integral(power: int, of_signal: int, of_background: int) -> float:
            def integrand(t: float) -> float:
                signal = s.signal * math.exp(-0.5 * (t - apart) ** 2) / math.sqrt(2 * math.pi)
                background = s.background * math.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)
                return t**power * signal**of_signal * background**of_background / (mu * signal + background)

            return float(scipy.integrate.quad(integrand, -12, apart + 12, limit=400, epsrel=1e-10)[0])

        known = integral(0, 2, 0)
        mixed = s.shift * cos * integral(1, 1, 1)
        nuisance = s.shift**2 * (cos**2 * integral(2, 0, 2) + (1 - cos**2) * integral(0, 0, 2)) + s.width**-2
        return (known - mixed**2 / nuisance) ** -0.5, known**-0.5


@CASES.register
class EventwiseToy(AbstractCase):
    """The event-wise toy as a case: components (signal, background), one nuisance `shift`."""

    name = "eventwise-toy"
    summary = "a nuisance moves one feature and leaves another alone; the optimum is known"
    order = 5
    settings_class = EventwiseToySettings
    presets = {"paper": PAPER, "quick": QUICK}
    settings: EventwiseToySettings

    @property
    def features(self) -> tuple[str, ...]:
        """The feature that the nuisance moves, and the other."""
        return ("moved", "still")

    @property
    def components(self) -> Components:
        """Signal and background with coefficients (mu, 1)."""
        return signal_strength(-2.0, 10.0)

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The shift of the background, in units of `settings.shift`."""
        s = self.settings
        span = (-s.reach, s.reach)
        return (Nuisance("shift", 0.0, span, span, uniform_anchors(*span, s.anchors), label="shift $z$"),)

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """A Gaussian around zero."""
        return (GaussianConstraint("shift", self.settings.width),)

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The shift of the first feature."""
        return (_Shift("shift", self.settings.shift),)

    @property
    def defaults(self) -> StudyDefaults:
        """The nominal point and z = 1."""
        return StudyDefaults(
            true=({"shift": 0.0}, {"shift": 1.0}), uniform_bins=10, optimised_bins=20, shown=(-1.0, 0.0, 1.0)
        )

    @property
    def truth(self) -> EventwiseTruth:
        """The exact ratio and bound."""
        return EventwiseTruth(self.settings)

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Draw the events at z = 0."""
        s = self.settings
        return simulated_table(self, self._draw, s.events, (s.signal, s.background), seed)

    def sample(self, seed: int, counts: Sequence[int]) -> EventTable:
        """Draw `counts` (signal, background) events of weight 1 at z = 0."""
        return sampled_table(self, self._draw, counts, seed)

    def _draw(self, is_signal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        mean = np.array([self.settings.moved, self.settings.still], np.float32)
        return generator.standard_normal((len(is_signal), 2), dtype=np.float32) + is_signal[:, None] * mean
