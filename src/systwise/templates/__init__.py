"""From scored events to templates: one pass of scoring, binnings, and the input of a fit.

The only room that joins events and observables. A typical use::

    pairs = anchor_pairs(case.nuisances, true_points, observable.moving)
    scores = score(observable, case, table, index, fold_of, pairs)
    scores = scores.scaled_to(yields(case, table, all_rows, pairs.z_true))
    edges = optimised_edges(other_scores, case.components, case.nuisances, case.constraints, 30)
    templates = build_templates(scores, edges, case.components, case.nuisances, true_points=true_points)

The anchored observable, a moving score at a few fixed hypotheses binned jointly::

    binning = choose_joint_binning(observable, case, table, other_index, fold_of, template_events=len(index))
    table = joint_score(observable, case, table, index, fold_of, joint_points(case.nuisances, true_points), binning)
    templates = build_joint_templates(table, case.components, case.nuisances, true_points=true_points)
"""

from systwise.templates._expectation import background_mask, effective_counts, signal_and_background
from systwise.templates._pairs import Pairs, anchor_pairs, nuisance_point
from systwise.templates._prune import prune
from systwise.templates._regions import join_templates, restrict_templates
from systwise.templates._running_medians import smooth_353qh_twice, smooth_templates
from systwise.templates._separation import auc, ks_distance
from systwise.templates._templates import Templates, build_templates, grid_points
from systwise.templates.binning._binning import merge_sparse, mixture_quantiles, signal_quantiles, uniform_edges
from systwise.templates.binning._optimise import optimised_edges
from systwise.templates.joint._choice import choose_joint_binning, spread_anchors
from systwise.templates.joint._joint import JointBinning, joint_cells, joint_score, joint_vectors
from systwise.templates.joint._table import JointTable, joint_points
from systwise.templates.joint._templates import build_joint_templates, merge_sparse_cells
from systwise.templates.joint._tree import ScoreTree
from systwise.templates.scoring._chunks import in_order
from systwise.templates.scoring._grid import FineGrid
from systwise.templates.scoring._score_table import ScoreTable
from systwise.templates.scoring._tabulate import score, yields

__all__ = [
    "FineGrid",
    "JointBinning",
    "JointTable",
    "Pairs",
    "ScoreTable",
    "ScoreTree",
    "Templates",
    "anchor_pairs",
    "auc",
    "background_mask",
    "build_joint_templates",
    "build_templates",
    "choose_joint_binning",
    "effective_counts",
    "grid_points",
    "in_order",
    "join_templates",
    "joint_cells",
    "joint_points",
    "joint_score",
    "joint_vectors",
    "ks_distance",
    "merge_sparse",
    "merge_sparse_cells",
    "mixture_quantiles",
    "nuisance_point",
    "optimised_edges",
    "prune",
    "restrict_templates",
    "score",
    "signal_and_background",
    "signal_quantiles",
    "smooth_353qh_twice",
    "smooth_templates",
    "spread_anchors",
    "uniform_edges",
    "yields",
]
