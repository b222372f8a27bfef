"""What every constraint must answer, and that a new one needs nothing but its class."""

from __future__ import annotations

import json
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.errors import ConfigError
from systwise.fit import Model, asimov, impacts, pulls
from systwise.parameters import (
    AbstractConstraint,
    AsymmetricGaussianConstraint,
    CorrelatedGaussian,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    NoConstraint,
    Normalisation,
    Nuisance,
    PoissonConstraint,
    UniformConstraint,
    constraint_kinds,
    constraint_of,
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


def test_every_class_is_tested_here():
    """A new constraint is a class and an entry in `CONSTRAINTS`."""
    free = {NoConstraint, UniformConstraint}
    assert {type(c) for c in CONSTRAINTS} | free >= {
        kind for kind in constraint_kinds() if kind.__module__.startswith("systwise.")
    }
    assert RootConstraint in constraint_kinds()


def test_a_file_holds_it_or_says_what_it_cannot(constraint):
    record = json.loads(json.dumps(constraint.record()))
    if isinstance(constraint, CountsConstraint):
        with pytest.raises(ConfigError, match="its expected is a formula"):
            constraint_of(record)
        return
    again = constraint_of(record)
    assert type(again) is type(constraint)
    z, auxiliary = jnp.asarray(1.1), constraint.asimov(jnp.asarray(0.9))
    assert float(again.nll(z, auxiliary)) == float(constraint.nll(z, auxiliary))


@pytest.mark.parametrize("plain", [NoConstraint("rate"), UniformConstraint("rate")])
def test_a_file_holds_that_nothing_is_known(plain):
    assert constraint_of(plain.record()) == plain


def test_an_unknown_class_is_said():
    with pytest.raises(ConfigError, match="no class 'FlatEarth'"):
        constraint_of({"kind": "FlatEarth", "nuisance": "rate"})


@pytest.mark.parametrize("alpha", [-1.7, -0.5, 0.0, 0.8, 2.0])
def test_standard_deviations_make_it_a_unit_gaussian(constraint, alpha):
    deviations = constraint.deviations(1.0)
    gaussian = {"GaussianConstraint", "LogNormalConstraint", "AsymmetricGaussianConstraint"}
    assert (deviations is not None) is (type(constraint).__name__ in gaussian)
    if deviations is None:
        return
    auxiliary = constraint.asimov(jnp.asarray(1.0))
    z = deviations.value(alpha)
    assert float(constraint.nll(jnp.asarray(z), auxiliary)) == pytest.approx(0.5 * alpha**2, abs=1e-12)
    assert deviations.alpha(z) == pytest.approx(alpha, abs=1e-12)


def test_information_is_a_matrix_for_one_nuisance_as_for_several(constraint):
    matrix = constraint.information_matrix(np.array([1.1]))
    assert matrix.shape == (1, 1)
    assert matrix[0, 0] == pytest.approx(float(constraint.information(jnp.asarray(1.1))))
    joint = CorrelatedGaussian(["a", "b"], [[4.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(joint.information_matrix(np.zeros(2)) @ np.array([[4.0, 1.0], [1.0, 1.0]]), np.eye(2))
    assert joint.nuisances == ("a", "b")
    assert constraint.nuisances == ("rate",)
    again = constraint_of(json.loads(json.dumps(joint.record())))
    assert again == joint


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
