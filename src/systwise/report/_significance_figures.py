"""Figures of significances: along the blind line, in the plane of couplings, faked ones, and the trade-off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from systwise.report._layout import grid, note, outer_labels
from systwise.report._significance import SCALES, channel_sets, faked, over_seeds, strategies, words_of_channels
from systwise.report._style import GREY, looks
from systwise.study import FakeRecord, SignificancePlane, SignificanceRecord, SignificanceTradeOff

Add = Callable[[str, str, str, Figure | None], None]
LINES: dict[str, Literal[":", "-"]] = {"fixed": ":", "profiled": "-"}
TWO_PARAMETERS = (1.515, 2.448)
"""sqrt(q) at which regions of two parameters hold 68.27 % and 95 %: q = 2.30 and 5.99."""
MOST_OFFSETS = 3


def add_significance_figures(
    records: Sequence[SignificanceRecord],
    fakes: Sequence[FakeRecord],
    planes: Sequence[SignificancePlane],
    curves: Sequence[SignificanceTradeOff],
    add: Add,
) -> None:
    """Draw all figures of the significance study for which there is data.

    Args:
        records: of all strategies and seeds.
        fakes: the same.
        planes: the same; the first seed is drawn.
        curves: the same.
        add: takes name, title, caption and figure of each.
    """
    add(
        "significance_line",
        "Couplings against the standard model",
        "Median expected significance √q of Asimov data of the standard model against points on the blind line and "
        "beside it (mean over trainings). Dotted: statistics only, the scale held at its nominal value; solid: the "
        "scale profiled. What lies between them is the price of the scale uncertainty; beside the line most of it "
        "is the rate.",
        line_figure(records),
    )
    add(
        "significance_plane",
        "The plane of couplings",
        "Data of the standard model (cross). Top: regions that hold 95 % for two parameters (√q = 2.45), dotted with "
        "statistics only, solid with the scale profiled. Below, the distance from the blind line (dashed) against the "
        "coupling along it, with the 68 % regions (√q = 1.52) as thin lines. Across the line the rate decides, along "
        "it the shape. Grey areas: not tested, because the cross section lies outside the tables, a bin would be "
        "negative or the fit did not converge.",
        plane_figure(planes),
    )
    add(
        "significance_faked",
        "What a wrong scale fakes",
        "Largest significance of a point of the blind line over the standard model in data of the standard model at "
        "another scale (mean over trainings; zero: no point is preferred). Hatched: variations that neither training "
        "nor fit knows. A free rate leaves only the shape of the score, which is all that a training can influence.",
        fake_figure(fakes),
    )
    add(
        "significance_trade_off",
        "What decorrelation costs, and what it buys",
        "Each point is one strength λ (numbers); to the left the score moves less with the scale. "
        "Middle: dotted, statistics only; solid, scale profiled. Bottom: largest significance that a wrong scale "
        "or a hold-out fakes where the scale is held; solid, from the shape alone.",
        significance_trade_off_figure(curves),
    )


def line_figure(records: Sequence[SignificanceRecord]) -> Figure | None:
    """Draw significances against c_g: a column a set of channels, a row an offset from the blind line."""
    own = [r for r in records if r.direction == "sm_data" and r.z is not None]
    if not own:
        return None
    sets, names = channel_sets(own), strategies(own)
    offsets = sorted({r.offset for r in own}, key=lambda offset: (abs(offset), offset))[:MOST_OFFSETS]
    figure, axes = grid(
        len(offsets), len(sets), panel=(3.0, 2.3), margins=(0.75, 0.25, 0.6, 0.75), space=(0.45, 0.15), sharex=True
    )
    colours = tints(names)
    for row, offset in zip(axes, offsets, strict=True):
        for axis, channels in zip(row, sets, strict=True):
            for name in names:
                for scale, dashes in LINES.items():
                    here = [
                        r for r in own if (r.strategy, r.channels, r.offset, r.scale) == (name, channels, offset, scale)
                    ]
                    x = sorted({r.c_g for r in here} | ({0.0} if here and offset == 0.0 else set()))
                    y = [over_seeds(r.z for r in here if r.c_g == c_g).mean or 0.0 for c_g in x]
                    axis.plot(x, y, color=colours[name], linestyle=dashes, linewidth=1.5)
            axis.set_ylim(bottom=0)
            axis.locator_params(nbins=5)
            note(axis, "on the line" if offset == 0 else rf"$c_t$ {offset:+g} off the line")
            if offset == offsets[0]:
                axis.set_title(words_of_channels(channels), fontsize=10)
    outer_labels(axes, r"$c_g$", r"significance $\sqrt{q}$")
    handles = [Line2D([], [], color=colours[name], label=name) for name in names]
    handles += [Line2D([], [], color="k", linestyle=dashes, label=SCALES[s]) for s, dashes in LINES.items()]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 3 * len(sets)), fontsize=9)
    return figure


def plane_figure(planes: Sequence[SignificancePlane]) -> Figure | None:
    """Draw contours of all strategies over the couplings: a column a set of channels.

    The first row has the couplings as axes; below, a row a treatment of the scale, the blind line is horizontal.
    """
    own = [plane for plane in planes if plane.seed == planes[0].seed]
    if not own:
        return None
    sets = list(dict.fromkeys(plane.channels for plane in own))
    scales = list(dict.fromkeys(plane.scale for plane in own))
    names = list(dict.fromkeys(plane.strategy for plane in own))
    figure, axes = grid(1 + len(scales), len(sets), panel=(3.0, 2.3), margins=(0.85, 0.25, 0.6, 0.8), space=(0.6, 0.55))
    colours = tints(names)
    for column, channels in enumerate(sets):
        here = [plane for plane in own if plane.channels == channels]
        top = axes[0, column]
        for plane in here:
            _contours(top, plane, colours[plane.strategy], LINES.get(plane.scale, "--"), plane.c_t, plane.c_g, (1,))
        along, slope = own[0].c_g, own[0].slope
        top.plot(1 + along / slope, along, color=GREY, linestyle="--", linewidth=0.9)
        top.plot(1, 0, "+", color="k", markersize=9, markeredgewidth=1.5)
        top.set_title(words_of_channels(channels), fontsize=10)
        top.set_xlabel(r"$c_t$")
        for axis, scale in zip(axes[1:, column], scales, strict=True):
            shown = [plane for plane in here if plane.scale == scale]
            for plane in shown:
                _contours(axis, plane, colours[plane.strategy], "-", plane.c_g, plane.offset, (0, 1))
            axis.axhline(0, color=GREY, linestyle="--", linewidth=0.9)
            axis.plot(0, 0, "+", color="k", markersize=9, markeredgewidth=1.5)
            axis.set_ylim(*_reached(shown))
            axis.set_xlabel(r"$c_g$")
            note(axis, SCALES.get(scale, scale), x=0.96, ha="right")
        for axis in axes[:, column]:
            axis.locator_params(nbins=5)
    axes[0, 0].set_ylabel(r"$c_g$")
    for axis in axes[1:, 0]:
        axis.set_ylabel(r"$c_t$ off the line")
    handles = [Line2D([], [], color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 2 * len(sets)), fontsize=9)
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
    """Draw bars of faked significances: a column a set of channels, a row a treatment of the scale."""
    if not fakes:
        return None
    sets, names = channel_sets(fakes), strategies(fakes)
    scales = [scale for scale in ("fixed", "shape", "profiled") if any(f.scale == scale for f in fakes)]
    kinds = list(dict.fromkeys((f.variation, f.holdout) for f in fakes))
    wide = 0.5 + 0.13 * len(kinds) * (1 + len(names))
    figure, axes = grid(
        len(scales),
        len(sets),
        panel=(max(2.6, wide), 1.7),
        margins=(0.75, 0.25, 1.3, 0.75),
        space=(0.45, 0.25),
        sharex=True,
    )
    colours = tints(names)
    step = 0.8 / len(names)
    for row, scale in zip(axes, scales, strict=True):
        for axis, channels in zip(row, sets, strict=True):
            own = [f for f in fakes if f.channels == channels]
            for place, (variation, holdout) in enumerate(kinds):
                made = [f for f in own if f.variation == variation]
                for number, name in enumerate(names):
                    z = faked(made, name, scale).mean or 0.0
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
            note(axis, SCALES[scale])
            if scale == scales[0]:
                axis.set_title(words_of_channels(channels), fontsize=10)
    outer_labels(axes, "", "faked significance")
    handles: list[Patch] = [Patch(color=colours[name], label=name) for name in names]
    if any(holdout for _, holdout in kinds):
        handles.append(Patch(facecolor=GREY, edgecolor="white", hatch="////", label="hold-out"))
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 2 * len(sets)), fontsize=9)
    return figure


def significance_trade_off_figure(curves: Sequence[SignificanceTradeOff]) -> Figure | None:
    """Draw AUC, significance and faked significance against the residual scale dependence."""
    if not curves:
        return None
    sets = list(dict.fromkeys(curve.channels for curve in curves))
    figure, axes = grid(
        3, len(sets), panel=(3.0, 1.7), margins=(0.85, 0.25, 0.6, 0.75), space=(0.8, 0.12), sharex="col"
    )
    names = list(dict.fromkeys(curve.strategy for curve in curves))
    look = looks(names)
    for column, channels in enumerate(sets):
        auc, z, fake = axes[:, column]
        for curve in curves:
            if curve.channels != channels:
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
        auc.set_title(words_of_channels(channels), fontsize=10)
        fake.set_xlabel("KS distance between scales")
    for axis, label in zip(axes[:, 0], ("AUC", r"$\sqrt{q}$", "faked"), strict=True):
        axis.set_ylabel(label)
    handles = [Line2D([], [], color=look[name].colour, marker=look[name].marker, label=name) for name in names]
    figure.legend(handles=handles, loc="upper center", ncols=len(names), fontsize=9)
    return figure
