"""How well a score separates, and how far a nuisance moves it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.parameters import Components
from systwise.templates.scoring._score_table import ScoreTable


def auc(table: ScoreTable, pair: int, components: Components) -> float:
    """Return the weighted area under the ROC curve of signal against background at `pair`.

    `P(score of signal > score of background) + P(equal)/2`, equal meaning the same fine bin. Signal and
    background are those of `components.contrast()`.

    Raises:
        TemplateError: signal or background has no positive yield.
    """
    contrast = components.contrast()
    signal, background = (coefficients @ table.sums[pair] for coefficients in contrast)
    if np.array_equal(*contrast):
        raise TemplateError(
            "area under the ROC curve: signal and background must both exist, but every component depends on a "
            "parameter of interest and the components name no alternative hypothesis"
        )
    if not (signal.sum() > 0 and background.sum() > 0):
        raise TemplateError("area under the ROC curve: signal and background must both have a positive yield")
    below = np.cumsum(background) - background
    return float(signal @ (below + background / 2) / (signal.sum() * background.sum()))


def ks_distance(first: Float64[np.ndarray, " _"], second: Float64[np.ndarray, " _"]) -> float:
    """Return the largest difference of two cumulative distributions, from fine histograms `[fine]`.

    >>> ks_distance(np.array([1.0, 0.0]), np.array([2.0, 2.0]))
    0.5

    Raises:
        TemplateError: shapes differ or a histogram has no positive total.
    """
    if first.shape != second.shape or first.sum() <= 0 or second.sum() <= 0:
        raise TemplateError(
            "Kolmogorov-Smirnov distance: two histograms of the same bins with positive totals are needed"
        )
    return float(np.max(np.abs(np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum())))
