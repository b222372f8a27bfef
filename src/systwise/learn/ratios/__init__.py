"""Density ratios: their networks, training, calibration and diagnostics."""
