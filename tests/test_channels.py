"""Score histograms of a process: couplings, scale variations and the cross section that a score is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from significance_tables import HOLDOUTS, components, table
from systwise.errors import ConfigError, DataError, TemplateError
from systwise.study._channels import ChannelTable


def power_law(s_values: np.ndarray, exponent: float = 1.5) -> ChannelTable:
    """One bin at s^exponent, one at 1 / s; a single component."""
    counts = np.stack([s_values**exponent, 10 / s_values], axis=-1)[:, None, None, :] * np.ones((1, 2, 1, 1))
    return ChannelTable(
        name="hj",
        component_names=("tt",),
        powers=((2, 0),),
        s_values=s_values,
        variations=("down", "nominal"),
        counts=counts,
        variances=counts,
        cross_sections=np.array([[14.0], [10.0]]),
        anchor_z=(-1.0, 0.0),
        anchor_index=(0, 1),
    )


def test_expected_counts_are_quadratic_in_the_couplings() -> None:
    hj = table("hj")
    tt, tg, gg = components("hj")
    for c_t, c_g in ((1.0, 0.0), (0.6, 0.4), (1.2, -0.2), (0.0, 1.0)):
        wanted = 3.0 * (c_t**2 * tt + c_t * c_g * tg + c_g**2 * gg)
        np.testing.assert_allclose(hj.expected((c_t, c_g), "z = 0"), wanted, rtol=1e-12)
        assert hj.cross_section((c_t, c_g), 2) == pytest.approx(wanted.sum() / 3000, rel=1e-12)
    # The generator's fact sheet: (0.6, 0.4) has 0.981 of the standard model's rate, and 1.40 of it at 400-500 GeV.
    ratio = hj.expected((0.6, 0.4), 2) / hj.expected((1.0, 0.0), 2)
    assert ratio[7] == pytest.approx(1.4039, rel=2e-3)
    assert hj.cross_section((0.6, 0.4), 2) / hj.cross_section((1.0, 0.0), 2) == pytest.approx(0.981, abs=2e-3)


def test_templates_are_the_anchors_in_order() -> None:
    hj = table("hj")
    templates = hj.templates((0.8, 0.2))
    assert templates.shape == (5, hj.bins)
    for row, index in zip(templates, hj.anchor_index, strict=True):
        np.testing.assert_array_equal(row, hj.expected((0.8, 0.2), index))
    assert [hj.variations[i] for i in hj.holdout_index] == list(HOLDOUTS)
    assert hj.variations[hj.nominal] == "z = 0"


def test_the_told_cross_section_is_interpolated() -> None:
    coarse = power_law(np.geomspace(5, 20, 9))
    for s in coarse.s_values:
        # Exact at the grid.
        np.testing.assert_allclose(coarse.expected((1.0, 0.0), 1, float(s)), [s**1.5, 10 / s], rtol=1e-13)
    for s in (5.3, 9.1, 17.7):
        np.testing.assert_allclose(coarse.expected((1.0, 0.0), 1, s), [s**1.5, 10 / s], rtol=1e-4)
    # By default each hypothesis and variation is told its own: 10 pb c_t^2 nominally, 14 pb c_t^2 at z = -1.
    templates = coarse.templates((1.1, 0.0))
    for row, s in zip(templates, (14 * 1.21, 10 * 1.21), strict=True):
        np.testing.assert_allclose(row, 1.21 * np.array([s**1.5, 10 / s]), rtol=1e-4)
    # Told one number, the two variations differ no more.
    same = coarse.templates((1.1, 0.0), 10.0)
    np.testing.assert_allclose(same[0], same[1], rtol=1e-13)


def test_between_tabulated_numbers_no_event_is_lost() -> None:
    """A score that only repeats what it is told: a peak of one bin, which a spline between two bins would shrink."""
    plain = power_law(np.geomspace(5, 20, 9))
    counts = np.zeros((9, *plain.counts.shape[1:3], 9))
    counts[np.arange(9), :, :, np.arange(9)] = 100.0
    peaked = dataclasses.replace(plain, counts=counts, variances=counts)
    for s in np.geomspace(5, 20, 40):
        assert peaked.expected((1.0, 0.0), 1, float(s)).sum() == pytest.approx(100.0, rel=1e-9)


def test_a_steep_interpolation_stays_positive() -> None:
    steep = power_law(np.array([1.0, 3.0, 9.0, 27.0]), exponent=6.0)
    values = np.array([steep.expected((1.0, 0.0), 1, s) for s in np.geomspace(1, 27, 101)])
    assert (values >= 0).all()


def test_a_score_that_ignores_the_cross_section_needs_one_value() -> None:
    hj = table("hj")
    np.testing.assert_array_equal(hj.expected((2.0, 1.0), 0, 1e4), hj.expected((2.0, 1.0), 0))


def test_variances_of_components_add_as_one_event_makes_them() -> None:
    hj = table("hj")
    single = hj.variance((2.0, 0.0), 2)
    np.testing.assert_allclose(single, 16 * hj.variances[0, 2, 0], rtol=1e-12)
    spread = 0.36 * np.sqrt(hj.variances[0, 2, 0]) + 0.24 * np.sqrt(hj.variances[0, 2, 1])
    spread += 0.16 * np.sqrt(hj.variances[0, 2, 2])
    np.testing.assert_allclose(hj.variance((0.6, 0.4), 2), spread**2, rtol=1e-12)
    law = power_law(np.geomspace(5, 20, 9))
    np.testing.assert_allclose(law.variance((1.0, 0.0), 1), [10**1.5, 1.0], rtol=0.02)


def test_luminosity_scales_counts_and_not_the_sample() -> None:
    hj = table("hj")
    more = hj.with_luminosity(10.0)
    np.testing.assert_allclose(more.counts, 10 * hj.counts)
    relative = [np.sqrt(t.variance((1.0, 0.0), 2)) / t.expected((1.0, 0.0), 2) for t in (hj, more)]
    np.testing.assert_allclose(relative[0], relative[1])
    assert more.cross_section((1.0, 0.0), 2) == hj.cross_section((1.0, 0.0), 2)


def test_cross_sections_beyond_the_table_are_refused() -> None:
    law = power_law(np.geomspace(5, 20, 9))
    with pytest.raises(DataError, match="channel 'hj': a cross section of 40 pb lies outside the tabulated 5 to 20 pb"):
        law.expected((2.0, 0.0), "nominal")
    with pytest.raises(DataError, match=r"the cross section at \(0, 0\) is 0 pb"):
        law.cross_section((0.0, 0.0), 1)


def test_a_negative_bin_is_named() -> None:
    counts = np.array(table("hj").counts)
    counts[:, 2, 1, 3] *= 10
    broken = dataclasses.replace(table("hj"), counts=counts)
    with pytest.raises(TemplateError, match=r"interference at \(1, -0\.9\) makes bin 3 of 'z = 0' negative"):
        broken.expected((1.0, -0.9), "z = 0")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"anchor_z": (-1.0, -0.5, 0.1, 0.5, 1.0)}, ConfigError, "z = 0 among them"),
        ({"anchor_z": (-1.0, 0.0)}, ConfigError, "one index each"),
        ({"anchor_z": (1.0, 0.5, 0.0, -0.5, -1.0)}, ConfigError, "anchor_z must increase"),
        ({"holdout_index": (7,)}, ConfigError, "exceeds 7 variations"),
        ({"s_values": np.array([-1.0])}, DataError, "must be positive and increase"),
        ({"component_names": ("tt", "tg")}, ConfigError, r"must be \(s, variation, component, bin\)"),
        ({"powers": ((2, 0),)}, ConfigError, "1 rows of powers do not fit"),
        ({"cross_sections": np.full((7, 3), np.nan)}, DataError, "not finite"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(changes: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        dataclasses.replace(table("hj"), **changes)


def test_an_unknown_variation_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown variation 'muR'"):
        table("hj").expected((1.0, 0.0), "muR")
