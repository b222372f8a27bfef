"""Invented but realistic studies for the tests of results and report.

Widths are those of the Gaussian toy (arXiv:2105.08742) with a little training noise; scores are the
exact ones, turned to the angle that each strategy would learn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from systwise.fit import Toys
from systwise.study.records._plotdata import (
    DecisionFunction,
    FeatureDistribution,
    LikelihoodScan,
    PlaneDensity,
    PlotData,
    RatioCheck,
    ScoreDistribution,
    ScoreTemplates,
    TradeOff,
    TrainingHistory,
)
from systwise.study.records._results import DataRecord, Measurement, NuisanceRecord, Results, Timings, ToyRecord

NOMINAL = math.pi / 4
NOISE = 0.7
BOUND = 0.0676
ALL = ("nominal", "true_nuisance", "augmented", "adversarial", "aware", "optimal", "optimal_nominal")
WIDTHS = {  # uniform nominal, uniform shifted, optimised nominal, optimised shifted
    "nominal": (0.0902, 0.187, 0.0690, 0.121),
    "true_nuisance": (0.0903, 0.0917, 0.0688, 0.0691),
    "augmented": (0.0990, 0.165, 0.0800, 0.118),
    "adversarial": (0.1010, 0.150, 0.0850, 0.115),
    "aware": (0.0896, 0.0915, 0.0690, 0.0693),
    "optimal": (0.0895, 0.0915, 0.0687, 0.0689),
    "optimal_nominal": (0.0902, 0.187, 0.0689, 0.120),
}


def measurement(**changes: Any) -> Measurement:
    """Return a plausible measurement with some fields changed."""
    values: dict[str, Any] = {
        "strategy": "nominal",
        "observable": "fixed",
        "convention": "poisson",
        "binning": "uniform",
        "bins": 10,
        "seed": 1,
        "true": {"angle": NOMINAL, "mu": 1.0},
        "poi": "mu",
        "estimate": 1.0,
        "sigma": 0.09,
        "sigma_down": 0.089,
        "sigma_up": 0.091,
        "sigma_stat_only": 0.087,
        "bound": BOUND,
        "bound_stat_only": BOUND,
        "interval_95": (0.82, 1.18),
        "nuisance_estimate": {"angle": NOMINAL},
        "nuisance_sigma": {"angle": 0.003},
        "auc": 0.978,
        "ks_background": 0.0,
        "converged": True,
        "verdict": "converged: gradient 1e-9, positive Hessian, no lower anchor",
    }
    return Measurement(**{**values, **changes})


def results(
    strategies: tuple[str, ...] = ALL,
    seeds: tuple[int, ...] = (1,),
    angles: tuple[float, ...] = (NOMINAL, math.pi / 2),
    bound: float | None = BOUND,
    **changes: Any,
) -> Results:
    """Return a study of the Gaussian toy."""
    noise = np.random.default_rng(7)
    records = []
    for seed in seeds:
        for strategy in strategies:
            moving = strategy in {"aware", "optimal"}
            for number, angle in enumerate(angles):
                for column, binning in enumerate(("uniform", "optimised")):
                    sigma = WIDTHS[strategy][2 * column + min(number, 1)] * (1 + 0.004 * noise.standard_normal())
                    aligned = number == 0 or strategy in {"true_nuisance", "aware", "optimal"}
                    records.append(
                        measurement(
                            strategy=strategy,
                            observable="moving" if moving else "fixed",
                            binning=binning,
                            bins=(10, 30)[column],
                            seed=seed,
                            true={"angle": angle, "mu": 1.0},
                            sigma=sigma,
                            sigma_down=sigma * 0.98,
                            sigma_up=sigma * 1.02,
                            sigma_stat_only=min(sigma, (0.087, 0.0678)[column]),
                            bound=bound,
                            bound_stat_only=bound,
                            nuisance_estimate={"angle": angle},
                            second_minimum={"angle": 2 * NOMINAL - angle, "delta_nll": 0.4} if not aligned else None,
                            auc=0.978 if aligned else 0.924,
                            ks_background=0.0 if number == 0 else 0.02 if moving else 0.31,
                        )
                    )
    values: dict[str, Any] = {
        "case": "gaussian-toy",
        "settings": {"case": {"noise": 0.7, "signal": 500.0}, "train": {"batch": 512, "schedule": [1e-3, 1e-5]}},
        "seeds": list(seeds),
        "versions": {"python": "3.12.1", "systwise": "0.1.0", "jax": "0.10.0"},
        "timings": Timings(
            generate=1.2,
            train={name: 8.0 + n for n, name in enumerate(strategies)},
            score={name: 3.0 for name in strategies},
            fit=4.2,
        ),
        "data": DataRecord(source="generated, seed 1", fingerprint="ab" * 32, events=2_000_000),
        "command": "systwise run gaussian-toy --out toy",
        "nuisances": [NuisanceRecord(name="angle", nominal=NOMINAL, unit="rad", label="angle $z$")],
        "warnings": ["adversarial: validation loss was still falling at the last epoch; raise train.epochs"],
        "measurements": records,
    }
    return Results(**{**values, **changes})


def every_observable(seeds: tuple[int, ...] = (1,), simulation: float = 0.02) -> Results:
    """Return a study with two binnings, four conventions, anchored and unbinned observables."""
    study = results(strategies=("nominal", "aware", "optimal"), seeds=seeds)
    records = []
    for record in study.measurements:
        same = {**record.model_dump(), "sigma_simulation": simulation}
        moving = record.observable == "moving"
        for convention in ("poisson", "drop", "deviance", "loggamma")[: 4 if moving else 1]:
            records.append(Measurement(**{**same, "convention": convention}))
        if moving and record.binning == "optimised":
            known = {"auc": None, "ks_background": None}
            joint = {"observable": "anchored", "binning": "joint", "bins": 48, "sigma": 1.01 * (record.sigma or 1)}
            records.append(Measurement(**{**same, **known, **joint}))
            none = {"observable": "unbinned", "binning": "none", "bins": 0, "sigma": 0.0678, "estimate": 1.004}
            name = "ratio" if record.strategy == "aware" else record.strategy
            nothing = {"sigma_simulation": None, "strategy": name}
            records.append(Measurement(**{**same, **known, **none, **nothing}))
    return study.model_copy(update={"measurements": records})


def with_toys(study: Results, folder: Path | None, count: int = 400) -> Results:
    """Return the study with Gaussian pseudo-experiments of each first convention; rows go to `folder`.

    Intervals of moving observables with uniform binning are half as wide as they should be; the
    unbinned estimates are biased by a third of their spread.
    """
    records: list[ToyRecord] = []
    for number, record in enumerate(study.measurements):
        if record.convention != "poisson" or record.sigma is None:
            continue
        draw = np.random.default_rng(number)
        shift = 1 / 3 if record.observable == "unbinned" else 0.0
        estimate = record.true["mu"] + record.sigma * (draw.standard_normal(count) + shift)
        half = record.sigma * (0.5 if record.observable == "moving" and record.binning == "uniform" else 1.0)
        ends = estimate[:, None] + half * np.array([-1.0, 1.0, -2.0, 2.0])
        converged = np.arange(count) != 3
        toys = Toys("m", 1, "mu", record.true, np.arange(count), estimate, ends, np.zeros((count, 1)), converged)
        said = toys.summary()
        name = f"toys/{record.strategy}-{record.observable}-{record.binning}-{record.seed}-{number}.npz"
        if folder is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            toys.save(folder / name)
        records.append(
            ToyRecord(
                **{key: getattr(record, key) for key in ("strategy", "observable", "convention", "binning", "seed")},
                true=record.true,
                poi=record.poi,
                source="events",
                bound=record.bound,
                file=name,
                coverage=said.coverage.value,
                coverage_error=said.coverage.error,
                coverage_two=said.coverage_two.value,
                coverage_two_error=said.coverage_two.error,
                **{
                    key: getattr(said, key)
                    for key in ("toys", "converged", "mean", "mean_error", "rms", "rms_error", "half_width", "bias")
                },
                pull_mean=said.pull_mean,
                pull_width=said.pull_width,
            )
        )
    return study.model_copy(update={"toys": records})


def ratio_check(nuisances: int = 1) -> RatioCheck:
    """Return a check of ratios that are calibrated but for noise and a mean of 1.01 at the last point."""
    noise = np.random.default_rng(5)
    edges = np.linspace(0, 1, 21)
    centres = 0.5 * (edges[1:] + edges[:-1])
    points = NOMINAL + np.linspace(-1.178, 1.178, 5)[:, None] * np.ones(nuisances)
    shape = (2, 5, 20)
    target = np.broadcast_to(np.stack([centres, 1 - centres])[:, None] / 10, shape)
    error = np.full(shape, 0.01)
    means = np.ones((2, 5))
    means[:, -1] = 1.01
    observed = np.broadcast_to(centres, shape) + 0.01 * noise.standard_normal(shape)
    observed[0, 0, 0] = np.nan
    return RatioCheck(
        strategy="ratio",
        components=("signal", "background"),
        points=points,
        edges=edges,
        observed=observed,
        observed_error=error,
        predicted=np.broadcast_to(centres, shape).copy(),
        closure=target * (1 + 0.02 * noise.standard_normal(shape)),
        closure_error=0.02 * target,
        target=target.copy(),
        target_error=0.01 * target,
        means=means,
        means_error=np.full((2, 5), 0.002),
    )


def _events(count: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw signal and background of the toy, `[event, 2]` each, the same noise at every angle."""
    draw = np.random.default_rng(3)
    mean = np.array([math.cos(angle), math.sin(angle)])
    return mean + NOISE * draw.standard_normal((count, 2)), -mean + NOISE * draw.standard_normal((count, 2))


