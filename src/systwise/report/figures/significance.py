"""Figures of significances: along a line, in the plane around it, faked ones, and the trade-off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above, note, outer_labels
from systwise.report.figures._style import GREY, looks, poi_label
from systwise.report.tables._significance import (
    TREATMENTS,
    faked,
    over_seeds,
    region_sets,
    strategies,
    words_of_point,
    words_of_regions,
)
from systwise.study import (
    FakeRecord,
    SignificancePlane,
    SignificanceRecord,
    SignificanceTradeOff,
)

LINES: dict[str, Literal[":", "-"]] = {"fixed": ":", "profiled": "-"}
TWO_PARAMETERS = (1.515, 2.448)
"""sqrt(q) at which regions of two parameters hold 68.27 % and 95 %: q = 2.30 and 5.99."""
MOST_OFFSETS = 3
MOST_VARIATIONS = 10
"""Most variations of the data that get a place each in the figure of fakes."""


def _along(records: Sequence[SignificanceRecord], reference: Mapping[str, float] | None) -> str | None:
    """Return the parameter that tells the points of a line from each other, but not their shifts away from it."""
    origin = dict(reference or records[0].point)
    by_step: dict[float | None, list[dict[str, float]]] = {}
    for r in records:
        by_step.setdefault(r.step, []).append(r.point)
    for name in records[0].point:
        still = all(len({p[name] for p in points}) == 1 for step, points in by_step.items() if step is not None)
        if still and len({origin[name], *(r.point[name] for r in records)}) > 1:
            return name
    return None


def line_figure(records: Sequence[SignificanceRecord], reference: Mapping[str, float] | None = None) -> Figure | None:
    """Draw significances of the tested points: a column a set of regions, a row an offset from their line.

    Args:
        records: of all strategies and seeds.
        reference: parameters of interest of the reference, where the significance is zero.
    """
    own = [r for r in records if r.data == "reference" and r.z is not None]
    own = [r for r in own if r.step is not None] or own
    if not own:
        return None
    sets, names, along = region_sets(own), strategies(own), _along(own, reference)
    points = list({tuple(r.point.items()): r.point for r in own}.values())
    offsets = sorted({r.offset for r in own}, key=lambda offset: (abs(offset), offset))[:MOST_OFFSETS]
    across = next((name for name in points[0] if name != along), "")

    def place(point: dict[str, float]) -> float:
        return points.index(point) if along is None else point[along]

    origin = {reference[along]} if reference and along else set()
    figure, axes = grid(
        len(offsets), len(sets), panel=(3.0, 2.3), margins=(0.75, 0.25, 0.6, 0.75), space=(0.45, 0.15), sharex=True
    )
    colours = tints(names)
    for row, offset in zip(axes, offsets, strict=True):
        for axis, regions in zip(row, sets, strict=True):
            for name in names:
                for treatment, dashes in LINES.items():
                    here = [
                        r
                        for r in own
                        if (r.strategy, r.regions, r.offset, r.nuisances) == (name, regions, offset, treatment)
                    ]
                    x = sorted({place(r.point) for r in here} | (origin if here and offset == 0 else set()))
                    y = [over_seeds(r.z for r in here if place(r.point) == at).mean or 0.0 for at in x]
                    axis.plot(x, y, color=colours[name], linestyle=dashes, linewidth=1.5, marker=".", markersize=4)
            axis.set_ylim(bottom=0)
            axis.locator_params(nbins=5)
            if along is None:
                axis.set_xticks(range(len(points)), [words_of_point(p) for p in points], rotation=40, ha="right")
            if len(offsets) > 1:
                note(axis, "on the line" if offset == 0 else f"{poi_label(across)} {offset:+g} off the line")
            if offset == offsets[0]:
                axis.set_title(words_of_regions(regions), fontsize=10)
    outer_labels(axes, poi_label(along) if along else "", r"significance $\sqrt{q}$")
    handles = [Line2D([], [], color=colours[name], label=name) for name in names]
    handles += [Line2D([], [], color="k", linestyle=dashes, label=TREATMENTS[t]) for t, dashes in LINES.items()]
    legend_above(figure, handles)
    return figure


def plane_figure(planes: Sequence[SignificancePlane]) -> Figure | None:
    """Draw contours of all strategies over the first two parameters: a column a set of regions.

    The first row has the parameters as axes; below, a row a treatment of the nuisances, the line is horizontal.
    """
    own = [plane for plane in planes if plane.seed == planes[0].seed]
    if not own:
        return None
    sets = list(dict.fromkeys(plane.regions for plane in own))
    treatments = list(dict.fromkeys(plane.nuisances for plane in own))
    names = list(dict.fromkeys(plane.strategy for plane in own))
    figure, axes = grid(
        1 + len(treatments), len(sets), panel=(3.0, 2.3), margins=(0.85, 0.25, 0.6, 0.8), space=(0.6, 0.55)
    )
    colours = tints(names)
    first = own[0]
    middle = int(np.argmin(np.abs(first.offset)))
    line, centre = first.theta[middle], first.theta[middle, int(np.argmin(np.abs(first.step)))]
    # Along the line: the parameter that is not shifted across it.
    chosen = next(k for k, name in enumerate(first.pois) if name != first.across)
    for column, regions in enumerate(sets):
        here = [plane for plane in own if plane.regions == regions]
        top = axes[0, column]
        for plane in here:
            dashes = LINES.get(plane.nuisances, "--")
            _contours(top, plane, colours[plane.strategy], dashes, plane.theta[..., 0], plane.theta[..., 1], (1,))
        top.plot(line[:, 0], line[:, 1], color=GREY, linestyle="--", linewidth=0.9)
        top.plot(*centre[:2], "+", color="k", markersize=9, markeredgewidth=1.5)
        top.set_title(words_of_regions(regions), fontsize=10)
        top.set_xlabel(poi_label(first.pois[0]))
        for axis, treatment in zip(axes[1:, column], treatments, strict=True):
            shown = [plane for plane in here if plane.nuisances == treatment]
            for plane in shown:
                _contours(axis, plane, colours[plane.strategy], "-", plane.theta[0, :, chosen], plane.offset, (0, 1))
            axis.axhline(0, color=GREY, linestyle="--", linewidth=0.9)
            axis.plot(centre[chosen], 0, "+", color="k", markersize=9, markeredgewidth=1.5)
            axis.set_ylim(*_reached(shown))
            axis.set_xlabel(poi_label(first.pois[chosen]))
            note(axis, TREATMENTS.get(treatment, treatment), x=0.96, ha="right")
        for axis in axes[:, column]:
            axis.locator_params(nbins=5)
    axes[0, 0].set_ylabel(poi_label(first.pois[1]))
    for axis in axes[1:, 0]:
        axis.set_ylabel(f"{poi_label(first.across)} off the line")
    handles = [Line2D([], [], color=colours[name], label=name) for name in names]
    legend_above(figure, handles)
    return figure


def _reached(planes: Sequence[SignificancePlane]) -> tuple[float, float]:
    """Return the offsets that the outer contours reach, with some room."""
    inside = [np.any(plane.z < TWO_PARAMETERS[1], axis=1) for plane in planes]
    rows = np.flatnonzero(np.any(inside, axis=0))
    offsets = planes[0].offset
    if not len(rows):
        return float(offsets[0]), float(offsets[-1])
    low, high = max(rows[0] - 2, 0), min(rows[-1] + 2, len(offsets) - 1)
    return float(offsets[low]), float(offsets[high])


def _contours(
    axis: Axes,
    plane: SignificancePlane,
    colour: tuple[float, float, float],
    dashes: str,
    x: np.ndarray,
    y: np.ndarray,
    chosen: tuple[int, ...],
) -> None:
    """Draw some of the two contours, and grey where nothing could be tested."""
    x, y = np.broadcast_arrays(x, y) if x.ndim == 2 else np.meshgrid(x, y)
    known = np.isfinite(plane.z)
    if not known.all():
        axis.contourf(x, y, (~known).astype(float), [0.5, 1.5], colors=[GREY], alpha=0.25)
    if not known.any():
        return
    z = np.ma.masked_invalid(plane.z)
    # A level that is nowhere reached would be a warning.
    pairs = [(TWO_PARAMETERS[n], (0.9, 1.9)[n]) for n in chosen if z.min() < TWO_PARAMETERS[n] < z.max()]
    if pairs:
        levels, widths = zip(*pairs, strict=True)
        axis.contour(x, y, z, levels, colors=[colour], linewidths=widths, linestyles=dashes)


def tints(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Return the colour of each strategy; variants `name@...` of one strategy get lighter from one to the next."""
    found = {}
    look = looks(list(names))
    for name in names:
        family = [other for other in names if other.split("@")[0] == name.split("@")[0]]
        white = 0.6 * family.index(name) / len(family)
        red, green, blue = (white + (1 - white) * part for part in to_rgb(look[name].colour))
        found[name] = (red, green, blue)
    return found


