"""The same HistFactory model as pyhf's: equal likelihoods, equal fits."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator

import jax
import numpy as np
import pyhf
import pytest

from systwise.errors import ConfigError
from systwise.fit import fit, histfactory_data, histfactory_model

# pyhf validates workspaces with a part of jsonschema that is on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

CODES = [("code1", "code0"), ("code4", "code4p"), ("code4", "code2"), ("code1", "code4p")]


def workspace() -> dict:
    """Two channels, three samples, two factors, shared and separate systematics, simulation errors."""
    draw = np.random.default_rng(7)

    def shape(scale: float, bins: int) -> list[float]:
        return (scale * (1 + 0.3 * draw.standard_normal(bins))).round(3).tolist()

    def sample(name: str, scale: float, bins: int, modifiers: list[dict]) -> dict:
        return {"name": name, "data": shape(scale, bins), "modifiers": modifiers}

    def factor(name: str) -> dict:
        return {"name": name, "type": "normfactor", "data": None}

    def rate(name: str, hi: float, lo: float) -> dict:
        return {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}

    def morph(name: str, scale: float, bins: int) -> dict:
        return {
            "name": name,
            "type": "histosys",
            "data": {"hi_data": shape(scale * 1.1, bins), "lo_data": shape(scale * 0.9, bins)},
        }

    def errors(name: str, scale: float, bins: int) -> dict:
        return {"name": name, "type": "staterror", "data": (scale * (1 + 0.2 * draw.random(bins))).tolist()}

    channels = []
    for name, bins in (("tight", 4), ("loose", 3)):
        stat = f"stat_{name}"
        channels.append(
            {
                "name": name,
                "samples": [
                    sample(
                        "signal", 12, bins, [factor("mu"), rate("lumi_like", 1.02, 0.98), rate("theory", 1.1, 0.93)]
                    ),
                    sample(
                        "top",
                        60,
                        bins,
                        [factor("k_top"), rate("lumi_like", 1.02, 0.98), morph("jes", 60, bins), errors(stat, 3, bins)],
                    ),
                    sample(
                        "other",
                        40,
                        bins,
                        [rate("lumi_like", 1.02, 0.98), morph("jes", 40, bins), rate("other_rate", 1.3, 0.8)]
                        + ([errors(stat, 2, bins)] if name == "tight" else []),
                    ),
                ],
            }
        )
    totals = {c["name"]: np.sum([s["data"] for s in c["samples"]], axis=0) for c in channels}
    observations = [{"name": name, "data": draw.poisson(total).tolist()} for name, total in totals.items()]
    parameters = [
        {"name": "mu", "bounds": [[-5, 10]], "inits": [1.0]},
        {"name": "k_top", "bounds": [[0, 5]], "inits": [1.0]},
    ]
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


def pyhf_model(spec: dict, normsys: str, histosys: str) -> tuple[pyhf.Model, np.ndarray]:
    pyhf.set_backend("numpy", precision="64b")
    ws = pyhf.Workspace(json.loads(json.dumps(spec)), validate=False)
    settings = {"normsys": {"interpcode": normsys}, "histosys": {"interpcode": histosys}}
    model = ws.model(modifier_settings=settings, validate=False)
    return model, np.asarray(ws.data(model))


def constants(model: pyhf.Model, values: np.ndarray) -> float:
    """Return what pyhf's normal constraints hold beside the squared pulls."""
    widths = []
    for name in model.config.par_order:
        config = model.config.param_set(name)
        if config.constrained:
            widths += list(np.asarray(config.width()))
    return sum(math.log(width * math.sqrt(2 * math.pi)) for width in widths if width > 0)


@pytest.mark.parametrize(("normsys", "histosys"), CODES)
def test_log_likelihood_equals_pyhf_at_random_points(normsys: str, histosys: str) -> None:
    spec = workspace()
    theirs, data = pyhf_model(spec, normsys, histosys)
    ours = histfactory_model(spec, normsys=normsys, histosys=histosys)
    counts = histfactory_data(spec, ours)
    draw = np.random.default_rng(3)
    order = [channel["name"] for channel in spec["channels"]]
    for _ in range(20):
        # Beyond one standard deviation pyhf's code 2 jumps; ours continues the line, as ROOT's does.
        reach = 1.0 if histosys == "code2" else 2.5
        z = {n.name: float(draw.uniform(-reach, reach)) for n in ours.nuisances}
        theta = {"mu": float(draw.uniform(0, 3)), "k_top": float(draw.uniform(0.6, 1.5))}
        gammas = {name: draw.uniform(0.9, 1.1, size=4 if name == "tight" else 3) for name in order}
        values = np.array(theirs.config.suggested_init())
        for name in theirs.config.par_order:
            where = theirs.config.par_slice(name)
            if name.startswith("stat_"):
                values[where] = gammas[name.removeprefix("stat_")]
            else:
                values[where] = theta.get(name, z.get(name))
        expected = -float(np.asarray(theirs.logpdf(values, data)).ravel()[0]) - constants(theirs, values)
        factors = np.concatenate([gammas[name] for name in order])
        assert ours.nll(theta, z, counts, factors) == pytest.approx(expected, rel=1e-10)


