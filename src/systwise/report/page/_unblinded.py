"""Pages and tables of observed data that a run was unblinded with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import rich.table
from rich.text import Text

from systwise.atomic import write_atomically
from systwise.fit import plain_values
from systwise.report.page._measurement import Origin, write_measurement
from systwise.report.text._numbers import significant
from systwise.study import Unblinded, versions

FOLDER = "unblinded"


def write_unblinded(one: Unblinded, folder: Path, command: str) -> Path | None:
    """Write what a stage showed to `unblinded/<strategy>-<observable>-<binning>/`; return the page of a measurement."""
    row = one.row
    target = folder / FOLDER / f"{row.strategy}-{row.observable}-{row.binning}-{one.stage}"
    if one.measured is not None:
        origin = Origin(
            f"{row.case}: {row.strategy}, {row.observable}, {row.binning}",
            command,
            f"observed data of {', '.join(one.regions)}",
            ", ".join(digest[:16] for digest in one.digests.values()),
            {"strategy": row.strategy, "observable": row.observable, "binning": row.binning, "seed": row.seed},
            versions(),
            one.axes,
            one.label,
        )
        return write_measurement(one.measured, origin, target)
    record = {
        "stage": one.stage,
        "regions": list(one.regions),
        "prefit": one.prefit if one.stage == "control" else None,
        "postfit": one.postfit,
        "validation": one.validation,
        "goodness": one.goodness,
        "command": command,
        "data": dict(one.digests),
    }
    text = json.dumps(plain_values(record), indent=1, allow_nan=False)
    write_atomically(target / "measurement.json", lambda file: file.write(text.encode()))
    return None


def observed_table(found: Sequence[Unblinded]) -> rich.table.Table:
    """Return the measured values of all strategies side by side."""
    measured = [(one, one.measured) for one in found if one.measured is not None]
    poi = measured[0][1].poi if measured else "value"
    table = rich.table.Table(
        title=Text(f"observed {poi}, everything else profiled", style="table.title"), title_justify="left", box=None
    )
    for name in ("strategy", "observable", "binning", poi, "significance", "p (fit)"):
        table.add_column(Text(name))
    for one, m in measured:
        value = m.result.rows()[0][1] if m.result.minimum_found else "no minimum"
        significance = "-" if m.discovery is None else significant(float(m.discovery.significance))
        fit = "-" if m.goodness is None or m.goodness.p_value is None else significant(m.goodness.p_value)
        cells = (one.row.strategy, one.row.observable, one.row.binning, value, significance, fit)
        table.add_row(*map(Text, cells))
    return table
