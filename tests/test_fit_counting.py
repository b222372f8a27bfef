"""Fits that pyhf or iminuit can do as well: counting, a rate nuisance, several parameters, and hard ends."""

import math

import numpy as np
import pyhf
import pytest
from iminuit import Minuit
from scipy.optimize import brentq

from systwise.fit import Data, Model, asimov, fit, fit_many, profile, stack
from systwise.parameters import Components, GaussianConstraint, Nuisance, signal_strength

# pyhf 0.7 uses a class that newer jsonschema versions deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

SIGNAL, BACKGROUND = np.array([4.0, 9.0, 6.0]), np.array([60.0, 45.0, 20.0])
OBSERVED = np.array([66.0, 49.0, 31.0])


def pyhf_model(kappa: float | None) -> pyhf.Model:
    modifiers = [] if kappa is None else [{"name": "rate", "type": "normsys", "data": {"hi": kappa, "lo": 1 / kappa}}]
    samples = [
        {"name": "signal", "data": SIGNAL.tolist(), "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": BACKGROUND.tolist(), "modifiers": modifiers},
    ]
    return pyhf.Model(
        {"channels": [{"name": "channel", "samples": samples}]},
        poi_name="mu",
        modifier_settings={"normsys": {"interpcode": "code1"}},
    )


def test_the_likelihood_is_pyhfs_to_1e_10() -> None:
    theirs = pyhf_model(None)
    ours = Model.from_templates(signal_strength(), (), (), np.array([SIGNAL, BACKGROUND]))
    for mu in (0.0, 0.7, 3.0):
        expected = -float(theirs.logpdf([mu], OBSERVED)[0])
        assert ours.nll(mu, (), Data(OBSERVED, ())) == pytest.approx(expected, abs=1e-10)


def rate_model(kappa: float) -> Model:
    """Return the background's rate as kappa^alpha, alpha ~ N(0, 1)."""
    anchors = tuple(np.linspace(-4, 4, 17).tolist())
    nuisance = Nuisance("rate", 0.0, (-4.0, 4.0), (-4.0, 4.0), anchors, kind="norm")
    templates = np.array([[SIGNAL, BACKGROUND * kappa**a] for a in anchors])
    return Model.from_templates(signal_strength(), (nuisance,), (GaussianConstraint("rate", 1.0),), templates)


def test_a_rate_nuisance_is_profiled_as_by_pyhf() -> None:
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    theirs, ours, data = pyhf_model(1.15), rate_model(1.15), Data(OBSERVED, (np.zeros(1),))
    full = [*OBSERVED, 0.0]
    bounds = [(-5.0, 10.0) if name == "mu" else (-4.0, 4.0) for name in theirs.config.par_names]
    best, lowest = pyhf.infer.mle.fit(full, theirs, par_bounds=bounds, return_fitted_val=True)
    result = fit(ours, data)
    poi = theirs.config.poi_index
    assert result.estimate == pytest.approx(float(best[poi]), abs=2e-4)
    assert result.nuisance_estimate["rate"] == pytest.approx(float(best[1 - poi]), abs=2e-4)
    # pyhf keeps the constant of the Gaussian constraint.
    assert result.nll + 0.5 * math.log(2 * math.pi) == pytest.approx(float(lowest) / 2, abs=1e-6)

    def rise(mu: float) -> float:
        fitted = pyhf.infer.mle.fixed_poi_fit(mu, full, theirs, par_bounds=bounds, return_fitted_val=True)
        return 0.5 * float(fitted[1] - lowest)

    for end, level in ((result.interval[0], 0.5), (result.interval[1], 0.5), (result.interval_95[1], 2.0)):
        assert rise(end) == pytest.approx(level, abs=2e-5)


@pytest.fixture(scope="module")
def two_by_two() -> Model:
    """Return two parameters of interest and two nuisances, exact in closed form at every point."""
    components = Components(
        ("first", "second", "background"), ("mu1", "mu2"), ((1, 0), (0, 1), (0, 0)), (1.0, 1.0), ((-5, 10), (-5, 10))
    )
    anchors = tuple(np.linspace(-4, 4, 9).tolist())
    nuisances = [Nuisance(name, 0.0, (-4.0, 4.0), (-4.0, 4.0), anchors) for name in ("tilt", "rate")]
    tilt = [BASE * np.exp(TILT * a) for a in anchors]
    rate = [BASE * np.exp(RATE * a) for a in anchors]
    constraints = [GaussianConstraint("rate", 1.0), GaussianConstraint("tilt", 1.0)]
    return Model.from_templates(components, nuisances, constraints, [np.array(tilt), np.array(rate)])


BASE = np.array([[30.0, 10.0, 3.0, 1.0], [2.0, 8.0, 25.0, 9.0], [80.0, 60.0, 50.0, 40.0]])
TILT = 0.03 * np.array([-2.0, -1.0, 1.0, 2.0])
RATE = np.array([[0.0], [0.0], [0.08]])


