"""Effects of nuisances on templates that are too small to matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from systwise.parameters import Nuisance
from systwise.templates._templates import Templates


def prune(
    templates: Templates, nuisances: Sequence[Nuisance], threshold: float, free: Collection[str] = ()
) -> tuple[Templates, list[str], int]:
    """Return templates without the effects that change no bin of a component by `threshold` or more.

    The largest change over the anchors counts, relative to the nominal content of a bin; bins without any are passed
    over. The nuisance stays, with its constraint and its other effects.

    Args:
        templates: of one region.
        nuisances: of the templates, for their nominal values.
        threshold: relative change.
        free: nuisances that nothing else constrains, which keep their effects.

    Returns:
        the templates, what was left out as `nuisance on component`, and how many effects there were.
    """
    if not templates.nuisances or templates.moving:
        return templates, [], 0
    nominal = {nuisance.name: nuisance.nominal for nuisance in nuisances}
    left, total, counts = [], 0, []
    for name, anchors, array in zip(templates.nuisances, templates.anchors, templates.counts, strict=True):
        base = array[int(np.argmin(np.abs(anchors - nominal[name])))]
        change = np.divide(np.abs(array - base), np.abs(base), out=np.zeros_like(array), where=base != 0)
        largest = change.max(axis=(0, 2))
        small = (largest > 0) & (largest < threshold) & (name not in free)
        total += int(np.sum(largest > 0))
        left += [f"{name} on {templates.component_names[k]}" for k in np.flatnonzero(small)]
        counts.append(np.where(small[:, None], base, array))
    return dataclasses.replace(templates, counts=tuple(counts)), left, total
