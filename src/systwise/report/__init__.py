"""Figures, tables and the one-file report. Reads what a study stored; runs nothing."""

from systwise.report._findings import finding_table
from systwise.report._headline import caveats, headline
from systwise.report._terminal import summary_table, toy_table
from systwise.report._write import draw, write_report
from systwise.report.measurement import (
    Origin,
    measurement_answers,
    measurement_cautions,
    observed_table,
    write_measurement,
    write_unblinded,
)

__all__ = [
    "Origin",
    "caveats",
    "draw",
    "finding_table",
    "headline",
    "measurement_answers",
    "measurement_cautions",
    "observed_table",
    "summary_table",
    "toy_table",
    "write_measurement",
    "write_report",
    "write_unblinded",
]
