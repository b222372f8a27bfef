"""The three-feature mixture against its formulas and the numbers of arXiv:1806.04743."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from scipy.interpolate import CubicSpline

from exact_likelihood import exact_fit, exact_nll, pseudo_experiment
from systwise.cases import CASES
from systwise.cases.inferno_mixture import SIGNAL, InfernoMixture
from systwise.errors import ConfigError
from systwise.settings import validate

BENCHMARKS = ("B0", "B1", "B2", "B3", "B4")
BOUNDS = dict(zip(BENCHMARKS, (14.705, 15.503, 15.634, 15.605, 16.877), strict=True))
# Ten uniform bins of p_s / (p_s + p_b), and the paper's table for the same (its optimal classifier).
UNIFORM = dict(zip(BENCHMARKS, (15.0, 19.4, 24.8, 22.1, 28.0), strict=True))
PUBLISHED = dict(zip(BENCHMARKS, (14.97, 19.12, 24.93, 22.13, 27.98), strict=True))
YIELDS = np.array([1.0, 1000.0])


def make(benchmark="B3", **settings):
    return InfernoMixture(validate(InfernoMixture.settings_class, {"benchmark": benchmark, **settings}, "case"))


def nominal(case):
    return np.array([nuisance.nominal for nuisance in case.nuisances])


@pytest.fixture(scope="module")
def case():
    return make("B4", events=60_000)


@pytest.fixture(scope="module")
def table(case):
    return case.load(3)


class Contents:
    """Exact contents of score bins: the x2 integral in closed form, x0 and x1 by the midpoint rule."""

    def __init__(self, scores, points=(520, 400)):
        self.x0 = 26 * (np.arange(points[0]) + 0.5) / points[0] - 11
        x1 = 24 * (np.arange(points[1]) + 0.5) / points[1]
        self.in_x1 = {width: np.exp(-((x1 / width) ** 2) / 2) for width in (1, 3)}
        plane = math.log(2 / 3 * math.sqrt(45)) - self.x0**2 / 2 + (self.x0 - 2) ** 2 / 10
        logit = plane[:, None] - x1**2 * 4 / 9
        # The score rises with x2 (slope 1 of the logit): an event is above an edge beyond this x2.
        self.beyond = np.maximum(scipy.special.logit(np.asarray(scores))[:, None, None] - logit, 0)
        self.above = {}

    def __call__(self, mean, variance, width, rate):
        if (width, rate) not in self.above:
            in_x1 = self.in_x1[width]
            self.above[width, rate] = np.exp(-rate * self.beyond) @ (in_x1 / in_x1.sum())
        in_x0 = np.exp(-((self.x0 - mean) ** 2) / (2 * variance))
        above = self.above[width, rate] @ (in_x0 / in_x0.sum())
        return -np.diff(np.concatenate([[1.0], above, [0.0]]))

    def background(self, r=0.0, rate=3.0):
        return self(2 + r, 5, 3, rate)

    def signal(self):
        return self(0, 1, 1, 2)


@pytest.fixture(scope="module")
def contents():
    return Contents(np.arange(1, 10) / 10)


def test_it_is_found_by_its_name_and_follows_the_gaussian_toy():
    assert CASES.get("inferno-mixture") is InfernoMixture
    assert CASES.names().index("gaussian-toy") < CASES.names().index("inferno-mixture")


def test_benchmarks_differ_in_what_is_known():
    names = {b: tuple(n.name for n in make(b).nuisances) for b in BENCHMARKS}
    assert names == {
        "B0": (),
        "B1": ("r",),
        "B2": ("r", "rate"),
        "B3": ("r", "rate"),
        "B4": ("r", "rate", "background_rate"),
    }
    known = {b: [float(c.information(jnp.zeros(()))) for c in make(b).constraints] for b in BENCHMARKS}
    assert known["B1"] == [0]
    assert known["B2"] == [0, 0]
    np.testing.assert_allclose(known["B3"], [1 / 0.4**2, 1], rtol=1e-6)
    np.testing.assert_allclose(known["B4"], [1 / 0.4**2, 1, 1 / 0.1**2], rtol=1e-6)
    case = make("B4")
    assert [n.kind for n in case.nuisances] == ["detector", "detector", "norm"]
    assert {v.nuisance for v in case.variations} == {"r", "rate"}
    (normalisation,) = case.normalisations
    assert (normalisation.nuisance, normalisation.components) == ("background_rate", ("background",))
    assert float(normalisation.factor(jnp.array(1.2))) == pytest.approx(1.2)
    assert all(not make(b).normalisations for b in BENCHMARKS[:4])


def test_the_coefficient_of_the_signal_is_its_count(case, table):
    np.testing.assert_allclose(table.weights.sum(axis=0, dtype=np.float64), YIELDS, rtol=1e-5)
    assert case.components.reference().tolist() == [50, 1]
    assert case.components.pois == ("s",)
    assert case.components.ranges[0][0] < 0


def test_events_follow_the_distributions(table):
    signal = table.process == SIGNAL
    for mask, laws in (
        (signal, (scipy.stats.norm(0, 1), scipy.stats.norm(0, 1), scipy.stats.expon(scale=1 / 2))),
        (~signal, (scipy.stats.norm(2, 5**0.5), scipy.stats.norm(0, 3), scipy.stats.expon(scale=1 / 3))),
    ):
        for column, law in enumerate(laws):
            assert scipy.stats.kstest(table.features[mask, column], law.cdf).pvalue > 1e-3
        assert np.abs(np.corrcoef(table.features[mask].T) - np.eye(3)).max() < 5 / math.sqrt(mask.sum())


def test_nuisances_move_the_background_exactly_and_the_signal_not_at_all(case, table):
    events = table.slice(slice(0, 10_000))
    varied = jax.jit(case.vary)(events, jnp.array([0.3, 2.0, 1.1]))
    signal = np.asarray(events.process) == SIGNAL
    before, after = np.asarray(events.features), np.asarray(varied.features)
    np.testing.assert_array_equal(after[signal], before[signal])
    np.testing.assert_allclose(after[~signal, 0], before[~signal, 0] + 0.3, atol=1e-6)
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    np.testing.assert_allclose(after[~signal, 2], before[~signal, 2] * 1.5, rtol=1e-6)
    np.testing.assert_array_equal(varied.weights, events.weights)
    assert scipy.stats.kstest(after[~signal, 2], scipy.stats.expon(scale=1 / 2).cdf).pvalue > 1e-3


def test_variation_is_differentiable_in_a_value_an_event(case, table):
    events = table.slice(slice(0, 8))
    background = np.asarray(events.process) != SIGNAL
    z = jnp.stack([jnp.linspace(-0.5, 0.5, 8), jnp.linspace(2.0, 4.0, 8), jnp.ones(8)], axis=1)
    tangent = jnp.ones((8, 1)) * jnp.array([0.0, 1.0, 0.0])
    _, slopes = jax.jvp(lambda v: case.vary(events, v).features, (z,), (tangent,))
    expected = np.where(background, -3 * np.asarray(events.features)[:, 2] / np.asarray(z)[:, 1] ** 2, 0)
    np.testing.assert_allclose(slopes[:, 2], expected, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(slopes)[:, :2], 0)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_densities_are_those_of_scipy(benchmark, table):
    case, z = make(benchmark), {"r": 0.2, "rate": 2.5, "background_rate": 1.1}
    names = [n.name for n in case.nuisances]
    values = jnp.array([z[name] for name in names]).reshape(1, -1) * jnp.ones((500, 1))
    r, rate = (z[name] if name in names else default for name, default in (("r", 0.0), ("rate", 3.0)))
    x = table.features[:500].astype(np.float64)
    signal = scipy.stats.norm.logpdf(x[:, :2]).sum(axis=1) + scipy.stats.expon.logpdf(x[:, 2], scale=1 / 2)
    background = (
        scipy.stats.norm.logpdf(x[:, 0], 2 + r, 5**0.5)
        + scipy.stats.norm.logpdf(x[:, 1], 0, 3)
        + scipy.stats.expon.logpdf(x[:, 2], scale=1 / rate)
    )
    features = jnp.asarray(table.features[:500])
    exact = case.truth.log_density(features, values)
    np.testing.assert_allclose(exact, np.stack([signal, background], axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(case.truth.logit(features, values), signal - background, rtol=1e-4, atol=2e-5)
    outside = case.truth.log_density(jnp.array([[0.0, 0.0, -0.1]]), values[:1])
    assert np.all(np.asarray(outside) == -np.inf)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_bounds_are_those_of_the_exact_likelihood(benchmark):
    """statistics: 14.705 / 15.503 / 15.634 / 15.605 / 16.877; the paper prints 14.71 ... 16.89."""
    case = make(benchmark)
    profiled, known = case.truth.bound(np.array([50.0]), nominal(case))
    assert profiled == pytest.approx(BOUNDS[benchmark], abs=5e-4)
    assert known == pytest.approx(BOUNDS["B0"], abs=5e-4)


def test_bound_is_that_of_averages_over_events(case):
    """The Fisher matrix as an average over events of both components, off the nominal point."""
    s, z = 80.0, np.array([0.3, 2.5, 1.1])
    point = jnp.asarray(z, jnp.float32)
    table = make("B4", events=400_000).load(1)
    events = case.vary(table.slice(slice(None)), point)
    weights = np.where(np.asarray(events.process) == SIGNAL, s, 1100.0) / 200_000

    def log_density(theta):
        logs = case.truth.log_density(events.features, jnp.broadcast_to(theta[1:], (len(table), 3)))
        return jnp.logaddexp(jnp.log(theta[0]) + logs[:, 0], jnp.log(1000 * theta[3]) + logs[:, 1])

    at = jnp.concatenate([jnp.array([s], jnp.float32), point])
    slopes = np.stack([jax.jvp(log_density, (at,), (row,))[1] for row in jnp.eye(4)], axis=1).astype(np.float64)
    fisher = (slopes * weights[:, None]).T @ slopes
    covariance = np.linalg.inv(fisher + np.diag([0, 1 / 0.16, 1, 100]))
    profiled, known = case.truth.bound(np.array([s]), z)
    assert profiled == pytest.approx(math.sqrt(covariance[0, 0]), rel=5e-3)
    assert known == pytest.approx(fisher[0, 0] ** -0.5, rel=5e-3)


def test_no_bound_where_the_density_is_negative(case):
    with pytest.raises(ConfigError, match="s=-5"):
        case.truth.bound(np.array([-5.0]), nominal(case))
    with pytest.raises(ConfigError, match="s=0 and rate=4"):
        case.truth.bound(np.array([0.0]), np.array([0.0, 4.0, 1.0]))


def test_without_signal_the_information_is_that_of_gaussian_and_exponential_integrals():
    """At s = 0: F_ss = integral of p_s^2 / p_b / b, in closed form; nuisances then only scale with b."""
    case = make("B2")
    for r, rate in ((0.0, 3.0), (0.4, 3.5)):

        def in_plane(mean, variance):
            # integral of N(x; 0, 1)^2 / N(x; mean, variance)
            curvature = 2 - 1 / variance
            exponent = mean**2 / (2 * variance) * (1 + 1 / (variance * curvature))
            return math.sqrt(variance / (2 * math.pi)) * math.sqrt(2 * math.pi / curvature) * math.exp(exponent)

        exact = in_plane(2 + r, 5) * in_plane(0, 9) * 4 / rate / (4 - rate) / 1000
        _, known = case.truth.bound(np.array([0.0]), np.array([r, rate]))
        assert known == pytest.approx(exact**-0.5, rel=1e-6)


def information(contents, step=1e-3):
    """Return expected counts and the slopes in (s, r, rate, background_rate) of ten uniform bins."""
    signal, background = contents.signal(), contents.background()
    by_r = (contents.background(r=step) - contents.background(r=-step)) / (2 * step)
    by_rate = (contents.background(rate=3 + step) - contents.background(rate=3 - step)) / (2 * step)
    slopes = np.stack([signal, 1000 * by_r, 1000 * by_rate, 1000 * background])
    return (slopes / (50 * signal + 1000 * background)) @ slopes.T


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_ten_uniform_bins_of_the_optimal_score_give_the_published_uncertainty(benchmark, contents):
    case = make(benchmark)
    prior = [
        0.0,
        *(float(c.information(jnp.asarray(n.nominal))) for c, n in zip(case.constraints, case.nuisances, strict=True)),
    ]
    fisher = information(contents)[: len(prior), : len(prior)] + np.diag(prior)
    sigma = math.sqrt(np.linalg.inv(fisher)[0, 0])
    assert sigma == pytest.approx(UNIFORM[benchmark], rel=0.02)
    assert sigma == pytest.approx(PUBLISHED[benchmark], rel=0.02)


def test_exact_contents_are_those_of_the_events(contents):
    case = make("B2", events=400_000)
    table, z = case.load(2), jnp.array([0.3, 2.2])
    events = case.vary(table.slice(slice(None)), z)
    at_nominal = jnp.broadcast_to(jnp.array([0.0, 3.0]), (len(table), 2))
    score = np.asarray(jax.nn.sigmoid(case.truth.logit(events.features, at_nominal)))
    for process, exact in ((SIGNAL, contents.signal()), (1 - SIGNAL, contents.background(0.3, 2.2))):
        counts = np.histogram(score[table.process == process], np.linspace(0, 1, 11))[0]
        chi2 = np.sum((counts - 200_000 * exact) ** 2 / (200_000 * exact))
        assert scipy.stats.chi2.sf(chi2, 9) > 1e-3


def test_splines_of_roots_through_the_anchors_are_accurate(contents):
    """Contents of ten bins between anchors: what a morph along one nuisance adds is below 1e-3."""
    for nuisance, value in zip(make("B2").nuisances, ("r", "rate"), strict=True):
        roots = np.sqrt([contents.background(**{value: anchor}) for anchor in nuisance.anchors])
        spline = CubicSpline(nuisance.anchors, roots)
        for point in np.convolve(nuisance.anchors, [0.5, 0.5], "valid"):
            exact = contents.background(**{value: float(point)})
            np.testing.assert_allclose(spline(point) ** 2, exact, rtol=1e-3)


def test_ranges_hold_five_standard_deviations(contents):
    """Where ten uniform bins see both nuisances: B1, B3 and B4 by their Fisher information."""
    fisher = information(contents)
    ranges = [nuisance.range for nuisance in make("B4").nuisances]
    for kept, prior in (([0, 1], [0, 0]), ([0, 1, 2], [0, 1 / 0.16, 1]), ([0, 1, 2, 3], [0, 1 / 0.16, 1, 100])):
        sigma = np.sqrt(np.diag(np.linalg.inv(fisher[np.ix_(kept, kept)] + np.diag(prior))))
        assert 50 - 5 * sigma[0] > -100
        assert 50 + 5 * sigma[0] < 300
        assert 5 * sigma[1] < ranges[0][1]
        if len(kept) > 2:
            assert math.sqrt(2 * profiled_rise(contents, ranges[1][0], prior)) > 5
            assert math.sqrt(2 * profiled_rise(contents, ranges[1][1], prior)) > 4.5
        if len(kept) > 3:
            assert 5 * sigma[3] < ranges[2][1] - 1


def profiled_rise(contents, rate, prior):
    """Return how far the Asimov NLL rises at a rate, profiled over s, r and, where present, the yield."""
    data = 50 * contents.signal() + 1000 * contents.background()

    def nll(p):
        expected = p[0] * contents.signal() + p[2] * 1000 * contents.background(p[1], rate)
        if np.any(expected <= 0):
            return 1e9
        free = (p[2] - 1) ** 2 * (prior[3] if len(prior) > 3 else 1e12)
        return np.sum(expected - data * np.log(expected / data) - data) + (p[1] ** 2 * prior[1] + free) / 2

    found = scipy.optimize.minimize(nll, [50.0, 0.0, 1.0], method="Nelder-Mead", options={"fatol": 1e-3, "xatol": 1e-2})
    return found.fun + (rate - 3) ** 2 * prior[2] / 2


def test_samples_are_fresh_independent_and_repeatable():
    case = make("B1", events=2000)
    table = case.sample(4, (30, 1000))
    np.testing.assert_array_equal(table.weights.sum(axis=0), [30, 1000])
    np.testing.assert_array_equal(table.process[:30], SIGNAL)
    np.testing.assert_array_equal(table.features, case.sample(4, (30, 1000)).features)
    assert table.fingerprint == case.sample(4, (30, 1000)).fingerprint != case.sample(5, (30, 1000)).fingerprint
    rows = [set(map(tuple, t.features)) for t in (table, case.sample(5, (30, 1000)), case.load(4), case.load(5))]
    assert not any(one & other for i, one in enumerate(rows) for other in rows[:i])
    assert len(case.sample(4, (0, 0))) == 0


def test_the_same_seed_gives_the_same_events(case, table):
    again = case.load(3)
    np.testing.assert_array_equal(again.features, table.features)
    assert again.fingerprint == table.fingerprint != case.load(4).fingerprint
    assert make("B3", events=60_000).load(3).fingerprint != table.fingerprint


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match=r"case\.benchmark"):
        make("B5")
    with pytest.raises(ConfigError, match=r"case\.rate_reach"):
        make(rate_reach=0.5)


def test_exact_nll_rises_from_its_minimum_as_the_bound_says():
    """The second difference of the NLL in the signal count, nuisances known, averaged over pseudo-experiments."""
    case = make("B1")
    profiled, known = case.truth.bound(np.array([50.0]), nominal(case))
    rises = []
    for seed in range(40):
        features, auxiliary = pseudo_experiment(case, YIELDS, seed, {"s": 50.0, "r": 0.0})
        at = [exact_nll(case, YIELDS, features, [s], [0.0], auxiliary) for s in (50 - known, 50.0, 50 + known)]
        rises.append(at[0] + at[2] - 2 * at[1])
    # A parabola of this width rises by 1/2 on either side.
    assert np.mean(rises) == pytest.approx(1.0, abs=0.05)
    assert profiled > known


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "point"), [("B1", {"r": 0.0}), ("B4", {"r": 0.2, "rate": 2.8, "background_rate": 1.05})]
)
def test_exact_fits_have_the_bound_s_width_and_no_bias(benchmark, point):
    case = make(benchmark)
    point = {"s": 50.0, **point}
    bound, _ = case.truth.bound(np.array([50.0]), np.array([point[n.name] for n in case.nuisances]))
    fits = []
    for seed in range(60):
        features, auxiliary = pseudo_experiment(case, YIELDS, seed, point)
        fits.append(exact_fit(case, YIELDS, features, auxiliary, point))
    assert all(fit.valid for fit in fits)
    estimates, sigmas = (np.array(column) for column in zip(*((f.values["s"], f.sigma) for f in fits), strict=True))
    assert np.mean(sigmas) == pytest.approx(bound, rel=0.03)
    assert np.mean(estimates) == pytest.approx(50, abs=3.5 * bound / math.sqrt(60))
    assert np.std(estimates) == pytest.approx(bound, rel=0.3)
