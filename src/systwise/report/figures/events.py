"""Figures of what goes in: the data plane, the features, and what each strategy makes of the plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import gaussian_filter

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above, mesh, multiples, outer_labels
from systwise.report.figures._style import COMPONENT_COLOURS, nuisance_label, shown_value
from systwise.study import DecisionFunction, FeatureDistribution, PlaneDensity, Results

MOST_FEATURES = 12
_LINES: tuple[Any, ...] = (":", "-", "--", "-.")


def _shades(component: int, count: int) -> list[tuple[float, float, float]]:
    """Return `count` shades of a component's colour, light to dark: order stays visible in grey."""
    base = np.asarray(to_rgb(COMPONENT_COLOURS[component % len(COMPONENT_COLOURS)]))
    mix = np.linspace(0.45, -0.45, count) if count > 1 else [0.0]
    return [tuple(base + (1 - base) * m if m > 0 else base * (1 + m)) for m in mix]


def _nominal_index(results: Results, name: str, shown: Float[np.ndarray, " shown"]) -> int:
    """Return which shown value is the nominal one; the middle one where the nuisance is unknown."""
    for record in results.nuisances:
        if record.name == name:
            return int(np.argmin(np.abs(shown - record.nominal)))
    return len(shown) // 2


def mass_levels(density: Float[np.ndarray, "y x"], fractions: tuple[float, ...]) -> list[float]:
    """Return the density above which each fraction of all events lies, increasing and distinct.

    >>> mass_levels(np.array([[1.0, 2.0], [3.0, 4.0]]), (0.4, 0.9))
    [2.0, 4.0]
    """
    ordered = np.sort(density.ravel())[::-1]
    total = ordered.sum()
    if not total > 0:
        return []
    part = np.cumsum(ordered) / total
    # The smallest set of cells that holds at least the fraction; the offset absorbs rounding.
    index = np.minimum(np.searchsorted(part, np.asarray(fractions) - 1e-12), len(ordered) - 1)
    return sorted({float(level) for level in ordered[index] if level > 0})


SMOOTHING = 1.5
"""Width of the smoothing of contours, in cells of the plane."""


def plane_figure(results: Results, planes: tuple[PlaneDensity, ...], components: tuple[str, ...]) -> Figure:
    """Draw contours that hold 39 % and 86 % of each component, one panel a nuisance value.

    Those are the one and two sigma contours of a two-dimensional Gaussian. Densities are smoothed by
    `SMOOTHING` cells. The nominal contours are repeated in grey.
    """
    plane = planes[0]
    x = 0.5 * (plane.x_edges[1:] + plane.x_edges[:-1])
    y = 0.5 * (plane.y_edges[1:] + plane.y_edges[:-1])
    nominal = _nominal_index(results, plane.nuisance, plane.shown)
    layout: dict[str, Any] = {"panel": (3.0, 3.0), "margins": (0.75, 0.2, 0.65, 0.75)}
    figure, axes = grid(1, len(plane.shown), sharex=True, sharey=True, **layout)
    label = nuisance_label(results, plane.nuisance, unit=False)
    for number, axis in enumerate(axes[0]):
        for component in range(plane.density.shape[1]):
            colour = COMPONENT_COLOURS[component % len(COMPONENT_COLOURS)]
            drawn = [(number, colour, 1.8)]
            if number != nominal:
                drawn.insert(0, (nominal, "#c0c0c0", 1.2))
            for index, shade, width in drawn:
                # Contours of counts wobble with their noise, which is not what the figure is about.
                density = gaussian_filter(plane.density[index, component], SMOOTHING)
                levels = mass_levels(density, (0.393, 0.865))
                if levels:
                    axis.contour(x, y, density, levels, colors=[shade], linewidths=width)
        axis.set_title(
            f"{label} = {shown_value(plane.shown[number], plane.shown)}{' (nominal)' if number == nominal else ''}"
        )
    outer_labels(axes, plane.x_label, plane.y_label)
    handles = [
        Line2D([], [], color=COMPONENT_COLOURS[k % len(COMPONENT_COLOURS)], label=name)
        for k, name in enumerate(components[: plane.density.shape[1]])
    ]
    handles.append(Line2D([], [], color="#c0c0c0", label="nominal"))
    legend_above(figure, handles)
    return figure


def decision_figure(results: Results, decisions: tuple[DecisionFunction, ...]) -> Figure:
    """Draw the score of each strategy over the plane, one panel a nuisance value."""
    first = decisions[0]
    values = len(first.z)
    figure, panels = multiples(
        len(decisions),
        values,
        first.x_label,
        [first.y_label] * values,
        panel=(2.3, 2.1),
        margins=(0.75, 1.1, 0.65, 0.4),
        space=(0.15, 0.32),
    )
    label = nuisance_label(results, first.nuisance, unit=False)
    image = None
    for decision, own in zip(decisions, panels, strict=True):
        for axis, z, score in zip(own, decision.z, decision.score, strict=False):
            image = mesh(axis, decision.x, decision.y, score, cmap="RdBu_r", vmin=0, vmax=1)
            inside = [level for level in (0.1, 0.5, 0.9) if score.min() < level < score.max()]
            if inside:
                widths = [1.4 if level == 0.5 else 0.6 for level in inside]
                axis.contour(decision.x, decision.y, score, inside, colors="k", linewidths=widths)
            axis.set_title(f"{label} = {shown_value(z, decision.z)}", fontsize=9, pad=3)
        own[0].set_title(f"{decision.strategy}, {label} = {shown_value(decision.z[0], decision.z)}", fontsize=9, pad=3)
    if image is not None:
        width, height = figure.get_size_inches()
        bar = figure.add_axes((1 - 0.9 / width, 0.65 / height, 0.16 / width, 1 - 1.05 / height))
        figure.colorbar(image, cax=bar, label="score (signal probability)")
    return figure


