"""What components mean for a histogram: which sums must be positive, how they answer to the parameters."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from systwise.parameters import Components
from systwise.templates.scoring._score_table import ScoreTable


def background_mask(components: Components) -> Bool[np.ndarray, " component"]:
    """Return which components depend on no parameter of interest, bool `[component]`."""
    return np.array([not any(row) for row in components.powers])


def coefficient_slopes(components: Components) -> Float64[np.ndarray, "poi component"]:
    """Return `dc_k/dtheta_j` at the nominal parameters, `[poi, component]`."""
    theta, powers = np.asarray(components.nominal, np.float64), np.asarray(components.powers)
    slopes = np.zeros((len(theta), len(powers)))
    for j in range(len(theta)):
        lowered = powers - (np.arange(len(theta)) == j)
        slopes[j] = powers[:, j] * np.prod(theta ** np.maximum(lowered, 0), axis=1)
    return slopes


def positive_sums(components: Components) -> tuple[tuple[str, np.ndarray], ...]:
    """Return names and coefficients `[component]` of the sums that a likelihood needs above zero.

    These are the background, where there are components without a parameter of interest, and the
    total at the nominal parameters. Single components may be empty or negative (interference).
    """
    total = ("total", components.reference())
    mask = background_mask(components)
    return (("background", mask.astype(np.float64)), total) if mask.any() else (total,)


def effective_counts(
    sums: Float64[np.ndarray, "*pair component bin"],
    squares: Float64[np.ndarray, "*pair component bin"],
    components: Components,
) -> Float64[np.ndarray, "*pair bin"]:
    """Return the smallest effective count `[..., bin]` of the sums that must be positive.

    `(sum_k c_k S_k)^2 / sum_k c_k^2 Q_k` with S sums of weights and Q of squared weights
    `[..., component, bin]`; zero where the sum is not positive. Components that share events
    (interference) are taken as independent.
    """
    counts = []
    for _, c in positive_sums(components):
        total = np.einsum("k,...kb->...b", c, sums)
        variance = np.einsum("k,...kb->...b", c**2, squares)
        usable = (total > 0) & (variance > 0)
        counts.append(np.divide(total**2, variance, out=np.zeros_like(total), where=usable))
    return np.min(counts, axis=0)


def signal_and_background(table: ScoreTable, pair: int, components: Components) -> tuple[np.ndarray, np.ndarray]:
    """Return two normalised fine histograms `[fine]`, of `components.contrast()`. Negative bins count as zero."""
    signal, background = components.contrast()
    return _density(signal @ table.sums[pair]), _density(background @ table.sums[pair])


def _density(histogram: np.ndarray) -> np.ndarray:
    positive = np.maximum(histogram, 0)
    total = positive.sum()
    return positive / total if total > 0 else positive
