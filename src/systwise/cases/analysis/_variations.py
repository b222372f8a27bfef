"""The variations of an analysis, in the order in which they act."""

from __future__ import annotations

from collections.abc import Sequence

from systwise.cases.analysis._functions import Function, FunctionVariation, RateVariation
from systwise.cases.analysis.file._structure import Action, is_rate, rate_factors
from systwise.cases.analysis.file._view import RegionView
from systwise.cases.analysis.reading._layout import Layout
from systwise.events import AbstractVariation


def build_variations(
    view: RegionView, layout: Layout, all_actions: Sequence[Action], functions: Sequence[Function]
) -> tuple[AbstractVariation, ...]:
    """Return what acts on events: samples, weights, rates that go with a shape, functions.

    Args:
        view: the analysis as the region sees it.
        layout: where everything stands in the table.
        all_actions: of all regions; a nuisance that is a rate everywhere moves no event.
        functions: those of `layout.functions`.
    """
    rates = [
        RateVariation(a.entry.name, a.entry.nominal, a.entry.width, *rate_factors(a.entry), a.samples)
        for a in view.actions
        if a.entry.way == "normalisation" and not is_rate(a.entry.name, all_actions)
    ]
    moved = [
        FunctionVariation(
            action.entry.name,
            function,
            action.samples,
            layout.raw,
            layout.first_raw,
            layout.features,
        )
        for action, function in zip(layout.functions, functions, strict=True)
    ]
    samples, weights = ([variation for _, variation in found] for found in (layout.samples, layout.weights))
    return (*samples, *weights, *rates, *moved)
