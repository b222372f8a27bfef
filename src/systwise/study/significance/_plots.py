"""Arrays behind the figures of significances: the plane around a line, and what decorrelation costs."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from systwise.study.records._plotrecords import _Record


@dataclasses.dataclass(frozen=True)
class SignificancePlane(_Record):
    """Median expected significance over the plane along and across a line through the reference, whose data they are.

    Attributes:
        strategy, seed, regions, nuisances: as in `SignificanceRecord`.
        pois: names of the parameters of interest.
        across: the parameter in which points are shifted away from the line.
        offset: these shifts.
        step: places along the line; 0 is the reference.
        theta: parameters of interest of every point.
        z: sqrt(q); NaN where the hypothesis cannot be tested (its rate lies outside the tables, a bin would be
            negative, or the fit did not converge).
    """

    strategy: str
    seed: int
    regions: tuple[str, ...]
    nuisances: str
    pois: tuple[str, ...]
    across: str
    offset: Float[np.ndarray, " offset"]
    step: Float[np.ndarray, " step"]
    theta: Float[np.ndarray, "offset step poi"]
    z: Float[np.ndarray, "offset step"]


@dataclasses.dataclass(frozen=True)
class SignificanceTradeOff(_Record):
    """What decorrelation costs and buys: one strategy family against its strength, one set of regions.

    Attributes:
        strategy, seed, regions: as in `SignificanceRecord`.
        point: the tested point.
        strength: lambda.
        auc: area under the ROC curve, the mean over the regions.
        ks: Kolmogorov-Smirnov distance from the nominal score, the largest over the regions.
        fixed, profiled: significance of Asimov data of the reference with the nuisances held and profiled.
        fake: largest faked significance along the line at any wrong nuisance or hold-out variation, nuisances held.
        fake_shape: the same from the shape alone, with a free rate.
    """

    strategy: str
    seed: int
    regions: tuple[str, ...]
    point: dict[str, float]
    strength: Float[np.ndarray, " scan"]
    auc: Float[np.ndarray, " scan"]
    ks: Float[np.ndarray, " scan"]
    fixed: Float[np.ndarray, " scan"]
    profiled: Float[np.ndarray, " scan"]
    fake: Float[np.ndarray, " scan"]
    fake_shape: Float[np.ndarray, " scan"]
