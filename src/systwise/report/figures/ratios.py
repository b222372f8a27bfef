"""Figure of learned density ratios: calibration, reweighting closure, normalisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above
from systwise.report.figures._style import GREY, nuisance_label
from systwise.report.tables._rows import true_points
from systwise.report.text._numbers import significant
from systwise.study import RatioCheck, Results

MOST_POINTS = 3
BEFORE = "before calibration"
_COLOURS = ("#3f90da", "#000000", "#e76300")
_MARKERS = ("v", "o", "^")


def shown_points(count: int) -> list[int]:
    """Return which of `count` nuisance values are drawn as curves: the first, the middle and the last.

    >>> shown_points(2), shown_points(7)
    ([0, 1], [0, 3, 6])
    """
    if count <= MOST_POINTS:
        return list(range(count))
    return [0, count // 2, count - 1]


def _point_label(results: Results, values: np.ndarray) -> str:
    """Name a point by its nuisance values; of several nuisances by those that are not nominal."""
    if not len(values):
        return "no nuisance"
    known = len(results.nuisances) == len(values)
    words = []
    for number, value in enumerate(values.tolist()):
        nominal = results.nuisances[number].nominal if known else None
        name = results.nuisances[number].name if known else f"nuisance {number + 1}"
        if len(values) > 1 and nominal is not None and abs(value - nominal) <= 1e-6 * max(1.0, abs(nominal)):
            continue
        shown = significant(0.0 if abs(value) < 1e-6 else value)
        words.append(f"{nuisance_label(results, name, unit=False)} = {shown}")
    return ", ".join(words) or "nominal"


def ratio_figure(results: Results, check: RatioCheck) -> Figure:
    """Draw calibration, its difference, closure and normalisation, one column a component.

    Calibration and closure are drawn at three nuisance values at most, the normalisation at all of them. Where the
    classifier was calibrated, dotted lines show its calibration before.
    """
    chosen = shown_points(len(check.points))
    names = [_point_label(results, check.points[p]) for p in chosen]
    entries = names + [BEFORE] * (check.observed_before is not None)
    # Beside each other where they fit, at eleven characters an inch.
    beside = sum(len(entry) + 6 for entry in entries) < 38 * len(check.components)
    figure, axes = grid(
        4,
        len(check.components),
        panel=(3.4, 1.55),
        margins=(1.05, 0.25, 0.65, 0.75 if beside else 0.6 + 0.2 * len(entries)),
        space=(0.45, 0.42),
        sharey="row",
        height_ratios=[1.6, 0.7, 0.9, 0.8],
    )
    pens = dict(zip(chosen, zip(_COLOURS, _MARKERS, strict=True), strict=False))
    for k, name in enumerate(check.components):
        own = axes[:, k]
        own[0].set_title(name)
        for p in chosen:
            _curves(own, check, k, p, *pens[p])
        _means(own[3], results, check, k, pens)
        own[0].plot([0, 1], [0, 1], color=GREY, linewidth=1.0)
        own[1].axhline(0, color=GREY, linewidth=1.0)
        own[2].axhline(1, color=GREY, linewidth=1.0)
        for axis in own[:3]:
            axis.set_xlim(check.edges[0], check.edges[-1])
        for axis in own[:2]:
            axis.tick_params(labelbottom=False)
        own[2].set_xlabel(r"$g = r / (1 + r)$", labelpad=0)
    labels = ("observed\nfraction", "observed\n− g", "reweighted /\ncomponent", "mean ratio")
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=10)
        axis.yaxis.set_label_coords(-0.66 / 3.4, 0.5)
    axes[0, 0].set_ylim(0, 1)
    _limits(axes[1, 0], 0.0, (check.observed - check.predicted)[:, chosen], check.observed_error[:, chosen], 0.02)
    closure, error = _closure(check)
    _limits(axes[2, 0], 1.0, closure[:, chosen], error[:, chosen], 0.05)
    _limits(axes[3, 0], 1.0, check.means, check.means_error, 0.005)
    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=1, label=name)
        for (colour, marker), name in zip(pens.values(), names, strict=True)
    ]
    if check.observed_before is not None:
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1, label=BEFORE))
    legend_above(figure, handles)
    return figure


def _closure(check: RatioCheck) -> tuple[np.ndarray, np.ndarray]:
    """Return the reweighted reference over the component and its error, NaN in empty bins."""
    filled = (check.target > 0) & (check.closure > 0)
    below = np.where(filled, check.target, 1.0)
    value = np.where(filled, check.closure / below, np.nan)
    relative2 = (check.target_error / below) ** 2 + (check.closure_error / np.where(filled, check.closure, 1.0)) ** 2
    return value, value * np.sqrt(relative2)


def _curves(axes: np.ndarray, check: RatioCheck, k: int, p: int, colour: str, marker: str) -> None:
    """Draw one component at one nuisance value: calibration, difference and closure."""
    centres = 0.5 * (check.edges[1:] + check.edges[:-1])
    predicted, observed, error = check.predicted[k, p], check.observed[k, p], check.observed_error[k, p]
    known = np.isfinite(predicted) & np.isfinite(observed)
    pen = {"color": colour, "marker": marker, "markersize": 3.2, "linewidth": 1.0}
    axes[0].errorbar(predicted[known], observed[known], yerr=error[known], **pen)
    axes[1].errorbar(predicted[known], (observed - predicted)[known], yerr=error[known], **pen)
    if check.observed_before is not None and check.predicted_before is not None:
        was, said = check.observed_before[k, p], check.predicted_before[k, p]
        there = np.isfinite(was) & np.isfinite(said)
        faint = {"color": colour, "linestyle": ":", "linewidth": 1.0}
        axes[0].plot(said[there], was[there], **faint)
        axes[1].plot(said[there], (was - said)[there], **faint)
    closure, spread = _closure(check)
    axes[2].errorbar(centres, closure[k, p], yerr=spread[k, p], **pen)


def _means(axis: Axes, results: Results, check: RatioCheck, k: int, pens: dict[int, tuple[str, str]]) -> None:
    """Draw the mean ratio at every nuisance value, against the nuisance where there is just one."""
    single = check.points.shape[1] == 1
    x = check.points[:, 0] if single else np.arange(1, len(check.points) + 1)
    axis.axhline(1, color=GREY, linewidth=1.0)
    for p in range(len(check.points)):
        colour, marker = pens.get(p, (GREY, "s"))
        axis.errorbar(x[p], check.means[k, p], yerr=check.means_error[k, p], color=colour, marker=marker, markersize=4)
    if single and len(results.nuisances) == 1:
        axis.set_xlabel(nuisance_label(results, results.nuisances[0].name))
    else:
        axis.set_xlabel("nuisance value, by number")
        axis.set_xticks(x)
    span = max(float(np.ptp(x)), 1e-9)
    axis.set_xlim(x.min() - 0.08 * span - (len(x) == 1), x.max() + 0.08 * span + (len(x) == 1))


def _limits(axis: Axes, centre: float, values: np.ndarray, errors: np.ndarray, least: float) -> None:
    """Show what is known well: the range of points whose error is not much larger than most."""
    known = np.isfinite(values) & np.isfinite(errors)
    if not known.any():
        return
    good = known & (errors <= 4 * np.median(errors[known]))
    reach = max(float((np.abs(values - centre) + errors)[good].max(initial=0.0)), least)
    axis.set_ylim(centre - 1.15 * reach, centre + 1.15 * reach)


def bias_sentence(results: Results, strategy: str) -> str:
    """Return what the unbinned fits of a strategy say of its bias, Asimov data first; empty without any."""
    words = []
    for point in true_points(results):
        offs = [
            (record.estimate - record.true[record.poi]) / record.sigma
            for record in results.asimov
            if record.strategy == strategy
            and record.observable == "unbinned"
            and record.estimate is not None
            and record.sigma
            and point.same(record.true)
        ]
        toys = [
            record.bias
            for record in results.toys
            if record.strategy == strategy and record.observable == "unbinned" and point.same(record.true)
        ]
        parts = [
            *([f"{np.mean(offs):+.2f} σ of expected data"] if offs else []),
            *([f"{np.mean(toys):+.2f} σ of pseudo-experiments"] if toys else []),
        ]
        if parts:
            words.append(f"{' and '.join(parts)} at {point.label}")
    return f" Bias of the unbinned estimate: {'; '.join(words)}." if words else ""


@FIGURES.register
class RatioFigures(AbstractFigures):
    """Checks of density ratios."""

    name = "ratios"
    order = 60

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        for number, check in enumerate(plots.ratio_checks):
            yield Sketch(
                "ratios" if len(plots.ratio_checks) == 1 else f"ratios_{number + 1}",
                f"Can the density ratios of {check.strategy}{f', {check.region},' if check.region else ''} be trusted?",
                "Top: fraction of a component among its events and as many of the reference, against what the ratio "
                "predicts, g = r / (1 + r); beneath, the difference. Third: the reference reweighted by the ratio "
                "over the component itself. Bottom: mean ratio over the reference, one if calibrated. Dotted: before "
                "a calibration on held-out events, where there was one. Events here trained no "
                f"network; bars are statistical errors.{bias_sentence(results, check.strategy)}",
                ratio_figure(results, check),
            )
