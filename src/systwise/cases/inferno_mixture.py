"""The three-feature mixture of arXiv:1806.04743 (INFERNO), whose densities are known.

Background (x0, x1) ~ N((2 + r, 0), diag(5, 9)), x2 ~ Exp(rate); signal (x0, x1) ~ N((0, 0), I),
x2 ~ Exp(2). The parameter of interest is the signal count. Five benchmarks differ in what is known
of r, of the rate and of the background's yield.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.cases._case import CASES, AbstractCase, Progress, event_generator, no_progress, sampled_ids
from systwise.cases._inferno import (
    BACKGROUND_MEAN,
    BACKGROUND_VARIANCES,
    SIGNAL_RATE,
    InfernoSettings,
    InfernoTruth,
)
from systwise.cases._study_defaults import StudyDefaults
from systwise.events import AbstractVariation, Events, EventTable, Exactness
from systwise.parameters import (
    AbstractConstraint,
    Components,
    GaussianConstraint,
    NoConstraint,
    Normalisation,
    Nuisance,
    uniform_anchors,
)

BACKGROUND, SIGNAL = 0, 1
PROCESSES = ("background", "signal")

# The paper's cross-entropy network and its 100,000 + 100,000 training events; how it descends is ours
# (the paper: plain gradient descent, batches of 32, 200 passes).
PAPER: dict[str, Any] = {
    "case": {"events": 353_000},
    "network": {"layers": 2, "width": 100},
    "training": {"passes": 40},
    "split": {"scheme": "third"},
    "binning": {"names": ["uniform"], "uniform": 10},
}
QUICK: dict[str, Any] = {
    "case": {"events": 240_000, "r_anchors": 5, "rate_anchors": 9},
    "training": {"passes": 4, "minimum_steps": 256, "evaluations": 8},
}


class _Shift(AbstractVariation):
    """Shift x0 of the background by r."""

    nuisance: str = eqx.field(static=True)
    nominal: float = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Add `z - nominal` to x0 of background events."""
        shift = jnp.where(events.process == BACKGROUND, z - self.nominal, 0)
        zero = jnp.zeros_like(shift)
        return eqx.tree_at(lambda e: e.features, events, events.features + jnp.stack([shift, zero, zero], axis=-1))


