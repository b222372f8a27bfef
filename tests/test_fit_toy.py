"""Fits of the Gaussian toy with exact templates: the reference table, brute force, iminuit, and speed's promises."""

import functools
import math

import jax
import numpy as np
import pytest
from iminuit import Minuit
from scipy.optimize import brentq, minimize_scalar
from scipy.special import gammaln
from scipy.stats import norm

from systwise.errors import FitError
from systwise.fit import (
    Data,
    Model,
    MovingData,
    asimov,
    fit,
    fit_many,
    moving_asimov,
    profile,
    profile_many,
    stack,
)
from systwise.parameters import GaussianConstraint, Nuisance, signal_strength, uniform_anchors

NOMINAL, REACH, NOISE = math.pi / 4, 3 * math.pi / 8, 0.7
SPAN = (NOMINAL - REACH, NOMINAL + REACH)
PAPER_GRID = NOMINAL * np.arange(21) / 10


def contents(true: np.ndarray, hypothesis: np.ndarray | float, bins: int = 10) -> np.ndarray:
    """Return exact contents of uniform bins of the optimal score, `[..., component, bin]`."""
    edges = np.linspace(0, 1, bins + 1)
    with np.errstate(divide="ignore"):
        cuts = 0.5 * NOISE**2 * np.log(edges / (1 - edges))
    mean = np.cos(np.asarray(true) - hypothesis)[..., None]
    signal = 500 * np.diff(norm.cdf(cuts, mean, NOISE))
    background = 5e4 * np.diff(norm.cdf(cuts, -mean, NOISE))
    return np.stack(np.broadcast_arrays(signal, background), axis=-2)


@functools.cache
def toy(
    moving: bool, convention: str = "poisson", span: tuple[float, float] = SPAN, anchors: tuple[float, ...] = ()
) -> Model:
    """Return the toy with the score at the nominal angle, or (moving) at the hypothesised one."""
    anchors = anchors or uniform_anchors(*SPAN, 19)
    nuisance = Nuisance("angle", NOMINAL, span, span, anchors)
    z = np.array(anchors)
    return Model.from_templates(
        signal_strength(),
        (nuisance,),
        (GaussianConstraint("angle", 0.5),),
        contents(z, z if moving else NOMINAL),
        convention,
        moving,
    )


def toy_data(model: Model, true: float, mu: float = 1.0) -> Data:
    """Return Asimov data from exact contents at the true angle."""
    if model.moving:
        return moving_asimov(model, mu, true, contents(true, np.array(model.nuisances[0].anchors)))
    return Data(np.array([mu, 1.0]) @ contents(true, NOMINAL), (np.array([NOMINAL]),))


class BruteForce:
    """The exact profiled NLL, without morph, on a dense grid of angles refined by a parabola."""

    def __init__(self, true: float, moving: bool) -> None:
        self.z = np.linspace(*SPAN, 4001)
        templates = contents(self.z, self.z if moving else NOMINAL)
        self.signal, self.background = templates[:, 0], templates[:, 1]
        self.n = contents(np.full_like(self.z, true), self.z if moving else NOMINAL).sum(axis=1)
        self.terms = gammaln(self.n + 1).sum(axis=1) + 0.5 * ((self.z - NOMINAL) / 0.5) ** 2

    def profile(self, mu: float) -> float:
        nu = mu * self.signal + self.background
        nll = np.sum(nu - self.n * np.log(nu), axis=1) + self.terms
        i = int(np.clip(np.argmin(nll), 1, len(nll) - 2))
        left, here, right = nll[i - 1 : i + 2]
        slope, curvature = 0.5 * (right - left), right - 2 * here + left
        return float(here - 0.5 * slope**2 / curvature) if curvature > 0 else float(here)

    def interval(self, level: float) -> tuple[float, float, float]:
        best = minimize_scalar(self.profile, bounds=(0.5, 1.5), method="bounded", options={"xatol": 1e-7})
        mu, lowest = best.x, best.fun
        low = brentq(lambda x: self.profile(x) - lowest - level, mu - 0.8, mu, xtol=1e-8)
        high = brentq(lambda x: self.profile(x) - lowest - level, mu, mu + 0.8, xtol=1e-8)
        return mu, low, high


@pytest.mark.parametrize(("true", "sigma"), [(math.pi / 4, 0.0902), (math.pi / 2, 0.187)])
def test_baseline_row_of_the_table(true: float, sigma: float) -> None:
    model = toy(moving=False)
    result = fit(model, toy_data(model, true))
    assert result.converged, result.verdict
    assert result.sigma == pytest.approx(sigma, rel=0.01)
    assert result.estimate == pytest.approx(1.0, abs=0.003)


