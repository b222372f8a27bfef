"""A thousand pseudo-experiment fits against pyhf, on the same data, in the same run.

    python benchmarks/toy_fits.py

The model has two processes, 30 bins and three nuisances (two shapes, one rate). Both sides minimise over
four parameters, one free fit a data set; ours all at once, pyhf one after the other with its fastest backend
and optimiser (jax, scipy). Prints milliseconds a fit, the ratio, and how far the estimates are apart.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pyhf

from systwise.fit import Data, fit_many, histfactory_model, pseudo_data

BINS, TOYS, PEER = 30, 1000, 60


def workspace() -> dict:
    """Return the model as a HistFactory workspace."""
    x = (np.arange(BINS) + 0.5) / BINS
    signal = 50 * np.exp(-0.5 * ((x - 0.6) / 0.1) ** 2) / 3
    background = 100 * np.exp(-2 * x)

    def shape(name: str, slope: np.ndarray) -> dict:
        data = {"hi_data": (background * (1 + slope)).tolist(), "lo_data": (background * (1 - slope)).tolist()}
        return {"name": name, "type": "histosys", "data": data}

    samples = [
        {
            "name": "signal",
            "data": signal.tolist(),
            "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
        },
        {
            "name": "background",
            "data": background.tolist(),
            "modifiers": [
                shape("tilt", 0.05 * np.cos(np.pi * x)),
                shape("bend", 0.03 * np.cos(2 * np.pi * x)),
                {"name": "rate", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}},
            ],
        },
    ]
    parameters = [{"name": "mu", "bounds": [[-5, 10]], "inits": [1.0]}]
    return {
        "channels": [{"name": "only", "samples": samples}],
        "observations": [{"name": "only", "data": (signal + background).round().tolist()}],
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


def peer(spec: dict, data: Data) -> tuple[np.ndarray, float]:
    """Return pyhf's estimates of mu and its seconds a fit."""
    warnings.simplefilter("ignore")
    pyhf.set_backend("jax", pyhf.optimize.scipy_optimizer(), precision="64b")
    settings = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    model = pyhf.Workspace(spec).model(modifier_settings=settings)
    names = [model.config.par_order[i] for i in range(len(model.config.par_order))]
    ours = ["tilt", "bend", "rate"]
    auxiliary = np.stack([data.auxiliary[ours.index(name)][:, 0] for name in model.config.auxdata_order], axis=1)
    sets = np.concatenate([data.counts, auxiliary], axis=1)
    place = names.index("mu")
    pyhf.infer.mle.fit(sets[0], model)
    estimates, seconds = [], []
    for row in sets[:PEER]:
        start = time.perf_counter()
        estimates.append(float(np.asarray(pyhf.infer.mle.fit(row, model))[place]))
        seconds.append(time.perf_counter() - start)
    return np.array(estimates), float(np.median(seconds))


def main() -> None:
    """Fit with both and print the ratio."""
    spec = workspace()
    model = histfactory_model(spec, normsys="code4", histosys="code4p")
    order = [nuisance.name for nuisance in model.nuisances]
    drawn = pseudo_data(model, 1.0, {}, 0, range(TOYS))
    data = Data(drawn.counts, tuple(drawn.auxiliary[order.index(name)] for name in order))
    results = fit_many(model, data, levels=(), stat_only=False)
    ours, theirs, ratios = [], [], []
    estimates = np.zeros(0)
    for _ in range(3):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            results = fit_many(model, data, levels=(), stat_only=False)
            seconds.append((time.perf_counter() - start) / TOYS)
        estimates, peer_seconds = peer(
            spec, Data(data.counts, tuple(data.auxiliary[order.index(n)] for n in ("tilt", "bend", "rate")))
        )
        ours.append(float(np.median(seconds)))
        theirs.append(peer_seconds)
        ratios.append(peer_seconds / ours[-1])
    fit_many(model, data)
    start = time.perf_counter()
    fit_many(model, data)
    with_intervals = (time.perf_counter() - start) / TOYS
    apart = np.abs(estimates - results.estimate[:PEER])
    print(f"systwise: {1e3 * np.median(ours):.4f} ms a fit ({results.converged.mean():.1%} of {TOYS} converged)")
    print(f"pyhf (jax, scipy): {1e3 * np.median(theirs):.2f} ms a fit ({PEER} fits)")
    print(f"ratio: {np.median(ratios):.0f} (rounds: {', '.join(f'{r:.0f}' for r in ratios)})")
    print(f"estimates of mu apart: median {np.median(apart):.1e}, largest {apart.max():.1e}")
    print(f"with all intervals: {1e3 * with_intervals:.4f} ms a fit")


if __name__ == "__main__":
    main()
