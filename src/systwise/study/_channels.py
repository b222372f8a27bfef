"""Score histograms of one process under every scale variation, for any couplings: where a significance starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from scipy.interpolate import CubicSpline

from systwise.errors import ConfigError, DataError, TemplateError

Couplings = Sequence[float] | np.ndarray
"""Values of the parameters of interest, in the order of `ChannelTable.powers`' columns."""

EDGE = 1e-9
"""Relative distance beyond the grid of cross sections that rounding may cause."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelTable:
    """Expected events of one process in bins of one score, for every variation of the sample.

    A score may have the total cross section s of the sample among its inputs. That is ONE number a data set,
    so that the histogram is tabulated over values of s and read off at one of them; independent values for
    every event would count one number as often as there are events.

    Attributes:
        name: of the process, such as `hj`.
        component_names: components, such as `("tt", "tg", "gg")`.
        powers: `[component][poi]` exponents of the couplings, as in `systwise.parameters.Components`.
        s_values: increasing cross sections [pb] at which the score was evaluated; a single value where the
            score ignores it.
        variations: names of the variations of the sample.
        counts: expected events at coefficient 1; a component may be negative, a hypothesis may not.
        variances: their variances (sums of squared weights), same shape.
        cross_sections: of the whole sample at coefficient 1 [pb].
        anchor_z: increasing values of the continuous scale nuisance `z = ln(mu/mu0)/ln 2`, 0 among them.
        anchor_index: which variation belongs to each.
        holdout_index: variations that no training and no fit knows.
    """

    name: str
    component_names: tuple[str, ...]
    powers: tuple[tuple[int, ...], ...]
    s_values: Float[np.ndarray, " s"]
    variations: tuple[str, ...]
    counts: Float[np.ndarray, "s variation component bin"]
    variances: Float[np.ndarray, "s variation component bin"]
    cross_sections: Float[np.ndarray, "variation component"]
    anchor_z: tuple[float, ...]
    anchor_index: tuple[int, ...]
    holdout_index: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Convert to float64 and refuse what does not hold together.

        Raises:
            ConfigError: shapes, anchors or indices do not match.
            DataError: a number is not finite, or cross sections do not increase.
        """
        for field in ("s_values", "counts", "variances", "cross_sections"):
            array = np.asarray(getattr(self, field), np.float64)
            object.__setattr__(self, field, array)
            if not np.all(np.isfinite(array)):
                raise DataError(f"channel '{self.name}': {field} holds a value that is not finite; check the weights")
        shape = (len(self.s_values), len(self.variations), len(self.component_names))
        if self.counts.ndim != 4 or self.counts.shape[:3] != shape or self.variances.shape != self.counts.shape:
            raise ConfigError(
                f"channel '{self.name}': counts {self.counts.shape} and variances {self.variances.shape} must be "
                f"(s, variation, component, bin) = ({', '.join(map(str, shape))}, bins)"
            )
        if self.cross_sections.shape != shape[1:] or len(self.powers) != shape[2]:
            raise ConfigError(
                f"channel '{self.name}': cross sections {self.cross_sections.shape} and {len(self.powers)} rows of "
                f"powers do not fit {shape[1]} variations of {shape[2]} components"
            )
        if self.s_values[0] <= 0 or np.any(np.diff(self.s_values) <= 0):
            raise DataError(f"channel '{self.name}': s_values must be positive and increase")
        if len(self.anchor_z) != len(self.anchor_index) or len(self.anchor_z) < 2 or 0.0 not in self.anchor_z:
            raise ConfigError(
                f"channel '{self.name}': give at least two scale anchors, z = 0 among them, one index each"
            )
        if np.any(np.diff(self.anchor_z) <= 0):
            raise ConfigError(f"channel '{self.name}': anchor_z must increase")
        if any(not 0 <= i < len(self.variations) for i in (*self.anchor_index, *self.holdout_index)):
            raise ConfigError(
                f"channel '{self.name}': an anchor or hold-out index exceeds {len(self.variations)} variations"
            )

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.counts.shape[3]

    @property
    def nominal(self) -> int:
        """Index of the variation at z = 0."""
        return self.anchor_index[self.anchor_z.index(0.0)]

    def index(self, variation: str | int) -> int:
        """Return the index of a variation.

        Raises:
            ConfigError: there is none of that name.
        """
        if isinstance(variation, int):
            return variation
        if variation not in self.variations:
            raise ConfigError(
                f"channel '{self.name}': unknown variation '{variation}' (known: {', '.join(self.variations)})"
            )
        return self.variations.index(variation)

    def coefficients(self, theta: Couplings) -> Float64[np.ndarray, " component"]:
        """Return `c_k(theta) = prod_j theta_j^powers[k][j]`."""
        values = np.asarray(theta, np.float64)
        return np.prod(values ** np.asarray(self.powers), axis=1)

    def cross_section(self, theta: Couplings, variation: str | int) -> float:
        """Return the cross section [pb] of the whole sample, `sum_k c_k(theta) sigma_k`.

        Raises:
            DataError: it is not positive.
        """
        value = float(self.coefficients(theta) @ self.cross_sections[self.index(variation)])
        if value <= 0:
            raise DataError(
                f"channel '{self.name}': the cross section at {_point(theta)} is {value:g} pb; choose other couplings"
            )
        return value

    def expected(self, theta: Couplings, variation: str | int, s: float | None = None) -> Float64[np.ndarray, " bin"]:
        """Return the expected events of a hypothesis under one variation.

        `sum_k c_k(theta) N_kb(s)` at the tabulated cross sections; between them the square root follows a cubic
        spline in ln s and is squared, which keeps contents positive and the tabulated ones exact; their sum is kept.

        Args:
            theta: couplings.
            variation: name or index.
            s: cross section [pb] that the score is told; the sample's own where None.

        Raises:
            DataError: s lies outside the tabulated values.
            TemplateError: interference makes a bin negative.
        """
        number = self.index(variation)
        return self._at(theta, [number], [self._told(theta, number, s)])[0]

    def templates(self, theta: Couplings, s: float | None = None) -> Float64[np.ndarray, "anchor bin"]:
        """Return the expected events of a hypothesis at every anchor of the scale nuisance (see `expected`)."""
        numbers = list(self.anchor_index)
        return self._at(theta, numbers, [self._told(theta, number, s) for number in numbers])

    def variance(self, theta: Couplings, variation: str | int, s: float | None = None) -> Float64[np.ndarray, " bin"]:
        """Return the variance of `expected` that the simulation's limited size leaves.

        The components are weights of the same events, taken as fully correlated: `(sum_k |c_k| sqrt(V_k))^2`.
        That is never too small. Linear in ln s between tabulated values.
        """
        number = self.index(variation)
        spread = np.einsum("k,skb->sb", np.abs(self.coefficients(theta)), np.sqrt(self.variances[:, number]))
        if len(self.s_values) == 1:
            return spread[0] ** 2
        told = np.log(self._inside(self._told(theta, number, s)))
        knots = np.log(self.s_values)
        return np.stack([np.interp(told, knots, column) for column in (spread**2).T])

    def with_luminosity(self, factor: float) -> ChannelTable:
        """Return the table at `factor` times the luminosity, as precisely simulated."""
        return dataclasses.replace(self, counts=factor * self.counts, variances=factor**2 * self.variances)

    def _told(self, theta: Couplings, number: int, s: float | None) -> float:
        return self.cross_section(theta, number) if s is None else s

    def _inside(self, s: float) -> float:
        low, high = self.s_values[0], self.s_values[-1]
        if not low * (1 - EDGE) <= s <= high * (1 + EDGE):
            raise DataError(
                f"channel '{self.name}': a cross section of {s:.4g} pb lies outside the tabulated {low:.4g} to "
                f"{high:.4g} pb; tabulate more values or choose couplings closer to the blind line"
            )
        return float(np.clip(s, low, high))

    def _at(self, theta: Couplings, numbers: list[int], told: list[float]) -> Float64[np.ndarray, "some bin"]:
        """Return expected events of some variations, each at its own cross section."""
        # Components first: a hypothesis is positive in every bin where its interference need not be.
        contents = np.einsum("k,svkb->svb", self.coefficients(theta), self.counts[:, numbers])
        scale = np.maximum(np.abs(contents).max(axis=2, keepdims=True), 1e-300)
        if np.any(contents < -1e-12 * scale):
            _, v, b = (int(i) for i in np.argwhere(contents < -1e-12 * scale)[0])
            raise TemplateError(
                f"channel '{self.name}': interference at {_point(theta)} makes bin {b} of '"
                f"{self.variations[numbers[v]]}' negative; merge bins, simulate more events or choose other couplings"
            )
        contents = np.maximum(contents, 0.0)
        if len(self.s_values) == 1:
            return contents[0]
        knots, places = np.log(self.s_values), np.log([self._inside(s) for s in told])
        spline = CubicSpline(knots, np.sqrt(contents), axis=0)
        found = np.stack([spline(place)[row] for row, place in enumerate(places)]) ** 2
        # What a score is told moves events from bin to bin and loses none; between peaks the spline would.
        totals = CubicSpline(knots, np.log(np.maximum(contents.sum(axis=2), 1e-300)), axis=0)
        wanted = np.exp([totals(place)[row] for row, place in enumerate(places)])
        sums = found.sum(axis=1)
        return found * np.divide(wanted, sums, out=np.ones_like(sums), where=sums > 0)[:, None]


def _point(theta: Couplings) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in theta) + ")"