@pytest.mark.parametrize("poi", ["mu2", pytest.param("mu1", marks=pytest.mark.slow)])
def test_several_parameters_and_nuisances_agree_with_iminuit(two_by_two: Model, poi: str) -> None:
    n = np.array([125.0, 70.0, 92.0, 41.0])
    auxiliary = (np.array([0.3]), np.array([-0.2]))

    def nll(mu1: float, mu2: float, tilt: float, rate: float) -> float:
        nu = np.array([mu1, mu2, 1.0]) @ (BASE * np.exp(TILT * tilt + RATE * rate))
        return float(np.sum(nu - n * np.log(nu)) + 0.5 * (tilt - 0.3) ** 2 + 0.5 * (rate + 0.2) ** 2)

    referee = Minuit(nll, 1.0, 1.0, 0.0, 0.0)
    referee.errordef, referee.tol, referee.strategy = Minuit.LIKELIHOOD, 1e-4, 2
    referee.migrad()
    referee.hesse()
    referee.minos(poi)
    result = fit(two_by_two, Data(n, auxiliary), poi=poi)
    assert result.converged, result.verdict
    np.testing.assert_allclose(list(result.estimates.values()), list(referee.values), atol=2e-3)
    np.testing.assert_allclose(result.covariance, np.array(referee.covariance), rtol=2e-2, atol=2e-4)
    assert result.sigma_up == pytest.approx(referee.merrors[poi].upper, rel=5e-3)
    assert result.sigma_down == pytest.approx(-referee.merrors[poi].lower, rel=5e-3)
    assert result.sigma_stat_only < result.sigma


@pytest.mark.slow
def test_a_profile_over_another_parameter_of_interest_ends_where_the_fit_says(two_by_two: Model) -> None:
    data = Data(np.array([125.0, 70.0, 92.0, 41.0]), (np.array([0.3]), np.array([-0.2])))
    result = fit(two_by_two, data, poi="mu1")
    curve = profile(two_by_two, data, result.interval, poi="mu1")
    assert curve.converged.all()
    np.testing.assert_allclose(curve.nll - result.nll, 0.5, atol=1e-6)


@pytest.mark.slow
def test_couplings_with_powers_find_a_minimum_far_from_the_start() -> None:
    components = Components(("tt", "gg", "other"), ("ct", "cg"), ((2, 0), (0, 2), (0, 0)), (1.0, 1.0), ((0, 4), (0, 4)))
    templates = np.array([[90.0, 30.0, 10.0], [5.0, 40.0, 70.0], [50.0, 50.0, 50.0]])
    model = Model.from_templates(components, (), (), templates)
    result = fit(model, asimov(model, [2.5, 0.4], ()), poi="ct")
    assert result.converged, result.verdict
    assert result.estimates["ct"] == pytest.approx(2.5, abs=1e-5)
    assert result.estimates["cg"] == pytest.approx(0.4, abs=1e-4)


# Fits of one shape share one compiled function: a second bin that says nothing of the signal fills it.
ONE_BIN = np.array([[10.0, 0.0], [20.0, 30.0]])


def test_a_single_count_has_the_textbook_interval() -> None:
    model = Model.from_templates(signal_strength(-5, 10), (), (), ONE_BIN)
    result = fit(model, Data(np.array([35.0, 30.0]), ()))
    assert result.estimate == pytest.approx(1.5, abs=1e-8)

    def rise(nu: float) -> float:
        return nu - 35 - 35 * math.log(nu / 35)

    for level, ends in ((0.5, result.interval), (2.0, result.interval_95)):
        low = brentq(lambda nu, level=level: rise(nu) - level, 5, 35)
        high = brentq(lambda nu, level=level: rise(nu) - level, 35, 100)
        np.testing.assert_allclose(ends, [(low - 20) / 10, (high - 20) / 10], atol=1e-7)
    assert result.sigma_down == pytest.approx(1.5 - result.interval[0])
    assert result.covariance[0, 0] == pytest.approx(35 / 100)
    assert result.gradient_norm < 1e-4


def test_an_end_outside_the_range_is_none_with_a_reason() -> None:
    model = Model.from_templates(signal_strength(1.0, 9.0), (), (), ONE_BIN)
    result = fit(model, Data(np.array([35.0, 30.0]), ()))
    assert result.interval[0] is None
    assert result.sigma is None
    assert result.sigma_down is None
    assert result.sigma_up == pytest.approx(0.6, abs=0.05)
    assert "no lower end" in result.verdict
    assert "mu = 1 " in result.verdict
    assert "?" in str(result)


def test_counts_that_would_turn_negative_end_the_fit_with_a_reason() -> None:
    model = Model.from_templates(signal_strength(), (), (), np.array([[5.0, 10.0], [5.0, 0.5]]))
    result = fit(model, Data(np.array([5.0, 0.0]), ()))
    assert result.estimate == pytest.approx(-0.05, abs=1e-3)
    assert not result.converged
    assert "driven to zero" in result.verdict
    assert result.interval[0] is None
    assert result.interval[1] > 0


@pytest.mark.slow
def test_an_unconstrained_flat_nuisance_is_not_called_converged() -> None:
    nuisance = Nuisance("useless", 0.0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0))
    model = Model.from_templates(signal_strength(), (nuisance,), (), np.array([[SIGNAL, BACKGROUND]] * 3))
    result = fit(model, Data(OBSERVED, (np.zeros(0),)))
    assert not result.positive_hessian
    assert not result.converged
    assert "constrains" in result.verdict


@pytest.mark.slow
def test_stacks_of_counting_experiments_and_negative_strengths() -> None:
    model = Model.from_templates(signal_strength(-5, 10), (), (), ONE_BIN)
    results = fit_many(model, stack([Data(np.array([n, 30.0]), ()) for n in (12.0, 20.0, 41.0)]))
    np.testing.assert_allclose(results.estimate, [-0.8, 0.0, 2.1], atol=1e-7)
    assert results.converged.all()
    assert results.sigma.dtype == np.float64
