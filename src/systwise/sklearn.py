"""Strategies as estimators of scikit-learn: your own arrays in, a classifier out.

Nuisances come as functions of features and a value, which move all events:

    scale = lambda X, z: X * z[:, None]
    model = SystwiseClassifier("aware", variations={"scale": scale}, ranges={"scale": (0.9, 1.0, 1.1)})
    model.fit(X, y).predict_proba(X, {"scale": 1.05})
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.cases import AbstractCase, Progress, StudyDefaults, no_progress
from systwise.errors import ConfigError
from systwise.events import AbstractVariation, Events, EventTable, Exactness, Split
from systwise.learn import (
    STRATEGIES,
    AbstractDiscreteObservable,
    AbstractStrategy,
    Problem,
    logits_of,
    read_observable,
    save_observable,
)
from systwise.optional import remedy
from systwise.parameters import AbstractConstraint, Components, Nuisance, signal_strength
from systwise.registry import suggestion
from systwise.settings import Settings, validate

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError:
    raise ConfigError(f"systwise.sklearn needs the package 'sklearn'; {remedy('sklearn')}") from None

__all__ = ["SystwiseClassifier"]

BLOCK = 4096
"""Events in one evaluation; always as many, so that nothing is compiled again."""
FEW = 20
"""Events of a class below which all of them are trained on, and decide when to stop too."""

Shift = Callable[[Float[Array, "event feature"], Float[Array, " event"]], Float[Array, "event feature"]]


class _ArraySettings(Settings):
    """What makes two cases of arrays the same."""

    features: tuple[str, ...]
    shifts: tuple[tuple[str, Any, tuple[float, float, float]], ...] = ()


class _FunctionVariation(AbstractVariation):
    """A function of features and nuisance values."""

    nuisance: str = eqx.field(static=True)
    function: Shift = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Move the features."""
        return eqx.tree_at(lambda e: e.features, events, self.function(events.features, z))


class _ArrayCase(AbstractCase):
    """Arrays in memory and the functions that move them."""

    name = "arrays"
    summary = "arrays given to SystwiseClassifier"
    settings_class = _ArraySettings
    settings: _ArraySettings

    @property
    def features(self) -> tuple[str, ...]:
        return self.settings.features

    @property
    def components(self) -> Components:
        return signal_strength()

    @property
    def nuisances(self) -> tuple[Nuisance, ...]:
        return tuple(
            Nuisance(name, nominal, (low, high), (low, high), tuple(sorted({low, nominal, high})))
            for name, _, (low, nominal, high) in self.settings.shifts
        )

    @property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        return ()

    @property
    def variations(self) -> tuple[AbstractVariation, ...]:
        return tuple(_FunctionVariation(name, function) for name, function, _ in self.settings.shifts)

    @property
    def defaults(self) -> StudyDefaults:
        return StudyDefaults(true=({},), uniform_bins=10, optimised_bins=10, shown=())

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        raise ConfigError("a case of arrays has no events to load; call fit with them")


