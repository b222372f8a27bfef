"""Higgs + four partons by Feynman rules: off-shell currents, explicit polarisations, explicit SU(3) matrices.

The Lagrangian is QCD with `-(1/4) (1 + kappa h) G^a_mn G^a,mn`. The Higgs boson is a background field: a
current holds it or not. Nothing is shared with the package but the momenta. One event at a time.

Colour-ordered rules with all momenta outgoing and generators normalised to tr(T^a T^b) = delta^ab
(L. Dixon, hep-ph/9601359); amplitudes at g = kappa = 1.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])


def dot(a, b):
    return a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]


# ------------------------------------------------------------------------------------------ gluon currents
def three(u, ku, v, kv, third):
    """Return the three-gluon rule contracted with two currents; `third` is the outgoing momentum of the open leg."""
    return (dot(u, v) * (ku - kv) + v * dot(kv - third, u) + u * dot(third - ku, v)) / np.sqrt(2)


def four(u, v, w):
    return v * dot(u, w) - (u * dot(v, w) + w * dot(u, v)) / 2


def contact(u, ku, third):
    """Return the rule of h g g."""
    return dot(ku, third) * u - ku * dot(third, u)


class Currents:
    """Currents of ordered gluons (polarisation, outgoing momentum), with (1) or without (0) the Higgs boson."""

    def __init__(self, polarisations, momenta, higgs):
        self.polarisations, self.momenta, self.higgs = polarisations, momenta, higgs
        self.current = functools.cache(self._current)

    def momentum(self, word, with_higgs):
        return sum(self.momenta[leg] for leg in word) + with_higgs * self.higgs

    def source(self, word, with_higgs):
        """Return the current without its propagator."""
        third = -self.momentum(word, with_higgs)
        total = np.zeros(4, dtype=complex)
        # either the Higgs boson is in one of the parts, or it is at this vertex and in none
        for cut in range(1, len(word)):
            parts = word[:cut], word[cut:]
            for flags in self._flags(2, with_higgs):
                (u, ku), (v, kv) = (self._leg(part, flag) for part, flag in zip(parts, flags, strict=True))
                total += three(u, ku, v, kv, third)
        for first, second in itertools.combinations(range(1, len(word)), 2):
            parts = word[:first], word[first:second], word[second:]
            for flags in self._flags(3, with_higgs):
                total += four(*(self.current(part, flag) for part, flag in zip(parts, flags, strict=True)))
        if with_higgs:
            total += contact(*self._leg(word, 0), third)
        return total

    def _current(self, word, with_higgs):
        if len(word) == 1 and not with_higgs:
            return self.polarisations[word[0]]
        momentum = self.momentum(word, with_higgs)
        return self.source(word, with_higgs) / dot(momentum, momentum)

    def _leg(self, word, with_higgs):
        return self.current(word, with_higgs), self.momentum(word, with_higgs)

    @staticmethod
    def _flags(parts, with_higgs):
        nowhere = (0,) * parts
        if not with_higgs:
            return [nowhere]
        return [nowhere, *(tuple(int(k == which) for k in range(parts)) for which in range(parts))]


def polarisations(momentum):
    """Return two real transverse polarisations."""
    direction = momentum[1:] / np.linalg.norm(momentum[1:])
    axis = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(direction, axis)
    first /= np.linalg.norm(first)
    return [np.concatenate([[0], vector]) for vector in (first, np.cross(direction, first))]


# --------------------------------------------------------------------------------------------------- colour
def generators():
    """Return the SU(3) matrices with tr(T^a T^b) = delta^ab."""
    matrices = []
    for i, j in itertools.combinations(range(3), 2):
        for upper, lower in ((1, 1), (-1j, 1j)):
            matrix = np.zeros((3, 3), dtype=complex)
            matrix[i, j], matrix[j, i] = upper, lower
            matrices.append(matrix)
    matrices += [np.diag([1, -1, 0]).astype(complex), np.diag([1, 1, -2]).astype(complex) / np.sqrt(3)]
    return np.array(matrices) / np.sqrt(2)


def four_gluons(outgoing, higgs):
    """Return the sum over polarisations and colours of |M|^2 / (g^4 kappa^2) of 0 -> H g g g g."""
    matrices = generators()
    orders = [(*order, 3) for order in itertools.permutations(range(3))]
    traces = []
    for order in orders:
        trace = np.einsum("aij,bjk,ckl,dli->abcd", *[matrices] * 4)
        traces.append(np.transpose(trace, np.argsort(order)))
    colours = np.einsum("xabcd,yabcd->xy", np.array(traces), np.conj(traces)).real
    total = 0.0
    for choice in itertools.product(*(polarisations(momentum) for momentum in outgoing)):
        currents = Currents(choice, outgoing, higgs)
        amplitudes = np.array([dot(currents.source(order[:3], 1), choice[3]) for order in orders])
        total += (amplitudes.conj() @ colours @ amplitudes).real
    return total


# ---------------------------------------------------------------------------------------------- quark lines
SIGMA = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex)


def slash(vector):
    """Return vector.gamma in the chiral basis, as (right to left, left to right) blocks."""
    up = METRIC @ vector
    plus = np.einsum("m,mij->ij", up, SIGMA)
    minus = np.einsum("m,mij->ij", vector, SIGMA)
    return np.block([[np.zeros((2, 2)), plus], [minus, np.zeros((2, 2))]])


def spinors(momentum):
    """Return massless spinors of both chiralities with u u^dagger gamma0 = chiral part of slash(p), p0 > 0."""
    physical = momentum * np.sign(momentum[0])
    values, vectors = np.linalg.eigh(np.einsum("m,mij->ij", physical, SIGMA))
    raised = np.sqrt(values[1]) * vectors[:, 1]
    values, vectors = np.linalg.eigh(np.einsum("m,mij->ij", METRIC @ physical, SIGMA))
    lowered = np.sqrt(values[1]) * vectors[:, 1]
    zero = np.zeros(2)
    return [np.concatenate([zero, raised]), np.concatenate([lowered, zero])]


GAMMA0 = np.block([[np.zeros((2, 2)), np.eye(2)], [np.eye(2), np.zeros((2, 2))]])


def bar(spinor):
    return spinor.conj() @ GAMMA0


def ordered_quark_line(currents, quark, antiquark, k_quark, order, sign=1):
    """Return the amplitude with the gluons of `order` from quark to antiquark; `sign` is that of the gluon's rule."""
    c, d = order
    total = sign / np.sqrt(2) * bar(quark) @ slash(currents.current((c, d), 1)) @ antiquark
    for flag in (0, 1):
        momentum = k_quark + currents.momentum((c,), flag)
        line = slash(currents.current((c,), flag)) @ slash(momentum) @ slash(currents.current((d,), 1 - flag))
        total -= bar(quark) @ line @ antiquark / (2 * dot(momentum, momentum))
    return total


