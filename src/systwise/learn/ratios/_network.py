"""Networks of density ratios: all components at any nuisance values, up to a common function of the features.

`f_k(x, z) = ln p_k(x|z) + g(x)` with one unknown g for all components and nuisance values: it drops out
of every likelihood. The polynomial form yields coefficients once an event, after which a fit never calls
the network again; the network form takes the nuisances among its inputs.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from systwise.learn.networks._network import Scaler, evaluate
from systwise.parameters import ChebyshevBasis


class AbstractRatioNetwork(eqx.Module):
    """Log-densities of all components up to a common function of the features."""

    components: eqx.AbstractVar[int]

    @abc.abstractmethod
    def own(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "component event"]:
        """Return f_k of every event at its own nuisance values."""

    @abc.abstractmethod
    def shared(
        self, features: Float[Array, "event feature"], z: Float[Array, "point nuisance"]
    ) -> Float[Array, "component point event"]:
        """Return f_k of every event at each of some nuisance points."""

    @abc.abstractmethod
    def both(
        self,
        features: Float[Array, "event feature"],
        z: Float[Array, "event nuisance"],
        points: Float[Array, "point nuisance"],
    ) -> tuple[Float[Array, "component event"], Float[Array, "component point event"]]:
        """Return `own` and `shared` for little more than the price of one where that is possible."""


class PolynomialRatio(AbstractRatioNetwork):
    """`f_k(x, z) = sum_t a_kt(x) P_t(z)`: one evaluation an event gives all nuisance values.

    `a(x) = L x + mlp(x)`, x scaled: the log-ratios of an exponential family are linear in the features, so the
    network learns what is left, and far out, where there are few events, it goes on as a line.
    """

    scaler: Scaler
    linear: Float[Array, "output feature"]
    mlp: eqx.nn.MLP
    basis: ChebyshevBasis
    components: int = eqx.field(static=True)

    def coefficients(self, features: Float[Array, "event feature"]) -> Float[Array, "component term event"]:
        """Return a_kt(x)."""
        scaled = self.scaler(features)
        out = evaluate(self.mlp, scaled).T + self.linear @ scaled.T
        return out.reshape(self.components, self.basis.terms, -1)

    def _polynomials(self, z: Float[Array, "*point nuisance"]) -> Float[Array, "*point term"]:
        # The optimiser must not move the ranges of the polynomials.
        return jax.lax.stop_gradient(self.basis)(z)

    def own(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "component event"]:
        """Return f_k of every event at its own nuisance values."""
        return jnp.einsum("kte,et->ke", self.coefficients(features), self._polynomials(z))

    def shared(
        self, features: Float[Array, "event feature"], z: Float[Array, "point nuisance"]
    ) -> Float[Array, "component point event"]:
        """Return f_k of every event at each of some nuisance points."""
        return jnp.einsum("kte,mt->kme", self.coefficients(features), self._polynomials(z))

    def both(
        self,
        features: Float[Array, "event feature"],
        z: Float[Array, "event nuisance"],
        points: Float[Array, "point nuisance"],
    ) -> tuple[Float[Array, "component event"], Float[Array, "component point event"]]:
        """Return `own` and `shared` from one evaluation of the network."""
        a = self.coefficients(features)
        own = jnp.einsum("kte,et->ke", a, self._polynomials(z))
        return own, jnp.einsum("kte,mt->kme", a, self._polynomials(points))


class NetworkRatio(AbstractRatioNetwork):
    """A network of features and nuisances with one output a component."""

    scaler: Scaler
    nuisance_scaler: Scaler
    mlp: eqx.nn.MLP
    components: int = eqx.field(static=True)

    def own(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "component event"]:
        """Return f_k of every event at its own nuisance values."""
        # Nuisances that change yields only come last and are not told.
        told = z[..., : self.nuisance_scaler.mean.shape[0]]
        inputs = jnp.concatenate([self.scaler(features), self.nuisance_scaler(told)], axis=-1)
        return evaluate(self.mlp, inputs).T.reshape(self.components, -1)

    def shared(
        self, features: Float[Array, "event feature"], z: Float[Array, "point nuisance"]
    ) -> Float[Array, "component point event"]:
        """Return f_k of every event at each of some nuisance points."""
        count = features.shape[0]
        rows = jax.lax.map(lambda point: self.own(features, jnp.broadcast_to(point, (count, point.shape[0]))), z)
        return jnp.moveaxis(rows, 0, 1)

    def both(
        self,
        features: Float[Array, "event feature"],
        z: Float[Array, "event nuisance"],
        points: Float[Array, "point nuisance"],
    ) -> tuple[Float[Array, "component event"], Float[Array, "component point event"]]:
        """Return `own` and `shared`, one evaluation a point."""
        return self.own(features, z), self.shared(features, points)
