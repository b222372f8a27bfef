"""iminuit as referee: every constraint, factors, simulation factors, joint grids, two parameters of interest."""

from __future__ import annotations

import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from systwise.errors import ConfigError
from systwise.fit import Data, Model, asimov, fit, histfactory_data, histfactory_model
from systwise.fit.model._best_factors import best_factors
from systwise.fit.results._referee import referee
from systwise.parameters import (
    AsymmetricGaussianConstraint,
    Components,
    CorrelatedGaussian,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    Normalisation,
    Nuisance,
    UniformConstraint,
    signal_strength,
)
from test_fit_toy import NOMINAL, toy, toy_data
from test_histfactory import workspace

BINS = np.arange(8)
SIGNAL = 30 * np.exp(-0.5 * ((BINS - 5) / 1.2) ** 2) + 1
BACKGROUND = 120 * np.exp(-0.25 * BINS) + 8


def nuisance(name: str, low: float = -5.0, high: float = 5.0, nominal: float = 0.0, anchors: int = 5) -> Nuisance:
    values = tuple(np.linspace(low, high, anchors).tolist())
    return Nuisance(name, nominal, (low, high), (low, high), values)


def varied(anchors: tuple[float, ...], nominal: float, tilt: float, width: float) -> np.ndarray:
    """Return `[anchor, component, bin]`: a tilted background and a signal that moves."""
    z = (np.asarray(anchors) - nominal)[:, None]
    background = BACKGROUND * np.exp(tilt * z * (BINS - 3.5) / 8)
    signal = 30 * np.exp(-0.5 * ((BINS - 5 - width * z) / 1.2) ** 2) + 1
    return np.stack([signal, background], axis=1)


def drawn(model: Model, seed: int, theta: dict[str, float], z: dict[str, float]) -> Data:
    """Return Poisson counts with constraints centred on the nominal values."""
    counts = np.random.default_rng(seed).poisson(model.expected(theta, z)).astype(float)
    return Data(counts, asimov(model, theta, {}).auxiliary)


def shape_model(constraint: object, own: Nuisance, tilt: float = 0.3) -> Model:
    templates = varied(own.anchors, own.nominal, tilt, 0.1)
    return Model.from_templates(signal_strength(), (own,), () if constraint is None else (constraint,), templates)  # type: ignore[arg-type]


def counts_rate(z: jnp.ndarray) -> jnp.ndarray:
    return jnp.stack([40.0 * jnp.exp(0.15 * z), 60.0 * jnp.exp(-0.1 * z), 25.0 + 0.0 * z])


def all_constraints() -> Model:
    """Return four shapes and two rates under different constraints, two of them correlated."""
    tilt, shift, wide = nuisance("tilt"), nuisance("shift", anchors=4), nuisance("wide", anchors=3)
    counted, scale, rate = nuisance("counted"), nuisance("scale", 0.3, 2.5, 1.0), nuisance("rate")
    effects = ((tilt, 0.2, 0.0), (shift, 0.0, 0.15), (wide, 0.1, 0.1), (counted, -0.15, 0.0))
    shaped = [varied(own.anchors, own.nominal, slope, width) for own, slope, width in effects]
    return Model.from_templates(
        signal_strength(),
        (tilt, scale, shift, wide, rate, counted),
        (
            CorrelatedGaussian(("tilt", "shift"), [[1.0, 0.5], [0.5, 0.8]]),
            LogNormalConstraint("scale", 1.15),
            AsymmetricGaussianConstraint("wide", 0.7, 1.2),
            GaussianConstraint("rate", 1.0),
            CountsConstraint("counted", counts_rate),
        ),
        shaped,
        normalisations=(
            Normalisation("scale", ("background",)),
            Normalisation("rate", ("signal",), "lognormal", up=1.2, down=0.85),
        ),
        variances=np.stack([0.05 * SIGNAL, 0.4 * BACKGROUND]),
    )


