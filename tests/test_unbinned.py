"""The unbinned extended likelihood against exact densities, another minimiser and finite differences."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from iminuit import Minuit
from scipy.optimize import minimize_scalar

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import ConfigError, DataError, FitError, TemplateError
from systwise.fit import (
    UnbinnedData,
    UnbinnedModel,
    fit,
    fit_log_ratios,
    fit_many,
    unbinned_nll,
)
from systwise.fit.inference._unbinned import unbinned_derivatives
from systwise.parameters import (
    ChebyshevBasis,
    Components,
    CorrelatedGaussian,
    GaussianConstraint,
    Normalisation,
    Nuisance,
    chebyshev_basis,
    signal_strength,
)

NOISE = 0.7
CASE = GaussianToy(GaussianToySettings())
ANGLE = CASE.nuisances[0]
MODEL = UnbinnedModel.from_yields(
    CASE.components, CASE.nuisances, CASE.constraints, np.tile([500.0, 50_000.0], (len(ANGLE.anchors), 1))
)
BASIS = chebyshev_basis([ANGLE.range], 10)


def polynomial(function, basis: ChebyshevBasis, count: int = 24) -> np.ndarray:
    """Return coefficients `[event, component, term]` of `function(z) -> [event, component]`."""
    nodes = basis.nodes(count)
    with jax.enable_x64(True):
        values = np.asarray(basis(jnp.asarray(nodes)))
    table = np.stack([function(z) for z in nodes])
    solution = np.linalg.lstsq(values, table.reshape(len(nodes), -1), rcond=None)[0]
    return np.moveaxis(solution.reshape(-1, *table.shape[1:]), 0, -1)


def toy_log_ratios(x, z):
    along = (x[:, 0] * np.cos(z[0]) + x[:, 1] * np.sin(z[0])) / NOISE**2
    return np.stack([along, -along], axis=-1)


def toy(seed: int, mu: float, z: float, factor: float = 1.0):
    draw = np.random.default_rng(seed)
    mean = np.array([math.cos(z), math.sin(z)])
    counts = draw.poisson([500 * mu * factor, 50_000 * factor])
    x = [sign * mean + NOISE * draw.standard_normal((n, 2)) for sign, n in zip((1, -1), counts, strict=True)]
    return np.concatenate(x), draw.normal(z, 0.5)


def toy_data(x, centre, dtype=np.float64) -> UnbinnedData:
    coefficients = polynomial(lambda z: toy_log_ratios(x, z), BASIS).astype(dtype)
    return UnbinnedData(coefficients, BASIS, np.ones(len(x)), (np.array([centre]),))


def exact_nll(x, centre):
    def nll(mu, z):
        r = np.exp(toy_log_ratios(x, [z]))
        density = mu * 500 * r[:, 0] + 50_000 * r[:, 1]
        return mu * 500 + 50_000 - np.log(density).sum() + 0.5 * ((z - centre) / 0.5) ** 2

    return nll


@pytest.mark.slow
@pytest.mark.parametrize("angle", [math.pi / 4, math.pi / 2])
def test_the_fit_of_exact_ratios_is_that_of_iminuit(angle):
    """Estimates, intervals and covariance of a direct float64 fit by another minimiser, from a good start."""
    x, centre = toy(3, 1.0, angle)
    result = fit(MODEL, toy_data(x, centre))
    assert result.converged
    nll = exact_nll(x, centre)
    referee = Minuit(nll, 1.0, angle)
    referee.errordef, referee.strategy, referee.tol = Minuit.LIKELIHOOD, 2, 1e-6
    referee.migrad()
    referee.hesse()
    referee.minos("mu")
    assert result.estimate == pytest.approx(referee.values["mu"], abs=1e-5)
    assert result.nuisance_estimate["angle"] == pytest.approx(referee.values["z"], abs=1e-6)
    assert result.sigma_up == pytest.approx(referee.merrors["mu"].upper, rel=2e-3)
    assert result.sigma_down == pytest.approx(-referee.merrors["mu"].lower, rel=2e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(result.covariance)), list(referee.errors), rtol=2e-2)
    # The ends by themselves: the profiled NLL there is higher by just one half.
    for end in result.interval:
        near = result.nuisance_estimate["angle"] + np.array([-0.01, 0.01])
        profiled = minimize_scalar(lambda z, mu=end: nll(mu, z), bounds=near, method="bounded", options={"xatol": 1e-7})
        assert profiled.fun - nll(*result.estimates.values()) == pytest.approx(0.5, abs=2e-5)
    assert unbinned_nll(MODEL, toy_data(x, centre), 1.2, angle) == pytest.approx(nll(1.2, angle), rel=1e-10)


@pytest.mark.slow
def test_the_expected_uncertainty_is_the_cramer_rao_bound():
    """Weighted events on a grid of the plane: an Asimov data set of the exact densities."""
    line = (np.arange(300) + 0.5) / 300 * 10 - 5
    x = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    z = 1.1
    r = np.exp(toy_log_ratios(x, [z]) - 0.5 * ((x**2).sum(axis=1, keepdims=True) + 1) / NOISE**2)
    density = r / r.sum(axis=0)
    data = UnbinnedData(
        polynomial(lambda v: toy_log_ratios(x, v), BASIS), BASIS, density @ [500.0, 50_000.0], (np.array([z]),)
    )
    result = fit(MODEL, data)
    assert result.estimate == pytest.approx(1.0, abs=1e-6)
    assert result.nuisance_estimate["angle"] == pytest.approx(z, abs=1e-6)
    assert result.sigma == pytest.approx(CASE.truth.bound(np.array([1.0]), np.array([z]))[0], rel=1e-2)
    assert result.sigma_stat_only == pytest.approx(result.sigma, rel=1e-3)
    assert result.nuisance_sigma["angle"] == pytest.approx(0.0032, rel=0.02)


# Three nuisances: one of the shapes, one of shapes and yields, one of a yield alone; interference of two couplings.
COUPLINGS = Components(("aa", "ab", "bb"), ("a", "b"), ((2, 0), (1, 1), (0, 2)), (1.0, 1.0), ((0.2, 3.0), (0.2, 3.0)))
NUISANCES = (
    Nuisance("tilt", 0.0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0)),
    Nuisance("lumi", 0.0, (-4.0, 4.0), (-4.0, 4.0), (-4.0, 0.0, 4.0), kind="norm"),
    Nuisance("scale", 0.0, (-2.0, 2.0), (-2.0, 2.0), (-2.0, -1.0, 0.0, 1.0, 2.0)),
)
CONSTRAINTS = (GaussianConstraint("scale", 0.7), GaussianConstraint("lumi", 1.0))


def coupled() -> tuple[UnbinnedModel, UnbinnedData]:
    draw = np.random.default_rng(1)
    yields = [
        np.array([[60.0, 20.0, 30.0]] * 3),
        np.array([60.0, 20.0, 30.0]) * (1 + 0.1 * np.array(NUISANCES[2].anchors))[:, None],
    ]
    lumi = Normalisation("lumi", ("aa", "bb"), "lognormal", up=1.1)
    model = UnbinnedModel.from_yields(COUPLINGS, NUISANCES, CONSTRAINTS, yields, (lumi,))
    basis = chebyshev_basis([n.range for n in NUISANCES], 3, active=(0, 2))
    coefficients = 0.4 * draw.standard_normal((6000, 3, basis.terms))
    weights = draw.uniform(0, 0.04, 6000)
    return model, UnbinnedData(coefficients, basis, weights, (np.zeros(0), np.array([0.3]), np.array([-0.1])))


def test_gradient_and_hessian_are_those_of_finite_differences():
    model, data = coupled()
    x = np.array([1.1, 0.8, 0.2, 0.7, -0.4])
    _, gradient, hessian = unbinned_derivatives(model, data, x[:2], x[2:])
    for i in range(5):
        step = 1e-5 * (np.arange(5) == i)
        up, down = x + step, x - step
        slope = unbinned_nll(model, data, up[:2], up[2:]) - unbinned_nll(model, data, down[:2], down[2:])
        assert gradient[i] == pytest.approx(slope / 2e-5, abs=1e-5)
        slopes = [unbinned_derivatives(model, data, p[:2], p[2:])[1] for p in (up, down)]
        np.testing.assert_allclose(hessian[i], (slopes[0] - slopes[1]) / 2e-5, atol=1e-5)


@pytest.mark.slow
def test_several_parameters_agree_with_iminuit():
    model, data = coupled()
    result = fit(model, data, poi=1)
    assert result.minimum_found
    referee = Minuit(
        lambda v: unbinned_nll(model, data, v[:2], v[2:]), np.array(list(result.estimates.values())) + 0.03
    )
    referee.limits = list(model.ranges)
    referee.errordef, referee.tol = Minuit.LIKELIHOOD, 1e-4
    referee.migrad()
    assert result.nll <= referee.fval + 1e-7
    np.testing.assert_allclose(list(result.estimates.values()), list(referee.values), atol=2e-3)
    referee.minos("x1")
    error = referee.merrors["x1"]
    assert result.sigma_up == pytest.approx(error.upper, rel=0.01)
    assert result.sigma_down == pytest.approx(-error.lower, rel=0.01)


@pytest.mark.slow
def test_a_normalisation_is_exact_and_needs_no_shapes():
    """A counting experiment: events that say nothing about what they are."""
    nuisance = Nuisance("b", 1.0, (0.2, 2.0), (1.0, 1.0), (0.2, 1.0, 2.0), kind="norm")
    model = UnbinnedModel.from_yields(
        signal_strength(-5, 10), (nuisance,), (GaussianConstraint("b", 0.1),), np.array([50.0, 1000.0]),
        (Normalisation("b", ("background",)),),
    )  # fmt: skip
    assert model.expected(2.0, 1.1) == pytest.approx([100.0, 1100.0])
    basis = chebyshev_basis([(0.2, 2.0)], 0)
    data = UnbinnedData(np.zeros((1050, 2, 1)), basis, np.ones(1050), (np.array([1.0]),))
    result = fit(model, data)
    assert result.estimate == pytest.approx(1.0, abs=1e-6)
    assert np.sqrt(result.covariance[0, 0]) == pytest.approx(math.hypot(math.sqrt(1050), 100) / 50, rel=1e-3)
    assert result.sigma_stat_only == pytest.approx(math.sqrt(1050) / 50, rel=1e-3)


def test_a_density_that_turns_negative_is_forbidden():
    """The signal strength may be negative as long as every event's density is positive."""
    model = UnbinnedModel.from_yields(signal_strength(-2, 10), (), (), np.array([100.0, 100.0]))
    basis = ChebyshevBasis(np.zeros(0), np.ones(0), ((),))
    coefficients = np.log(np.array([[0.5, 1.0], [1.5, 1.0]]))[:, :, None]
    data = UnbinnedData(coefficients, basis, np.array([90.0, 60.0]), ())
    assert np.isfinite(unbinned_nll(model, data, -0.6, ()))
    assert unbinned_nll(model, data, -0.7, ()) == math.inf
    assert fit(model, data).estimate == pytest.approx(0.5, abs=0.5)


