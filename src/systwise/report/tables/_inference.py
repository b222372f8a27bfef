"""What makes up each uncertainty, and what it means for discovery and exclusion, as rows of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from systwise.report.tables._rows import Entry, TruePoint, entries, true_points, words_of_binning
from systwise.report.text._numbers import MISSING, significant
from systwise.study import InferenceRecord, Results

SHOWN = 1e-3
"""Parts below this fraction of the total are nothing to a reader."""


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """One uncertainty taken apart, as it is printed.

    Attributes:
        record: the numbers.
        label: strategy, observable and binning.
        entry: the row of the comparison that it belongs to.
    """

    record: InferenceRecord
    label: str
    entry: Entry

    @property
    def total(self) -> str:
        """Half of the interval."""
        return significant(self.record.total)

    def part(self, value: float | None) -> str:
        """Return a part of the uncertainty, zero where it is nothing beside the total."""
        total = self.record.total
        if value is not None and total and abs(value) < SHOWN * total:
            return "0"
        return significant(value)

    @property
    def statistical(self) -> str:
        """Statistical part by shifts of observations."""
        return self.part(self.record.statistical)

    @property
    def systematic(self) -> str:
        """Systematic part by shifts of observations."""
        return self.part(self.record.systematic)

    @property
    def leading(self) -> str:
        """The nuisance with the largest impact."""
        first = next((row for row in self.record.impacts if row.size), None)
        if first is None or self.part(first.size) == "0":
            return MISSING
        return f"{first.nuisance} {significant(first.size)}"

    @property
    def frozen(self) -> str:
        """Interval with everything held at its best fit."""
        return next((self.part(row.half) for row in self.record.split if row.held == "everything"), MISSING)

    @property
    def significance(self) -> str:
        """Median expected discovery significance."""
        return significant(self.record.significance)

    @property
    def limit(self) -> str:
        """Median expected limit without signal, with the band of one standard deviation."""
        expected = self.record.limit_expected
        if len(expected) != 5 or expected[2] is None:
            return MISSING
        return f"{significant(expected[2])} [{significant(expected[1])}, {significant(expected[3])}]"

    @property
    def referee(self) -> str:
        """What the second minimiser says."""
        return MISSING if self.record.referee is None else "agrees" if self.record.referee else "DISAGREES"

    @property
    def verdicts(self) -> str:
        """All verdicts in one line."""
        return "; ".join(f"{name}: {verdict}" for name, verdict in self.record.verdicts.items())

    @property
    def failed(self) -> bool:
        """Whether something of it cannot be believed."""
        bad = any(word in verdict for verdict in self.record.verdicts.values() for word in ("NOT", "DISAGREE"))
        return bad or self.record.referee is False


def anatomies(results: Results) -> list[tuple[TruePoint, list[Anatomy]]]:
    """Return the examined uncertainties by true point, in the order of the comparison."""
    rows = entries(results)
    found = []
    for point in true_points(results):
        own = [
            Anatomy(record, _label(results, record, entry), entry)
            for entry in rows
            for record in results.inferences
            if (record.strategy, record.observable, record.convention)
            == (entry.strategy, entry.observable, entry.convention)
            and point.same(record.true)
        ]
        if own:
            found.append((point, own))
    return found


def _label(results: Results, record: InferenceRecord, entry: Entry) -> str:
    several = len({r.binning for r in results.inferences if r.observable == "fixed"}) > 1
    binning = f", {words_of_binning(record.binning)}" if several and record.observable == "fixed" else ""
    return f"{entry.short}{binning}{entry.mark}"


def disagreements(found: Sequence[tuple[TruePoint, Sequence[Anatomy]]]) -> list[str]:
    """Return a sentence for each fit that a second minimiser does not confirm."""
    return [
        f"{row.label} at {point.label}: iminuit does not confirm the fit ({row.record.verdicts.get('referee', '')})."
        for point, rows in found
        for row in rows
        if row.record.referee is False
    ]
