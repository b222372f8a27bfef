"""Components: the pieces whose yields add up linearly to every hypothesis."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Components:
    """Named components and their coefficients as monomials of the parameters of interest.

    `c_k(theta) = prod_j theta_j^powers[k][j]`, so that `expected = sum_k c_k(theta) T_k`. A signal
    strength has components (signal, background) with powers ((1,), (0,)); EFT couplings (c_t, c_g)
    have (tt, tg, gg) with powers ((2, 0), (1, 1), (0, 2)).

    Attributes:
        names: component names, in the order of every `[component]` axis.
        pois: names of the parameters of interest.
        powers: `[component][poi]` exponents.
        nominal: `[poi]` values of the parameters at the reference hypothesis.
        ranges: `[poi]` pairs a fit may reach.
        alternative: `[poi]` values of a hypothesis that classifiers tell from the nominal one; None where the
            first component is told from all others.
    """

    names: tuple[str, ...]
    pois: tuple[str, ...]
    powers: tuple[tuple[int, ...], ...]
    nominal: tuple[float, ...]
    ranges: tuple[tuple[float, float], ...]
    alternative: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that do not match."""
        count = len(self.pois)
        if len(self.powers) != len(self.names) or any(len(row) != count for row in self.powers):
            raise ConfigError("components: powers must hold one row a component and one column a parameter of interest")
        if len(self.nominal) != count or len(self.ranges) != count or len(self.alternative or self.nominal) != count:
            raise ConfigError("components: nominal and ranges must hold one entry a parameter of interest")
        for what, names in (("component", self.names), ("parameter of interest", self.pois)):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ConfigError(f"components: two are called '{twice[0]}'; give each {what} a name of its own")
        for name, value, (low, high) in zip(self.pois, self.nominal, self.ranges, strict=True):
            if not low <= value <= high:
                raise ConfigError(
                    f"components: the range [{low:g}, {high:g}] of '{name}' does not hold its nominal value {value:g}; "
                    "widen it"
                )

    def coefficients(self, theta: Float[Array, " poi"]) -> Float[Array, " component"]:
        """Return `c_k(theta)`.

        >>> strength = signal_strength()
        >>> [float(c) for c in strength.coefficients(jnp.array([2.0]))]
        [2.0, 1.0]
        """
        # Integer powers one by one: jnp.power has a NaN derivative at 0^0.
        rows = []
        for row in self.powers:
            value = jnp.ones((), theta.dtype)
            for j, power in enumerate(row):
                for _ in range(power):
                    value = value * theta[j]
            rows.append(value)
        return jnp.stack(rows)

    def at(self, theta: tuple[float, ...]) -> np.ndarray:
        """Return `c_k(theta)`, float64 NumPy `[component]`."""
        values = np.asarray(theta, dtype=np.float64)
        return np.array([np.prod(values ** np.asarray(row)) for row in self.powers], dtype=np.float64)

    def reference(self) -> np.ndarray:
        """Return `c_k` at the nominal parameters, float64 NumPy `[component]`."""
        return self.at(self.nominal)

    def contrast(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients `[component]` of signal and background, as separation is judged.

        The alternative and the nominal hypothesis where there is an alternative; else what depends on a parameter
        of interest, at its nominal value, and what does not; the total twice where everything depends on one.
        """
        if self.alternative is not None:
            return self.at(self.alternative), self.reference()
        fixed = np.array([not any(row) for row in self.powers])
        if not fixed.any():
            return self.reference(), self.reference()
        return np.where(fixed, 0.0, self.reference()), fixed.astype(np.float64)


def signal_strength(low: float = -2.0, high: float = 10.0) -> Components:
    """Return components (signal, background) with coefficients (mu, 1) and nominal mu = 1."""
    return Components(("signal", "background"), ("mu",), ((1,), (0,)), (1.0,), ((low, high),))