class _Stretch(AbstractVariation):
    """Stretch x2 of the background to another rate."""

    nuisance: str = eqx.field(static=True)
    nominal: float = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply x2 of background events by `nominal / z`."""
        factor = jnp.where(events.process == BACKGROUND, self.nominal / z, 1)
        one = jnp.ones_like(factor)
        return eqx.tree_at(lambda e: e.features, events, events.features * jnp.stack([one, one, factor], axis=-1))


@CASES.register
class InfernoMixture(AbstractCase):
    """The mixture as a case: components (signal, background) with coefficients (s, 1).

    The signal component's weights add up to one event, so its coefficient is the signal count s.

    Ranges: r within 1.2 and the rate within a factor 2.5 of nominal hold every fit within 5 standard
    deviations, with one exception: with ten uniform bins of the optimal score and a rate that floats
    freely (B2) the likelihood levels off 2 standard deviations up, so that no range holds it.

    `background_rate` (B4) is a factor on the background's yield: it moves no event.
    """

    name = "inferno-mixture"
    summary = "three features, up to three nuisances, five benchmarks; the optimum is known (arXiv:1806.04743)"
    order = 3
    settings_class = InfernoSettings
    presets = {"paper": PAPER, "quick": QUICK}
    settings: InfernoSettings

    @property
    def features(self) -> tuple[str, ...]:
        """The three coordinates."""
        return ("x0", "x1", "x2")

    @functools.cached_property
    def components(self) -> Components:
        """Signal and background with coefficients (s, 1)."""
        s = self.settings.signal
        return Components(("signal", "background"), ("s",), ((1,), (0,)), (s,), ((-2 * s, 6 * s),))

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The benchmark's nuisances, among r, rate and background_rate."""
        s = self.settings
        r = tuple(round(value, 9) for value in uniform_anchors(s.r - s.r_reach, s.r + s.r_reach, s.r_anchors))
        steps = np.linspace(-1, 1, s.rate_anchors)
        rate = tuple(round(float(value), 9) for value in s.rate * s.rate_reach**steps)
        half = 5 * s.background_width / s.background
        scale = (max(0.05, 1 - half), 1.0, 1 + half)
        known = {
            "r": Nuisance("r", s.r, (r[0], r[-1]), (r[0], r[-1]), r, label="shift $r$"),
            "rate": Nuisance("rate", s.rate, (rate[0], rate[-1]), (rate[0], rate[-1]), rate, label=r"rate $\lambda$"),
            "background_rate": Nuisance(
                "background_rate",
                1.0,
                (scale[0], scale[-1]),
                (scale[0], scale[-1]),
                scale,
                kind="norm",
                label="background yield",
            ),
        }
        return tuple(known[name] for name in s.nuisance_names)

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """Gaussians around the nominal values where the benchmark has them."""
        widths = self.settings.constraint_widths
        return tuple(
            GaussianConstraint(name, widths[name]) if name in widths else NoConstraint(name)
            for name in self.settings.nuisance_names
        )

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The shift of x0 and the stretch of x2, of background events only."""
        s = self.settings
        known = {"r": _Shift("r", s.r), "rate": _Stretch("rate", s.rate)}
        return tuple(known[name] for name in s.nuisance_names if name in known)

    @functools.cached_property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """The background's yield as a linear factor (B4)."""
        names = self.settings.nuisance_names
        return (Normalisation("background_rate", ("background",)),) if "background_rate" in names else ()

    @property
    def defaults(self) -> StudyDefaults:
        """The nominal point, ten uniform bins."""
        shown = tuple(self.settings.r + shift for shift in (-0.4, 0.0, 0.4))
        return StudyDefaults(
            true=({nuisance.name: nuisance.nominal for nuisance in self.nuisances},),
            uniform_bins=10,
            optimised_bins=20,
            shown=shown if self.nuisances else (),
        )

    @property
    def truth(self) -> InfernoTruth:
        """The exact densities and bound."""
        return InfernoTruth(self.settings)

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Draw the events at nominal nuisance values; background and signal alternate in id."""
        s = self.settings
        process = (np.arange(s.events) % 2).astype(np.int8)
        is_signal = process == SIGNAL
        weights = np.zeros((s.events, 2), np.float32)
        weights[is_signal, 0] = 1 / is_signal.sum()
        weights[~is_signal, 1] = s.background / (~is_signal).sum()
        ids = np.arange(s.events, dtype=np.int64)
        return self._table(process, weights, ids, seed, "load")

    def sample(self, seed: int, counts: Sequence[int]) -> EventTable:
        """Draw `counts` (signal, background) events of weight 1 at nominal nuisance values."""
        component = np.repeat(np.arange(2), counts)
        process = np.where(component == 0, SIGNAL, BACKGROUND).astype(np.int8)
        weights = np.eye(2, dtype=np.float32)[component]
        return self._table(process, weights, sampled_ids(seed, len(process)), seed, "sample")

    def _table(self, process: np.ndarray, weights: np.ndarray, ids: np.ndarray, seed: int, word: str) -> EventTable:
        """Draw the features of events of given processes from the stream `word`."""
        s, draw = self.settings, event_generator(seed, word)
        is_signal = process == SIGNAL
        features = np.empty((len(process), 3), np.float32)
        features[:, :2] = draw.standard_normal((len(process), 2), dtype=np.float32)
        features[:, 2] = draw.standard_exponential(len(process), dtype=np.float32)
        widths = np.array([math.sqrt(variance) for variance in BACKGROUND_VARIANCES], np.float32)
        background = np.array([*widths, 1 / s.rate], np.float32)
        features *= np.where(is_signal[:, None], np.array([1, 1, 1 / SIGNAL_RATE], np.float32), background)
        features[:, 0] += np.where(is_signal, np.float32(0), np.float32(BACKGROUND_MEAN + s.r))
        text = f"{self.name} {s.model_dump_json()} {word}={seed} {[int(np.sum(w != 0)) for w in weights.T]}"
        return EventTable(
            features=features,
            weights=weights,
            process=process,
            id=ids,
            feature_names=self.features,
            component_names=self.components.names,
            processes=PROCESSES,
            source=f"generated, seed {seed}",
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        )
