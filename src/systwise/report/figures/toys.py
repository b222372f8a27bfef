"""Figures of pseudo-experiments: coverage, bias and pull of all sets, and the estimates themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from systwise.fit import ONE_SIGMA, TWO_SIGMA, Toys
from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above, note
from systwise.report.figures._style import GREY, poi_label
from systwise.report.tables._coverage import BIAS, ERRORS, Judged, judged_toys
from systwise.report.tables._rows import true_points
from systwise.study import Results

WRONG = "#bd1f01"
RIGHT = "#1c1e21"
REACH = 4.0
"""Half of the range of estimates in units of the largest spread drawn."""
_KINDS = {"uniform": "#3f90da", "optimised": "#e76300", "joint": "#832db6", "none": "#000000"}
_Line = Literal["-", "--", "-."]
_Quantity = tuple[str, float, Callable[[Judged], tuple[float, float, bool]]]


def _quantities() -> list[_Quantity]:
    """Return label, wanted value, and value, error and verdict of a set, one a panel."""
    return [
        (
            "coverage of 68.27 % intervals [%]",
            100 * ONE_SIGMA,
            lambda row: (100 * row.record.coverage, 100 * row.record.coverage_error, row.off),
        ),
        (
            "coverage of 95.45 % intervals [%]",
            100 * TWO_SIGMA,
            lambda row: (100 * row.record.coverage_two, 100 * row.record.coverage_two_error, row.off_two),
        ),
        (r"bias / $\sigma$", 0.0, lambda row: (row.record.bias, row.bias_error, row.biased)),
        (
            "width of the pull",
            1.0,
            # The relative error of a standard deviation of n values.
            lambda row: (row.record.pull_width, row.record.pull_width * row.bias_error / np.sqrt(2), False),
        ),
    ]


def coverage_figure(results: Results) -> Figure:
    """Draw coverage, bias and pull width of every set of pseudo-experiments, with statistical errors.

    Rows of panels are true points; sets that are off are red.
    """
    judged, points = judged_toys(results), true_points(results, results.toys)
    own = [[row for row in judged if point.same(row.record.true)] for point in points]
    labels = list(dict.fromkeys(row.label for row in judged))
    quantities = _quantities()
    figure, axes = grid(
        len(points),
        len(quantities),
        panel=(2.5, 0.35 + 0.26 * len(labels)),
        margins=(0.5 + 0.085 * max(len(label) for label in labels), 0.25, 0.65, 0.4),
        space=(0.2, 0.45),
        sharex="col",
        sharey=True,
    )
    for line, (point, rows) in enumerate(zip(points, own, strict=True)):
        for axis, (label, wanted, value) in zip(axes[line], quantities, strict=True):
            axis.axvline(wanted, color=GREY, linewidth=1.2)
            if wanted == 0:
                axis.axvspan(-BIAS, BIAS, color=GREY, alpha=0.2, linewidth=0)
            for row in rows:
                _point(axis, labels.index(row.label), *value(row))
            axis.locator_params(axis="x", nbins=5)
            if line == len(points) - 1:
                axis.set_xlabel(label, fontsize=10)
        axes[line, 0].set_title(f"true {point.label}", loc="left")
    for axis, (_, wanted, value) in zip(axes[-1], quantities, strict=True):
        # The wanted value is always in sight, with room for the errors that judge it.
        reach = max(abs(value(row)[0] - wanted) + ERRORS * value(row)[1] for row in judged)
        axis.set_xlim(wanted - 1.08 * reach, min(wanted + 1.08 * reach, 101.0))
    axes[0, 0].set_yticks(range(len(labels)), labels)
    axes[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    for axis in axes.flat:
        axis.tick_params(axis="y", length=0, labelsize=9)
    return figure


def _point(axis: Axes, y: int, value: float, error: float, wrong: bool) -> None:
    colour = WRONG if wrong else RIGHT
    axis.errorbar(value, y, xerr=error, color=colour, marker="o", markersize=4.5, linewidth=1.4, capsize=0)


def estimate_figure(results: Results, toys: Mapping[str, Toys]) -> Figure | None:
    """Draw the estimates of the pseudo-experiments, one panel a strategy and true point.

    Args:
        results: of the study.
        toys: rows by the file's name in the records; sets without rows are left out.
    """
    judged = [row for row in judged_toys(results) if row.record.file in toys]
    if not judged:
        return None
    points = true_points(results, [row.record for row in judged])
    strategies = list(dict.fromkeys(row.record.strategy for row in judged))
    figure, axes = grid(
        len(strategies),
        len(points),
        panel=(3.6, 1.5),
        margins=(0.75, 0.25, 0.65, 0.85),
        space=(0.25, 0.12),
        sharex="col",
    )
    for column, point in enumerate(points):
        here = [row for row in judged if point.same(row.record.true)]
        if not here:
            continue
        truth = point.values[here[0].record.poi]
        reach = REACH * max(row.record.rms for row in here) or 1.0
        edges = np.linspace(truth - reach, truth + reach, _bins(min(row.record.converged for row in here)) + 1)
        for axis, strategy in zip(axes[:, column], strategies, strict=True):
            own = [row for row in here if row.record.strategy == strategy]
            _estimates(axis, own, toys, edges, truth)
            note(axis, strategy, fontsize=10)
        axes[0, column].set_title(f"true {point.label}")
        axes[-1, column].set_xlabel(f"estimate of {poi_label(here[0].record.poi)}")
        axes[-1, column].set_xlim(edges[0], edges[-1])
    for axis in axes[:, 0]:
        axis.set_ylabel("density")
    for axis in axes.flat:
        axis.locator_params(axis="y", nbins=4)
    _legend(figure, judged, columns=3 if len(points) > 1 else 2)
    return figure


def _bins(count: int) -> int:
    """Return how many bins over eight standard deviations `count` estimates fill."""
    return int(np.clip(np.sqrt(count) * 2, 16, 60))


def _estimates(axis: Axes, rows: list[Judged], toys: Mapping[str, Toys], edges: np.ndarray, truth: float) -> None:
    width = edges[1] - edges[0]
    top, bound = 0.0, None
    for row in rows:
        values = toys[row.record.file]
        kept = values.estimate[values.converged & np.isfinite(values.estimate)]
        # What lies outside is in the outermost bins, so that areas stay equal.
        counts = np.histogram(np.clip(kept, edges[0], edges[-1]), edges)[0] / (max(len(kept), 1) * width)
        colour, line = _pen(row)
        axis.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.4)
        top, bound = max(top, counts.max(initial=0.0)), bound or row.record.bound
    if bound:
        x = np.linspace(edges[0], edges[-1], 301)
        density = np.exp(-0.5 * ((x - truth) / bound) ** 2) / (bound * np.sqrt(2 * np.pi))
        axis.plot(x, density, color="k", linestyle=":", linewidth=1.4)
        top = max(top, density.max())
    axis.axvline(truth, color=GREY, linewidth=1.0)
    axis.set_ylim(0, 1.25 * top or 1.0)


def _pen(row: Judged) -> tuple[str, _Line]:
    colour = _KINDS.get(row.record.binning)
    return colour or GREY, "--" if row.record.observable == "moving" else "-" if colour else "-."


def _legend(figure: Figure, judged: list[Judged], columns: int) -> None:
    names = {"joint": "anchored", "none": "unbinned"}
    seen: dict[str, Line2D] = {}
    for row in judged:
        moving = ", moving" if row.record.observable == "moving" else ""
        label = names.get(row.record.binning, f"{row.record.binning} binning{moving}")
        colour, line = _pen(row)
        seen.setdefault(label, Line2D([], [], color=colour, linestyle=line, label=label))
    handles = [*seen.values()]
    if any(row.record.bound for row in judged):
        handles.append(Line2D([], [], color="k", linestyle=":", label="Cramér–Rao bound"))
    legend_above(figure, handles)


@FIGURES.register
class ToyFigures(AbstractFigures):
    """What pseudo-experiments say of the intervals."""

    name = "toys"
    order = 30

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, toys = stored.results, stored.toys
        if not results.toys:
            return
        yield Sketch(
            "coverage",
            "Do the intervals hold what they promise?",
            "Each point is a set of pseudo-experiments. Coverage belongs on the line, with its binomial error; a bias "
            "is in units of the spread of the estimates (grey band: less than 0.1); a pull wider than one means that "
            "the intervals are too short. Red: off by more than 3 errors, or a bias beyond 0.1 and twice its error.",
            coverage_figure(results),
        )
        yield Sketch(
            "estimates",
            "Estimates of the pseudo-experiments",
            "One line an observable and binning, of unit area. Vertical line: the truth. Dotted: a Gaussian at the "
            "truth as wide as the Cramér–Rao bound, where it is known; no unbiased estimate is narrower.",
            estimate_figure(results, toys),
        )
