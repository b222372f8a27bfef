"""Which bins tell hypotheses apart, and which are joined."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def informative_edges(
    score: Float[np.ndarray, " event"],
    alternative: Float64[np.ndarray, " event"],
    nominal: Float64[np.ndarray, " event"],
    background: Float64[np.ndarray, " event"],
    bins: int,
    minimum: float,
) -> Float64[np.ndarray, " edge"]:
    """Return inner edges of a score: half of the bins share the events, half what tells the hypotheses apart.

    The latter is `sum w (r - 1)^2`, r the ratio of an event's normalised weights: where most events look alike,
    as below the Higgs boson's high-momentum tail, quantiles of the events alone would put the tail into one bin.
    Edges that leave less than `minimum` effective events of the background in a bin are left out.

    Args:
        score: of each event.
        alternative: weights under the alternative hypothesis.
        nominal: weights under the nominal one.
        background: weights of what the alternative leaves alone; the nominal ones where it changes everything.
        bins: how many bins to aim at.
        minimum: effective events, (sum w)^2 / sum w^2.
    """
    order = np.argsort(score, kind="stable")
    base = np.maximum(nominal[order], 0.0)
    whole = alternative.sum()
    other = alternative[order] / whole * nominal.sum() if whole > 0 else base
    ratio = np.divide(other, base, out=np.ones_like(base), where=base > 0)
    parts = [np.cumsum(base), np.cumsum(base * (ratio - 1) ** 2)]
    level = sum(part / part[-1] for part in parts if part[-1] > 0) / 2
    places = np.searchsorted(level, level[-1] * np.arange(1, bins) / bins)
    counted = np.maximum(background[order], 0.0)
    sums, squares = np.cumsum(counted), np.cumsum(counted**2)

    def effective(first: int, last: int) -> float:
        w, q = (total[last] - (total[first] if first >= 0 else 0.0) for total in (sums, squares))
        return w**2 / q if q > 0 else 0.0

    kept: list[int] = []
    begin, end = -1, len(score) - 1
    for place in np.unique(places):
        if effective(begin, int(place)) >= minimum and effective(int(place), end) >= minimum:
            kept.append(int(place))
            begin = int(place)
    return np.unique(score[order][kept].astype(np.float64))


def joined(
    counts: Float64[np.ndarray, "s variation component bin"], expected: Float64[np.ndarray, "hypothesis bin"]
) -> Float64[np.ndarray, "s variation component joined"]:
    """Return the histograms with bins joined until something is expected in each.

    A bin without is joined to the next, the last ones to the one before.

    Args:
        counts: histograms.
        expected: of every hypothesis under every variation.

    >>> joined(np.array([0.0, 1.0, 2.0, 0.0])[None, None, None], np.array([[0.0, 1.0, 2.0, 0.0]])).ravel().tolist()
    [1.0, 2.0]
    """
    starts, open_at = [], 0
    for b in range(expected.shape[1]):
        if np.all(expected[:, open_at : b + 1].sum(axis=1) > 0):
            starts.append(open_at)
            open_at = b + 1
    return np.add.reduceat(counts, starts or [0], axis=3)
