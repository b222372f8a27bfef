"""Where everything stands in the table of an analysis: samples, weights and columns that variations need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from systwise.cases.analysis.file._nuisances import anchored_templates, known_values
from systwise.cases.analysis.file._structure import Action, Term
from systwise.cases.analysis.file._systematics import Systematic
from systwise.cases.analysis.file._view import RegionView
from systwise.events import Expression, SampleVariation, WeightVariation


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of the event table beside features and weights.

    Attributes:
        features: what each feature is.
        samples: actions with samples of their own and their variations.
        weights: actions by weight columns and their variations.
        functions: actions by functions.
        raw: names of the columns that functions and the analyst's own score need.
        first_raw: place of the first of them.
        width: number of columns.
    """

    features: tuple[Expression, ...]
    samples: tuple[tuple[Action, SampleVariation], ...]
    weights: tuple[tuple[Action, WeightVariation], ...]
    functions: tuple[Action, ...]
    raw: tuple[str, ...]
    first_raw: int
    width: int


CODE, OWN = 0, 1
"""Columns with the number of a row's sample, and with its weights there (where samples vary)."""


def build_layout(view: RegionView, terms: Sequence[Term]) -> Layout:
    """Return where everything stands."""
    found = view.actions
    features = tuple(expression for _, expression in view.features)
    width = 0
    samples: list[tuple[Action, SampleVariation]] = []
    by_samples = [action for action in found if action.entry.way == "samples"]
    if by_samples:
        width = OWN + len(terms)
    number = 1
    for action in by_samples:
        entry, anchors = action.entry, known_values(action.entry)
        mirrored = [anchors.index(value) for value, side in anchored_templates(entry).items() if side.symmetrize]
        variation = SampleVariation(
            nuisance=entry.name,
            anchors=anchors,
            nominal=anchors.index(entry.nominal),
            code=CODE,
            own=OWN,
            first=number,
            processes=action.samples,
            mirrored=tuple(mirrored),
        )
        number += len(anchors)
        samples.append((action, variation))
    weights: list[tuple[Action, WeightVariation]] = []
    for action in found:
        if action.entry.way == "weights":
            anchors = known_values(action.entry)
            place = anchors.index(action.entry.nominal)
            weights.append((action, WeightVariation(action.entry.name, anchors, place, width)))
            width += len(anchors) - 1
    functions = tuple(action for action in found if action.entry.way == "function")
    raw = _raw_names(view, features, functions)
    return Layout(features, tuple(samples), tuple(weights), functions, raw, width, width + len(raw))


def _raw_names(view: RegionView, features: Sequence[Expression], functions: Sequence[Action]) -> tuple[str, ...]:
    region = view.region
    wanted: list[Expression] = [] if region.variable is None else [Expression(region.variable)]
    extra: list[str] = []
    if functions:
        # An estimate's events are data, which nothing moves.
        filters = [view.filter_of(k) for k in view.samples if view.settings.processes[k].estimate is None]
        wanted += [*features, *(Expression(text) for text in filters if text is not None)]
        extra = [name for action in functions for name in action.entry.columns]
    return tuple(dict.fromkeys([*_names(wanted), *extra]))


def _names(expressions: Iterable[Expression]) -> list[str]:
    return [name for expression in expressions for name in expression.names]


def weights_of(entry: Systematic) -> dict[float, tuple[str, ...]]:
    """Return the weight expressions of a systematic uncertainty by nuisance value; an envelope's at both its ends."""
    if entry.envelope:
        return {entry.nominal - entry.width: entry.envelope, entry.nominal + entry.width: entry.envelope}
    return {value: (t.weight,) for value, t in anchored_templates(entry).items() if t.weight is not None}
