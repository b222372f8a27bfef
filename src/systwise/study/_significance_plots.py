"""Arrays behind the figures of significances: planes of couplings, and what decorrelation costs."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from systwise.study._plotrecords import _Record


@dataclasses.dataclass(frozen=True)
class SignificancePlane(_Record):
    """Median expected significance over the plane of couplings, data of the standard model.

    The plane is `c_t = 1 + c_g / slope + offset`: along the blind line and across it.

    Attributes:
        strategy, seed, channels, scale: as in `SignificanceRecord`.
        offset: shifts of c_t away from the line.
        c_g: values along the line.
        z: sqrt(q); NaN where the hypothesis cannot be tested (its cross section lies outside the tables, a bin
            would be negative, or the fit did not converge).
        slope: d c_g / d c_t of the blind line.
    """

    strategy: str
    seed: int
    channels: str
    scale: str
    offset: Float[np.ndarray, " offset"]
    c_g: Float[np.ndarray, " c_g"]
    z: Float[np.ndarray, "offset c_g"]
    slope: float = -1.0

    @property
    def c_t(self) -> Float[np.ndarray, "offset c_g"]:
        """Values of c_t at every point."""
        return 1.0 + self.c_g / self.slope + self.offset[:, None]


@dataclasses.dataclass(frozen=True)
class SignificanceTradeOff(_Record):
    """What decorrelation costs and buys: one strategy family against its strength, one channel set.

    Attributes:
        strategy, seed, channels: as in `SignificanceRecord`.
        c_t, c_g: the tested point.
        strength: lambda.
        auc: area under the ROC curve, the mean over the channels.
        ks: Kolmogorov-Smirnov distance between scales, the largest over the channels.
        fixed, profiled: significance of Asimov data of the standard model with the scale held and profiled.
        fake: largest faked significance along the line at any wrong scale or hold-out variation, scale held.
        fake_shape: the same from the shape alone, with a free rate.
    """

    strategy: str
    seed: int
    channels: str
    c_t: float
    c_g: float
    strength: Float[np.ndarray, " scan"]
    auc: Float[np.ndarray, " scan"]
    ks: Float[np.ndarray, " scan"]
    fixed: Float[np.ndarray, " scan"]
    profiled: Float[np.ndarray, " scan"]
    fake: Float[np.ndarray, " scan"]
    fake_shape: Float[np.ndarray, " scan"]