def shape_change(distribution: FeatureDistribution, nominal: int) -> float:
    """Return the largest total-variation distance from the nominal shape, summed over components.

    `sum_k max_z (1/2) sum_b |p_kb(z) - p_kb(nominal)|`, shapes p of unit area.
    """
    total = distribution.counts.sum(axis=-1, keepdims=True)
    shape = distribution.counts / np.where(total > 0, total, 1)
    return float(0.5 * np.abs(shape - shape[nominal]).sum(axis=-1).max(axis=0).sum())


def feature_figure(
    results: Results, distributions: tuple[FeatureDistribution, ...], components: tuple[str, ...]
) -> tuple[Figure, int]:
    """Draw the features that depend on the nuisance most, with ratios to nominal beneath.

    Returns:
        the figure, and the number of features drawn (at most 12).
    """
    first = distributions[0]
    nominal = _nominal_index(results, first.nuisance, first.shown)
    ranked = sorted(distributions, key=lambda d: -shape_change(d, nominal))[:MOST_FEATURES]
    columns = min(len(ranked), 4 if len(ranked) > 4 else 2)
    lines = -(-len(ranked) // columns)
    size = 3.6 if columns < 4 else 2.9
    # Three rows a feature, the last one an invisible spacer for the axis label.
    figure, axes = grid(
        3 * lines,
        columns,
        panel=(size, 1.1),
        margins=(0.8, 0.2, 0.2, 0.8),
        space=(0.55, 0.05),
        height_ratios=[1.9, 0.8, 0.6] * lines,
    )
    for axis in axes[2::3].flat:
        axis.set_visible(False)
    for number in range(lines * columns):
        line, column = divmod(number, columns)
        main, ratio = axes[3 * line, column], axes[3 * line + 1, column]
        if number >= len(ranked):
            main.set_visible(False)
            ratio.set_visible(False)
            continue
        _draw_feature(main, ratio, ranked[number], nominal)
        if column == 0:
            main.set_ylabel("fraction / bin")
            ratio.set_ylabel("ratio")
    label = nuisance_label(results, first.nuisance, unit=False)
    count = len(first.shown)
    texts = [f"{label} = {shown_value(value, first.shown)}" for value in first.shown]
    handles = [
        Line2D([], [], color=_shades(k, count)[i], linestyle=_LINES[i % 4], label=f"{name}, {texts[i]}")
        for i in range(count)
        for k, name in enumerate(components[: first.counts.shape[1]])
    ]
    legend_above(figure, handles)
    return figure, len(ranked)


def _draw_feature(main: Axes, ratio: Axes, distribution: FeatureDistribution, nominal: int) -> None:
    """Draw one feature: fractions of the nominal yield above, ratios to nominal below."""
    reference = distribution.counts[nominal]
    for component in range(reference.shape[0]):
        total = reference[component].sum()
        if not total > 0:
            continue
        filled = reference[component] > 1e-4 * total
        for index, colour in enumerate(_shades(component, len(distribution.shown))):
            counts, line = distribution.counts[index, component], _LINES[index % 4]
            main.stairs(counts / total, distribution.edges, color=colour, linestyle=line, linewidth=1.4)
            if index != nominal:
                shown = np.where(filled, counts / np.where(filled, reference[component], 1), np.nan)
                ratio.stairs(shown, distribution.edges, color=colour, linestyle=line, linewidth=1.2, baseline=None)
    ratio.axhline(1, color="k", linewidth=0.8)
    ratio.set_ylim(0.4, 1.6)
    main.set_ylim(bottom=0)
    for axis in (main, ratio):
        axis.set_xlim(distribution.edges[0], distribution.edges[-1])
    main.tick_params(labelbottom=False)
    ratio.set_xlabel(distribution.label)


@FIGURES.register
class EventFigures(AbstractFigures):
    """The events themselves."""

    name = "events"
    order = 80

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        if plots.plane_densities:
            yield Sketch(
                "plane",
                "The data at three nuisance values",
                "Contours hold 39 % and 86 % of each component; grey: nominal.",
                plane_figure(results, plots.plane_densities, plots.components),
            )
        if plots.decision_functions:
            yield Sketch(
                "decisions",
                "Decision function of each strategy",
                "Lines at scores 0.1, 0.5 (thick) and 0.9. A strategy that does not know the nuisance draws the same "
                "picture twice; one that does turns with the data.",
                decision_figure(results, plots.decision_functions),
            )
        if plots.feature_distributions:
            figure, drawn = feature_figure(results, plots.feature_distributions, plots.components)
            total = len(plots.feature_distributions)
            some = f" The {drawn} of {total} features whose shape changes most." if drawn < total else ""
            yield Sketch(
                "features",
                "Features at three nuisance values",
                "Fractions of the nominal yield, so that a change of rate shows as well as one of shape; beneath, the "
                f"ratio to nominal.{some}",
                figure,
            )
