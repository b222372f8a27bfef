"""One measurement as a folder: numbers, figures, and a page that needs no other file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from systwise.atomic import write_atomically
from systwise.fit import Measurement
from systwise.report.figures._measurement import correlation_figure, likelihood_figure, ranking_figure, yield_figure
from systwise.report.figures._style import save_figure, style
from systwise.report.page._html import Drawing, fill
from systwise.report.text._numbers import significant

FORMAT = "systwise/measurement/1"
RECORD, PAGE, FIGURES = "measurement.json", "report.html", "figures"


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a measurement's numbers come from.

    Attributes:
        title: of the page.
        command: the command line; empty where there was none.
        source: file that was read.
        digest: its SHA-256.
        settings: all choices that decide a number.
        versions: of Python and packages.
        axes: label and edges of the variable in regions that show one in its own bins.
        label: text above figures of data, such as luminosity and energy.
    """

    title: str
    command: str
    source: str
    digest: str
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    axes: Mapping[str, tuple[str, Sequence[float]]] = dataclasses.field(default_factory=dict)
    label: str = ""


def write_measurement(measured: Measurement, origin: Origin, folder: Path) -> Path:
    """Write `measurement.json`, `figures/*.png`, `figures/*.pdf` and `report.html`.

    Args:
        measured: what was measured.
        origin: where it comes from.
        folder: where to write.

    Returns:
        the path of the page.
    """
    record = {"format": FORMAT, "origin": dataclasses.asdict(origin), **measured.record()}
    text = json.dumps(record, indent=1, allow_nan=False)
    write_atomically(folder / RECORD, lambda file: file.write(text.encode()))
    page = fill(
        "measurement.html.j2",
        {
            "measured": measured,
            "origin": origin,
            "answers": measurement_answers(measured),
            "cautions": measurement_cautions(measured),
            "drawings": _draw(measured, origin, folder / FIGURES),
            "settings": json.dumps(dict(origin.settings), indent=2),
            "significant": significant,
        },
    )
    write_atomically(folder / PAGE, lambda file: file.write(page.encode()))
    return folder / PAGE


def measurement_answers(measured: Measurement) -> list[str]:
    """Return what was measured as sentences, each number with its uncertainty."""
    result, poi = measured.result, measured.poi
    if not result.minimum_found:
        return [f"No measurement of {poi}: {result.verdict}."]
    # The first row is the measured parameter, rounded as the PDG does.
    value = result.rows()[0][1]
    sentences = [f"{poi} = {value} (68.27 %, everything else profiled); {result.verdict}."]
    impacts = measured.impacts
    if impacts is not None and impacts.statistical is not None:
        parts = f"statistical ±{significant(impacts.statistical)}, systematic ±{significant(impacts.systematic)}"
        first = next((row for row in impacts.rows if row.size > 0), None)
        largest = (
            "" if first is None else f"; the largest impact is that of {first.nuisance}, {significant(first.size)}"
        )
        sentences.append(f"Of the uncertainty: {parts}{largest}.")
    if measured.discovery is not None and bool(measured.discovery.converged):
        found = measured.discovery
        sentences.append(
            f"Significance against {poi} = 0: {significant(float(found.significance))} standard deviations "
            f"(p = {significant(float(found.p_value))}, {_way(found.tail is not None)})."
        )
    limit = measured.limit
    if limit is not None and limit.converged and limit.observed is not None:
        error = f" ± {limit.error:.1g}" if limit.error else ""
        expected = limit.expected[2]
        median = "" if expected is None else f", {significant(expected)} expected without signal"
        sentences.append(
            f"{poi} < {significant(limit.observed)}{error} at {100 * limit.level:g} % (CLs{median}, "
            f"{_way(limit.error is not None)})."
        )
    fit = measured.goodness
    if fit is not None and fit.p_value is not None:
        error = f" ± {fit.p_error:.1g}" if fit.p_error is not None and fit.p_toys is not None else ""
        sentences.append(f"Goodness of fit: p = {significant(fit.p_value)}{error} ({_way(fit.p_toys is not None)}).")
    return sentences


def measurement_cautions(measured: Measurement) -> list[str]:
    """Return what speaks against a number, and what is missing or untested."""
    notes = [f"{part}: {why}" for part, why in measured.missing.items()]
    parts = {
        "fit": measured.result,
        "impacts": measured.impacts,
        "goodness of fit": measured.goodness,
        "significance": measured.discovery,
        "limit": measured.limit,
    }
    notes += [f"{name}: {part.verdict}" for name, part in parts.items() if part and part.verdict != "converged"]
    if measured.goodness is not None and measured.goodness.p_toys is None:
        notes.append("Pseudo-experiments: untested; all p-values, significances and limits are asymptotic.")
    return notes


def _way(toys: bool) -> str:
    return "pseudo-experiments" if toys else "asymptotic"


def _draw(measured: Measurement, origin: Origin, folder: Path) -> list[Drawing]:
    """Write the figures that there are."""
    drawings: list[Drawing] = []

    def add(name: str, title: str, caption: str, figure: Figure | None) -> None:
        if figure is not None:
            drawings.append(Drawing(name, title, caption, save_figure(figure, folder, name)))

    with style():
        if measured.postfit is not None:
            for number, region in enumerate(measured.postfit.regions, 1):
                add(
                    f"yields_{number}",
                    f"Region {region} after the fit",
                    "Expected yields at the best fit, stacked, with their uncertainty as a hatched band (with the "
                    "correlations of all parameters); dotted: the total before the fit. Bars of the data are √n.",
                    yield_figure(measured.prefit, measured.postfit, region, origin.axes.get(region), origin.label),
                )
        if measured.impacts is not None and measured.pulls is not None:
            add(
                "ranking",
                "Pulls and impacts",
                "Bars: change of the measured parameter when an auxiliary observation is shifted by one standard "
                "deviation and everything is fitted again. Points: best-fit value in prefit standard deviations, with "
                "the post-fit uncertainty as error bar. A free parameter has no auxiliary observation.",
                ranking_figure(measured.impacts, measured.pulls),
            )
        add(
            "likelihood",
            "Profiled likelihood",
            "Everything else minimised at each value. The curve crosses the dotted lines at the ends of the intervals.",
            likelihood_figure(measured),
        )
        add(
            "correlation",
            "Correlations after the fit",
            "Of the parameters with the largest correlations, from the inverse Hessian at the minimum.",
            correlation_figure(measured.result),
        )
    return drawings
