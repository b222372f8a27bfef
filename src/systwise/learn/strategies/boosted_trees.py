"""Boosted trees, or any classifier of scikit-learn's kind, in place of a network."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import jax
import numpy as np
from pydantic import Field, JsonValue

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import STRATEGIES, AbstractStrategy, Problem, Trained
from systwise.learn.external._fitted import DEFAULT, FittedModel, fit_estimator, make_estimator
from systwise.learn.external._host import HostObservable
from systwise.learn.external._stored import kept_model
from systwise.learn.external._training_rows import NegativeWeights, training_rows
from systwise.learn.training._folds import train_folds
from systwise.learn.training._game import Draw
from systwise.learn.training._training import History
from systwise.random import named_key


class AbstractEstimatorStrategy(AbstractStrategy):
    """A strategy that fits estimators with scikit-learn's methods, one a fold."""

    by_default = False
    told: ClassVar[bool] = False

    model: str = DEFAULT
    """The estimator's class, `module:Class`: `xgboost:XGBClassifier`, `lightgbm:LGBMClassifier`, your own."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Its keyword parameters."""
    negative_weights: NegativeWeights = "refuse"
    """Events of negative weight: refused, left out (`zero`), taken as positive (`absolute`), or handed to the
    estimator (`keep`); classes keep their totals."""

    def _fit(self, problem: Problem, draw: Draw, copies: int, seed: int, progress: Progress) -> Trained:
        """Fit one estimator a fold to `copies` of its training events, varied to values of `draw`."""
        folds, told = problem.split.folds, len(problem.case.shape_nuisances) if self.told else 0
        columns = seen_columns(problem, self.told)

        def one(fold: int, member: int, said: Progress) -> tuple[FittedModel, History | None]:
            said("fit", 0, 1)
            model = self._fitted(problem, draw, copies, columns, told, fold, seed)
            said("fit", 1, 1)
            return model, None

        def join(models: list[FittedModel]) -> HostObservable:
            return HostObservable(models=tuple(models), columns=columns, told=told, moving=self.moving, folds=folds)

        return train_folds(problem, self.name, (self.name, self.model_dump_json(), seed), one, join, progress)

    def _fitted(
        self,
        problem: Problem,
        draw: Draw,
        copies: int,
        columns: tuple[int, ...],
        told: int,
        fold: int,
        seed: int,
    ) -> FittedModel:
        key = f"strategy.{self.name}"
        number = int(np.asarray(jax.random.key_data(named_key(seed, "estimator", fold)))[-1]) % 2**31
        estimator = make_estimator(self.model, self.parameters, number, key)

        def make() -> FittedModel:
            rows = training_rows(problem, fold, draw, copies, columns, told, seed, self.negative_weights, key)
            return fit_estimator(estimator, *rows, key)

        return kept_model(problem.checkpoints, self.name, self._identity(problem, fold, seed, estimator), make)

    def _identity(self, problem: Problem, fold: int, seed: int, estimator: Any) -> list[Any]:
        """Return all that decides a fit."""
        training = hashlib.sha256(problem.split.training(fold).tobytes()).hexdigest()
        case = [problem.case.name, problem.case.settings.model_dump_json()]
        package = type(estimator).__module__.partition(".")[0]
        return [self.name, self.model_dump_json(), case, problem.table.fingerprint, training, fold, seed, package]


def seen_columns(problem: Problem, told: bool) -> tuple[int, ...]:
    """Return the places of the features that a model may see: none of the sample's where it is told the nuisances."""
    case = problem.case
    hidden = case.sample_features if told else ()
    return tuple(place for place, name in enumerate(case.features) if name not in hidden)


@STRATEGIES.register
class BoostedTrees(AbstractEstimatorStrategy):
    """Fit to nominal events."""

    name = "boosted_trees"
    summary = "boosted trees, or any classifier of scikit-learn's kind, fitted to the nominal simulation"
    order = 15

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Fit to nominal events.

        Raises:
            ConfigError: the estimator cannot be made.
            DataError: it cannot be fitted to these events.
        """
        # Where features belong to the sample each copy has another value of them.
        copies = 4 if problem.case.sample_features else 1
        return self._fit(problem, problem.nominal_draw(), copies, seed, progress)


class AbstractVariedEstimator(AbstractEstimatorStrategy):
    """Estimators fitted to events varied over the training ranges."""

    copies: int = Field(4, ge=1)
    """Times that every training event is there, each time at other nuisance values."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Fit to events varied over the training ranges.

        Raises:
            ConfigError: the estimator cannot be made.
            DataError: it cannot be fitted to these events.
        """
        return self._fit(problem, problem.training_draw(), self.copies, seed, progress)


@STRATEGIES.register
class BoostedTreesAugmented(AbstractVariedEstimator):
    """Fit to copies of every event at drawn nuisance values."""

    name = "boosted_trees_augmented"
    summary = "boosted trees or another classifier, fitted over the whole training range of the nuisances"
    order = 35


@STRATEGIES.register
class BoostedTreesAware(AbstractVariedEstimator):
    """Fit to copies of every event at drawn nuisance values, which are inputs."""

    name = "boosted_trees_aware"
    summary = "boosted trees or another classifier, told the nuisance values; its score moves with the hypothesis"
    order = 55
    moving = True
    told = True
    observables = ("binned", "anchored")