SINGLE = {
    "free": (None, nuisance("z")),
    "gaussian": (GaussianConstraint("z", 0.7), nuisance("z")),
    "lognormal": (LogNormalConstraint("z", 1.4), nuisance("z", 0.1, 5.0, 1.0, 6)),
    "asymmetric": (AsymmetricGaussianConstraint("z", 0.4, 1.3), nuisance("z")),
    "uniform": (UniformConstraint("z"), nuisance("z")),
    "counts": (CountsConstraint("z", counts_rate), nuisance("z")),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SINGLE)
def test_each_constraint(kind: str) -> None:
    constraint, own = SINGLE[kind]
    model = shape_model(constraint, own)
    for seed, mu in ((1, 1.0), (2, 0.0), (3, 2.5)):
        opinion = referee(model, drawn(model, seed, {"mu": mu}, {"z": own.nominal + 0.4}))
        assert opinion.agree, f"{kind}, seed {seed}\n{opinion}"
        assert opinion.valid
        assert opinion.result.converged, opinion.result.verdict
        assert opinion.nll == pytest.approx(opinion.result.nll, abs=1e-5)
        for end, theirs in zip(opinion.result.interval, opinion.interval, strict=True):
            assert end == pytest.approx(theirs, abs=0.01 * opinion.result.sigma)


def test_counting_without_nuisances() -> None:
    model = Model.from_templates(signal_strength(-5.0, 20.0), (), (), np.array([[10.0], [90.0]]))
    opinion = referee(model, Data(np.array([104.0]), ()))
    assert opinion.agree, str(opinion)
    assert opinion.estimates["mu"] == pytest.approx(1.4, abs=1e-4)
    assert opinion.rises == pytest.approx((0.5, 0.5), abs=1e-5)


@pytest.mark.slow
def test_every_constraint_factor_and_simulation_at_once() -> None:
    model = all_constraints()
    for seed in range(3):
        data = drawn(model, seed, {"mu": 1.2}, {"tilt": 0.5, "wide": -0.5, "scale": 1.1, "rate": 0.5, "counted": 0.7})
        opinion = referee(model, data)
        assert opinion.agree, str(opinion)
        assert opinion.result.converged, opinion.result.verdict


@pytest.mark.slow
def test_simulation_factors_as_parameters_reach_the_same_minimum() -> None:
    from iminuit import Minuit

    own = nuisance("z")
    model = Model.from_templates(
        signal_strength(),
        (own,),
        (GaussianConstraint("z", 1.0),),
        varied(own.anchors, 0.0, 0.3, 0.1),
        variances=np.stack([0.1 * SIGNAL, 0.6 * BACKGROUND]),
    )
    data = drawn(model, 5, {"mu": 1.0}, {"z": 0.5})
    result = fit(model, data)
    assert referee(model, data, result=result).agree

    def full(x: np.ndarray) -> float:
        return model.nll(x[0], x[1], data, x[2:])

    minuit = Minuit(full, [1.0, 0.0, *np.ones(8)])
    minuit.errordef, minuit.strategy, minuit.tol = 0.5, 2, 1e-3
    minuit.limits = [(-2, 10), (-5, 5), *[(0.3, 3.0)] * 8]
    minuit.migrad()
    assert minuit.fval == pytest.approx(result.nll, abs=1e-5)
    assert minuit.values[0] == pytest.approx(result.estimate, abs=0.005 * result.sigma)
    np.testing.assert_allclose(best_factors(model, data, result.estimates), minuit.values[2:], atol=2e-3)
    minuit.fixed[0] = True
    for end in result.interval:
        minuit.values[0] = end
        minuit.migrad()
        assert minuit.fval - result.nll == pytest.approx(0.5, abs=2e-4)


