"""Figures of one measurement: yields with data, the ranking of nuisances, the likelihood, correlations."""

from __future__ import annotations

from collections.abc import Sequence

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from systwise.fit import FitResult, Impacts, Measurement, Pulls, Yields
from systwise.report.figures._layout import grid, legend_above, mesh
from systwise.report.figures._style import COMPONENT_COLOURS, GREY, poi_label
from systwise.report.figures.inference import DOWN, UP, impact_panel

MOST = 20
"""Nuisances in the ranking, and parameters in the matrix."""


def yield_figure(
    before: Yields,
    after: Yields,
    region: str,
    axis: tuple[str, Sequence[float]] | None = None,
    label: str = "",
) -> Figure:
    """Draw one region: samples after the fit stacked, their uncertainty as a band, the data, and the ratio to it.

    Args:
        before: yields before the fit, whose total is a dashed line.
        after: yields after it, with the data.
        region: its name.
        axis: label and edges of its variable; None: the number of the bin.
        label: at the top right, in general luminosity and energy.
    """
    bins = after.regions[region]
    total, error = after.total[bins], after.total_error[bins]
    count = len(total)
    edges = np.arange(count + 1) + 0.5 if axis is None else np.asarray(axis[1], np.float64)
    figure, axes = grid(
        2,
        1,
        panel=(max(4.6, min(9.0, 0.28 * count)), 2.4),
        margins=(0.85, 0.3, 0.65, 0.9),
        space=(0.0, 0.12),
        sharex=True,
        height_ratios=[2.4, 1],
    )
    main, ratio = axes[:, 0]
    # The largest sample at the bottom hides nothing.
    order = np.argsort(-after.expected[:, bins].sum(axis=1))
    own = [int(k) for k in order if np.any(after.expected[k, bins] != 0)]
    colours = [COMPONENT_COLOURS[k % len(COMPONENT_COLOURS)] for k in own]
    contents = [np.maximum(after.expected[k, bins], 0.0) for k in own]
    labels = [after.samples[k] for k in own]
    mplhep.histplot(contents, edges, stack=True, histtype="fill", color=colours, label=labels, ax=main)
    band = {"step": "post", "color": "k", "alpha": 0.25, "linewidth": 0, "hatch": "////"}
    main.fill_between(edges, *_steps(total - error, total + error), **band)
    main.stairs(before.total[bins], edges, color="k", linestyle=":", linewidth=1.2, label="before the fit")
    ratio.fill_between(edges, *_steps(1 - error / total, 1 + error / total), **band)
    ratio.axhline(1, color="k", linewidth=0.8)
    centres = (edges[1:] + edges[:-1]) / 2
    if after.observed is not None:
        counts = after.observed[bins]
        bars = np.sqrt(counts)
        point = {"color": "k", "marker": "o", "markersize": 4, "linestyle": "none", "linewidth": 1.2}
        main.errorbar(centres, counts, yerr=bars, label="data", **point)
        ratio.errorbar(centres, counts / total, yerr=bars / total, **point)
        reach = 1.2 * np.max(np.concatenate([np.abs(counts / total - 1) + bars / total, error / total]))
        ratio.set_ylim(1 - min(reach, 1.0), 1 + min(reach, 2.0))
    main.set_ylim(0, 1.15 * np.max(total + np.sqrt(total)))
    main.set_ylabel("events" if axis is None else "events in the bin")
    main.set_title(region, loc="left" if label else "center")
    if label:
        main.set_title(label, loc="right", fontsize=10)
    ratio.set_ylabel("data / fit")
    ratio.set_xlabel("bin" if axis is None else axis[0])
    ratio.set_xlim(edges[0], edges[-1])
    ratio.locator_params(axis="x", integer=axis is None)
    handles, names = main.get_legend_handles_labels()
    handles.append(Patch(facecolor="k", alpha=0.25, hatch="////", linewidth=0))
    legend_above(figure, handles, [*names, "uncertainty"])
    return figure


