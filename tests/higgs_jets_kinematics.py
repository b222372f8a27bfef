"""Events of p p -> H j j from transverse momenta and rapidities, for the tests."""

from __future__ import annotations

import numpy as np

SIGNS = np.array([-1.0, -1.0, 1.0, 1.0])
"""Of each leg's momentum when all are counted as outgoing."""

FIXED = {"P1": (60, 0.5, 40, -1, 2.0, 0.1), "P2": (250, -0.7, 80, 0.6, 2.5, 0.3)}
"""pT and rapidity of jet 1, of jet 2, azimuth between them, rapidity of the Higgs boson."""


def four_vector(pt, rapidity, azimuth, mass=0.0):
    energy = np.sqrt(pt**2 + mass**2)
    parts = energy * np.cosh(rapidity), pt * np.cos(azimuth), pt * np.sin(azimuth), energy * np.sinh(rapidity)
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def with_beams(jets, higgs_rapidity, higgs_mass=125.0):
    """Return [event, leg, 4]: two incoming partons along z, then the jets; the Higgs boson balances the jets."""
    recoil = jets.sum(axis=-2)
    transverse = np.sqrt(recoil[..., 1] ** 2 + recoil[..., 2] ** 2 + higgs_mass**2)
    plus = (recoil[..., 0] + recoil[..., 3] + transverse * np.exp(higgs_rapidity)) / 2
    minus = (recoil[..., 0] - recoil[..., 3] + transverse * np.exp(-higgs_rapidity)) / 2
    zero = np.zeros_like(plus)
    beams = [np.stack([plus, zero, zero, plus], -1), np.stack([minus, zero, zero, -minus], -1)]
    return np.concatenate([np.stack(beams, -2), jets], -2)


def events(pt1, y1, pt2, y2, dphi, higgs_rapidity, azimuth=0.0):
    """Return [event, leg, 4] of arrays of the quantities of `FIXED`."""
    jets = np.stack([four_vector(pt1, y1, azimuth), four_vector(pt2, y2, azimuth + dphi)], -2)
    return with_beams(jets, higgs_rapidity)


def fixed_points():
    return events(*np.array(list(FIXED.values()), dtype=float).T)


def random_kinematics(count, seed=1):
    """Return rows of the quantities of `FIXED` for falling transverse momenta above 30 GeV."""
    rng = np.random.default_rng(seed)
    pt1, pt2 = 30 / rng.uniform(0.003, 1, (2, count)) ** 0.8
    y1, y2, y = rng.normal(0, 1.5, (3, count))
    return pt1, y1, pt2, y2, rng.uniform(-np.pi, np.pi, count), y


def random_events(count, seed=1):
    return events(*random_kinematics(count, seed), azimuth=np.random.default_rng(seed + 1).uniform(-3, 3, count))
