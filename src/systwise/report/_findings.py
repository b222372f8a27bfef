"""What `systwise check` found, as tables."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from systwise.study import AnalysisCheck

NUMBERS = {"read", "kept", "yield", "change"}


def finding_table(found: AnalysisCheck) -> tuple[Table, Table, Table]:
    """Return tables of samples with their variations, of nuisances, and of all else."""
    return _samples(found), _nuisances(found), _summary(found)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=name in {"sample", "name"})
    return table


def _samples(found: AnalysisCheck) -> Table:
    table = _table(
        f"{found.title}: the first {found.events:,} events of each sample, and their yields",
        "sample",
        "read",
        "kept",
        "yield",
        "change",
        "",
    )
    for one in found.findings:
        table.add_row(
            Text(one.label if one.change is None else f"  {one.label}"),
            "" if one.read is None else f"{one.read:,}",
            "" if one.kept is None else f"{one.kept:,}",
            f"{one.total:.6g}",
            "" if one.change is None else f"{100 * one.change:+.2f} %",
            Text(one.remark),
        )
    return table


def _nuisances(found: AnalysisCheck) -> Table:
    table = _table("nuisances", "name", "kind", "acts by", "nominal", "range", "templates at")
    for nuisance in found.nuisances:
        norm = nuisance.kind == "norm"
        anchors = "" if norm else ", ".join(f"{value:.4g}" for value in nuisance.anchors)
        low, high = nuisance.range
        table.add_row(
            Text(nuisance.name),
            nuisance.kind,
            found.ways[nuisance.name],
            f"{nuisance.nominal:g}",
            f"{low:g} to {high:g}",
            anchors,
        )
    return table


def _summary(found: AnalysisCheck) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    expected = " + ".join(name if formula == "1" else f"{formula} {name}" for name, formula in found.components)
    table.add_row("expected", Text(expected))
    table.add_row("features", Text(", ".join(found.features)))
    table.add_row("strategies", Text(", ".join(found.strategies)))
    return table
