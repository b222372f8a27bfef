"""Figures of what makes up an uncertainty: pulls and impacts, and planes of two parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from systwise.fit import Impact, Pull
from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import contours, grid, legend_above
from systwise.report.figures._style import GREY, looks, nuisance_label, poi_label
from systwise.report.tables._inference import Anatomy, anatomies
from systwise.report.tables._rows import TruePoint, main_entries, true_points
from systwise.study import ImpactRecord, PlaneScan, PullRecord, Results

UP, DOWN = "#bd1f01", "#3f90da"
MOST = 8
"""Observables that one figure shows beside each other."""


def impact_figure(results: Results) -> Figure | None:
    """Draw pulls and impacts at the first examined true point, one column an observable.

    Bars are the changes of the parameter of interest for auxiliary observations one standard deviation up
    and down, on an axis common to all columns; points are pulls with the constraint as their error bar.
    """
    found = anatomies(results)
    if not found or not any(row.record.pulls for row in found[0][1]):
        return None
    rows = [row for row in found[0][1] if row.record.pulls][:MOST]
    names = _nuisances(rows)
    figure, axes = grid(
        1,
        len(rows),
        panel=(2.5, 0.5 + 0.42 * len(names)),
        margins=(0.5 + 0.11 * max(len(nuisance_label(results, n, unit=False)) for n in names), 0.25, 0.65, 1.25),
        space=(0.2, 0.15),
        sharex=True,
        sharey=True,
    )
    sizes = [abs(c) for row in rows for impact in row.record.impacts for c in (impact.up, impact.down) if c is not None]
    # Impacts that are nothing beside the uncertainty must not look like something.
    reach = max([*sizes, *(0.02 * row.record.total for row in rows if row.record.total), 1e-12])
    for axis, row in zip(axes[0], rows, strict=True):
        impact_panel(axis, row.record.impacts, row.record.pulls, names, reach)
        axis.set_title(row.label, fontsize=10, pad=22)
        axis.set_xlabel(rf"impact on {poi_label(row.record.poi)}")
    axes[0, 0].set_yticks(range(len(names)), [nuisance_label(results, name, unit=False) for name in names])
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    handles = [
        Patch(color=UP, alpha=0.8, label=r"observation +1$\sigma$"),
        Patch(color=DOWN, alpha=0.8, label=r"observation $-1\sigma$"),
        Line2D([], [], color="k", marker="o", label="pull, with the constraint as error bar (upper axis)"),
    ]
    legend_above(figure, handles)
    return figure


def _nuisances(rows: list[Anatomy]) -> list[str]:
    """Return the nuisances, the one with the largest impact anywhere first."""
    largest: dict[str, float] = {}
    for row in rows:
        for impact in row.record.impacts:
            largest[impact.nuisance] = max(largest.get(impact.nuisance, 0.0), impact.size)
    return sorted(largest, key=lambda name: -largest[name])


def impact_panel(
    axis: Axes,
    impacts: Sequence[Impact] | Sequence[ImpactRecord],
    pulls: Sequence[Pull] | Sequence[PullRecord],
    names: Sequence[str],
    reach: float,
) -> None:
    """Draw impacts as bars and pulls as points above each other, the upper axis for pulls.

    Args:
        axis: where.
        impacts: of the nuisances in `names`, others are left out.
        pulls: likewise.
        names: nuisances, the first on top.
        reach: largest impact that must be seen.
    """
    for impact in impacts:
        if impact.nuisance not in names:
            continue
        y = names.index(impact.nuisance)
        for value, colour in ((impact.up, UP), (impact.down, DOWN)):
            if value is not None:
                axis.barh(y, value, height=0.62, color=colour, alpha=0.8, linewidth=0)
    axis.set_xlim(-1.15 * reach, 1.15 * reach)
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.locator_params(axis="x", nbins=4)
    axis.tick_params(axis="y", length=0)
    above = axis.twiny()
    for pull in pulls:
        if pull.nuisance not in names:
            continue
        y = names.index(pull.nuisance)
        if pull.pull is None or pull.constraint is None:
            above.text(0.97, y, "free", transform=above.get_yaxis_transform(), ha="right", va="center", fontsize=8)
        else:
            above.errorbar(pull.pull, y, xerr=pull.constraint, color="k", marker="o", markersize=4, linewidth=1.3)
    shown = [p for p in pulls if p.nuisance in names and p.pull is not None and p.constraint is not None]
    widest = max((abs(p.pull or 0) + (p.constraint or 0) for p in shown), default=0.0)
    above.set_xlim(-max(2.2, 1.1 * widest), max(2.2, 1.1 * widest))
    above.locator_params(axis="x", integer=True, nbins=7)
    above.tick_params(labelsize=8, pad=2)
    for edge in (-1, 1):
        above.axvline(edge, color=GREY, linewidth=0.7, linestyle=":")


def plane_figure_2d(results: Results, scans: tuple[PlaneScan, ...]) -> Figure | None:
    """Draw the 68 % and 95 % contours of two parameters, everything else profiled, all strategies in one panel.

    Rows are true points, columns pairs of parameters; regions are those of two parameters, where the NLL rises
    by 1.15 and 3.09.
    """
    points = [p for p in true_points(results) if any(p.same(s.true) for s in scans)]
    pairs = list(dict.fromkeys(scan.names for scan in scans))
    if not points:
        return None
    figure, axes = grid(len(points), len(pairs), panel=(3.3, 2.7), margins=(0.8, 0.25, 0.65, 1.0), space=(0.55, 0.75))
    rows = main_entries(results)
    look = looks([entry.strategy for entry in rows])
    shown: dict[str, Line2D] = {}
    for line, point in enumerate(points):
        for axis, names in zip(axes[line], pairs, strict=True):
            for entry in rows:
                own = [
                    s
                    for s in scans
                    if s.names == names
                    and point.same(s.true)
                    and (s.strategy, s.observable) == (entry.strategy, entry.observable)
                ]
                if not own:
                    continue
                dashes: Literal["-.", "-"] = "-." if entry.observable == "anchored" else "-"
                _contours(axis, own[0], look[entry.strategy].colour, dashes)
                shown.setdefault(
                    entry.short, Line2D([], [], color=look[entry.strategy].colour, linestyle=dashes, label=entry.short)
                )
            _truth(axis, point, names)
            axis.set_xlabel(_axis_label(results, names[0]))
            axis.set_ylabel(_axis_label(results, names[1]))
            axis.set_title(f"true {point.label}", fontsize=10)
            axis.locator_params(nbins=5)
    legend_above(figure, list(shown.values()))
    return figure


def _contours(axis: Axes, scan: PlaneScan, colour: str, line: str) -> None:
    rise = np.where(np.isfinite(scan.rise), scan.rise, 1e6).T
    levels = [-math.log1p(-probability) for probability in (0.6827, 0.9545)]
    if not (rise < levels[0]).any():
        return
    contours(axis, scan.x, scan.y, rise, levels, colors=[colour], linestyles=[line, ":"], linewidths=[1.6, 1.2])


def _truth(axis: Axes, point: TruePoint, names: tuple[str, str]) -> None:
    axis.plot(point.values[names[0]], point.values[names[1]], "+", color="k", markersize=9, markeredgewidth=1.5)


def _axis_label(results: Results, name: str) -> str:
    known = {record.name for record in results.nuisances}
    return nuisance_label(results, name) if name in known else poi_label(name)


@FIGURES.register
class InferenceFigures(AbstractFigures):
    """What makes up the uncertainty."""

    name = "inference"
    order = 50

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        yield Sketch(
            "impacts",
            "Pulls and impacts",
            "Bars: change of the estimate when the auxiliary observation of a nuisance moves by one standard "
            "deviation and everything is fitted again (arXiv:2307.04007); all columns share the axis. Points, upper "
            "axis: best fit minus prior centre in prior widths, the bar is the width after the fit: shorter than one "
            "where the data constrain the nuisance, which is to be trusted only as far as the simulation describes "
            "its effect.",
            impact_figure(results),
        )
        yield Sketch(
            "planes",
            "Two parameters at a time",
            "Lines hold both parameters with 68 % (dotted: 95 %) probability, everything else profiled. A tilted "
            "ellipse is a correlation: what is not known of one parameter becomes uncertainty of the other.",
            plane_figure_2d(results, plots.plane_scans),
        )