def fake_figure(fakes: Sequence[FakeRecord]) -> Figure | None:
    """Draw bars of faked significances: a column a set of regions, a row a treatment of the nuisances."""
    if not fakes:
        return None
    sets, names = region_sets(fakes), strategies(fakes)
    treatments = [name for name in ("fixed", "shape", "profiled") if any(f.nuisances == name for f in fakes)]
    kinds = list(dict.fromkeys((f.variation, f.holdout) for f in fakes))
    if len(kinds) > MOST_VARIATIONS:
        # One place a nuisance, for the worst of its values.
        kinds = list(dict.fromkeys((variation.split(" = ")[0], holdout) for variation, holdout in kinds))
    wide = 0.5 + 0.13 * len(kinds) * (1 + len(names))
    figure, axes = grid(
        len(treatments),
        len(sets),
        panel=(max(2.6, wide), 1.7),
        margins=(0.75, 0.25, 1.3, 0.75),
        space=(0.45, 0.25),
        sharex=True,
    )
    colours = tints(names)
    step = 0.8 / len(names)
    for row, treatment in zip(axes, treatments, strict=True):
        for axis, regions in zip(row, sets, strict=True):
            own = [f for f in fakes if f.regions == regions]
            for place, (variation, holdout) in enumerate(kinds):
                made = [f for f in own if variation in (f.variation, f.variation.split(" = ")[0])]
                for number, name in enumerate(names):
                    z = faked(made, name, treatment).mean or 0.0
                    axis.bar(
                        place - 0.4 + (number + 0.5) * step,
                        z,
                        width=0.9 * step,
                        color=colours[name],
                        hatch="////" if holdout else None,
                        edgecolor="white" if holdout else "none",
                        linewidth=0,
                    )
            axis.set_ylim(bottom=0, top=max(1.25 * axis.get_ylim()[1], 0.1))
            axis.locator_params(axis="y", nbins=4)
            axis.set_xticks(range(len(kinds)), [kind for kind, _ in kinds], rotation=40, ha="right", fontsize=8)
            note(axis, TREATMENTS[treatment])
            if treatment == treatments[0]:
                axis.set_title(words_of_regions(regions), fontsize=10)
    outer_labels(axes, "", "faked significance")
    handles: list[Patch] = [Patch(color=colours[name], label=name) for name in names]
    if any(holdout for _, holdout in kinds):
        handles.append(Patch(facecolor=GREY, edgecolor="white", hatch="////", label="hold-out"))
    legend_above(figure, handles)
    return figure