def _steps(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with the last value repeated, as steps after each edge need it."""
    return np.append(low, low[-1]), np.append(high, high[-1])


def ranking_figure(impacts: Impacts, pulls: Pulls) -> Figure | None:
    """Draw the nuisances with the largest impacts, and their pulls; None where there is no nuisance."""
    names = [row.nuisance for row in impacts.rows][:MOST]
    if not names:
        return None
    left = 0.5 + 0.085 * max(len(name) for name in names)
    figure, axes = grid(1, 1, panel=(4.2, 0.5 + 0.3 * len(names)), margins=(left, 0.3, 0.65, 1.25))
    axis: Axes = axes[0, 0]
    sizes = [abs(change) for row in impacts.rows for change in (row.up, row.down) if change is not None]
    impact_panel(axis, impacts.rows, pulls.rows, names, max([*sizes, 0.02 * (impacts.total or 0.0), 1e-12]))
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel(rf"impact on {poi_label(impacts.poi)}")
    handles = [
        Patch(color=UP, alpha=0.8, label=r"observation +1$\sigma$"),
        Patch(color=DOWN, alpha=0.8, label=r"observation $-1\sigma$"),
        Line2D([], [], color="k", marker="o", label="pull (upper axis)"),
    ]
    legend_above(figure, handles)
    return figure


def likelihood_figure(measured: Measurement) -> Figure | None:
    """Draw twice the rise of the profiled NLL, with the lines of one and two standard deviations."""
    scan, result = measured.profile, measured.result
    if scan is None:
        return None
    figure, axes = grid(1, 1, panel=(4.8, 3.2), margins=(0.8, 0.3, 0.65, 0.4))
    axis: Axes = axes[0, 0]
    axis.plot(scan.values, 2 * (scan.nll - result.nll), color=UP)
    for ends, level, text in ((result.interval, 1.0, r"1$\sigma$"), (result.interval_95, 4.0, r"2$\sigma$")):
        axis.axhline(level, color=GREY, linewidth=0.9, linestyle=":")
        axis.text(0.99, level + 0.06, text, color=GREY, ha="right", transform=axis.get_yaxis_transform(), fontsize=9)
        for end in ends:
            if end is not None:
                axis.vlines(end, 0, level, color=GREY, linewidth=0.9, linestyle=":")
    axis.set_ylim(0, 5.5)
    axis.set_xlim(scan.values[0], scan.values[-1])
    axis.set_xlabel(poi_label(measured.poi))
    axis.set_ylabel(r"$-2\,\Delta\ln L$")
    return figure


def correlation_figure(result: FitResult) -> Figure | None:
    """Draw the correlations of the parameters that have the largest ones; None with fewer than two."""
    names = list(result.estimates)
    matrix = np.nan_to_num(result.correlation)
    strength = np.max(np.abs(matrix - np.diag(np.diag(matrix))), axis=1, initial=0.0)
    # The measured parameter stays, whatever its correlations.
    strength[names.index(result.poi)] = np.inf
    shown = np.sort([j for j in np.argsort(-strength)[:MOST] if strength[j] > 0])
    if len(shown) < 2:
        return None
    side = max(2.6, 0.34 * len(shown))
    left = 0.4 + 0.085 * max(len(names[j]) for j in shown)
    figure, axes = grid(1, 1, panel=(side, side), margins=(left, 0.9, left, 0.3))
    axis: Axes = axes[0, 0]
    numbers = np.arange(len(shown), dtype=np.float64)
    own = matrix[np.ix_(shown, shown)]
    image = mesh(axis, numbers, numbers, own, cmap="RdBu_r", vmin=-1, vmax=1)
    labels = [names[j] for j in shown]
    axis.set_xticks(numbers, labels, rotation=90)
    axis.set_yticks(numbers, labels)
    axis.tick_params(length=0)
    for (i, j), value in np.ndenumerate(own):
        if abs(value) >= 0.05:
            colour = "white" if abs(value) > 0.6 else "black"
            axis.text(j, i, f"{value:.2f}".replace("0.", "."), ha="center", va="center", fontsize=7, color=colour)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    bar = figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    bar.set_label("correlation")
    return figure