@pytest.mark.slow
def test_joint_grid_templates() -> None:
    first, second = nuisance("first", anchors=4), nuisance("second", -3.0, 3.0)
    a, b = np.meshgrid(first.anchors, second.anchors, indexing="ij")
    # The effect of one depends on the other: no product of single effects.
    tilt = np.exp(0.15 * (a + 0.3 * a * b)[..., None] * (BINS - 3.5) / 4)
    shift = 30 * np.exp(-0.5 * ((BINS - 5 - 0.2 * b[..., None] * (1 + 0.1 * a[..., None])) / 1.2) ** 2) + 1
    model = Model.from_templates(
        signal_strength(),
        (first, second),
        (GaussianConstraint("first", 1.0), GaussianConstraint("second", 0.8)),
        np.stack([shift, BACKGROUND * tilt], axis=-2),
    )
    opinion = referee(model, drawn(model, 4, {"mu": 1.5}, {"first": 0.7, "second": -0.8}))
    assert opinion.agree, str(opinion)
    assert opinion.result.converged, opinion.result.verdict


@pytest.mark.slow
@pytest.mark.parametrize("poi", ["c_t", "c_g"])
def test_two_parameters_of_interest_with_interference(poi: str) -> None:
    powers, span = ((2, 0), (1, 1), (0, 2), (0, 0)), (-4.0, 4.0)
    components = Components(("tt", "tg", "gg", "background"), ("c_t", "c_g"), powers, (1.0, 0.5), (span, span))
    tt, gg = SIGNAL, 20 * np.exp(-0.5 * ((BINS - 2) / 1.5) ** 2) + 1
    own = nuisance("rate")
    model = Model.from_templates(
        components,
        (own,),
        (GaussianConstraint("rate", 1.0),),
        np.stack([tt, 0.6 * np.sqrt(tt * gg), gg, BACKGROUND]),
        normalisations=(Normalisation("rate", ("background",), "lognormal", up=1.1),),
    )
    data = drawn(model, 6, {"c_t": 1.3, "c_g": 0.8}, {})
    opinion = referee(model, data, poi)
    assert opinion.agree, str(opinion)
    assert opinion.result.converged, opinion.result.verdict


@pytest.mark.slow
def test_a_histfactory_workspace() -> None:
    spec = workspace()
    model = histfactory_model(spec, normsys="code4", histosys="code4p")
    opinion = referee(model, histfactory_data(spec, model))
    assert opinion.agree, str(opinion)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [False, True])
def test_the_toy(moving: bool) -> None:
    model = toy(moving)
    opinion = referee(model, toy_data(model, NOMINAL, 1.0))
    assert opinion.agree, str(opinion)


def test_a_minimum_that_a_local_fit_misses_is_said() -> None:
    model = toy(False)
    opinion = referee(model, toy_data(model, math.pi / 2))
    assert opinion.agree, str(opinion)
    assert "from the nominal point iminuit stops" in opinion.verdict or opinion.nll_from_nominal < opinion.nll + 1e-3


def test_a_wrong_result_is_found_out() -> None:
    import dataclasses

    model = shape_model(GaussianConstraint("z", 0.7), nuisance("z"))
    data = drawn(model, 1, {"mu": 1.0}, {"z": 0.4})
    right = fit(model, data)
    shifted = {"mu": right.estimate + 0.5 * right.sigma, "z": right.estimates["z"]}
    wrong = dataclasses.replace(right, estimates=shifted, nll=right.nll + 0.1)
    opinion = referee(model, data, result=wrong)
    assert not opinion.agree
    assert "lower by" in opinion.verdict
    assert "mu differs" in opinion.verdict
    assert "DISAGREE" in str(opinion)
    assert "#b02020" in opinion._repr_html_()
    narrow = dataclasses.replace(right, interval=(right.interval[0] + 0.3 * right.sigma, right.interval[1]))
    assert "lower end" in referee(model, data, result=narrow).verdict


def test_without_iminuit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iminuit", None)
    model = Model.from_templates(signal_strength(), (), (), np.array([[10.0], [90.0]]))
    with pytest.raises(ConfigError, match=r"needs the package 'iminuit'; pip install '\.\[referee\]'"):
        referee(model, Data(np.array([104.0]), ()))
