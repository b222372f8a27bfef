"""Discovery and exclusion: closed forms of a counting experiment, and pyhf on the same workspace."""

from __future__ import annotations

import json
import math

import numpy as np
import pyhf
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from systwise.errors import FitError
from systwise.fit import Data, Model, asimov, histfactory_data, histfactory_model, stack
from systwise.fit.hypothesis._asymptotics import expected_significance, q0, q_mu_tilde
from systwise.fit.hypothesis._limits import background_asimov, cls, upper_limit
from systwise.parameters import GaussianConstraint, Normalisation, Nuisance, signal_strength

# pyhf validates workspaces with a part of jsonschema that is on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

S, B = 10.0, 50.0


def counting(low: float = -2.0, high: float = 10.0, s: float = S, b: float = B) -> Model:
    return Model.from_templates(signal_strength(low, high), (), (), np.array([[s], [b]]))


def counts(*n: float) -> Data:
    return stack([Data(np.array([value]), ()) for value in n])


def nll(mu: np.ndarray | float, n: float) -> np.ndarray:
    return mu * S + B - n * np.log(mu * S + B)


@pytest.mark.parametrize("low", [-2.0, 0.0])
def test_q0_of_a_counting_experiment(low: float) -> None:
    """Eq. 97: `q0 = 2 (n ln(n/b) - n + b)` for n above b, zero below, whether or not mu may be negative."""
    n = np.array([35.0, 50.0, 60.0, 85.0])
    test = q0(counting(low), counts(*n))
    expected = np.where(n > B, 2 * (n * np.log(n / B) - n + B), 0.0)
    np.testing.assert_allclose(test.q0, expected, atol=1e-8)
    np.testing.assert_allclose(test.significance, np.sqrt(expected), atol=1e-4)
    np.testing.assert_allclose(test.p_value, norm.sf(np.sqrt(expected)), atol=1e-4)
    np.testing.assert_allclose(test.estimate, np.maximum(n - B, 0) / S, atol=1e-6)
    assert test.converged.all()
    assert "median" in str(test)
    single = q0(counting(low), counts(85.0)[0])
    assert float(single.significance) == pytest.approx(math.sqrt(expected[3]), rel=1e-6)
    assert "verdict: converged" in str(single)


@pytest.mark.parametrize("low", [-2.0, 0.0])
def test_q_mu_tilde_has_its_three_branches(low: float) -> None:
    """Eq. 16: against mu = 0 for an estimate below it, against the estimate, and zero above the tested value."""
    q = q_mu_tilde(counting(low), counts(40.0, 60.0, 90.0), [0.5, 2.0, 4.0])
    mu = np.array([0.5, 2.0, 4.0])
    np.testing.assert_allclose(q[0], 2 * (nll(mu, 40.0) - nll(0.0, 40.0)), atol=1e-7)
    np.testing.assert_allclose(q[1], [0.0, *(2 * (nll(mu[1:], 60.0) - nll(1.0, 60.0)))], atol=1e-7)
    np.testing.assert_allclose(q[2], [0.0, 0.0, 0.0], atol=1e-7)
    alone = q_mu_tilde(counting(low), counts(40.0)[0], 2.0)
    assert float(alone) == pytest.approx(q[0, 1], abs=1e-7)


def test_expected_significance_is_the_asimov_formula() -> None:
    """Eq. 97: `sqrt(2 ((s + b) ln(1 + s/b) - s))`, bands one unit apart, none below zero."""
    found = expected_significance(counting())
    expected = math.sqrt(2 * ((S + B) * math.log(1 + S / B) - S))
    assert found.median == pytest.approx(expected, rel=1e-7)
    assert found.bands == pytest.approx((0.0, expected - 1, expected, expected + 1, expected + 2), rel=1e-6)
    assert found.converged
    assert "median" in str(found)
    assert "#2a7d2a" in found._repr_html_()
    twice = expected_significance(counting(), mu=2.0)
    assert twice.median == pytest.approx(math.sqrt(2 * ((2 * S + B) * math.log(1 + 2 * S / B) - 2 * S)), rel=1e-7)


