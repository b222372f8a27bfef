"""Trainings that were interrupted go on to the bit; checkpoints that are not what they should be are refused."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import DataError
from systwise.events import SplitSettings, split_events
from systwise.learn import STRATEGIES, Problem
from systwise.learn.training._checkpoints import Checkpoints
from systwise.settings import validate

SMALL = {
    "network": {"layers": 1, "width": 8},
    "training": {"batch": 256, "passes": 1, "minimum_steps": 256, "evaluations": 8},
}


class Killed(BaseException):
    """Stands for a signal: nothing in the package catches it."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    case = GaussianToy(GaussianToySettings(events=8000))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="folds", folds=2)))


def fresh(problem, folder=None) -> Problem:
    keep = None if folder is None else Checkpoints(folder)
    return Problem(problem.case, problem.table, problem.split, checkpoints=keep)


def killed_after(chunks):
    """Return a progress function that dies once so many chunks of steps were made."""
    seen = []

    def progress(what, done, total):
        seen.append(what)
        if len(seen) == chunks:
            raise Killed

    return progress


def arrays(trained):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(trained.observable, eqx.is_array))]


@pytest.mark.parametrize("name", ["augmented", "aware", "adversarial", "ratio", "inference_aware"])
def test_an_interrupted_training_goes_on_to_the_bit(problem, name, tmp_path, monkeypatch):
    monkeypatch.setattr("systwise.learn.training._checkpoints.SECONDS", 0.0)
    strategy = validate(STRATEGIES.get(name), SMALL)
    whole = strategy.fit(fresh(problem), 5)
    # Killed in the first network, then in the second, then left alone.
    for chunks in (5, 12):
        with pytest.raises(Killed):
            strategy.fit(fresh(problem, tmp_path), 5, killed_after(chunks))
        assert list(tmp_path.glob("*.checkpoint"))
    resumed = strategy.fit(fresh(problem, tmp_path), 5)
    for left, right in zip(arrays(whole), arrays(resumed), strict=True):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(whole.histories, resumed.histories, strict=True):
        np.testing.assert_array_equal(left.validation, right.validation)
        assert left.best == right.best


def test_a_finished_training_is_not_made_again(problem, tmp_path):
    strategy = validate(STRATEGIES.get("augmented"), SMALL)
    strategy.fit(fresh(problem, tmp_path), 5)
    steps = []
    strategy.fit(fresh(problem, tmp_path), 5, lambda what, done, total: steps.append(done))
    assert len(steps) == problem.split.folds


def test_other_settings_seeds_or_events_are_other_trainings(problem, tmp_path):
    strategy = validate(STRATEGIES.get("augmented"), SMALL)
    strategy.fit(fresh(problem, tmp_path), 5)
    files = len(list(tmp_path.iterdir()))
    changed = validate(STRATEGIES.get("augmented"), {**SMALL, "training": {**SMALL["training"], "learning_rate": 1e-3}})
    changed.fit(fresh(problem, tmp_path), 5)
    strategy.fit(fresh(problem, tmp_path), 6)
    table = dataclasses.replace(problem.table, fingerprint="other")
    strategy.fit(dataclasses.replace(fresh(problem, tmp_path), table=table, done={}), 5)
    assert len(list(tmp_path.iterdir())) == 4 * files


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named(problem, damage, tmp_path):
    strategy = validate(STRATEGIES.get("augmented"), SMALL)
    strategy.fit(fresh(problem, tmp_path), 5)
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes({"cut": bytes(content[:-40]), "flipped": bytes(content), "empty": b""}[damage])
    with pytest.raises(DataError, match=r"\.checkpoint: checkpoint is damaged .*; delete this file"):
        strategy.fit(fresh(problem, tmp_path), 5)
