"""Fits, profiles, intervals, tests of hypotheses, pseudo-experiments."""
