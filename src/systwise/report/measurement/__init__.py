"""The page of one measurement: what a fit of observed data says, with its checks."""

from systwise.report.measurement._page import Origin, measurement_answers, measurement_cautions, write_measurement

__all__ = ["Origin", "measurement_answers", "measurement_cautions", "write_measurement"]
