from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from systwise.cases.gaussian_toy import auxiliary_counts
from systwise.errors import ConfigError
from systwise.parameters import (
    Components,
    CountsConstraint,
    GaussianConstraint,
    NoConstraint,
    Nuisance,
    signal_strength,
    uniform_anchors,
)


def angle(**changes):
    values = dict(name="angle", nominal=0.5, range=(0.0, 1.0), training=(0.0, 1.0), anchors=uniform_anchors(0, 1, 5))
    return Nuisance(**{**values, **changes})


def test_coefficients_of_a_signal_strength_and_of_eft_couplings():
    theta = jnp.array([2.5])
    np.testing.assert_allclose(signal_strength().coefficients(theta), [2.5, 1.0])
    eft = Components(("tt", "tg", "gg"), ("ct", "cg"), ((2, 0), (1, 1), (0, 2)), (1.0, 0.0), ((-5, 5), (-5, 5)))
    np.testing.assert_allclose(eft.coefficients(jnp.array([3.0, -2.0])), [9.0, -6.0, 4.0])
    np.testing.assert_allclose(eft.reference(), [1.0, 0.0, 0.0])


def test_coefficient_derivatives_are_finite_at_zero():
    eft = Components(("tt", "tg", "gg"), ("ct", "cg"), ((2, 0), (1, 1), (0, 2)), (1.0, 0.0), ((-5, 5), (-5, 5)))
    slopes = jax.jacobian(eft.coefficients)(jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(slopes, [[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


def test_components_refuse_powers_of_the_wrong_shape():
    with pytest.raises(ConfigError, match="one row a component"):
        Components(("s", "b"), ("mu",), ((1,),), (1.0,), ((0, 1),))


def test_true_values_become_anchors_in_place_of_anchors_beside_them():
    nuisance = angle().with_anchors(0.3, 0.5 + 1e-5)
    assert 0.3 in nuisance.anchors
    assert 0.5 + 1e-5 in nuisance.anchors
    assert 0.5 not in nuisance.anchors
    assert len(nuisance.anchors) == 6


def test_the_ends_stay_exact_when_a_true_value_lies_beside_them():
    nuisance = angle().with_anchors(1.0 - 1e-5)
    assert nuisance.anchors[-1] == 1.0
    assert np.all(np.diff(nuisance.anchors) > 1e-3)


def test_values_that_differ_by_rounding_are_one_and_values_too_close_are_refused():
    assert angle().with_anchors(0.3, 0.3 + 1e-15).anchors == angle().with_anchors(0.3).anchors
    with pytest.raises(ConfigError, match=r"angle=0\.30001 is too close to angle=0\.3"):
        angle().with_anchors(0.3, 0.30001)
    assert angle().snapped(0.5 + 1e-7) == 0.5
    assert angle().snapped(0.51) == 0.51


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nominal": 2.0}, "outside its range"),
        ({"anchors": (0.0, 0.5)}, "span the range"),
        ({"anchors": (0.0, 0.7, 0.5, 1.0)}, "increasing"),
    ],
)
def test_nuisances_that_do_not_hold_together_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        angle(**changes)


def test_a_value_outside_the_range_names_nuisance_and_range():
    with pytest.raises(ConfigError, match=r"angle=1.5 is outside the nuisance's range \[0, 1\]"):
        angle().check(1.5)


def test_gaussian_constraint_is_half_the_squared_pull_and_draws_its_width():
    constraint = GaussianConstraint("angle", 0.5)
    assert float(constraint.nll(jnp.array(1.0), jnp.array([0.0]))) == pytest.approx(2.0)
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.vmap(lambda key: constraint.draw(key, jnp.array(2.0)))(keys)
    assert float(draws.mean()) == pytest.approx(2.0, abs=0.03)
    assert float(draws.std()) == pytest.approx(0.5, rel=0.05)


def test_auxiliary_measurement_matches_the_normal_cdf_and_constrains_to_six_milliradians():
    # statistics: 1e5 draws of N(z, 0.5) weighted 0.1 in four bins on (-1, 2.5).
    expected = 1e4 * np.diff(scipy.stats.norm.cdf(np.linspace(-1, 2.5, 5), np.pi / 4, 0.5))
    np.testing.assert_allclose(auxiliary_counts(jnp.array(np.pi / 4)), expected, rtol=1e-4)
    constraint = CountsConstraint("angle", auxiliary_counts)
    width = float(constraint.information(jnp.array(np.pi / 4))) ** -0.5
    assert width == pytest.approx(0.006, rel=0.1)
    slope = jax.grad(constraint.nll)(jnp.array(np.pi / 4), constraint.asimov(jnp.array(np.pi / 4)))
    assert abs(float(slope)) < 1e-4 / width


def test_no_constraint_has_no_data_and_no_information():
    constraint = NoConstraint("angle")
    assert constraint.asimov(jnp.array(1.0)).shape == (0,)
    assert float(constraint.information(jnp.array(1.0))) == 0.0
