"""The morph against functions it must reproduce, and against the exact templates of the Gaussian toy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln, polygamma
from scipy.stats import norm

from systwise.fit import build_joint_morph, build_morph
from systwise.fit.likelihood import stack_curves
from systwise.fit.likelihood._gamma import log_gamma_jet


def toy_contents(true: float, hypothesis: float, bins: int) -> np.ndarray:
    """Return exact contents of uniform bins of the optimal score, `[component, bin]`."""
    edges = np.linspace(0, 1, bins + 1)
    with np.errstate(divide="ignore"):
        cuts = 0.5 * 0.7**2 * np.log(edges / (1 - edges))
    mean = np.cos(true - hypothesis)
    return np.array([500 * np.diff(norm.cdf(cuts, mean, 0.7)), 5e4 * np.diff(norm.cdf(cuts, -mean, 0.7))])


@pytest.mark.parametrize("bins", [10, 50])
def test_toy_templates_are_met_far_below_the_statistical_error(bins: int) -> None:
    anchors = np.linspace(np.pi / 4 - 3 * np.pi / 8, np.pi / 4 + 3 * np.pi / 8, 19)
    morph = build_morph([anchors], [np.pi / 4], [np.array([toy_contents(z, np.pi / 4, bins) for z in anchors])])
    between = np.linspace(anchors[2], anchors[-3], 200)
    exact = np.array([toy_contents(z, np.pi / 4, bins) for z in between])
    found = np.array([morph([z]) for z in between])
    np.testing.assert_allclose(found, exact, rtol=1.5e-4)
    pulls = (found - exact).sum(axis=1) / np.sqrt(exact.sum(axis=1))
    assert np.abs(pulls).max() < 1.5e-3


@pytest.mark.parametrize(("count", "degree"), [(2, 1), (3, 2), (4, 3), (7, 3)])
def test_squares_of_the_polynomials_that_the_points_allow_are_exact(count: int, degree: int) -> None:
    polynomial = np.polynomial.Polynomial([2.0, 0.3, -0.1, 0.05][: degree + 1])
    anchors = np.sort(np.random.default_rng(count).uniform(-1, 2, count))
    morph = build_morph([anchors], [anchors[0]], [polynomial(anchors)[:, None, None] ** 2])
    for z in np.linspace(anchors[0], anchors[-1], 11):
        assert morph([z])[0, 0] == pytest.approx(polynomial(z) ** 2, rel=1e-11)


def test_contents_are_met_at_anchors_and_never_negative_even_with_empty_bins() -> None:
    anchors = np.linspace(0, 1, 8)
    contents = np.random.default_rng(3).poisson(0.7, size=(8, 2, 5)).astype(float)
    assert (contents == 0).any()
    morph = build_morph([anchors], [0.5], [contents])
    np.testing.assert_allclose([morph([z]) for z in anchors], contents, atol=1e-12)
    assert min(morph([z]).min() for z in np.linspace(0, 1, 201)) >= 0


def test_several_nuisances_multiply_as_ratios() -> None:
    z1, z2 = np.linspace(-1, 1, 9), np.linspace(0, 4, 9)
    base = np.array([[3.0, 7.0], [20.0, 0.0]])
    first = base * np.exp(0.2 * z1)[:, None, None]
    second = base * (1 + 0.1 * (z2 - 2))[:, None, None] ** 2
    morph = build_morph([z1, z2], [0.0, 2.0], [first, second])
    np.testing.assert_allclose(morph([0.0, 2.0]), base, atol=1e-12)
    expected = base * np.exp(0.2 * 0.7) * (1 + 0.1 * 1.3) ** 2
    np.testing.assert_allclose(morph([0.7, 3.3]), expected, rtol=1e-5)
    assert morph([0.7, 3.3])[1, 1] == 0


def test_derivatives_of_curves_agree_with_automatic_ones() -> None:
    generator = np.random.default_rng(1)
    anchors = [np.linspace(0, 1, 6), np.linspace(-1, 1, 5)]
    contents = [generator.uniform(1, 5, size=(6, 2, 3)), generator.uniform(1, 5, size=(5, 2, 3))]
    morph = build_morph(anchors, [0.5, 0.0], contents, [(-0.5, 1.0), (-1.0, 3.0)])
    with jax.enable_x64(True):
        curves = stack_curves(morph.ratios, [0, 1], (2, 3), 3, 1.0)
        assert curves is not None
        for z in ([0.37, -0.21], [-0.3, 2.1], [0.9, 0.8]):
            point = jnp.array(z)
            values, slopes, bends = curves.log_jet(point)
            np.testing.assert_allclose(morph.base * np.prod(values, axis=0), morph(z), rtol=1e-12)
            automatic = jax.jacfwd(curves.values)(point)
            second = jax.jacfwd(jax.jacfwd(curves.values))(point)
            for j in range(2):
                np.testing.assert_allclose(slopes[j] * values[j], automatic[j, ..., j], rtol=1e-10)
                np.testing.assert_allclose(bends[j] * values[j], second[j, ..., j, j], rtol=1e-9, atol=1e-9)
            plain = curves.jet(point)
            np.testing.assert_allclose(plain.first[1], automatic[1, ..., 1], rtol=1e-10)


@pytest.mark.parametrize("reach", [1.0, 5.0])
def test_between_anchors_that_rise_a_curve_rises_and_stays_positive(reach: float) -> None:
    """A parabola through the roots of 0.01, 1 and 100 is zero at -0.25."""
    contents = np.array([0.01, 1.0, 100.0])[:, None, None]
    morph = build_morph([(-1.0, 0.0, 1.0)], [0.0], [contents], ranges=[(-reach, reach)])
    found = np.array([morph([z])[0, 0] for z in np.linspace(-reach, reach, 501)])
    assert np.all(np.diff(found) > 0)
    assert found.min() >= 0.01**reach * 0.999999
    np.testing.assert_allclose([morph([z])[0, 0] for z in (-1, 0, 1)], contents.ravel(), rtol=1e-12)


def test_a_content_that_is_empty_at_the_nominal_point_keeps_its_template_whatever_the_order_of_nuisances() -> None:
    base = np.array([[0.0, 7.0]])
    fills = np.stack([base, base, base + np.array([[3.0, 0.5]])])
    other = np.stack([0.9 * base, base, 1.1 * base])
    anchors = [(-1.0, 0.0, 1.0)] * 2
    one = build_morph(anchors, [0.0, 0.0], [fills, other])
    two = build_morph(anchors, [0.0, 0.0], [other, fills])
    np.testing.assert_allclose(one([1.0, 0.0]), [[3.0, 7.5]], rtol=1e-12)
    for z in ([0.7, -0.4], [1.0, 1.0], [-1.0, 0.3]):
        np.testing.assert_allclose(one(z), two(z[::-1]), rtol=1e-12)


def test_log_gamma_and_its_derivatives_agree_with_scipy() -> None:
    x = np.geomspace(1e-3, 1e6, 500)
    with jax.enable_x64(True):
        value, first, second = (np.asarray(a) for a in log_gamma_jet(jnp.asarray(x)))
    np.testing.assert_allclose(value, gammaln(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(first, digamma(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(second, polygamma(1, x), rtol=1e-13)


def test_contents_go_on_as_exponentials_beyond_the_anchors():
    """At the end of the range each bin is T_1 (T_1 / T_0)^(distance); with no range beyond, nothing changes."""
    contents = np.array([[[90.0, 4.0]], [[100.0, 2.0]], [[105.0, 0.0]]])
    morph = build_morph([(-1.0, 0.0, 1.0)], [0.0], [contents], ranges=[(-2.5, 3.0)])
    plain = build_morph([(-1.0, 0.0, 1.0)], [0.0], [contents])
    same = build_morph([(-1.0, 0.0, 1.0)], [0.0], [contents], ranges=[(-1.0, 1.0)])
    for z in (-1.0, 0.0, 1.0):
        np.testing.assert_allclose(morph([z]), plain([z]), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(morph([3.0])[0], [105.0 * 1.05**2, 0.0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(morph([-2.5])[0], [90.0 * 0.9**1.5, 4.0 * 2**1.5], rtol=1e-12)
    np.testing.assert_array_equal(same([0.37]), plain([0.37]))
    grid = build_joint_morph([(-1.0, 0.0, 1.0)] * 2, [0.0, 0.0], np.stack([contents] * 3), [(-1.0, 1.0), (-2.5, 3.0)])
    np.testing.assert_allclose(grid([0.3, 3.0]), morph([3.0]), rtol=1e-12, atol=1e-12)
