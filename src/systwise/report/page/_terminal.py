"""The comparison and the pseudo-experiments as tables for a terminal."""

from __future__ import annotations

import dataclasses

import rich.box
import rich.table
from rich.console import Console
from rich.text import Text

from systwise.report.tables._coverage import Judged, judged_toys
from systwise.report.tables._rows import competitors, entries, main_entries, places, pois, true_points
from systwise.report.tables._table import Cell, Line, ratio, sections
from systwise.report.text._numbers import MISSING, significant
from systwise.report.text._words import COVERAGE_WORDS, SIMULATION_SHOWN, simulation_words, where
from systwise.study import Results

WIDTH = 80
_Flags = tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Which columns a terminal has room for.

    Attributes:
        auc: area under the ROC curve.
        bounded: ratio to the bound, one flag a group of columns.
        simulation: what the limited simulation adds, one flag a group.
        best: ratio to the best, one flag a group.
        spread: spread over seeds.
    """

    auc: bool
    bounded: _Flags
    simulation: _Flags
    best: _Flags
    spread: bool = True


def summary_table(results: Results, width: int = WIDTH) -> rich.table.Table:
    """Return the comparison for a terminal.

    Rows are strategies, grouped by true point, with the first convention of moving observables; columns
    are AUC at the true nuisance and, for each binning, sigma, its ratios to the Cramer-Rao bound (where
    known) and to the best row that competes, and the part of the simulation where it exceeds a tenth of
    any sigma. Anchored and unbinned observables stand with the optimised binning, with which they
    compete. Seeds are averaged, with their spread. `!` marks rows in which a fit did not converge or has
    no interval; they do not compete. `†` marks moving observables, `*` yardsticks.

    Args:
        results: of a study.
        width: columns of the terminal; where they do not suffice, the AUC, then the ratios and the
            simulation's part of all but the last binning, then the spread are left to the HTML report.
    """
    groups = len(places(results))
    every = (True,) * groups
    last = tuple(number == groups - 1 for number in range(groups))
    nowhere = (False,) * groups
    bounded = any(record.bound for record in results.asimov)
    simulation = simulation_matters(results)

    def layout(auc: bool, bound: _Flags, part: _Flags, best: _Flags, spread: bool = True) -> _Layout:
        return _Layout(auc, bound if bounded else nowhere, part if simulation else nowhere, best, spread)

    table = rich.table.Table()
    for chosen in (
        layout(True, every, every, every),
        layout(False, every, every, every),
        layout(False, every, last, every),
        layout(False, every, last, last),
        layout(False, last, last, last),
        layout(False, last, last, last, spread=False),
    ):
        table = _comparison(results, chosen)
        if _width(table) <= width:
            break
    return table


def simulation_matters(results: Results) -> bool:
    """Whether the simulation adds more than a tenth of sigma to any row."""
    return any(
        (row.sigma_simulation.mean or 0) > SIMULATION_SHOWN * row.sigma.mean
        for row in results.summaries
        if row.sigma.mean is not None
    )


def _width(table: rich.table.Table) -> int:
    console = Console(width=1000, color_system=None)
    return console.measure(table).maximum


def _frame(title: str, caption: str, gap: int = 1) -> rich.table.Table:
    return rich.table.Table(
        title=Text(title, style="table.title"),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        caption=Text(caption, style="table.caption"),
        caption_justify="left",
        header_style="bold",
    )


def _comparison(results: Results, layout: _Layout) -> rich.table.Table:
    groups, measured = places(results), pois(results)
    average = "mean ± spread" if layout.spread else "mean"
    several = f", {average} of {len(set(results.seeds))} trainings" if len(set(results.seeds)) > 1 else ""
    title = f"{results.case}: σ({', '.join(measured)}), profiled{several}"
    table = _frame(title, _caption(results, any(layout.simulation)))
    table.add_column("strategy", no_wrap=True)
    if layout.auc:
        table.add_column("AUC", justify="right", no_wrap=True)
    for number, group in enumerate(groups):
        for name in _columns(layout, number):
            first = name == "σ"
            head = "unbinned" if group.name == "none" else group.name
            table.add_column(f"{head if first else ''}\n{name}", justify="right", no_wrap=True)
    for poi in measured:
        for section in sections(results, poi, every_convention=False):
            prefix = f"{poi}, " if len(measured) > 1 else ""
            table.add_section()
            table.add_row(Text(f"{prefix}{section.point.label}", style="bold"))
            if section.bound != MISSING:
                blank = [Text("")] * layout.auc
                values = {"σ": section.bound, "/bound": "1"}
                shown = [values.get(name, "") for number in range(len(groups)) for name in _columns(layout, number)]
                table.add_row(Text("(bound)", style="dim"), *blank, *(Text(value, style="dim") for value in shown))
            for line in section.lines:
                table.add_row(*_comparison_row(line, layout))
    return table


def _columns(layout: _Layout, number: int) -> list[str]:
    """Return the names of the columns of a group."""
    names = {
        "σ": True,
        "sim.": layout.simulation[number],
        "/bound": layout.bounded[number],
        "/best": layout.best[number],
    }
    return [name for name, shown in names.items() if shown]


def _comparison_row(line: Line, layout: _Layout) -> list[Text]:
    row = [Text(f"{line.entry.short}{line.entry.mark}", style="dim" if line.entry.yardstick else "")]
    if layout.auc:
        # The spread of an AUC is in the report; here it would cost the width of two columns.
        row.append(Text(line.auc.split(" ")[0]))
    for number, cell in enumerate(line.cells):
        names = _columns(layout, number)
        if cell is None:
            row.extend([Text("")] * len(names))
            continue
        style = "bold green" if cell.best else "red" if cell.failed else "dim" if line.entry.yardstick else ""
        row.extend(Text(_value(cell, name, layout), style=style) for name in names)
    return row


def _value(cell: Cell, name: str, layout: _Layout) -> str:
    if name == "/bound":
        return cell.to_bound
    if name == "/best":
        return cell.to_best
    if name == "sim.":
        return cell.simulation
    sigma = cell.sigma if layout.spread else cell.sigma.split(" ")[0]
    return sigma + ("!" if cell.failed else "")


def _caption(results: Results, simulation: bool) -> str:
    """Name the best of each true point, and explain the marks that occur."""
    words = []
    for poi in pois(results):
        for point in true_points(results):
            rows = competitors(results, point, poi)
            if rows:
                words.append(f"best at {point.label}: {where(results, rows[0])}, {significant(rows[0].sigma.mean)}")
    kinds = {entry.observable for entry in entries(results)} & {"anchored", "unbinned"}
    if kinds and any(place.name == "optimised" for place in places(results)):
        words.append(f"{' and '.join(sorted(kinds))} observables stand, and compete, with the optimised binning")
    if any(entry.moving for entry in entries(results)):
        convention = next(entry.convention for entry in main_entries(results) if entry.moving)
        others = len(entries(results)) > len(main_entries(results))
        words.append(
            f"† moving observable (convention {convention}{'; the others are in the report' if others else ''}): "
            "not the likelihood of one observable"
        )
    if any(entry.yardstick for entry in entries(results)):
        words.append("* yardstick: needs what no measurement has, does not compete")
    shown = [(entry.strategy, entry.observable, entry.convention) for entry in main_entries(results)]
    if any(
        row.converged < row.seeds or row.sigma.count < row.seeds
        for row in results.summaries
        if (row.strategy, row.observable, row.convention) in shown
    ):
        words.append("! not converged or no interval in every training, does not compete")
    if simulation:
        words.append(f"sim.: {simulation_words(results)}")
    return "\n".join(words)


def toy_table(results: Results) -> rich.table.Table:
    """Return the pseudo-experiments for a terminal: do the intervals hold what they promise?

    Columns are the number of pseudo-experiments (those whose fit converged), the bias in units of the
    spread of the estimates, the mean half-width of the 68.27 % intervals and its ratio to the bound, the
    width of the pull, and the coverage of the 68.27 % and 95.45 % intervals in per cent with binomial
    errors. `!` marks coverage off by more than three errors, and a bias beyond 0.1 sigma and two of its
    own errors.
    """
    judged = judged_toys(results)
    table = _frame(f"{results.case}: pseudo-experiments", COVERAGE_WORDS if judged else "none were made", gap=0)
    table.add_column("strategy", no_wrap=True)
    bounded = any(row.record.bound for row in judged)
    names = ("toys", "bias/σ", "width", *(("/bound",) if bounded else ()), "pull", "68.27 %", "95.45 %")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for point in true_points(results, results.toys):
        own = [row for row in judged if point.same(row.record.true)]
        if own:
            table.add_section()
            table.add_row(Text(f"true {point.label}", style="bold"))
        for row in own:
            table.add_row(*_toy_row(row, bounded))
    return table


def _toy_row(row: Judged, bounded: bool) -> list[Text]:
    style = "dim" if row.yardstick else ""
    wrong = "bold red"
    cells = [Text(row.label, style=style), Text(str(row.record.converged), style=style)]
    cells.append(Text(row.bias.split(" ")[0] + ("!" if row.biased else ""), style=wrong if row.biased else style))
    cells.append(Text(row.half_width, style=style))
    if bounded:
        cells.append(Text(ratio(row.width_to_bound), style=style))
    cells.append(Text(f"{row.record.pull_width:.2f}", style=style))
    for text, off in ((row.coverage, row.off), (row.coverage_two, row.off_two)):
        cells.append(Text(text.replace(" ", "") + ("!" if off else ""), style=wrong if off else style))
    return cells
