"""The axes along which a report compares: rows (strategies), true points, binnings."""

from __future__ import annotations

import dataclasses

from systwise.report._numbers import significant
from systwise.study import Results, Summary


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a comparison: a strategy as it entered the fit.

    Attributes:
        strategy, observable, convention: as in the measurements.
        label: what is printed: the strategy's name, with `fixed` where it also moves, with the
            convention where there are several, and a dagger where the observable moves.
        yardstick: whether it uses knowledge that no measurement has.
    """

    strategy: str
    observable: str
    convention: str
    label: str
    yardstick: bool

    @property
    def moving(self) -> bool:
        """Whether the observable moves with the hypothesis."""
        return self.observable == "moving"


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
            label = f"{strategy}†" if observable == "moving" else f"{strategy}, fixed" if both else strategy
            if len(conventions) > 1:
                label += f", {convention}"
            found.append(Entry(strategy, observable, convention, label, strategy in results.yardsticks))
    return found


def main_entries(results: Results) -> list[Entry]:
    """Return the rows for figures: the first convention of each strategy and observable."""
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries(results):
        first.setdefault((entry.strategy, entry.observable), entry)
    return list(first.values())


def pois(results: Results) -> list[str]:
    """Return the parameters of interest that were measured."""
    return list(dict.fromkeys(record.poi for record in results.measurements))


def binnings(results: Results) -> list[str]:
    """Return the binnings, in order of appearance."""
    return list(dict.fromkeys(record.binning for record in results.measurements))


def true_points(results: Results) -> list[TruePoint]:
    """Return the true points, in order of appearance."""
    distinct: list[dict[str, float]] = []
    for record in results.measurements:
        if not any(TruePoint(known, "").same(record.true) for known in distinct):
            distinct.append(dict(record.true))
    return [TruePoint(values, point_label(results, values, distinct)) for values in distinct]


def point_label(results: Results, values: dict[str, float], distinct: list[dict[str, float]]) -> str:
    """Name a true point by the values in which points differ (nuisances where none does)."""
    varying = [name for name in values if len({round(other.get(name, 0.0), 9) for other in distinct}) > 1]
    nuisances = {record.name: record for record in results.nuisances}
    if not varying:
        varying = [name for name in values if name in nuisances] or list(values)
    words = []
    for name in varying:
        unit = nuisances[name].unit if name in nuisances else ""
        words.append(f"{name} = {significant(values[name])}{' ' + unit if unit else ''}")
    return ", ".join(words)


def find(results: Results, entry: Entry, point: TruePoint, binning: str, poi: str) -> Summary | None:
    """Return the summary of one cell of the comparison, or None where nothing was measured."""
    for row in results.summaries:
        key = (row.strategy, row.observable, row.convention, row.binning, row.poi)
        if key == (entry.strategy, entry.observable, entry.convention, binning, poi) and point.same(row.true):
            return row
    return None


def competitors(results: Results, point: TruePoint, poi: str) -> list[Summary]:
    """Return what competes at a true point, smallest mean sigma first, all binnings together."""
    rows = [row for row in results.summaries if row.competes and row.poi == poi and point.same(row.true)]
    return sorted(rows, key=lambda row: row.sigma.mean or 0.0)
