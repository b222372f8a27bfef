"""What shows whether learned ratios can be trusted: calibration, reweighting closure, normalisation."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Key

from systwise.cases import AbstractCase
from systwise.events import Events
from systwise.learn._strategy import Problem
from systwise.learn.ratios._calibration import BLOCK, reference_means
from systwise.learn.ratios._game import component_task, present
from systwise.learn.ratios._ratio import AbstractRatioObservable, RatioObservable
from systwise.learn.training._game import Draw, drawn_events
from systwise.learn.training._task import Task
from systwise.random import named_key

BINS = 20
EVENTS = 200_000


@dataclasses.dataclass(frozen=True)
class RatioDiagnostics:
    """Tests of learned ratios on events that trained no network; arrays are float64 NumPy.

    Everything is a histogram of `g = r_k / (1 + r_k)`, the classifier of component k at z against the reference.

    Attributes:
        components: names.
        points: nuisance values of the tests, `[point, nuisance]`.
        edges: of the bins in g, `[bin + 1]`.
        observed: fraction of component k among its events at z and as many of the reference, `[component,
            point, bin]`; NaN in empty bins. Calibrated ratios follow `predicted`.
        observed_error: its statistical error.
        predicted: mean g of the reference's events in the bin.
        closure: histogram of the reference reweighted by r_k, adding up to its mean, `[component, point, bin]`.
        closure_error: its statistical error.
        target: histogram of component k at z, adding up to 1.
        target_error: its statistical error.
        means: mean of r_k over the reference, `[component, point]`; 1 if calibrated.
        means_error: its statistical error.
        observed_before, predicted_before: the same without the classifier's map; None where there is none.
    """

    components: tuple[str, ...]
    points: Float64[np.ndarray, "point nuisance"]
    edges: Float64[np.ndarray, " bin_edge"]
    observed: Float64[np.ndarray, "component point bin"]
    observed_error: Float64[np.ndarray, "component point bin"]
    predicted: Float64[np.ndarray, "component point bin"]
    closure: Float64[np.ndarray, "component point bin"]
    closure_error: Float64[np.ndarray, "component point bin"]
    target: Float64[np.ndarray, "component point bin"]
    target_error: Float64[np.ndarray, "component point bin"]
    means: Float64[np.ndarray, "component point"]
    means_error: Float64[np.ndarray, "component point"]
    observed_before: Float64[np.ndarray, "component point bin"] | None = None
    predicted_before: Float64[np.ndarray, "component point bin"] | None = None

    @property
    def closure_chi2(self) -> Float64[np.ndarray, "component point"]:
        """Chi-square a bin between the reweighted reference and the component itself."""
        variance = self.closure_error**2 + self.target_error**2
        pull2 = np.divide((self.closure - self.target) ** 2, variance, out=np.zeros_like(variance), where=variance > 0)
        return pull2.sum(axis=-1) / np.maximum((variance > 0).sum(axis=-1), 1)

    @property
    def largest_calibration_error(self) -> float:
        """Largest deviation of an observed from the predicted fraction beyond two standard errors."""
        beyond = np.abs(self.observed - self.predicted) - 2 * self.observed_error
        return float(np.nanmax(np.maximum(beyond, 0.0), initial=0.0))


def ratio_diagnostics(
    observable: RatioObservable,
    problem: Problem,
    draw: Draw,
    points: Float[np.ndarray, "point nuisance"],
    seed: int,
    fold: int = 0,
) -> RatioDiagnostics:
    """Test learned ratios on the events that network `fold` scores.

    Args:
        observable: the ratios.
        problem: case and events.
        draw: nuisance values of the reference (`reference_draw`).
        points: nuisance values of the tests.
        seed: of the draws.
        fold: the network.
    """
    held_out = np.flatnonzero(problem.split.fold == fold)[:EVENTS]
    task = component_task(problem.table, held_out)
    given = problem, task, draw, held_out, points, seed, fold
    found = _calibration(observable, *given)
    before: dict[str, np.ndarray] = {}
    if observable.calibrator is not None:
        plain = _calibration(observable.uncalibrated(), *given)
        before = {f"{name}_before": plain[name] for name in ("observed", "predicted")}
    means, means_error = reference_means(observable, problem, task, draw, held_out, fold, points, seed)
    kept = list(present(problem.table))
    return RatioDiagnostics(
        components=tuple(problem.table.component_names[k] for k in kept),
        points=np.asarray(points, np.float64),
        edges=np.linspace(0, 1, BINS + 1),
        means=means[kept],
        means_error=means_error[kept],
        **found,
        **before,
    )


def _calibration(
    observable: RatioObservable,
    problem: Problem,
    task: Task,
    draw: Draw,
    index: np.ndarray,
    points: Float[np.ndarray, "point nuisance"],
    seed: int,
    fold: int,
) -> dict[str, np.ndarray]:
    """Return the diagnostics that are histograms, `[component, point, bin]`, of the components with events."""
    shape = (len(task.classes), len(points), BINS)
    reference, reference2, component, component2, inside = (np.zeros(shape) for _ in range(5))
    closure, closure2 = np.zeros(shape), np.zeros(shape)
    key = named_key(seed, "diagnostics", fold)
    for number, (_, events) in enumerate(problem.table.blocks(index, BLOCK)):
        for p, point in enumerate(points):
            sums = _histograms(
                problem.case, observable, task, draw, events, jnp.asarray(point, jnp.float32), jnp.int32(fold),
                jax.random.fold_in(key, number),
            )  # fmt: skip
            for total, part in zip(
                (reference, reference2, closure, closure2, component, component2, inside), sums, strict=True
            ):
                total[:, p] += np.asarray(part, np.float64)
    kept = list(present(problem.table))
    every = (reference, reference2, closure, closure2, component, component2, inside)
    reference, reference2, closure, closure2, component, component2, inside = (total[kept] for total in every)
    norm_reference, norm = reference.sum(axis=-1, keepdims=True), component.sum(axis=-1, keepdims=True)
    reference, reference2 = reference / norm_reference, reference2 / norm_reference**2
    component, component2 = component / norm, component2 / norm**2
    both = reference + component
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = component / both
        error = np.sqrt(reference**2 * component2 + component**2 * reference2) / both**2
        predicted = np.where(reference > 0, inside / norm_reference / reference, np.nan)
    return {
        "observed": observed,
        "observed_error": error,
        "predicted": predicted,
        "closure": closure / norm_reference,
        "closure_error": np.sqrt(closure2) / norm_reference,
        "target": component,
        "target_error": np.sqrt(component2),
    }


@eqx.filter_jit
def _histograms(
    case: AbstractCase,
    observable: AbstractRatioObservable,
    task: Task,
    draw: Draw,
    events: Events,
    point: Float[Array, " nuisance"],
    fold: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[Float[Array, "component bin"], ...]:
    """Return a block's histograms in g: reference w and w^2, times r, r^2; component w and w^2; reference w g."""
    z = jnp.broadcast_to(point, (events.weights.shape[0], point.shape[0]))
    there, (varied, _, share) = case.vary(events, z), drawn_events(case, draw, events, key)
    w, own = share * jnp.sum(task.weights(varied), axis=1), task.weights(there)
    log_ratio, at_point = observable.log_ratios(varied, z, fold), observable.log_ratios(there, z, fold)

    def histogram(g: Array, values: Array) -> Array:
        return jax.ops.segment_sum(values, jnp.clip((g * BINS).astype(jnp.int32), 0, BINS - 1), BINS)

    rows = []
    for k in range(len(task.classes)):
        g, r = jax.nn.sigmoid(log_ratio[:, k]), jnp.exp(log_ratio[:, k])
        h = jax.nn.sigmoid(at_point[:, k])
        filled = [w, w**2, w * r, (w * r) ** 2]
        rows.append([*(histogram(g, v) for v in filled), histogram(h, own[:, k]), histogram(h, own[:, k] ** 2)])
        rows[-1].append(histogram(g, w * g))
    return tuple(jnp.stack(column) for column in zip(*rows, strict=True))