def significance_trade_off_figure(curves: Sequence[SignificanceTradeOff]) -> Figure | None:
    """Draw AUC, significance and faked significance against the residual dependence on nuisances."""
    if not curves:
        return None
    sets = list(dict.fromkeys(curve.regions for curve in curves))
    figure, axes = grid(
        3, len(sets), panel=(3.0, 1.7), margins=(0.85, 0.25, 0.6, 0.75), space=(0.8, 0.12), sharex="col"
    )
    names = list(dict.fromkeys(curve.strategy for curve in curves))
    look = looks(names)
    for column, regions in enumerate(sets):
        auc, z, fake = axes[:, column]
        for curve in curves:
            if curve.regions != regions:
                continue
            style = {"color": look[curve.strategy].colour, "marker": look[curve.strategy].marker, "markersize": 5}
            auc.plot(curve.ks, curve.auc, **style)
            z.plot(curve.ks, curve.fixed, linestyle=":", **style)
            z.plot(curve.ks, curve.profiled, **style)
            fake.plot(curve.ks, curve.fake, linestyle=":", **style)
            fake.plot(curve.ks, curve.fake_shape, **style)
            for x, y, strength in zip(curve.ks, curve.auc, curve.strength, strict=True):
                auc.annotate(f"{strength:g}", (x, y), xytext=(3, 4), textcoords="offset points", fontsize=8)
        for axis in axes[:, column]:
            axis.locator_params(nbins=4)
            axis.margins(x=0.12, y=0.15)
            axis.ticklabel_format(style="plain", useOffset=False)
        auc.set_title(words_of_regions(regions), fontsize=10)
        fake.set_xlabel("KS distance from the nominal score")
    for axis, label in zip(axes[:, 0], ("AUC", r"$\sqrt{q}$", "faked"), strict=True):
        axis.set_ylabel(label)
    handles = [Line2D([], [], color=look[name].colour, marker=look[name].marker, label=name) for name in names]
    legend_above(figure, handles)
    return figure


