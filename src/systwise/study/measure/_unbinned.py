"""Density ratios of every event as an unbinned likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.cases import AbstractCase, Progress
from systwise.events import Events, EventTable
from systwise.learn import AbstractRatioObservable, RatioObservable, ratio_diagnostics, reference_draw
from systwise.study.measure._measure import rate_factors
from systwise.study.plan._plan import Plan
from systwise.study.records._plotdata import RatioCheck
from systwise.templates import in_order

CHUNK = 8192
MOST_EVENTS = 1_000_000
"""Weighted events of an Asimov data set, at most."""


@eqx.filter_jit
def _coefficients(
    observable: RatioObservable, case: AbstractCase, events: Events, z: Array, fold: Array
) -> tuple[Array, Array]:
    varied = case.vary(events, z)
    return observable.coefficients(varied, fold), varied.weights


@eqx.filter_jit
def _log_ratios(
    observable: AbstractRatioObservable, case: AbstractCase, events: Events, z: Array, fold: Array, at: Array
) -> tuple[Array, Array]:
    varied = case.vary(events, z)
    hypothesis = jnp.broadcast_to(at, (varied.weights.shape[0], at.shape[0]))
    return observable.log_ratios(varied, hypothesis, fold), varied.weights


@dataclasses.dataclass(frozen=True)
class Sample:
    """Events shifted to a true point, as an unbinned fit needs them.

    Attributes:
        observable: the ratios.
        case: how nuisances move events.
        table: the events.
        rows: which of them.
        folds: `[row]`, which network scores an event; None for the only one.
        z: true nuisance values, `[nuisance]`.
    """

    observable: AbstractRatioObservable
    case: AbstractCase
    table: EventTable
    rows: np.ndarray
    folds: np.ndarray | None
    z: np.ndarray

    def _evaluated(self, function: Callable[[Events, Array], tuple[Array, Array]]) -> list[np.ndarray]:
        """Return `function(events, fold)`: values and weights `[event, component]` of all rows."""
        folds = np.zeros(len(self.rows), np.int32) if self.folds is None else self.folds[self.rows]
        return in_order(function, self.table, self.rows, folds, CHUNK)

    def polynomial(self) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients `[event, component, term]` and weights `[event, component]`."""
        observable, z = self.observable, jnp.asarray(self.z, jnp.float32)
        if not isinstance(observable, RatioObservable):
            raise TypeError("only learned ratios are polynomials in the nuisances")
        found, weights = self._evaluated(lambda events, fold: _coefficients(observable, self.case, events, z, fold))
        return found, weights

    def log_ratios(self, at: np.ndarray) -> np.ndarray:
        """Return ln r `[event, component]` at nuisance values `at`."""
        values, _ = self._evaluated(self._log_ratios_at(at))
        return values

    def weights(self) -> np.ndarray:
        """Return the weights `[event, component]` of all rows."""
        _, weights = self._evaluated(self._log_ratios_at(self.z))
        return weights

    def _log_ratios_at(self, at: np.ndarray) -> Callable[[Events, Array], tuple[Array, Array]]:
        z, hypothesis = jnp.asarray(self.z, jnp.float32), jnp.asarray(at, jnp.float32)
        return lambda events, fold: _log_ratios(self.observable, self.case, events, z, fold, hypothesis)


def true_yields(plan: Plan, point: dict[str, float], progress: Progress) -> Float64[np.ndarray, " component"]:
    """Return the expected events of each component at a true point, coefficients and rates included."""
    z = np.array([[point[nuisance.name] for nuisance in plan.nuisances]])
    theta = dict(zip(plan.case.components.pois, plan.poi_values(point), strict=True))
    coefficients = np.asarray(
        [
            np.prod([theta[p] ** power for p, power in zip(theta, row, strict=True)])
            for row in plan.case.components.powers
        ]
    )
    return coefficients * rate_factors(plan, point) * plan.yields(z, progress)[0]


def weighted_events(
    plan: Plan, observable: AbstractRatioObservable, point: dict[str, float], progress: Progress
) -> tuple[Sample, np.ndarray]:
    """Return events at a true point that neither trained nor calibrated the ratios, and the scale of each component.

    An event of an Asimov data set weighs `sum_k scale_k w_k`.
    """
    rows = np.flatnonzero(plan.split.template)[:MOST_EVENTS]
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    totals = _totals(plan, rows, z)
    scale = np.divide(true_yields(plan, point, progress), totals, out=np.zeros(len(totals)), where=totals > 0)
    return Sample(observable, plan.case, plan.table, rows, plan.split.scorer, z), scale


def _totals(plan: Plan, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the total weight of the rows at `z`, `[component]`."""
    total = np.zeros(len(plan.table.component_names))
    point = jnp.asarray(z, jnp.float32)
    for chosen, events in plan.table.blocks(rows, 65_536):
        weights = np.asarray(_weights(plan.case, events, point))[: len(chosen)]
        total += weights.sum(axis=0, dtype=np.float64)
    return total


@eqx.filter_jit
def _weights(case: AbstractCase, events: Events, z: Array) -> Array:
    return case.vary(events, z).weights


def ratio_check(
    plan: Plan,
    strategy: str,
    observable: RatioObservable,
    points: tuple[dict[str, float], ...],
    seed: int,
    region: str,
) -> RatioCheck:
    """Return what shows whether learned ratios can be trusted, at the true points, on events never trained on."""
    z = np.array([[point[nuisance.name] for nuisance in plan.nuisances] for point in points])
    found = ratio_diagnostics(observable, plan.problem, reference_draw(plan.problem), z, seed)
    return RatioCheck(strategy=strategy, region=region, **vars(found))
