"""Which bins an observable is measured in."""

from __future__ import annotations

import numpy as np

from systwise.cases import AbstractCase
from systwise.parameters import Nuisance
from systwise.study.config._settings import BinningSettings
from systwise.templates import (
    ScoreTable,
    effective_counts,
    merge_sparse,
    mixture_quantiles,
    optimised_edges,
    signal_and_background,
    signal_quantiles,
    uniform_edges,
)


def choose_edges(
    name: str,
    settings: BinningSettings,
    case: AbstractCase,
    nuisances: tuple[Nuisance, ...],
    choosing: ScoreTable,
    measuring: ScoreTable,
    own: int | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Return the edges of the binning `name`, and warnings where bins were merged or are thinly filled.

    Args:
        name: `given` (the observable's own), `uniform`, `optimised`, `signal_quantiles` or `mixture_quantiles`.
        settings: how many bins, and how full.
        case: components, constraints and default numbers of bins.
        nuisances: with the anchors at which both tables were scored.
        choosing: scores of events that the templates do not use; edges are chosen on these.
        measuring: scores of the template events; they only merge bins that would be too empty.
        own: bins of an observable that is made of bins, which `uniform` leaves as they are.
    """
    components, bins = case.components, settings.optimised or case.defaults.optimised_bins
    if name in ("optimised", "signal_quantiles") and not signal_and_background(choosing, 0, components)[0].any():
        name = "mixture_quantiles"  # a region without signal has nothing to choose them by
    if name in ("uniform", "given"):
        edges = uniform_edges(own or uniform_bins(settings, case))
    elif name == "optimised":
        edges = optimised_edges(choosing, components, nuisances, case.constraints, bins, minimum=settings.minimum)
    elif name == "signal_quantiles":
        edges = signal_quantiles(choosing, components, bins)
    else:
        edges = mixture_quantiles(choosing, components, bins)
    warnings = []
    if settings.merge_below > 0:
        edges, merged = merge_sparse(edges, measuring, components, nuisances, settings.merge_below)
        warnings += [merged] if merged else []
    sums, squares = measuring.rebin(edges)
    thin = int(np.sum(effective_counts(sums, squares, components).min(axis=0) < settings.minimum))
    if thin:
        warnings.append(
            f"{thin} of {len(edges) - 1} bins hold fewer than {settings.minimum:g} effective simulated events at some "
            "anchor: the statistical uncertainty of the simulation, which is not in the fit, makes sigma look too small"
        )
    return edges, warnings


def uniform_bins(settings: BinningSettings, case: AbstractCase) -> int:
    """Return the number of bins of the uniform binning."""
    return settings.uniform or case.defaults.uniform_bins