def closed_cls(mu: float, n: float) -> float:
    best = max((n - B) / S, 0.0)
    q = 2 * (nll(mu, n) - nll(best, n)) if best <= mu else 0.0
    reach = 2 * (nll(mu, B) - nll(0.0, B))
    root = math.sqrt(reach)
    statistic = math.sqrt(q) - root if q <= reach else (q - reach) / (2 * root)
    return float(norm.sf(statistic + root) / norm.sf(statistic))


@pytest.mark.parametrize("n", [40.0, 52.0, 66.0])
def test_cls_and_limits_of_a_counting_experiment(n: float) -> None:
    data = counts(n)[0]
    values = np.array([0.5, 1.0, 2.0, 3.5])
    found = cls(counting(), data, values)
    np.testing.assert_allclose(found.observed, [closed_cls(mu, n) for mu in values], rtol=1e-5)
    limit = upper_limit(counting(), data)
    assert limit.converged, limit.verdict
    assert limit.observed == pytest.approx(brentq(lambda mu: closed_cls(mu, n) - 0.05, 0.1, 9.0, xtol=1e-10), rel=1e-5)
    for number, expected in zip((-2, -1, 0, 1, 2), limit.expected, strict=True):
        # Eq. 89: mu = sigma (Phi^-1(1 - alpha Phi(N)) + N), with sigma from the Asimov data at mu itself.
        root = math.sqrt(2 * (nll(expected, B) - nll(0.0, B)))
        assert root == pytest.approx(norm.isf(0.05 * norm.cdf(number)) + number, abs=1e-4)
    assert list(limit.expected) == sorted(limit.expected)
    assert "observed" in str(limit)
    assert "median" in str(found)


def rate_model(high: float = 10.0) -> Model:
    own = Nuisance("rate", 0.0, (-5.0, 5.0), (-5.0, 5.0), (-5.0, 5.0), kind="norm")
    return Model.from_templates(
        signal_strength(-2.0, high),
        (own,),
        (GaussianConstraint("rate", 1.0),),
        np.array([[4.0, 9.0, 6.0], [60.0, 45.0, 20.0]]),
        normalisations=(Normalisation("rate", ("background",), "lognormal", up=1.1),),
    )


def test_background_asimov_sits_at_the_nuisances_that_the_data_prefer() -> None:
    model = rate_model()
    data = Data(np.array([70.0, 52.0, 25.0]), (np.zeros(1),))
    made = background_asimov(model, data)
    z = float(made.auxiliary[0][0])
    assert 0.5 < z < 2
    np.testing.assert_allclose(made.counts, np.array([60.0, 45.0, 20.0]) * 1.1**z, rtol=1e-9)
    assert float(q0(model, made).q0) == pytest.approx(0.0, abs=1e-9)


def small_workspace() -> dict:
    """One channel with a normsys, a histosys and simulation errors."""
    up, down = [63.0, 45.0, 18.0], [57.0, 45.0, 22.0]
    samples = [
        {"name": "signal", "data": [4.0, 9.0, 6.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {
            "name": "background",
            "data": [60.0, 45.0, 20.0],
            "modifiers": [
                {"name": "rate", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}},
                {
                    "name": "shape",
                    "type": "histosys",
                    "data": {"hi_data": up, "lo_data": down},
                },
                {"name": "stat", "type": "staterror", "data": [3.0, 2.5, 2.0]},
            ],
        },
    ]
    config = {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0, 10]], "inits": [1.0]}]}
    return {
        "channels": [{"name": "channel", "samples": samples}],
        "observations": [{"name": "channel", "data": [66.0, 49.0, 29.0]}],
        "measurements": [{"name": "fit", "config": config}],
        "version": "1.0.0",
    }


