from __future__ import annotations

import numpy as np
import pytest

from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.errors import DataError
from systwise.events import SplitSettings, hash_ids, split_events, split_part, uniform_hash


@pytest.fixture(scope="module")
def table():
    return GaussianToy(GaussianToySettings(events=30_000)).load(0)


def test_the_papers_third_is_tested_by_one_network_that_never_saw_it(table):
    split = split_events(table, SplitSettings(scheme="third"))
    np.testing.assert_array_equal(split.template, table.id % 3 == 1)
    seen = np.concatenate([split.training(0), split.stopping(0)])
    assert not split.template[seen].any()
    assert not (split.binning & split.template).any()
    assert split.binning.any()


def test_every_event_is_scored_by_a_fold_that_never_saw_it(table):
    split = split_events(table, SplitSettings(scheme="folds", folds=4))
    assert set(np.unique(split.scorer)) == {0, 1, 2, 3}
    for fold in range(4):
        seen = np.concatenate([split.training(fold), split.stopping(fold)])
        assert not (split.scorer[seen] == fold).any()
        assert len(seen) + (split.scorer == fold).sum() == len(table)
    assert not (split.binning & split.template).any()
    assert (split.binning | split.template).all()


def test_folds_follow_the_id_and_not_the_order(table):
    import dataclasses

    order = np.random.default_rng(1).permutation(len(table))
    fields = ("features", "weights", "process", "id")
    shuffled = dataclasses.replace(table, **{name: getattr(table, name)[order] for name in fields})
    settings = SplitSettings(scheme="folds")
    np.testing.assert_array_equal(split_events(shuffled, settings).fold, split_events(table, settings).fold[order])


def test_hashes_are_uniform_and_independent_between_salts():
    ids = np.arange(100_000)
    a, b = uniform_hash(ids, "fold"), uniform_hash(ids, "valid")
    assert np.abs(np.histogram(a, 10, (0, 1))[0] / 10_000 - 1).max() < 0.05
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
    assert len(np.unique(hash_ids(ids, "fold"))) == len(ids)


def test_events_that_trained_nothing_are_templates_but_for_those_that_choose_bins(table):
    split = split_part(table, SplitSettings(), "unseen")
    assert split.folds == 1
    np.testing.assert_array_equal(split.fold, 0)
    np.testing.assert_array_equal(split.template, ~split.binning)
    assert split.binning.mean() == pytest.approx(0.3, abs=0.02)


def test_few_events_take_folds_and_many_the_third(table):
    assert split_events(table, SplitSettings()).scheme == "folds"


def test_a_part_without_signal_is_refused(table):
    import dataclasses

    weights = table.weights.copy()
    weights[table.id % 3 == 1, 0] = 0
    with pytest.raises(DataError, match="no signal events are left for template"):
        split_events(dataclasses.replace(table, weights=weights), SplitSettings(scheme="third"))
