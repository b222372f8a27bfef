"""Profiles of nuisances and of two parameters: against Gaussian algebra, iminuit's minima, and fits one by one."""

from __future__ import annotations

import numpy as np
import pytest

from systwise.errors import FitError
from systwise.fit import Model, asimov, fit, profile
from systwise.fit.inference._scan2d import profile_2d, profile_parameter, rise_at
from systwise.parameters import GaussianConstraint, Normalisation, Nuisance, signal_strength
from test_fit_toy import NOMINAL, toy, toy_data

SIGNAL = np.array([1e5, 4e5, 9e5, 2e5])
BACKGROUND = np.array([4e6, 3e6, 2e6, 1e6])


def linear_model() -> Model:
    nuisance = Nuisance("rate", 1.0, (0.5, 1.5), (0.5, 1.5), (0.5, 1.5), kind="norm")
    return Model.from_templates(
        signal_strength(),
        (nuisance,),
        (GaussianConstraint("rate", 0.001),),
        np.array([SIGNAL, BACKGROUND]),
        normalisations=(Normalisation("rate", ("background",)),),
    )


@pytest.mark.slow
def test_two_dimensional_rise_of_a_gaussian_model_is_its_quadratic_form() -> None:
    model = linear_model()
    data = asimov(model, 1.0, {})
    result = fit(model, data)
    width = np.sqrt(np.diag(result.covariance))
    steps = np.linspace(-3, 3, 25)
    scan = profile_2d(model, data, ("mu", 1 + steps * width[0]), ("rate", 1 + steps * width[1]))
    assert scan.converged.all(), scan.verdict
    offsets = np.stack(np.meshgrid(steps * width[0], steps * width[1], indexing="ij"), axis=-1)
    expected = 0.5 * np.einsum("xyi,ij,xyj->xy", offsets, np.linalg.inv(result.covariance), offsets)
    np.testing.assert_allclose(scan.rise, expected, atol=0.02, rtol=0.02)
    for probability, level in scan.levels.items():
        (line,) = scan.contours(probability)
        away = line - [1.0, 1.0]
        on_line = 0.5 * np.einsum("pi,ij,pj->p", away, np.linalg.inv(result.covariance), away)
        np.testing.assert_allclose(on_line, level, rtol=0.06)
    assert "contour leaves" not in scan.verdict


def test_contour_levels_are_those_of_two_degrees_of_freedom() -> None:
    scan_levels = [2 * rise_at(p) for p in (0.6827, 0.9545)]
    assert scan_levels == pytest.approx([2.296, 6.180], abs=1e-3)
    with pytest.raises(FitError, match="between 0 and 1"):
        rise_at(1.0)


@pytest.mark.slow
def test_profile_of_the_poi_is_the_same_by_name() -> None:
    model = toy(False)
    data = toy_data(model, NOMINAL)
    values = np.linspace(0.8, 1.2, 9)
    one, other = profile(model, data, values), profile_parameter(model, data, "mu", values)
    np.testing.assert_allclose(other.nll, one.nll, atol=1e-8)
    np.testing.assert_allclose(other.slope, one.slope, atol=1e-4)
    assert other.converged.all()


def test_profile_of_a_nuisance_gives_the_fits_interval() -> None:
    model = linear_model()
    data = asimov(model, 1.0, {"rate": 1.0005})
    result = fit(model, data)
    width = result.nuisance_sigma["rate"]
    centre = result.estimates["rate"]
    scan = profile_parameter(model, data, "rate", centre + width * np.linspace(-2.5, 2.5, 11))
    assert scan.poi == "rate"
    assert float(scan.estimate) == pytest.approx(centre, abs=1e-3 * width)
    lower, upper = (float(end) for end in scan.interval(0.5))
    assert 0.5 * (upper - lower) == pytest.approx(width, rel=1e-3)


def test_a_scan_of_the_toys_angle_knows_both_minima() -> None:
    model = toy(False)
    data = toy_data(model, np.pi / 2)
    values = np.linspace(-0.3, 1.9, 23)
    scan = profile_2d(model, data, ("mu", np.linspace(0.7, 1.3, 7)), ("angle", values))
    lowest = scan.rise.min(axis=0)
    low = values[(lowest < np.roll(lowest, 1)) & (lowest < np.roll(lowest, -1))]
    assert any(abs(low - 0.0) < 0.1)
    assert any(abs(low - np.pi / 2) < 0.1)
    # Every point against a fit of its own.
    for i, j in ((0, 3), (3, 11), (6, 20)):
        alone = fit(model, data, fixed={"mu": float(scan.x[i]), "angle": float(scan.y[j])})
        assert scan.nll[i, j] == pytest.approx(alone.nll, abs=1e-7)


@pytest.mark.slow
def test_points_without_possible_counts_are_said() -> None:
    model = Model.from_templates(
        signal_strength(-20.0, 20.0),
        (Nuisance("rate", 1.0, (0.5, 1.5), (0.5, 1.5), (0.5, 1.5)),),
        (GaussianConstraint("rate", 0.1),),
        np.array([[10.0, 5.0], [50.0, 40.0]]),
        normalisations=(Normalisation("rate", ("background",)),),
    )
    scan = profile_2d(model, asimov(model, 1.0, {}), ("mu", np.linspace(-15, 5, 21)), ("rate", [0.9, 1.0, 1.1]))
    assert np.isinf(scan.nll[0]).all()
    assert "no possible expected counts" in scan.verdict
    assert "nan" not in str(scan).lower()
    assert "contour leaves the grid" in scan.verdict


def test_bad_scans_are_refused() -> None:
    model = linear_model()
    data = asimov(model, 1.0, {})
    with pytest.raises(FitError, match="given twice"):
        profile_2d(model, data, ("mu", [0, 1]), ("mu", [0, 1]))
    with pytest.raises(FitError, match="unknown parameter 'x'"):
        profile_parameter(model, data, "x", [0.0, 1.0])
    with pytest.raises(FitError, match="outside its range"):
        profile_parameter(model, data, "rate", [0.0, 1.0])
    with pytest.raises(FitError, match="increasing"):
        profile_parameter(model, data, "rate", [1.0, 0.9])
    with pytest.raises(FitError, match="stacked"):
        profile_2d(model, data.batch(), ("mu", [0, 1]), ("rate", [0.9, 1]))
