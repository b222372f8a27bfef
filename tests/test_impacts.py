"""Pulls, impacts and the statistical part: against Gaussian algebra, and on every kind of constraint."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from systwise.errors import FitError
from systwise.fit import Data, Model, asimov, fit
from systwise.fit.model._best_factors import best_factors, frozen_factors
from systwise.fit.results._auxiliary_shifts import centres, prefit_widths, shifts_of
from systwise.fit.results._impacts import impacts
from systwise.fit.results._pulls import pulls
from systwise.fit.results._split import stat_syst_split
from systwise.parameters import (
    AsymmetricGaussianConstraint,
    CorrelatedGaussian,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    Normalisation,
    Nuisance,
    UniformConstraint,
    signal_strength,
)

# So many events that the likelihood is a parabola.
SIGNAL = np.array([1e5, 4e5, 9e5, 2e5])
BACKGROUND = np.array([4e6, 3e6, 2e6, 1e6])
WIDTHS = {"a": 0.01, "b": 0.02, "c": 0.015}
COVARIANCE = [[0.01**2, 0.4 * 0.01 * 0.02], [0.4 * 0.01 * 0.02, 0.02**2]]


def rate(name: str, kind: str = "norm") -> Nuisance:
    return Nuisance(name, 1.0, (0.5, 1.5), (0.5, 1.5), (0.5, 1.5), kind=kind)  # type: ignore[arg-type]


def linear_model(correlated: bool = False, simulation: bool = False) -> Model:
    """Return three components' rates as nuisances: expected counts are linear in every one of them at mu = 1."""
    components = signal_strength()
    parts = ("a", "b", "c")
    shapes = np.array(
        [BACKGROUND * [0.5, 0.1, 0.2, 0.6], BACKGROUND * [0.3, 0.3, 0.5, 0.2], BACKGROUND * [0.2, 0.6, 0.3, 0.2]]
    )
    components = dataclasses.replace(components, names=("signal", *parts), powers=((1,), (0,), (0,), (0,)))
    nuisances = (rate("a", "detector"), rate("b", "detector"), rate("c", "theory"))
    constraints: list = [GaussianConstraint("c", WIDTHS["c"])]
    if correlated:
        constraints.append(CorrelatedGaussian(("a", "b"), COVARIANCE))
    else:
        constraints += [GaussianConstraint(name, WIDTHS[name]) for name in ("a", "b")]
    variances = np.concatenate([np.zeros((1, 4)), (0.002 * shapes) ** 2]) if simulation else None
    return Model.from_templates(
        components,
        nuisances,
        constraints,
        np.concatenate([SIGNAL[None], shapes]),
        normalisations=tuple(Normalisation(name, (name,)) for name in parts),
        variances=variances,
    )


def algebra(model: Model, correlated: bool) -> tuple[float, np.ndarray, float]:
    """Return total variance, response of mu to the centres, and statistical variance, by least squares."""
    jacobian = model.templates({}).T  # by mu, a, b, c at nominal values
    nu = jacobian.sum(axis=1)
    delta = np.zeros(4) if model.variance is None else model.factor_variance(1.0, {}) * nu**2
    precision = np.zeros((4, 4))
    covariance = np.diag([WIDTHS[n] ** 2 for n in "abc"])
    if correlated:
        covariance[:2, :2] = COVARIANCE
    precision[1:, 1:] = np.linalg.inv(covariance)
    inverse = np.diag(1 / (nu + delta))
    total = np.linalg.inv(jacobian.T @ inverse @ jacobian + precision)
    response = total[0] @ precision[:, 1:]
    gain = total[0] @ jacobian.T @ inverse
    return total[0, 0], response, float(np.sum(gain**2 * nu))


@pytest.mark.parametrize(
    ("correlated", "simulation"), [(False, False), pytest.param(True, True, marks=pytest.mark.slow)]
)
def test_contributions_of_a_gaussian_model_are_those_of_least_squares_and_close(
    correlated: bool, simulation: bool
) -> None:
    model = linear_model(correlated, simulation)
    data = asimov(model, 1.0, {})
    found = impacts(model, data, groups={"ab": ["a", "b"], "ac": ["a", "c"], "all": ["a", "b", "c"]})
    assert found.converged, found.verdict
    total, response, statistical = algebra(model, correlated)
    covariance = np.diag([WIDTHS[n] ** 2 for n in "abc"])
    if correlated:
        covariance[:2, :2] = COVARIANCE
    assert found.total == pytest.approx(math.sqrt(total), rel=1e-4)
    for j, name in enumerate("abc"):
        expected = float(response @ covariance[:, j]) / math.sqrt(covariance[j, j])
        assert found[name].up == pytest.approx(expected, rel=2e-3)
        assert found[name].down == pytest.approx(-expected, rel=2e-3)
    systematic = float(response @ covariance @ response)
    assert found.groups["all"] == pytest.approx(math.sqrt(systematic), rel=2e-3)
    pair = float(response[:2] @ covariance[:2, :2] @ response[:2])
    assert found.groups["ab"] == pytest.approx(math.sqrt(pair), rel=2e-3)
    if not correlated:
        assert found.groups["ac"] == pytest.approx(math.hypot(found["a"].size, found["c"].size), rel=1e-9)
    assert found.statistical_by_shifts == pytest.approx(math.sqrt(statistical), rel=2e-3)
    assert found.closure == pytest.approx(1.0, abs=1e-3)
    assert found.statistical == pytest.approx(math.sqrt(statistical), rel=5e-3)
    if simulation:
        assert found.simulation == pytest.approx(math.sqrt(total - systematic - statistical), rel=5e-3)
    else:
        assert found.simulation is None


