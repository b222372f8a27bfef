"""Interpolation between a few anchors whose result is linear in what is known at them."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.errors import ConfigError


class AnchorInterpolation(eqx.Module):
    """Coefficients `c_a(z)` with `f(z) = sum_a c_a(z) f(anchor_a)`.

    Between anchors a cubic whose slope at each anchor is that of the parabola through it and its neighbours;
    beyond the ends a straight line. With anchors -1, 0, 1 this is the quadratic with linear ends of HistFactory
    (interpolation code 2), with two anchors a straight line. Value and slope are continuous, and at an anchor its
    coefficient is exactly 1 and all others exactly 0.

    Attributes:
        anchors: increasing values.
    """

    anchors: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse anchors that do not increase."""
        if len(self.anchors) < 2 or np.any(np.diff(self.anchors) <= 0):
            raise ConfigError(f"anchors {self.anchors}: give at least two increasing values")

    @property
    def slopes(self) -> Float64[np.ndarray, "anchor anchor"]:
        """Slopes at the anchors as sums of the values there, `[slope at, value at]`."""
        x = np.asarray(self.anchors, np.float64)
        count = len(x)
        out = np.zeros((count, count))
        for i in range(count):
            near = np.arange(count) if count < 3 else np.clip(i, 1, count - 2) + np.arange(-1, 2)
            for a in near:
                others = [b for b in near if b != a]
                # The derivative of the Lagrange polynomial of anchor a at anchor i.
                out[i, a] = sum(np.prod([x[i] - x[c] for c in others if c != b]) for b in others) / np.prod(
                    [x[a] - x[b] for b in others]
                )
        return out

    def __call__(self, z: Float[Array, " event"]) -> Float[Array, "event anchor"]:
        """Return the coefficients at `z`.

        >>> AnchorInterpolation((-1.0, 0.0, 1.0))(jnp.array([1.0, 2.0])).tolist()
        [[0.0, 0.0, 1.0], [0.5, -2.0, 2.5]]
        """
        x, identity = jnp.asarray(self.anchors, z.dtype), jnp.eye(len(self.anchors), dtype=z.dtype)
        slopes = jnp.asarray(self.slopes, z.dtype)
        left = jnp.sum(z[:, None] >= x[1:-1], axis=1)
        step = x[left + 1] - x[left]
        t = (z - x[left]) / step
        inside = jnp.clip(t, 0, 1)[:, None]
        u, h = 1 - inside, step[:, None]
        value = (
            identity[left] * (u**2 * (1 + 2 * inside))
            + identity[left + 1] * (inside**2 * (1 + 2 * u))
            + h * inside * u * (u * slopes[left] - inside * slopes[left + 1])
        )
        over = (t - jnp.clip(t, 0, 1))[:, None] * h
        return value + over * jnp.where(over < 0, slopes[0], slopes[-1])
