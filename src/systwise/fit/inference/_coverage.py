"""What pseudo-experiments say: bias, spread, pull and coverage, with their statistical errors."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import erf

from systwise.errors import FitError
from systwise.fit.results._result import FitResults

ONE_SIGMA = float(erf(math.sqrt(0.5)))
"""Probability content of the interval at a rise of 0.5: 68.27 %."""
TWO_SIGMA = float(erf(math.sqrt(2.0)))
"""At a rise of 2: 95.45 %."""
FORMAT = "systwise/toys/1"


@dataclasses.dataclass(frozen=True)
class Proportion:
    """A fraction of pseudo-experiments with the binomial error of the wanted one."""

    value: float
    error: float

    @staticmethod
    def of(inside: Bool[np.ndarray, " toy"], wanted: float) -> Proportion:
        """Return the fraction of true entries, and `sqrt(p (1 - p) / n)` at the wanted p."""
        return Proportion(float(np.mean(inside)), math.sqrt(wanted * (1 - wanted) / max(len(inside), 1)))


@dataclasses.dataclass(frozen=True)
class CoverageSummary:
    """The summary of one set of pseudo-experiments; NaN-free: sets without a converged fit are refused.

    Attributes:
        toys: pseudo-experiments.
        converged: those whose fit converged; everything but the coverage is over these.
        true: true value of the parameter of interest.
        mean, mean_error: mean estimate and its error.
        rms, rms_error: standard deviation of the estimates and its error `rms / sqrt(2 n)`.
        half_width: mean half of the interval at a rise of 0.5.
        sided: fits whose interval has both ends.
        bias: (mean - true) / rms.
        pull_mean, pull_width: of (estimate - true) over the error on the side of the truth.
        coverage, coverage_two: fractions of all pseudo-experiments whose intervals at rises of 0.5 and 2 hold
            the truth; an end that does not exist leaves its side open, a fit that did not converge is a miss.
    """

    toys: int
    converged: int
    true: float
    mean: float
    mean_error: float
    rms: float
    rms_error: float
    half_width: float
    sided: int
    bias: float
    pull_mean: float
    pull_width: float
    coverage: Proportion
    coverage_two: Proportion

    def __str__(self) -> str:
        """Return the summary as text."""
        return "\n".join(
            [
                f"pseudo-experiments  {self.toys} ({self.converged} converged)",
                f"estimate            {self.mean:.4f} +- {self.mean_error:.4f} (true {self.true:g}, bias "
                f"{self.bias:+.2f} sigma)",
                f"rms                 {self.rms:.4f} +- {self.rms_error:.4f}",
                f"mean half-width     {self.half_width:.4f}",
                f"pull                {self.pull_mean:+.3f}, width {self.pull_width:.3f}",
                f"coverage            {self.coverage.value:.4f} +- {self.coverage.error:.4f} (wanted {ONE_SIGMA:.4f})",
                f"                    {self.coverage_two.value:.4f} +- {self.coverage_two.error:.4f} "
                f"(wanted {TWO_SIGMA:.4f})",
            ]
        )


@dataclasses.dataclass(frozen=True)
class Toys:
    """Fits of pseudo-experiments, a row each; float64 NumPy.

    Attributes:
        model: what identifies the model and the source of the data; only equal ones merge.
        seed: seed of the run.
        poi: parameter of interest.
        true: true value of every parameter.
        numbers: which pseudo-experiments, `[toy]`, increasing.
        estimate: best-fit values.
        ends: interval ends at rises of 0.5 (first two) and 2, NaN where there is none.
        nuisances: best-fit nuisances, `[toy, nuisance]`.
        converged: a minimum within the ranges was found; one at an end of a range counts, with its interval.
    """

    model: str
    seed: int
    poi: str
    true: Mapping[str, float]
    numbers: Int64[np.ndarray, " toy"]
    estimate: Float64[np.ndarray, " toy"]
    ends: Float64[np.ndarray, "toy 4"]
    nuisances: Float64[np.ndarray, "toy nuisance"]
    converged: Bool[np.ndarray, " toy"]

    @staticmethod
    def of(
        results: FitResults, model: str, seed: int, true: Mapping[str, float], numbers: Sequence[int] | np.ndarray
    ) -> Toys:
        """Return the rows of fits to pseudo-experiments `numbers`."""
        return Toys(
            model=model,
            seed=seed,
            poi=results.poi,
            true=dict(true),
            numbers=np.asarray(numbers, dtype=np.int64),
            estimate=np.array(results.estimate),
            ends=np.array(results.ends),
            nuisances=np.array(results.nuisances),
            converged=np.array(results.minimum_found),
        )

    def __len__(self) -> int:
        """Return the number of pseudo-experiments."""
        return len(self.numbers)

    def summary(self) -> CoverageSummary:
        """Summarise the converged fits; those that did not converge count as misses of the coverage.

        Raises:
            FitError: no fit converged.
        """
        good = self.converged & np.isfinite(self.estimate)
        if not good.any():
            raise FitError(f"pseudo-experiments: none of {len(self)} fits converged; look at a single fit's verdict")
        estimate, ends, truth = self.estimate[good], self.ends[good], float(self.true[self.poi])
        count = len(estimate)
        rms = float(np.std(estimate, ddof=1)) if count > 1 else 0.0
        widths = 0.5 * (ends[:, 1] - ends[:, 0])
        sided = np.isfinite(widths)
        error = np.where(estimate > truth, estimate - ends[:, 0], ends[:, 1] - estimate)
        pull = ((estimate - truth) / error)[np.isfinite(error) & (error > 0)]

        def holds(low: np.ndarray, high: np.ndarray) -> np.ndarray:
            # Leaving failed fits out would select the data sets that are fitted easily.
            return good & ~(low > truth) & ~(high < truth)

        return CoverageSummary(
            toys=len(self),
            converged=count,
            true=truth,
            mean=float(np.mean(estimate)),
            mean_error=rms / math.sqrt(count),
            rms=rms,
            rms_error=rms / math.sqrt(2 * count),
            half_width=float(np.mean(widths[sided])) if sided.any() else math.inf,
            sided=int(np.sum(sided)),
            bias=(float(np.mean(estimate)) - truth) / rms if rms > 0 else 0.0,
            pull_mean=float(np.mean(pull)) if len(pull) else 0.0,
            pull_width=float(np.std(pull, ddof=1)) if len(pull) > 1 else 0.0,
            coverage=Proportion.of(holds(self.ends[:, 0], self.ends[:, 1]), ONE_SIGMA),
            coverage_two=Proportion.of(holds(self.ends[:, 2], self.ends[:, 3]), TWO_SIGMA),
        )

    @staticmethod
    def merge(parts: Sequence[Toys]) -> Toys:
        """Return the rows of all parts in the order of their numbers; a number in two parts counts once.

        Raises:
            FitError: there are no parts, or they belong to different models, seeds or true points.
        """
        if not parts:
            raise FitError("pseudo-experiments: there is nothing to merge; give at least one part")
        first = parts[0]
        for other in parts[1:]:
            for what in ("model", "seed", "poi", "true"):
                mine, its = getattr(first, what), getattr(other, what)
                if mine != its:
                    raise FitError(
                        f"pseudo-experiments: parts have different {what} ({mine} and {its}); merge parts of one run"
                    )
        numbers = np.concatenate([part.numbers for part in parts])
        _, keep = np.unique(numbers, return_index=True)

        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])[keep]

        return dataclasses.replace(
            first,
            numbers=numbers[keep],
            estimate=joined("estimate"),
            ends=joined("ends"),
            nuisances=joined("nuisances"),
            converged=joined("converged"),
        )

    def save(self, path: Path) -> None:
        """Write the rows as a NumPy archive."""
        head = {"format": FORMAT, "model": self.model, "seed": self.seed, "poi": self.poi, "true": dict(self.true)}
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                head=np.array(json.dumps(head)),
                numbers=self.numbers,
                estimate=self.estimate,
                ends=self.ends,
                nuisances=self.nuisances,
                converged=self.converged,
            )

    @staticmethod
    def load(path: Path) -> Toys:
        """Read what `save` wrote.

        Raises:
            FitError: the file is missing or something else.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as archive:
                head: dict[str, Any] = json.loads(str(archive["head"]))
                if head.pop("format") != FORMAT:
                    raise KeyError("format")
                arrays = {name: archive[name] for name in archive.files if name != "head"}
        except FileNotFoundError:
            raise FitError(f"{path}: no such file; run the pseudo-experiments first") from None
        except (OSError, ValueError, KeyError) as error:
            raise FitError(f"{path}: is no file of pseudo-experiments ({error}); run them again") from None
        return Toys(**head, **arrays)


