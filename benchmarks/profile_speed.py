"""Compare the speed of the profile likelihood with a notebook's loops and with pyhf.

Run `python benchmarks/profile_speed.py`. Every comparison checks first that both sides mean the same
thing: each prints the largest difference in estimate and interval next to the ratio of times.

The loop is the one of the notebook of arXiv:2105.08742: for each of 50 signal strengths and 21 nuisance
values, for each of 10 bins, one term of the likelihood in Python. It costs the same whatever it finds;
`profile` varies the nuisance continuously, so the two are compared in time, and `profile` is compared in
value with a brute-force scan of the same morphed likelihood on a fine grid of both parameters.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import pyhf
from scipy.special import loggamma
from scipy.stats import norm

from systwise.fit import Data, Model, asimov, fit, fit_many, profile, profile_many, study_auxiliary
from systwise.parameters import GaussianConstraint, Nuisance, signal_strength, uniform_anchors

NOMINAL, REACH, NOISE = math.pi / 4, 3 * math.pi / 8, 0.7
TRUE = math.pi / 2


def toy(bins: int = 10) -> Model:
    """Return the Gaussian toy's baseline with exact templates (score at the nominal angle)."""
    edges = np.linspace(0, 1, bins + 1)
    with np.errstate(divide="ignore"):
        cuts = 0.5 * NOISE**2 * np.log(edges / (1 - edges))
    anchors = uniform_anchors(NOMINAL - REACH, NOMINAL + REACH, 19)
    span = (anchors[0], anchors[-1])
    templates = np.array(
        [
            [
                size * np.diff(norm.cdf(cuts, sign * math.cos(z - NOMINAL), NOISE))
                for sign, size in ((1, 500), (-1, 5e4))
            ]
            for z in anchors
        ]
    )
    nuisance = Nuisance("angle", NOMINAL, span, span, anchors)
    return Model.from_templates(signal_strength(), (nuisance,), (GaussianConstraint("angle", 0.5),), templates)


def notebook_loop(
    signal: np.ndarray, background: np.ndarray, counts: np.ndarray, z: np.ndarray, mu: np.ndarray
) -> np.ndarray:
    """Return the NLL profiled over a grid of z at each mu, one bin at a time."""
    curve = []
    for strength in mu:
        best = math.inf
        for i in range(len(z)):
            total = 0.5 * ((z[i] - NOMINAL) / 0.5) ** 2
            for b in range(len(counts)):
                expected = strength * signal[i][b] + background[i][b]
                total += expected - counts[b] * np.log(expected) + loggamma(counts[b])
            best = min(best, total)
        curve.append(best)
    return np.array(curve)


def brute_force(model: Model, data: Data, around: tuple[float, float], steps: int = 401) -> tuple[float, float, float]:
    """Return estimate and interval from a scan of both parameters, refined where the minimum is."""
    grid_mu = np.linspace(*around, steps)
    nuisance = model.nuisances[0]
    curve = np.full(steps, np.inf)
    centre, width = [0.5 * sum(nuisance.range)], nuisance.range[1] - nuisance.range[0]
    for level in range(5):
        z = np.unique(
            np.clip(np.concatenate([np.linspace(c - width / 2, c + width / 2, 241) for c in centre]), *nuisance.range)
        )
        expected = np.array([model.morph([value]) for value in z])
        nu = grid_mu[:, None, None] * expected[None, :, 0] + expected[None, :, 1]
        nll = np.sum(nu - data.counts * np.log(nu), axis=2) + 0.5 * ((z - data.auxiliary[0][0]) / 0.5) ** 2
        curve = np.minimum(curve, nll.min(axis=1))
        best = z[np.argmin(nll, axis=1)]
        low, high = best.min(), best.max()
        spread = width / 8
        # Keep every neighbourhood that is best for some mu: the likelihood is two-fold.
        centre = sorted(
            {float(c) for c in np.linspace(low, high, 3)}
            | {float(c) for c in np.quantile(best, [0, 0.25, 0.5, 0.75, 1])}
        )
        width = spread if level else width / 4
    lowest = int(np.argmin(curve))
    parabola = np.polyfit(grid_mu[lowest - 2 : lowest + 3] - grid_mu[lowest], curve[lowest - 2 : lowest + 3], 2)
    estimate = grid_mu[lowest] - parabola[1] / (2 * parabola[0])
    minimum = parabola[2] - parabola[1] ** 2 / (4 * parabola[0])
    rise = curve - minimum
    lower = np.interp(-0.5, -rise[: lowest + 1], grid_mu[: lowest + 1])
    upper = np.interp(0.5, rise[lowest:], grid_mu[lowest:])
    return float(estimate), float(lower), float(upper)