def test_baseline_is_twofold_and_says_so() -> None:
    model = toy(moving=False)
    result = fit(model, toy_data(model, math.pi / 2))
    found = {round(result.nuisance_estimate["angle"], 2), round(result.second_minimum.nuisances["angle"], 2)}
    assert found == {0.0, 1.57}
    assert result.second_minimum.rise == pytest.approx(0.0, abs=1e-6)
    # A local fit from the nominal point ends thousands of units higher.
    assert model.nll(1.0, NOMINAL, toy_data(model, math.pi / 2)) - result.nll > 1000
    assert "second minimum" in str(result)
    assert "converged" in result._repr_html_()


def test_baseline_with_the_papers_range_ends_at_the_true_angle() -> None:
    model = toy(moving=False, span=(0.0, math.pi / 2))
    result = fit(model, toy_data(model, math.pi / 2))
    assert result.sigma == pytest.approx(0.169, rel=0.01)
    assert result.converged, result.verdict


def test_statistics_only_width_is_the_profile_with_fixed_nuisances() -> None:
    model = toy(moving=False)
    result = fit(model, toy_data(model, math.pi / 4))
    assert result.sigma_stat_only == pytest.approx(0.0867, rel=0.01)


@pytest.mark.parametrize(
    ("convention", "at_nominal", "at_half"),
    [
        ("poisson", 0.0895, 0.0915),
        pytest.param("drop", 0.0867, 0.0867, marks=pytest.mark.slow),
        pytest.param("deviance", 0.0902, 0.0917, marks=pytest.mark.slow),
        pytest.param("loggamma", 0.0910, 0.0920, marks=pytest.mark.slow),
    ],
)
def test_aware_rows_of_the_table(convention: str, at_nominal: float, at_half: float) -> None:
    model = toy(True, convention)
    for true, sigma in ((math.pi / 4, at_nominal), (math.pi / 2, at_half)):
        result = fit(model, toy_data(model, true))
        assert result.converged, result.verdict
        assert result.sigma == pytest.approx(sigma, rel=0.01)
        # Where terms in n are kept the angle is biased towards the constraint's centre, and is broad.
        assert abs(result.nuisance_estimate["angle"] - true) < result.nuisance_sigma["angle"]


@pytest.mark.parametrize(
    ("moving", "convention", "at_nominal", "at_half"),
    [
        (False, "poisson", 0.0873, 0.1507),
        pytest.param(True, "loggamma", 0.0886, 0.0982, marks=pytest.mark.slow),
    ],
)
def test_the_papers_own_grid(moving: bool, convention: str, at_nominal: float, at_half: float) -> None:
    model = toy(moving, convention, span=(0.0, math.pi / 2), anchors=tuple(PAPER_GRID.tolist()))
    for true, sigma in ((math.pi / 4, at_nominal), (math.pi / 2, at_half)):
        result = fit(model, toy_data(model, true), grid=PAPER_GRID)
        assert result.sigma == pytest.approx(sigma, rel=0.01)
        assert any(np.isclose(result.nuisance_estimate["angle"], PAPER_GRID))
        assert "grid" in result.verdict


@pytest.mark.parametrize(
    ("bins", "sigma"),
    [
        pytest.param(10, 0.0867, marks=pytest.mark.slow),
        pytest.param(30, 0.0737, marks=pytest.mark.slow),
        pytest.param(50, 0.0708, marks=pytest.mark.slow),
        pytest.param(200, 0.0679, marks=pytest.mark.slow),
    ],
)
def test_statistics_only_rows_of_the_table(bins: int, sigma: float) -> None:
    model = Model.from_templates(signal_strength(), (), (), contents(NOMINAL, NOMINAL, bins))
    result = fit(model, asimov(model, 1.0, ()))
    assert result.sigma == pytest.approx(sigma, rel=0.01)
    assert result.sigma_stat_only == pytest.approx(result.sigma, rel=1e-6)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("true", [math.pi / 4, 1.1, math.pi / 2])
def test_brute_force_with_exact_templates_agrees(moving: bool, true: float) -> None:
    model, reference = toy(moving), BruteForce(true, moving)
    result = fit(model, toy_data(model, true))
    assert result.converged, result.verdict
    mu, low, high = reference.interval(0.5)
    np.testing.assert_allclose([result.estimate, *result.interval], [mu, low, high], atol=1e-4)
    _, low, high = reference.interval(2.0)
    np.testing.assert_allclose(result.interval_95, [low, high], atol=2e-4)


