"""How a variation compares with the nominal sample: what `check` tells, and what deserves a warning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from systwise.cases.analysis.file._structure import Action
from systwise.cases.analysis.reading._read import Rows


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of what was found: a sample or a variation of it.

    Attributes:
        label: which.
        read, kept: events in the files and after the selection; None for weights.
        total: expected events.
        change: relative to the nominal sample; None for that itself.
        remark: what a reader should know.
    """

    label: str
    read: int | None
    kept: int | None
    total: float
    change: float | None = None
    remark: str = ""


def merged(portions: Sequence[Sequence[Finding]]) -> tuple[Finding, ...]:
    """Return what was found in all portions of the same files."""
    found: dict[str, list[Finding]] = {}
    for finding in (one for portion in portions for one in portion):
        found.setdefault(finding.label, []).append(finding)
    return tuple(_merged(same) for same in found.values())


def _merged(same: Sequence[Finding]) -> Finding:
    first, total = same[0], sum(one.total for one in same)
    kept = None if first.kept is None else sum(one.kept or 0 for one in same)
    change = None
    if first.change is not None:
        known = [one for one in same if one.change is not None and np.isfinite(one.change) and one.change > -1]
        base = sum(one.total / (1 + one.change) for one in known if one.change is not None)
        change = relative_change(sum(one.total for one in known), base)
    remark = next((one.remark for one in same if one.remark), "")
    return Finding(first.label, first.read, kept, total, change, remark)


def relative_change(varied: float, nominal: float) -> float:
    """Return the relative change; NaN where there is nothing to compare with."""
    return varied / nominal - 1 if nominal else float("nan")


def kinship(nominal: Rows, shifted: Rows) -> str:
    """Return how the events of a shifted sample relate to the nominal ones."""
    common = np.intersect1d(nominal.ids, shifted.ids, assume_unique=True)
    share = len(common) / max(1, min(len(nominal.ids), len(shifted.ids)))
    if share < 0.5:
        return "independent events"
    order = np.array_equal(nominal.ids[np.isin(nominal.ids, common)], shifted.ids[np.isin(shifted.ids, common)])
    words = "same events" if share == 1 else f"{100 * share:.0f} % same events"
    return words if order else f"{words}, in another order"


def same_events(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Return whether features and weights of two sources are equal, and there are any."""
    return len(one[0]) > 0 and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def swapped(action: Action, name: str, changes: Mapping[float, float]) -> str | None:
    """Return a warning where Up and Down seem to stand in each other's place.

    Args:
        action: the systematic uncertainty.
        name: of the sample.
        changes: relative change of the yield by nuisance value.
    """
    if action.entry.anchors or len(changes) != 2:
        return None
    low, high = sorted(changes)
    if not changes[high] < 0 < changes[low]:
        return None
    return (
        f"{action.where}: Up lowers the yield of sample '{name}' by {-100 * changes[high]:.2g} % and Down "
        f"raises it by {100 * changes[low]:.2g} %; check that they are not swapped"
    )
