"""EFT in Higgs + jets as a case: couplings (c_t, c_g), a theory scale that moves the whole sample."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64
from pydantic import Field

from systwise.cases._case import CASES, AbstractCase, Progress, no_progress
from systwise.cases._study_defaults import StudyDefaults
from systwise.cases.higgs_jets._generator import generate
from systwise.cases.higgs_jets._generator_settings import PROCESSES, SCALES, GeneratorSettings, Process
from systwise.cases.higgs_jets._lhe import Hypothesis, read_lhe
from systwise.cases.higgs_jets._physics import COEFFICIENTS
from systwise.cases.higgs_jets._sample import Sample
from systwise.cases.higgs_jets._storage import load_sample, read_sample, write_sample
from systwise.errors import ConfigError, DataError
from systwise.events import AbstractVariation, EventTable, LogQuadraticWeights, log_quadratic_columns
from systwise.parameters import AbstractConstraint, Components, GaussianConstraint, Nuisance, uniform_anchors
from systwise.settings import Settings

PER_FEMTOBARN = 1e3
"""Inverse picobarns in an inverse femtobarn."""
DOWN, NOMINAL, UP = 1, 0, 2
"""Places of (1/2, 1/2), (1, 1) and (2, 2) among the scale choices."""

SEEN: dict[Process, tuple[str, ...]] = {
    "hj": ("pt_j1", "eta_j1"),
    "hjj": ("pt_j1", "eta_j1", "pt_j2", "eta_j2", "dphi_jj", "m_jj", "deta_jj"),
}
"""Features of an event that a classifier sees, as in the talk at the third IML workshop (CERN, 2019)."""

LABELS = {
    "sigma": r"$\sigma$ [pb]",
    "pt_j1": r"$p_{T,j1}$ [GeV]",
    "eta_j1": r"$\eta_{j1}$",
    "pt_j2": r"$p_{T,j2}$ [GeV]",
    "eta_j2": r"$\eta_{j2}$",
    "dphi_jj": r"$\Delta\phi_{jj}$",
    "m_jj": r"$m_{jj}$ [GeV]",
    "deta_jj": r"$|\Delta\eta_{jj}|$",
}


class HiggsJetsSettings(Settings):
    """Settings of Higgs + jets; the generator's are under `generator`."""

    process: Process = "hj"
    """`hj` (one jet, exact at one loop) or `hjj` (two jets, see the documentation)."""
    combine: bool = True
    """Train on the other process as well, as a second region of the likelihood."""
    c_t: float = 0.8
    """Top Yukawa coupling of the alternative that classifiers learn to tell from the Standard Model (1, 0)."""
    c_g: float = 0.2
    """Effective gluon coupling of that alternative; c_t + c_g = 1 leaves the rate about unchanged."""
    rate_input: bool = True
    """Give the sample's total cross section to the classifier, drawn from its prior in training."""
    rate_told: Literal["nominal", "sample"] = "nominal"
    """Cross section that scores are told where sigma(c_t) is measured: always the Standard Model's at the central
    scale, which makes the score a fixed observable, or the one at the scale of the templates. Significances have a
    setting of their own (`significance.told`)."""
    luminosity: float = Field(3000.0, gt=0)
    """Integrated luminosity in fb^-1."""
    efficiency: float = Field(0.01, gt=0, le=1)
    """Branching fraction times efficiency of the Higgs boson's decay."""
    scale_reach: float = Field(2.5, ge=1, le=4)
    """Half of the range of ln(mu/mu_0)/ln 2 that a fit may reach."""
    anchors: int = Field(11, ge=5)
    """Scales at which templates are made."""
    events: int = Field(400_000, ge=1000)
    """Points to generate."""
    sample_seed: int = Field(0, ge=0)
    """Seed of the generated events, which are kept and used again whatever the study's seed."""
    sample: str | None = None
    """File of other events: parquet or csv with the columns that `systwise generate` writes, or Les Houches events
    (`.lhe`, `.lhe.gz`); null: generate."""
    sample_weights: dict[str, tuple[float, float, float, float]] | None = None
    """What the weights of Les Houches events stand for: (c_t, c_g, mu_R/mu_0, mu_F/mu_0) by the weight's id;
    `XWGTUP` is the event's own."""
    sample_normalisation: Literal["mean", "sum"] = "mean"
    """Whether the mean or the sum of a weight over Les Houches events is the cross section in pb."""
    generator: GeneratorSettings = Field(default_factory=GeneratorSettings)
    """What to generate."""


