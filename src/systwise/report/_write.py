"""From a finished run's folder to its figures and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from systwise.fit import Toys
from systwise.report._events_figures import decision_figure, feature_figure, plane_figure
from systwise.report._fit_figures import map_figure, profile_figure
from systwise.report._html import Drawing, render
from systwise.report._inference_figures import impact_figure, plane_figure_2d
from systwise.report._ratio_figure import bias_sentence, ratio_figure
from systwise.report._rows import Place, places, pois
from systwise.report._score_figures import history_figure, score_figure, template_figure, trade_off_figure
from systwise.report._style import save_figure, style
from systwise.report._summary_figure import summary_figure
from systwise.report._toy_figures import coverage_figure, estimate_figure
from systwise.report.significance._figures import add_significance_figures
from systwise.study import PlotData, Results, write_atomically

RESULTS, PLOTS, REPORT, FIGURES = "results.json", "plots.npz", "report.html", "figures"
MOST_NUISANCES = 3
Add = Callable[[str, str, str, Figure | None], None]


def write_report(directory: Path) -> Path:
    """Draw all figures of a finished run and write its report.

    Reads `results.json` and, where they are there, `plots.npz` and the rows of pseudo-experiments; writes
    `figures/*.png`, `figures/*.pdf` and `report.html`, which needs no other file. Nothing is computed again.

    Args:
        directory: output directory of a run.

    Returns:
        the path of `report.html`.

    Raises:
        ConfigError: a file is missing or damaged.
        FitError: the rows of pseudo-experiments are damaged.
    """
    directory = Path(directory)
    results = Results.load(directory / RESULTS)
    plots = PlotData.load(directory / PLOTS) if (directory / PLOTS).exists() else PlotData()
    files = {record.file: directory / record.file for record in results.toys}
    toys = {name: Toys.load(path) for name, path in files.items() if path.exists()}
    drawings = draw(results, plots, directory / FIGURES, toys)
    text = render(results, drawings)
    write_atomically(directory / REPORT, lambda file: file.write(text.encode()))
    return directory / REPORT


def draw(results: Results, plots: PlotData, folder: Path, toys: Mapping[str, Toys] | None = None) -> list[Drawing]:
    """Write every figure for which there is data; return them in the order of the report.

    Args:
        results: of the study.
        plots: arrays behind the figures.
        folder: where to write.
        toys: rows of pseudo-experiments by their file's name in the records.
    """
    drawings: list[Drawing] = []

    def add(name: str, title: str, caption: str, figure: Figure | None) -> None:
        if figure is not None:
            drawings.append(Drawing(name, title, caption, save_figure(figure, folder, name)))

    with style():
        _summary_figures(results, add)
        add_significance_figures(results, plots, add)
        _toy_figures(results, toys or {}, add)
        _likelihood_figures(results, plots, add)
        _inference_figures(results, plots, add)
        _ratio_figures(results, plots, add)
        _score_figures(results, plots, add)
        _event_figures(results, plots, add)
    return drawings


def preferred_place(results: Results) -> Place | None:
    """Return the binnings that small multiples show: the optimised one where there is one."""
    found = places(results)
    return next((place for place in found if place.name == "optimised"), found[0] if found else None)


def _toy_figures(results: Results, toys: Mapping[str, Toys], add: Add) -> None:
    if not results.toys:
        return
    add(
        "coverage",
        "Do the intervals hold what they promise?",
        "Each point is a set of pseudo-experiments. Coverage belongs on the line, with its binomial error; a bias is "
        "in units of the spread of the estimates (grey band: less than 0.1); a pull wider than one means that the "
        "intervals are too short. Red: off by more than 3 errors, or a bias beyond 0.1 and twice its error.",
        coverage_figure(results),
    )
    add(
        "estimates",
        "Estimates of the pseudo-experiments",
        "One line an observable and binning, of unit area. Vertical line: the truth. Dotted: a Gaussian at the truth "
        "as wide as the Cramér–Rao bound, where it is known; no unbiased estimate is narrower.",
        estimate_figure(results, toys),
    )


def _ratio_figures(results: Results, plots: PlotData, add: Add) -> None:
    for number, check in enumerate(plots.ratio_checks):
        add(
            "ratios" if len(plots.ratio_checks) == 1 else f"ratios_{number + 1}",
            f"Can the density ratios of {check.strategy} be trusted?",
            "Top: fraction of a component among its events and as many of the reference, against what the ratio "
            "predicts, g = r / (1 + r); beneath, the difference. Third: the reference reweighted by the ratio over the "
            "component itself. Bottom: mean ratio over the reference, one if calibrated. Dotted: before a calibration "
            "on held-out events, where there was one. Events here trained no "
            f"network; bars are statistical errors.{bias_sentence(results, check.strategy)}",
            ratio_figure(results, check),
        )


def _summary_figures(results: Results, add: Add) -> None:
    measured = pois(results)
    for poi in measured:
        add(
            "summary" if len(measured) == 1 else f"summary_{poi}",
            f"σ({poi}) of every strategy",
            "Bars are the profiled uncertainty, the dark part is what remains with the nuisances fixed; the rest of a "
            "bar is the price of the systematic uncertainty. Compare strategies within one binning, then see what the "
            "binning alone is worth. The dashed line is the Cramér–Rao bound, where it is known.",
            summary_figure(results, poi),
        )


def _likelihood_figures(results: Results, plots: PlotData, add: Add) -> None:
    for place in places(results):
        add(
            f"profiles_{place.name}",
            f"Profiled likelihood, {place.title}",
            "Top: each curve crosses the dotted lines at the ends of its 68 % and 95 % intervals (first seed). Bottom: "
            "the width |μ − μ̂| / √(2ΔNLL) relative to the bound or, without one, to the narrowest curve: a flat "
            "line is a parabola, a slope an asymmetric interval.",
            profile_figure(results, plots.likelihood_scans, place),
        )
    preferred = preferred_place(results)
    if preferred is None:
        return
    add(
        "maps",
        f"Likelihood over parameter of interest and nuisance, {preferred.title}",
        "Cross: best fit, with the 68 % interval as a bar; orange: the nuisance profiled at each value; plus: a second "
        "minimum. White contours (ΔNLL = 0.5 solid, 2 dashed) are drawn where the grid resolves them. Two separate "
        "bright regions mean that the data cannot tell two nuisance values apart.",
        map_figure(results, plots.likelihood_scans, preferred),
    )


def _inference_figures(results: Results, plots: PlotData, add: Add) -> None:
    add(
        "impacts",
        "Pulls and impacts",
        "Bars: change of the estimate when the auxiliary observation of a nuisance moves by one standard deviation and "
        "everything is fitted again (arXiv:2307.04007); all columns share the axis. Points, upper axis: best fit minus "
        "prior centre in prior widths, the bar is the width after the fit: shorter than one where the data constrain "
        "the nuisance, which is to be trusted only as far as the simulation describes its effect.",
        impact_figure(results),
    )
    add(
        "planes",
        "Two parameters at a time",
        "Lines hold both parameters with 68 % (dotted: 95 %) probability, everything else profiled. A tilted ellipse "
        "is a correlation: what is not known of one parameter becomes uncertainty of the other.",
        plane_figure_2d(results, plots.plane_scans),
    )


def _score_figures(results: Results, plots: PlotData, add: Add) -> None:
    if plots.score_distributions:
        add(
            "scores",
            "Score at different true nuisance values",
            "KS is the distance between the background scores: near zero, the classifier does not feel the nuisance "
            "(or, for a moving observable, follows it). A small KS is only worth something with a large AUC.",
            score_figure(results, plots.score_distributions, plots.components),
        )
    preferred = preferred_place(results)
    binning = preferred.name if preferred is not None else ""
    nuisances = list(dict.fromkeys(template.nuisance for template in plots.score_templates))[:MOST_NUISANCES]
    for nuisance in nuisances:
        chosen = [t for t in plots.score_templates if t.nuisance == nuisance and t.binning == binning]
        if chosen:
            add(
                f"templates_{nuisance}" if nuisance else "templates",
                f"Score templates against {nuisance}, {binning} binning",
                "Content of each bin relative to the nominal value (dotted); grey where it is empty there. White "
                "everywhere: the observable does not depend on the nuisance. A pattern that is mirrored at the dotted "
                "line: the two sides cannot be told apart.",
                template_figure(results, chosen, plots.components),
            )
    if plots.trade_offs:
        add(
            "trade_off",
            "What decorrelation costs",
            "A stronger adversary lowers the KS distance and, sooner or later, the AUC; the bottom panel counts.",
            trade_off_figure(plots.trade_offs, pois(results)[0] if pois(results) else "mu"),
        )
    if plots.training_histories:
        add(
            "histories",
            "Training",
            "One line a seed. A validation loss that still falls at the end asks for more epochs; one that rises "
            "above the training loss, for fewer or for more events.",
            history_figure(plots.training_histories),
        )


def _event_figures(results: Results, plots: PlotData, add: Add) -> None:
    if plots.plane_densities:
        add(
            "plane",
            "The data at three nuisance values",
            "Contours hold 39 % and 86 % of each component; grey: nominal.",
            plane_figure(results, plots.plane_densities, plots.components),
        )
    if plots.decision_functions:
        add(
            "decisions",
            "Decision function of each strategy",
            "Lines at scores 0.1, 0.5 (thick) and 0.9. A strategy that does not know the nuisance draws the same "
            "picture twice; one that does turns with the data.",
            decision_figure(results, plots.decision_functions),
        )
    if plots.feature_distributions:
        figure, drawn = feature_figure(results, plots.feature_distributions, plots.components)
        total = len(plots.feature_distributions)
        some = f" The {drawn} of {total} features whose shape changes most." if drawn < total else ""
        add(
            "features",
            "Features at three nuisance values",
            "Fractions of the nominal yield, so that a change of rate shows as well as one of shape; beneath, the "
            f"ratio to nominal.{some}",
            figure,
        )
