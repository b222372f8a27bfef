"""First fit, warm fit and iminuit's, from one nuisance to 150, on the same models in the same run.

    python benchmarks/many_nuisances.py

Every model is fitted in a fresh process without a persistent compilation cache. Prints CPU seconds of the first
`fit` (minimum and both intervals, statistics-only interval, verdict) after imports, the median of five warm ones,
of a minimum with the two ends at a rise of 0.5 alone, and pyhf's with iminuit: Hesse, and MINOS for mu, whose
seconds are wall time. The last columns compare the estimate and the ends of mu.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pyhf

from systwise.fit import fit, fit_many, histfactory_data, histfactory_model

SIZES = ((1, 10, 2), (3, 30, 4), (40, 30, 4), (150, 200, 10))
"""Nuisances, bins and samples."""
REPEATS, PATIENCE = 5, 240


def workspace(nuisances: int, bins: int, samples: int) -> dict:
    """Return a model with three channels where there are bins enough, half its nuisances shapes, half rates."""
    draw = np.random.default_rng(nuisances)
    regions = 3 if bins >= 150 else 1
    widths = [bins // regions + (i < bins % regions) for i in range(regions)]
    channels, observed = [], []
    for number, width in enumerate(widths):
        x = (np.arange(width) + 0.5) / width
        rows = []
        for k in range(samples):
            content = 30 * np.exp(-0.5 * ((x - 0.6) / 0.15) ** 2) if k == 0 else 400 / samples * np.exp(-x * (0.5 + k))
            modifiers: list[dict] = [{"name": "mu", "type": "normfactor", "data": None}] if k == 0 else []
            # Each nuisance touches two samples, as systematic uncertainties of one process and its neighbour do.
            for j in (j for j in range(nuisances) if k in (j % samples, (j + 1) % samples)):
                if j % 2:
                    size = 0.02 + 0.03 * draw.random()
                    modifiers.append({"name": f"n{j}", "type": "normsys", "data": {"hi": 1 + size, "lo": 1 - size}})
                else:
                    slope = 0.04 * np.cos((1 + j % 5) * np.pi * x)
                    shapes = {"hi_data": (content * (1 + slope)).tolist(), "lo_data": (content * (1 - slope)).tolist()}
                    modifiers.append({"name": f"n{j}", "type": "histosys", "data": shapes})
            rows.append({"name": f"s{k}", "data": content.tolist(), "modifiers": modifiers})
        channels.append({"name": f"c{number}", "samples": rows})
        total = np.sum([row["data"] for row in rows], axis=0)
        observed.append({"name": f"c{number}", "data": draw.poisson(total).tolist()})
    parameters = [{"name": "mu", "bounds": [[-5, 10]], "inits": [1.0]}]
    return {
        "channels": channels,
        "observations": observed,
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


def timed(function: object) -> float:
    """Return the median wall seconds of some calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()  # type: ignore[operator]
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def ours(spec: dict) -> dict:
    """Return times and numbers of this package."""
    model = histfactory_model(spec)
    data = histfactory_data(spec, model)
    start = time.process_time()
    result = fit(model, data)
    first = time.process_time() - start
    warm = timed(lambda: fit(model, data))
    ends = timed(lambda: fit_many(model, data, levels=(0.5,), stat_only=False))
    numbers = [result.estimate, *result.interval]
    return {"first": first, "warm": warm, "ends": ends, "numbers": numbers, "verdict": result.verdict}


def peer(spec: dict) -> dict:
    """Return times and numbers of pyhf with iminuit."""
    warnings.simplefilter("ignore")
    pyhf.set_backend("jax", pyhf.optimize.minuit_optimizer(tolerance=1e-3), precision="64b")
    settings = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    book = pyhf.Workspace(spec, validate=False)
    model = book.model(modifier_settings=settings, validate=False)
    data = book.data(model)
    start = time.process_time()
    pyhf.infer.mle.fit(data, model)
    first = time.process_time() - start
    begun = time.perf_counter()
    _, found = pyhf.infer.mle.fit(data, model, return_result_obj=True)
    hesse = time.perf_counter() - begun
    minuit = found.minuit
    begun = time.perf_counter()
    minuit.minos("mu")
    minos = time.perf_counter() - begun
    value, error = minuit.values["mu"], minuit.merrors["mu"]
    return {
        "first": first,
        "hesse": hesse,
        "minos": hesse + minos,
        "numbers": [value, value + error.lower, value + error.upper],
    }


def alone(who: str, size: tuple[int, int, int]) -> dict | None:
    """Return what a fresh process prints, None where it takes longer than is waited for."""
    command = [sys.executable, __file__, who, *map(str, size)]
    try:
        environment = {**os.environ, "SYSTWISE_COMPILED": "off"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, env=environment)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table, or one process's numbers."""
    if len(sys.argv) > 1:
        spec = workspace(*map(int, sys.argv[2:]))
        print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]](spec)))
        return
    print("nuisances x bins x samples | first CPU s: ours pyhf | warm s: fit, minimum+ends, pyhf Hesse, MINOS | differ")
    for size in SIZES:
        mine, theirs = alone("ours", size), alone("peer", size)
        name = " x ".join(map(str, size))
        if mine is None:
            print(f"{name:>16} | ours: not done after {PATIENCE} s")
            continue
        left = f"{name:>16} | {mine['first']:5.1f}"
        if theirs is None:
            print(
                f"{left}  pyhf not done after {PATIENCE} s | {mine['warm']:.3f} {mine['ends']:.3f} | {mine['verdict']}"
            )
            continue
        differ = max(abs(a - b) for a, b in zip(mine["numbers"], theirs["numbers"], strict=True))
        print(
            f"{left} {theirs['first']:5.1f} | {mine['warm']:.3f} {mine['ends']:.3f} {theirs['hesse']:.2f} "
            f"{theirs['minos']:.2f} | {differ:.1e} ({mine['verdict']})",
            flush=True,
        )


if __name__ == "__main__":
    main()