def quarks_and_gluons(outgoing, higgs, sign=1, replaced=None):
    """Return the sum over helicities and colours of |M|^2 / (g^4 kappa^2) of 0 -> H q(0) qbar(1) g(2) g(3).

    With `replaced`, that gluon's polarisation is its momentum: the sum must vanish.
    """
    matrices = generators()
    strings = [np.einsum("cij,djk->cdik", matrices, matrices), np.einsum("dij,cjk->cdik", matrices, matrices)]
    colours = np.einsum("xcdik,ycdik->xy", np.array(strings), np.conj(strings)).real
    choices = [polarisations(momentum) if leg != replaced else [momentum] for leg, momentum in enumerate(outgoing)]
    total = 0.0
    for third, fourth in itertools.product(choices[2], choices[3]):
        currents = Currents({2: third, 3: fourth}, dict(enumerate(outgoing)), higgs)
        for quark, antiquark in itertools.product(spinors(outgoing[0]), spinors(outgoing[1])):
            amplitudes = np.array(
                [ordered_quark_line(currents, quark, antiquark, outgoing[0], order, sign) for order in ((2, 3), (3, 2))]
            )
            total += (amplitudes.conj() @ colours @ amplitudes).real
    return total


def vector_current(out, back):
    """Return ubar(out) gamma^mu u(back)."""
    basis = [slash(row) for row in METRIC]
    return np.array([bar(out) @ matrix @ back for matrix in basis])


def top_triangle(ku, kv, top):
    """Return the factors of `u.v ku.kv - u.kv v.ku` and of `u.v` that a top loop adds to `contact`, currents conserved.

    For spacelike ku, kv, by Gauss-Legendre quadrature over Feynman parameters x, y:
    `3 mt^2 int (1 - 4xy) / D` and `-3 mt^2 ku^2 int 2x (1 - 2x) / D` with
    `D = mt^2 - x (1 - x) ku^2 - y (1 - y) kv^2 - 2xy ku.kv`; they go to 1 and 0 for a heavy top.
    """
    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes, weights = (nodes + 1) / 2, weights / 2
    x = nodes[:, None]
    y = nodes[None] * (1 - x)
    measure = weights[:, None] * weights[None] * (1 - x) * 3 * top**2
    denominator = top**2 - x * (1 - x) * dot(ku, ku) - y * (1 - y) * dot(kv, kv) - 2 * x * y * dot(ku, kv)
    transverse = np.sum(measure * (1 - 4 * x * y) / denominator)
    return transverse, -dot(ku, ku) * np.sum(measure * 2 * x * (1 - 2 * x) / denominator)


def four_quarks(outgoing, *, identical, top=None):
    """Return the sum over helicities and colours of |M|^2 / (g^4 kappa^2) of q(0) Q(1) -> H q(2) Q(3).

    With `top`, for a top loop of that mass instead of the contact term.
    """
    half = generators() / np.sqrt(2)
    direct_colour = np.einsum("aki,alj->klij", half, half)
    exchanged_colour = np.einsum("ali,akj->klij", half, half)
    total = 0.0
    for s0, s1, s2, s3 in itertools.product(*(spinors(momentum) for momentum in outgoing)):

        def exchange(s_c, c, s_d, d, s0=s0, s1=s1):
            ka, kb = outgoing[0] + outgoing[c], outgoing[1] + outgoing[d]
            one, two = vector_current(s_c, s0), vector_current(s_d, s1)
            transverse, other = (1, 0) if top is None else top_triangle(ka, kb, top)
            rule = transverse * dot(contact(one, ka, kb), two) + other * dot(one, two)
            return rule / (dot(ka, ka) * dot(kb, kb))

        matrix = exchange(s2, 2, s3, 3) * direct_colour
        if identical:
            matrix = matrix - exchange(s3, 3, s2, 2) * exchanged_colour
        total += np.sum(np.abs(matrix) ** 2)
    return total
