"""The comparison as a table: cells that the terminal and the HTML report share."""

from __future__ import annotations

import dataclasses

import rich.box
import rich.table
from rich.text import Text

from systwise.report._numbers import MISSING, significant, with_error
from systwise.report._rows import Entry, TruePoint, binnings, entries, find, pois, true_points
from systwise.study import Results, Spread, Summary


@dataclasses.dataclass(frozen=True)
class Cell:
    """One strategy at one true point with one binning, as text.

    Attributes:
        bins: number of bins, a range where seeds differ.
        sigma: mean, with its spread over seeds.
        stat_only: with the nuisances fixed.
        to_bound: sigma over the bound.
        to_best: sigma over the best that competes.
        converged: `yes`, or how many of the trainings.
        best: whether this is the best.
        failed: whether a fit did not converge or has no interval.
        verdicts: of all seeds, for whoever asks.
    """

    bins: str
    sigma: str
    stat_only: str
    to_bound: str
    to_best: str
    converged: str
    best: bool
    failed: bool
    verdicts: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of the table: a strategy at one true point.

    Attributes:
        entry: the strategy.
        auc, ks: area under the ROC curve and KS distance of the background, at the true point.
        cells: one a binning, None where nothing was measured.
    """

    entry: Entry
    auc: str
    ks: str
    cells: list[Cell | None]


@dataclasses.dataclass(frozen=True)
class Section:
    """All strategies at one true point.

    Attributes:
        point: the true values.
        bound: the Cramér-Rao bound as text, a dash where nobody knows it.
        lines: one a strategy.
    """

    point: TruePoint
    bound: str
    lines: list[Line]


def sections(results: Results, poi: str) -> list[Section]:
    """Lay out the comparison for one parameter of interest."""
    kinds = binnings(results)
    found = []
    for point in true_points(results):
        lines = []
        bound = None
        for entry in entries(results):
            rows = [find(results, entry, point, binning, poi) for binning in kinds]
            known = [row for row in rows if row is not None]
            if not known:
                continue
            bound = bound or next((row.bound for row in known if row.bound), None)
            cells = [None if row is None else _cell(results, row) for row in rows]
            lines.append(Line(entry, _auc(known[0].auc), _auc(known[0].ks_background), cells))
        if lines:
            found.append(Section(point, significant(bound), lines))
    return found


def _auc(value: Spread) -> str:
    """Return three decimals, or mean and spread: significant digits would hide 1 - AUC."""
    if value.mean is None:
        return MISSING
    return with_error(value.mean, value.spread) if value.spread else f"{value.mean:.3f}"


def _cell(results: Results, row: Summary) -> Cell:
    bins = str(row.bins[0]) if row.bins[0] == row.bins[1] else f"{row.bins[0]}–{row.bins[1]}"
    failed = row.converged < row.seeds or row.sigma.count < row.seeds
    return Cell(
        bins=bins,
        sigma=with_error(row.sigma.mean, row.sigma.spread),
        stat_only=significant(row.sigma_stat_only.mean),
        to_bound=_ratio(row.ratio_to_bound),
        to_best=_ratio(row.ratio_to_best),
        converged="yes" if row.converged == row.seeds else f"{row.converged}/{row.seeds}",
        best=row.competes and row.ratio_to_best is not None and row.ratio_to_best <= 1,
        failed=failed,
        verdicts="; ".join(_verdicts(results, row)),
    )


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}" if value < 10 else significant(value)


def _verdicts(results: Results, row: Summary) -> list[str]:
    own = (row.strategy, row.observable, row.convention, row.binning, row.poi, row.true)
    return [
        f"seed {record.seed}: {record.verdict}"
        for record in results.measurements
        if record.verdict
        and (record.strategy, record.observable, record.convention, record.binning, record.poi, record.true) == own
    ]


def summary_table(results: Results) -> rich.table.Table:
    """Return the comparison for a terminal.

    Rows are strategies, grouped by true point; columns are AUC at the true nuisance and, for each
    binning, sigma and its ratios to the Cramér-Rao bound (where known) and to the best row that
    competes. Seeds are averaged, with their spread. `!` marks rows in which a fit did not converge
    or has no interval; they do not compete. `†` marks moving observables, `*` yardsticks.
    """
    kinds, measured = binnings(results), pois(results)
    bounded = any(record.bound for record in results.measurements)
    several = f", mean ± spread of {len(set(results.seeds))} trainings" if len(set(results.seeds)) > 1 else ""
    table = rich.table.Table(
        title=f"{results.case}: σ({', '.join(measured)}), profiled{several}",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=_caption(results),
        caption_justify="left",
        header_style="bold",
    )
    table.add_column("strategy", no_wrap=True)
    table.add_column("AUC", justify="right", no_wrap=True)
    for binning in kinds:
        table.add_column(f"{binning}\nσ", justify="right", no_wrap=True)
        if bounded:
            table.add_column("\n/bound", justify="right", no_wrap=True)
        table.add_column("\n/best", justify="right", no_wrap=True)
    for poi in measured:
        for section in sections(results, poi):
            prefix = f"{poi}, " if len(measured) > 1 else ""
            table.add_section()
            table.add_row(Text(f"{prefix}{section.point.label}", style="bold"))
            if section.bound != MISSING:
                blank = [Text("")]
                row = [Text("(bound)", style="dim"), *blank]
                table.add_row(*row, *([Text(section.bound, style="dim"), Text("1", style="dim"), *blank] * len(kinds)))
            for line in section.lines:
                table.add_row(*_terminal_row(line, bounded))
    return table


def _terminal_row(line: Line, bounded: bool) -> list[Text]:
    mark = "*" if line.entry.yardstick else ""
    # The spread of an AUC is in the report; here it would cost the width of two columns.
    auc = Text(line.auc.split(" ")[0])
    row = [Text(f"{line.entry.label}{mark}", style="dim" if line.entry.yardstick else ""), auc]
    for cell in line.cells:
        if cell is None:
            row.extend([Text(MISSING)] * (3 if bounded else 2))
            continue
        style = "bold green" if cell.best else "red" if cell.failed else "dim" if line.entry.yardstick else ""
        values = [cell.sigma + ("!" if cell.failed else ""), cell.to_bound, cell.to_best]
        row.extend(Text(value, style=style) for value in (values if bounded else [values[0], values[2]]))
    return row


def _caption(results: Results) -> str:
    """Explain the marks that occur."""
    words = []
    if any(entry.moving for entry in entries(results)):
        words.append("† moving observable: not the likelihood of one observable, see the report")
    if any(entry.yardstick for entry in entries(results)):
        words.append("* yardstick: needs what no measurement has, does not compete")
    if any(row.converged < row.seeds or row.sigma.count < row.seeds for row in results.summaries):
        words.append("! not converged or no interval in every training, does not compete")
    return "\n".join(words)
