"""Observables that know density ratios: an unbinned likelihood can be made of them."""

from __future__ import annotations

import abc
import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from systwise.events import Events
from systwise.learn.observables._observable import AbstractObservable
from systwise.learn.ratios._calibrator import RatioCalibrator
from systwise.learn.ratios._network import AbstractRatioNetwork, PolynomialRatio
from systwise.parameters import ChebyshevBasis


class AbstractRatioObservable(AbstractObservable):
    """An observable that knows `ln r_k(x, z) = ln p_k(x|z) - ln p_ref(x)` of every component."""

    @abc.abstractmethod
    def log_ratios(
        self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
    ) -> Float[Array, "event component"]:
        """Return ln r_k of `events` at nuisance values `z`; p_ref may be any density free of k and z."""


class RatioObservable(AbstractRatioObservable):
    """Learned ratios: networks (one a fold and member), normalised over the reference.

    The reference p_ref is the mixture of all components in equal parts with the nuisances drawn
    uniformly over the training ranges. Members of an ensemble are averaged in ln r. Then
    `ln r_k(x, z) = f_k(x, z) + m_k(f_k(x, z_0)) - ln N_k(z)`, z_0 nominal, m the `calibrator`'s map (if any).

    Attributes:
        networks: every array `[fold, member, ...]`.
        basis: polynomials of the normalisation; in the polynomial form they begin with the network's.
        shift: `-ln N_k(z)` as coefficients, `[fold, component, term]`; N_k is the mean of r_k over the reference.
        calibrator: the map of the classifier's calibration; None without.
        points: nuisance values over which the reference's density is summed, `[point, nuisance]`.
        log_fractions: ln of the components' nominal shares of the yield, signal's among themselves, `[component]`.
        folds, members: how many networks.
    """

    networks: AbstractRatioNetwork
    basis: ChebyshevBasis
    shift: Float[Array, "fold component term"]
    calibrator: RatioCalibrator | None
    points: Float[Array, "point nuisance"]
    log_fractions: Float[Array, " component"]
    folds: int = eqx.field(static=True)
    members: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)

    @property
    def polynomial(self) -> bool:
        """Whether ln r is a polynomial in the nuisances at fixed features."""
        return isinstance(self.networks, PolynomialRatio)

    def _member(self, fold: Int[Array, ""], member: int) -> AbstractRatioNetwork:
        return jax.tree.map(lambda leaf: leaf[fold, member] if eqx.is_array(leaf) else leaf, self.networks)

    def uncalibrated(self) -> RatioObservable:
        """Return the same ratios without the map of the classifier's calibration."""
        return dataclasses.replace(self, calibrator=None)

    def _normalisation(self, fold: Int[Array, ""]) -> Float[Array, "component term"]:
        shift = self.shift[fold]
        return shift if self.calibrator is None else shift + self.calibrator.shift[fold]

    def coefficients(self, events: Events, fold: Int[Array, ""]) -> Float[Array, "event component term"]:
        """Return the coefficients of `ln r_k(x, z) = sum_t a_kt(x) P_t(z)`, P_t = `basis`.

        Raises:
            TypeError: the ratios are no polynomials.
        """
        total: Array = jnp.zeros(())
        for member in range(self.members):
            network = self._member(fold, member)
            if not isinstance(network, PolynomialRatio):
                raise TypeError("ratio observable: only the polynomial form has coefficients; use log_ratios")
            total = total + network.coefficients(events.features) / self.members
        used = total.shape[1]
        values = jnp.einsum("kte,mt->kme", total, self.basis(self.points)[:, :used])
        total = total.at[:, 0].add(-_log_mean(values))
        if self.calibrator is not None:
            nominal = jnp.einsum("kte,t->ke", total, self.basis(self.calibrator.nominal)[:used])
            total = total.at[:, 0].add(self.calibrator.added(nominal, fold))
        # The normalisation has more polynomials than the network, which are the same for all events.
        total = jnp.pad(total, ((0, 0), (0, self.basis.terms - used), (0, 0)))
        return jnp.moveaxis(total + self._normalisation(fold)[:, :, None], -1, 0)

    def log_ratios(
        self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
    ) -> Float[Array, "event component"]:
        """Return ln r_k of `events` at nuisance values `z`."""
        if self.polynomial:
            return jnp.einsum("ekt,et->ek", self.coefficients(events, fold), self.basis(z))
        own: Array = jnp.zeros(())
        for member in range(self.members):
            own = own + self._member(fold, member).own(events.features, z) / self.members
        return (own + self._common(events, fold)).T + self.basis(z) @ self._normalisation(fold).T

    def log_ratios_at(
        self, events: Events, points: Float[Array, "some nuisance"], fold: Int[Array, ""]
    ) -> Float[Array, "component some event"]:
        """Return ln r_k of every event at each of some nuisance points; cheaper than `log_ratios` one by one."""
        if self.polynomial:
            return jnp.einsum("ekt,mt->kme", self.coefficients(events, fold), self.basis(points))
        there: Array = jnp.zeros(())
        for member in range(self.members):
            there = there + self._member(fold, member).shared(events.features, points) / self.members
        normalisation = self._normalisation(fold) @ self.basis(points).T
        return there + self._common(events, fold)[:, None] + normalisation[:, :, None]

    def _common(self, events: Events, fold: Int[Array, ""]) -> Float[Array, "component event"]:
        """Return what the network form adds at all nuisance values: minus ln p_ref, and the calibrator's map."""
        shared: Array = jnp.zeros(())
        nominal: Array = jnp.zeros(())
        for member in range(self.members):
            network = self._member(fold, member)
            shared = shared + network.shared(events.features, self.points) / self.members
            if self.calibrator is not None:
                at = jnp.broadcast_to(self.calibrator.nominal, (events.weights.shape[0], self.points.shape[1]))
                nominal = nominal + network.own(events.features, at) / self.members
        reference = jnp.broadcast_to(_log_mean(shared), (shared.shape[0], shared.shape[2]))
        return -reference if self.calibrator is None else self.calibrator.added(nominal - reference, fold) - reference

    def output(self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]) -> Float[Array, " event"]:
        """Return ln of signal over background density at `z`: first component against the mixture of the others."""
        log_ratio = self.log_ratios(events, z, fold)
        others = jax.nn.logsumexp(log_ratio[:, 1:] + self.log_fractions[1:], axis=1)
        return log_ratio[:, 0] - others


def _log_mean(values: Float[Array, "component point event"]) -> Float[Array, " event"]:
    """Return ln of the mean over components and points: the reference density in units of g(x)."""
    components, points, events = values.shape
    flat = values.reshape(components * points, events)
    return jax.nn.logsumexp(flat, axis=0) - jnp.log(components * points)
