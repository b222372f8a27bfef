"""Classifiers that pay for what their score does with the nuisances."""
