"""How figures look: one colour and marker a strategy, sizes for a talk, no global state.

Figures are `matplotlib.figure.Figure` objects on the Agg canvas: pyplot and its current figure are
never used, so a report can be drawn in a thread or a notebook without touching the user's plots.
Colours are those of M. Petroff (arXiv:2107.02270), made to be told apart by colour-blind readers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import mplhep
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from systwise.report._numbers import significant
from systwise.study._results import Results

DPI = 150
SIGNAL, BACKGROUND = "#bd1f01", "#3f90da"
COMPONENT_COLOURS = (SIGNAL, BACKGROUND, "#832db6", "#ffa90e", "#a96b59", "#717581")
GREY = "#717581"

_TICKS = {
    key: value
    for key, value in mplhep.style.ROOT.items()
    if key.startswith(("xtick.", "ytick.")) and ("size" not in key and "pad" not in key)
}
_RC: dict[str, Any] = {
    **_TICKS,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.titlesize": 11,
    # A fixed place: matplotlib looks for one by measuring every tick label, a third of the time.
    "axes.titley": 1.0,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.limits": (-3, 5),
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "pdf.fonttype": 3,
    "text.usetex": False,
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How a strategy is drawn, the same in every figure."""

    colour: str
    marker: str
    line: str


_LOOKS = {
    "nominal": Look("#3f90da", "o", "-"),
    "true_nuisance": Look("#717581", "D", "--"),
    "augmented": Look("#ffa90e", "s", "-"),
    "adversarial": Look("#832db6", "^", "-"),
    "aware": Look("#bd1f01", "*", "-"),
    "optimal": Look("#000000", "P", ":"),
    "optimal_nominal": Look("#94a4a2", "X", ":"),
}
_SPARE = (
    Look("#a96b59", "v", "-"),
    Look("#e76300", "h", "-."),
    Look("#92dadd", "<", "-"),
    Look("#b9ac70", ">", "-."),
)


def looks(strategies: list[str]) -> dict[str, Look]:
    """Return the look of each strategy; unknown ones get spare looks in the order given.

    A variant, `name@...`, looks like `name`.
    """
    spare = iter(_SPARE * (1 + len(strategies) // len(_SPARE)))
    return {name: _LOOKS.get(name.split("@")[0]) or next(spare) for name in dict.fromkeys(strategies)}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; everything is as before afterwards."""
    with matplotlib.rc_context(_RC):
        yield


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
        rows, columns: number of panels.
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
            axis.locator_params(nbins=4)
        if item + columns >= count:
            own[-1].set_xlabel(x)
            own[-1].xaxis.set_label_coords(0.5, -0.28 / panel[1])
            own[-1].tick_params(labelbottom=True)
        if column == 0:
            for axis, label in zip(own, y, strict=True):
                axis.set_ylabel(label)
                axis.yaxis.set_label_coords(-(left - 0.28) / panel[0], 0.5)
    return figure, panels


def mesh(axis: Axes, x: np.ndarray, y: np.ndarray, values: Float[np.ndarray, "y x"], **kwargs: Any) -> Any:
    """Draw cells centred on `x` and `y`: one image where both are evenly spaced, else a rasterised mesh.

    The image is ten times as fast, and small in a PDF.
    """
    steps = [np.diff(centres) for centres in (x, y)]
    if all(len(step) and np.ptp(step) <= 1e-6 * abs(step[0]) for step in steps):
        half = [step[0] / 2 for step in steps]
        extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
        return axis.imshow(
            values, origin="lower", extent=extent, aspect="auto", interpolation="nearest", **kwargs
        )
    return axis.pcolormesh(x, y, values, shading="nearest", rasterized=True, **kwargs)


def poi_label(poi: str) -> str:
    """Return a parameter of interest as mathtext, e.g. `$\\mu$`."""
    greek = poi in {"mu", "kappa", "alpha", "beta", "theta", "lambda", "sigma"}
    return rf"$\{poi}$" if greek else poi


def shown_value(value: float, among: np.ndarray) -> str:
    """Return a nuisance value with three digits; one that is tiny beside the others is zero."""
    return significant(0.0 if abs(value) < 1e-3 * np.max(np.abs(among)) else value)


def nuisance_label(results: Results, name: str, unit: bool = True) -> str:
    """Return a nuisance's axis label, with its unit in brackets."""
    for record in results.nuisances:
        if record.name == name:
            text = record.label or record.name
            return f"{text} [{record.unit}]" if unit and record.unit else text
    return name


def outer_labels(axes: Any, x: str, y: str) -> None:
    """Label the outer axes of a grid only."""
    for axis in axes[-1, :]:
        axis.set_xlabel(x)
    for axis in axes[:, 0]:
        axis.set_ylabel(y)


def note(axis: Axes, text: str, x: float = 0.04, y: float = 0.95, **kwargs: Any) -> None:
    """Write a small text into a corner of a panel."""
    options: dict[str, Any] = {"fontsize": 9, "ha": "left", "va": "top", **kwargs}
    axis.text(x, y, text, transform=axis.transAxes, **options)


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Write `name.png` and `name.pdf` into `folder`; return the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 2})
    figure.savefig(path.with_suffix(".pdf"), dpi=DPI)
    return path
