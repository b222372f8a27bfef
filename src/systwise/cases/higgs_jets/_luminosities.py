"""Sums of products of parton densities that belong to the channels of h j and h j j."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from systwise.cases.higgs_jets._partons import FLAVOURS, GLUON

Densities = Float[np.ndarray, "flavour event"]

_QUARKS = [FLAVOURS.index(code) for code in (1, 2, 3, 4, 5)]
_ANTIQUARKS = [FLAVOURS.index(-code) for code in (1, 2, 3, 4, 5)]


def one_jet_luminosities(first: Densities, second: Densities) -> Float[np.ndarray, "channel event"]:
    """Return sums of `x1 f1 x2 f2` over the partons of gg, qg, gq and q qbar (either way round).

    Args:
        first: densities of the parton along +z.
        second: densities of the other.
    """
    any1, any2 = _any_quark(first), _any_quark(second)
    return np.stack([first[GLUON] * second[GLUON], any1 * second[GLUON], first[GLUON] * any2, _pairs(first, second)])


def two_jet_luminosities(first: Densities, second: Densities) -> Float[np.ndarray, "channel event"]:
    """Return sums of `x1 f1 x2 f2` over the partons of gg, qg, gq, qq, qQ and q qbar.

    qq is a quark or antiquark twice, qQ are two of different flavours, each quark or antiquark.

    Args:
        first: densities of the parton along +z.
        second: densities of the other.
    """
    any1, any2 = _any_quark(first), _any_quark(second)
    same = np.sum(first[_QUARKS] * second[_QUARKS] + first[_ANTIQUARKS] * second[_ANTIQUARKS], axis=0)
    pairs = _pairs(first, second)
    # All combinations less those of one flavour; rounding may leave less than nothing.
    different = np.maximum(any1 * any2 - same - pairs, 0.0)
    return np.stack([first[GLUON] * second[GLUON], any1 * second[GLUON], first[GLUON] * any2, same, different, pairs])


def _any_quark(densities: Densities) -> Float[np.ndarray, " event"]:
    return densities[_QUARKS].sum(axis=0) + densities[_ANTIQUARKS].sum(axis=0)


def _pairs(first: Densities, second: Densities) -> Float[np.ndarray, " event"]:
    return np.sum(first[_QUARKS] * second[_ANTIQUARKS] + first[_ANTIQUARKS] * second[_QUARKS], axis=0)
