"""Hypothesis tests by pseudo-experiments, goodness of fit and post-fit impacts, against exact results and cabinetry."""

import math

import cabinetry
import numpy as np
import pyhf
import pytest
from scipy.stats import chi2, poisson

from systwise.errors import FitError
from systwise.fit import (
    Model,
    asimov,
    cls,
    fit,
    goodness_of_fit,
    histfactory_data,
    histfactory_model,
    impacts,
    postfit_impacts,
    q0,
    upper_limit,
)
from systwise.fit.hypothesis._hypothetical import hypothetical
from systwise.fit.model._best_factors import best_factors
from systwise.parameters import CountsConstraint, GaussianConstraint, Nuisance, signal_strength

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def counting(background: float = 3.0) -> Model:
    """Return one bin with one signal event."""
    return Model.from_templates(signal_strength(0, 20), (), (), np.array([[1.0], [background]]))


def with_nuisance(counts: tuple[float, float] = (60.0, 70.0), signal: float = 1.0) -> Model:
    """Return two bins whose background moves by 10 %."""
    nominal = np.array([[8.0 * signal, 2.0 * signal], counts])
    shapes = np.stack([nominal * [[1.0], [factor]] for factor in (0.9, 1.0, 1.1)])
    return Model.from_templates(signal_strength(-5, 10), [Nuisance("b", width=1)], [GaussianConstraint("b", 1)], shapes)


def workspace(observed: tuple[float, float]) -> dict:
    model = pyhf.simplemodels.uncorrelated_background([10, 11], [50, 52], [3, 7])
    return dict(pyhf.Workspace.build(model, list(observed)))


def test_limit_without_events_is_exact_with_toys_and_doubted_without() -> None:
    model = counting()
    data = model.data([0])
    exact = upper_limit(model, data, calculator="toys")
    assert exact.observed == pytest.approx(-math.log(0.05), abs=1e-3)
    assert exact.error == 0
    asymptotic = upper_limit(model, data)
    assert asymptotic.observed == pytest.approx(2.57, abs=5e-3)
    assert "only about 3 events count" in asymptotic.verdict
    assert "calculator='toys'" in cls(model, data, 2.0).verdict


@pytest.mark.parametrize(("background", "doubted"), [(3.0, True), (19.0, True), (21.0, False), (1000.0, False)])
def test_asymptotics_are_doubted_below_twenty_events(background: float, doubted: bool) -> None:
    model = counting(background)
    data = model.data([background])
    assert ("events count" in q0(model, data).verdict) is doubted


@pytest.mark.parametrize("count", [0, 2, 5, 12])
def test_cls_of_a_counting_experiment_is_the_ratio_of_poisson_sums(count: int) -> None:
    model = counting()
    values = np.array([1.0, 4.0, 9.0])
    found = cls(model, model.data([count]), values, calculator="toys")
    # Above a count of b + mu q-tilde is zero, which every outcome reaches.
    exact = [poisson.cdf(count, 3 + mu) / poisson.cdf(count, 3) if count < 3 + mu else 1.0 for mu in values]
    np.testing.assert_allclose(found.observed, exact, rtol=1e-9)
    assert found.converged


@pytest.mark.parametrize("count", [4, 8, 15])
def test_discovery_of_a_counting_experiment_is_a_poisson_sum(count: int) -> None:
    model = counting()
    found = q0(model, model.data([count]), calculator="toys")
    assert float(found.p_value) == pytest.approx(poisson.sf(count - 1, 3), rel=1e-6)


def test_toys_agree_with_the_asymptotic_forms_where_events_are_many() -> None:
    model = with_nuisance((600.0, 700.0))
    data = model.data([640, 705])
    toys, formula = (cls(model, data, 9.0, calculator=kind) for kind in ("toys", "asymptotic"))
    assert toys.error is not None
    assert 0 < toys.error[0] < 0.05
    assert abs(toys.observed[0] - formula.observed[0]) < 4 * toys.error[0] + 0.02
    np.testing.assert_allclose(toys.expected[1:4, 0], formula.expected[1:4, 0], atol=0.06)
    drawn, known = q0(model, data, calculator="toys", toys=2000), q0(model, data)
    assert drawn.tail is not None
    assert abs(float(drawn.p_value) - float(known.p_value)) < 4 * drawn.tail.error + 0.01


def test_a_p_value_of_no_pseudo_experiment_is_said_to_be_a_bound() -> None:
    model = with_nuisance()
    found = q0(model, model.data([250, 120]), calculator="toys", toys=200)
    assert float(found.p_value) == 0
    assert "take more of them" in found.verdict


def test_goodness_of_fit_is_that_of_cabinetry() -> None:
    spec = workspace((45, 70))
    model = histfactory_model(spec)
    found = goodness_of_fit(model, histfactory_data(spec, model))
    theirs = pyhf.Workspace(spec)
    reference = cabinetry.fit.fit(theirs.model(), theirs.data(theirs.model()), goodness_of_fit=True)
    # Its minimiser stops 1e-4 above the minimum.
    assert found.p_asymptotic == pytest.approx(reference.goodness_of_fit, rel=1e-4)
    assert found.p_asymptotic >= reference.goodness_of_fit
    assert found.degrees == 1


