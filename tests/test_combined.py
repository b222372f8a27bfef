"""Regions of different kinds in one likelihood, against one binned model that says the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from systwise.errors import ConfigError, DataError, FitError
from systwise.fit import (
    CombinedModel,
    Model,
    UnbinnedData,
    UnbinnedModel,
    combined,
    fit,
    fit_many,
    profile,
    stack,
)
from systwise.parameters import (
    CorrelatedGaussian,
    GaussianConstraint,
    LogNormalConstraint,
    Normalisation,
    Nuisance,
    chebyshev_basis,
    signal_strength,
)

SIGNAL = np.array([[30.0, 12.0, 4.0], [60.0, 90.0, 150.0]])
CONTROL = np.array([[2.0, 1.0], [400.0, 300.0]])
RATE = Nuisance("rate", 1.0, (0.5, 1.5), (0.8, 1.2), (0.5, 1.0, 1.5))
KNOWN = GaussianConstraint("rate", 0.1)
RATES = [Normalisation("rate", ("background",))]
COUNTS, BESIDE = np.array([98.0, 95.0, 160.0]), np.array([431.0, 322.0])


def binned(templates: np.ndarray) -> Model:
    return Model.from_templates(signal_strength(-5, 10), [RATE], [KNOWN], templates, normalisations=RATES)


def unbinned() -> UnbinnedModel:
    return UnbinnedModel.from_yields(signal_strength(-5, 10), [RATE], [KNOWN], SIGNAL.sum(axis=1), RATES)


def events(counts: np.ndarray, nuisances: int = 1) -> UnbinnedData:
    """Return events whose densities are histograms: unbinned and binned likelihoods differ by a constant."""
    ratios = np.log(SIGNAL / SIGNAL.sum(axis=1, keepdims=True))
    basis = chebyshev_basis([RATE.range] * nuisances, 0)
    rows = np.repeat(ratios.T, counts.astype(int), axis=0)[:, :, None]
    return UnbinnedData(rows, basis, np.ones(len(rows)), (np.array([1.0]),))


def both() -> CombinedModel:
    return combined({"signal": unbinned(), "control": binned(CONTROL)})


@pytest.fixture(scope="module")
def reference():
    whole = binned(np.concatenate([SIGNAL, CONTROL], axis=1))
    return fit(whole, whole.data(np.concatenate([COUNTS, BESIDE])))


def test_events_beside_bins_are_fitted_like_bins_alone(reference) -> None:
    model = both()
    data = model.data({"signal": events(COUNTS), "control": binned(CONTROL).data(BESIDE)})
    found = fit(model, data)
    assert found.converged, found.verdict
    assert found.estimates == pytest.approx(reference.estimates, rel=1e-7)
    assert found.interval == pytest.approx(reference.interval, rel=1e-6)
    assert found.interval_95 == pytest.approx(reference.interval_95, rel=1e-6)
    np.testing.assert_allclose(found.covariance, reference.covariance, rtol=1e-6)
    scan = profile(model, data, np.linspace(0.2, 1.8, 9))
    assert scan.converged.all()
    assert scan.estimate == pytest.approx(found.estimate, rel=1e-4)
    assert dict(found.rows())["observable"] == "several regions (combined)"
    assert repr(model) == "CombinedModel(mu | 1 nuisances | signal (events), control (bins))"


def test_bins_beside_bins_are_one_model(reference) -> None:
    model = combined({"signal": binned(SIGNAL), "control": binned(CONTROL)})
    data = model.data({"signal": binned(SIGNAL).data(COUNTS), "control": binned(CONTROL).data(BESIDE)})
    many = fit_many(model, [data, data], fixed={"rate": np.array([1.0, 1.05])})
    assert many.values[:, 1].tolist() == [1.0, 1.05]
    found = fit(model, data)
    assert found.interval == pytest.approx(reference.interval, rel=1e-6)
    assert found.nll == pytest.approx(reference.nll, rel=1e-9)


def test_a_region_has_parameters_of_its_own() -> None:
    """A second nuisance and parameter of interest live in one region only; the others are found by name."""
    tilt = Nuisance("tilt", width=1)
    factors = np.array([[0.9, 1.1, 1.0], [1.0, 1.0, 1.0], [1.1, 0.9, 1.0]])
    shapes = SIGNAL * factors[:, None]
    own = Model.from_templates(
        dataclasses.replace(signal_strength(0, 10), pois=("kappa",)), [tilt], [GaussianConstraint("tilt", 1)], shapes
    )
    model = combined({"control": binned(CONTROL), "other": own})
    assert model.parameter_names == ("mu", "kappa", "rate", "tilt")
    data = model.data({"control": binned(CONTROL).data(BESIDE), "other": own.data(COUNTS)})
    found = fit(model, data, "kappa")
    alone = fit(own, own.data(COUNTS))
    assert found.interval == pytest.approx(alone.interval, rel=1e-6)
    assert found.estimates["tilt"] == pytest.approx(alone.estimates["tilt"], rel=1e-6)


def test_a_constraint_of_several_nuisances_may_belong_to_one_region() -> None:
    names = ("a", "b")
    factors = np.array(
        [[[0.9, 1.1, 1.0], [1.0, 1.0, 1.0], [1.1, 0.9, 1.0]], [[1.0, 1.0, 0.9], [1.0] * 3, [1.0, 1.0, 1.1]]]
    )
    together = CorrelatedGaussian(names, [[1.0, 0.5], [0.5, 1.0]])
    own = Model.from_templates(
        dataclasses.replace(signal_strength(0, 10), pois=("kappa",)),
        [Nuisance(name, width=1) for name in names],
        [together],
        [SIGNAL * each[:, None] for each in factors],
    )
    model = combined({"control": binned(CONTROL), "other": own})
    data = model.data({"control": binned(CONTROL).data(BESIDE), "other": own.data(COUNTS, {"a, b": [0.3, -0.2]})})
    found, alone = fit(model, data, "kappa"), fit(own, own.data(COUNTS, {"a, b": [0.3, -0.2]}))
    assert found.interval == pytest.approx(alone.interval, rel=1e-6)
    assert found.estimates["b"] == pytest.approx(alone.estimates["b"], rel=1e-6)


def test_what_does_not_fit_together_is_refused() -> None:
    control = binned(CONTROL)
    with pytest.raises(ConfigError, match="no models"):
        combined({})
    other = Model.from_templates(
        signal_strength(-5, 10), [RATE], [LogNormalConstraint("rate", 1.1)], CONTROL, normalisations=RATES
    )
    with pytest.raises(ConfigError, match="'rate' of 'b' has another constraint"):
        combined({"a": control, "b": other})
    narrow = dataclasses.replace(RATE, range=(0.8, 1.2))
    third = Model.from_templates(signal_strength(), [narrow], [KNOWN], CONTROL, normalisations=RATES)
    with pytest.raises(ConfigError, match="another nominal value or range"):
        combined({"a": control, "b": third})
    model = both()
    good = control.data(BESIDE)
    with pytest.raises(DataError, match=r"given for \['control'\] where the regions are"):
        model.data({"control": good})
    with pytest.raises(DataError, match="'signal' are of another kind"):
        model.data({"signal": good, "control": good})
    with pytest.raises(DataError, match="'control' has a stack"):
        model.data({"signal": events(COUNTS), "control": stack([good, good])})
    with pytest.raises(DataError, match="differ in the auxiliary observation of 'rate'"):
        model.data({"signal": events(COUNTS), "control": control.data(BESIDE, {"rate": 1.1})})
    with pytest.raises(FitError, match="no data sets"):
        fit_many(model, [])
