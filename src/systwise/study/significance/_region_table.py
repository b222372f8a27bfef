"""Histograms of one region under every variation, for any hypothesis: where a significance starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.interpolate import CubicSpline

from systwise.errors import ConfigError, DataError, TemplateError

Theta = Sequence[float] | np.ndarray
"""Values of the parameters of interest, in the order of `RegionTable.powers`' columns."""

EDGE = 1e-9
"""Relative distance beyond the tabulated sample-wide values that rounding may cause."""
NOMINAL = 0
"""Which variation is the nominal one."""


class Anchors(NamedTuple):
    """The variations that belong to one nuisance.

    Attributes:
        nuisance: its name.
        values: increasing values, the nominal one among them.
        variations: index of the variation that belongs to each.
    """

    nuisance: str
    values: tuple[float, ...]
    variations: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class RegionTable:
    """Expected events of one region in bins of one observable, for every variation of the sample.

    A score may have a number among its inputs that belongs to the whole sample and is proportional to its rate, such
    as a cross section. That is ONE number a data set, so that the histogram is tabulated over its values and read off
    at one of them; independent values for every event would count one number as often as there are events.

    Attributes:
        name: of the region.
        component_names: names of the components.
        powers: `[component][poi]` exponents of the parameters of interest, as in `systwise.parameters.Components`.
        sample_values: increasing sample-wide values at which the score was evaluated; a single one where the score
            ignores it.
        variations: names of the variations of the sample, the nominal one first.
        counts: expected events at coefficient 1; a component may be negative, a hypothesis may not.
        rates: of the whole sample at coefficient 1, in the unit of the sample-wide value.
        anchors: the variations of each nuisance that moves events.
        holdouts: variations that no training and no fit knows.
    """

    name: str
    component_names: tuple[str, ...]
    powers: tuple[tuple[int, ...], ...]
    sample_values: Float[np.ndarray, " s"]
    variations: tuple[str, ...]
    counts: Float[np.ndarray, "s variation component bin"]
    rates: Float[np.ndarray, "variation component"]
    anchors: tuple[Anchors, ...]
    holdouts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Convert to float64 and refuse what does not hold together.

        Raises:
            ConfigError: shapes, anchors or indices do not match.
            DataError: a number is not finite, or sample-wide values do not increase.
        """
        for field in ("sample_values", "counts", "rates"):
            array = np.asarray(getattr(self, field), np.float64)
            object.__setattr__(self, field, array)
            if not np.all(np.isfinite(array)):
                raise DataError(f"region '{self.name}': {field} holds a value that is not finite; check the weights")
        shape = (len(self.sample_values), len(self.variations), len(self.component_names))
        if self.counts.ndim != 4 or self.counts.shape[:3] != shape:
            raise ConfigError(
                f"region '{self.name}': counts {self.counts.shape} must be (s, variation, component, bin) = "
                f"({', '.join(map(str, shape))}, bins)"
            )
        if self.rates.shape != shape[1:] or len(self.powers) != shape[2]:
            raise ConfigError(
                f"region '{self.name}': rates {self.rates.shape} and {len(self.powers)} rows of powers do not fit "
                f"{shape[1]} variations of {shape[2]} components"
            )
        if self.sample_values[0] <= 0 or np.any(np.diff(self.sample_values) <= 0):
            raise DataError(f"region '{self.name}': sample-wide values must be positive and increase")
        for nuisance, values, index in self.anchors:
            if len(values) != len(index) or len(values) < 2 or NOMINAL not in index:
                raise ConfigError(
                    f"region '{self.name}', nuisance '{nuisance}': give at least two anchors, the nominal variation "
                    "among them, one index each"
                )
            if np.any(np.diff(values) <= 0):
                raise ConfigError(f"region '{self.name}', nuisance '{nuisance}': anchors must increase")
        every = [*self.holdouts, *(i for anchors in self.anchors for i in anchors.variations)]
        if any(not 0 <= i < len(self.variations) for i in every):
            raise ConfigError(
                f"region '{self.name}': an anchor or hold-out index exceeds {len(self.variations)} variations"
            )

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.counts.shape[3]

    @property
    def moved(self) -> list[int]:
        """Indices of all anchors but the nominal one."""
        return [i for anchors in self.anchors for i in anchors.variations if i != NOMINAL]

    def index(self, variation: str | int) -> int:
        """Return the index of a variation.

        Raises:
            ConfigError: there is none of that name.
        """
        if isinstance(variation, int):
            return variation
        if variation not in self.variations:
            raise ConfigError(
                f"region '{self.name}': unknown variation '{variation}' (known: {', '.join(self.variations)})"
            )
        return self.variations.index(variation)

    def coefficients(self, theta: Theta) -> Float64[np.ndarray, " component"]:
        """Return `c_k(theta) = prod_j theta_j^powers[k][j]`."""
        values = np.asarray(theta, np.float64)
        return np.prod(values ** np.asarray(self.powers), axis=1)

    def rate(self, theta: Theta, variation: str | int = NOMINAL) -> float:
        """Return the rate of the whole sample, `sum_k c_k(theta) R_k`.

        Raises:
            DataError: it is not positive.
        """
        value = float(self.coefficients(theta) @ self.rates[self.index(variation)])
        if value <= 0:
            raise DataError(f"region '{self.name}': the rate at {_point(theta)} is {value:g}; choose another point")
        return value

    def expected(
        self, theta: Theta, variation: str | int = NOMINAL, s: float | None = None
    ) -> Float64[np.ndarray, " bin"]:
        """Return the expected events of a hypothesis under one variation.

        `sum_k c_k(theta) N_kb(s)` at the tabulated sample-wide values; between them the square root follows a cubic
        spline in ln s and is squared, which keeps contents positive and the tabulated ones exact; their sum is kept.

        Args:
            theta: parameters of interest.
            variation: name or index.
            s: sample-wide value that the score is told; the sample's own where None.

        Raises:
            DataError: s lies outside the tabulated values.
            TemplateError: interference makes a bin negative.
        """
        return self.contents(theta, [self.index(variation)], s)[0, 0]

    def contents(
        self,
        theta: Theta,
        variations: Sequence[int],
        s: float | None = None,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Float64[np.ndarray, "variation group bin"]:
        """Return the expected events of a hypothesis under several variations, in groups of components.

        Args:
            theta: parameters of interest.
            variations: indices.
            s: sample-wide value that the score is told; that of the sample at each variation where None.
            groups: indices of the components that are added up; all of them where None.

        Raises:
            DataError: s lies outside the tabulated values.
            TemplateError: interference makes a bin of a group negative.
        """
        # A score that ignores the number needs none.
        asks = s is None and len(self.sample_values) > 1
        told = [self.rate(theta, v) if asks else s for v in variations]
        chosen = [range(len(self.component_names))] if groups is None else groups
        return np.stack([self._group(theta, variations, told, list(group)) for group in chosen], axis=1)

    def _group(
        self, theta: Theta, variations: Sequence[int], told: Sequence[float | None], group: list[int]
    ) -> Float64[np.ndarray, "variation bin"]:
        """Return what some components expect together under some variations, each at its own sample-wide value."""
        # Components first: a hypothesis is positive in every bin where its interference need not be.
        counts = self.counts[:, list(variations)][:, :, group]
        contents = np.einsum("k,svkb->svb", self.coefficients(theta)[group], counts)
        scale = np.maximum(np.abs(contents).max(axis=2, keepdims=True), 1e-300)
        if np.any(contents < -1e-12 * scale):
            _, v, b = (int(i) for i in np.argwhere(contents < -1e-12 * scale)[0])
            raise TemplateError(
                f"region '{self.name}': interference at {_point(theta)} makes bin {b} of "
                f"'{self.variations[variations[v]]}' negative; merge bins, simulate more events or choose another point"
            )
        contents = np.maximum(contents, 0.0)
        if len(self.sample_values) == 1:
            return contents[0]
        knots, places = np.log(self.sample_values), np.log([self._inside(s) for s in told if s is not None])
        spline = CubicSpline(knots, np.sqrt(contents), axis=0)
        found = np.stack([spline(place)[row] for row, place in enumerate(places)]) ** 2
        # What a score is told moves events from bin to bin and loses none; between peaks the spline would.
        totals = CubicSpline(knots, np.log(np.maximum(contents.sum(axis=2), 1e-300)), axis=0)
        wanted = np.exp([totals(place)[row] for row, place in enumerate(places)])
        sums = found.sum(axis=1)
        return found * np.divide(wanted, sums, out=np.ones_like(sums), where=sums > 0)[:, None]

    def _inside(self, s: float) -> float:
        low, high = self.sample_values[0], self.sample_values[-1]
        if not low * (1 - EDGE) <= s <= high * (1 + EDGE):
            raise DataError(
                f"region '{self.name}': a sample-wide value of {s:.4g} lies outside the tabulated {low:.4g} to "
                f"{high:.4g}; choose a point whose rate is closer to the reference's"
            )
        return float(np.clip(s, low, high))

    def blind_slope(self, theta: Theta) -> float | None:
        """Return d theta_2 / d theta_1 along which the rate stays as it is at `theta`; None where there is none.

        It is -(dR/dtheta_1) / (dR/dtheta_2), for two parameters of interest.
        """
        if len(theta) != 2:
            return None
        values, powers = np.asarray(theta, np.float64), np.array(self.powers)
        first, second = (
            float(self.rates[NOMINAL] @ (powers[:, j] * np.prod(values ** np.maximum(powers - row, 0), axis=1)))
            for j, row in enumerate(np.eye(2, dtype=int))
        )
        return -first / second if second else None


def _point(theta: Theta) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in theta) + ")"
