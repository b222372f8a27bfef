"""Squares of pp -> Hj against what must hold: limits, crossing, and the Feynman diagrams integrated numerically."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases.higgs_jets._loop_functions import box
from systwise.cases.higgs_jets._one_jet import CHANNELS, gluon_amplitudes, one_jet_squares, quark_form_factor
from systwise.cases.higgs_jets._physics import COEFFICIENTS, Masses

TOP = Masses()
HIGGS2 = TOP.higgs**2
COUPLING2 = 4 * np.pi  # g_s^2 at alpha_s = 1


def invariants(energy: float, fraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s = np.array([energy**2])
    t = -fraction * (s - HIGGS2)
    return s, t, HIGGS2 - s - t


def gluon_fusion_form_factor(masses: Masses) -> float:
    """F(gg -> H) = (3/2) tau [1 + (1 - tau) asin^2(1/sqrt tau)] with tau = 4 mt^2/mh^2, over its heavy-top limit."""
    tau = 4 * masses.top**2 / masses.higgs**2
    return 1.5 * tau * (1 + (1 - tau) * np.arcsin(tau**-0.5) ** 2)


def gluon_fusion_square() -> np.ndarray:
    """Averaged |M|^2 of gg -> H, alpha_s^2 mh^4/(576 pi^2 v^2): coefficients at alpha_s = 1, in GeV^2."""
    form = gluon_fusion_form_factor(TOP)
    return TOP.higgs**4 / (576 * np.pi**2 * TOP.vacuum**2) * np.array([form**2, 2 * form, 1])


# --- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("energy", "fraction"), [(200.0, 0.3), (420.0, 0.5), (500.0, 0.05)])
def test_heavy_top_is_the_contact_term(energy: float, fraction: float) -> None:
    at = invariants(energy, fraction)
    away = []
    for top in (2000.0, 4000.0):
        tt, tg, gg = np.moveaxis(one_jet_squares(*at, Masses(top=top)), 1, 0)
        np.testing.assert_allclose(tt / gg, 1, atol=0.03)
        away.append(np.stack([tt / gg - 1, tg / (2 * gg) - 1]))
        form = np.stack([quark_form_factor(value, Masses(top=top)) for value in at])
        np.testing.assert_allclose(form, 1, atol=0.015)
        loop, heavy = gluon_amplitudes(*at, Masses(top=top))
        np.testing.assert_allclose(loop / heavy, 1, atol=0.1)
    # the first correction is of order 1/mt^2
    np.testing.assert_allclose(away[0] / away[1], 4, rtol=0.03)


def test_heavy_top_at_printed_points() -> None:
    heavy = Masses(top=1e5)  # cancellations leave six digits
    printed = {
        (200.0, 0.3): [1.18672044e-01, 2.51458442e-02, 9.42248038e-03, 2.23376419e-03],
        (500.0, 0.5): [2.72953853e-01, 6.32515687e-02, 6.32515687e-02, 2.84861865e-02],
        (1000.0, 0.35): [1.17272908e00, 3.97753433e-01, 1.69998985e-01, 1.36932133e-01],
    }
    for at, squares in printed.items():
        np.testing.assert_allclose(one_jet_squares(*invariants(*at), heavy)[:, 0, 0], squares, rtol=3e-6)


def test_low_pt_has_the_form_factor_of_gluon_fusion() -> None:
    assert gluon_fusion_form_factor(TOP) == pytest.approx(1.032196, abs=5e-7)
    squares = one_jet_squares(*invariants(125.4, 0.5), TOP)
    np.testing.assert_allclose(squares[0, 0] / squares[0, 2], 1.0654, atol=1e-4)
    # a quark that emits a gluon almost on its mass shell
    form = quark_form_factor(np.array([-1e-3]), TOP)
    np.testing.assert_allclose(form, gluon_fusion_form_factor(TOP), rtol=1e-6)


def test_soft_gluon() -> None:
    # |M|^2 -> C_A g^2 2 p1.p2/(p1.k p2.k) |M(gg -> H)|^2 = 4 C_A g^2 s/(t u) |M(gg -> H)|^2
    for fraction in (0.5, 0.1):
        s, t, u = invariants(125.02, fraction)
        eikonal = 4 * 3 * COUPLING2 * s / (t * u)
        np.testing.assert_allclose(
            one_jet_squares(s, t, u, TOP)[0], gluon_fusion_square()[:, None] * eikonal, rtol=1e-3
        )


@pytest.mark.parametrize("z", [0.05, 0.3, 0.8])
def test_collinear_parton(z: float) -> None:
    # |M|^2 -> 2 g^2/(-t) P(z)/z |M(gg -> H)|^2, z = mh^2/s, for leg 1 that splits
    s = np.array([HIGGS2 / z])
    t = -1e-7 * s
    gluon = 6 * (z / (1 - z) + (1 - z) / z + z * (1 - z))
    quark = (4 / 3) * (1 + (1 - z) ** 2) / z
    squares = one_jet_squares(s, t, HIGGS2 - s - t, TOP)
    mirrored = one_jet_squares(s, HIGGS2 - s - t, t, TOP)
    for channel, splitting in (("gg", gluon), ("qg", quark)):
        truth = 2 * COUPLING2 / -t * splitting / z * gluon_fusion_square()[:, None]
        np.testing.assert_allclose(squares[CHANNELS.index(channel)], truth, rtol=2e-5)
        np.testing.assert_allclose(mirrored[CHANNELS.index(channel[::-1])], truth, rtol=2e-5)


def test_crossing() -> None:
    s, t, u = invariants(520.0, 0.23)
    squares, crossed = one_jet_squares(s, t, u, TOP), one_jet_squares(t, s, u, TOP)
    # summed, not averaged: 16 x 16, 6 x 16 and 6 x 6 states; a crossed quark brings a sign
    np.testing.assert_allclose(crossed[0], squares[0], rtol=1e-10)
    np.testing.assert_allclose(36 * squares[3], -96 * crossed[1], rtol=1e-12)
    np.testing.assert_allclose(96 * squares[2], 96 * one_jet_squares(s, u, t, TOP)[1], rtol=1e-12)


# --- Feynman diagrams -----------------------------------------------------------------------------------------
# Below the threshold all Feynman-parameter integrals are smooth: Gauss-Legendre points give all digits. Above it the
# parameters go around the poles in the complex plane.

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
GAMMA = np.array(
    [np.kron(PAULI[2], np.eye(2)), *(np.kron(1j * PAULI[1], sigma) for sigma in PAULI)]
)  # upper index, Dirac representation
GAMMA_LOWER = np.einsum("ab,bij->aij", METRIC, GAMMA)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return a @ METRIC @ b


def slash(p: np.ndarray) -> np.ndarray:
    return np.einsum("...a,aij->...ij", p, GAMMA_LOWER)


def unit_simplex(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Feynman parameters of a box and their weights."""
    x, w = np.polynomial.legendre.leggauss(count)
    a, b, c = (axis.ravel() for axis in np.meshgrid(*[(x + 1) / 2] * 3, indexing="ij"))
    weight = np.prod(np.meshgrid(*[w / 2] * 3, indexing="ij"), axis=0).ravel()
    return np.stack([1 - a, a * (1 - b), a * b * (1 - c), a * b * c], axis=-1), weight * a**2 * b


