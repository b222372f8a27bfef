"""Binnings of the score that need no optimisation: uniform, quantiles, and merging of sparse bins.

Use `uniform_edges` to compare with a paper, `signal_quantiles` where statistics alone decide,
`mixture_quantiles` as a robust choice, and `optimised_edges` (its own module) to have the profiled
uncertainty decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import ConfigError, TemplateError
from systwise.parameters import Components, Nuisance
from systwise.templates._expectation import effective_counts, signal_and_background
from systwise.templates.scoring._score_table import ScoreTable


def uniform_edges(bins: int) -> Float64[np.ndarray, " edge"]:
    """Return `[bin + 1]` edges of equal bins in (0, 1).

    >>> uniform_edges(4).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]

    Raises:
        ConfigError: there is not at least one bin.
    """
    return np.arange(_checked(bins) + 1) / bins


def signal_quantiles(
    table: ScoreTable, components: Components, bins: int, pair: int = 0
) -> Float64[np.ndarray, " edge"]:
    """Return edges between which the signal at `pair` has equal yields.

    Statistically this is nearly the best choice; with nuisances to be profiled it is not, since all
    of the background falls into one or two bins and nothing constrains them.

    Args:
        table: the score table; its first pair is the nominal one.
        components: which components are signal.
        bins: number of bins; fewer come back where the score is too coarse.
        pair: index of the pair whose scores are used.

    Raises:
        ConfigError: there is not at least one bin.
    """
    signal, _ = signal_and_background(table, pair, components)
    return quantile_edges(table.edges, signal, bins)


def mixture_quantiles(
    table: ScoreTable, components: Components, bins: int, pair: int = 0
) -> Float64[np.ndarray, " edge"]:
    """Return edges between which `(p_signal + p_background)/2` at `pair` has equal content.

    Arguments and errors are those of `signal_quantiles`.
    """
    signal, background = signal_and_background(table, pair, components)
    return quantile_edges(table.edges, signal + background, bins)


def quantile_edges(
    edges: Float64[np.ndarray, " fine_edge"], density: Float64[np.ndarray, " fine"], bins: int
) -> Float64[np.ndarray, " edge"]:
    """Return the fine edges nearest to the quantiles of a fine histogram, `[at most bins + 1]`."""
    cumulative = np.concatenate([[0.0], np.cumsum(density)])
    wanted = cumulative[-1] * np.arange(1, _checked(bins)) / bins
    right = np.clip(np.searchsorted(cumulative, wanted), 1, len(edges) - 1)
    nearest = np.where(wanted - cumulative[right - 1] < cumulative[right] - wanted, right - 1, right)
    # No bin without content: neither at the ends nor between two equal quantiles.
    content = cumulative[nearest]
    _, first = np.unique(content, return_index=True)
    inner = nearest[first][(content[first] > 0) & (content[first] < cumulative[-1])]
    return np.concatenate([[0.0], edges[inner], [1.0]])


def merge_sparse(
    edges: Float64[np.ndarray, " edge"],
    table: ScoreTable,
    components: Components,
    nuisances: Sequence[Nuisance],
    minimum: float = 5.0,
) -> tuple[Float64[np.ndarray, " kept"], str | None]:
    """Merge adjacent bins until each has enough simulated events at every anchor.

    The bin with the smallest effective count `(sum w)^2 / sum w^2` (of the background and of the
    total, over all anchors) joins its poorer neighbour, again and again.

    Returns:
        The edges that remain, and a sentence that says what was merged (None where nothing was).

    Raises:
        TemplateError: not even a single bin has enough events.
    """
    positions = table.positions(edges)
    pairs = np.unique(np.concatenate([[0], *table.pairs.diagonal(nuisances)])).astype(int)
    sums, squares = table.sums[pairs], table.squares[pairs]
    while True:
        count = np.min(
            effective_counts(
                np.add.reduceat(sums, positions[:-1], axis=-1),
                np.add.reduceat(squares, positions[:-1], axis=-1),
                components,
            ),
            axis=0,
        )
        worst = int(np.argmin(count))
        if count[worst] >= minimum:
            break
        if len(count) == 1:
            raise TemplateError(
                f"binning: all bins together have {count[0]:.3g} effective events at some anchor, fewer than "
                f"{minimum:g}; use more events or narrow the nuisances' range"
            )
        left = worst > 0 and (worst == len(count) - 1 or count[worst - 1] <= count[worst + 1])
        positions = np.delete(positions, worst if left else worst + 1)
    before, after = len(edges) - 1, len(positions) - 1
    if before == after:
        return np.asarray(edges, np.float64), None
    return table.edges[positions], (
        f"{before} bins were merged to {after}, so that each holds {minimum:g} effective simulated events "
        "at every anchor; more events would keep them apart"
    )


def _checked(bins: int) -> int:
    if bins < 1:
        raise ConfigError(f"bins: a binning needs at least one bin, got {bins}")
    return bins