def test_impacts_are_sorted_grouped_by_kind_and_printed() -> None:
    model = linear_model()
    found = impacts(model, asimov(model, 1.0, {}))
    sizes = [row.size for row in found.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert list(found.groups) == ["detector", "theory"]
    assert found.groups["theory"] == pytest.approx(found["c"].size, rel=1e-9)
    text = str(found)
    assert text.splitlines()[1].startswith(found.rows[0].nuisance)
    assert "statistical" in text
    assert "verdict: converged" in text
    assert "#2a7d2a" in found._repr_html_()


@pytest.mark.slow
def test_frozen_and_shifted_parts_differ_as_the_paper_says() -> None:
    model = linear_model(simulation=True)
    data = asimov(model, 1.0, {})
    split, shifted = stat_syst_split(model, data), impacts(model, data)
    assert split.converged, split.verdict
    jacobian = model.templates({}).T
    frozen = 1 / math.sqrt(jacobian[:, 0] @ (jacobian[:, 0] / jacobian.sum(axis=1)))
    assert split.statistical.half == pytest.approx(frozen, rel=1e-4)
    assert split.total == pytest.approx(shifted.total, rel=1e-9)
    assert split.systematic == pytest.approx(math.sqrt(split.total**2 - frozen**2), rel=1e-4)
    # Nuisances that the data constrain: freezing them removes more than their observations contribute.
    assert split.systematic > shifted.systematic
    assert split.statistical.half < shifted.statistical
    assert [row.name for row in split.groups] == ["detector", "theory", "simulation"]
    assert all(0 < row.removed < split.total for row in split.groups)
    assert "everything (statistical)" in str(split)
    assert "verdict: converged" in split._repr_html_()


def counts_rate(z: jnp.ndarray) -> jnp.ndarray:
    return jnp.stack([4000.0 * z, 100.0 / z])


CONSTRAINTS = {
    "gaussian": (GaussianConstraint("z", 0.05), 1.05, 0.95),
    "lognormal": (LogNormalConstraint("z", 1.05), 1.05, 1 / 1.05),
    "asymmetric": (AsymmetricGaussianConstraint("z", 0.03, 0.06), 1.06, 0.97),
    "counts": (CountsConstraint("z", counts_rate), 1 + 1 / math.sqrt(4100), 1 - 1 / math.sqrt(4100)),
}


def one_rate(constraint: object) -> Model:
    constraints = () if constraint is None else (constraint,)
    return Model.from_templates(
        signal_strength(-5.0, 5.0),
        (rate("z"),),
        constraints,  # type: ignore[arg-type]
        np.array([[3e5], [1e6]]),
        normalisations=(Normalisation("z", ("background",)),),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_one_bin_follows_the_shifted_observation(kind: str) -> None:
    """With one bin the data say nothing on z: it goes where the observation goes, and mu makes up for it."""
    constraint, up, down = CONSTRAINTS[kind]
    model = one_rate(constraint)
    data = asimov(model, 1.0, {})
    found = impacts(model, data)["z"]
    assert found.up == pytest.approx(-(up - 1) / 0.3, rel=1e-3)
    assert found.down == pytest.approx(-(down - 1) / 0.3, rel=1e-3)
    table = pulls(model, data)
    assert table["z"].pull == pytest.approx(0.0, abs=1e-5)
    if kind != "asymmetric":
        assert table["z"].constraint == pytest.approx(1.0, rel=1e-3)
    assert "z" in str(table)


def test_a_pulled_nuisance() -> None:
    model = linear_model()
    data = asimov(model, 1.0, {"a": 1.03})
    table = pulls(model, data)
    result = fit(model, data)
    assert table["a"].pull == pytest.approx((result.estimates["a"] - 1) / 0.01, rel=1e-9)
    assert table["a"].pull > 0.5
    assert table["a"].constraint < 1
    assert table["a"].width == pytest.approx(0.01)
    assert "#2a7d2a" in table._repr_html_()
    with pytest.raises(FitError, match="no nuisance 'x'"):
        table["x"]


def test_centres_and_widths_of_observed_auxiliary_counts() -> None:
    model = one_rate(CountsConstraint("z", counts_rate))
    data = Data(np.array([1.3e6]), (np.array([4200.0, 95.0]),))
    centre = centres(model, data)[0]
    # d/dz of 4000 z - 4200 ln z + 100/z + 95 ln z vanishes.
    assert 4000 * centre**2 - 4105 * centre - 100 == pytest.approx(0.0, abs=0.5)
    width = prefit_widths(model, np.array([centre]))[0]
    assert width == pytest.approx((4000 / centre + 100 / centre**3) ** -0.5, rel=1e-9)
    shift = shifts_of(model, data, ["z"])[0]
    np.testing.assert_allclose(shift.up, [4200 * (1 + width / centre), 95 / (1 + width / centre)], rtol=1e-6)


@pytest.mark.parametrize("constraint", [None, UniformConstraint("z")])
def test_a_free_nuisance_belongs_to_the_statistical_part(constraint: object) -> None:
    model = Model.from_templates(
        signal_strength(),
        (rate("z"),),
        () if constraint is None else (constraint,),  # type: ignore[arg-type]
        np.array([SIGNAL, BACKGROUND]),
        normalisations=(Normalisation("z", ("background",)),),
    )
    found = impacts(model, asimov(model, 1.0, {}))
    assert found["z"].up is None
    assert "free" in found["z"].remark
    assert found.systematic == 0
    assert found.statistical_by_shifts == pytest.approx(found.total, rel=2e-3)
    table = pulls(model, asimov(model, 1.0, {}))
    assert table["z"].pull is None
    assert "free" in str(table)


def test_frozen_simulation_factors_stay() -> None:
    model = linear_model(simulation=True)
    data = asimov(model, 1.2, {"b": 1.05})
    result = fit(model, data)
    still, at = frozen_factors(model, data, result.estimates)
    again = fit(still, at)
    for name, value in result.estimates.items():
        assert again.estimates[name] == pytest.approx(value, abs=1e-4)
    assert again.sigma < result.sigma
    np.testing.assert_allclose(
        best_factors(still, at, again.estimates), best_factors(model, data, result.estimates), atol=1e-9
    )


@pytest.mark.slow
def test_a_nuisance_without_effect_or_constraint_is_named() -> None:
    """Nothing determines z: no number for it, a verdict, and still a table to read."""
    idle = Nuisance("idle", 0.0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0))
    templates = np.broadcast_to(np.array([[30.0, 60.0], [900.0, 500.0]]), (3, 2, 2))
    model = Model.from_templates(signal_strength(), (idle,), (), templates)
    data = asimov(model, 1.0, {})
    table, found, split = pulls(model, data), impacts(model, data), stat_syst_split(model, data)
    assert table["idle"].sigma is None
    assert "constrains it" in table["idle"].remark
    for result in (table, found, split):
        assert "NOT converged" in result.verdict
        assert "nan" not in str(result).lower()
        assert "#b02020" in result._repr_html_()


@pytest.mark.slow
def test_an_interval_that_does_not_close_is_said() -> None:
    """A range too short for an upper end: no statistical part, and a sentence."""
    model = Model.from_templates(
        signal_strength(0.5, 1.05),
        (rate("z"),),
        (GaussianConstraint("z", 0.02),),
        np.array([[300.0, 100.0], [3000.0, 4000.0]]),
        normalisations=(Normalisation("z", ("background",)),),
    )
    data = asimov(model, 1.0, {})
    found, split = impacts(model, data), stat_syst_split(model, data)
    assert found.statistical is None
    assert "no two-sided interval" in found.verdict
    assert "no two-sided interval" in split.verdict
    assert "nan" not in (str(found) + str(split)).lower()


def test_bad_requests_are_refused() -> None:
    model = linear_model()
    data = asimov(model, 1.0, {})
    with pytest.raises(FitError, match=r"group 'x': unknown nuisance 'q' \(known: a, b, c\)"):
        impacts(model, data, groups={"x": ["q"]})
    with pytest.raises(FitError, match="unknown parameter of interest"):
        stat_syst_split(model, data, "a")
    for function in (impacts, pulls, stat_syst_split):
        with pytest.raises(FitError, match="stacked"):
            function(model, data.batch())
    with pytest.raises(FitError, match="no nuisance 'q'"):
        impacts(model, data)["q"]