@pytest.mark.parametrize("moving", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_profiled_curve_is_the_brute_force_one(moving: bool) -> None:
    values = np.linspace(0.6, 1.5, 50)
    for true in (math.pi / 4, 1.1, math.pi / 2):
        curve, reference = profile(toy(moving), toy_data(toy(moving), true), values), BruteForce(true, moving)
        assert curve.converged.all()
        exact = np.array([reference.profile(v) for v in values[::7]])
        np.testing.assert_allclose(curve.nll[::7] - curve.nll[21], exact - exact[3], atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [False, True])
def test_halving_the_spacing_of_the_anchors_changes_nothing(moving: bool) -> None:
    dense = toy(moving, anchors=uniform_anchors(*SPAN, 37))
    for true in (math.pi / 4, 1.1, math.pi / 2):
        coarse_fit = fit(toy(moving), toy_data(toy(moving), true))
        dense_fit = fit(dense, toy_data(dense, true))
        assert dense_fit.sigma == pytest.approx(coarse_fit.sigma, rel=1e-3)
        assert dense_fit.estimate == pytest.approx(coarse_fit.estimate, abs=1e-3 * dense_fit.sigma)


def test_iminuit_agrees_where_it_starts_in_the_right_valley() -> None:
    model = toy(moving=False)
    data = toy_data(model, math.pi / 2)
    result = fit(model, data)

    def nll(mu: float, z: float) -> float:
        nu = mu * contents(z, NOMINAL)[0] + contents(z, NOMINAL)[1]
        # Relative to the saturated model: numerical derivatives need small numbers.
        saturated = np.sum(nu - data.counts - data.counts * np.log1p((nu - data.counts) / data.counts))
        return float(saturated + 0.5 * ((z - NOMINAL) / 0.5) ** 2)

    referee = Minuit(nll, mu=result.estimate + 0.02, z=result.nuisance_estimate["angle"] + 0.001)
    referee.errordef, referee.tol, referee.strategy = Minuit.LIKELIHOOD, 1e-3, 2
    referee.migrad()
    referee.hesse()
    assert referee.valid
    # Migrad stops 1e-6 above the minimum, which is 0.0014 standard deviations.
    assert result.estimate == pytest.approx(referee.values["mu"], abs=5e-3 * result.sigma)
    np.testing.assert_allclose(result.covariance, np.array(referee.covariance), rtol=5e-3)
    assert result.nuisance_sigma["angle"] == pytest.approx(referee.errors["z"], rel=5e-3)


def test_profile_finds_the_same_curve_as_fits_and_its_slope() -> None:
    model = toy(moving=False)
    data = toy_data(model, math.pi / 2)
    curve, result = profile(model, data, np.arange(50) / 10), fit(model, data)
    assert curve.converged.all()
    assert not curve.at_boundary.any()
    lower, upper = curve.interval()
    np.testing.assert_allclose([curve.estimate, lower, upper], [result.estimate, *result.interval], atol=2e-5)
    np.testing.assert_allclose(np.ravel(curve.interval(2.0)), result.interval_95, atol=1e-4)
    near = profile(model, data, 1.2 + np.array([-1e-4, 1e-4] * 25))
    slope = (near.nll[1] - near.nll[0]) / 2e-4
    assert curve.slope[12] == pytest.approx(slope, rel=1e-3)
    assert np.isnan(profile(model, data, 2.0 + np.arange(50) / 10).estimate)


def pseudo_data(model: Model, true: float, count: int) -> Data:
    counts = np.random.default_rng(5).poisson(toy_data(model, true).counts, size=(count, 10)).astype(float)
    return Data(counts, (np.random.default_rng(6).normal(true, 0.5, size=(count, 1)),))


@pytest.mark.parametrize(("true", "count"), [(math.pi / 2, 6), pytest.param(math.pi / 4, 100, marks=pytest.mark.slow)])
def test_many_fits_give_what_each_gives_alone(true: float, count: int) -> None:
    model = toy(moving=False)
    many = pseudo_data(model, true, count)
    fits = fit_many(model, many)
    assert fits.converged.all()
    assert len(fits) == count
    for i in (0, count // 2, count - 1):
        alone = fit(model, many[i])
        assert fits.estimate[i] == pytest.approx(alone.estimate, abs=1e-6)
        np.testing.assert_allclose(fits.interval[i], alone.interval, atol=1e-6)
        assert fits[i].sigma_stat_only == pytest.approx(alone.sigma_stat_only, abs=1e-6)


@pytest.mark.parametrize("true", [math.pi / 2, math.pi / 4])
def test_many_profiles_give_what_each_gives_alone(true: float) -> None:
    model, values = toy(moving=False), np.arange(50) / 10
    many = pseudo_data(model, true, 70)
    curves = profile_many(model, many, values)
    assert curves.converged.all()
    for i in (0, 41, 69):
        np.testing.assert_allclose(curves.nll[i], profile(model, many[i], values).nll, atol=1e-7)
        # Where two minima merge the curve has a corner, which no cubic follows closely.
        assert curves.estimate[i] == pytest.approx(fit(model, many[i]).estimate, abs=1e-4 if true > 1 else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [False, True])
def test_pseudo_experiments_show_the_tables_means_and_widths(moving: bool) -> None:
    model, true = toy(moving), math.pi / 2
    generator = np.random.default_rng(7)
    # One multinomial truth for all hypotheses: drawn events keep their place in the plane.
    z = np.array(model.nuisances[0].anchors)
    counts = []
    for _ in range(200):
        events = [
            generator.normal([s * math.cos(true), s * math.sin(true)], NOISE, size=(generator.poisson(size), 2))
            for s, size in ((1, 500), (-1, 50_000))
        ]
        along = (
            np.concatenate(events) @ np.array([np.cos(z), np.sin(z)])
            if moving
            else (np.concatenate(events) @ np.array([[math.cos(NOMINAL)], [math.sin(NOMINAL)]]))
        )
        score = 1 / (1 + np.exp(-2 * along / NOISE**2))
        counts.append([np.histogram(column, 10, (0, 1))[0] for column in score.T])
    centres = generator.normal(true, 0.5, size=(200, 1))
    drawn = np.array(counts, float)
    fits = fit_many(model, MovingData((drawn,), (centres,)) if moving else Data(drawn[:, 0], (centres,)))
    assert fits.converged.mean() > 0.99
    mean, width = (1.020, 0.092) if moving else (1.001, 0.186)
    error = fits.estimate.std() / math.sqrt(len(fits))
    assert abs(fits.estimate.mean() - mean) < 3 * error
    assert np.nanmean(fits.sigma) == pytest.approx(width, rel=0.02)
    assert 0.57 < np.mean(np.abs(fits.estimate - 1) < fits.sigma) < 0.79


def test_new_templates_and_data_do_not_compile_again() -> None:
    values = np.linspace(0, 2, 50)
    nuisances, constraints = toy(moving=False).nuisances, (GaussianConstraint("angle", 0.5),)
    scaled = 1.1 * contents(np.array(nuisances[0].anchors), NOMINAL)
    models = [toy(moving=False), Model.from_templates(signal_strength(), nuisances, constraints, scaled)]
    profile(models[0], toy_data(models[0], 1.0), values)
    fit(models[0], toy_data(models[0], 1.0))

    compilations: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event.endswith("backend_compile_duration"):
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for model in models:
        for true in (0.9, 1.2):
            profile(model, toy_data(model, true), values + 0.01)
            fit(model, toy_data(model, true))
    assert compilations == []
    jax.jit(lambda x: 3 * x + 1)(np.arange(7.0))
    assert compilations


def test_an_estimate_pushed_out_of_the_nuisances_range_is_flagged() -> None:
    wide, narrow = toy(moving=False), toy(moving=False, span=(0.0, math.pi / 2))
    result = fit(narrow, toy_data(wide, 1.8))
    assert result.at_boundary == ("angle",)
    assert result.minimum_found
    assert not result.converged
    assert "angle sits at an end of its range" in result.verdict
    assert result.nuisance_sigma["angle"] is None
    assert math.isnan(result.covariance[1, 1])
    assert profile(narrow, toy_data(wide, 1.8), np.arange(50) / 10).at_boundary.all()


def test_misuse_is_refused() -> None:
    model = toy(moving=False)
    both = stack([toy_data(model, 1.0)] * 2)
    with pytest.raises(FitError, match="fit_many"):
        fit(model, both)
    with pytest.raises(FitError, match="profile_many"):
        profile(model, both, [1.0])
    with pytest.raises(FitError, match="unknown parameter of interest 'nu'"):
        fit(model, both[0], poi="nu")
    with pytest.raises(FitError, match="number 1"):
        fit(model, both[0], poi=1)
