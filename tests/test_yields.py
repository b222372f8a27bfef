"""Yields before and after a fit with their uncertainties, against cabinetry and against exact results."""

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from systwise.errors import ConfigError, FitError
from systwise.fit import (
    Model,
    asimov,
    fit,
    histfactory_data,
    histfactory_model,
    postfit_yields,
    prefit_yields,
    stack,
)
from systwise.parameters import GaussianConstraint, Nuisance, signal_strength

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

TILT = {"name": "tilt", "type": "normsys", "data": {"hi": 0.95, "lo": 1.05}}
WORKSPACE = {
    "channels": [
        {
            "name": "signal",
            "samples": [
                {
                    "name": "s",
                    "data": [8.0, 12.0, 5.0],
                    "modifiers": [
                        {"name": "mu", "type": "normfactor", "data": None},
                        {"name": "rate", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
                    ],
                },
                {
                    "name": "b",
                    "data": [50.0, 52.0, 40.0],
                    "modifiers": [
                        TILT,
                        {"name": "simulated", "type": "staterror", "data": [4.0, 5.0, 3.0]},
                        {"name": "bins", "type": "shapesys", "data": [2.0, 0.0, 3.0]},
                    ],
                },
            ],
        },
        {
            "name": "control",
            "samples": [
                {
                    "name": "b",
                    "data": [100.0, 120.0],
                    "modifiers": [TILT, {"name": "simulated2", "type": "staterror", "data": [5.0, 5.0]}],
                }
            ],
        },
    ],
    "observations": [{"name": "signal", "data": [65.0, 70.0, 41.0]}, {"name": "control", "data": [108.0, 117.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}


def cabinetry_fit(model: pyhf.Model, data: list[float]) -> cabinetry.fit.FitResults:
    """Return pyhf's minimum with the exact inverse Hessian: minuit's numerical one is 0.6 % off here."""
    # pyhf's jax backend does so itself, but only the first time.
    jax.config.update("jax_enable_x64", True)
    pyhf.set_backend("jax", "scipy")
    try:
        best = np.asarray(pyhf.infer.mle.fit(data, model))
        hessian = jax.hessian(lambda x: -model.logpdf(x, jnp.asarray(data))[0])(jnp.asarray(best))
    finally:
        pyhf.set_backend("numpy", "scipy")
        jax.config.update("jax_enable_x64", False)
    hessian = np.asarray(hessian)
    free = np.flatnonzero(~np.array(model.config.suggested_fixed()))
    covariance = np.zeros(hessian.shape)
    covariance[np.ix_(free, free)] = np.linalg.inv(hessian[np.ix_(free, free)])
    widths = np.sqrt(np.diag(covariance))
    product = np.outer(widths, widths)
    correlation = np.divide(covariance, product, out=np.eye(len(best)), where=product > 0)
    return cabinetry.fit.FitResults(best, widths, model.config.par_names, correlation, 0.0)


@pytest.mark.parametrize("fitted", [False, True])
def test_yields_and_their_uncertainties_are_cabinetrys(fitted: bool) -> None:
    """Prefit to rounding; after the fit to what pyhf's minimum is good for."""
    model = histfactory_model(WORKSPACE, normsys="code4")
    found = postfit_yields(model, histfactory_data(WORKSPACE, model)) if fitted else prefit_yields(model)
    theirs, data = cabinetry.model_utils.model_and_data(WORKSPACE)
    reference = cabinetry.model_utils.prediction(theirs, fit_results=cabinetry_fit(theirs, data) if fitted else None)
    close = {"rtol": 3e-4} if fitted else {"rtol": 1e-9}
    assert list(found.regions) == ["signal", "control"]
    assert found.samples == ("s", "b")
    for column, (name, bins) in enumerate(found.regions.items()):
        channel = theirs.config.channels.index(name)
        own = [k for k, sample in enumerate(theirs.config.samples) if sample in found.samples]
        rows = [found.samples.index(theirs.config.samples[k]) for k in own]
        yields = np.array(reference.model_yields[channel])[own]
        errors = np.array([reference.total_stdev_model_bins[channel][k] for k in [*own, -1]])
        sums = np.array([reference.total_stdev_model_channels[channel][k] for k in [*own, -1]])
        np.testing.assert_allclose(found.expected[rows, bins], yields, **close)
        np.testing.assert_allclose(found.total[bins], yields.sum(axis=0), **close)
        np.testing.assert_allclose(np.vstack([found.error[rows, bins], found.total_error[bins]]), errors, **close)
        np.testing.assert_allclose([*found.region_error[rows, column], found.region_total_error[column]], sums, **close)
        np.testing.assert_allclose(found.region_expected[rows, column], yields.sum(axis=1), **close)
    np.testing.assert_allclose(np.sqrt(np.diag(found.total_covariance)), found.total_error)


def exact() -> Model:
    """Return one signal bin and one control bin whose backgrounds have a common free scale."""
    nominal = np.array([[10.0, 0.0], [50.0, 200.0]])
    shapes = np.stack([nominal * [[1.0], [f]] for f in (0.5, 1.0, 1.5)])
    scale = Nuisance("scale", 1.0, (0.5, 1.5), (0.1, 3.0), (0.5, 1.0, 1.5))
    return Model.from_templates(signal_strength(-5, 10), [scale], (), shapes, regions={"signal": 1, "control": 1})


def test_as_many_parameters_as_bins_give_the_counts_and_their_poisson_errors() -> None:
    model = exact()
    found = postfit_yields(model, model.data([64.0, 180.0]))
    np.testing.assert_allclose(found.total, [64.0, 180.0], rtol=1e-6)
    np.testing.assert_allclose(found.total_error, np.sqrt([64.0, 180.0]), rtol=1e-3)
    np.testing.assert_allclose(found.total_covariance[0, 1], 0.0, atol=0.1)
    # The control region alone says what the background is.
    np.testing.assert_allclose(found.expected[1, 0], 45.0, rtol=1e-6)
    np.testing.assert_allclose(found.error[1, 0], 45.0 / np.sqrt(180.0), rtol=1e-3)
    np.testing.assert_allclose(found.error[0, 0], np.sqrt(64 + 45.0**2 / 180), rtol=1e-3)
    assert "data" in str(found)
    assert "signal" in found._repr_html_()


def test_a_region_without_a_sample_has_a_dash_and_a_free_nuisance_no_width_before_the_fit() -> None:
    found = prefit_yields(exact())
    assert found.cells()[0] == ("signal", "10.0 +- 0.0", "-")
    assert np.all(found.total_error == 0)
    assert found.observed is None


def test_a_parameter_at_an_end_of_its_range_is_said_and_a_failed_fit_has_no_number() -> None:
    shapes = np.array([[[5.0], [50.0]], [[5.0], [60.0]], [[5.0], [70.0]]])
    model = Model.from_templates(signal_strength(0, 3), [Nuisance("b", width=1)], [GaussianConstraint("b", 1)], shapes)
    bounded = postfit_yields(model, model.data([20.0]))
    assert not bounded.converged
    assert "boundary" in bounded.verdict
    twins = [Nuisance(name, width=1) for name in ("b", "c")]
    same = Model.from_templates(signal_strength(0, 3), twins, (), [shapes, shapes])
    failed = postfit_yields(same, same.data([70.0]))
    assert not failed.converged
    assert failed.cells()[0][1] == "-"
    assert np.all(np.isnan(failed.total_error))


def test_simulation_factors_follow_the_fit() -> None:
    """One bin, signal fixed by nothing else: with mu free the total is the count whatever the simulation."""
    model = Model.from_templates(
        signal_strength(-5, 10), (), (), np.array([[10.0], [50.0]]), variances=np.array([[1.0], [25.0]])
    )
    found = postfit_yields(model, model.data([70.0]))
    assert found.total[0] == pytest.approx(70.0, rel=1e-6)
    assert found.total_error[0] == pytest.approx(np.sqrt(70.0), rel=0.02)
    assert fit(model, model.data([70.0])).converged


def test_what_does_not_match_is_refused() -> None:
    model = exact()
    with pytest.raises(FitError, match="2 stacked data sets"):
        postfit_yields(model, stack([asimov(model, 1.0, {})] * 2))
    with pytest.raises(ConfigError, match="hold 3 bins where there are 2"):
        Model.from_templates(signal_strength(), (), (), np.array([[5.0, 3.0], [50.0, 60.0]]), regions={"a": 1, "b": 2})
