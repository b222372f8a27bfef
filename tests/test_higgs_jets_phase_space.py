"""Phase space of Higgs + jets against volumes that are known in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from systwise.cases.higgs_jets._one_jet_phase_space import ONE_JET_NUMBERS, sample_one_jet
from systwise.cases.higgs_jets._phase_space import Acceptance
from systwise.cases.higgs_jets._physics import PICOBARN
from systwise.cases.higgs_jets._sampling import Logistic, PowerLaw, TailedPowerLaw
from systwise.cases.higgs_jets._two_jet_phase_space import TWO_JET_NUMBERS, sample_two_jets


def numbers(dimensions, count, seed=1):
    return np.random.default_rng(seed).random((dimensions, count))


TAILED = TailedPowerLaw(PowerLaw(3.2), 4.0, 0.3, 30.0, 200.0, 6000.0)


def test_tailed_power_law_is_normalised_and_drawn_as_it_says():
    def density(value):
        return float(TAILED.density(np.array([value]))[0])

    pieces = [quad(density, low, high, limit=200)[0] for low, high in ((30, 200), (200, 6000), (6000, 1e7))]
    assert sum(pieces) == pytest.approx(1, abs=1e-6)
    values = TAILED.draw(numbers(3, 400_000))
    for low, high in ((30, 60), (60, 200), (200, 300), (300, 600), (600, 1000)):
        expected = quad(density, low, high)[0]
        found = np.mean((values > low) & (values < high))
        assert abs(found - expected) < 4 * np.sqrt(expected / 400_000)


def test_tail_sets_in_without_a_step():
    below, above = TAILED.density(np.array([200 - 1e-6, 200 + 1e-6]))
    assert above == pytest.approx(below, rel=1e-5)


def test_cut_logistic_is_drawn_as_it_says():
    low, high = np.full(200_000, -0.5), np.full(200_000, 2.0)
    values, inverse = Logistic(0.8).draw_between(numbers(1, 200_000)[0], low, high)
    assert values.min() > -0.5
    assert values.max() < 2
    # The mean of f/density is the integral of f.
    for power in (0, 1, 2):
        exact = (2.0 ** (power + 1) - (-0.5) ** (power + 1)) / (power + 1)
        terms = values**power * inverse
        assert abs(terms.mean() - exact) < 4 * terms.std() / np.sqrt(200_000) + 1e-12


def test_no_room_means_no_weight():
    values, inverse = Logistic(0.8).draw_between(np.array([0.3]), np.array([1.0]), np.array([0.5]))
    assert values == 0
    assert inverse == 0


def test_one_jet_kinematics():
    acceptance = Acceptance()
    points = sample_one_jet(numbers(ONE_JET_NUMBERS, 50_000), acceptance)
    points = points.select(points.weight > 0)
    s, t, u = points.invariants
    np.testing.assert_allclose(s, points.x1 * points.x2 * acceptance.energy**2, rtol=1e-9)
    np.testing.assert_allclose(t * u / s, points.jet_pt**2, rtol=1e-9)
    assert np.abs(points.jet_rapidity).max() < acceptance.jet_eta
    assert points.jet_pt.min() >= acceptance.jet_pt
    assert max(points.x1.max(), points.x2.max()) <= 1


def test_two_jet_kinematics():
    acceptance = Acceptance()
    points = sample_two_jets(numbers(TWO_JET_NUMBERS, 50_000), acceptance)
    points = points.select(points.weight > 0)
    p1, p2, p3, p4 = np.moveaxis(points.momenta, 1, 0)
    metric = np.array([1, -1, -1, -1])
    for momentum in (p1, p2, p3, p4):
        np.testing.assert_allclose((momentum**2) @ metric, 0, atol=1e-6 * momentum[:, 0].max() ** 2)
    higgs = p1 + p2 - p3 - p4
    np.testing.assert_allclose(np.sqrt((higgs**2) @ metric), acceptance.higgs_mass, rtol=1e-6)
    np.testing.assert_allclose(np.hypot(higgs[:, 1], higgs[:, 2]), points.higgs_pt, atol=1e-6)
    np.testing.assert_allclose(np.arctanh(higgs[:, 3] / higgs[:, 0]), points.higgs_rapidity, atol=1e-6)
    assert np.hypot(np.diff(points.jet_rapidity, axis=0)[0], points.angle).min() > acceptance.jet_separation
    assert np.abs(points.jet_rapidity).max() < acceptance.jet_eta
    assert points.jet_pt.min() >= acceptance.jet_pt
    # Each order of the jets is as likely as the other.
    assert abs(np.mean(points.jet_pt[0] > points.jet_pt[1]) - 0.5) < 4 * 0.5 / np.sqrt(len(points.weight))


OPEN = Acceptance(energy=2000, jet_pt=5, jet_eta=30, jet_separation=0.02, tail_fraction=0.9, tail_pt=40)


def volume(phase_space, low, high):
    """Return the integral of dx1/x1 dx2/x2 phase_space(s)/(2 s) over low < sqrt(s) < high, in pb GeV^2."""
    total = OPEN.energy**2

    def integrand(logarithm):
        s = np.exp(logarithm)
        return np.log(total / s) * phase_space(s) / (2 * s)

    return PICOBARN * quad(integrand, 2 * np.log(low), 2 * np.log(high))[0]


def mean_between(points, s, low, high):
    inside = (s > low**2) & (s < high**2)
    terms = np.where(inside, points.weight, 0.0)
    return terms.mean(), terms.std() / np.sqrt(len(terms))


@pytest.mark.parametrize(("low", "high"), [(300, 400), (400, 600)])
def test_one_jet_volume_is_that_of_two_bodies(low, high):
    """(1 - m^2/s) / (8 pi), less the little that lies below the jet threshold."""
    points = sample_one_jet(numbers(ONE_JET_NUMBERS, 600_000), OPEN)
    found, error = mean_between(points, points.invariants[0], low, high)
    expected = volume(lambda s: (1 - OPEN.higgs_mass**2 / s) / (8 * np.pi), low, high)
    assert error < 0.01 * expected
    assert abs(found - expected) < 3 * error + 0.002 * expected


def test_two_jet_volume_is_that_of_three_bodies():
    """s (1 - r^2 + 2 r ln r) / (256 pi^3), r = m^2/s, less the per cent below the thresholds."""
    points = sample_two_jets(numbers(TWO_JET_NUMBERS, 400_000), OPEN)
    found, error = mean_between(points, points.x1 * points.x2 * OPEN.energy**2, 300, 400)

    def three_bodies(s):
        r = OPEN.higgs_mass**2 / s
        return s * (1 - r**2 + 2 * r * np.log(r)) / (256 * np.pi**3)

    expected = volume(three_bodies, 300, 400)
    assert error < 0.02 * expected
    assert abs(found - expected) < 3 * error + 0.01 * expected


def boosted(momentum, beta_gamma):
    """Boost [event, (E, p)] of two massless particles back to back by the motion of their pair."""
    along = np.einsum("ei,ei->e", momentum[:, 1:], beta_gamma)
    gamma = np.sqrt(1 + np.einsum("ei,ei->e", beta_gamma, beta_gamma))
    energy = gamma * momentum[:, 0] + along
    return energy, momentum[:, 1:] + beta_gamma * (along / (1 + gamma) + momentum[:, 0])[:, None]


def direction(first, second):
    cosine, azimuth = 2 * first - 1, 2 * np.pi * second
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=-1)


def test_two_jet_integral_agrees_with_flat_phase_space():
    """The acceptance is a hadron collider's; the other side is a chain of isotropic two-body decays."""
    acceptance, low, high, count = Acceptance(energy=2000), 400.0, 900.0, 400_000
    mass2 = acceptance.higgs_mass**2

    u = numbers(8, count, seed=5)
    logarithm = 2 * np.log(low) + 2 * np.log(high / low) * u[0]
    s = np.exp(logarithm)
    span = np.log(acceptance.energy**2 / s)
    rapidity = span * (u[1] - 0.5)
    pair2 = (np.sqrt(s) - acceptance.higgs_mass) ** 2 * u[2]
    momentum = np.sqrt((s - mass2 - pair2) ** 2 - 4 * mass2 * pair2) / (2 * np.sqrt(s))
    flat = 2 * np.log(high / low) * span / (2 * s) * (np.sqrt(s) - acceptance.higgs_mass) ** 2 / (2 * np.pi)
    flat = flat * momentum / (4 * np.pi * np.sqrt(s)) / (8 * np.pi)
    axis = direction(u[5], u[6]) * np.sqrt(pair2)[:, None] / 2
    motion = momentum[:, None] * direction(u[3], u[4]) / np.sqrt(pair2)[:, None]
    jets = [boosted(np.concatenate([np.sqrt(pair2)[:, None] / 2, sign * axis], axis=1), motion) for sign in (1, -1)]
    pt = np.stack([np.hypot(p[:, 0], p[:, 1]) for _, p in jets])
    y = np.stack([np.arctanh(p[:, 2] / energy) for energy, p in jets]) + rapidity
    azimuth = np.arctan2(*(jets[0][1][:, [1, 0]].T)) - np.arctan2(*(jets[1][1][:, [1, 0]].T))
    azimuth = np.abs(np.remainder(azimuth + np.pi, 2 * np.pi) - np.pi)
    inside = (pt.min(axis=0) > 30) & (np.abs(y).max(axis=0) < 4.5) & (np.hypot(y[0] - y[1], azimuth) > 0.4)

    points = sample_two_jets(numbers(TWO_JET_NUMBERS, count), acceptance)
    s = points.x1 * points.x2 * acceptance.energy**2
    drawn = np.where((s > low**2) & (s < high**2), points.weight, 0.0)
    distance = np.abs(np.diff(points.jet_rapidity, axis=0)[0])

    def functions(pt, distance, azimuth):
        hard, soft = pt.max(axis=0), pt.min(axis=0)
        spectrum = 1e5 / (hard * soft) ** 1.5
        return [spectrum, spectrum * (hard > 200), spectrum * (distance < 0.7), spectrum * azimuth, spectrum * soft]

    first = functions(points.jet_pt, distance, np.abs(points.angle))
    second = functions(pt, np.abs(y[0] - y[1]), azimuth)
    for one, other in zip(first, second, strict=True):
        ours, theirs = drawn * one, np.where(inside, PICOBARN * flat * other, 0.0)
        error = np.hypot(ours.std(), theirs.std()) / np.sqrt(count)
        assert error < 0.025 * theirs.mean()
        assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_the_tail_changes_no_integral():
    """Integrals above a threshold agree between samplings, and the tail makes the error smaller."""
    results = []
    for fraction in (0.0, 0.4):
        acceptance = dataclasses.replace(Acceptance(), tail_fraction=fraction)
        points = sample_one_jet(numbers(ONE_JET_NUMBERS, 200_000, seed=3), acceptance)
        # A spectrum that falls as the physical one does.
        terms = np.where(points.jet_pt > 400, points.weight * (1000 / points.invariants[0] ** 0.5) ** 4, 0.0)
        results.append((terms.mean(), terms.std() / np.sqrt(len(terms))))
    (plain, plain_error), (tailed, tailed_error) = results
    assert abs(plain - tailed) < 4 * np.hypot(plain_error, tailed_error)
    assert tailed_error < 0.5 * plain_error
