"""A sample-wise uncertainty: a theory nuisance that moves the signal's rate and no feature of any event.

Background is N(0, 1), signal N(separation, 1) in the only feature of the events; the signal's rate is
`mu S k^z`. The second input of the classifier belongs to the data set: its total rate relative to the
nominal one, `(mu S k^z + B) / (S + B)`. In training every event of a hypothesis gets the rate at a value of
z drawn for it, which is how a network learns of a flat uncertainty (arXiv:1807.08763): the rate tells the
hypotheses mu = `alternative` and mu = 1 apart as well as the prior of z allows, and it tells z. A classifier
whose score is independent of z has to give the rate up.

No classifier changes what a fit can know: mu and k^z appear as a product only, so that
`sigma(mu)^2 = 1/I + (mu width ln k)^2` with I the information on mu at a known z. The second term does not
fall with the number of events.
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
from systwise.cases._toy_events import PAPER, QUICK, sampled_table, simulated_table
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


class SamplewiseToySettings(Settings):
    """Settings of the sample-wise toy."""

    separation: float = Field(2.0, gt=0)
    """Distance of signal and background in the feature, in units of its width."""
    factor: float = Field(1.3, gt=1)
    """Factor k on the signal's rate at z = 1."""
    alternative: float = Field(1.5, gt=1)
    """Signal strength of the hypothesis that classifiers tell from mu = 1."""
    signal: float = Field(500.0, gt=0)
    """Expected signal events at mu = 1, z = 0."""
    background: float = Field(500.0, gt=0)
    """Expected background events."""
    width: float = Field(1.0, gt=0)
    """Width of the Gaussian constraint on z, around 0."""
    reach: float = Field(3.0, gt=1)
    """Largest |z| in the fit."""
    anchors: int = Field(13, ge=5)
    """Values of z at which templates are made."""
    events: int = Field(100_000, ge=1000)
    """Simulated events, half of them signal."""


class _Rate(AbstractVariation):
    """Scale the signal's weights."""

    nuisance: str = eqx.field(static=True)
    factor: float = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply the signal's weights by `factor^z`."""
        scaled = events.weights[:, 0] * self.factor**z
        return eqx.tree_at(lambda e: e.weights, events, events.weights.at[:, 0].set(scaled))


class SamplewiseTruth(AbstractTruth):
    """The exact density ratio of events and the information of a data set."""

    def __init__(self, settings: SamplewiseToySettings) -> None:
        """Keep the settings."""
        self._s = settings

    def log_density(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "event component"]:
        """Return `ln N(x; separation, 1)` and `ln N(x; 0, 1)`; the rate belongs to no event."""
        x = features[:, 0]
        squares = jnp.stack([(x - self._s.separation) ** 2, x**2], axis=-1)
        return -squares / 2 - 0.5 * math.log(2 * math.pi)

    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return `separation x - separation^2 / 2`."""
        return self._s.separation * (features[:, 0] - self._s.separation / 2)

    def bound(self, poi: Float[np.ndarray, " poi"], z: Float[np.ndarray, " nuisance"]) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on mu, (profiled, nuisance known), by quadrature.

        With `nu = mu S k^z p_s + B p_b` and `d_z nu = mu ln k d_mu nu`, the inverse of the extended Fisher
        matrix with the constraint has `1/I + (mu width ln k)^2` for mu, `I = int (S k^z p_s)^2 / nu`.
        """
        mu, s = float(np.asarray(poi).ravel()[0]), self._s
        rate = s.signal * s.factor ** float(z[0])

        def integrand(x: float) -> float:
            signal = rate * math.exp(-0.5 * (x - s.separation) ** 2) / math.sqrt(2 * math.pi)
            return signal**2 / (mu * signal + s.background * math.exp(-0.5 * x**2) / math.sqrt(2 * math.pi))

        information, _ = scipy.integrate.quad(integrand, -12, s.separation + 12, limit=400, epsrel=1e-10)
        return math.hypot(information**-0.5, mu * s.width * math.log(s.factor)), information**-0.5


@CASES.register
class SamplewiseToy(AbstractCase):
    """The sample-wise toy as a case: components (signal, background), one theory nuisance `scale`."""

    name = "samplewise-toy"
    summary = "a flat theory nuisance moves the rate, which the classifier is told; the optimum is known"
    order = 6
    settings_class = SamplewiseToySettings
    presets = {"paper": PAPER, "quick": QUICK}
    settings: SamplewiseToySettings

    @property
    def features(self) -> tuple[str, ...]:
        """The feature of events, and the rate of the data set."""
        return ("x", "rate")

    @property
    def components(self) -> Components:
        """Signal and background with coefficients (mu, 1)."""
        return signal_strength(-2.0, 10.0)

    @property
    def hypotheses(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The alternative and mu = 1."""
        return ((self.settings.alternative,), (1.0,))

    @property
    def sample_features(self) -> tuple[str, ...]:
        """The rate."""
        return ("rate",)

    def sample_values(
        self, theta: Float[Array, " poi"], z: Float[Array, "*event nuisance"]
    ) -> Float[Array, "*event sample_feature"]:
        """Return `(mu S k^z + B) / (S + B)`."""
        s = self.settings
        rate = theta[0] * s.signal * s.factor ** z[..., 0] + s.background
        return (rate / (s.signal + s.background))[..., None]

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The scale: the logarithm of the signal's rate in units of `ln factor`."""
        s = self.settings
        span = (-s.reach, s.reach)
        anchors = uniform_anchors(*span, s.anchors)
        return (Nuisance("scale", 0.0, span, (-s.width, s.width), anchors, kind="theory", label="scale $z$"),)

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """A Gaussian around zero."""
        return (GaussianConstraint("scale", self.settings.width),)

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The signal's rate."""
        return (_Rate("scale", self.settings.factor),)

    @property
    def defaults(self) -> StudyDefaults:
        """The nominal point and z = 1."""
        return StudyDefaults(
            true=({"scale": 0.0}, {"scale": 1.0}), uniform_bins=10, optimised_bins=20, shown=(-1.0, 0.0, 1.0)
        )

    @property
    def truth(self) -> SamplewiseTruth:
        """The exact ratio and bound."""
        return SamplewiseTruth(self.settings)

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Draw the events at z = 0."""
        s = self.settings
        return simulated_table(self, self._draw, s.events, (s.signal, s.background), seed)

    def sample(self, seed: int, counts: Sequence[int]) -> EventTable:
        """Draw `counts` (signal, background) events of weight 1 at z = 0."""
        return sampled_table(self, self._draw, counts, seed)

    def _draw(self, is_signal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        x = generator.standard_normal(len(is_signal), dtype=np.float32) + is_signal * self.settings.separation
        # The rate is that of the nominal point until `vary` says otherwise.
        return np.stack([x, np.ones_like(x)], axis=1)
