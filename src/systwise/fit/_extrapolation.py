"""Contents beyond the outermost anchors, for nuisances whose simulation ends before the range of the fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

LARGEST = 1.5
"""Largest |ln| of the factor between an end of the anchors and the end of the range."""


def reach_out(
    anchors: Sequence[float] | np.ndarray, contents: Float64[np.ndarray, "anchor ..."], ends: tuple[float, float]
) -> tuple[Float64[np.ndarray, " knot"], Float64[np.ndarray, "knot ..."]]:
    """Return anchors and contents with both ends of the range among them.

    Beyond the last anchor a content continues as `T_last (T_last / T_before)^(distance / spacing)`, the exponential
    interpolation of HistFactory (code 1, CERN-OPEN-2012-016), which stays positive where a straight line does not.
    Empty contents stay as they are at the last anchor.

    >>> knots, contents = reach_out((-1.0, 0.0, 1.0), np.array([[1.0], [2.0], [3.0]]), (-1.0, 2.0))
    >>> knots.tolist(), round(float(contents[-1, 0]), 6)
    ([-1.0, 0.0, 1.0, 2.0], 4.5)
    """
    knots = np.asarray(anchors, np.float64)
    values = np.asarray(contents, np.float64)
    margin = 1e-9 * (ends[1] - ends[0])
    if ends[0] < knots[0] - margin:
        first = _beyond(knots[0], values[0], knots[1], values[1], ends[0])
        knots, values = np.concatenate([[ends[0]], knots]), np.concatenate([first[None], values])
    if ends[1] > knots[-1] + margin:
        last = _beyond(knots[-1], values[-1], knots[-2], values[-2], ends[1])
        knots, values = np.concatenate([knots, [ends[1]]]), np.concatenate([values, last[None]])
    return knots, values


def _beyond(end: float, at_end: np.ndarray, inner: float, at_inner: np.ndarray, place: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where((at_end > 0) & (at_inner > 0), np.log(at_end / at_inner), 0.0)
    return at_end * np.exp(np.clip(slope * abs((place - end) / (end - inner)), -LARGEST, LARGEST))