@pytest.fixture
def single_precision_after() -> Iterator[None]:
    """End what pyhf's jax backend does: it switches the whole process to 64 bits, the first time it is made."""
    jax.config.update("jax_enable_x64", True)
    yield
    pyhf.set_backend("numpy")
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("single_precision_after")
def test_best_fit_equals_pyhf() -> None:
    spec = workspace()
    theirs, data = pyhf_model(spec, "code4", "code4p")
    pyhf.set_backend("jax", pyhf.optimize.minuit_optimizer(tolerance=1e-6), precision="64b")
    values, twice = pyhf.infer.mle.fit(data, theirs, return_fitted_val=True)
    values = np.asarray(values)
    pyhf.set_backend("numpy")
    ours = histfactory_model(spec, normsys="code4", histosys="code4p")
    result = fit(ours, histfactory_data(spec, ours))
    assert result.converged, result.verdict
    for name, value in result.estimates.items():
        theirs_value = values[theirs.config.par_slice(name)][0]
        assert value == pytest.approx(theirs_value, abs=2e-4), name
    assert result.nll + constants(theirs, values) == pytest.approx(0.5 * float(twice), abs=1e-6)


def bare(parameters: list[dict]) -> dict:
    """Return one channel with a factor a bin (`shapesys`) on one sample and simulation errors on another."""
    mu = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {"name": "s", "data": [6.0, 9.0, 4.0], "modifiers": [mu]},
                    {
                        "name": "b",
                        "data": [50.0, 60.0, 40.0],
                        "modifiers": [{"name": "shape", "type": "shapesys", "data": [5.0, 0.0, 4.0]}],
                    },
                    {
                        "name": "t",
                        "data": [20.0, 15.0, 12.0],
                        "modifiers": [{"name": "stat", "type": "staterror", "data": [2.0, 1.5, 3.0]}],
                    },
                ],
            }
        ],
        "observations": [{"name": "c", "data": [81.0, 80.0, 61.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [{"name": "shape", "auxdata": [110.0, 1.0, 90.0]}],
        [{"name": "stat", "auxdata": [1.05, 0.97, 1.1]}],
        [{"name": "stat", "sigmas": [0.2, 0.05, 0.1]}],
        [{"name": "stat", "fixed": True, "inits": [1.1, 1.0, 0.8]}],
        [{"name": "shape", "fixed": True, "inits": [0.9, 1.0, 1.2]}],
    ],
)
def test_settings_of_factors_a_bin_are_pyhfs(parameters: list[dict]) -> None:
    spec = bare(parameters)
    ours = histfactory_model(spec)
    result = fit(ours, histfactory_data(spec, ours))
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-6))
    theirs = pyhf.Workspace(spec).model(modifier_settings={"normsys": {"interpcode": "code1"}})
    data, number = pyhf.Workspace(spec).data(theirs), theirs.config.poi_index
    values, lowest = pyhf.infer.mle.fit(data, theirs, return_fitted_val=True)
    assert result.converged, result.verdict
    assert result.estimate == pytest.approx(values[number], abs=5e-4)
    # The ends are theirs too: minuit's Hesse would be 1 % off.
    for end in result.interval:
        _, there = pyhf.infer.mle.fixed_poi_fit(end, data, theirs, return_fitted_val=True)
        assert float(there - lowest) == pytest.approx(1.0, abs=2e-3)


def test_settings_that_do_not_match_are_refused() -> None:
    with pytest.raises(ConfigError, match="'stat': 2 sigmas for 3 bins"):
        histfactory_model(bare([{"name": "stat", "sigmas": [0.1, 0.2]}]))
    with pytest.raises(ConfigError, match="staterror 'stat' has bounds"):
        histfactory_model(bare([{"name": "stat", "bounds": [[0.5, 2.0]] * 3}]))
    spec = bare([{"name": "stat", "auxdata": [1.0]}])
    with pytest.raises(ConfigError, match="'stat': 1 auxdata for 3 bins"):
        histfactory_data(spec, histfactory_model(spec))


def unknown_modifier(spec: dict) -> None:
    spec["channels"][0]["samples"][0]["modifiers"].append({"name": "x", "type": "morphfactor", "data": None})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_modifier, "morphfactor"),
        (lambda s: s["measurements"][0]["config"].update(poi="nothing"), "nothing"),
        (lambda s: s["channels"][0]["samples"][0]["data"].append(1.0), "bins"),
        (lambda s: s.update(measurements=[]), "measurement"),
        (lambda s: [sample["data"].__setitem__(1, 0.0) for sample in s["channels"][1]["samples"]], "'loose', bin 1"),
    ],
)
def test_workspaces_that_do_not_fit_are_refused(change, words: str) -> None:
    spec = copy.deepcopy(workspace())
    change(spec)
    with pytest.raises(ConfigError, match=words):
        histfactory_model(spec)


def test_a_minimum_at_a_kink_of_the_interpolation_is_a_minimum() -> None:
    """Codes 0 and 1 bend at the nominal value, where three of a thousand pseudo-experiments are lowest."""
    rate = {"name": "rate", "type": "normsys", "data": {"hi": 1.3, "lo": 1.1}}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    spec = {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {"name": "s", "data": [10.0, 2.0], "modifiers": [mu]},
                    {"name": "b", "data": [20.0, 200.0], "modifiers": [rate]},
                ],
            }
        ],
        "observations": [{"name": "c", "data": [31.0, 190.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    model = histfactory_model(spec)
    data = histfactory_data(spec, model)
    result = fit(model, data)
    assert result.estimates["rate"] == 0.0
    assert result.converged, result.verdict
    # It rises on both sides.
    best = {name: value for name, value in result.estimates.items() if name != "rate"}
    for z in (-1e-3, 1e-3):
        assert model.nll(best, {"rate": z}, data) > result.nll
    # Elsewhere nothing is held.
    spec["observations"] = [{"name": "c", "data": [31.0, 260.0]}]
    free = fit(model, histfactory_data(spec, model))
    assert free.converged
    assert free.estimates["rate"] > 0.1
