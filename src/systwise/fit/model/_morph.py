"""The morph: templates at anchors of each nuisance, interpolated continuously and positively.

Use it wherever a yield is needed between anchors. The square root of each content follows a cubic
not-a-knot spline in the nuisance and is squared: contents are never negative, may be zero, and have
two continuous derivatives, which is what Newton's method and the interval's Hessian ask for. Where that spline
would leave the anchors' order (0.01, 1, 100 dipping to zero between), its slopes are limited: between anchors that
rise the curve rises. Several nuisances multiply as ratios to the nominal template; contents that are empty there
have no ratio, and what each nuisance fills them with is added.

Accuracy on the Gaussian toy (19 anchors over pi/4 +- 3pi/8, exact normal CDFs, 10 or 50 uniform
bins): contents within 1.4e-4 relative, and totals within 0.0013 statistical standard deviations a bin
except within two anchors of the ends (0.008). Twice the anchors gain a factor of 16. A spline of the
logarithm is 2.5 times more accurate there, but cannot hold an empty bin and is noisy in nearly empty ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from systwise.errors import TemplateError
from systwise.fit.likelihood import EMPTY, EXPONENT, SQUARE, Curve, GridCurve


@dataclasses.dataclass(frozen=True)
class Morph:
    """Contents as a function of nuisances: `T(z) = (T_0 + sum_j d_j(z_j)) prod_j f_j(z_j)`.

    Attributes:
        base: contents at the nominal point, T_0.
        ratios: factors f_j, 1 at the nominal point and wherever contents are empty there.
        added: d_j, what each nuisance adds to contents that are empty at the nominal point; None where nothing is.
    """

    base: Float64[np.ndarray, "*content"]
    ratios: tuple[Curve, ...] = ()
    added: tuple[Curve | None, ...] = ()

    def __call__(self, z: Sequence[float] | np.ndarray) -> Float64[np.ndarray, "*content"]:
        """Return the contents at one point.

        Args:
            z: `[nuisance]` values.

        >>> morph = build_morph([(0.0, 1.0, 2.0)], [1.0], [np.array([[[1.0]], [[4.0]], [[9.0]]])])
        >>> round(float(morph([0.5])[0, 0]), 10)
        2.25
        """
        values = np.asarray(z, np.float64).ravel()
        total, product = self.base, np.ones_like(self.base)
        for value, ratio, added in zip(values, self.ratios, self.added, strict=True):
            product = product * ratio(value)
            total = total if added is None else total + added(value)
        return total * product


@dataclasses.dataclass(frozen=True)
class JointMorph:
    """Contents as a tensor-product cubic spline of their square roots over a grid of several nuisances.

    Attributes:
        base: contents at the nominal point, `[component, bin]`.
        curve: the spline, with the nuisances numbered in the order of its axes.
    """

    base: Float64[np.ndarray, "component bin"]
    curve: GridCurve

    def __call__(self, z: Sequence[float] | np.ndarray) -> Float64[np.ndarray, "component bin"]:
        """Return the contents `[component, bin]` at one point."""
        return _on_grid(self.curve, np.asarray(z).ravel())


def _on_grid(curve: GridCurve, z: np.ndarray) -> np.ndarray:
    total = np.asarray(curve.roots)
    for value, knots, table in zip(z, curve.knots, curve.weights, strict=True):
        interval = int(np.sum(value >= np.asarray(knots)[1:-1]))
        weights = np.polynomial.polynomial.polyval(
            value - np.asarray(knots)[interval], np.asarray(table)[:, :, interval]
        )
        total = np.tensordot(weights, total, axes=(0, 0))
    return total**2


def build_morph(
    anchors: Sequence[Sequence[float] | np.ndarray],
    nominal: Sequence[float] | np.ndarray,
    contents: Sequence[np.ndarray],
    ranges: Sequence[tuple[float, float]] | None = None,
) -> Morph:
    """Return the morph of `contents[nuisance][anchor, ...]`.

    Args:
        anchors: increasing values, one sequence a nuisance.
        nominal: nominal value of each nuisance.
        contents: contents at the anchors, none negative; without nuisances one array without anchor axis.
        ranges: values that a fit may reach. Beyond the last anchor a content continues as
            `T_last (T_last / T_before)^(distance / spacing)`, the exponential interpolation of HistFactory (code 1,
            CERN-OPEN-2012-016), which the spline meets with its slope; an empty content stays empty.
    """
    if not anchors:
        return Morph(np.asarray(contents[0], dtype=np.float64))
    curves = []
    for number, (values, content) in enumerate(zip(anchors, contents, strict=True)):
        ends = (values[0], values[-1]) if ranges is None else ranges[number]
        curves.append(root_curve(values, np.asarray(content, np.float64), ends))
    middles = [curve(centre) for curve, centre in zip(curves, nominal, strict=True)]
    base = middles[0]
    for other in middles[1:]:
        base = np.where(base > 0, base, other)
    ratios, added = [], []
    for curve, middle in zip(curves, middles, strict=True):
        empty = (middle <= 0) | (base <= 0)
        ratios.append(_relative(curve, middle, empty))
        added.append(_only(curve, empty) if empty.any() else None)
    return Morph(base, tuple(ratios), tuple(added))


def root_curve(
    anchors: Sequence[float] | np.ndarray, contents: Float64[np.ndarray, anchor * content], ends: tuple[float, float]
) -> Curve:
    """Return the curve through `contents` at `anchors` (two: a line, three: a parabola), continued to `ends`."""
    knots = np.asarray(anchors, dtype=np.float64)
    margin = 1e-9 * (ends[1] - ends[0])
    below, above = ends[0] < knots[0] - margin, ends[1] > knots[-1] + margin
    roots = np.sqrt(contents)
    rates = [
        _rate(contents[0], contents[1], knots[1] - knots[0]),
        _rate(contents[-1], contents[-2], knots[-1] - knots[-2]),
    ]
    # The root's slope is half of the content's relative one, outwards at each end.
    sides = [(1, -0.5 * rates[0] * roots[0]), (1, 0.5 * rates[1] * roots[-1])]
    free: tuple | str = "not-a-knot" if len(knots) > 3 or not (below or above) else (2, np.zeros_like(roots[0]))
    if below or above:
        spline = CubicSpline(knots, roots, axis=0, bc_type=(sides[0] if below else free, sides[1] if above else free))
    else:
        spline = CubicSpline(knots, roots, axis=0, bc_type="not-a-knot")
    slopes = _limited(knots, roots, spline(knots, 1))
    inner = CubicHermiteSpline(knots, roots, slopes, axis=0).c[::-1]
    coefficients = list(np.moveaxis(inner, 0, 1))
    breaks, origins, kinds = list(knots[1:-1]), list(knots[:-1]), [SQUARE] * (len(knots) - 1)
    if below:
        coefficients.insert(0, _exponent(contents[0], -rates[0]))
        breaks.insert(0, knots[0])
        origins.insert(0, knots[0])
        kinds.insert(0, EXPONENT)
    if above:
        coefficients.append(_exponent(contents[-1], rates[1]))
        breaks.append(knots[-1])
        origins.append(knots[-1])
        kinds.append(EXPONENT)
    return Curve(np.array(breaks), np.array(origins), np.array(kinds), np.stack(coefficients))


def _rate(last: np.ndarray, before: np.ndarray, spacing: float) -> np.ndarray:
    """Return the logarithmic slope outwards of contents at an end; zero where they are empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((last > 0) & (before > 0), np.log(last / before), 0.0) / spacing


