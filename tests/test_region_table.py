"""Histograms of a region: parameters of interest, variations and the sample-wide value that a score is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from significance_tables import HOLDOUTS, components, table
from systwise.errors import ConfigError, DataError, TemplateError
from systwise.study import RegionTable
from systwise.study.significance._region_table import Anchors


def power_law(s_values: np.ndarray, exponent: float = 1.5) -> RegionTable:
    """One bin at s^exponent, one at 1 / s; a single component."""
    counts = np.stack([s_values**exponent, 10 / s_values], axis=-1)[:, None, None, :] * np.ones((1, 3, 1, 1))
    return RegionTable(
        name="hj",
        component_names=("tt",),
        powers=((2, 0),),
        sample_values=s_values,
        variations=("nominal", "down", "up"),
        counts=counts,
        rates=np.array([[10.0], [14.0], [8.0]]),
        anchors=(Anchors("scale", (-1.0, 0.0, 1.0), (1, 0, 2)),),
    )


def test_expected_counts_are_quadratic_in_the_couplings() -> None:
    hj = table("hj")
    tt, tg, gg = components("hj")
    for c_t, c_g in ((1.0, 0.0), (0.6, 0.4), (1.2, -0.2), (0.0, 1.0)):
        wanted = 3.0 * (c_t**2 * tt + c_t * c_g * tg + c_g**2 * gg)
        np.testing.assert_allclose(hj.expected((c_t, c_g), "nominal"), wanted, rtol=1e-12)
        assert hj.rate((c_t, c_g)) == pytest.approx(wanted.sum() / 3000, rel=1e-12)
    # The generator's fact sheet: (0.6, 0.4) has 0.981 of the standard model's rate, and 1.40 of it at 400-500 GeV.
    ratio = hj.expected((0.6, 0.4)) / hj.expected((1.0, 0.0))
    assert ratio[7] == pytest.approx(1.4039, rel=2e-3)
    assert hj.rate((0.6, 0.4)) / hj.rate((1.0, 0.0)) == pytest.approx(0.981, abs=2e-3)


def test_templates_are_the_anchors_in_order() -> None:
    hj = table("hj")
    (scale,) = hj.anchors
    templates = hj.contents((0.8, 0.2), scale.variations)[:, 0]
    assert templates.shape == (9, hj.bins)
    for row, index in zip(templates, scale.variations, strict=True):
        np.testing.assert_array_equal(row, hj.expected((0.8, 0.2), index))
    # Along the scale the rate falls.
    assert np.all(np.diff(templates.sum(axis=1)) < 0)
    assert [hj.variations[i] for i in hj.holdouts] == list(HOLDOUTS)
    assert len(hj.moved) == 8


def test_groups_add_up_to_the_whole() -> None:
    hj = table("hj")
    parts = hj.contents((0.8, 0.2), [0, 1], groups=[[0, 1], [2]])
    assert parts.shape == (2, 2, hj.bins)
    np.testing.assert_allclose(parts.sum(axis=1), hj.contents((0.8, 0.2), [0, 1])[:, 0], rtol=1e-12)
    np.testing.assert_allclose(parts[0, 1], 0.04 * hj.counts[0, 0, 2], rtol=1e-12)


def test_the_told_cross_section_is_interpolated() -> None:
    coarse = power_law(np.geomspace(5, 20, 9))
    for s in coarse.sample_values:
        # Exact at the grid.
        np.testing.assert_allclose(coarse.expected((1.0, 0.0), 0, float(s)), [s**1.5, 10 / s], rtol=1e-13)
    for s in (5.3, 9.1, 17.7):
        np.testing.assert_allclose(coarse.expected((1.0, 0.0), 0, s), [s**1.5, 10 / s], rtol=1e-4)
    # By default each hypothesis and variation is told its own: 10 pb c_t^2 nominally, 14 pb c_t^2 at z = -1.
    templates = coarse.contents((1.1, 0.0), [1, 0])[:, 0]
    for row, s in zip(templates, (14 * 1.21, 10 * 1.21), strict=True):
        np.testing.assert_allclose(row, 1.21 * np.array([s**1.5, 10 / s]), rtol=1e-4)
    # Told one number, the two variations differ no more.
    same = coarse.contents((1.1, 0.0), [1, 0], 10.0)[:, 0]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-13)


def test_between_tabulated_numbers_no_event_is_lost() -> None:
    """A score that only repeats what it is told: a peak of one bin, which a spline between two bins would shrink."""
    plain = power_law(np.geomspace(5, 20, 9))
    counts = np.zeros((9, *plain.counts.shape[1:3], 9))
    counts[np.arange(9), :, :, np.arange(9)] = 100.0
    peaked = dataclasses.replace(plain, counts=counts)
    for s in np.geomspace(5, 20, 40):
        assert peaked.expected((1.0, 0.0), 0, float(s)).sum() == pytest.approx(100.0, rel=1e-9)


def test_a_steep_interpolation_stays_positive() -> None:
    steep = power_law(np.array([1.0, 3.0, 9.0, 27.0]), exponent=6.0)
    values = np.array([steep.expected((1.0, 0.0), 0, s) for s in np.geomspace(1, 27, 101)])
    assert (values >= 0).all()


def test_a_score_that_ignores_the_cross_section_needs_one_value() -> None:
    hj = table("hj")
    np.testing.assert_array_equal(hj.expected((2.0, 1.0), 0, 1e4), hj.expected((2.0, 1.0), 0))


def test_cross_sections_beyond_the_table_are_refused() -> None:
    law = power_law(np.geomspace(5, 20, 9))
    with pytest.raises(DataError, match="region 'hj': a sample-wide value of 40 lies outside the tabulated 5 to 20"):
        law.expected((2.0, 0.0), "nominal")
    with pytest.raises(DataError, match=r"the rate at \(0, 0\) is 0"):
        law.rate((0.0, 0.0))


def test_a_negative_bin_is_named() -> None:
    counts = np.array(table("hj").counts)
    counts[:, 0, 1, 3] *= 10
    broken = dataclasses.replace(table("hj"), counts=counts)
    with pytest.raises(TemplateError, match=r"interference at \(1, -0\.9\) makes bin 3 of 'nominal' negative"):
        broken.expected((1.0, -0.9), "nominal")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"anchors": (Anchors("scale", (-1.0, 1.0), (3, 4)),)}, ConfigError, "the nominal variation among them"),
        ({"anchors": (Anchors("scale", (-1.0, 0.0), (0,)),)}, ConfigError, "one index each"),
        ({"anchors": (Anchors("scale", (1.0, 0.0), (3, 0)),)}, ConfigError, "anchors must increase"),
        ({"holdouts": (11,)}, ConfigError, "exceeds 11 variations"),
        ({"sample_values": np.array([-1.0])}, DataError, "must be positive and increase"),
        ({"component_names": ("tt", "tg")}, ConfigError, r"must be \(s, variation, component, bin\)"),
        ({"powers": ((2, 0),)}, ConfigError, "1 rows of powers do not fit"),
        ({"rates": np.full((11, 3), np.nan)}, DataError, "not finite"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(changes: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        dataclasses.replace(table("hj"), **changes)


def test_the_blind_slope_is_that_of_finite_differences() -> None:
    """The rate is quadratic, so that central differences are exact."""
    hj = table("hj")
    for c_t, c_g in ((1.0, 0.0), (0.7, 0.4)):
        first, second = (
            hj.rate((c_t + 0.01 * a, c_g + 0.01 * b)) - hj.rate((c_t - 0.01 * a, c_g - 0.01 * b))
            for a, b in ((1, 0), (0, 1))
        )
        assert hj.blind_slope((c_t, c_g)) == pytest.approx(-first / second, rel=1e-9)
    assert power_law(np.geomspace(5, 20, 9)).blind_slope((1.0,)) is None


def test_an_unknown_variation_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown variation 'muR'"):
        table("hj").expected((1.0, 0.0), "muR")
