"""The morph over a joint grid of several nuisances, for effects that do not factorise.

Use it where the effect of one nuisance depends on the value of another. Templates on the full grid of
anchors cost a product of the numbers of anchors, so two or three nuisances are what it is for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64
from scipy.interpolate import CubicSpline

from systwise.errors import TemplateError
from systwise.fit._extrapolation import reach_out
from systwise.fit._morph import LogJet, log_derivatives


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CardinalSpline:
    """The weight that a cubic not-a-knot spline gives to the content at each anchor.

    Attributes:
        knots: increasing values, `[anchor]`.
        coefficients: powers 0 to 3 of the distance to the interval's left knot, `[4, anchor, interval]`.
    """

    knots: Float[Array | np.ndarray, " anchor"]
    coefficients: Float[Array | np.ndarray, "4 anchor interval"]

    def jet(self, z: Float[Array, "point data"]) -> tuple[Array, Array, Array]:
        """Return weights `[anchor, point, data]` with two derivatives."""
        knots = jnp.asarray(self.knots)
        interval = jnp.sum(z[None] >= knots[1:-1, None, None], axis=0)
        c0, c1, c2, c3 = jnp.asarray(self.coefficients)[:, :, interval]
        u = z - knots[interval]
        return c0 + u * (c1 + u * (c2 + u * c3)), c1 + u * (2 * c2 + 3 * u * c3), 2 * c2 + 6 * u * c3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JointMorph:
    """Contents as a tensor-product cubic spline of their square roots.

    Attributes:
        nominal: square root of the contents at the nominal point.
        roots: square roots at the grid points, `[anchor_1, ..., anchor_J, component, bin]`.
        splines: one a nuisance.
    """

    nominal: Float[Array | np.ndarray, "component bin"]
    roots: Float[Array | np.ndarray, ...]
    splines: tuple[CardinalSpline, ...]

    def log_jet(self, z: Sequence[Float[Array, "point data"]]) -> LogJet:
        """Return contents `[component, bin, point, data]` with logarithmic derivatives."""
        jets = [spline.jet(value) for spline, value in zip(self.splines, z, strict=True)]

        def contracted(*orders: int) -> Array:
            """Return the root differentiated `orders[j]` times by nuisance j."""
            total = jnp.asarray(self.roots)
            for number, (jet, order) in enumerate(zip(jets, orders, strict=True)):
                weights = jet[order]
                if number == 0:
                    total = jnp.tensordot(jnp.moveaxis(weights, 0, -1), total, axes=(2, 0))
                else:
                    # `[point, data, anchor, ...]` against `[anchor, point, data]`, one anchor axis at a time.
                    total = jnp.einsum("apd,pda...->pd...", weights, total)
            return jnp.moveaxis(total, (0, 1), (-2, -1))

        count = len(jets)

        def along(*nuisances: int) -> Array:
            return contracted(*(nuisances.count(j) for j in range(count)))

        root = along()
        firsts = [along(j) for j in range(count)]
        slopes, diagonals = [], []
        for j in range(count):
            slope, diagonal = log_derivatives(root, firsts[j], along(j, j))
            slopes.append(slope)
            diagonals.append(diagonal)
        safe = jnp.where(jnp.abs(root) < 1e-100, 1e-100, root)
        mixed = {
            # T = r^2: T_ij / T = 2 r_i r_j / r^2 + 2 r_ij / r, while the product of slopes is 4 r_i r_j / r^2.
            (i, j): 2 * (along(i, j) / safe - firsts[i] * firsts[j] / safe**2)
            for i in range(count)
            for j in range(i)
        }
        return root**2, slopes, diagonals, mixed


def build_joint_morph(
    anchors: Sequence[Sequence[float] | np.ndarray],
    nominal: Sequence[float],
    contents: Float64[np.ndarray, ...],
    ranges: Sequence[tuple[float, float]] | None = None,
) -> JointMorph:
    """Return the morph of `contents[anchor_1, ..., anchor_J, component, bin]`, none negative.

    `ranges` are values that a fit may reach; contents continue to them as exponentials (see `reach_out`).

    Raises:
        TemplateError: the shape does not match the anchors.
    """
    counts = tuple(len(values) for values in anchors)
    if contents.shape[:-2] != counts:
        raise TemplateError(
            f"joint templates: shape {contents.shape} where (anchors..., component, bin) = {counts} + (components, "
            "bins) is needed"
        )
    reached: list[np.ndarray] = []
    for j, values in enumerate(anchors):
        ends = (values[0], values[-1]) if ranges is None else ranges[j]
        knots, moved = reach_out(values, np.moveaxis(contents, j, 0), ends)
        contents = np.moveaxis(moved, 0, j)
        reached.append(knots)
    anchors = reached
    roots = np.sqrt(np.asarray(contents, dtype=np.float64))
    splines, central = [], roots
    for values, centre in zip(anchors, nominal, strict=True):
        knots = np.asarray(values, dtype=np.float64)
        curves = CubicSpline(knots, np.eye(len(knots)), axis=0, bc_type="not-a-knot")
        coefficients = np.ascontiguousarray(np.moveaxis(curves.c[::-1], 1, -1))
        splines.append(CardinalSpline(knots, coefficients))
        central = np.tensordot(curves(centre), central, axes=(0, 0))
    return JointMorph(central, roots, tuple(splines))
