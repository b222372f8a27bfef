"""From scored events to templates: one pass of scoring, binnings, and the input of a fit.

The only room that joins events and observables. A typical use::

    pairs = anchor_pairs(case.nuisances, true_points, observable.moving)
    scores = score(observable, case, table, index, fold_of, pairs)
    scores = scores.scaled_to(yields(case, table, all_rows, pairs.z_true))
    edges = optimised_edges(other_scores, case.components, case.nuisances, case.constraints, 30)
    templates = build_templates(scores, edges, case.components, case.nuisances, true_points=true_points)
"""

from systwise.templates._binning import merge_sparse, mixture_quantiles, signal_quantiles, uniform_edges
from systwise.templates._expectation import background_mask, effective_counts
from systwise.templates._grid import FineGrid
from systwise.templates._optimise import optimised_edges
from systwise.templates._pairs import Pairs, anchor_pairs, nuisance_point
from systwise.templates._score_table import ScoreTable
from systwise.templates._scoring import score, yields
from systwise.templates._separation import auc, ks_distance
from systwise.templates._templates import Templates, build_templates

__all__ = [
    "FineGrid",
    "Pairs",
    "ScoreTable",
    "Templates",
    "anchor_pairs",
    "auc",
    "background_mask",
    "build_templates",
    "effective_counts",
    "ks_distance",
    "merge_sparse",
    "mixture_quantiles",
    "nuisance_point",
    "optimised_edges",
    "score",
    "signal_quantiles",
    "uniform_edges",
    "yields",
]