@pytest.mark.slow
def test_many_data_sets_of_different_size_are_fitted_as_one_by_one():
    data = [toy_data(*toy(seed, 1.0, 1.2, factor), np.float32) for seed, factor in ((1, 0.1), (2, 0.5))]
    model = UnbinnedModel.from_yields(
        CASE.components, CASE.nuisances, CASE.constraints, np.tile([150.0, 15_000.0], (len(ANGLE.anchors), 1))
    )
    many = fit_many(model, data)
    for i, one in enumerate(data):
        alone = fit(model, one)
        assert many.estimate[i] == pytest.approx(alone.estimate, abs=1e-7)
        np.testing.assert_allclose(many.ends[i, :2], alone.interval, atol=1e-6)


@pytest.mark.slow
def test_any_function_is_fitted_through_local_tables():
    """Exact ratios as a function: the result is that of the polynomials which represent them everywhere."""
    x, centre = toy(5, 1.0, 1.3)
    result = fit_log_ratios(MODEL, lambda z: toy_log_ratios(x, z), np.ones(len(x)), (np.array([centre]),))
    exact = fit(MODEL, toy_data(x, centre))
    assert result.converged
    assert result.estimate == pytest.approx(exact.estimate, abs=1e-6)
    assert result.sigma == pytest.approx(exact.sigma, rel=1e-5)


