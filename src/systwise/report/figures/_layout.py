"""Panels laid out in inches, small multiples, and what goes into a panel.

Fixed places for panels, titles and labels: matplotlib's own search for them measures every tick
label, which would double the time that a report takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.interpolate import RectBivariateSpline


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches on the Agg canvas."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def grid(
    rows: int,
    columns: int,
    panel: tuple[float, float] = (2.6, 2.3),
    margins: tuple[float, float, float, float] = (0.75, 0.25, 0.6, 0.45),
    space: tuple[float, float] = (0.15, 0.15),
    **kwargs: Any,
) -> tuple[Figure, Any]:
    """Return a figure and its `[row, column]` axes, laid out in inches.

    Fixed margins cost nothing; matplotlib's layout engines draw every text twice.

    Args:
        rows: number of panels one above the other.
        columns: number of panels side by side.
        panel: width and height of one.
        margins: left, right, bottom, top.
        space: between panels, horizontal and vertical.
        kwargs: for `Figure.subplots` (`sharex`, `height_ratios`, ...).
    """
    left, right, bottom, top = margins
    width = left + right + columns * panel[0] + (columns - 1) * space[0]
    height = bottom + top + rows * panel[1] + (rows - 1) * space[1]
    figure = new_figure(width, height)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=space[0] / panel[0],
        hspace=space[1] / panel[1],
    )
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def legend_above(figure: Figure, handles: Sequence[Any], names: Sequence[str] | None = None) -> None:
    """Write a legend above all panels, in as many columns as the figure is wide, and make room for its rows.

    Args:
        figure: its panels with their titles and labels.
        handles: lines and patches.
        names: their names; those that they have where None.
    """
    labels = [str(handle.get_label()) for handle in handles] if names is None else list(names)
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(list(handles), labels, loc="upper center", ncols=columns, fontsize=9)
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    else:
        return
    panels = [axis.get_tightbbox() for axis in figure.axes]
    highest = max((panel.y1 for panel in panels if panel is not None), default=0.0)
    missing = (highest - box.y0) / figure.dpi
    if missing > 0:
        old, place = figure.get_figheight(), figure.subplotpars
        bottom, top = place.bottom * old, place.top * old
        figure.set_figheight(old + missing)
        figure.subplots_adjust(bottom=bottom / (old + missing), top=top / (old + missing))


def multiples(
    count: int, inner: int, x: str, y: list[str], most: int = 4, **kwargs: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Return small multiples: `count` items of `inner` panels one above the other, `most` items a line.

    Args:
        count: number of items.
        inner: panels an item.
        x: label of every horizontal axis.
        y: labels of the vertical axes, one an inner panel.
        most: items beside each other; further ones go below.
        kwargs: for `grid`.

    Returns:
        the figure and its `[item][inner]` axes; axes are shared and only outer ones are labelled.
    """
    columns = min(count, most)
    lines = -(-count // columns)
    panel, left = kwargs["panel"], kwargs["margins"][0]
    # Ticks on two sides only, and labels at fixed places: with thirty panels it halves the time.
    with matplotlib.rc_context({"xtick.top": False, "ytick.right": False}):
        figure, axes = grid(lines * inner, columns, sharex=True, sharey=kwargs.pop("sharey", True), **kwargs)
    panels = []
    for item in range(lines * columns):
        line, column = divmod(item, columns)
        own = [axes[line * inner + row, column] for row in range(inner)]
        if item >= count:
            for axis in own:
                axis.set_visible(False)
            continue
        panels.append(own)
        for axis in own:
            axis.locator_params(nbins=5)
        if item + columns >= count:
            own[-1].set_xlabel(x)
            own[-1].xaxis.set_label_coords(0.5, -0.28 / panel[1])
            own[-1].tick_params(labelbottom=True)
        if column == 0:
            for axis, label in zip(own, y, strict=True):
                axis.set_ylabel(label)
                axis.yaxis.set_label_coords(-(left - 0.34) / panel[0], 0.5)
    return figure, panels


def outer_labels(axes: Any, x: str, y: str) -> None:
    """Label the outer axes of a grid only."""
    for axis in axes[-1, :]:
        axis.set_xlabel(x)
    for axis in axes[:, 0]:
        axis.set_ylabel(y)


def mesh(axis: Axes, x: np.ndarray, y: np.ndarray, values: Float[np.ndarray, "y x"], **kwargs: Any) -> Any:
    """Draw cells centred on `x` and `y`: one image where both are evenly spaced, else a rasterised mesh.

    The image is ten times as fast, and small in a PDF.
    """
    steps = [np.diff(centres) for centres in (x, y)]
    if all(len(step) and np.ptp(step) <= 1e-6 * abs(step[0]) for step in steps):
        half = [step[0] / 2 for step in steps]
        extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
        return axis.imshow(values, origin="lower", extent=extent, aspect="auto", interpolation="nearest", **kwargs)
    return axis.pcolormesh(x, y, values, shading="nearest", rasterized=True, **kwargs)


def contours(
    axis: Axes, x: np.ndarray, y: np.ndarray, rise: Float[np.ndarray, "y x"], levels: Sequence[float], **kwargs: Any
) -> None:
    """Draw contours of a rise of the NLL, between the points of its grid along a cubic spline.

    The square root is interpolated, which is smooth where the rise is a parabola, and cut far above the levels.
    """
    fine_x, fine_y = (np.unique(np.concatenate([v, np.linspace(v[0], v[-1], 8 * len(v))])) for v in (x, y))
    root = np.sqrt(np.clip(rise, 0.0, 4.0 * max(levels)))
    if min(len(x), len(y)) > 3:
        # Signed distances would be smoother still at the minimum, where no contour is.
        root = RectBivariateSpline(y, x, root)(fine_y, fine_x)
        x, y = fine_x, fine_y
    axis.contour(x, y, np.maximum(root, 0.0) ** 2, levels, **kwargs)


def note(axis: Axes, text: str, x: float = 0.04, y: float = 0.95, **kwargs: Any) -> None:
    """Write a small text into a corner of a panel, legible over what is drawn there."""
    paper = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    options: dict[str, Any] = {"fontsize": 9, "ha": "left", "va": "top", "bbox": paper, **kwargs}
    axis.text(x, y, text, transform=axis.transAxes, **options)
