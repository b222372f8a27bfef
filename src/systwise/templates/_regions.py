"""Templates of several regions as one: their bins one region after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from systwise.errors import TemplateError
from systwise.templates._templates import Templates


def join_templates(parts: Mapping[str, Templates]) -> Templates:
    """Return templates whose bins are those of all regions; the first one gives the kind of observable.

    A region whose observable is fixed looks the same under every hypothesis of one that moves.

    Args:
        parts: by region; components, nuisances, anchors and true points are the same.

    Raises:
        TemplateError: there is none, or they differ in components, nuisances, anchors or true points.
    """
    if not parts:
        raise TemplateError("templates: there is no region to join")
    first, *others = parts.values()
    for other in others:
        same = (
            (first.component_names, first.nuisances) == (other.component_names, other.nuisances)
            and all(np.array_equal(a, b) for a, b in zip(first.anchors, other.anchors, strict=True))
            and np.array_equal(first.true_points, other.true_points)
        )
        if not same:
            raise TemplateError("templates: regions differ in components, nuisances, anchors or true points")
    every = (first, *others)
    moving = any(part.moving for part in every)
    whole = all(part.grid is not None for part in every)
    return dataclasses.replace(
        first,
        counts=tuple(np.concatenate(each, axis=-1) for each in zip(*(p.counts for p in every), strict=True)),
        variances=tuple(np.concatenate(each, axis=-1) for each in zip(*(p.variances for p in every), strict=True)),
        moving=moving,
        truth=np.concatenate([p.truth for p in every], axis=-1),
        at_true=_at_true(every) if moving else (),
        grid=np.concatenate([p.grid for p in every if p.grid is not None], axis=-1) if whole else None,
        regions={name: edges for one, part in parts.items() for name, edges in part.region_edges(one).items()},
    )


def _at_true(parts: tuple[Templates, ...]) -> tuple[tuple[np.ndarray, ...], ...]:
    """Return the histograms of every true point under every hypothesis, `[anchor, component, bin]` a nuisance."""
    first = parts[0]
    return tuple(
        tuple(
            np.concatenate(
                [
                    part.at_true[point][j] if part.moving else np.repeat(part.truth[point][None], len(anchors), axis=0)
                    for part in parts
                ],
                axis=-1,
            )
            for j, anchors in enumerate(first.anchors)
        )
        for point in range(len(first.truth))
    )


def restrict_templates(templates: Templates, names: Collection[str]) -> Templates:
    """Return the templates of some regions; the first of them gives the edges.

    Raises:
        TemplateError: none of them is there.
    """
    kept = {name: edges for name, edges in templates.regions.items() if name in names}
    if len(kept) == len(templates.regions):
        return templates
    if not kept:
        raise TemplateError(f"templates: none of the regions {', '.join(names)} is there")
    chosen = np.concatenate([np.full(len(edges) - 1, name in kept) for name, edges in templates.regions.items()])
    return dataclasses.replace(
        templates,
        edges=next(iter(kept.values())),
        counts=tuple(each[..., chosen] for each in templates.counts),
        variances=tuple(each[..., chosen] for each in templates.variances),
        truth=templates.truth[..., chosen],
        at_true=tuple(tuple(each[..., chosen] for each in point) for point in templates.at_true),
        grid=None if templates.grid is None else templates.grid[..., chosen],
        regions=kept,
    )
