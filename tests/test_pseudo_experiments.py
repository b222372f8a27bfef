"""Pseudo-experiments: each belongs to its number, and their coverage is what it must be."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import poisson

from systwise.errors import FitError
from systwise.fit import ONE_SIGMA, Model, Toys, draw_auxiliary, fair_universe_score, fit_many, pseudo_data
from systwise.parameters import (
    AsymmetricGaussianConstraint,
    CorrelatedGaussian,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    Normalisation,
    Nuisance,
    signal_strength,
)

BINS = 12


def model(simulated: bool = False) -> Model:
    """Two processes, a shape nuisance and a rate nuisance."""
    x = (np.arange(BINS) + 0.5) / BINS
    signal, background = 40 * np.exp(-0.5 * ((x - 0.6) / 0.1) ** 2), 200 * np.exp(-2 * x)
    anchors = tuple(float(a) for a in np.linspace(-5, 5, 7))
    shape = Nuisance("shape", 0.0, (-5.0, 5.0), (-5.0, 5.0), anchors)
    rate = Nuisance("rate", 1.0, (0.5, 1.5), (0.5, 1.5), (0.5, 1.0, 1.5), kind="norm")
    templates = np.stack([np.stack([signal, background * np.exp(0.05 * z * np.cos(3 * x))]) for z in anchors])
    return Model.from_templates(
        signal_strength(-5, 10),
        [shape, rate],
        [GaussianConstraint("shape", 1.0), GaussianConstraint("rate", 0.1)],
        [templates],
        normalisations=[Normalisation("rate", ("background",))],
        variances=0.5 * np.stack([signal, background]) if simulated else None,
    )


def test_a_pseudo_experiment_depends_on_seed_and_number_only() -> None:
    built = model(simulated=True)
    alone = pseudo_data(built, 1.0, {"shape": 0.5}, 3, [17, 4])
    among = pseudo_data(built, 1.0, {"shape": 0.5}, 3, range(20))
    np.testing.assert_array_equal(alone.counts, np.asarray(among.counts)[[17, 4]])
    np.testing.assert_array_equal(alone.simulated, among.simulated[[17, 4]])
    for one, many in zip(alone.auxiliary, among.auxiliary, strict=True):
        np.testing.assert_array_equal(one, many[[17, 4]])
    other = pseudo_data(built, 1.0, {"shape": 0.5}, 4, [17])
    assert not np.array_equal(other.counts[0], alone.counts[0])


@pytest.mark.slow
@pytest.mark.parametrize("simulated", [False, True])
def test_coverage_and_pull_of_a_model_with_two_nuisances(simulated: bool) -> None:
    built, true = model(simulated), {"mu": 1.5, "shape": 1.0, "rate": 1.05}
    numbers = range(1500)
    data = pseudo_data(built, 1.5, {"shape": 1.0, "rate": 1.05}, 11, numbers)
    found = fit_many(built, data, stat_only=False)
    summary = Toys.of(found, "m", 11, true, numbers).summary()
    assert summary.converged == 1500
    assert abs(summary.coverage.value - ONE_SIGMA) < 3 * summary.coverage.error
    assert abs(summary.coverage_two.value - 0.9545) < 3 * summary.coverage_two.error
    assert abs(summary.bias) < 0.1
    assert summary.pull_width == pytest.approx(1.0, abs=0.06)
    assert summary.half_width == pytest.approx(summary.rms, rel=0.06)


def test_exact_templates_where_the_simulation_fluctuates_cover_too_little() -> None:
    """What Barlow-Beeston is for: the simulation's fluctuation taken as none."""
    limited, numbers = model(simulated=True), range(1500)
    data = pseudo_data(limited, 1.0, (0.0, 1.0), 5, numbers)
    # A fluctuated centre means: truth is the fluctuated template. The exact model does not know.
    wrong = dataclasses.replace(limited, variance=None)
    shifted = dataclasses.replace(
        data, counts=np.random.default_rng(1).poisson(limited.expected(1.0, (0.0, 1.0)) * (2 - data.simulated))
    )
    true = {"mu": 1.0}
    good = Toys.of(fit_many(limited, data, stat_only=False), "m", 5, true, numbers).summary()
    bad = Toys.of(fit_many(wrong, shifted, stat_only=False), "m", 5, true, numbers).summary()
    assert abs(good.coverage.value - ONE_SIGMA) < 3 * good.coverage.error
    assert bad.coverage.value < ONE_SIGMA - 3 * bad.coverage.error


