"""What `systwise check` found, as tables."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from systwise.study import AnalysisCheck, RegionCheck

NUMBERS = {"read", "kept", "effective", "yield", "down", "up"}


def finding_table(found: AnalysisCheck) -> tuple[Table, ...]:
    """Return tables of each region's samples and of what nuisances do to them, of nuisances, and of all else."""
    regions = [table for one in found.regions for table in _region(one, found)]
    return (*regions, _nuisances(found), _summary(found))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=name in {"sample", "name"})
    return table


def _region(one: RegionCheck, found: AnalysisCheck) -> list[Table]:
    read = "all events" if found.events is None else f"the first {found.events:,} events of each file"
    title = f"{found.title}, {one.name} ({one.kind}): yields after the selection, of {read}"
    table = _table(title, "sample", "read", "kept", "effective", "yield")
    for sample in one.samples:
        table.add_row(
            Text(sample.name),
            f"{sample.read:,}",
            f"{sample.kept:,}",
            f"{sample.effective:,.0f}",
            f"{sample.expected:.6g}",
        )
    table.add_row(Text("total"), "", "", "", f"{sum(sample.expected for sample in one.samples):.6g}")
    data = "blinded" if one.kind == "signal" else "none" if one.observed is None else f"{one.observed:,}"
    table.add_row(Text("data"), "", "", "", data)
    effects = _table("", "nuisance", "sample", "down", "up", "")
    for effect in one.effects:
        effects.add_row(
            Text(effect.nuisance),
            Text(effect.sample),
            f"{100 * effect.down:+.2f} %",
            f"{100 * effect.up:+.2f} %",
            Text(effect.remark),
        )
    files = _table("", "variation", "read", "kept", "")
    for finding in one.findings:
        if finding.change is not None and (finding.read is not None or finding.remark):
            read_, kept = (("" if n is None else f"{n:,}") for n in (finding.read, finding.kept))
            files.add_row(Text(finding.label), read_, kept, Text(finding.remark))
    return [each for each in (table, effects, files) if each.row_count]


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
    for one in found.regions:
        table.add_row("observable" if len(found.regions) == 1 else one.name, Text(one.observable))
    table.add_row("strategies", Text(", ".join(found.strategies)))
    return table