def _exponent(content: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Return coefficients of the exponent beyond an end, four powers."""
    with np.errstate(divide="ignore"):
        constant = np.where(content > 0, np.log(content), EMPTY)
    return np.stack([constant, rate, np.zeros_like(rate), np.zeros_like(rate)])


def _limited(knots: np.ndarray, roots: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return slopes at the knots with which the cubic keeps the order of the anchors and stays positive.

    In an interval whose neighbours rise (or fall) as it does, slopes of the same sign and at most three times the
    secant make the cubic monotone (Fritsch and Carlson, SIAM J. Numer. Anal. 17 (1980) 238); next to an extremum it
    may pass beyond the anchors, as the function may. A cubic through positive values stays positive where its slopes
    do not fall faster than three times value over spacing.
    """
    spacing = np.diff(knots).reshape(-1, *[1] * (roots.ndim - 1))
    secants = np.diff(roots, axis=0) / spacing
    signs = np.sign(secants)
    ordered = signs != 0
    ordered[1:] &= signs[1:] == signs[:-1]
    ordered[:-1] &= signs[:-1] == signs[1:]
    result = slopes.copy()
    for own in (result[:-1], result[1:]):
        bounded = np.clip(own * signs, 0, 3 * np.abs(secants)) * signs
        own[...] = np.where(ordered, bounded, own)
    result[:-1] = np.maximum(result[:-1], -3 * roots[:-1] / spacing)
    result[1:] = np.minimum(result[1:], 3 * roots[1:] / spacing)
    return result


def _relative(curve: Curve, middle: np.ndarray, empty: Bool[np.ndarray, "*content"]) -> Curve:
    """Return the curve relative to its nominal value, 1 where that is empty."""
    safe = np.where(empty, 1.0, middle)
    table = curve.coefficients.copy()
    for segment, kind in enumerate(curve.kinds):
        if kind == EXPONENT:
            table[segment, 0] -= np.log(safe)
        else:
            table[segment] /= np.sqrt(safe)
    neutral = np.zeros_like(table)
    neutral[curve.kinds != EXPONENT, 0] = 1.0
    return dataclasses.replace(curve, coefficients=np.where(empty, neutral, table))


def _only(curve: Curve, empty: Bool[np.ndarray, "*content"]) -> Curve:
    """Return the curve where contents are empty at the nominal point, zero elsewhere."""
    nothing = np.zeros_like(curve.coefficients)
    nothing[curve.kinds == EXPONENT, 0] = EMPTY
    return dataclasses.replace(curve, coefficients=np.where(empty, curve.coefficients, nothing))


def build_joint_morph(
    anchors: Sequence[Sequence[float] | np.ndarray],
    nominal: Sequence[float],
    contents: Float64[np.ndarray, ...],
    ranges: Sequence[tuple[float, float]] | None = None,
) -> JointMorph:
    """Return the morph of `contents[anchor_1, ..., anchor_J, component, bin]`, none negative.

    `ranges` are values that a fit may reach; contents have another anchor there, to which they continue as
    exponentials (see `build_morph`).

    Raises:
        TemplateError: the shape does not match the anchors.
    """
    counts = tuple(len(values) for values in anchors)
    if contents.shape[:-2] != counts:
        raise TemplateError(
            f"joint templates: shape {contents.shape} where (anchors..., component, bin) = {counts} + (components, "
            "bins) is needed"
        )
    reached = []
    for j, values in enumerate(anchors):
        knots = np.asarray(values, np.float64)
        moved = np.moveaxis(contents, j, 0)
        low, high = (knots[0], knots[-1]) if ranges is None else ranges[j]
        margin = 1e-9 * (high - low)
        if low < knots[0] - margin:
            rate = _rate(moved[0], moved[1], knots[1] - knots[0])
            moved = np.concatenate([(moved[0] * np.exp(rate * (knots[0] - low)))[None], moved])
            knots = np.concatenate([[low], knots])
        if high > knots[-1] + margin:
            rate = _rate(moved[-1], moved[-2], knots[-1] - knots[-2])
            moved = np.concatenate([moved, (moved[-1] * np.exp(rate * (high - knots[-1])))[None]])
            knots = np.concatenate([knots, [high]])
        contents = np.moveaxis(moved, 0, j)
        reached.append(knots)
    tables = []
    for knots in reached:
        curves = CubicSpline(knots, np.eye(len(knots)), axis=0, bc_type="not-a-knot")
        tables.append(np.ascontiguousarray(np.moveaxis(curves.c[::-1], 1, -1)))
    curve = GridCurve(np.arange(len(reached)), tuple(reached), tuple(tables), np.sqrt(contents.astype(np.float64)))
    return JointMorph(_on_grid(curve, np.asarray(nominal, np.float64)), curve)
