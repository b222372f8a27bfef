"""A workspace as pyhf reads it: its likelihood in JAX, its minimum and its interval."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Float64

from systwise.errors import FitError
from systwise.export._workspace import Workspace
from systwise.fit import Model
from systwise.optional import optional_module

INTERPOLATION = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
"""What cabinetry and pyhf's command line use: smooth at the nominal point."""
MOST_STEPS = 200
DIFFERENCE = 1e-5
"""Step of numerical second derivatives; pyhf's parameters are of order one."""


@dataclasses.dataclass(frozen=True)
class Refit:
    """A fit by pyhf.

    Attributes:
        estimate: best-fit parameter of interest.
        sigma: half of the interval at a rise of the NLL of 0.5; None where a side has no crossing.
        nuisances: best-fit nuisances in their own units.
    """

    estimate: float
    sigma: float | None
    nuisances: dict[str, float]


@contextlib.contextmanager
def pyhf_in_jax() -> Iterator[None]:
    """Let pyhf compute with JAX in float64, for exact gradients, and leave both as they were.

    Raises:
        ConfigError: pyhf is not installed.
    """
    pyhf = optional_module("pyhf", "this")
    backend, wide = pyhf.get_backend(), bool(jax.config.read("jax_enable_x64"))
    try:
        with jax.enable_x64(True):
            pyhf.set_backend("jax", precision="64b")
            yield
    finally:
        pyhf.set_backend(*backend)
        jax.config.update("jax_enable_x64", wide)  # pyhf switches it on for good


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # pyhf validates with a part of jsonschema that is on its way out, and tries points without a likelihood.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


