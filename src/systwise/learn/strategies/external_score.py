"""A score that somebody else has trained, measured like any other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from systwise.cases import AbstractCase, Progress, no_progress
from systwise.errors import ConfigError
from systwise.learn._strategy import STRATEGIES, AbstractStrategy, Problem, Trained
from systwise.learn.external._host import HostObservable
from systwise.learn.external._models import Output, external_model, onnx_features
from systwise.registry import suggestion


class AbstractExternalScore(AbstractStrategy):
    """A model that is only evaluated."""

    by_default = False
    trains = False
    told: ClassVar[bool] = False

    model: str
    """An `.onnx` file, a TorchScript `.pt` file, or `module:function` (a NumPy array `[event, feature]` to scores)."""
    output: Output = "probability"
    """What its numbers are; of two columns the second one is the signal's."""
    features: tuple[str, ...] | None = None
    """The features that it sees, in order; the case's (or those that the file names) where null."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Read the model and score some events.

        Raises:
            ConfigError: the model cannot be read, or a feature is unknown.
            DataError: it does not score these events.
        """
        key = f"strategy.{self.name}.model"
        columns = self._columns(problem.case)
        told = len(problem.case.shape_nuisances) if self.told else 0
        model = external_model(self.model, self.output, len(columns), key)
        observable = HostObservable(
            models=(model,), columns=columns, told=told, moving=self.moving, folds=problem.split.folds
        )
        rows = np.asarray(problem.table.features[:64], np.float32)
        observable.on_host(rows, np.asarray(problem.nominal, np.float32), 0)
        return Trained(observable, (), 0.0)

    def _columns(self, case: AbstractCase) -> tuple[int, ...]:
        names = self.features or onnx_features(self.model) or case.features
        for name in names:
            if name not in case.features:
                known = list(case.features)
                raise ConfigError(
                    f"strategy.{self.name}.features: case '{case.name}' has no feature '{name}'"
                    f"{suggestion(name, known)} (known: {', '.join(known)})"
                )
        return case.columns_of(names)


@STRATEGIES.register
class ExternalScore(AbstractExternalScore):
    """A score of the features."""

    name = "external_score"
    summary = "a model that you have trained (ONNX, TorchScript or a Python function), measured like any other"
    order = 16


@STRATEGIES.register
class ExternalScoreAware(AbstractExternalScore):
    """A score of the features and the nuisances, which come last (as a second input of an ONNX file with two)."""

    name = "external_score_aware"
    summary = "a model of yours that is told the nuisance values after the features; its score moves"
    order = 56
    moving = True
    told = True
    observables = ("binned", "anchored")
