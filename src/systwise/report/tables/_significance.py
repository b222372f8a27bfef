"""Rows of significances and of what wrong nuisances fake, one strategy each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from systwise.report.text._numbers import MISSING, significant, with_error
from systwise.study import ClassifierRecord, FakeRecord, SignificanceRecord

TREATMENTS = {
    "fixed": "statistics only",
    "shape": "free rate",
    "profiled": "nuisances profiled",
    "uncorrelated": "nuisances per region",
}
"""What the fit does with the nuisances, in words."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the trainings; None where there is none.

    Attributes:
        mean: over seeds.
        spread: standard deviation, None for one seed.
    """

    mean: float | None
    spread: float | None = None

    def __str__(self) -> str:
        """Return the number as printed, with no more than two decimals."""
        if self.mean is None:
            return MISSING
        if self.spread:
            return with_error(self.mean, self.spread)
        return "0" if abs(self.mean) < 0.005 else significant(self.mean)


def over_seeds(values: Iterable[float | None]) -> Spread:
    """Return mean and spread of what is known.

    >>> str(over_seeds([2.0, None])), over_seeds([1.0, 3.0]).mean
    ('2.00', 2.0)
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Spread(None)
    return Spread(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def region_sets(records: Sequence[SignificanceRecord | FakeRecord]) -> list[list[str]]:
    """Return the sets of regions in the order of the study, combinations last."""
    return [list(own) for own in {tuple(record.regions): None for record in records}]


def strategies(records: Sequence[SignificanceRecord | FakeRecord | ClassifierRecord]) -> list[str]:
    """Return the strategies in the order of the study."""
    return list(dict.fromkeys(record.strategy for record in records))


def words_of_regions(regions: Sequence[str]) -> str:
    """Return the name of a set of regions for a title.

    >>> words_of_regions(["SR"]), words_of_regions(["SR", "CR"])
    ('SR', 'SR and CR combined')
    """
    first, last = regions[:-1], regions[-1]
    return f"{', '.join(first)} and {last} combined" if first else last


def words_of_point(point: Mapping[str, float]) -> str:
    """Return a point of the parameters of interest as printed.

    >>> words_of_point({"mu": 0.0}), words_of_point({"a": 0.8, "b": 0.2})
    ('mu = 0', '(a, b) = (0.800, 0.200)')
    """
    names, values = list(point), [significant(value) for value in point.values()]
    return f"{names[0]} = {values[0]}" if len(names) == 1 else f"({', '.join(names)}) = ({', '.join(values)})"


@dataclasses.dataclass(frozen=True)
class SignificanceRow:
    """One strategy on one set of regions, at one tested point.

    Attributes:
        strategy: name.
        significances: by what the fit does with the nuisances, data of the reference.
        reverse: nuisances profiled, data of the tested point against the reference.
        fakes: largest faked significance over wrong nuisances, by what the fit does with them.
        holdouts: the same over the hold-out variations.
        failed: fits that did not converge or points that could not be tested, at this point.
    """

    strategy: str
    significances: dict[str, Spread]
    reverse: Spread
    fakes: dict[str, Spread]
    holdouts: dict[str, Spread]
    failed: bool


@dataclasses.dataclass(frozen=True)
class SignificanceSection:
    """All strategies on one set of regions.

    Attributes:
        title: the regions, in words.
        regions: as in the records.
        point: the tested point.
        treatments: what the fits do with the nuisances, keys of `TREATMENTS`.
        holdouts: whether there are hold-out variations.
        rows: one a strategy.
    """

    title: str
    regions: list[str]
    point: dict[str, float]
    treatments: tuple[str, ...]
    holdouts: bool
    rows: tuple[SignificanceRow, ...]

    @property
    def where(self) -> str:
        """The tested point in words."""
        return words_of_point(self.point)


def significance_sections(
    records: Sequence[SignificanceRecord], fakes: Sequence[FakeRecord], classifiers: Sequence[ClassifierRecord] = ()
) -> list[SignificanceSection]:
    """Return the table of the report, a section a set of regions.

    Args:
        records: of all strategies and seeds.
        fakes: the same.
        classifiers: their point is the one shown; without them the line's point of median significance.
    """
    if not records:
        return []
    point = _shown_point(records, classifiers)
    sections = []
    for regions in region_sets(records):
        own = [r for r in records if r.regions == regions]
        treatments = tuple(name for name in TREATMENTS if any(r.nuisances == name for r in own))
        here = [r for r in own if r.point == point]
        wrong = [f for f in fakes if f.regions == regions]
        rows = tuple(_row(name, here, wrong, treatments) for name in strategies(own))
        unseen = any(f.holdout for f in wrong)
        sections.append(SignificanceSection(words_of_regions(regions), regions, point, treatments, unseen, rows))
    return sections


def _shown_point(records: Sequence[SignificanceRecord], classifiers: Sequence[ClassifierRecord]) -> dict[str, float]:
    """Return the point that tables show."""
    if classifiers:
        return classifiers[0].point
    line = [r for r in records if r.offset == 0.0 and r.nuisances == "profiled" and r.z is not None] or list(records)
    return sorted(line, key=lambda r: r.z or 0.0)[len(line) // 2].point


def _row(
    strategy: str, here: Sequence[SignificanceRecord], wrong: Sequence[FakeRecord], treatments: Sequence[str]
) -> SignificanceRow:
    own = [r for r in here if r.strategy == strategy]

    def z(treatment: str, data: str) -> Spread:
        return over_seeds(r.z for r in own if (r.nuisances, r.data) == (treatment, data))

    return SignificanceRow(
        strategy=strategy,
        significances={name: z(name, "reference") for name in treatments},
        reverse=z("profiled", "alternative"),
        fakes={name: faked(wrong, strategy, name, lambda f: not f.holdout) for name in treatments},
        holdouts={name: faked(wrong, strategy, name, lambda f: f.holdout) for name in treatments},
        failed=any(not r.converged for r in own),
    )


def faked(
    fakes: Sequence[FakeRecord], strategy: str, treatment: str, chosen: Callable[[FakeRecord], bool] = lambda _: True
) -> Spread:
    """Return the largest faked significance of a tested point, the reference (0) included, over seeds.

    Args:
        fakes: of one set of regions.
        strategy: whose.
        treatment: what the fit does with the nuisances.
        chosen: which data.
    """
    own = [f for f in fakes if (f.strategy, f.nuisances) == (strategy, treatment) and f.z is not None and chosen(f)]
    return over_seeds(max(0.0, *(f.z or 0.0 for f in own if f.seed == s)) for s in dict.fromkeys(f.seed for f in own))