def test_bad_input_is_named():
    basis = chebyshev_basis([(0.0, 1.0)], 1)
    with pytest.raises(DataError, match="not finite"):
        UnbinnedData(np.full((3, 2, 2), np.nan), basis, np.ones(3), ())
    with pytest.raises(DataError, match="are needed"):
        UnbinnedData(np.zeros((3, 2, 4)), basis, np.ones(3), ())
    with pytest.raises(TemplateError, match="shapes"):
        UnbinnedModel.from_yields(CASE.components, CASE.nuisances, (), np.ones((3, 2)))
    with pytest.raises(ConfigError, match="no such nuisance"):
        UnbinnedModel.from_yields(signal_strength(), (), (GaussianConstraint("x", 1.0),), np.ones(2))
    with pytest.raises(DataError, match="auxiliary"):
        fit(MODEL, UnbinnedData(np.zeros((3, 2, 2)), basis, np.ones(3), ()))
    with pytest.raises(FitError, match="no data sets"):
        fit_many(MODEL, [])


def test_a_joint_constraint_without_correlation_is_two_single_ones():
    model, data = coupled()
    joint = UnbinnedModel.from_yields(
        COUPLINGS, NUISANCES, (CorrelatedGaussian(("lumi", "scale"), [[1.0, 0.0], [0.0, 0.49]]),),
        [np.tile([60.0, 20.0, 30.0], (len(NUISANCES[j].anchors), 1)) for j in (0, 2)],
        (Normalisation("lumi", ("aa", "bb"), "lognormal", up=1.1),),
    )  # fmt: skip
    nothing = np.zeros(0)
    moved = dataclasses.replace(data, auxiliary=(nothing, nothing, nothing, np.array([0.3, -0.1])))
    single = dataclasses.replace(joint, constraints=model.constraints, joint=())
    for z in ([0.1, 0.5, -0.3], [0.2, -0.5, 0.6]):
        assert unbinned_nll(joint, moved, [1.1, 0.9], z) == pytest.approx(
            unbinned_nll(single, data, [1.1, 0.9], z), rel=1e-12
        )
