"""The smoother 353QH, twice: running medians, then means, for the bins of a varied template relative to the nominal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.parameters import Nuisance
from systwise.templates._templates import Templates


def smooth_353qh_twice(values: Float64[np.ndarray, " bin"]) -> Float64[np.ndarray, " bin"]:
    """Return the values smoothed by 353QH, and by 353QH of what that left over.

    J. Friedman, Data Analysis Techniques for High Energy Particle Physics, CERN 74-23 (1974), p. 271: running medians
    of 3, 5 and 3, quadratic interpolation where they are flat (Q), and a running mean with weights 1/4, 1/2, 1/4
    (H for Hanning). Three values or more are smoothed, none below zero where all are above.

    >>> smooth_353qh_twice(np.array([1.0, 1.0, 5.0, 1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    values = np.asarray(values, np.float64)
    if len(values) < 3:
        return values.copy()
    first = _smooth_353qh(values)
    found = first + _smooth_353qh(values - first)
    return np.maximum(found, 0.0) if values.min() >= 0 else found


def _smooth_353qh(values: Float64[np.ndarray, " bin"]) -> Float64[np.ndarray, " bin"]:
    """Return the values smoothed once."""
    three = _medians(values, 1)
    # The ends have one neighbour: the median of it, of themselves, and of where the line through the next two points.
    three[0] = np.median([three[1], values[0], 3 * three[1] - 2 * three[2]])
    three[-1] = np.median([three[-2], values[-1], 3 * three[-2] - 2 * three[-3]])
    five = _medians(three, 2)
    five[1], five[-2] = np.median(three[:3]), np.median(three[-3:])
    flat = _medians(five, 1)
    found = flat.copy()
    for i in range(2, len(flat) - 2):
        if not flat[i - 1] == flat[i] == flat[i + 1]:
            continue
        left, right = flat[i - 2] - flat[i], flat[i + 2] - flat[i]
        if left * right > 0:
            # A peak or valley cut flat: a parabola through the ends of the plateau, steeper on its nearer side.
            side = -1 if abs(right) > abs(left) else 1
            near, far = flat[i + 2 * side], flat[i - 2 * side]
            found[i] = -0.5 * far + flat[i] / 0.75 + near / 6
            found[i + side] = 0.5 * (near - far) + flat[i]
    means = found.copy()
    means[1:-1] = 0.25 * found[:-2] + 0.5 * found[1:-1] + 0.25 * found[2:]
    return means


def _medians(values: Float64[np.ndarray, " bin"], reach: int) -> Float64[np.ndarray, " bin"]:
    """Return running medians of `2 reach + 1` values; the ends, which have too few neighbours, as they are."""
    found = values.copy()
    if len(values) > 2 * reach:
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1)
        found[reach : len(values) - reach] = np.median(windows, axis=1)
    return found


def smooth_templates(
    templates: Templates, nuisances: Sequence[Nuisance], chosen: Mapping[str, Collection[str]]
) -> Templates:
    """Return templates of one region with the effects of some nuisances on some components smoothed.

    At each anchor the ratio to the nominal template is smoothed, and the total stays as it was.

    Args:
        templates: of a score or variable in increasing bins.
        nuisances: of the templates, for their nominal values.
        chosen: names of components by nuisance.
    """
    if not templates.nuisances:
        return templates
    nominal = {nuisance.name: nuisance.nominal for nuisance in nuisances}
    counts = []
    for name, anchors, array in zip(templates.nuisances, templates.anchors, templates.counts, strict=True):
        smooth = array.copy()
        base = array[int(np.argmin(np.abs(anchors - nominal[name])))]
        for a in range(len(anchors)):
            for k, component in enumerate(templates.component_names):
                total = array[a, k].sum()
                if component not in chosen.get(name, ()) or total <= 0 or np.array_equal(array[a, k], base[k]):
                    continue
                ratio = np.divide(array[a, k], base[k], out=np.ones_like(base[k]), where=base[k] > 0)
                moved = smooth_353qh_twice(ratio) * base[k]
                smooth[a, k] = moved * total / moved.sum()
        counts.append(smooth)
    return dataclasses.replace(templates, counts=tuple(counts))