@pytest.mark.slow
@pytest.mark.parametrize("observed", [[66.0, 49.0, 29.0], [55.0, 40.0, 15.0]])
def test_cls_q0_and_limits_are_pyhfs(observed: list[float]) -> None:
    spec = small_workspace()
    spec["observations"][0]["data"] = observed
    settings = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3), precision="64b")
    workspace = pyhf.Workspace(json.loads(json.dumps(spec)), validate=False)
    theirs = workspace.model(modifier_settings=settings, validate=False)
    their_data = np.asarray(workspace.data(theirs))
    model = histfactory_model(spec, normsys="code4", histosys="code4p")
    data = histfactory_data(spec, model)
    values = np.array([0.5, 1.0, 2.0, 3.0])
    ours = cls(model, data, values)
    assert ours.converged, ours.verdict
    for k, mu in enumerate(values):
        seen, bands = pyhf.infer.hypotest(mu, their_data, theirs, test_stat="qtilde", return_expected_set=True)
        assert ours.observed[k] == pytest.approx(float(seen), abs=2e-4)
        # pyhf lists the bands from the smallest CLs to the largest.
        np.testing.assert_allclose(ours.expected[:, k], [float(band) for band in bands], atol=2e-4)
    p_value = pyhf.infer.hypotest(0.0, their_data, theirs, test_stat="q0")
    found = q0(model, data)
    assert float(found.p_value) == pytest.approx(float(p_value), abs=2e-4)
    observed_limit, expected_limits = pyhf.infer.intervals.upper_limits.toms748_scan(
        their_data, theirs, 0.01, 9.9, level=0.05, rtol=1e-4, atol=1e-4
    )
    limit = upper_limit(model, data)
    assert limit.observed == pytest.approx(float(observed_limit), rel=1e-3)
    np.testing.assert_allclose(limit.expected, [float(e) for e in expected_limits], rtol=1e-3)


def test_a_range_that_ends_before_the_limit_is_said() -> None:
    limit = upper_limit(rate_model(1.5), Data(np.array([80.0, 70.0, 40.0]), (np.zeros(1),)))
    assert limit.observed is None
    assert "widen the range" in limit.verdict
    assert "nan" not in str(limit).lower()


@pytest.mark.slow
def test_an_experiment_without_sensitivity_says_so() -> None:
    """The background floats freely: one bin cannot tell signal from it, and no value is excluded."""
    own = Nuisance("rate", 1.0, (0.1, 3.0), (0.1, 3.0), (0.1, 3.0), kind="norm")
    model = Model.from_templates(
        signal_strength(0.0, 5.0),
        (own,),
        (),
        np.array([[10.0], [100.0]]),
        normalisations=(Normalisation("rate", ("background",)),),
    )
    found = cls(model, asimov(model, 1.0, {}), [1.0, 2.0])
    np.testing.assert_allclose(found.observed, 1.0, atol=1e-3)
    assert "NOT converged" in found.verdict or "cannot tell" in found.verdict
    assert "nan" not in str(found).lower()


def test_bad_requests_are_refused() -> None:
    data = counts(50.0)
    with pytest.raises(FitError, match="give values from 0 to 10"):
        q_mu_tilde(counting(), data, -1.0)
    with pytest.raises(FitError, match="give values from 0 to 10"):
        cls(counting(), data[0], 11.0)
    with pytest.raises(FitError, match="must hold 0"):
        q0(counting(0.5, 10.0), data)
    with pytest.raises(FitError, match="between 0 and 1"):
        upper_limit(counting(), data[0], level=95)
    with pytest.raises(FitError, match="stacked"):
        cls(counting(), data, 1.0)
    with pytest.raises(FitError, match="unknown parameter of interest"):
        q0(counting(), data, "sigma")


def test_a_limit_does_not_depend_on_the_range_of_the_parameter() -> None:
    limits = []
    for high in (10.0, 1e5, 1e7):
        model = Model.from_templates(signal_strength(0.0, high), (), (), np.array([[5.0, 3.0], [50.0, 60.0]]))
        limit = upper_limit(model, Data(np.array([52.0, 61.0]), ()))
        assert limit.converged
        limits.append([limit.observed, *limit.expected])
    np.testing.assert_allclose(limits[1:], [limits[0]] * 2, rtol=1e-3)