def test_goodness_of_fit_in_closed_form_and_with_toys() -> None:
    # No signal shape fits both: the background is known, and mu sits where the sum of both slopes vanishes.
    model = Model.from_templates(signal_strength(-50, 50), (), (), np.array([[10.0, 10.0], [200.0, 200.0]]))
    data = model.data([180, 240])
    found = goodness_of_fit(model, data, toys=2000, seed=3)
    nu, n = 210.0, np.array([180.0, 240.0])
    assert found.statistic == pytest.approx(2 * float(np.sum(n * np.log(n / nu))), rel=1e-9)
    assert found.p_asymptotic == pytest.approx(chi2.sf(found.statistic, 1), rel=1e-9)
    assert found.p_toys is not None
    assert found.p_error is not None
    assert abs(found.p_toys - chi2.sf(found.statistic, 1)) < 4 * found.p_error
    assert found.p_value == found.p_toys


def test_perfect_data_fit_perfectly_whatever_their_auxiliary_histogram() -> None:
    nuisance = Nuisance("b", width=1)
    auxiliary = CountsConstraint("b", lambda z: 50 * np.array([1.0, 2.0]) * (1 + 0.1 * z))
    nominal = np.array([[8.0, 2.0], [60.0, 70.0]])
    shapes = np.stack([nominal * [[1.0], [factor]] for factor in (0.9, 1.0, 1.1)])
    model = Model.from_templates(signal_strength(), [nuisance], [auxiliary], shapes)
    found = goodness_of_fit(model, asimov(model, 1.0, 0.5))
    assert found.statistic == pytest.approx(0, abs=1e-6)
    assert found.degrees == 1


def test_goodness_of_fit_says_what_it_cannot_know() -> None:
    model = counting(1.0)
    found = goodness_of_fit(model, model.data([2]))
    assert found.p_value is None
    assert "no degree of freedom" in found.verdict
    assert "ask for toys" in found.verdict
    assert "untested" in str(found)


def test_postfit_impacts_of_a_linear_model_are_covariances() -> None:
    model = with_nuisance((6000.0, 7000.0), 100.0)
    data = asimov(model, 1.0, 0.0)
    found = postfit_impacts(model, data)
    covariance = found.result.covariance
    expected = covariance[0, 1] / math.sqrt(covariance[1, 1])
    assert found["b"].up == pytest.approx(expected, rel=2e-2)
    assert found["b"].down == pytest.approx(-expected, rel=2e-2)
    assert found.result.correlation[0, 1] == pytest.approx(expected / math.sqrt(covariance[0, 0]), rel=2e-2)
    # The nuisance is measured by the data as well: its auxiliary observation alone moves mu less.
    assert abs(impacts(model, data)["b"].size) < abs(expected)


def test_postfit_impacts_are_the_fits_with_the_nuisance_held() -> None:
    spec = workspace((58, 70))
    model = histfactory_model(spec)
    data = histfactory_data(spec, model)
    found = postfit_impacts(model, data)
    for row in found.rows:
        at, width = found.result.estimates[row.nuisance], found.result.nuisance_sigma[row.nuisance]
        assert width is not None
        assert row.up is not None
        again = fit(model, data, fixed={row.nuisance: at + width})
        assert row.up == pytest.approx(again.estimate - found.result.estimate, abs=1e-6)


def test_pseudo_experiments_have_the_simulation_factors_that_the_data_prefer() -> None:
    templates = np.array([[10.0, 30.0], [100.0, 100.0]])
    model = Model.from_templates(signal_strength(), (), (), templates, variances=0.04 * templates**2)
    data = model.data([150, 100])
    drawn = hypothetical(model, data, {"mu": 0.0}, 4000, 1).data
    factors = best_factors(model, data, {"mu": 0.0})
    assert factors[0] > 1.3
    assert drawn.simulated is not None
    np.testing.assert_allclose(drawn.simulated.mean(axis=0), factors, atol=4 * 0.2 / math.sqrt(4000))
    np.testing.assert_allclose(drawn.counts.mean(axis=0), 100 * factors, atol=4 * 12 / math.sqrt(4000))


@pytest.mark.parametrize("test", [q0, upper_limit, lambda *a, **k: cls(*a, 1.0, **k)])
def test_what_toys_cannot_do_is_refused(test) -> None:
    model = counting()
    with pytest.raises(FitError, match="unknown calculator 'toy'"):
        test(model, model.data([3]), calculator="toy")
    with pytest.raises(FitError, match="50 pseudo-experiments say nothing"):
        test(model, model.data([3]), calculator="toys", toys=50)
    with pytest.raises(FitError, match="2 stacked data sets"):
        test(model, model.data([[3], [4]]), calculator="toys")
