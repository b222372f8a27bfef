"""Neyman construction with Feldman-Cousins ordering, against the published table and exact cases."""

import numpy as np
import pytest
from scipy.stats import norm, poisson

from systwise.errors import ConfigError, FitError
from systwise.fit import Model, asimov, feldman_cousins, fit, stack
from systwise.parameters import Components, GaussianConstraint, Nuisance, signal_strength

TABLE = {
    1: (0.00, 1.88),
    2: (0.00, 3.04),
    3: (0.00, 4.42),
    4: (0.00, 5.60),
    5: (0.00, 6.99),
    6: (0.15, 8.47),
    7: (0.89, 9.53),
    8: (1.51, 10.99),
    9: (1.88, 12.30),
    10: (2.63, 13.50),
}
"""90 % intervals of a Poisson mean with a background of 3 (Feldman and Cousins, physics/9711021, table IV)."""


def counting(background: float = 3.0) -> Model:
    return Model.from_templates(signal_strength(0, 60), (), (), np.array([[1.0], [background]]))


@pytest.mark.parametrize("count", TABLE)
def test_counting_experiments_have_the_published_intervals(count: int) -> None:
    found = feldman_cousins(counting(), counting().data([count]), level=0.9)
    # Ends were published to two digits, from a grid of 0.005.
    np.testing.assert_allclose(found.interval, TABLE[count], atol=0.0101)
    assert found.interval_error == (0.0, 0.0)
    assert found.converged


def raw_end(background: float) -> float:
    """Return the largest mean that 90 % accept with no event observed, by sums over a grid of 0.005."""
    counts = np.arange(60)
    accepted = []
    for mu in np.arange(0, 3, 0.005):
        ratio = poisson.logpmf(counts, mu + background) - poisson.logpmf(counts, np.maximum(counts, background))
        accepted.append(poisson.pmf(counts, mu + background)[ratio <= ratio[0] + 1e-12].sum() > 0.1)
    return float(0.005 * np.flatnonzero(accepted)[-1])


def test_no_event_gives_the_construction_not_the_published_end_that_was_raised() -> None:
    """Published is 1.08: their ends may not rise with the background, and one of a larger background is higher."""
    found = feldman_cousins(counting(), counting().data([0]), level=0.9)
    assert found.interval[1] == pytest.approx(raw_end(3.0), abs=0.006)
    assert found.interval[1] == pytest.approx(0.953, abs=1e-3)
    assert max(raw_end(b) for b in np.arange(3.0, 3.6, 0.02)) == pytest.approx(1.08, abs=0.006)
    assert "reaches mu = 0, an end of its range" in found.verdict


def test_an_estimate_at_the_boundary_has_the_quantile_as_upper_end() -> None:
    """Gaussian at zero: x in [0, 2 mu] has equal ratios at both ends, so that the upper end is the quantile itself."""
    model = Model.from_templates(signal_strength(0, 10), (), (), np.array([[200.0, 10.0], [10_000.0, 500.0]]))
    data = asimov(model, 0.0, ())
    sigma = 1 / np.sqrt(np.sum([200.0**2 / 10_000, 10.0**2 / 500]))
    found = feldman_cousins(model, data, level=0.9, toys=2_000)
    low, high = found.interval
    assert low == 0
    assert 0 < found.interval_error[1] < 0.03
    assert abs(high - sigma * norm.isf(0.05)) < 3 * found.interval_error[1]
    # The likelihood's own interval has no lower end there.
    assert fit(model, data).interval[0] is None


def test_two_parameters_have_the_ellipse_of_two_independent_bins() -> None:
    two = Components(("a", "b"), ("x", "y"), ((1, 0), (0, 1)), (1.0, 1.0), ((0.0, 3.0), (0.0, 3.0)))
    model = Model.from_templates(two, (), (), np.array([[400.0, 0.0], [0.0, 400.0]]))
    axis = np.linspace(0.88, 1.12, 7)
    found = feldman_cousins(model, model.data([400.0, 400.0]), {"x": axis, "y": axis}, toys=500)
    assert found.p.shape == (7, 7)
    (line,) = found.contours()
    np.testing.assert_allclose(np.hypot(*(line - 1).T), np.sqrt(2.296 / 400), rtol=0.12)
    assert found.p[3, 3] == 1
    with pytest.raises(FitError, match="use contours"):
        _ = found.interval
    assert "of 49 points" in str(found)


def test_a_nuisance_is_profiled_and_given_values_are_the_ones_tested() -> None:
    shapes = np.stack([np.array([[20.0, 5.0], [100 * f, 80 * f]]) for f in (0.9, 1.0, 1.1)])
    model = Model.from_templates(signal_strength(0, 10), [Nuisance("b", width=1)], [GaussianConstraint("b", 1)], shapes)
    found = feldman_cousins(model, model.data([110.0, 85.0]), {"mu": [0.2, 0.4, 0.6]}, toys=200)
    assert found.values[0].tolist() == [0.2, 0.4, 0.6]
    assert found.accepted.all()
    assert found.interval == (0.2, 0.6)
    assert "reaches mu = 0.6, an end of the tested values" in found.verdict
    pull = feldman_cousins(model, model.data([110.0, 85.0]), {"b": [-4.5, 0.0]}, toys=200)
    assert pull.accepted.tolist() == [False, True]
    assert "Feldman-Cousins" in pull._repr_html_()
    with pytest.raises(FitError, match="use interval"):
        pull.contours()


def test_what_cannot_be_tested_is_refused() -> None:
    model = counting()
    data = model.data([3.0])
    with pytest.raises(FitError, match="between 0 and 1"):
        feldman_cousins(model, data, level=1.2)
    with pytest.raises(FitError, match="0 parameters given"):
        feldman_cousins(model, data, {})
    with pytest.raises(FitError, match="2 stacked data sets"):
        feldman_cousins(model, stack([data, data]))
    with pytest.raises(ConfigError, match="no such parameter of interest"):
        model.with_range("nu", 0, 1)
    with pytest.raises(ConfigError, match="is empty"):
        model.with_range("mu", 1, 0)
