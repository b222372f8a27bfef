"""The axes along which a report compares: rows (strategies), true points, columns of binnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from systwise.fit import error_decimals
from systwise.report.text._numbers import significant
from systwise.study import Measurement, Results, Summary, ToyRecord

UNNAMED = ("given", "joint", "none")
MANY = 3
"""Nuisances whose nominal values are still listed one by one."""
"""Binnings of which an observable has just one: joint cells (anchored) and none (unbinned)."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a comparison: a strategy as it entered the fit.

    Attributes:
        strategy, observable, convention: as in the measurements.
        label: what is printed: the strategy's name, with `fixed` where it also moves, with `anchored` or
            `unbinned`, with the convention where there are several, and a dagger where the observable moves.
        short: the same without the convention.
        yardstick: whether it uses knowledge that no measurement has.
    """

    strategy: str
    observable: str
    convention: str
    label: str
    short: str
    yardstick: bool

    @property
    def mark(self) -> str:
        """An asterisk after yardsticks."""
        return "*" if self.yardstick else ""

    @property
    def moving(self) -> bool:
        """Whether the observable moves with the hypothesis."""
        return self.observable == "moving"


@dataclasses.dataclass(frozen=True)
class Place:
    """One group of columns: binnings whose results stand below each other.

    Attributes:
        name: what the optimisable ones have in common, or the name of the only binning.
        binnings: as in the measurements.
    """

    name: str
    binnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """What stands above figures and columns."""
        if self.name in UNNAMED:
            return " or ".join(words_of_binning(name) for name in self.binnings)
        return f"{self.name} binning"

    @property
    def full_title(self) -> str:
        """The same, with everything that stands in the column."""
        extra = [words_of_binning(name) for name in self.binnings if name in UNNAMED and name != self.name]
        return (
            " or ".join([", ".join([self.title, *extra[:-1]]), *extra[-1:]]) if self.name not in UNNAMED else self.title
        )


def words_of_binning(name: str) -> str:
    """Return a binning as a phrase.

    >>> words_of_binning("uniform"), words_of_binning("joint"), words_of_binning("none")
    ('uniform binning', 'joint cells', 'unbinned')
    """
    return {"given": "given bins", "joint": "joint cells", "none": "unbinned"}.get(name, f"{name} binning")


@dataclasses.dataclass(frozen=True)
class ObservedRow:
    """A measured value.

    Attributes:
        strategy, observable, binning, poi: labels.
        value: with its uncertainties, as text.
        expected: uncertainty from expected data.
        verdict: of the fit.
    """

    strategy: str
    observable: str
    binning: str
    poi: str
    value: str
    expected: float | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class TruePoint:
    """One set of true values.

    Attributes:
        values: nuisances and parameters of interest.
        label: the values that differ between points, with units, as plain text.
    """

    values: dict[str, float]
    label: str

    def same(self, other: dict[str, float]) -> bool:
        """Whether `other` is this point, up to rounding."""
        return self.values.keys() == other.keys() and all(
            abs(value - other[name]) <= 1e-9 * max(1.0, abs(value)) for name, value in self.values.items()
        )


def entries(results: Results) -> list[Entry]:
    """Return the rows, in the order in which the strategies were run."""
    seen: dict[tuple[str, str], list[str]] = {}
    for row in results.summaries:
        conventions = seen.setdefault((row.strategy, row.observable), [])
        if row.convention not in conventions:
            conventions.append(row.convention)
    found = []
    for (strategy, observable), conventions in seen.items():
        both = {(strategy, "fixed"), (strategy, "moving")} <= seen.keys()
        for convention in conventions:
            short = strategy
            if observable == "moving":
                short += "†"
            elif observable in {"anchored", "unbinned"} or both:
                short += f", {observable}"
            label = f"{short}, {convention}" if len(conventions) > 1 else short
            found.append(Entry(strategy, observable, convention, label, short, strategy in results.yardsticks))
    return found


def main_entries(results: Results) -> list[Entry]:
    """Return the rows for figures: the first convention of each strategy and observable."""
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries(results):
        first.setdefault((entry.strategy, entry.observable), entry)
    return list(first.values())


def pois(results: Results) -> list[str]:
    """Return the parameters of interest that were measured."""
    return list(dict.fromkeys(record.poi for record in results.asimov))


def binnings(results: Results) -> list[str]:
    """Return the binnings, in order of appearance."""
    return list(dict.fromkeys(record.binning for record in results.asimov))


def observed_rows(results: Results) -> list[ObservedRow]:
    """Return the measured values, each beside the expectation of the same observable."""
    rows = []
    for record in results.observed:
        key = (record.strategy, record.observable, record.binning, record.seed)
        same = [m for m in results.asimov if (m.strategy, m.observable, m.binning, m.seed) == key]
        # The first true point is the nominal one, unless the user chose others.
        expected = same[0].sigma if same else None
        labels = record.strategy, record.observable, words_of_binning(record.binning), record.poi
        rows.append(ObservedRow(*labels, _measured(record), expected, record.verdict))
    return rows


def _measured(record: Measurement) -> str:
    """Return the measured value with its two uncertainties."""
    if record.estimate is None:
        return "no minimum"
    widths = [width for width in (record.sigma_up, record.sigma_down) if width]
    digits = max((max(0, error_decimals(width)) for width in widths), default=3)
    up, down = ("?" if w is None else f"{w:.{digits}f}" for w in (record.sigma_up, record.sigma_down))
    return f"{record.estimate:.{digits}f} +{up} −{down}"


def places(results: Results) -> list[Place]:
    """Return the groups of columns, in order of appearance.

    Joint cells and unbinned likelihoods stand with the optimised binning, as they compete with it; where
    nothing was optimised they have a group of their own.
    """
    kinds = binnings(results)
    single = tuple(name for name in kinds if name in UNNAMED)
    found = [Place(name, (name, *single) if name == "optimised" else (name,)) for name in kinds if name not in UNNAMED]
    if single and "optimised" not in kinds:
        found.append(Place(single[0], single))
    return found


def true_points(
    results: Results, records: Sequence[Measurement] | Sequence[ToyRecord] | None = None
) -> list[TruePoint]:
    """Return the true points of some records (of the measurements, if not told), in order of appearance."""
    distinct: list[dict[str, float]] = []
    for true in [*(record.true for record in results.asimov), *(record.true for record in results.toys)]:
        if not any(TruePoint(known, "").same(true) for known in distinct):
            distinct.append(dict(true))
    wanted = results.asimov if records is None else records
    found = [TruePoint(values, point_label(results, values, distinct)) for values in distinct]
    return [point for point in found if any(point.same(record.true) for record in wanted)]


def point_label(results: Results, values: dict[str, float], distinct: list[dict[str, float]]) -> str:
    """Name a true point by the values in which points differ (nuisances where none does)."""
    varying = [name for name in values if len({round(other.get(name, 0.0), 9) for other in distinct}) > 1]
    nuisances = {record.name: record for record in results.nuisances}
    if not varying and len(nuisances) > MANY and all(values[n] == nuisances[n].nominal for n in nuisances):
        return "nuisances: all nominal"
    if not varying:
        varying = [name for name in values if name in nuisances] or list(values)
    words = []
    for name in varying:
        unit = nuisances[name].unit if name in nuisances else ""
        words.append(f"{name} = {significant(values[name])}{' ' + unit if unit else ''}")
    return ", ".join(words)


def find(results: Results, entry: Entry, point: TruePoint, place: Place, poi: str) -> Summary | None:
    """Return the summary of one cell of the comparison, or None where nothing was measured."""
    for row in results.summaries:
        key = (row.strategy, row.observable, row.convention, row.poi)
        own = key == (entry.strategy, entry.observable, entry.convention, poi)
        if own and row.binning in place.binnings and point.same(row.true):
            return row
    return None


def competitors(results: Results, point: TruePoint, poi: str) -> list[Summary]:
    """Return what competes at a true point, smallest mean sigma first, all binnings together."""
    rows = [row for row in results.summaries if row.competes and row.poi == poi and point.same(row.true)]
    return sorted(rows, key=lambda row: row.sigma.mean or 0.0)


def preferred_place(results: Results) -> Place | None:
    """Return the binnings that small multiples show: the optimised one where there is one."""
    found = places(results)
    return next((place for place in found if place.name == "optimised"), found[0] if found else None)
