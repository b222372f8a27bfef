"""Tests of hypotheses: discovery, exclusion, goodness of fit; asymptotic and with pseudo-experiments."""
