"""The page of one measurement: what a fit of observed data says, with its checks."""

from systwise.report.measurement._page import Origin, measurement_answers, measurement_cautions, write_measurement
from systwise.report.measurement._unblinded import observed_table, write_unblinded

__all__ = [
    "Origin",
    "measurement_answers",
    "measurement_cautions",
    "observed_table",
    "write_measurement",
    "write_unblinded",
]
