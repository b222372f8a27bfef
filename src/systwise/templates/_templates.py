"""Templates: binned yields of every component at the anchors of each nuisance, with variances."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.parameters import Components, Nuisance
from systwise.templates._expectation import positive_sums
from systwise.templates._pairs import nuisance_point, shaped
from systwise.templates.scoring._score_table import ScoreTable

ObservableKind = Literal["fixed", "moving", "anchored", "unbinned"]


@dataclasses.dataclass(frozen=True)
class Templates:
    """Expected counts at anchors, one nuisance at a time around the nominal point, float64 NumPy.

    Attributes:
        edges: `[bin + 1]` edges of the score; 0, 1, ..., bin for the numbered cells of an anchored
            observable.
        nuisances: names; the order of `anchors`, `counts` and `variances`.
        component_names: names of the component axis.
        anchors: `[anchor]` values for each nuisance.
        counts: `[anchor, component, bin]` for each nuisance; events at the anchor, scored there. One array
            `[component, bin]` where nothing moves events.
        variances: sums of squared weights, same shapes.
        moving: whether the observable depends on the hypothesised nuisance.
        true_points: `[point, nuisance]` true values that were asked for.
        truth: `[point, component, bin]`, events at the true point as scored there.
        at_true: for each true point and nuisance `[anchor, component, bin]`: events at the true
            point as scored under each hypothesised anchor. Empty for a fixed observable, whose
            histogram of the data is `truth` under every hypothesis.
        observable: `fixed`, `moving`, or `anchored`: a fixed observable, the joint cells of a score at
            several fixed hypotheses; `unbinned`: the yields alone, in one bin.
        grid: `[anchor_1, ..., anchor_J, component, bin]`, counts with all nuisances moved at once; None where
            they were moved one at a time only.
        regions: edges of each region's bins where they are of several, one after the other; `edges` are the first's.
    """

    edges: Float64[np.ndarray, " edge"]
    nuisances: tuple[str, ...]
    component_names: tuple[str, ...]
    anchors: tuple[Float64[np.ndarray, " _"], ...]
    counts: tuple[Float64[np.ndarray, "... component bin"], ...]
    variances: tuple[Float64[np.ndarray, "... component bin"], ...]
    moving: bool
    true_points: Float64[np.ndarray, "point nuisance"]
    truth: Float64[np.ndarray, "point component bin"]
    at_true: tuple[tuple[Float64[np.ndarray, "_ component bin"], ...], ...]
    observable: ObservableKind = "fixed"
    grid: Float64[np.ndarray, "... component bin"] | None = None
    regions: Mapping[str, Float64[np.ndarray, " edge"]] = dataclasses.field(default_factory=dict)

    @property
    def bins(self) -> int:
        """Return the number of bins, of all regions."""
        return int(self.truth.shape[-1] if len(self.truth) else self.counts[0].shape[-1])

    def region_edges(self, name: str) -> dict[str, np.ndarray]:
        """Return the edges of each region's bins; `name` is the only region's where the templates are of one."""
        return dict(self.regions) or {name: self.edges}

    def with_grid(self, nuisances: Sequence[Nuisance]) -> Templates:
        """Return the templates with their last true points, those of `grid_points`, as a joint grid.

        Args:
            nuisances: as in `grid_points`.
        """
        shape = tuple(len(nuisances[position].anchors) for position in shaped(nuisances))
        kept = len(self.truth) - math.prod(shape)
        grid = self.truth[kept:].reshape(*shape, *self.truth.shape[1:])
        return dataclasses.replace(
            self, true_points=self.true_points[:kept], truth=self.truth[:kept], at_true=self.at_true[:kept], grid=grid
        )


def grid_points(nuisances: Sequence[Nuisance]) -> list[dict[str, float]]:
    """Return all combinations of the anchors of the nuisances that move events, the last one fastest."""
    moved = [nuisances[position] for position in shaped(nuisances)]
    combinations = itertools.product(*(nuisance.anchors for nuisance in moved))
    return [dict(zip((n.name for n in moved), map(float, values), strict=True)) for values in combinations]


def build_templates(
    table: ScoreTable,
    edges: Float64[np.ndarray, " edge"],
    components: Components,
    nuisances: Sequence[Nuisance],
    *,
    totals: Float64[np.ndarray, "pair component"] | None = None,
    true_points: Sequence[Mapping[str, float]] = (),
    moving: bool = False,
) -> Templates:
    """Bin a score table into templates.

    Shapes come from the table's events, totals from `totals`: a table may hold the test events only,
    while the expected yield at a nuisance value is known from all kept events.

    Args:
        table: scored events, at the pairs of `anchor_pairs(nuisances, true_points, moving)`.
        edges: `[bin + 1]` edges among the fine edges.
        components: which sums must be positive.
        nuisances: names and anchors, in the order of the table.
        totals: `[pair, component]` yields, `yields(case, events, index, table.pairs.z_true)`; the
            table's own where None.
        true_points: `{nuisance: value}` each, nominal where a name is missing.
        moving: whether the observable depends on the hypothesised nuisance.

    Raises:
        TemplateError: at some anchor a bin has no background or a total that is not positive, or a
            point was not scored.
    """
    table = table if totals is None else table.scaled_to(np.asarray(totals, np.float64))
    sums, squares = table.rebin(edges)
    diagonal = table.pairs.diagonal(nuisances)
    moved = [nuisances[position] for position in shaped(nuisances)]
    for nuisance, pairs in zip(moved, diagonal, strict=True):
        check_positive(sums[pairs], edges, components, nuisance)
    points = [nuisance_point(nuisances, values) for values in true_points]
    at_true = [tuple(sums[pairs] for pairs in table.pairs.at_true(nuisances, point)) for point in points if moving]
    return Templates(
        edges=np.asarray(edges, np.float64),
        nuisances=tuple(nuisance.name for nuisance in moved),
        component_names=table.component_names,
        anchors=tuple(np.asarray(nuisance.anchors, np.float64) for nuisance in moved),
        counts=tuple(sums[pairs] for pairs in diagonal) or (sums[0],),
        variances=tuple(squares[pairs] for pairs in diagonal) or (squares[0],),
        moving=moving,
        true_points=np.array(points).reshape(len(points), len(nuisances)),
        truth=sums[[table.pairs.find(point) for point in points]],
        at_true=tuple(at_true),
        observable="moving" if moving else "fixed",
    )


def check_positive(counts: np.ndarray, edges: np.ndarray | None, components: Components, nuisance: Nuisance) -> None:
    """Refuse `[anchor, component, bin]` counts with which a likelihood would divide by zero.

    Args:
        counts: expected counts at the anchors of `nuisance`.
        edges: `[bin + 1]` edges of the score for the message, or None where cells have none.
        components: which sums must be positive.
        nuisance: whose anchors these are.

    Raises:
        TemplateError: at some anchor a bin has no background or a total that is not positive.
    """
    for name, coefficients in positive_sums(components):
        bad = ~(np.einsum("k,akb->ab", coefficients, counts) > 0)
        if bad.any():
            anchor, b = np.argwhere(bad)[0]
            who = f"'{name}'"
            if name == "background":
                parts = [n for n, c in zip(components.names, coefficients, strict=True) if c]
                who = f"'{parts[0]}'" if len(parts) == 1 else f"background ({', '.join(parts)})"
            where = "" if edges is None else f" (score {edges[b]:.4g} to {edges[b + 1]:.4g})"
            raise TemplateError(
                f"template bin {b + 1} of {counts.shape[-1]}{where} has no {who} at "
                f"{nuisance.name}={nuisance.anchors[anchor]:g}; use fewer bins, merge sparse ones or use more events"
            )
