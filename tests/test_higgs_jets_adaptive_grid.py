"""The sampling that learns where weights are large: densities, integrals, and what it gains."""

from __future__ import annotations

import numpy as np
import pytest

from systwise.cases.higgs_jets._adaptive_grid import ROUNDS, AdaptiveGrid, learn_grid
from systwise.cases.higgs_jets._generator import BLOCK, generate
from systwise.cases.higgs_jets._generator_settings import GeneratorSettings
from systwise.cases.higgs_jets._partons import find_grid
from systwise.cases.higgs_jets._sampling import AdaptedPowerLaw, PowerLaw
from systwise.errors import DataError


def numbers(*shape):
    return np.random.default_rng(5).random(shape)


def steep(values):
    """Return x^3 exp(-20 y): a product, with the integral (1 - exp(-20)) / 80."""
    return values[0] ** 3 * np.exp(-20 * values[1])


@pytest.fixture(scope="module")
def learned():
    def integrand(grid, uniform):
        values, inverse = grid.draw(uniform)
        return steep(values) * inverse

    return learn_grid(2, integrand, numbers(ROUNDS, 2, 20_000))


def effective(weights):
    return weights.sum() ** 2 / len(weights) / np.square(weights).sum()


def test_nothing_learned_is_the_identity():
    uniform = numbers(3, 1000)
    values, inverse = AdaptiveGrid.uniform(3).draw(uniform)
    assert values == pytest.approx(uniform, abs=1e-12)
    assert inverse == pytest.approx(1.0, abs=1e-12)


def test_learned_product_is_nearly_flat_and_keeps_its_integral(learned):
    uniform = numbers(2, 100_000)
    values, inverse = learned.draw(uniform)
    weights = steep(values) * inverse
    exact = (1 - np.exp(-20)) / 80
    assert abs(weights.mean() - exact) < 4 * weights.std() / np.sqrt(100_000)
    assert effective(steep(uniform)) < 0.1
    assert effective(weights) > 0.95


def test_density_is_that_of_the_drawn_numbers(learned):
    values, inverse = learned.draw(numbers(2, 5000))
    assert learned.density(values) * inverse == pytest.approx(1.0, rel=1e-9)
    # One number's density, on a fine lattice, integrates to one.
    lattice = (np.arange(200_000) + 0.5) / 200_000
    for number in range(2):
        assert learned.part(number, number + 1).density(lattice[None]).mean() == pytest.approx(1, rel=1e-3)


def test_integrand_of_zeros_teaches_nothing():
    grid = AdaptiveGrid.uniform(2)
    assert np.array_equal(grid.refined(numbers(2, 100), np.zeros(100)).edges, grid.edges)


def test_adapted_power_law_is_drawn_as_its_density_says(learned):
    adapted = AdaptedPowerLaw(PowerLaw(3.0), learned.part(1, 2))
    values = adapted.draw(numbers(200_000), 30.0, 6000.0)
    # The mean of 1/density over a region is the region's length.
    for low, high in ((30, 31), (31, 40), (40, 80)):
        terms = ((values > low) & (values < high)) / adapted.density(values, 30.0, 6000.0)
        assert abs(terms.mean() - (high - low)) < 5 * terms.std() / np.sqrt(200_000)
    assert PowerLaw(3.0).cumulative(PowerLaw(3.0).draw(numbers(100), 30, 90), 30, 90) == pytest.approx(numbers(100))


@pytest.mark.parametrize(("process", "fraction"), [("hj", 0.85), ("hjj", 0.65)])
def test_weights_are_nearly_equal_without_a_tail(process, fraction):
    """Effective fraction of the physical weights with cut losses counted: 0.93 (hj) and 0.75 (hjj); 0.28 unlearned."""
    try:
        find_grid(GeneratorSettings().pdf)
    except DataError as error:
        pytest.skip(str(error))
    assert generate(process, BLOCK, 3, GeneratorSettings(tail_fraction=0.0)).effective_fraction > fraction
