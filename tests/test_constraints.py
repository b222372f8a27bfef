"""What every constraint must answer, and that a new one needs nothing but its class."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.fit import Model, asimov, impacts, pulls
from systwise.parameters import (
    AbstractConstraint,
    AsymmetricGaussianConstraint,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    NoConstraint,
    Normalisation,
    Nuisance,
    PoissonConstraint,
    UniformConstraint,
    signal_strength,
)


class RootConstraint(AbstractConstraint):
    """sqrt(z) was measured with a Gaussian error: a class that the package does not know."""

    nuisance: str = eqx.field(static=True)
    error: float = eqx.field(static=True)
    measured: ClassVar[bool] = True

    def nll(self, z, auxiliary):
        return 0.5 * ((jnp.sqrt(z) - auxiliary[0]) / self.error) ** 2

    def draw(self, key, z):
        return (jnp.sqrt(z) + self.error * jax.random.normal(key, (), jnp.result_type(float)))[None]

    def asimov(self, z):
        return jnp.sqrt(z)[None]

    def information(self, z):
        return 1 / (4 * z * self.error**2)


CONSTRAINTS = [
    GaussianConstraint("rate", 0.04),
    LogNormalConstraint("rate", 1.04),
    AsymmetricGaussianConstraint("rate", 0.04, 0.04),
    CountsConstraint("rate", lambda z: 625.0 * z[None]),
    PoissonConstraint("rate", 625.0),
    RootConstraint("rate", 0.02),
]
SPAN = (0.5, 1.5)


@pytest.fixture(params=CONSTRAINTS, ids=lambda c: type(c).__name__)
def constraint(request):
    with jax.enable_x64(True):
        yield request.param


@pytest.mark.parametrize("z", [0.8, 1.0, 1.3])
def test_centre_is_where_the_observation_alone_is_likeliest(constraint, z):
    auxiliary = np.asarray(constraint.asimov(jnp.asarray(z)))
    assert constraint.observed
    assert constraint.centre(auxiliary, SPAN) == pytest.approx(z, abs=1e-7)


@pytest.mark.parametrize("z", [0.8, 1.0, 1.3])
def test_a_shift_by_one_standard_deviation_moves_the_centre_by_the_width(constraint, z):
    auxiliary = np.asarray(constraint.asimov(jnp.asarray(z)))
    width = float(constraint.information(jnp.asarray(z))) ** -0.5
    up, down = constraint.shifted(auxiliary, z, width)
    half = 0.5 * (constraint.centre(up, SPAN) - constraint.centre(down, SPAN))
    assert half == pytest.approx(width, rel=2e-3)


@pytest.mark.parametrize("nothing", [NoConstraint("rate"), UniformConstraint("rate")])
def test_where_nothing_is_observed(nothing):
    assert not nothing.observed


def rate_model(constraint):
    nuisance = Nuisance("rate", 1.0, SPAN, SPAN, SPAN, kind="norm")
    templates = np.array([[1e4, 4e4], [4e5, 1e5]])
    return Model.from_templates(
        signal_strength(-5, 5),
        [nuisance],
        [constraint],
        templates,
        normalisations=[Normalisation("rate", ("background",))],
    )


def test_a_class_of_ones_own_gives_the_impact_of_its_width():
    """sqrt(z) known to 0.02 is z known to 0.04: a shift of the observation by 0.04 doubled the impact."""
    found = []
    for constraint in (RootConstraint("rate", 0.002), GaussianConstraint("rate", 0.004)):
        model = rate_model(constraint)
        found.append(impacts(model, asimov(model, 1.0, {}))["rate"])
    own, gaussian = found
    assert own.up == pytest.approx(gaussian.up, rel=5e-3)
    assert own.down == pytest.approx(gaussian.down, rel=5e-3)


def test_a_class_of_ones_own_pulls_from_where_it_is_centred():
    """An observed sqrt(z) = 1.1 prefers 1.21."""
    model = rate_model(RootConstraint("rate", 0.002))
    row = pulls(model, asimov(model, 1.0, {}, auxiliary_at={"rate": 1.21})).rows[0]
    assert row.centre == pytest.approx(1.21, abs=1e-7)
    assert row.width == pytest.approx(2 * 1.1 * 0.002, rel=1e-6)
