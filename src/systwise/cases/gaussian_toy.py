"""The two-feature Gaussian toy of arXiv:2105.08742, whose optimum is known exactly.

Signal is N((r cos z, r sin z), noise^2 I), background the same with the opposite sign. The nuisance z
turns both around the origin.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.stats as jss
import numpy as np
import scipy.integrate
from jaxtyping import Array, Float
from pydantic import Field

from systwise.cases._case import CASES, AbstractCase, AbstractTruth, Progress, event_generator, no_progress, sampled_ids
from systwise.cases._paper import paper_preset
from systwise.cases._study_defaults import StudyDefaults
from systwise.events import AbstractVariation, Events, EventTable, Exactness
from systwise.parameters import (
    AbstractConstraint,
    Components,
    CountsConstraint,
    GaussianConstraint,
    Nuisance,
    signal_strength,
    uniform_anchors,
)
from systwise.settings import Settings

BACKGROUND, SIGNAL = 0, 1
PROCESSES = ("background", "signal")


class GaussianToySettings(Settings):
    """Settings of the Gaussian toy; angles in radians."""

    noise: float = Field(0.7, gt=0)
    """Standard deviation of both features."""
    radius: float = Field(1.0, gt=0)
    """Distance of each mean from the origin."""
    signal: float = Field(500.0, gt=0)
    """Expected signal events at mu = 1."""
    background: float = Field(50_000.0, gt=0)
    """Expected background events."""
    angle: float = math.pi / 4
    """Nominal angle."""
    angle_width: float = Field(0.5, gt=0)
    """Width of the Gaussian constraint on the angle."""
    angle_reach: float = Field(3 * math.pi / 8, gt=0)
    """Half-width of the range that a fit may reach, around the nominal angle."""
    anchors: int = Field(19, ge=5)
    """Angles at which templates are made."""
    constraint: Literal["gaussian", "auxiliary"] = "gaussian"
    """`gaussian`: N(angle, angle_width); `auxiliary`: the paper's 4-bin measurement."""
    events: int = Field(2_000_000, ge=1000)
    """Simulated events."""
    signal_fraction: float = Field(0.5, gt=0, lt=1)
    """Fraction of the simulated events that is signal."""


# Profiled over the paper's 21 angles from 0 to pi/2, which are the anchors as well.
PAPER = paper_preset({"angle_reach": math.pi / 4, "anchors": 21})
QUICK: dict[str, Any] = {
    "case": {"events": 240_000, "anchors": 13},
    "training": {"passes": 4, "minimum_steps": 256, "evaluations": 8},
}


