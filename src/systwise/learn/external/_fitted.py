"""Estimators of scikit-learn's kind: made by name, fitted to weighted rows, evaluated on the host."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from jaxtyping import Float32, Int8

from systwise.errors import ConfigError, DataError
from systwise.learn.external._host import AbstractHostModel, logits_of_probabilities
from systwise.learn.external._import_path import imported

DEFAULT = "sklearn.ensemble:HistGradientBoostingClassifier"
QUIET: dict[str, dict[str, Any]] = {
    # Copies of an event on both sides of the estimator's own split would hide that it learns them by heart.
    "HistGradientBoostingClassifier": {"early_stopping": False},
    "HistGradientBoostingRegressor": {"early_stopping": False},
    "LGBMClassifier": {"verbose": -1, "deterministic": True, "force_col_wise": True},
    "LGBMRegressor": {"verbose": -1, "deterministic": True, "force_col_wise": True},
}
"""Parameters of our own choice, where the user names none."""


class FittedModel(AbstractHostModel):
    """A fitted estimator with scikit-learn's methods.

    Its probability of class 1 is the score; where it gives none its `decision_function` is the logit, and a
    regressor's `predict`, fitted to 0 and 1, the score.
    """

    def __init__(self, estimator: Any) -> None:
        """Keep the estimator."""
        self.estimator = estimator

    @property
    def package(self) -> str:
        """The package of the estimator."""
        return type(self.estimator).__module__.partition(".")[0]

    def logits(self, inputs: Float32[np.ndarray, "event input"]) -> Float32[np.ndarray, " event"]:
        """Return the logits of class 1."""
        model = self.estimator
        if hasattr(model, "predict_proba"):
            return logits_of_probabilities(np.asarray(model.predict_proba(inputs))[:, 1])
        if hasattr(model, "decision_function"):
            return np.asarray(model.decision_function(inputs), np.float32)
        return logits_of_probabilities(np.asarray(model.predict(inputs)).reshape(len(inputs)))


def make_estimator(path: str, parameters: dict[str, Any], seed: int, key: str) -> Any:
    """Return a fresh estimator, its `random_state` set to `seed` where it has one that the user leaves open.

    Args:
        path: `module:Class`.
        parameters: keyword parameters.
        seed: for its random numbers.
        key: path of the settings, for messages.

    Raises:
        ConfigError: it cannot be imported, is no class with a method `fit`, or does not take the parameters.
    """
    kind = imported(path, f"{key}.model")
    # Before it is called: a settings file names what runs here, and Popen is a class, too.
    if not (isinstance(kind, type) and hasattr(kind, "fit")):
        what = "has no method fit" if isinstance(kind, type) else "is no class"
        raise ConfigError(f"{key}.model: '{path}' {what}; name a class of scikit-learn's kind")
    merged = {**QUIET.get(getattr(kind, "__name__", ""), {}), **parameters}
    try:
        estimator = kind(**merged)
        known = estimator.get_params() if hasattr(estimator, "get_params") else {}
        if "random_state" in known and known["random_state"] is None:
            estimator.set_params(random_state=seed)
    except Exception as error:  # every library has its own
        raise ConfigError(f"{key}.parameters: {path} does not take {json.dumps(merged)} ({_line(error)})") from None
    return estimator


def fit_estimator(
    estimator: Any,
    inputs: Float32[np.ndarray, "row input"],
    labels: Int8[np.ndarray, " row"],
    weights: Float32[np.ndarray, " row"],
    key: str,
) -> FittedModel:
    """Fit an estimator to weighted rows of both classes, labels 1 and 0.

    Raises:
        DataError: it fails, takes no weights, or its scores are no numbers.
    """
    what = type(estimator).__name__
    try:
        # A pipeline hands keywords to its steps only where they name one.
        steps = getattr(estimator, "steps", None)
        name = f"{steps[-1][0]}__sample_weight" if steps else "sample_weight"
        estimator.fit(inputs, labels, **{name: weights})
        model = FittedModel(estimator)
        scores = model.logits(inputs[:1000])
    except Exception as error:  # every library has its own
        raise DataError(f"{key}: {what} cannot be fitted ({_line(error)}); choose other parameters") from None
    if not np.isfinite(scores).all():
        raise DataError(f"{key}: scores of {what} are not finite; choose other parameters")
    return model


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
