"""Strategies as estimators of scikit-learn: its own contract, and what nuisances add."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="comes with the extra [trees]")

from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from systwise.errors import ConfigError
from systwise.sklearn import SystwiseClassifier

TINY = {
    "network": {"layers": 1, "width": 8},
    "training": {"batch": 32, "passes": 1, "minimum_steps": 128, "learning_rate": 0.03, "evaluations": 1},
}
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "steps see events in an order that repeated rows change",
    "check_sample_weight_equivalence_on_sparse_data": "no sparse arrays",
}


@parametrize_with_checks([SystwiseClassifier(settings=TINY)], expected_failed_checks=lambda _: EXPECTED)
def test_contract_of_scikit_learn(estimator, check):
    """Scikit-learn's own checks, which raise what does not hold; none leaves its mark on the settings."""
    before = estimator.get_params()
    check(estimator)
    assert estimator.get_params() == before


def rotate(features, z):
    """Move the signal and the background along their angle, as the Gaussian toy does."""
    c, s = jnp.cos(z), jnp.sin(z)
    return jnp.stack([c * features[:, 0] - s * features[:, 1], s * features[:, 0] + c * features[:, 1]], axis=1)


def events(count=20_000, angle=0.0, seed=0):
    draw = np.random.default_rng(seed)
    y = np.arange(count) % 2
    X = np.stack([2.0 * y - 1, 0.0 * y], axis=1) + 0.7 * draw.normal(size=(count, 2))
    return np.asarray(rotate(jnp.asarray(X), jnp.full(count, angle))), y


SETTINGS = {"network": {"layers": 2, "width": 24}, "training": {"batch": 512, "minimum_steps": 600}}
NUISANCE = {"variations": {"angle": rotate}, "ranges": {"angle": (-1.5, 0.0, 1.5)}}


@pytest.mark.slow
def test_an_aware_classifier_follows_the_nuisance_and_the_baseline_does_not():
    """The exact area under the curve of two Gaussians at distance 2 / 0.7 is Phi(2 / 0.7 / sqrt 2) = 0.9783."""
    X, y = events()
    there, labels = events(angle=1.2, seed=1)
    aware = SystwiseClassifier("aware", settings=SETTINGS, **NUISANCE, random_state=1).fit(X, y)
    nominal = SystwiseClassifier("nominal", settings=SETTINGS, random_state=1).fit(X, y)
    assert roc_auc_score(labels, aware.predict_proba(there, {"angle": 1.2})[:, 1]) > 0.975
    assert roc_auc_score(labels, aware.predict_proba(there)[:, 1]) < 0.9
    assert roc_auc_score(labels, nominal.predict_proba(there)[:, 1]) < 0.9
    with pytest.raises(ConfigError, match="no nuisance 'angel', did you mean 'angle'"):
        aware.predict(there, {"angel": 1.0})


def test_probabilities_know_how_heavy_the_classes_are():
    """A fifth of the signal's weight turns p into p / (p + 5 (1 - p)), exactly, where training is balanced."""
    X, y = events(4000)
    weights = np.where(y == 1, 0.2, 1.0)
    one, other = (
        SystwiseClassifier(settings=SETTINGS, prior=prior, random_state=0).fit(X, y, weights)
        for prior in ("data", "balanced")
    )
    np.testing.assert_allclose(one.decision_function(X), other.decision_function(X) - np.log(5), atol=1e-5)
    assert abs(np.average(one.predict_proba(X)[:, 1], weights=weights) - 1 / 6) < 0.01


def test_it_stands_in_a_pipeline_and_gives_the_users_labels():
    X, y = events(4000)
    words = np.array(["background", "signal"])[y]
    model = make_pipeline(StandardScaler(), SystwiseClassifier(settings=TINY, random_state=0)).fit(X, words)
    assert model.score(X, words) > 0.9
    assert list(model.classes_) == ["background", "signal"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"strategy": "awere"}, "unknown strategy 'awere', did you mean 'aware'"),
        ({"strategy": "optimal"}, "strategy 'optimal' trains no classifier of arrays"),
        ({"variations": {"angle": rotate}}, "nuisance 'angle': give its function"),
        ({**NUISANCE, "ranges": {"angle": (1.0, 0.0, 2.0)}}, "must be \\(lowest, nominal, highest\\)"),
        ({"settings": {"trainig": {}}}, "unknown key 'settings.trainig', did you mean 'training'"),
        ({"prior": "flat"}, "prior 'flat': write data or balanced"),
    ],
)
def test_wrong_parameters_are_one_sentence(arguments, sentence):
    X, y = events(100)
    with pytest.raises(ConfigError, match=sentence) as caught:
        SystwiseClassifier(**arguments).fit(X, y)
    assert len(str(caught.value).splitlines()) == 1
