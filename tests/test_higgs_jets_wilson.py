"""Wilson coefficients and the couplings they stand for."""

from __future__ import annotations

import math

import pytest

from systwise.cases.higgs_jets import blind_direction, couplings
from systwise.errors import ConfigError

ALPHA_S = 0.118


@pytest.mark.parametrize(
    ("normalisation", "slope", "digits"),
    [
        (1.0, 0.0031, 1e-4),
        (4 * math.pi * ALPHA_S, 0.0021, 1e-4),
        (ALPHA_S / (4 * math.pi), 0.335, 1e-3),
        (ALPHA_S / (8 * math.pi), 0.671, 1e-3),
        (ALPHA_S / (12 * math.pi), 1.006, 1e-3),
    ],
)
def test_the_blind_direction_depends_on_the_normalisation(normalisation: float, slope: float, digits: float) -> None:
    found = blind_direction(normalisation, ALPHA_S)
    assert found == pytest.approx(slope, abs=digits)
    # Along it the couplings add up to one: the rate of gg -> h in the heavy-top limit.
    c_t, c_g = couplings(0.3, 0.3 * found, normalisation=normalisation, alpha_s=ALPHA_S)
    assert c_t + c_g == pytest.approx(1.0, abs=1e-12)
    assert c_g > 0


def test_a_positive_coefficient_lowers_the_yukawa_coupling() -> None:
    # 1 - 1.006 C v^2 / Lambda^2.
    v = 246.2197
    assert couplings(1.0, 0.0, new_physics=1000.0)[0] == pytest.approx(1 - 1.0063 * (v / 1000) ** 2, abs=1e-5)
    assert couplings(0.0, 0.0) == (1.0, 0.0)
    near, far = (couplings(1.0, 1.0, new_physics=scale) for scale in (1000.0, 2000.0))
    assert near[1] == pytest.approx(4 * far[1])


def test_impossible_scales_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        couplings(1.0, 1.0, new_physics=0.0)