def _score(x: np.ndarray, angle: float) -> np.ndarray:
    direction = np.array([math.cos(angle), math.sin(angle)])
    return 1 / (1 + np.exp(-2 * x @ direction / NOISE**2))


def _counts(strategy: str, true: float, edges: np.ndarray) -> np.ndarray:
    """Return template counts `[component, bin]` of a strategy's score at a true angle."""
    follow = strategy in {"aware", "optimal", "true_nuisance"}
    pair = _events(20_000, true)
    yields = (500.0, 50_000.0)
    return np.stack(
        [
            np.histogram(_score(x, true if follow else NOMINAL), edges)[0] * total / len(x)
            for x, total in zip(pair, yields, strict=True)
        ]
    )


def plots(study: Results, features: int = 2) -> PlotData:
    """Return the plot data that belongs to `study`; with other than two features no planes."""
    strategies = list(dict.fromkeys(record.strategy for record in study.measurements))
    shown = np.array([NOMINAL - 0.785, NOMINAL, NOMINAL + 0.785])
    edges = np.linspace(-3.5, 3.5, 41)
    distributions = []
    for number in range(features):
        counts = []
        for angle in shown:
            # Feature n of a large case depends on the nuisance less and less.
            used = NOMINAL + (angle - NOMINAL) / (1 + number // 2)
            counts.append(
                [
                    np.histogram(x[:, number % 2], edges)[0] * total / len(x)
                    for x, total in zip(_events(40_000, used), (500.0, 50_000.0), strict=True)
                ]
            )
        name = f"x{number + 1}" if features == 2 else f"DER_feature_{number}"
        label = f"$x_{number + 1}$" if features == 2 else f"DER_feature_{number} [GeV]"
        distributions.append(FeatureDistribution(name, label, edges, shown, np.array(counts), "angle"))

    anchors = np.linspace(NOMINAL - 1.178, NOMINAL + 1.178, 19)
    templates = [
        ScoreTemplates(
            name,
            binning,
            "angle",
            score_edges,
            anchors,
            np.stack([_counts(name, a, score_edges) for a in anchors]),
            name in {"aware", "optimal"},
        )
        for name in strategies
        for binning, score_edges in (
            ("uniform", np.linspace(0, 1, 11)),
            ("optimised", np.concatenate([[0], 1 - np.geomspace(0.9, 0.003, 29), [1]])),
        )
    ]
    scores = []
    for name in strategies:
        score_edges = np.linspace(0, 1, 41)
        pair = np.stack([_counts(name, a, score_edges) for a in (NOMINAL, math.pi / 2)])
        cumulative = np.cumsum(pair[:, 1], axis=1) / pair[:, 1].sum(axis=1, keepdims=True)
        ks = float(np.abs(cumulative[0] - cumulative[1]).max())
        scores.append(ScoreDistribution(name, score_edges, np.array([NOMINAL, math.pi / 2]), pair, ks, "angle"))
    histories = [
        TrainingHistory(
            name,
            seed,
            np.arange(1.0, 21.0),
            0.2 + 0.3 * np.exp(-np.arange(20) / 3),
            0.21 + 0.3 * np.exp(-np.arange(20) / 3.2),
            1.4 - 0.5 * np.exp(-np.arange(20) / 4) if name == "adversarial" else None,
        )
        for seed in study.seeds
        for name in strategies
        if not name.startswith("optimal")
    ]
    return PlotData(
        feature_distributions=tuple(distributions),
        plane_densities=_planes(shown) if features == 2 else (),
        decision_functions=_decisions(strategies) if features == 2 else (),
        score_templates=tuple(templates),
        score_distributions=tuple(scores),
        likelihood_scans=tuple(_scans(study)),
        training_histories=tuple(histories),
        trade_offs=(
            TradeOff(
                strength=np.array([0.0, 1, 3, 10, 30]),
                auc=np.array([0.978, 0.975, 0.96, 0.9, 0.8]),
                ks=np.array([0.31, 0.2, 0.1, 0.04, 0.02]),
                sigma=np.array([0.121, 0.118, 0.115, 0.125, 0.16]),
            ),
        ),
    )


def _planes(shown: np.ndarray) -> tuple[PlaneDensity, ...]:
    grid = np.linspace(-3, 3, 41)
    density = [[np.histogram2d(x[:, 1], x[:, 0], (grid, grid))[0] for x in _events(100_000, angle)] for angle in shown]
    return (PlaneDensity(grid, grid, shown, np.array(density), nuisance="angle"),)


def _decisions(strategies: list[str]) -> tuple[DecisionFunction, ...]:
    axis = np.linspace(-3, 3, 80)
    mesh = np.stack(np.meshgrid(axis, axis), axis=-1)
    found = []
    for name in strategies:
        follow = name in {"aware", "optimal", "true_nuisance"}
        values = [_score(mesh, a if follow else NOMINAL) for a in (NOMINAL, math.pi / 2)]
        angles = np.array([NOMINAL, math.pi / 2])
        found.append(DecisionFunction(name, axis, axis, angles, np.array(values), nuisance="angle"))
    return tuple(found)


def _scans(study: Results) -> list[LikelihoodScan]:
    """Return scans with the widths of the first seed, two-fold where the score looks at the nominal angle."""
    found = []
    mu = np.linspace(0.3, 1.8, 61)
    for record in study.measurements:
        if record.seed != study.seeds[0]:
            continue
        sigma, angle = record.sigma or 0.1, record.true["angle"]
        profiled = 0.5 * ((mu - 1) / sigma) ** 2 * (1 - 0.1 * (mu - 1))
        map_mu, map_z = np.linspace(0.3, 1.8, 60), np.linspace(NOMINAL - 1.178, NOMINAL + 1.178, 70)
        distance = map_z - angle
        if record.second_minimum is not None:
            distance = np.minimum(abs(distance), abs(map_z - 2 * NOMINAL + angle))
        nll = 0.5 * ((map_mu - 1) / sigma) ** 2 + 0.5 * (distance[:, None] / 0.05) ** 2
        found.append(
            LikelihoodScan(
                record.strategy,
                record.binning,
                record.convention,
                record.true,
                mu,
                profiled,
                0.5 * ((mu - 1) / (record.sigma_stat_only or 0.1)) ** 2,
                np.full_like(mu, angle) + 0.03 * (mu - 1),
                map_mu,
                map_z,
                nll,
                1.0,
                angle,
                None if record.second_minimum is None else 2 * NOMINAL - angle,
                "angle",
                record.poi,
                record.observable,
            )
        )
    return found
