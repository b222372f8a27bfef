"""Figures of likelihoods: maps over parameter of interest and nuisance, and profiled curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import contours, grid, legend_above, mesh, multiples, note
from systwise.report.figures._style import GREY, looks, nuisance_label, poi_label
from systwise.report.tables._rows import Place, TruePoint, main_entries, places, preferred_place, true_points
from systwise.study import LikelihoodScan, Results

SHOWN = 4.5
"""Rise of the NLL up to which maps show a nuisance: three standard deviations."""


def _own(scans: tuple[LikelihoodScan, ...], results: Results, point: TruePoint, place: Place) -> list[LikelihoodScan]:
    """Return the scans of a true point and group of binnings, in the order of the table's rows."""
    found = []
    for entry in main_entries(results):
        for scan in scans:
            wanted = (entry.strategy, entry.observable, entry.convention)
            if _key(scan) == wanted and scan.binning in place.binnings and point.same(scan.true):
                found.append(scan)
                break
    return found


def _key(scan: LikelihoodScan) -> tuple[str, str, str]:
    # Joint cells are those of an anchored observable, whose likelihood is that of a fixed one.
    return scan.strategy, "anchored" if scan.binning == "joint" else scan.observable, scan.convention


def _labels(results: Results) -> dict[tuple[str, str, str], str]:
    return {(e.strategy, e.observable, e.convention): e.label for e in main_entries(results)}


def map_figure(results: Results, scans: tuple[LikelihoodScan, ...], place: Place) -> Figure | None:
    """Draw the NLL over parameter of interest and nuisance, one panel a strategy and true point.

    Colours are delta NLL on a logarithmic scale; contours lie at 0.5 and 2, whose projections are
    the profiled 68 % and 95 % intervals.
    """
    points = [p for p in true_points(results) if _own(scans, results, p, place)]
    if not points:
        return None
    table = {p.label: _own(scans, results, p, place) for p in points}
    first = table[points[0].label]
    keys = [_key(scan) for scan in first]
    labels = _labels(results)
    figure, panels = multiples(
        len(keys),
        len(points),
        poi_label(first[0].poi),
        [nuisance_label(results, first[0].nuisance)] * len(points),
        panel=(2.4, 1.9),
        margins=(0.8, 1.1, 0.65, 0.4),
        space=(0.15, 0.34),
    )
    image, ends = None, shown_nuisance([scan for own in table.values() for scan in own])
    for row, point in enumerate(points):
        for key, own in zip(keys, panels, strict=True):
            axis = own[row]
            axis.set_title(point.label if row else f"{labels[key]}, {point.label}", fontsize=9, pad=3)
            scan = next((s for s in table[point.label] if _key(s) == key), None)
            if scan is None or not np.isfinite(scan.map_nll).any():
                note(axis, "no likelihood", x=0.5, y=0.5, ha="center", va="center")
                continue
            colours = {"norm": LogNorm(0.1, 1e4), "cmap": "viridis_r"}
            image = mesh(axis, scan.map_poi, scan.map_nuisance, np.maximum(scan.map_nll, 0.1), **colours)
            _draw_minimum(axis, scan)
            axis.set_ylim(*ends)
    if image is not None:
        width, height = figure.get_size_inches()
        bar = figure.add_axes((1 - 0.9 / width, 0.65 / height, 0.16 / width, 1 - 1.05 / height))
        figure.colorbar(image, cax=bar, label=r"$\Delta$NLL", extend="both")
    return figure