def denominator(parameters: np.ndarray, flow: np.ndarray, m2: float) -> np.ndarray:
    pairs = itertools.combinations(range(4), 2)
    return m2 - sum(parameters[:, i] * parameters[:, j] * dot(flow[i] - flow[j], flow[i] - flow[j]) for i, j in pairs)


@functools.lru_cache(maxsize=3)
def contour(count: int, reach: float, flow: bytes, m2: float) -> tuple[np.ndarray, np.ndarray]:
    """Feynman parameters y - i reach y (1-y) dDelta/dy, so that Delta gets the sign of -i0, and their weights."""
    x, w = np.polynomial.legendre.leggauss(count)
    cube = np.stack([axis.ravel() for axis in np.meshgrid(*[(x + 1) / 2] * 3, indexing="ij")], axis=-1)
    weight = np.prod(np.meshgrid(*[w / 2] * 3, indexing="ij"), axis=0).ravel()
    flows = np.frombuffer(flow).reshape(4, 4)
    apart = flows[:, None] - flows[None]
    invariants = np.einsum("ija,ab,ijb->ij", apart, METRIC, apart)

    def parameters(y: jax.Array) -> jax.Array:
        a, b, c = y
        return jnp.stack([1 - a, a * (1 - b), a * b * (1 - c), a * b * c])

    def bent(y: jax.Array) -> jax.Array:
        gradient = jax.grad(lambda y: 1 - parameters(y) @ invariants @ parameters(y) / (2 * m2))(y)
        return y - 1j * reach * y * (1 - y) * gradient

    with jax.enable_x64(True):
        points = jax.vmap(bent)(cube)
        jacobian = jax.vmap(jax.jacfwd(lambda y: jnp.stack([bent(y).real, bent(y).imag])))(cube)
        values = np.asarray(jax.vmap(parameters)(points))
        points, jacobian = np.asarray(points), np.asarray(jacobian)
    determinant = np.linalg.det(jacobian[:, 0] + 1j * jacobian[:, 1])
    return values, weight * determinant * points[:, 0] ** 2 * points[:, 1]