class _Rotation(AbstractVariation):
    """Move every event by the shift of its process's mean."""

    nuisance: str = eqx.field(static=True)
    radius: float = eqx.field(static=True)
    nominal: float = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Add `+-radius (u(z) - u(nominal))`, u(z) = (cos z, sin z)."""
        sign = jnp.where(events.process == SIGNAL, self.radius, -self.radius)
        shift = jnp.stack([jnp.cos(z) - math.cos(self.nominal), jnp.sin(z) - math.sin(self.nominal)], axis=-1)
        return eqx.tree_at(lambda e: e.features, events, events.features + sign[:, None] * shift)


def auxiliary_counts(z: Float[Array, ""]) -> Float[Array, " bin"]:
    """Return the expected counts of the paper's auxiliary measurement of the angle.

    1e5 draws of N(z, 0.5), weighted 0.1, in four bins on (-1, 2.5); draws outside are lost.
    """
    edges = jnp.linspace(-1.0, 2.5, 5)
    return 1e4 * jnp.diff(jss.norm.cdf(edges, z, 0.5))


class GaussianTruth(AbstractTruth):
    """The exact density ratio and the information it carries."""

    def __init__(self, settings: GaussianToySettings) -> None:
        """Keep the settings."""
        self._s = settings

    def log_density(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "event component"]:
        """Return `ln N(x; +-radius u(z), noise^2 I)` for (signal, background), u(z) = (cos z, sin z)."""
        s, angle = self._s, z[:, 0]
        mean = s.radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        squares = [jnp.sum((features - sign * mean) ** 2, axis=-1) for sign in (1, -1)]
        return -jnp.stack(squares, axis=-1) / (2 * s.noise**2) - math.log(2 * math.pi * s.noise**2)

    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return `2 radius x.u(z) / noise^2`."""
        angle = z[..., 0]
        along = features[:, 0] * jnp.cos(angle) + features[:, 1] * jnp.sin(angle)
        return 2 * self._s.radius / self._s.noise**2 * along

    def bound(self, poi: np.ndarray, z: np.ndarray) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on mu, by quadrature in the coordinate along the means.

        The unbinned extended Fisher matrix is `int d_i nu d_j nu / nu`. With a = r x_par / noise^2
        the density ratio is exp(2a), and the derivative in the angle is odd in the coordinate across
        the means, so the matrix is diagonal and profiling costs nothing.
        """
        mu, s = float(np.asarray(poi).ravel()[0]), self._s

        def density(x: float, mean: float) -> float:
            return math.exp(-0.5 * ((x - mean) / s.noise) ** 2) / (s.noise * math.sqrt(2 * math.pi))

        def integrand(x: float) -> float:
            signal, background = s.signal * density(x, s.radius), s.background * density(x, -s.radius)
            return signal**2 / (mu * signal + background)

        reach = s.radius + 12 * s.noise
        information, _ = scipy.integrate.quad(integrand, -reach, reach, limit=400, epsrel=1e-10)
        width = information**-0.5
        return width, width


@CASES.register
class GaussianToy(AbstractCase):
    """The Gaussian toy as a case: components (signal, background), one nuisance, the angle."""

    name = "gaussian-toy"
    summary = "two Gaussians turned by an unknown angle; the optimum is known (arXiv:2105.08742)"
    order = 1
    settings_class = GaussianToySettings
    presets = {"paper": PAPER, "quick": QUICK}
    settings: GaussianToySettings

    @property
    def features(self) -> tuple[str, ...]:
        """The two coordinates."""
        return ("x1", "x2")

    @property
    def components(self) -> Components:
        """Signal and background with coefficients (mu, 1)."""
        return signal_strength(-2.0, 10.0)

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The angle."""
        s = self.settings
        span = (s.angle - s.angle_reach, s.angle + s.angle_reach)
        return (
            Nuisance(
                name="angle",
                nominal=s.angle,
                range=span,
                training=span,
                anchors=uniform_anchors(*span, s.anchors),
                unit="rad",
                label=r"angle $z$",
            ),
        )

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """A Gaussian around the nominal angle, or the auxiliary histogram."""
        if self.settings.constraint == "auxiliary":
            return (CountsConstraint("angle", auxiliary_counts),)
        return (GaussianConstraint("angle", self.settings.angle_width),)

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The rotation of both means."""
        return (_Rotation("angle", self.settings.radius, self.settings.angle),)

    @property
    def defaults(self) -> StudyDefaults:
        """The paper's test points: the nominal angle and pi/4 above it."""
        z = self.settings.angle
        return StudyDefaults(
            true=({"angle": z}, {"angle": z + math.pi / 4}),
            uniform_bins=10,
            optimised_bins=30,
            shown=(z - math.pi / 4, z, z + math.pi / 4),
            paper_grid=tuple(float(v) for v in z * np.arange(21) / 10),
        )

    @property
    def truth(self) -> GaussianTruth:
        """The exact ratio and bound."""
        return GaussianTruth(self.settings)

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Draw the events at the nominal angle; signal and background are mixed evenly in id."""
        s = self.settings
        # Spread evenly over the ids; half of each alternates.
        process = np.diff(np.floor(np.arange(s.events + 1) * s.signal_fraction)).astype(np.int8)
        weights = np.zeros((s.events, 2), np.float32)
        is_signal = process == SIGNAL
        weights[is_signal, 0] = s.signal / is_signal.sum()
        weights[~is_signal, 1] = s.background / (~is_signal).sum()
        draw = np.random.Generator(np.random.Philox(key=seed))
        ids = np.arange(s.events, dtype=np.int64)
        return self._table(process, weights, ids, draw, f"seed={seed}", f"generated, seed {seed}")

    def sample(self, seed: int, counts: Sequence[int]) -> EventTable:
        """Draw `counts` (signal, background) events of weight 1 at the nominal angle."""
        component = np.repeat(np.arange(2), counts)
        process = np.where(component == 0, SIGNAL, BACKGROUND).astype(np.int8)
        weights = np.eye(2, dtype=np.float32)[component]
        draw, ids = event_generator(seed, "sample"), sampled_ids(seed, len(component))
        text = f"sample={seed} counts={list(counts)}"
        return self._table(process, weights, ids, draw, text, f"sampled, seed {seed}")

    def _table(
        self,
        process: np.ndarray,
        weights: np.ndarray,
        ids: np.ndarray,
        draw: np.random.Generator,
        text: str,
        source: str,
    ) -> EventTable:
        """Draw the features of events of given processes; `text` and the settings are the fingerprint."""
        s = self.settings
        features = draw.standard_normal((len(process), 2), dtype=np.float32) * np.float32(s.noise)
        mean = s.radius * np.array([math.cos(s.angle), math.sin(s.angle)], np.float32)
        features += np.where(process == SIGNAL, 1, -1).astype(np.float32)[:, None] * mean
        return EventTable(
            features=features,
            weights=weights,
            process=process,
            id=ids,
            feature_names=self.features,
            component_names=self.components.names,
            processes=PROCESSES,
            source=source,
            fingerprint=hashlib.sha256(f"gaussian-toy {s.model_dump_json()} {text}".encode()).hexdigest(),
        )