class SystwiseClassifier(ClassifierMixin, BaseEstimator):
    """A strategy of systwise as a classifier of two classes.

    Attributes after `fit`:
        classes_: the two labels; the second one is the signal.
        n_features_in_: number of features.
        observable_: the trained score.

    Args:
        strategy: text, a name of `systwise strategies`.
        settings: its settings, e.g. `{"training": {"passes": 2}}`.
        variations: functions by the nuisance's name, pure JAX: features `[event, feature]` and values `[event]` to
            moved features; a pickle holds them by name.
        ranges: `(lowest, nominal, highest)` value of each nuisance in training.
        prior: `data`: probabilities for the classes as heavy as in training; `balanced`: for equally heavy ones.
        random_state: seed, as scikit-learn takes it.
    """

    def __init__(
        self,
        strategy: Any = "nominal",
        *,
        settings: Any = None,
        variations: Any = None,
        ranges: Any = None,
        prior: Any = "data",
        random_state: Any = None,
    ) -> None:
        """Keep the parameters: anything may be set, as scikit-learn wants it, and `fit` checks it."""
        self.strategy = strategy
        self.settings = settings
        self.variations = variations
        self.ranges = ranges
        self.prior = prior
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        """Say that there are two classes, no more."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the score as a saved model, since its functions cannot be pickled."""
        state = dict(super().__getstate__())
        if "observable_" in state:
            buffer = io.BytesIO()
            strategy, _ = self._checked()
            save_observable(buffer, strategy, 0, state["observable_"], self._case)
            state["observable_"] = buffer.getvalue()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a pickle holds."""
        state = dict(state)
        if "observable_" in state:
            state["observable_"] = read_observable(io.BytesIO(state["observable_"]))[1]
        super().__setstate__(state)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SystwiseClassifier:
        """Train on events at nominal nuisance values; the strategy moves them with `variations`.

        Args:
            X: `[event, feature]`.
            y: `[event]` two labels.
            sample_weight: `[event]`, may be negative as long as each class has a positive total.

        Raises:
            ValueError: the arrays are no numbers, or hold one class or more than two.
            ConfigError: a parameter is wrong.
            DataError: the training fails.
        """
        strategy, shifts = self._checked()
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        kept = weights != 0
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass, "
                f"of {len(classes)} classes."
            )
        if len(classes) < 2 or len(np.unique(codes[kept])) < 2:
            raise ValueError("SystwiseClassifier needs events of two classes, with weights; there is one class only")
        self.classes_ = classes
        features = np.asarray(X, np.float32)[kept]
        codes, weights = codes[kept], weights[kept]
        names = tuple(f"x{i}" for i in range(features.shape[1]))
        self._case = _ArrayCase(_ArraySettings(features=names, shifts=shifts))
        totals = [float(weights[codes == label].sum()) for label in (0, 1)]
        table, split = _table_and_split(self._case, features, codes, weights)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        made = strategy.fit(Problem(self._case, table, split), seed)
        if isinstance(made.observable, AbstractDiscreteObservable):
            raise ConfigError(f"strategy '{self.strategy}' makes bins, no probability; choose another one")
        self.observable_ = made.observable
        self.log_prior_odds_ = float(np.log(totals[1] / totals[0])) if self.prior == "data" else 0.0
        return self

    def decision_function(
        self,
        X: Any,
        z: Mapping[str, float] | None = None,
    ) -> Float64[np.ndarray, " event"]:
        """Return the logit of the second class, `ln p / (1 - p)`.

        Args:
            X: `[event, feature]`.
            z: hypothesised nuisance values, nominal where a name is missing; only an aware strategy looks at them.

        Raises:
            ConfigError: a nuisance is unknown.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        features = np.asarray(X, np.float32)
        point = jnp.asarray(self._point(z), jnp.float32)
        hypothesis = jnp.broadcast_to(point, (BLOCK, len(point)))
        table = _table(self._case, features, np.ones((len(features), 2), np.float32))
        found = [
            np.asarray(logits_of(self.observable_, events, hypothesis, jnp.zeros((), jnp.int32)))[: len(part)]
            for part, events in table.blocks(np.arange(len(features)), BLOCK)
        ]
        return np.concatenate(found).astype(np.float64) + self.log_prior_odds_

    def predict_proba(
        self,
        X: Any,
        z: Mapping[str, float] | None = None,
    ) -> Float64[np.ndarray, "event 2"]:
        """Return the probabilities of both classes."""
        signal = 1 / (1 + np.exp(-self.decision_function(X, z)))
        return np.stack([1 - signal, signal], axis=1)

    def predict(self, X: Any, z: Mapping[str, float] | None = None) -> np.ndarray:
        """Return the more probable label of each event."""
        signal = self.decision_function(X, z) > 0
        return self.classes_[signal.astype(int)]

    def _checked(self) -> tuple[AbstractStrategy, tuple[tuple[str, Any, tuple[float, float, float]], ...]]:
        """Return the strategy and the shifts, or say which parameter is wrong."""
        kind = STRATEGIES.get(self.strategy)
        if kind.needs_truth or "unbinned" in kind.observables:
            raise ConfigError(f"strategy '{self.strategy}' trains no classifier of arrays; choose another one")
        variations, ranges = dict(self.variations or {}), dict(self.ranges or {})
        if set(variations) != set(ranges):
            name = sorted(set(variations) ^ set(ranges))[0]
            raise ConfigError(
                f"nuisance '{name}': give its function in variations and its (low, nominal, high) in ranges"
            )
        if kind.needs_nuisances and not variations:
            raise ConfigError(f"strategy '{self.strategy}' needs a nuisance; give variations and ranges")
        if self.prior not in ("data", "balanced"):
            raise ConfigError(f"prior '{self.prior}': write data or balanced")
        for name, ends in ranges.items():
            if len(ends) != 3 or not ends[0] <= ends[1] <= ends[2] or ends[0] == ends[2]:
                raise ConfigError(f"ranges: '{name}' must be (lowest, nominal, highest), got {tuple(ends)}")
        shifts = tuple(
            (name, function, (float(ranges[name][0]), float(ranges[name][1]), float(ranges[name][2])))
            for name, function in variations.items()
        )
        return validate(kind, dict(self.settings or {}), "settings"), shifts

    def _point(self, z: Mapping[str, float] | None) -> list[float]:
        known = {nuisance.name: nuisance.nominal for nuisance in self._case.nuisances}
        for name in z or {}:
            if name not in known:
                raise ConfigError(f"z: no nuisance '{name}'{suggestion(name, list(known))}")
        return list({**known, **(z or {})}.values())


def _table(case: _ArrayCase, features: np.ndarray, weights: np.ndarray) -> EventTable:
    """Return arrays as events: weights `[event, (signal, background)]`."""
    digest = hashlib.sha256(features.tobytes())
    digest.update(weights.tobytes())
    return EventTable(
        features=features,
        weights=weights,
        process=(weights[:, 0] != 0).astype(np.int8),
        id=np.arange(len(features), dtype=np.int64),
        feature_names=case.features,
        component_names=case.components.names,
        processes=("background", "signal"),
        source="arrays",
        fingerprint=digest.hexdigest(),
    )


def _table_and_split(
    case: _ArrayCase, features: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> tuple[EventTable, Split]:
    """Return the events, and which of them decide when to stop: every seventh of a class, all where they are few."""
    rank = np.zeros(len(codes), np.int64)
    for label in (0, 1):
        rank[codes == label] = np.arange(np.sum(codes == label))
    held = rank % 7 == 6
    rows = np.arange(len(codes))
    if np.bincount(codes, minlength=2).min() < FEW:
        rows, held = np.tile(rows, 2), np.repeat([False, True], len(codes))
    columns = np.stack([codes == 1, codes == 0], axis=1) * weights[:, None]
    table = _table(case, features[rows], columns[rows].astype(np.float32))
    nobody = np.full(len(rows), -1, np.int8)
    return table, Split("arrays", 1, nobody, held, held, held)
