"""What a nuisance does to templates beside the morph: exact factors, and HistFactory's interpolations.

Use `LinearFactor` and `ExponentialFactor` for normalisations, the codes of HistFactory (CERN-OPEN-2012-016,
section 4; arXiv:1007.1727 as implemented by pyhf and RooFit) where a model must agree with one bin by bin:
codes 1 and 4 multiply, codes 0, 2 and 4p add.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.errors import ConfigError

Triple = tuple[Array, Array, Array]
"""A value with its first and second derivative, `[component, bin or 1, point, data]`."""

MULTIPLICATIVE = ("code1", "code4")
ADDITIVE = ("code0", "code2", "code4p")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearFactor:
    """The nuisance itself as a factor on some components.

    Attributes:
        mask: 1 for the components that it multiplies, 0 for the others, `[component]` or `[component, bin]`.
        nuisance: number of the nuisance.
    """

    mask: Float[Array | np.ndarray, component * bin]
    nuisance: int = dataclasses.field(metadata={"static": True})
    additive: bool = dataclasses.field(default=False, metadata={"static": True})

    def jet(self, z: Float[Array, "point data"]) -> Triple:
        """Return the factor and its derivatives."""
        mask = jnp.asarray(self.mask)
        mask = (mask if mask.ndim == 2 else mask[:, None])[..., None, None]
        zero = jnp.zeros_like(z)
        return 1 + mask * (z - 1), mask + zero, mask * zero


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExponentialFactor:
    """`up^z` for z >= 0 and `down^-z` below (code 1), with a smooth polynomial between -1 and 1 in code 4.

    Attributes:
        log_up: logarithm of the factor at z = +1, `[component, bin or 1]`.
        log_down: logarithm of the factor at z = -1.
        middle: coefficients of z^1 to z^6 between -1 and 1 (code 4), `[6, component, bin or 1]`; empty for code 1.
        nuisance: number of the nuisance.
    """

    log_up: Float[Array | np.ndarray, "component bin"]
    log_down: Float[Array | np.ndarray, "component bin"]
    middle: Float[Array | np.ndarray, "6 component bin"] | None
    nuisance: int = dataclasses.field(metadata={"static": True})
    additive: bool = dataclasses.field(default=False, metadata={"static": True})

    def jet(self, z: Float[Array, "point data"]) -> Triple:
        """Return the factor and its derivatives."""
        up, down = (jnp.asarray(log)[..., None, None] for log in (self.log_up, self.log_down))
        rate = jnp.where(z >= 0, up, -down)
        value = jnp.exp(rate * z)
        outside = (value, rate * value, rate**2 * value)
        if self.middle is None:
            return outside
        a = jnp.asarray(self.middle)[..., None, None]
        inside = _polynomial(jnp.concatenate([jnp.ones_like(a[:1]), a]), z)
        near = jnp.abs(z) < 1
        return tuple(jnp.where(near, i, o) for i, o in zip(inside, outside, strict=True))  # type: ignore[return-value]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AddedShape:
    """A difference added to the template, a polynomial in each of z < -1, -1..0, 0..1 and z > 1.

    Attributes:
        pieces: coefficients of z^0, z^1, ..., `[4, power, component, bin]`.
        nuisance: number of the nuisance.
    """

    pieces: Float[Array | np.ndarray, "4 power component bin"]
    nuisance: int = dataclasses.field(metadata={"static": True})
    additive: bool = dataclasses.field(default=True, metadata={"static": True})

    def jet(self, z: Float[Array, "point data"]) -> Triple:
        """Return the difference and its derivatives."""
        below, left, right, above = jnp.asarray(self.pieces)[..., None, None]
        a = jnp.where(z < 0, jnp.where(z < -1, below, left), jnp.where(z > 1, above, right))
        return _polynomial(a, z)


Effect = LinearFactor | ExponentialFactor | AddedShape


def _polynomial(a: Array, z: Array) -> Triple:
    """Return `sum_p a_p z^p` with two derivatives by Horner's rule."""
    value, first, second = jnp.zeros_like(a[0] * z), jnp.zeros_like(a[0] * z), jnp.zeros_like(a[0] * z)
    for coefficient in a[::-1]:
        second = second * z + 2 * first
        first = first * z + value
        value = value * z + coefficient
    return value, first, second


def exponential_factor(
    up: Float64[np.ndarray, "component bin"], down: Float64[np.ndarray, "component bin"], nuisance: int, code: str
) -> ExponentialFactor:
    """Return the factor with values `up` and `down` at z = +-1, interpolated by `code1` or `code4`.

    In code 4 a sixth-order polynomial joins value, slope and curvature of both branches at z = +-1.

    Raises:
        ConfigError: unknown code, or a factor is not positive.
    """
    if code not in MULTIPLICATIVE:
        raise ConfigError(f"interpolation '{code}': a factor takes one of {', '.join(MULTIPLICATIVE)}")
    if np.any(up <= 0) or np.any(down <= 0):
        raise ConfigError("normalisation factors: up and down must be above zero; express larger effects otherwise")
    log_up, log_down = np.log(up), np.log(down)
    if code == "code1":
        return ExponentialFactor(log_up, log_down, None, nuisance)
    powers = np.arange(1, 7)
    rows, right = [], []
    for sign, factor, log in ((1.0, up, log_up), (-1.0, down, -log_down)):
        # Below zero the branch is exp(-z ln down): its rate in z is -ln down.
        rows += [sign**powers, powers * sign ** (powers - 1), powers * (powers - 1) * sign ** (powers - 2.0)]
        right += [factor - 1, log * factor, log**2 * factor]
    shape = up.shape
    middle = np.linalg.solve(np.array(rows), np.stack(right).reshape(6, -1)).reshape(6, *shape)
    return ExponentialFactor(log_up, log_down, middle, nuisance)


def added_shape(
    nominal: Float64[np.ndarray, "component bin"],
    up: Float64[np.ndarray, "component bin"],
    down: Float64[np.ndarray, "component bin"],
    nuisance: int,
    code: str,
) -> AddedShape:
    """Return the difference of templates `up` and `down` at z = +-1 to `nominal`, by `code0`, `code2` or `code4p`.

    Code 0 is linear on each side; code 2 quadratic between -1 and 1 and linear beyond; code 4p a
    sixth-order polynomial between and linear beyond.

    Raises:
        ConfigError: unknown code.
    """
    if code not in ADDITIVE:
        raise ConfigError(f"interpolation '{code}': a template takes one of {', '.join(ADDITIVE)}")
    rise, fall = up - nominal, nominal - down
    pieces = np.zeros((4, 7, *nominal.shape))
    pieces[0, 1], pieces[3, 1] = fall, rise
    if code == "code0":
        pieces[1, 1], pieces[2, 1] = fall, rise
    elif code == "code2":
        a, b = 0.5 * (up + down) - nominal, 0.5 * (up - down)
        pieces[1:3, 1], pieces[1:3, 2] = b, a
        pieces[3, 0], pieces[3, 1] = rise - (b + 2 * a), b + 2 * a
        pieces[0, 0], pieces[0, 1] = -fall + (b - 2 * a), b - 2 * a
    else:
        half, a = 0.5 * (rise + fall), (rise - fall) / 16
        pieces[1:3, 1] = half
        pieces[1:3, 2], pieces[1:3, 4], pieces[1:3, 6] = 15 * a, -10 * a, 3 * a
    return AddedShape(pieces, nuisance)
