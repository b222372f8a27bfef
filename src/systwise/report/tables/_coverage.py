"""Do the intervals hold what they promise? Pseudo-experiments, judged and put into words."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from systwise.fit import ONE_SIGMA, TWO_SIGMA, error_decimals
from systwise.report.tables._rows import TruePoint, competitors, pois, true_points
from systwise.report.text._numbers import MISSING, significant
from systwise.report.text._words import where
from systwise.study import Results, Summary, ToyRecord

ERRORS: Final = 3.0
"""Coverage is off beyond this many binomial errors."""
BIAS: Final = 0.1
"""A bias matters beyond this fraction of the spread of the estimates ..."""
BIAS_ERRORS: Final = 2.0
"""... if it is this many of its own errors, 1 / sqrt(n) each, from zero."""

MOST: Final = 6
"""Sets that a sentence lists."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """One set of pseudo-experiments with its verdict, as text where it is printed.

    Attributes:
        record: the numbers.
        label: strategy, observable and binning.
        yardstick: whether the strategy uses what no measurement has.
    """

    record: ToyRecord
    label: str
    yardstick: bool

    @property
    def off(self) -> bool:
        """Whether the coverage of the 68.27 % intervals is wrong."""
        return abs(self.record.coverage - ONE_SIGMA) > ERRORS * self.record.coverage_error

    @property
    def off_two(self) -> bool:
        """Whether the coverage of the 95.45 % intervals is wrong."""
        return abs(self.record.coverage_two - TWO_SIGMA) > ERRORS * self.record.coverage_two_error

    @property
    def bias_error(self) -> float:
        """Statistical error of the bias in units of the spread, 1 / sqrt(n)."""
        return 1 / math.sqrt(max(self.record.converged, 1))

    @property
    def biased(self) -> bool:
        """Whether the estimate is biased by more than matters and more than chance."""
        return abs(self.record.bias) > max(BIAS, BIAS_ERRORS * self.bias_error)

    @property
    def count(self) -> str:
        """Pseudo-experiments, those that converged of all where they differ."""
        record = self.record
        return f"{record.toys}" if record.converged == record.toys else f"{record.converged}/{record.toys}"

    @property
    def bias(self) -> str:
        """Bias in units of the spread of the estimates."""
        return f"{round(self.record.bias, 2) + 0.0:+.2f} ± {self.bias_error:.2f}"

    @property
    def coverage(self) -> str:
        """Coverage of the 68.27 % intervals in per cent."""
        return percent(self.record.coverage, self.record.coverage_error)

    @property
    def coverage_two(self) -> str:
        """Coverage of the 95.45 % intervals in per cent."""
        return percent(self.record.coverage_two, self.record.coverage_two_error)

    @property
    def half_width(self) -> str:
        """Mean half-width of the 68.27 % intervals."""
        return significant(self.record.half_width)

    @property
    def width_to_bound(self) -> float | None:
        """Mean half-width over the bound."""
        return over(self.record.half_width, self.record.bound)

    @property
    def rms_to_bound(self) -> float | None:
        """Spread of the estimates over the bound."""
        return over(self.record.rms, self.record.bound)


def over(value: float | None, bound: float | None) -> float | None:
    """Return a ratio, None where a side is missing."""
    return value / bound if value is not None and bound else None


def percent(value: float, error: float) -> str:
    """Return a fraction and its error in per cent, rounded by the rule of the Particle Data Group.

    >>> percent(0.6731, 0.0233), percent(0.94, 0.0001)
    ('67.3 ± 2.3', '94.000 ± 0.010')
    """
    if not error > 0:
        return significant(100 * value)
    places = max(error_decimals(100 * error), 0)
    return f"{100 * value:.{places}f} ± {100 * error:.{places}f}"


def judged_toys(results: Results) -> list[Judged]:
    """Return all sets of pseudo-experiments with their verdicts, in the order in which they were made."""
    several = len({record.seed for record in results.toys if record.strategy not in results.yardsticks}) > 1
    return [
        Judged(
            record,
            where(results, record, seed=several) + ("*" if record.strategy in results.yardsticks else ""),
            record.strategy in results.yardsticks,
        )
        for record in results.toys
    ]


def coverage_answers(results: Results) -> list[str]:
    """Return what pseudo-experiments say of the best row of each true point, then of all others."""
    judged = judged_toys(results)
    if not judged:
        return []
    words = []
    for poi in pois(results):
        for point in true_points(results, results.toys):
            best = next(iter(competitors(results, point, poi)), None)
            if best is not None:
                words.append(_of_best(results, judged, best, point))
    answers = [*words, _of_all(results, judged)]
    return [f"Do the intervals hold what they promise? {answers[0]}", *answers[1:]]


def _of_best(results: Results, judged: list[Judged], best: Summary, point: TruePoint) -> str:
    name = where(results, best)
    own = [
        row
        for row in judged
        if (row.record.strategy, row.record.observable, row.record.convention, row.record.binning, row.record.poi)
        == (best.strategy, best.observable, best.convention, best.binning, best.poi)
        and point.same(row.record.true)
    ]
    if not own:
        return f"At {point.label}, {name} has no pseudo-experiments: its coverage is unknown."
    row = own[0]
    verdict = "no" if row.off or row.off_two else "yes, within the errors"
    if row.biased:
        verdict += ", and the estimate is biased" if verdict == "no" else ", though the estimate is biased"
    failed = row.record.toys - row.record.converged
    missed = f" ({failed} fits did not converge and count as misses)" if failed else ""
    said = (
        f"At {point.label}, {name}: {verdict}; the 68.27 % intervals of {row.record.toys} "
        f"pseudo-experiments{missed} hold the truth in {row.coverage} %, the 95.45 % intervals in "
        f"{row.coverage_two} %, and the estimate is off by {row.bias} of its spread"
    )
    width = row.width_to_bound
    if width is not None and row.half_width != MISSING:
        said += f"; mean half-width {row.half_width}, {width:.3f} times the bound"
    return said + "."


def _of_all(results: Results, judged: list[Judged]) -> str:
    several = len(true_points(results, results.toys)) > 1
    wrong, explained = [], 0
    for row in judged:
        faults = [
            *([f"68.27 % intervals hold {row.coverage} %"] if row.off else []),
            *([f"95.45 % intervals hold {row.coverage_two} %"] if row.off_two else []),
            *([f"bias {row.bias} σ"] if row.biased else []),
        ]
        if faults and not row.yardstick:
            point = next(p for p in true_points(results, results.toys) if p.same(row.record.true))
            explained += row.biased and _within_simulation(results, row)
            wrong.append(f"{row.label}{f' at {point.label}' if several else ''} ({', '.join(faults)})")
    count = sum(not row.yardstick for row in judged)
    if not wrong:
        return f"Coverage and bias of all {count} sets of pseudo-experiments agree with what the intervals promise."
    cause = (
        f" In {explained} of them the bias is within twice what the limited simulation adds to the uncertainty: more "
        "simulation is the remedy."
        if explained
        else ""
    )
    more = f"; and {len(wrong) - MOST} more, red in the table" if len(wrong) > MOST else ""
    listed = "; ".join(wrong[:MOST])
    return f"Pseudo-experiments contradict the intervals in {len(wrong)} of {count} sets: {listed}{more}.{cause}"


def _within_simulation(results: Results, row: Judged) -> bool:
    """Whether a bias is no larger than twice the part of the simulation, whose templates all sets share."""
    record = row.record
    own = (record.strategy, record.observable, record.convention, record.binning, record.poi)
    for summary in results.summaries:
        key = (summary.strategy, summary.observable, summary.convention, summary.binning, summary.poi)
        if key == own and TruePoint(record.true, "").same(summary.true):
            return abs(record.bias) * record.rms <= 2 * (summary.sigma_simulation.mean or 0.0)
    return False
