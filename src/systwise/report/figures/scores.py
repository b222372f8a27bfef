"""Figures of what the trainings made: score templates, score distributions, losses, the trade-off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import grid, legend_above, mesh, multiples, note
from systwise.report.figures._style import GREY, looks, nuisance_label, poi_label, shown_value, titles
from systwise.report.tables._rows import pois, preferred_place
from systwise.report.text._numbers import significant
from systwise.study import Results, ScoreDistribution, ScoreTemplates, TradeOff, TrainingHistory

_Z_COLOURS = ("#000000", "#e76300", "#3f90da", "#832db6")
MOST_NUISANCES = 3
"""Most nuisances whose templates are drawn."""


def template_figure(results: Results, templates: list[ScoreTemplates], components: tuple[str, ...]) -> Figure:
    """Draw each template bin against the nuisance, relative to its content at the nominal value.

    Rows are components; the horizontal axis is the nuisance, the vertical one the score bin (by
    number: optimised bins differ too much in width for a score axis).
    """
    first = templates[0]
    parts = first.counts.shape[1]
    label = nuisance_label(results, first.nuisance)
    rows = [f"{components[k] if k < len(components) else k}: bin" for k in range(parts)]
    figure, panels = multiples(
        len(templates),
        parts,
        label,
        rows,
        sharey="row" if len({t.counts.shape[2] for t in templates}) == 1 else False,
        panel=(2.4, 1.7),
        margins=(0.75, 1.25, 0.65, 0.4),
        space=(0.35, 0.3),
    )
    nominal = next((r.nominal for r in results.nuisances if r.name == first.nuisance), None)
    image = None
    names = titles([template.strategy for template in templates])
    for template, title, own in zip(templates, names, panels, strict=True):
        base = int(np.argmin(np.abs(template.anchors - nominal))) if nominal is not None else len(template.anchors) // 2
        for component, axis in enumerate(own):
            counts = template.counts[:, component]
            reference = counts[base]
            total = reference.sum()
            # A bin that is empty at the nominal value has no ratio; it stays grey.
            known = reference > 1e-9 * max(total, 1e-300)
            ratio = np.where(known, counts / np.where(known, reference, 1), np.nan)
            bins = np.arange(1, counts.shape[1] + 1)
            change = np.log2(np.maximum(ratio, 2.0**-6)).T
            image = mesh(axis, template.anchors, bins, change, cmap="RdBu_r", vmin=-2, vmax=2)
            axis.set_facecolor("#d8d8d8")
            if nominal is not None:
                axis.axvline(nominal, color="k", linewidth=0.8, linestyle=":")
        own[0].set_title(f"{title}{', moving' if template.moving else ''}")
    if image is not None:
        width, height = figure.get_size_inches()
        bar = figure.add_axes((1 - 1.05 / width, 0.65 / height, 0.16 / width, 1 - 1.05 / height))
        colours = figure.colorbar(image, cax=bar, label="content / nominal content", extend="both")
        colours.set_ticks([-2, -1, 0, 1, 2], labels=["1/4", "1/2", "1", "2", "4"])
    return figure


def score_figure(results: Results, scores: tuple[ScoreDistribution, ...], components: tuple[str, ...]) -> Figure:
    """Draw each strategy's background score at a few true nuisance values, the signal faintly."""
    # A strategy trained for one true point has been scored at fewer values than the others.
    first = max(scores, key=lambda score: len(score.z))
    figure, panels = multiples(
        len(scores),
        1,
        "score",
        ["density"],
        panel=(2.6, 2.2),
        margins=(0.8, 0.2, 0.65, 0.85),
        space=(0.3, 0.35),
    )
    lowest = np.inf
    names = titles([score.strategy for score in scores])
    for score, title, (axis,) in zip(scores, names, panels, strict=True):
        width = np.diff(score.edges)
        axis.set_xticks(np.linspace(score.edges[0], score.edges[-1], 3))
        for index, colour in zip(range(len(score.z)), _Z_COLOURS, strict=False):
            for component in reversed(range(score.counts.shape[1])):
                counts = score.counts[index, component]
                total = counts.sum()
                if not total > 0:
                    continue
                density = counts / total / width
                background = component == score.counts.shape[1] - 1
                if background:
                    lowest = min(lowest, density[density > 0].min())
                axis.stairs(
                    np.where(density > 0, density, np.nan),
                    score.edges,
                    color=colour,
                    baseline=None,
                    linewidth=1.6 if background else 1.0,
                    linestyle="-" if background else ":",
                )
        axis.set_title(title)
        if len(score.z) > 1:
            note(axis, f"KS = {significant(score.ks, 2)}", x=0.5, ha="center")
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_xlim(score.edges[0], score.edges[-1])
    axis = panels[0][0]
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, 0.3 * lowest), high**1.25 if high > 1 else high)
    label = nuisance_label(results, first.nuisance, unit=False)
    handles = [
        Line2D([], [], color=colour, label=f"{label} = {shown_value(value, first.z)}")
        for value, colour in zip(first.z, _Z_COLOURS, strict=False)
    ]
    handles.append(Line2D([], [], color=GREY, label=components[-1]))
    handles.append(Line2D([], [], color=GREY, linestyle=":", label=components[0]))
    legend_above(figure, handles)
    return figure


