"""Seconds of one unbinned fit of 50,000 events with two parameters, and its agreement with iminuit.

    python benchmarks/unbinned_fit.py

The events are a pseudo-experiment of the Gaussian toy; density ratios are the exact ones as polynomials in the
angle. iminuit minimises the same function, with our gradient; it stops at the minimum, ours goes on to both
interval ends at two levels.
"""

from __future__ import annotations

import math
import statistics
import time

import jax.numpy as jnp
import numpy as np
from iminuit import Minuit

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.fit import UnbinnedData, UnbinnedModel, fit, tabulate, unbinned_derivatives
from systwise.parameters import chebyshev_basis

TRUE = 1.1


def main() -> None:
    """Fit with both and print the seconds."""
    case = GaussianToy(GaussianToySettings())
    events = case.sample(1, [500, 49_500])
    varied = case.vary(events.slice(np.arange(len(events))), jnp.asarray([TRUE], jnp.float32))

    def log_ratios(z: np.ndarray) -> np.ndarray:
        at = jnp.broadcast_to(jnp.asarray(z), (len(events), 1))
        return np.asarray(case.truth.log_density(varied.features, at))

    basis = chebyshev_basis([case.nuisances[0].range], 6)
    coefficients, error = tabulate(log_ratios, basis)
    yields = np.tile([500.0, 49_500.0], (len(case.nuisances[0].anchors), 1))
    model = UnbinnedModel.from_yields(case.components, case.nuisances, case.constraints, [yields])
    data = UnbinnedData(coefficients.astype(np.float32), basis, np.ones(len(events)), (np.array([math.pi / 4]),))
    start = time.perf_counter()
    fit(model, data)
    first = time.perf_counter() - start
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        result = fit(model, data)
        seconds.append(time.perf_counter() - start)

    def value(x: np.ndarray) -> float:
        return unbinned_derivatives(model, data, x[:1], x[1:])[0]

    def gradient(x: np.ndarray) -> np.ndarray:
        return unbinned_derivatives(model, data, x[:1], x[1:])[1]

    value(np.array([1.0, TRUE]))
    start = time.perf_counter()
    minuit = Minuit(value, np.array([1.0, TRUE]), grad=gradient)
    minuit.errordef = 0.5
    minuit.migrad()
    peer = time.perf_counter() - start
    print(f"{len(events)} events, polynomials of degree 6 (rms error of ln r {error:.1e})")
    print(f"first call, compilation included: {first:.1f} s; then {statistics.median(seconds):.3f} s (median of 7)")
    print(f"iminuit, minimum only: {peer:.3f} s; ratio {peer / statistics.median(seconds):.1f}")
    apart = abs(minuit.values[0] - result.estimate)
    print(f"mu = {result.estimate:.5f} +- {result.sigma:.5f}, apart from iminuit: {apart:.1e}")


if __name__ == "__main__":
    main()
