"""The event generator of Higgs + jets at leading order: weighted events with scale variations and couplings.

Each event has one weight for each of seven scale choices and each of the coefficients of c_t^2, c_t c_g and
c_g^2. Events come in blocks, each with random numbers of its own: a longer run begins with the events of
a shorter one.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from systwise.cases._case import Progress, event_generator, no_progress
from systwise.cases.higgs_jets._adaptive_grid import ROUNDS, AdaptiveGrid, learn_grid
from systwise.cases.higgs_jets._blend import blended_coefficients
from systwise.cases.higgs_jets._generator_settings import PROCESSES, SCALES, GeneratorSettings, Process
from systwise.cases.higgs_jets._luminosities import one_jet_luminosities, two_jet_luminosities
from systwise.cases.higgs_jets._one_jet import one_jet_squares
from systwise.cases.higgs_jets._one_jet_phase_space import ONE_JET_ADAPTED, ONE_JET_NUMBERS, sample_one_jet
from systwise.cases.higgs_jets._one_jet_table import GluonTable
from systwise.cases.higgs_jets._partons import PartonDensities
from systwise.cases.higgs_jets._physics import Masses
from systwise.cases.higgs_jets._sample import Sample, one_jet_features, run_fingerprint, two_jet_features
from systwise.cases.higgs_jets._strong_coupling import StrongCoupling
from systwise.cases.higgs_jets._two_jet_phase_space import TWO_JET_ADAPTED, TWO_JET_NUMBERS, sample_two_jets
from systwise.cases.higgs_jets._two_jets import two_jet_squares
from systwise.errors import ConfigError, DataError
from systwise.registry import suggestion

BLOCK = 16_384
"""Events a block; another size gives other events."""

LEARNING_POINTS = 32_768
"""Points a round of learning where to draw (see `_adaptive_grid`)."""

Scales = tuple[tuple[float, float], ...]
_LEARNED: dict[tuple[Process, GeneratorSettings, str], AdaptiveGrid] = {}
"""What was learned in this process, by what decides it: a second sample need not learn it again."""


def _factorisation(scales: Scales) -> set[float]:
    """Return the factors of mu_F, each once."""
    return {factor for _, factor in scales}


def generate(
    process: Process,
    events: int,
    seed: int,
    settings: GeneratorSettings | None = None,
    progress: Progress = no_progress,
) -> Sample:
    """Return weighted events of p p -> h + one or two jets at leading order.

    `d sigma = sum_c (x1 f1 x2 f2)_c(mu_F) alpha_s(mu_R)^n |M_c|^2 dPhi`, n = 3 (hj) or 4 (hjj). For hj the
    squares are exact in the top mass; for hjj they are those of the heavy-top limit, reweighted.

    Args:
        process: `hj` or `hjj`.
        events: number of points drawn; those outside of the acceptance are counted and left out.
        seed: seed of the random numbers; an event depends on it and on its own number only.
        settings: what to generate; 13 TeV and jets above 30 GeV by default.
        progress: called after each block, in events.

    Raises:
        ConfigError: another process, fewer than one event, or a threshold that no jet can reach.
        DataError: the parton densities are not to be had or do not reach the scales, or no point passes the cuts.
    """
    if process not in PROCESSES:
        raise ConfigError(
            f"unknown process '{process}'{suggestion(process, list(PROCESSES))} (known: {', '.join(PROCESSES)})"
        )
    if events < 1:
        raise ConfigError(f"events must be at least 1, got {events}")
    settings = GeneratorSettings() if settings is None else settings
    if settings.jet_pt >= settings.acceptance.highest_pt:
        raise ConfigError(
            f"generator.jet_pt: no jet reaches {settings.jet_pt:g} GeV at an energy of {settings.energy:g} GeV and a "
            f"Higgs mass of {settings.higgs_mass:g} GeV; choose less than {settings.acceptance.highest_pt:.5g} GeV"
        )
    blocks = _Blocks.of(process, seed, settings)
    starts, parts = range(0, events, BLOCK), []
    # A block's numbers are its own, so that threads change nothing but the time; NumPy lets go of the interpreter.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = pool.map(lambda start: blocks.make(start // BLOCK, min(BLOCK, events - start)), starts)
        for start, part in zip(starts, made, strict=True):
            parts.append(part)
            progress(f"generating {process}", min(start + BLOCK, events), events)
    numbers, features, weights = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if not weights.any():
        raise DataError(f"{process}: none of {events} points passes the cuts with a weight; loosen them")
    weights /= np.float32(events)
    fingerprint = run_fingerprint(process, events, seed, settings, blocks.partons.fingerprint)
    return Sample(process, events, numbers, features, weights, fingerprint, seed, settings)


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """Everything that blocks of one run share."""

    process: Process
    seed: int
    settings: GeneratorSettings
    masses: Masses
    partons: PartonDensities
    coupling: StrongCoupling
    table: GluonTable
    grid: AdaptiveGrid | None = None

    @classmethod
    def of(cls, process: Process, seed: int, settings: GeneratorSettings) -> _Blocks:
        """Read the densities, build the table of loop amplitudes and learn where the weights are large."""
        masses = settings.masses
        blocks = cls(
            process,
            seed,
            settings,
            masses,
            PartonDensities.read(settings.pdf, settings.pdf_folder),
            StrongCoupling(settings.alpha_s_loops, settings.alpha_s_z),
            GluonTable.build(masses, settings.energy),
        )
        # The tail that may be asked for is mixed in later: the weights alone say where to draw.
        untailed = settings.model_copy(update={"tail_fraction": 0.0})
        key = (process, untailed, blocks.partons.fingerprint)
        if key not in _LEARNED:
            _LEARNED[key] = dataclasses.replace(blocks, settings=untailed).learn()
        return dataclasses.replace(blocks, grid=_LEARNED[key])

    def learn(self) -> AdaptiveGrid:
        """Return a grid adapted to the Standard Model's weights, the same for any seed."""
        first = np.ones((3, LEARNING_POINTS))

        def weights(grid: AdaptiveGrid, uniform: np.ndarray) -> np.ndarray:
            full = np.concatenate([first[:1], uniform[:1], first[2:], uniform[1:]])
            inside, _, weights = dataclasses.replace(self, grid=grid).points(full, SCALES[:1])
            out = np.zeros(len(inside))
            out[inside] = weights[:, 0, 0]
            return out

        numbers = ONE_JET_ADAPTED if self.process == "hj" else TWO_JET_ADAPTED
        draws = event_generator(0, f"higgs-jets/{self.process}/grid").random((ROUNDS, numbers, LEARNING_POINTS))
        return learn_grid(numbers, weights, np.maximum(draws, 2.0**-54))

    def make(
        self, block: int, count: int
    ) -> tuple[
        Int[np.ndarray, " event"],
        Float[np.ndarray, "event feature"],
        Float[np.ndarray, "event scale coefficient"],
    ]:
        """Return numbers, features and weights in pb of the events of a block that are inside of the acceptance."""
        dimensions = ONE_JET_NUMBERS if self.process == "hj" else TWO_JET_NUMBERS
        # The whole block is drawn even where only its beginning is used.
        uniform = event_generator(self.seed, f"higgs-jets/{self.process}/{block}").random((dimensions, BLOCK))
        uniform = np.maximum(uniform[:, :count], 2.0**-54)
        inside, features, weights = self.points(uniform, SCALES)
        numbers = block * BLOCK + np.flatnonzero(inside)
        return numbers.astype(np.int64), features.astype(np.float32), weights.astype(np.float32)

    def points(self, uniform: np.ndarray, scales: Scales) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which points are inside of the acceptance, and their features and weights at some scales."""
        return self._one_jet(uniform, scales) if self.process == "hj" else self._two_jets(uniform, scales)

    def _one_jet(self, uniform: np.ndarray, scales: Scales) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = sample_one_jet(uniform, self.settings.acceptance, self.grid)
        inside = points.weight > 0
        points = points.select(inside)
        s, t, u = points.invariants
        squares = one_jet_squares(s, t, u, self.masses, self.table) * points.weight
        transverse = np.hypot(points.jet_pt, self.masses.higgs)
        central = self._central_scale(points.jet_pt, transverse, points.jet_pt)
        sums = {}
        for factor in _factorisation(scales):
            first, second = self._densities(points.x1, points.x2, factor * central)
            sums[factor] = np.einsum("ce,cke->ke", one_jet_luminosities(first, second), squares)
        return inside, one_jet_features(points), self._with_coupling(sums, scales, central, 3)

    def _two_jets(self, uniform: np.ndarray, scales: Scales) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = sample_two_jets(uniform, self.settings.acceptance, self.grid)
        inside = points.weight > 0
        points = points.select(inside)
        squares = two_jet_squares(points.momenta, self.masses) * points.weight
        features = two_jet_features(points)
        transverse = np.hypot(points.higgs_pt, self.masses.higgs)
        central = self._central_scale(np.sqrt(points.jet_pt.prod(axis=0)), transverse, points.jet_pt.sum(axis=0))
        jets, blend = points.momenta[:, 2:], self.settings.blend
        sums = {}
        for factor in _factorisation(scales):
            first, second = self._densities(points.x1, points.x2, factor * central)
            weights = two_jet_luminosities(first, second) * squares
            sums[factor] = blended_coefficients(weights, jets, points.higgs_rapidity, self.masses, self.table, blend)
        return inside, features, self._with_coupling(sums, scales, central, 4)

    def _central_scale(self, mean: np.ndarray, higgs: np.ndarray, jets: np.ndarray) -> np.ndarray:
        """Return mu_0 from the jets' geometric mean, the Higgs boson's m_T and the sum over jets."""
        if self.settings.scale == "jets":
            return mean
        if self.settings.scale == "half-ht":
            return 0.5 * (higgs + jets)
        return np.full_like(mean, self.masses.higgs)

    def _densities(self, x1: np.ndarray, x2: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = self.partons(np.concatenate([x1, x2]), np.concatenate([scale, scale]))
        return values[:, : len(x1)], values[:, len(x1) :]

    def _with_coupling(
        self, sums: dict[float, np.ndarray], scales: Scales, central: np.ndarray, power: int
    ) -> Float[np.ndarray, "event scale coefficient"]:
        """Return weights for each pair of scales from `[coefficient, event]` sums at each factorisation scale."""
        coupling = {factor: self.coupling(factor * central) ** power for factor, _ in scales}
        weights = np.stack(
            [sums[factorisation] * coupling[renormalisation] for renormalisation, factorisation in scales]
        )
        return np.moveaxis(weights, -1, 0)