def box_diagram(legs: list[tuple[np.ndarray, np.ndarray]], top: float, count: int = 10, reach: float = 0.0) -> complex:
    """Integral of the trace around a loop with four vertices, (momentum, matrix) each, by 1/(i pi^2) d^4 l.

    Three gluons and a scalar: the trace has one or three powers of the loop momentum, so it converges.
    """
    vertices = [matrix for _, matrix in legs]
    flow = np.cumsum([np.zeros(4), *(momentum for momentum, _ in legs[:-1])], axis=0)
    parameters, weight = contour(count, reach, flow.tobytes(), top**2) if reach else unit_simplex(count)
    shifted = flow[None] - (parameters @ flow)[:, None]
    propagators = slash(shifted) + top * np.eye(4)

    def trace(slots: list[np.ndarray]) -> np.ndarray:
        product = vertices[3] @ slots[3]
        for i in (2, 1, 0):
            product = product @ vertices[i] @ slots[i]
        return np.trace(product, axis1=-2, axis2=-1)

    slots = [propagators[:, i] for i in range(4)]
    squared = 0  # contraction of the terms with two powers of the shifted momentum
    for i, j in itertools.combinations(range(4), 2):
        for upper, lower in zip(GAMMA, GAMMA_LOWER, strict=True):
            pair = list(slots)
            pair[i], pair[j] = upper, lower
            squared = squared + trace(pair)
    delta = denominator(parameters, flow, top**2)
    return np.sum(weight * (trace(slots) / delta**2 - squared / (2 * delta)))


def triangle_form_factor(q2: float, top: float) -> complex:
    """The integral of (1 - 4xy)/Delta for Higgs -> g g*(q2): all there is in the triangle diagram."""
    if q2 > 4 * top**2:  # no smooth integrand: the closed form, whose W and F are tested against quadrature
        return quark_form_factor(np.array([q2]), Masses(top=top))[0] / (3 * top**2)
    x, w = np.polynomial.legendre.leggauss(24)
    a, b = np.meshgrid((x + 1) / 2, (x + 1) / 2, indexing="ij")
    across, along = (1 - a) * a * b, (1 - a) * a * (1 - b)
    return float(np.sum(np.outer(w, w) / 4 * a * (1 - 4 * across) / (top**2 - across * HIGGS2 - along * q2)))


def triangle_diagram(current: np.ndarray, q: np.ndarray, k: np.ndarray, e: np.ndarray, top: float) -> complex:
    """A current that emits a virtual gluon q, which goes to the Higgs with the gluon (k, e); all incoming."""
    tensor = dot(q, k) * dot(current, e) - dot(k, current) * dot(q, e)
    return -4 * top * tensor * triangle_form_factor(dot(q, q), top) / dot(q, q)


def gluon_diagrams(
    momenta: list[np.ndarray], polarisations: list[np.ndarray], top: float, count: int = 10, reach: float = 0.0
) -> complex:
    """ggg -> H with all gluons incoming, without f^abc g^3 (mt/v)/(16 pi^2) and a phase.

    Three boxes, each with both directions of the loop, which make f^abc of the two colour traces; and three
    triangles with a three-gluon vertex.
    """
    gluons = [(k, slash(e)) for k, e in zip(momenta, polarisations, strict=True)]
    higgs = (-sum(momenta), np.eye(4))
    orders = [[*gluons[:place], higgs, *gluons[place:]] for place in range(3)]
    total = sum(box_diagram(legs, top, count, reach) for legs in orders) / 2
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        q = momenta[i] + momenta[j]
        current = (
            dot(polarisations[i], polarisations[j]) * (momenta[i] - momenta[j])
            + polarisations[j] * dot(momenta[j] + q, polarisations[i])
            - polarisations[i] * dot(momenta[i] + q, polarisations[j])
        )
        total = total + triangle_diagram(current, q, momenta[k], polarisations[k], top)
    return total


def momenta_and_polarisations(energy: float, fraction: float) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """All-incoming momenta of 1, 2 and j, and two real polarisations of each."""
    half, jet, cosine = energy / 2, (energy**2 - HIGGS2) / (2 * energy), 1 - 2 * fraction
    sine = np.sqrt(1 - cosine**2)
    momenta = [
        np.array([half, 0, 0, half]),
        np.array([half, 0, 0, -half]),
        -jet * np.array([1, sine, 0, cosine]),
    ]
    x, y = np.array([0.0, 1, 0, 0]), np.array([0.0, 0, 1, 0])
    return momenta, [[x, y], [x, y], [np.array([0, cosine, 0, -sine]), y]]