@FIGURES.register
class SignificanceFigures(AbstractFigures):
    """Hypotheses told from a reference."""

    name = "significance"
    order = 20

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        yield Sketch(
            "significance_line",
            "Hypotheses against the reference",
            "Median expected significance √q of Asimov data of the reference against the tested points, beside their "
            "line too where that was asked for (mean over trainings). Dotted: statistics only, nuisances held at "
            "their nominal values; solid: nuisances profiled. What lies between them is the price of the systematic "
            "uncertainty.",
            line_figure(results.significances, results.regions[0].point if results.regions else None),
        )
        yield Sketch(
            "significance_plane",
            "The plane around the reference",
            "Data of the reference (cross). Top: regions that hold 95 % for two parameters (√q = 2.45), dotted with "
            "statistics only, solid with nuisances profiled. Below, the distance from the line (dashed) against the "
            "place along it, with the 68 % regions (√q = 1.52) as thin lines. Grey areas: not tested, because the "
            "rate lies outside the tables, a bin would be negative or the fit did not converge.",
            plane_figure(plots.significance_planes),
        )
        yield Sketch(
            "significance_faked",
            "What wrong nuisances fake",
            "Largest significance of a tested point over the reference in data of the reference at other true "
            "nuisances (mean over trainings; zero: no point is preferred). Hatched: variations that neither training "
            "nor fit knows. A free rate leaves only the shape of the score, which is all that a training can "
            "influence.",
            fake_figure(results.fakes),
        )
        yield Sketch(
            "significance_trade_off",
            "What decorrelation costs, and what it buys",
            "Each point is one strength λ (numbers); to the left the score moves less with the nuisances. "
            "Middle: dotted, statistics only; solid, nuisances profiled. Bottom: largest significance that a wrong "
            "nuisance or a hold-out fakes where nuisances are held; solid, from the shape alone.",
            significance_trade_off_figure(plots.significance_trade_offs),
        )
