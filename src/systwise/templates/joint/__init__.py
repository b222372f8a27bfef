"""Anchored observables: scores at a few fixed hypotheses, in joint cells."""