# The talk: batches of 500, up to 500 epochs on 2.5 to 4 times 10^5 events, an adversary that tells the three scales
# apart. Training stops where 40 epochs bring nothing, but for the game against the adversary, whose value says nothing.
# Along c_t + c_g = 1 the rate stays the same in the heavy-top limit, so that the shape alone tells.
LINE: dict[str, Any] = {
    "direction": {"c_t": -1.0, "c_g": 1.0},
    "steps": (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "across": "c_t",
    "offsets": (-0.03, 0.0, 0.03),
    "grid": 17,
}
PAPER: dict[str, Any] = {
    "case": {"events": 400_000},
    "training": {"batch": 500, "passes": 500, "evaluations": 100, "patience": 8},
    "strategy": {"adversarial": {"adversary": "class", "training": {"patience": None}}},
}
QUICK: dict[str, Any] = {
    "case": {"events": 60_000},
    "training": {"passes": 3, "minimum_steps": 256, "evaluations": 8},
}


@CASES.register
class HiggsJets(AbstractCase):
    """p p -> h j or h j j with the components (tt, tg, gg) and the scale as nuisance."""

    name = "higgs-jets"
    summary = "EFT couplings in Higgs + jets with a theory scale (arXiv:1807.08763); needs the extra [higgs-jets]"
    order = 40
    settings_class = HiggsJetsSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER, "quick": QUICK}
    settings: HiggsJetsSettings

    @property
    def features(self) -> tuple[str, ...]:
        """The cross section of the sample, where it is an input, and what an event has."""
        return (*self.sample_features, *SEEN[self.settings.process])

    @property
    def sample_features(self) -> tuple[str, ...]:
        """The total cross section, one number a data set."""
        return ("sigma",) if self.settings.rate_input else ()

    @property
    def sample_moves(self) -> bool:
        """Whether scores are told the cross section at the scale of the templates."""
        return self.settings.rate_told == "sample"

    @property
    def log_features(self) -> tuple[str, ...]:
        """Momenta and masses, which fall steeply."""
        return tuple(name for name in self.features if name.startswith(("pt_", "m_")))

    @functools.cached_property
    def components(self) -> Components:
        """`sigma = c_t^2 S_tt + c_t c_g S_tg + c_g^2 S_gg`; the Standard Model is (1, 0)."""
        return Components(
            names=COEFFICIENTS,
            pois=("c_t", "c_g"),
            powers=((2, 0), (1, 1), (0, 2)),
            nominal=(1.0, 0.0),
            ranges=((0.0, 2.0), (-1.0, 1.0)),
            alternative=(self.settings.c_t, self.settings.c_g),
        )

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The scale, ln(mu / mu_0) / ln 2."""
        reach = self.settings.scale_reach
        return (
            Nuisance(
                name="scale",
                nominal=0.0,
                range=(-reach, reach),
                training=(-1.0, 1.0),
                anchors=uniform_anchors(-reach, reach, self.settings.anchors),
                kind="theory",
                label=r"scale $\ln(\mu/\mu_0)/\ln 2$",
            ),
        )

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """N(0, 1): half and twice the scale are one standard deviation."""
        return (GaussianConstraint("scale", 1.0),)

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """Weights of half, central and twice the scale, log-quadratic between."""
        return (LogQuadraticWeights("scale"),)

    @property
    def defaults(self) -> StudyDefaults:
        """The Standard Model at the central scale and at twice the scale.

        No uniform bins: events below the tail look alike, and nearly all scores lie within a per cent of 1/2. The
        answer is in the significances; taking sigma(c_t) apart costs minutes (`inference.points=first`).
        """
        return StudyDefaults(
            true=({"scale": 0.0}, {"scale": 1.0}),
            uniform_bins=20,
            optimised_bins=30,
            shown=(-1.0, 0.0, 1.0),
            binnings=("optimised",),
            taken_apart="none",
            significance=LINE,
        )

    def label(self, feature: str) -> str:
        """Return the axis label of a feature, with unit."""
        return LABELS.get(feature, feature)

    @functools.cached_property
    def generated(self) -> Sample:
        """The events with all their scale weights, in pb.

        Raises:
            DataError: the file or the parton densities cannot be read.
        """
        return self._read(no_progress)

    def _read(self, progress: Progress) -> Sample:
        s = self.settings
        if s.sample is not None and s.sample.endswith((".lhe", ".lhe.gz")):
            if s.sample_weights is None:
                raise ConfigError(
                    f"case.sample_weights: say what the weights of {s.sample} stand for, for instance "
                    "{XWGTUP: [1, 0, 1, 1], half: [1, 0, 0.5, 0.5]}: c_t, c_g and the two scales of each id"
                )
            weights = {name: Hypothesis(c_t, c_g, (r, f)) for name, (c_t, c_g, r, f) in s.sample_weights.items()}
            return read_lhe(s.sample, s.process, weights, s.sample_normalisation, progress)
        if s.sample is not None:
            return read_sample(s.sample, s.process, progress)
        return load_sample(s.process, s.events, s.sample_seed, s.generator, progress=progress)

    @functools.cached_property
    def cross_sections(self) -> Float64[np.ndarray, "scale component"]:
        """Totals in pb, `S_tt`, `S_tg` and `S_gg` at each of the scale choices."""
        return self.generated.weights.sum(axis=0, dtype=np.float64)

    def cross_section(self, theta: Float[Array, " poi"], z: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """Return the cross section of a hypothesis in pb: log-quadratic in the scale through its three values.

        With z normal it has 68 % of its distribution between the values at half and twice the scale, as a
        Gaussian with these two widths has.
        """
        down, nominal, up = (
            jnp.log(jnp.asarray(self.cross_sections[v], jnp.float32) @ self.components.coefficients(theta))
            for v in (DOWN, NOMINAL, UP)
        )
        return jnp.exp(nominal + 0.5 * (up - down) * z + 0.5 * (up + down - 2 * nominal) * z**2)

    def sample_values(
        self, theta: Float[Array, " poi"], z: Float[Array, "*event nuisance"]
    ) -> Float[Array, "*event sample_feature"]:
        """Return the cross section of `theta` at scale `z` in pb."""
        return self.cross_section(theta, z[..., 0])[..., None]

    @property
    def region(self) -> str:  # type: ignore[override]
        """The process, `hj` or `hjj`."""
        return self.settings.process

    @functools.cached_property
    def regions(self) -> Mapping[str, AbstractCase]:
        """Both processes, or the chosen one alone; an input file belongs to one process."""
        s = self.settings
        others = [process for process in PROCESSES if process != s.process and s.combine and s.sample is None]
        return {
            s.process: self,
            **{process: HiggsJets(s.model_copy(update={"process": process})) for process in others},
        }

    def holdouts(self) -> Mapping[str, np.ndarray]:
        """Return the weights with renormalisation and factorisation scale varied apart, `[event, component]`."""
        return {
            f"muR x{SCALES[v][0]:g}, muF x{SCALES[v][1]:g}": self.generated.weights[:, v] * self.events_per_picobarn
            for v in range(UP + 1, len(SCALES))
        }

    @property
    def events_per_picobarn(self) -> float:
        """Expected events in a picobarn: luminosity times branching fraction times efficiency."""
        return self.settings.luminosity * PER_FEMTOBARN * self.settings.efficiency

    def generate(self, path: Path, seed: int, progress: Progress = no_progress) -> list[tuple[str, str]]:
        """Write a sample with all its scale weights to a parquet file (`write_sample` says which columns).

        Raises:
            DataError: the parton densities cannot be read or the file cannot be written.
        """
        s = self.settings
        sample = generate(s.process, s.events, seed, s.generator, progress)
        write_sample(path, sample)
        value, error = sample.cross_section(1.0, 0.0)
        low, high = (100 * (sample.cross_section(1.0, 0.0, v)[0] / value - 1) for v in (UP, DOWN))
        slope, slope_error = sample.blind_slope()
        return [
            ("events kept", f"{len(sample)} of {sample.generated}"),
            (
                "cross section",
                f"{value:.4g} +- {error:.1g} pb ({100 * high:+.1f} % / {100 * low:+.1f} % from the scale)",
            ),
            ("blind slope dc_g/dc_t", f"{slope:.4f} +- {slope_error:.1g}"),
            ("effective fraction", f"{sample.effective_fraction:.2f}"),
            ("fingerprint", sample.fingerprint[:16]),
        ]

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Generate the events, or find them in the cache or a file; `seed` does not matter, `sample_seed` does.

        Raises:
            DataError: the file or the parton densities cannot be read.
        """
        if "generated" not in self.__dict__:
            self.__dict__["generated"] = self._read(progress)
        sample, s = self.generated, self.settings
        weights = sample.weights.astype(np.float64)
        columns, mended = log_quadratic_columns(weights[:, NOMINAL], weights[:, DOWN], weights[:, UP])
        if mended > 0.01 * weights[:, NOMINAL].size:
            raise DataError(
                f"{s.sample or s.process}: {mended} weights at half or twice the scale are not positive or "
                "many times those at the central scale; check the scale weights"
            )
        seen = np.stack([sample.feature(name) for name in SEEN[s.process]], axis=-1)
        rate = np.full((len(sample), len(self.sample_features)), self.cross_sections[NOMINAL, 0])
        return EventTable(
            features=np.concatenate([rate, seen], axis=-1).astype(np.float32),
            weights=(weights[:, NOMINAL] * self.events_per_picobarn).astype(np.float32),
            process=np.zeros(len(sample), np.int8),
            id=np.asarray(sample.number, np.int64),
            feature_names=self.features,
            component_names=COEFFICIENTS,
            processes=(s.process,),
            source=s.sample or f"generated {s.process}, sample seed {s.sample_seed}",
            fingerprint=hashlib.sha256(f"higgs-jets {sample.fingerprint} {s.model_dump_json()}".encode()).hexdigest(),
            columns=columns,
        )
