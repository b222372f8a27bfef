"""The comparison as cells of text that the terminal and the HTML report share."""

from __future__ import annotations

import dataclasses

from systwise.report.tables._rows import Entry, TruePoint, entries, find, main_entries, places, true_points
from systwise.report.text._numbers import MISSING, significant, with_error
from systwise.study import Results, Spread, Summary


@dataclasses.dataclass(frozen=True)
class Cell:
    """One strategy at one true point in one group of columns, as text.

    Attributes:
        bins: number of bins or cells, a range where seeds differ, `none` without.
        sigma: mean, with its spread over seeds.
        stat_only: with the nuisances fixed.
        simulation: what the limited simulation adds in quadrature.
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
    simulation: str
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
        cells: one a group of columns, None where nothing was measured.
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


def sections(results: Results, poi: str, every_convention: bool = True) -> list[Section]:
    """Lay out the comparison for one parameter of interest.

    Args:
        results: of a study.
        poi: parameter of interest.
        every_convention: whether moving observables have a row for each, or for the first one only.
    """
    found = []
    for point in true_points(results):
        lines = []
        bound = None
        for entry in entries(results) if every_convention else main_entries(results):
            rows = [find(results, entry, point, place, poi) for place in places(results)]
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
        bins=bins if row.bins[1] else "none",
        sigma=with_error(row.sigma.mean, row.sigma.spread),
        stat_only=significant(row.sigma_stat_only.mean),
        simulation=significant(row.sigma_simulation.mean, 2),
        to_bound=ratio(row.ratio_to_bound),
        to_best=ratio(row.ratio_to_best),
        converged="yes" if row.converged == row.seeds else f"{row.converged}/{row.seeds}",
        best=row.competes and row.ratio_to_best is not None and row.ratio_to_best <= 1,
        failed=failed,
        verdicts="; ".join(_verdicts(results, row)),
    )


def ratio(value: float | None) -> str:
    """Return a ratio with three decimals, a large one with three digits."""
    return MISSING if value is None else f"{value:.3f}" if value < 10 else significant(value)


def _verdicts(results: Results, row: Summary) -> list[str]:
    own = (row.strategy, row.observable, row.convention, row.binning, row.poi, row.true)
    return [
        f"seed {record.seed}: {record.verdict}"
        for record in results.asimov
        if record.verdict
        and (record.strategy, record.observable, record.convention, record.binning, record.poi, record.true) == own
    ]