class PyhfModel:
    """A workspace as pyhf reads it, validated against pyhf's schema; to be used within `pyhf_in_jax`."""

    def __init__(self, workspace: Workspace, interpolation: Mapping[str, Any] = INTERPOLATION) -> None:
        """Validate and build.

        Args:
            workspace: the workspace.
            interpolation: pyhf's `modifier_settings`.

        Raises:
            ConfigError: pyhf is not installed.
        """
        pyhf = optional_module("pyhf", "this")
        self.workspace = workspace
        space = pyhf.Workspace(workspace.document)
        self.model = space.model(modifier_settings=dict(interpolation))
        self.data = np.asarray(space.data(self.model))
        self.poi = int(self.model.config.poi_index)
        self.order: list[str] = list(self.model.config.par_order)
        self.bounds = np.asarray(self.model.config.suggested_bounds(), float)
        self.start = np.asarray(self.model.config.suggested_init(), float)
        data = jnp.asarray(self.data)

        def density(values: jax.Array) -> jax.Array:
            return -self.model.logpdf(values, data)[0]

        self._slope = jax.jit(jax.value_and_grad(density))

    def nll(self, values: Float64[np.ndarray, " parameter"]) -> float:
        """Return minus the logarithm of pyhf's density."""
        return float(self._slope(jnp.asarray(values))[0])

    def _jet(self, values: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, slope = self._slope(jnp.asarray(values))
        # Differences of exact slopes: compiling second derivatives of pyhf's density takes longer than all fits.
        rows = [
            (
                np.asarray(self._slope(jnp.asarray(values + step))[1])
                - np.asarray(self._slope(jnp.asarray(values - step))[1])
            )
            / (2 * DIFFERENCE)
            for step in DIFFERENCE * np.eye(len(values))
        ]
        curvature = np.asarray(rows)
        return float(value), np.asarray(slope), 0.5 * (curvature + curvature.T)

    def expected(self, values: Float64[np.ndarray, " parameter"]) -> Float64[np.ndarray, " bin"]:
        """Return pyhf's expected counts, in the order of our bins; pyhf sorts channels by their names."""
        found = np.asarray(self.model.expected_actualdata(jnp.asarray(values)), float)
        slices = self.model.config.channel_slices
        names = [channel["name"] for channel in self.workspace.document["channels"]]
        return np.concatenate([found[slices[name]] for name in names])

    def place(self, name: str) -> int:
        """Return the number of the first entry of one of our parameters."""
        return int(self.model.config.par_slice(self.workspace.names[name]).start)

    def minimise(
        self, start: Float64[np.ndarray, " parameter"], poi: float | None = None
    ) -> tuple[float, Float64[np.ndarray, " parameter"]]:
        """Return the lowest NLL and where it is, the parameter of interest fixed at `poi` unless None.

        Newton's method with damping (Levenberg) and bounds: expected counts of some nuisances move by many standard
        deviations within their range, where descents along the gradient alone stop early.
        """
        free = np.arange(len(start)) != (-1 if poi is None else self.poi)
        values = start.copy()
        if poi is not None:
            values[self.poi] = poi

        values = np.clip(values, *self.bounds.T)
        value, slope, curvature = self._jet(values)
        damping = 1e-6
        for _ in range(MOST_STEPS):
            # A parameter at its bound stays there while the slope points outwards.
            held = ((values <= self.bounds[:, 0]) & (slope > 0)) | ((values >= self.bounds[:, 1]) & (slope < 0))
            moved = np.flatnonzero(free & ~held)
            if not len(moved) or not math.isfinite(value):
                break
            step = np.zeros_like(values)
            step[moved] = -_solved(curvature[np.ix_(moved, moved)], slope[moved], damping)
            tried = np.clip(values + step, *self.bounds.T)
            found = self._jet(tried)
            if not math.isfinite(found[0]) or found[0] > value + 1e-12 * abs(value):
                damping *= 10
                if damping > 1e12:
                    break
                continue
            expected = -float(slope @ step)
            values, (value, slope, curvature), damping = tried, found, max(damping / 10, 1e-12)
            if expected < 1e-9:
                break
        return (value if math.isfinite(value) else math.inf), values

    def fit(self) -> Refit:
        """Return estimate and interval.

        Raises:
            FitError: there is no minimum with a finite NLL.
        """
        lowest, values = min((self.minimise(start) for start in self._starts()), key=lambda found: found[0])
        if not math.isfinite(lowest):
            raise FitError("pyhf: the workspace has no finite likelihood anywhere; check its templates")
        ends = [self._crossing(values, lowest, sign) for sign in (-1.0, 1.0)]
        sigma = None if None in ends else 0.5 * (ends[1] - ends[0])  # type: ignore[operator]
        nuisances = {}
        for name in self.workspace.names:
            if name not in self.workspace.maps and self.workspace.names[name] == self.model.config.poi_name:
                continue
            own = float(values[self.place(name)])
            nuisances[name] = self.workspace.maps[name].value(own) if name in self.workspace.maps else own
        return Refit(float(values[self.poi]), sigma, nuisances)

    def _starts(self) -> list[np.ndarray]:
        """Return the nominal point, and points at plus and minus two standard deviations of each nuisance."""
        starts = [self.start]
        for name in self.workspace.maps:
            for alpha in (-2.0, 2.0):
                start = self.start.copy()
                start[self.place(name)] = np.clip(alpha, *self.bounds[self.place(name)])
                starts.append(start)
        return starts

    def _crossing(self, best: np.ndarray, lowest: float, sign: float) -> float | None:
        """Return where the profiled NLL is 0.5 above the lowest, None where the range ends before."""
        last = best

        def rise(poi: float) -> float:
            nonlocal last
            value, last = self.minimise(last, poi)
            return value - lowest - 0.5

        low, high = self.bounds[self.poi]
        start = float(best[self.poi])
        step = _guess(lambda poi: self.minimise(best, poi)[0] - lowest, start, sign)
        inner, outer = start, start
        for _ in range(40):
            inner, outer = outer, float(np.clip(outer + sign * step, low, high))
            if rise(outer) > 0:
                return float(scipy.optimize.brentq(rise, inner, outer, xtol=1e-5 * abs(outer - start)))
            if outer in (low, high):
                return None
            step *= 1.5
        return None

    def interpolation(self, model: Model) -> dict[str, float]:
        """Return how far expected counts lie from ours between -1 and 1 standard deviations, by nuisance.

        `sqrt(sum_b (nu_b - nu'_b)^2 / nu_b)` at the nominal parameters of interest, the largest of seven values.
        """
        found = {}
        nominal = {nuisance.name: nuisance.nominal for nuisance in model.nuisances}
        for name, scale in self.workspace.maps.items():
            worst = 0.0
            for alpha in np.linspace(-0.75, 0.75, 7):
                own = model.expected(model.components.nominal, {**nominal, name: scale.value(float(alpha))})
                values = self.start.copy()
                values[self.place(name)] = alpha
                other = self.expected(values)
                worst = max(worst, float(np.sqrt(np.sum((own - other) ** 2 / own))))
            found[name] = worst
        return found


def _solved(curvature: np.ndarray, slope: np.ndarray, damping: float) -> np.ndarray:
    """Return the damped Newton step, in directions of negative curvature as if it were positive."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-12))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    return vectors @ ((vectors.T @ (slope / scale)) / (np.maximum(np.abs(values), 1e-9) + damping)) / scale


def _guess(rise: Callable[[float], float], start: float, sign: float) -> float:
    """Return about one standard deviation, from the curvature near the minimum."""
    step = max(1e-3 * abs(start), 1e-3)
    for _ in range(8):
        height = rise(start + sign * step)
        if height > 1e-3:
            return step * math.sqrt(0.5 / height)
        step *= 4
    return step