def _draw_minimum(axis: Axes, scan: LikelihoodScan) -> None:
    """Draw the contours, the valley of the profile, and the best fit with its interval."""
    nll = np.where(np.isfinite(scan.map_nll), scan.map_nll, 1e9)
    # A region narrower than the grid has no contour worth drawing, only the bar of the interval.
    rows = (nll < 2).any(axis=1).sum()
    if rows >= 3 and nll.min() < 0.5:
        style = {"colors": "w", "linestyles": ["-", "--"], "linewidths": 1.2}
        contours(axis, scan.map_poi, scan.map_nuisance, nll, [0.5, 2], **style)
    near = np.isfinite(scan.profiled) & (scan.profiled < 8)
    if near.any():
        axis.plot(scan.poi_values[near], scan.nuisance_hat[near], color="#ffa90e", linewidth=1.0)
    inside = scan.poi_values[scan.profiled <= 0.5]
    if len(inside) > 1:
        axis.plot([inside.min(), inside.max()], [scan.estimate_nuisance] * 2, color="#bd1f01", linewidth=2.2)
    axis.plot(scan.estimate_poi, scan.estimate_nuisance, "x", color="#bd1f01", markersize=7, markeredgewidth=2)
    if scan.second_minimum is not None and _low(scan, scan.second_minimum) < SHOWN:
        axis.plot(scan.estimate_poi, scan.second_minimum, "+", color="#bd1f01", markersize=9, markeredgewidth=1.5)
    axis.set_xlim(scan.map_poi[0], scan.map_poi[-1])


def _low(scan: LikelihoodScan, value: float) -> float:
    """Return the lowest rise of the NLL on the map at a value of the nuisance."""
    row = scan.map_nll[np.argmin(np.abs(scan.map_nuisance - value))]
    return float(np.nanmin(np.where(np.isfinite(row), row, np.inf)))


def shown_nuisance(scans: Sequence[LikelihoodScan]) -> tuple[float, float]:
    """Return the ends of the nuisance's axis: all that is within three standard deviations of a minimum.

    A nuisance may have a range of hundreds of them, in which its likelihood would be a line. A second minimum counts
    where it is not far above the first.
    """
    ends = []
    for scan in scans:
        lowest = np.min(np.where(np.isfinite(scan.map_nll), scan.map_nll, np.inf), axis=1)
        near = scan.map_nuisance[lowest <= SHOWN]
        ends += [scan.estimate_nuisance, *near[[0, -1]]] if len(near) else [scan.estimate_nuisance]
    low, high = min(ends), max(ends)
    room = 0.05 * (high - low)
    first, last = (pick(scan.map_nuisance[i] for scan in scans) for pick, i in ((min, 0), (max, -1)))
    return (max(first, low - room), min(last, high + room)) if high > low else (float(first), float(last))


def local_width(scan: LikelihoodScan) -> np.ndarray:
    """Return `|mu - mu_hat| / sqrt(2 delta NLL)` at each scanned value.

    It is sigma where delta NLL = 0.5, constant for a parabola, and undefined (NaN) at the minimum.
    """
    rise = np.where(np.isfinite(scan.profiled), scan.profiled, 0)
    known = rise > 0.02
    return np.where(known, np.abs(scan.poi_values - scan.estimate_poi) / np.sqrt(2 * np.where(known, rise, 1)), np.nan)


