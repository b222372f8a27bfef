"""Penalised smoothing of noisy curves, its strength chosen by cross-validation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def smooth_curves(
    curves: Float64[np.ndarray, "place curve"], weights: Float64[np.ndarray, " place"]
) -> Float64[np.ndarray, "place curve"]:
    """Return smooth versions of curves sampled at consecutive places.

    Each minimises `sum_b w_b (y_b - s_b)^2 + lambda sum_b (s_{b-1} - 2 s_b + s_{b+1})^2` (Whittaker;
    Eilers, Anal. Chem. 75, 3631, 2003) with the lambda of the smallest generalised cross-validation
    error, in which a degree of freedom counts 1.4 times against undersmoothing.

    Args:
        curves: `[place, curve]` values.
        weights: `[place]` inverse variances up to a common factor, above zero.
    """
    count = len(curves)
    if count < 5:
        return curves
    root = np.sqrt(weights / np.mean(weights))[:, None]
    second = np.diff(np.eye(count), 2, axis=0) / root.T
    stiffness, modes = np.linalg.eigh(second.T @ second)
    amplitudes = modes.T @ (root * curves)
    strengths = np.logspace(-4, 10, 57)
    passed = 1 / (1 + strengths[:, None] * np.maximum(stiffness, 0))
    residual = np.sum(((1 - passed)[..., None] * amplitudes) ** 2, axis=1)
    freedom = np.minimum(1.4 * passed.sum(axis=1) / count, 1 - 1e-9)
    best = np.argmin(residual / (1 - freedom[:, None]) ** 2, axis=0)
    return modes @ (passed[best].T * amplitudes) / root
