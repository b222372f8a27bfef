"""The cross section of p p -> h j by Gauss-Legendre quadrature: no random numbers and no mapping of the generator."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from systwise.cases.higgs_jets._generator_settings import GeneratorSettings
from systwise.cases.higgs_jets._luminosities import one_jet_luminosities
from systwise.cases.higgs_jets._one_jet import one_jet_squares
from systwise.cases.higgs_jets._one_jet_table import GluonTable
from systwise.cases.higgs_jets._partons import PartonDensities
from systwise.cases.higgs_jets._physics import PICOBARN
from systwise.cases.higgs_jets._strong_coupling import StrongCoupling

_densities = functools.lru_cache(PartonDensities.read)
_table = functools.lru_cache(GluonTable.build)


def integrate(edges, settings=None, factors=(1.0, 1.0), orders=(6, 24, 36)):
    """Return `[bin, coefficient]` in pb and the mean |eta_j| of the Standard Model, between transverse momenta.

    `d sigma / (dpT^2 dy_j dy_h)` over ln pT, y_j > 0 (times two) and y_h; good to 3e-4 with the default orders.
    """
    settings = GeneratorSettings() if settings is None else settings
    masses, energy = settings.masses, settings.energy
    densities = _densities(settings.pdf)
    coupling = StrongCoupling(settings.alpha_s_loops, settings.alpha_s_z)
    table = _table(masses, energy)
    nodes = [np.polynomial.legendre.leggauss(order) for order in orders]
    (pt_nodes, pt_weights), (jet_nodes, jet_weights), (higgs_nodes, higgs_weights) = (
        ((x + 1) / 2, w / 2) for x, w in nodes
    )
    sums, eta = [], 0.0
    for low, high in itertools.pairwise(edges):
        logarithm = np.log(high / low)
        pt = (low * np.exp(logarithm * pt_nodes))[:, None, None]
        transverse = np.hypot(pt, masses.higgs)
        reach = np.minimum(settings.jet_eta, np.arccosh(energy / 2 / pt))
        jet = reach * jet_nodes[:, None]
        last = np.log(np.maximum(energy - pt * np.exp(jet), 1e-9) / transverse)
        first = -np.log(np.maximum(energy - pt * np.exp(-jet), 1e-9) / transverse)
        span = np.maximum(last - first, 0)
        higgs = first + span * higgs_nodes
        volume = 2 * pt**2 * logarithm * pt_weights[:, None, None] * 2 * reach * jet_weights[:, None]
        volume = volume * span * higgs_weights
        pt, jet, higgs, volume = (array.ravel() for array in np.broadcast_arrays(pt, jet, higgs, volume))
        pt, jet, higgs, volume = (array[volume > 0] for array in (pt, jet, higgs, volume))
        transverse = np.hypot(pt, masses.higgs)
        x1 = (pt * np.exp(jet) + transverse * np.exp(higgs)) / energy
        x2 = (pt * np.exp(-jet) + transverse * np.exp(-higgs)) / energy
        t, u = -x1 * energy * pt * np.exp(-jet), -x2 * energy * pt * np.exp(jet)
        s = masses.higgs**2 - t - u
        central = pt if settings.scale == "jets" else (pt + transverse) / 2
        factorisation = factors[1] * central
        luminosities = one_jet_luminosities(densities(x1, factorisation), densities(x2, factorisation))
        squares = np.einsum("ce,cke->ke", luminosities, one_jet_squares(s, t, u, masses, table))
        values = squares * volume * PICOBARN / (16 * np.pi * s**2) * coupling(factors[0] * central) ** 3
        sums.append(values.sum(axis=1))
        eta += float(values[0] @ jet)
    sums = np.array(sums)
    return sums, eta / sums[:, 0].sum()
