"""Figures, tables and the one-file report. Reads what a study stored; runs nothing."""

from systwise.report.page._measurement import (
    Origin,
    measurement_answers,
    measurement_cautions,
    write_measurement,
)
from systwise.report.page._terminal import summary_table, toy_table
from systwise.report.page._unblinded import observed_table, write_unblinded
from systwise.report.page._write import draw, write_report
from systwise.report.text._findings import finding_table
from systwise.report.text._headline import caveats, headline

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
