"""What looks wrong in events though nothing forbids it: features that tell nothing or too much, lone large numbers."""

from __future__ import annotations

import dataclasses

import numpy as np

from systwise.cases import Analysis
from systwise.events import EventTable, Expression

FAR = 1000.0
"""How many times farther from the median than 99 % of events a feature's largest value may lie."""
HEAVY = 0.2
"""Largest part of a sample's weight that one event may have."""
BEYOND = 0.01
"""Largest part of the weights beyond a VariableRange that needs no remark."""


@dataclasses.dataclass
class _Range:
    """Where a feature lies."""

    low: float = np.inf
    high: float = -np.inf
    median: float = 0.0
    width: float = 0.0


class Doubts:
    """Gathers what is to be said of the events of a region, portion by portion."""

    def __init__(self, case: Analysis) -> None:
        """Begin with no events."""
        self._case = case
        self._ranges = {name: _Range() for name in case.features}
        self._heavy: dict[int, tuple[float, float, int]] = {}
        self._score = [0.0, 0.0]

    def add(self, table: EventTable, sample: int, weights: np.ndarray, scores: np.ndarray | None) -> None:
        """Add the events of a portion.

        Args:
            table: the events.
            sample: number of the sample.
            weights: `[event]` after the selection at nominal nuisances.
            scores: `[event]` the region's Variable scaled to [0, 1], where it has a range.
        """
        kept = weights != 0
        if not kept.any():
            return
        own = np.abs(weights[kept])
        largest, total, count = self._heavy.get(sample, (0.0, 0.0, 0))
        self._heavy[sample] = max(largest, float(own.max())), total + float(own.sum()), count + len(own)
        for name, values in zip(table.feature_names, table.features[kept].T, strict=True):
            seen = values if self._case.undefined is None else values[values != np.float32(self._case.undefined)]
            found = self._ranges.get(name)
            if found is None or not len(seen):
                continue
            if not found.width:
                found.median = float(np.median(seen))
                found.width = float(np.quantile(np.abs(seen - found.median), 0.99))
            found.low, found.high = min(found.low, float(seen.min())), max(found.high, float(seen.max()))
        if scores is not None:
            self._score[0] += float(own[(scores[kept] <= 0) | (scores[kept] >= 1)].sum())
            self._score[1] += float(own.sum())

    def notes(self) -> list[str]:
        """Return a sentence for everything that deserves a look."""
        return [*self._of_features(), *self._of_weights(), *self._of_score()]

    def _of_features(self) -> list[str]:
        settings, notes = self._case.settings, []
        numbers = {"Weight": {n for s in settings.processes for n in Expression(s.weight).names}}
        numbers["EventId"] = {n for text in settings.general.event_ids for n in Expression(text).names}
        for name, expression in () if self._case.given else self._case.view.features:
            for what, columns in numbers.items():
                for column in sorted(columns & set(expression.names)):
                    notes.append(
                        f"feature '{name}' is made of '{column}', which {what} uses too: a classifier would learn how "
                        "events are weighted or numbered"
                    )
            found = self._ranges[name]
            if found.low == found.high:
                notes.append(f"feature '{name}' is {found.low:g} in every event: it tells nothing")
            away = max(found.high - found.median, found.median - found.low)
            if found.width > 0 and away > FAR * found.width:
                extreme = found.high if found.high - found.median == away else found.low
                notes.append(
                    f"feature '{name}' reaches {extreme:.4g}, where 99 % of events lie within {found.width:.4g} of "
                    f"{found.median:.4g}; is that a number for undefined (General.Undefined), or a bad event?"
                )
        return notes

    def _of_weights(self) -> list[str]:
        names = [sample.name for sample in self._case.settings.processes]
        return [
            f"one event of sample '{names[number]}' has {100 * largest / total:.0f} % of its weight; check Weight"
            for number, (largest, total, count) in self._heavy.items()
            if count > 20 and largest > HEAVY * total
        ]

    def _of_score(self) -> list[str]:
        outside, total = self._score
        if not total or outside <= BEYOND * total:
            return []
        low, high = self._case.view.region.variable_range
        return [
            f"{100 * outside / total:.1f} % of the events lie beyond VariableRange [{low:g}, {high:g}] and count in "
            "the bins at its ends"
        ]
