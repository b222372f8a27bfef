"""From the cells of an anchored observable to the input of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int

from systwise.errors import TemplateError
from systwise.parameters import Components, Normalisation, Nuisance
from systwise.templates._expectation import coefficient_slopes, effective_counts
from systwise.templates._pairs import anchor_points, nuisance_point
from systwise.templates._templates import Templates, check_positive
from systwise.templates.joint._table import JointTable


def build_joint_templates(
    table: JointTable,
    components: Components,
    nuisances: Sequence[Nuisance],
    *,
    totals: Float64[np.ndarray, "pair component"] | None = None,
    true_points: Sequence[Mapping[str, float]] = (),
    normalisations: Sequence[Normalisation] = (),
) -> Templates:
    """Turn the cells of a joint table into templates of a fixed observable.

    Args:
        table: scored events, at the points of `joint_points(nuisances, true_points, normalisations)`.
        components: which sums must be positive.
        nuisances: all nuisances, names and anchors, in the order of the table.
        totals: `[pair, component]` yields to scale to; the table's own where None.
        true_points: `{nuisance: value}` each, nominal where a name is missing.
        normalisations: nuisances that are exact factors in the fit; they get no templates.

    Raises:
        TemplateError: at some anchor a cell has no background or a total that is not positive, or a
            point was not scored.
    """
    table = table if totals is None else table.scaled_to(np.asarray(totals, np.float64))
    exact = {n.name for n in nuisances if n.kind == "norm"} | {rate.nuisance for rate in normalisations}
    shaped = [j for j, nuisance in enumerate(nuisances) if nuisance.name not in exact]
    diagonal = [[table.pairs.find(z) for z in anchor_points(nuisances, j)] for j in shaped]
    for j, pairs in zip(shaped, diagonal, strict=True):
        check_positive(table.sums[pairs], None, components, nuisances[j])
    points = [nuisance_point(nuisances, values) for values in true_points]
    moved = [nuisance_point(nuisances, {k: v for k, v in p.items() if k not in exact}) for p in true_points]
    return Templates(
        edges=np.arange(table.bins + 1, dtype=np.float64),
        nuisances=tuple(nuisances[j].name for j in shaped),
        component_names=table.component_names,
        anchors=tuple(np.asarray(nuisances[j].anchors, np.float64) for j in shaped),
        counts=tuple(table.sums[pairs] for pairs in diagonal),
        variances=tuple(table.squares[pairs] for pairs in diagonal),
        moving=False,
        true_points=np.array(points).reshape(len(points), len(nuisances)),
        truth=table.sums[[table.pairs.find(point) for point in moved]],
        at_true=(),
        observable="anchored",
    )


def merge_sparse_cells(
    table: JointTable, components: Components, minimum: float = 5.0
) -> tuple[Int[np.ndarray, " bin"], str | None]:
    """Join cells until each has enough simulated events at every point.

    The cell with the smallest effective count (of the background and of the total, over all points)
    joins the one with which it loses least information on the parameters of interest, summed over the
    points, `sum (g_a/nu_a - g_b/nu_b)^2 nu_a nu_b/(nu_a + nu_b)`.

    Args:
        table: scored events, scaled to the expected yields.
        components: which sums must be positive.
        minimum: effective events in every cell.

    Returns:
        The new cell `[bin]` of each cell, for `JointBinning.joined` and `JointTable.joined`, and a
        sentence that says what was joined (None where nothing was).

    Raises:
        TemplateError: not even all cells together have enough events.
    """
    reference, by_poi = components.reference(), coefficient_slopes(components)
    cells = np.arange(table.bins)
    while True:
        joined = table.joined(cells)
        counts = effective_counts(joined.sums, joined.squares, components).min(axis=0)
        poorest = int(np.argmin(counts))
        if counts[poorest] >= minimum:
            break
        if joined.bins == 1:
            raise TemplateError(
                f"binning: all cells together have {counts[0]:.3g} effective events at some point, fewer than "
                f"{minimum:g}; use more events or narrow the nuisances' range"
            )
        nu = np.maximum(np.einsum("k,ekb->eb", reference, joined.sums), 1e-300)
        relative = np.einsum("jk,ekb->jeb", by_poi, joined.sums) / nu
        harmonic = nu * nu[:, [poorest]] / (nu + nu[:, [poorest]])
        cost = np.sum((relative - relative[..., [poorest]]) ** 2 * harmonic, axis=(0, 1))
        cost[poorest] = np.inf
        _, cells = np.unique(np.where(cells == poorest, int(np.argmin(cost)), cells), return_inverse=True)
    before, after = table.bins, joined.bins
    if before == after:
        return cells, None
    return cells, (
        f"{before} cells were joined to {after}, so that each holds {minimum:g} effective simulated events at every "
        "point; more events would keep them apart"
    )
