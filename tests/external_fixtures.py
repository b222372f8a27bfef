"""Models of an imagined user: functions of features, and an estimator of the user's own."""

from __future__ import annotations

import numpy as np


def probability(features):
    """The exact score of the Gaussian toy at its nominal angle, pi/4."""
    return 1 / (1 + np.exp(-2 * features.sum(axis=1) / np.sqrt(2) / 0.49))


def logit(features):
    return 2 * features.sum(axis=1) / np.sqrt(2) / 0.49


def aware_logit(inputs):
    """The exact score at the angle in the last column."""
    x, y, angle = inputs.T
    return 2 * (x * np.cos(angle) + y * np.sin(angle)) / 0.49


def one_number(features):
    return np.array([0.5])


class Fisher:
    """A linear discriminant with scikit-learn's methods and nothing else of it."""

    def fit(self, X, y, sample_weight):
        means = [np.average(X[y == k], axis=0, weights=sample_weight[y == k]) for k in (0, 1)]
        self.slope = np.linalg.solve(np.cov(X.T, aweights=sample_weight), means[1] - means[0])
        return self

    def decision_function(self, X):
        return X @ self.slope