def history_figure(histories: tuple[TrainingHistory, ...]) -> Figure:
    """Draw training and validation losses, one panel a strategy, all seeds in it."""
    names = list(dict.fromkeys(history.strategy for history in histories))
    look = looks(names)
    figure, panels = multiples(
        len(names),
        1,
        "epoch",
        ["loss an event"],
        sharey=False,
        panel=(2.5, 1.9),
        margins=(0.85, 0.2, 0.65, 0.75),
        space=(0.65, 0.4),
    )
    for name, (axis,) in zip(names, panels, strict=True):
        for history in histories:
            if history.strategy != name:
                continue
            axis.plot(history.epochs, history.training, color=look[name].colour, linewidth=1.2)
            axis.plot(history.epochs, history.validation, color="k", linestyle="--", linewidth=1.0)
            if history.adversary is not None:
                axis.plot(history.epochs, history.adversary, color=GREY, linestyle=":", linewidth=1.4)
        axis.set_title(name, fontsize=11 if len(name) < 22 else 9)
    handles = [
        Line2D([], [], color=look[names[0]].colour, label="training"),
        Line2D([], [], color="k", linestyle="--", label="validation"),
    ]
    if any(history.adversary is not None for history in histories):
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="adversary"))
    legend_above(figure, handles)
    return figure


def trade_off_figure(trade_offs: tuple[TradeOff, ...], poi: str) -> Figure:
    """Draw what decorrelation costs: AUC, KS distance and sigma against lambda."""
    figure, axes = grid(3, 1, panel=(4.6, 1.5), margins=(1.0, 0.25, 0.65, 0.4), space=(0.1, 0.12), sharex=True)
    look = looks([record.strategy for record in trade_offs])
    for record in trade_offs:
        style = look[record.strategy]
        order = np.argsort(record.strength)
        quantities = (record.auc, record.ks, record.sigma)
        for axis, values in zip(axes[:, 0], quantities, strict=True):
            axis.plot(record.strength[order], values[order], color=style.colour, marker=style.marker)
    for axis, label in zip(axes[:, 0], ("AUC", "KS distance", rf"$\sigma$({poi_label(poi)})"), strict=True):
        axis.set_ylabel(label)
    strengths = np.concatenate([record.strength for record in trade_offs])
    positive = strengths[strengths > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        # Zero (no adversary or penalty) has to be on the axis too.
        axes[-1, 0].set_xscale("symlog", linthresh=float(positive.min()))
    axes[-1, 0].set_xlabel(r"strength $\lambda$")
    if len(look) == 1:
        axes[0, 0].set_title(next(iter(look)))
    else:
        handles = [Line2D([], [], color=own.colour, marker=own.marker, label=name) for name, own in look.items()]
        axes[0, 0].legend(handles=handles, fontsize=7)
    return figure


@FIGURES.register
class ScoreFigures(AbstractFigures):
    """Scores, their templates and their training."""

    name = "scores"
    order = 70

    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""
        results, plots = stored.results, stored.plots
        if plots.score_distributions:
            yield Sketch(
                "scores",
                "Score at different true nuisance values",
                "KS is the distance between the background scores: near zero, the classifier does not feel the "
                "nuisance (or, for a moving observable, follows it). A small KS is only worth something with a large "
                "AUC.",
                score_figure(results, plots.score_distributions, plots.components),
            )
        preferred = preferred_place(results)
        binning = preferred.name if preferred is not None else ""
        nuisances = list(dict.fromkeys(template.nuisance for template in plots.score_templates))[:MOST_NUISANCES]
        for nuisance in nuisances:
            chosen = [t for t in plots.score_templates if t.nuisance == nuisance and t.binning == binning]
            if chosen:
                yield Sketch(
                    f"templates_{nuisance}" if nuisance else "templates",
                    f"Score templates against {nuisance}, {binning} binning",
                    "Content of each bin relative to the nominal value (dotted); grey where it is empty there. White "
                    "everywhere: the observable does not depend on the nuisance. A pattern that is mirrored at the "
                    "dotted line: the two sides cannot be told apart.",
                    template_figure(results, chosen, plots.components),
                )
        if plots.trade_offs:
            yield Sketch(
                "trade_off",
                "What decorrelation costs",
                "A stronger adversary lowers the KS distance and, sooner or later, the AUC; the bottom panel counts.",
                trade_off_figure(plots.trade_offs, pois(results)[0] if pois(results) else "mu"),
            )
        if plots.training_histories:
            yield Sketch(
                "histories",
                "Training",
                "One line a seed. A validation loss that still falls at the end asks for more epochs; one that rises "
                "above the training loss, for fewer or for more events.",
                history_figure(plots.training_histories),
            )
