"""Observables that know density ratios: an unbinned likelihood can be made of them."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from systwise.events import Events
from systwise.learn._observable import AbstractObservable
from systwise.learn._ratio_network import AbstractRatioNetwork, PolynomialRatio
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
    uniformly over the training ranges. Members of an ensemble are averaged in ln r.

    Attributes:
        networks: every array `[fold, member, ...]`.
        basis: polynomials of the calibration (and of the network, in the polynomial form).
        shift: `-ln N_k(z)` as coefficients, `[fold, component, term]`; N_k is the mean of r_k over the reference.
        points: nuisance values over which the reference's density is summed, `[point, nuisance]`.
        log_fractions: ln of the components' nominal shares of the yield, signal's among themselves, `[component]`.
        folds, members: how many networks.
    """

    networks: AbstractRatioNetwork
    basis: ChebyshevBasis
    shift: Float[Array, "fold component term"]
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
        values = jnp.einsum("kte,mt->kme", total, self.basis(self.points))
        total = total.at[:, 0].add(-_log_mean(values)) + self.shift[fold][:, :, None]
        return jnp.moveaxis(total, -1, 0)

    def log_ratios(
        self, events: Events, z: Float[Array, "event nuisance"], fold: Int[Array, ""]
    ) -> Float[Array, "event component"]:
        """Return ln r_k of `events` at nuisance values `z`."""
        if self.polynomial:
            return jnp.einsum("ekt,et->ek", self.coefficients(events, fold), self.basis(z))
        own: Array = jnp.zeros(())
        shared: Array = jnp.zeros(())
        for member in range(self.members):
            here, there = self._member(fold, member).both(events.features, z, self.points)
            own, shared = own + here / self.members, shared + there / self.members
        return (own - _log_mean(shared)).T + self.basis(z) @ self.shift[fold].T

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
