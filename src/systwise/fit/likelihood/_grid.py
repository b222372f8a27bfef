"""A joint curve of several nuisances, for effects that do not factorise: a tensor product of cubic splines."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from systwise.fit.likelihood._contents import Factors, Mixed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GridCurve:
    """Contents relative to the nominal ones as the square of a spline through roots on a grid of anchors.

    Attributes:
        numbers: its nuisances, `[axis]`.
        knots: increasing values along each axis.
        weights: cubics that give each anchor's weight, powers 0 to 3 of the distance to the interval's left knot,
            `[power, anchor, interval]` for each axis.
        roots: square roots of the relative contents, `[anchor_1, ..., anchor_J, component, row]`.
    """

    numbers: Int[Array | np.ndarray, " axis"]
    knots: tuple[Float[Array | np.ndarray, " _"], ...]
    weights: tuple[Float[Array | np.ndarray, "4 _ _"], ...]
    roots: Float[Array | np.ndarray, ...]

    def factors(self, z: Float[Array, " nuisance"]) -> Factors:
        """Return the factor at nuisance values z, with logarithmic derivatives."""
        jets = []
        for axis, (knots, table) in enumerate(zip(self.knots, self.weights, strict=True)):
            value, knots = z[jnp.asarray(self.numbers)[axis]], jnp.asarray(knots)
            interval = jnp.sum(value >= knots[1:-1])
            c0, c1, c2, c3 = jnp.asarray(table)[:, :, interval]
            u = value - knots[interval]
            jets.append((c0 + u * (c1 + u * (c2 + u * c3)), c1 + u * (2 * c2 + 3 * u * c3), 2 * c2 + 6 * u * c3))
        count = len(jets)

        def along(*axes: int) -> Array:
            """Return the root differentiated once by each of `axes`."""
            total = jnp.asarray(self.roots)
            for axis, jet in enumerate(jets):
                total = jnp.tensordot(jet[axes.count(axis)], total, axes=(0, 0))
            return total

        root = along()
        safe = jnp.where(jnp.abs(root) < 1e-100, 1e-100, root)
        firsts = [along(j) / safe for j in range(count)]
        bends = [2 * (firsts[j] ** 2 + along(j, j) / safe) for j in range(count)]
        pairs = [(i, j) for i in range(count) for j in range(i)]
        # T = r^2: T_ij / T = 2 r_i r_j / r^2 + 2 r_ij / r, while the product of slopes is 4 r_i r_j / r^2.
        values = [2 * (along(i, j) / safe - firsts[i] * firsts[j]) for i, j in pairs]
        left, right = np.array(pairs).reshape(-1, 2).T
        mixed = Mixed(left, right, jnp.stack(values)) if pairs else None
        return Factors(root**2, 2 * jnp.stack(firsts), jnp.stack(bends), mixed)