@pytest.mark.slow
def test_parts_merge_to_the_whole_and_survive_a_file(tmp_path) -> None:
    built, true = model(), {"mu": 1.0}

    def part(numbers: range) -> Toys:
        data = pseudo_data(built, 1.0, (0.0, 1.0), 2, numbers)
        return Toys.of(fit_many(built, data, stat_only=False), "m", 2, true, numbers)

    whole, parts = part(range(30)), [part(range(20, 30)), part(range(0, 22))]
    parts[0].save(tmp_path / "a.npz")
    merged = Toys.merge([Toys.load(tmp_path / "a.npz"), parts[1]])
    np.testing.assert_array_equal(merged.numbers, whole.numbers)
    np.testing.assert_allclose(merged.estimate, whole.estimate, atol=1e-9)
    np.testing.assert_allclose(merged.ends, whole.ends, atol=1e-7)
    for change in ({"model": "n"}, {"seed": 9}, {"true": {"mu": 2.0}}):
        (what,) = change
        with pytest.raises(FitError, match=what):
            Toys.merge([whole, dataclasses.replace(parts[0], **change)])
    with pytest.raises(FitError, match="no such file"):
        Toys.load(tmp_path / "nothing.npz")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(FitError, match="run them again"):
        Toys.load(tmp_path / "broken.npz")


def test_a_missing_end_leaves_its_side_open() -> None:
    toys = Toys(
        model="m",
        seed=0,
        poi="mu",
        true={"mu": 1.0},
        numbers=np.arange(4),
        estimate=np.array([0.5, 1.0, 1.5, 9.0]),
        ends=np.array(
            [[np.nan, 1.2, np.nan, 2.0], [0.8, 1.2, 0.5, 1.5], [1.2, np.nan, 0.9, np.nan], [8.0, 9.5, 7.0, 10.0]]
        ),
        nuisances=np.zeros((4, 0)),
        converged=np.array([True, True, True, False]),
    )
    summary = toys.summary()
    assert (summary.converged, summary.sided) == (3, 1)
    # The fourth fit did not converge: a miss.
    assert summary.coverage.value == pytest.approx(2 / 4)
    assert summary.coverage_two.value == pytest.approx(3 / 4)
    assert summary.half_width == pytest.approx(0.2)


def test_fits_that_fail_are_misses() -> None:
    """One bin, s = 1 on b = 0.5: without a count there is no minimum, and dropping these made 76 % of 59 %."""
    signal, background, sets = 1.0, 0.5, 4000
    model = Model.from_templates(signal_strength(-2.0, 40.0), (), (), np.array([[signal], [background]]))
    results = fit_many(model, pseudo_data(model, 1.0, (), 0, range(sets)), stat_only=False)
    summary = Toys.of(results, "counting", 0, {"mu": 1.0}, range(sets)).summary()
    counts, nu = np.arange(60), signal + background
    best = np.maximum(counts, 1e-300)
    inside = (nu - counts * np.log(nu)) - (best - counts * np.log(best)) <= 0.5
    exact = float(np.sum(poisson.pmf(counts, nu)[inside & (counts > 0)]))
    assert exact == pytest.approx(0.586, abs=1e-3)
    assert (summary.toys, summary.converged < sets) == (sets, True)
    assert summary.coverage.value == pytest.approx(exact, abs=3 * math.sqrt(exact * (1 - exact) / sets))


@pytest.mark.parametrize(
    ("constraint", "value", "pull"),
    [
        (GaussianConstraint("z", 0.3), 1.2, lambda a: (a - 1.2) / 0.3),
        (LogNormalConstraint("z", 1.5), 2.0, lambda a: (a - math.log(2.0)) / math.log(1.5)),
        (
            AsymmetricGaussianConstraint("z", 0.2, 0.6),
            0.0,
            lambda a: np.where(a < 0, -a / 0.6, -a / 0.2),
        ),
    ],
)
def test_centres_are_drawn_around_the_truth(constraint, value: float, pull) -> None:
    (drawn,) = draw_auxiliary([constraint], [np.asarray(value)], 0, range(4000))
    pulls = pull(drawn[:, 0])
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.06)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.04)


def test_correlated_centres_and_counts() -> None:
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    both = CorrelatedGaussian(["a", "b"], covariance)
    counts = CountsConstraint("c", lambda z: z * np.array([3.0, 8.0]))
    centres, numbers = draw_auxiliary([both, counts], [np.array([1.0, -1.0]), np.asarray(2.0)], 1, range(4000))
    np.testing.assert_allclose(np.cov(centres.T), covariance, atol=0.12)
    np.testing.assert_allclose(np.mean(centres, axis=0), [1.0, -1.0], atol=0.08)
    np.testing.assert_allclose(np.mean(numbers, axis=0), [6.0, 16.0], rtol=0.03)


def test_the_three_branches_of_the_fair_universe_score() -> None:
    """arXiv:2410.02867: exact inside two errors, a fourth power below, a third power above."""
    n, w = 1000, 0.5
    s = math.sqrt(ONE_SIGMA * (1 - ONE_SIGMA) / n)
    for coverage in (ONE_SIGMA, ONE_SIGMA - 1.9 * s, ONE_SIGMA + 1.9 * s):
        assert fair_universe_score(w, coverage, n) == pytest.approx(-math.log(w + 0.001))
    below, above = (fair_universe_score(w, ONE_SIGMA + side * 5 * s, n) for side in (-1, 1))
    assert below == pytest.approx(-math.log((w + 0.001) * (1 + 3**4)))
    assert above == pytest.approx(-math.log((w + 0.001) * (1 + 3**3)))
    with pytest.raises(FitError, match="width"):
        fair_universe_score(0.0, 0.68, n)