def prefactor(top: float) -> float:
    return COUPLING2**3 * (top / TOP.vacuum) ** 2 / (16 * np.pi**2) ** 2


def test_diagrams_are_gauge_invariant() -> None:
    momenta, polarisations = momenta_and_polarisations(200.0, 0.3)
    usual = abs(gluon_diagrams(momenta, [directions[0] for directions in polarisations], TOP.top))
    for leg in range(3):
        longitudinal = [directions[0] for directions in polarisations]
        longitudinal[leg] = momenta[leg] / np.linalg.norm(momenta[leg])
        assert abs(gluon_diagrams(momenta, longitudinal, TOP.top)) < 1e-8 * usual


@pytest.mark.parametrize(("energy", "fraction"), [(200.0, 0.3), (260.0, 0.2)])
def test_gluon_channel_is_its_feynman_diagrams(energy: float, fraction: float) -> None:
    momenta, polarisations = momenta_and_polarisations(energy, fraction)
    exact = one_jet_squares(*invariants(energy, fraction), TOP)[0, :, 0]
    top, limit = (
        np.array([gluon_diagrams(momenta, list(choice), mass) for choice in itertools.product(*polarisations)]) * mass
        for mass in (TOP.top, 3e4)
    )
    # f^abc f^abc = 24 over the 16 x 16 incoming states; `prefactor` has the masses of the products above
    norm = prefactor(1.0) * 24 / 256
    np.testing.assert_allclose(norm * np.sum(np.abs(top) ** 2), exact[0], rtol=1e-7)
    np.testing.assert_allclose(norm * np.sum(np.abs(limit) ** 2), exact[2], rtol=1e-4)
    np.testing.assert_allclose(norm * 2 * np.sum((top * limit.conj()).real), exact[1], rtol=1e-4)


@pytest.mark.slow
def test_gluon_channel_is_its_feynman_diagrams_above_the_threshold() -> None:
    momenta, polarisations = momenta_and_polarisations(500.0, 0.5)
    # parity: an odd number of polarisations out of the plane gives nothing
    choices = [
        [p[i] for p, i in zip(polarisations, out, strict=True)] for out in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))
    ]
    diagrams = [gluon_diagrams(momenta, choice, TOP.top, 16, 0.4) for choice in choices]
    exact = one_jet_squares(*invariants(500.0, 0.5), TOP)[0, 0, 0]
    np.testing.assert_allclose(prefactor(TOP.top) * 24 / 256 * np.sum(np.abs(diagrams) ** 2), exact, rtol=1e-5)


@pytest.mark.parametrize(("energy", "fraction"), [(200.0, 0.3), (260.0, 0.2)])
def test_quark_channels_are_their_feynman_diagrams(energy: float, fraction: float) -> None:
    momenta, _ = momenta_and_polarisations(energy, fraction)
    squares = one_jet_squares(*invariants(energy, fraction), TOP)[1:, COEFFICIENTS.index("tt"), 0]
    # (quark, its other end, gluon), and states to average over; tr(T^a T^a) = 4
    for mine, (one, other, gluon), states in zip(squares, ((0, 2, 1), (1, 2, 0), (0, 1, 2)), (96, 96, 36), strict=True):
        q = momenta[one] + momenta[other]
        line = np.einsum("ij,ajk,kl,bli->ab", slash(momenta[one]), GAMMA, slash(momenta[other]), GAMMA)
        # triangle_diagram is linear in current and polarisation: its tensor, both indices lower
        tensor = np.array([[triangle_diagram(a, q, momenta[gluon], b, TOP.top) for b in np.eye(4)] for a in np.eye(4)])
        total = -np.einsum("ab,am,bn,mn->", line, tensor, tensor, METRIC)  # sum over polarisations: -g
        np.testing.assert_allclose(prefactor(TOP.top) * abs(total) * 4 / states, mine, rtol=1e-10)


def test_boxes_are_their_feynman_integrals() -> None:
    parameters, weight = unit_simplex(16)
    for energy, fraction in ((200.0, 0.3), (270.0, 0.1)):
        momenta, _ = momenta_and_polarisations(energy, fraction)
        one, two, jet = momenta
        s, t, u = invariants(energy, fraction)
        for legs, (p, q, r) in (
            ((one, two, jet), (s, u, t)),
            ((two, one, jet), (s, t, u)),
            ((one, jet, two), (t, u, s)),
        ):
            flow = np.cumsum([np.zeros(4), *legs], axis=0)
            integral = np.sum(weight / denominator(parameters, flow, TOP.top**2) ** 2)
            np.testing.assert_allclose(box(p, q, r, TOP.top**2), integral, rtol=1e-9)
