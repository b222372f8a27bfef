"""A nuisance that acts on the events' weights, known at one value on each side of the nominal one."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.errors import DataError
from systwise.events._table import Events
from systwise.events._variation import AbstractVariation, Exactness

STEEPEST, MOST_BENT = 3.0, 1.0
"""Largest |a| and |b| of an event. A factor of 20 at z = 1 is no scale variation, and the parabola of such an
event, continued to z = 2.5, can outweigh all others together."""


class LogQuadraticWeights(AbstractVariation):
    """Weights `w_k(z) = w_k(0) exp(a_k z + b_k z^2)`, exact at z = -1, 0, 1.

    Attributes:
        nuisance: its name; z is counted from 0 in units of the variation.
        first: number of the column that holds `a` of the first component; those of the others follow, then
            the `b` (see `log_quadratic_columns`).
    """

    nuisance: str = eqx.field(static=True)
    first: int = eqx.field(static=True, default=0)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply each component's weight by its factor at `z`."""
        count = events.weights.shape[1]
        slope, bend = (events.columns[:, self.first + i * count : self.first + (i + 1) * count] for i in range(2))
        factor = jnp.exp(slope * z[:, None] + bend * z[:, None] ** 2)
        return eqx.tree_at(lambda e: e.weights, events, events.weights * factor)


def log_quadratic_columns(
    nominal: Float64[np.ndarray, "event component"],
    down: Float64[np.ndarray, "event component"],
    up: Float64[np.ndarray, "event component"],
) -> tuple[np.ndarray, int]:
    """Return the columns `[event, 2 component]` float32 for `LogQuadraticWeights`, and how many were mended.

    `a = (ln r_up - ln r_down) / 2` and `b = (ln r_up + ln r_down) / 2` with r the ratios to nominal. Where a
    weight or a ratio is not positive there is no logarithm, and beyond `STEEPEST` and `MOST_BENT` no sense in
    continuing it: such entries, rare and of hardly any weight near the edge of phase space, take the sample's ratios.

    Raises:
        DataError: a component's total is not positive under some variation.
    """
    totals = [weights.sum(axis=0) for weights in (nominal, down, up)]
    if not all(np.all(total > 0) for total in totals):
        raise DataError("weights of a scale variation: a component has no positive total; check the weight columns")
    with np.errstate(divide="ignore", invalid="ignore"):
        own = _parabola(np.log(down / nominal), np.log(up / nominal))
    sample = _parabola(*(np.log(total / totals[0]) for total in totals[1:]))
    # Not a number is no less than any limit.
    good = (np.abs(own[0]) <= STEEPEST) & (np.abs(own[1]) <= MOST_BENT)
    columns = [np.where(good, mine, theirs) for mine, theirs in zip(own, sample, strict=True)]
    return np.concatenate(columns, axis=1).astype(np.float32), int(np.sum(~good & (nominal != 0)))


def _parabola(down: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and bend through the logarithms at -1 and 1, and 0 at 0."""
    return (up - down) / 2, (up + down) / 2
