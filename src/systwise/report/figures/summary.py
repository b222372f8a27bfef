"""The summary figure: sigma of every strategy, the first thing to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above
from systwise.report.figures._style import GREY, looks, poi_label
from systwise.report.tables._rows import Entry, Place, find, main_entries, places, pois, true_points
from systwise.report.text._numbers import significant
from systwise.study import Results, Summary

STEP = 0.4
"""Height of a bar; a row is as high as its bars and a gap of half a bar."""


def _slots(results: Results, rows: list[Entry], poi: str) -> list[list[tuple[Place, float]]]:
    """Return where the bars of each row lie: only groups of binnings in which something was measured."""
    found, y = [], 0.0
    for entry in rows:
        measured = [
            place
            for place in places(results)
            if any(find(results, entry, point, place, poi) for point in true_points(results))
        ]
        found.append([(place, y + number * STEP) for number, place in enumerate(measured)])
        y += (len(measured) + 0.5) * STEP
    return found


def summary_figure(results: Results, poi: str) -> Figure:
    """Draw sigma of every strategy at every true point, one bar a binning, the bound as a line.

    The dark part of a bar is the statistics-only width, the error bar the spread over seeds.
    """
    rows, points, groups = main_entries(results), true_points(results), places(results)
    slots = _slots(results, rows, poi)
    bottom = max((y for own in slots for _, y in own), default=0.0)
    columns = max(min(len(points), 3), 1)
    lines = max(-(-len(points) // columns), 1)
    longest = max((len(entry.label) for entry in rows), default=0)
    figure, axes = grid(
        lines,
        columns,
        panel=(4.2, 0.55 + 0.6 * (bottom + STEP)),
        margins=(max(1.75, 0.5 + 0.085 * longest), 0.3, 0.65, 0.9),
        space=(0.25, 0.75),
        sharex=True,
        sharey=True,
    )
    sigmas = [row.sigma.mean for row in results.summaries if row.poi == poi and row.sigma.mean is not None]
    right = 1.32 * max(sigmas, default=1.0)
    look = looks([entry.strategy for entry in rows])
    for axis in axes.flat[len(points) :]:
        axis.set_visible(False)
    for axis, point in zip(axes.flat, points, strict=False):
        for entry, own in zip(rows, slots, strict=True):
            for place, y in own:
                row = find(results, entry, point, place, poi)
                if row is not None:
                    _bar(axis, row, y, look[entry.strategy].colour, 0.45 if _pale(place, groups) else 0.85, right)
        bound = next((r.bound for r in results.asimov if r.bound and r.poi == poi and point.same(r.true)), None)
        if bound:
            axis.axvline(bound, color="k", linestyle="--", linewidth=1.2)
        axis.set_title(f"true {point.label}")
        axis.set_xlabel(rf"$\sigma$({poi_label(poi)})")
        axis.tick_params(labelbottom=True)
    centres = [sum(y for _, y in own) / max(len(own), 1) for own in slots]
    axes[0, 0].set_yticks(centres, [entry.label for entry in rows])
    axes[0, 0].set_ylim(bottom + STEP, -STEP)
    axes[0, 0].set_xlim(0, right)
    for axis in axes.flat:
        axis.tick_params(axis="y", length=0)
    handles = _handles(results, groups)
    legend_above(figure, handles)
    return figure


def _pale(place: Place, groups: list[Place]) -> bool:
    return len(groups) > 1 and place == groups[0]


def _handles(results: Results, groups: list[Place]) -> list[Artist]:
    handles: list[Artist] = [
        Patch(color=GREY, alpha=0.45 if _pale(place, groups) else 0.85, label=place.full_title) for place in groups
    ]
    handles.append(Patch(color="k", alpha=0.55, label="statistics only"))
    if any(record.bound for record in results.asimov):
        handles.append(Line2D([], [], color="k", linestyle="--", label="Cramér–Rao bound"))
    return handles


def _bar(axis: Axes, row: Summary, y: float, colour: str, alpha: float, right: float) -> None:
    """Draw one width with its statistics-only part, or say why there is none."""
    if row.sigma.mean is None:
        text = f"no interval ({row.converged}/{row.seeds} converged)"
        axis.text(0.01 * right, y, text, va="center", fontsize=8)
        return
    failed = row.converged < row.seeds
    alpha = 0.25 if failed else alpha
    box: dict[str, Any] = {"height": 0.86 * STEP, "color": colour, "linewidth": 0}
    axis.barh(y, row.sigma.mean, alpha=alpha, xerr=row.sigma.spread, ecolor="k", **box)
    if row.sigma_stat_only.mean is not None:
        stat = min(row.sigma_stat_only.mean, row.sigma.mean)
        axis.barh(y, stat, height=0.3 * STEP, color="k", alpha=0.55, linewidth=0)
    text = significant(row.sigma.mean) + (" not converged" if failed else "")
    axis.text(row.sigma.mean + (row.sigma.spread or 0) + 0.015 * right, y, text, va="center", fontsize=8)


@FIGURES.register
class SummaryFigures(AbstractFigures):
    """Uncertainties of every strategy."""

    name = "summary"
    order = 10

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results = stored.results
        measured = pois(results)
        for poi in measured:
            yield Sketch(
                "summary" if len(measured) == 1 else f"summary_{poi}",
                f"σ({poi}) of every strategy",
                "Bars are the profiled uncertainty, the dark part is what remains with the nuisances fixed; the rest "
                "of a bar is the price of the systematic uncertainty. Compare strategies within one binning, then see "
                "what the binning alone is worth. The dashed line is the Cramér–Rao bound, where it is known.",
                summary_figure(results, poi),
            )