def profile_figure(results: Results, scans: tuple[LikelihoodScan, ...], place: Place) -> Figure | None:
    """Draw the profiled NLL of all strategies, one column a true point, with the ratio of widths.

    The ratio panel shows the width that each curve has at each value, over the bound where it is
    known and over the narrowest curve elsewhere.
    """
    points = [p for p in true_points(results) if _own(scans, results, p, place)]
    if not points:
        return None
    figure, axes = grid(
        2,
        len(points),
        panel=(4.2, 2.6),
        margins=(0.8, 0.25, 0.65, 0.9),
        space=(0.3, 0.15),
        sharex="col",
        sharey="row",
        height_ratios=[2.2, 1],
    )
    labels = _labels(results)
    look = looks([entry.strategy for entry in main_entries(results)])
    top, bounded = 1.5, False
    for column, point in enumerate(points):
        main, ratio = axes[:, column]
        own = _own(scans, results, point, place)
        bound = next((r.bound for r in results.asimov if r.bound and point.same(r.true)), None)
        widths = [_width_at_half(scan) for scan in own]
        reference = bound or min((w for w in widths if np.isfinite(w)), default=np.nan)
        bounded = bounded or bound is not None
        reach = 0.0
        for scan, width in zip(own, widths, strict=True):
            style = look[scan.strategy]
            line = "-." if _key(scan)[1] == "anchored" else style.line
            label = labels[_key(scan)]
            main.plot(scan.poi_values, scan.profiled, color=style.colour, linestyle=line, label=label)
            pen = {"color": style.colour, "linestyle": line, "linewidth": 1.4}
            ratio.plot(scan.poi_values, local_width(scan) / reference, **pen)
            near = np.abs(scan.poi_values - scan.estimate_poi)[scan.profiled <= 4.5]
            reach = max(reach, near.max(initial=0.0))
            if np.isfinite(width) and np.isfinite(reference):
                top = max(top, 1.15 * width / reference)
        for level, text in ((0.5, "68 %"), (2.0, "95 %")):
            main.axhline(level, color=GREY, linewidth=0.9, linestyle=":")
            corner = {"transform": main.get_yaxis_transform(), "ha": "right"}
            main.text(0.99, level + 0.05, text, color=GREY, fontsize=9, **corner)
        if own and reach > 0:
            middle = own[0].estimate_poi
            main.set_xlim(middle - 1.05 * reach, middle + 1.05 * reach)
        main.set_title(f"true {point.label}, {place.title}")
        ratio.axhline(1, color="k", linewidth=0.8)
        if own:
            ratio.set_xlabel(poi_label(own[0].poi))
    axes[0, 0].set_ylim(0, 4)
    axes[1, 0].set_ylim(0.85, min(top, 4))
    axes[0, 0].set_ylabel(r"profiled $\Delta$NLL")
    axes[1, 0].set_ylabel("width / bound" if bounded else "width / best")
    handles, names = axes[0, 0].get_legend_handles_labels()
    legend_above(figure, handles, names)
    return figure


def _width_at_half(scan: LikelihoodScan) -> float:
    """Return half the interval at 0.5 by linear interpolation, NaN where a side is missing."""
    inside = np.flatnonzero(scan.profiled <= 0.5).tolist()
    if not inside or inside[0] == 0 or inside[-1] == len(scan.profiled) - 1:
        return float("nan")

    def crossing(outer: int, inner: int) -> float:
        y, x = scan.profiled, scan.poi_values
        return float(x[inner] + (0.5 - y[inner]) / (y[outer] - y[inner]) * (x[outer] - x[inner]))

    return 0.5 * (crossing(inside[-1] + 1, inside[-1]) - crossing(inside[0] - 1, inside[0]))


@FIGURES.register
class LikelihoodFigures(AbstractFigures):
    """Profiled likelihoods."""

    name = "likelihoods"
    order = 40

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        for place in places(results):
            yield Sketch(
                f"profiles_{place.name}",
                f"Profiled likelihood, {place.title}",
                "Top: each curve crosses the dotted lines at the ends of its 68 % and 95 % intervals (first seed). "
                "Bottom: the width |μ − μ̂| / √(2ΔNLL) relative to the bound or, without one, to the narrowest curve: "
                "a flat line is a parabola, a slope an asymmetric interval.",
                profile_figure(results, plots.likelihood_scans, place),
            )
        preferred = preferred_place(results)
        if preferred is None:
            return
        yield Sketch(
            "maps",
            f"Likelihood over parameter of interest and nuisance, {preferred.title}",
            "Cross: best fit, with the 68 % interval as a bar; orange: the nuisance profiled at each value; plus: a "
            "second minimum. White contours (ΔNLL = 0.5 solid, 2 dashed) are drawn where the grid resolves them. Two "
            "separate bright regions mean that the data cannot tell two nuisance values apart.",
            map_figure(results, plots.likelihood_scans, preferred),
        )