def median_time(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call in seconds, after one call that compiles."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="repeats of which the median is taken")
    parser.add_argument("--data-sets", type=int, default=1000, help="pseudo-data profiled in one call")
    options = parser.parse_args()

    model, mu = toy(), np.arange(50) / 10
    data = asimov(model, 1.0, TRUE)
    z_grid = NOMINAL * np.arange(21) / 10
    grid = np.array([model.morph([z]) for z in z_grid])

    def single() -> tuple[float, float, float]:
        curve = profile(model, data, mu)
        lower, upper = curve.interval()
        return float(curve.estimate), float(lower), float(upper)

    loop = median_time(
        lambda: notebook_loop(grid[:, 0], grid[:, 1], np.asarray(data.counts), z_grid, mu), options.repeats
    )
    one = median_time(single, 10 * options.repeats)
    reference = brute_force(model, data, (0.5, 1.5))
    found, fitted = single(), fit(model, data)
    exact = (fitted.estimate, *fitted.interval)
    difference = max(abs(a - b) for a, b in zip(found, reference, strict=True))
    to_fit = max(abs(a - b) for a, b in zip(found, exact, strict=True))

    generator = np.random.default_rng(1)
    counts = generator.poisson(np.asarray(data.counts), size=(options.data_sets, model.bins)).astype(float)
    auxiliary = np.broadcast_to(study_auxiliary(model, TRUE)[0], (options.data_sets, 1))
    many = Data(counts, (auxiliary,))
    curves = profile_many(model, many, mu)
    each = median_time(lambda: profile_many(model, many, mu), options.repeats) / options.data_sets
    fits = fit_many(model, many)
    fit_each = median_time(lambda: fit_many(model, many), 3) / options.data_sets
    fit_one = median_time(lambda: fit(model, data), 5 * options.repeats)
    to_fits = np.nanmax(np.abs(curves.estimate - fits.estimate))

    sets = f"the same for each of {options.data_sets} data sets in one call"
    print(f"{'':58}{'time':>12}{'ratio':>9}")
    show("Python loops, 50 mu x 21 z x 10 bins", loop, loop)
    show("profile of 50 mu, continuous z, with interval", one, loop, "target 20")
    show(sets, each, loop, "target 200")
    show("fit with covariance, both intervals, statistics only", fit_one, loop)
    show(sets, fit_each, loop)
    print(
        f"estimate and interval: profile against brute force {difference:.1e}, against fit {to_fit:.1e}; "
        f"estimates of {options.data_sets} profiles against fits {to_fits:.1e}"
    )
    print(
        f"converged: {curves.converged.mean():.2%} of {curves.converged.size} profiled points, "
        f"{fits.converged.mean():.2%} of fits"
    )
    against_pyhf(options.repeats)


def against_pyhf(repeats: int) -> None:
    """Time a fit of signal and background in ten bins, the background's rate uncertain to 5 %."""
    signal, background, kappa = np.linspace(2, 12, 10), np.linspace(120, 40, 10), 1.05
    observed = np.round(signal + 1.03 * background)
    samples = [
        {"name": "signal", "data": signal.tolist(), "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {
            "name": "background",
            "data": background.tolist(),
            "modifiers": [{"name": "rate", "type": "normsys", "data": {"hi": kappa, "lo": 1 / kappa}}],
        },
    ]
    theirs = pyhf.Model(
        {"channels": [{"name": "channel", "samples": samples}]},
        poi_name="mu",
        modifier_settings={"normsys": {"interpcode": "code1"}},
    )
    bounds = [(-2.0, 10.0) if name == "mu" else (-4.0, 4.0) for name in theirs.config.par_names]
    anchors = uniform_anchors(-4.0, 4.0, 17)
    nuisance = Nuisance("rate", 0.0, (-4.0, 4.0), (-4.0, 4.0), anchors, kind="norm")
    templates = np.array([[signal, background * kappa**a] for a in anchors])
    ours = Model.from_templates(signal_strength(), (nuisance,), (GaussianConstraint("rate", 1.0),), templates)
    data = Data(observed, (np.zeros(1),))

    def pyhf_fit() -> float:
        return float(pyhf.infer.mle.fit([*observed, 0.0], theirs, par_bounds=bounds)[theirs.config.poi_index])

    their_time, our_time = median_time(pyhf_fit, repeats), median_time(lambda: fit(ours, data), 5 * repeats)
    result = fit(ours, data)
    show("pyhf (NumPy, SLSQP), 10 bins, one rate nuisance, minimum", their_time, their_time)
    show("fit of the same, with covariance and all intervals", our_time, their_time)
    print(f"estimates differ by {abs(pyhf_fit() - result.estimate):.1e}, where sigma is {result.sigma:.2f}")


def show(what: str, seconds: float, reference: float, note: str = "") -> None:
    """Print one line: what, time, and how many times faster than the reference."""
    unit, scale = ("ms", 1e3) if seconds > 1e-3 else ("us", 1e6)
    remark = f"   ({note})" if note else ""
    print(f"{what:58}{scale * seconds:9.2f} {unit}{reference / seconds:9.1f}{remark}")


if __name__ == "__main__":
    main()
