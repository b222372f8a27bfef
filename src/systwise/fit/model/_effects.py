"""What a nuisance does to templates beside the morph: exact factors, and HistFactory's interpolations.

Use `LinearFactor` and `ExponentialFactor` for normalisations, the codes of HistFactory (CERN-OPEN-2012-016,
section 4; arXiv:1007.1727 as implemented by pyhf and RooFit) where a model must agree with one bin by bin:
codes 1 and 4 multiply, codes 0, 2 and 4p add.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Float64

from systwise.errors import ConfigError
from systwise.fit.likelihood import EXPONENT, PLAIN, Curve

MULTIPLICATIVE = ("code1", "code4")
ADDITIVE = ("code0", "code2", "code4p")


@dataclasses.dataclass(frozen=True)
class LinearFactor:
    """The nuisance itself as a factor on some components.

    Attributes:
        mask: 1 for the components that it multiplies, 0 for the others, `[component]` or `[component, bin]`.
        nuisance: number of the nuisance.
    """

    mask: Float[np.ndarray, component * bin]
    nuisance: int
    additive: bool = False

    def curve(self) -> Curve:
        """Return the factor `1 + mask (z - 1)`."""
        mask = np.asarray(self.mask, np.float64)
        mask = mask if mask.ndim == 2 else mask[:, None]
        return Curve(np.zeros(0), np.zeros(1), np.array([PLAIN]), np.stack([1 - mask, mask])[None])


@dataclasses.dataclass(frozen=True)
class ExponentialFactor:
    """`up^z` for z >= 0 and `down^-z` below (code 1), with a smooth polynomial between -1 and 1 in code 4.

    Attributes:
        log_up: logarithm of the factor at z = +1, `[component, bin or 1]`.
        log_down: logarithm of the factor at z = -1.
        middle: coefficients of z^1 to z^6 between -1 and 1 (code 4), `[6, component, bin or 1]`; empty for code 1.
        nuisance: number of the nuisance.
    """

    log_up: Float[np.ndarray, "component bin"]
    log_down: Float[np.ndarray, "component bin"]
    middle: Float[np.ndarray, "6 component bin"] | None
    nuisance: int
    additive: bool = False

    def curve(self) -> Curve:
        """Return the factor."""
        zero = np.zeros_like(self.log_up)
        if self.middle is None:
            table = np.stack([np.stack([zero, -self.log_down]), np.stack([zero, self.log_up])])
            return Curve(np.zeros(1), np.zeros(2), np.array([EXPONENT, EXPONENT]), table)
        table = np.zeros((3, 7, *zero.shape))
        table[0, 1], table[2, 1] = -self.log_down, self.log_up
        table[1, 0], table[1, 1:] = 1.0, self.middle
        return Curve(np.array([-1.0, 1.0]), np.zeros(3), np.array([EXPONENT, PLAIN, EXPONENT]), table)


@dataclasses.dataclass(frozen=True)
class AddedShape:
    """A difference added to the template, a polynomial in each of z < -1, -1..0, 0..1 and z > 1.

    Attributes:
        pieces: coefficients of z^0, z^1, ..., `[4, power, component, bin]`.
        nuisance: number of the nuisance.
    """

    pieces: Float[np.ndarray, "4 power component bin"]
    nuisance: int
    additive: bool = True

    def curve(self) -> Curve:
        """Return what is added."""
        return Curve(np.array([-1.0, 0.0, 1.0]), np.zeros(4), np.full(4, PLAIN), self.pieces)


Effect = LinearFactor | ExponentialFactor | AddedShape


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