def fair_universe_score(
    width: float, coverage: float, experiments: int, wanted: float = ONE_SIGMA, offset: float = 0.001
) -> float:
    """Return the score of an interval in the FAIR Universe HiggsML challenge (arXiv:2410.02867).

    `-ln((w + 0.001) f)` with the mean width w of the 68.27 % intervals; f = 1 where the coverage c is
    within two binomial errors s of the wanted p, `1 + |(c - (p - 2 s)) / s|^4` below and
    `1 + |(c - (p + 2 s)) / s|^3` above.

    Args:
        width: mean width (both sides) of the intervals.
        coverage: fraction that holds the truth.
        experiments: number of pseudo-experiments.
        wanted: the nominal coverage.
        offset: keeps the logarithm finite.

    Raises:
        FitError: a width that is not positive, a coverage outside [0, 1], or no pseudo-experiments.

    >>> round(fair_universe_score(0.46, 0.6827, 1000), 3), round(fair_universe_score(0.46, 0.60, 1000), 3)
    (0.774, -4.375)
    """
    if not width > 0 or not 0 <= coverage <= 1 or experiments < 1:
        raise FitError(
            f"score: width {width:g}, coverage {coverage:g}, {experiments} pseudo-experiments; give a positive width, "
            "a coverage between 0 and 1 and at least one pseudo-experiment"
        )
    s = math.sqrt(wanted * (1 - wanted) / experiments)
    factor = 1.0
    if coverage < wanted - 2 * s:
        factor = 1 + abs((coverage - (wanted - 2 * s)) / s) ** 4
    elif coverage > wanted + 2 * s:
        factor = 1 + abs((coverage - (wanted + 2 * s)) / s) ** 3
    return -math.log((width + offset) * factor)
