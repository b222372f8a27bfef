"""Events that stay on disk: every event once, the yields of the files, and the same numbers wherever parts are read."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from systwise.cases import no_progress
from systwise.errors import DataError
from systwise.events import (
    EventStore,
    EventTable,
    SplitSettings,
    StoreFeed,
    StoreWriter,
    StreamSettings,
    TableFeed,
    estimated_rows,
    split_part,
)
from systwise.study import resolve_settings
from systwise.study.measure._parts import scored
from systwise.study.plan._plan import make_plan
from systwise.templates import FineGrid, anchor_pairs
from test_analysis import basic, columns, folder, made, total, write  # noqa: F401 - a fixture

PART = StreamSettings(above=0, part=1500, sample=4000)
STREAM = {"above": 0, "part": 1500, "sample": 4000}


def table(count: int, first: int = 0, extra: int = 2) -> EventTable:
    random = np.random.default_rng(count + first)
    return EventTable(
        features=random.normal(size=(count, 3)).astype(np.float32),
        weights=random.uniform(size=(count, 2)).astype(np.float32),
        process=random.integers(0, 2, count).astype(np.int8),
        id=first + np.arange(count, dtype=np.int64),
        feature_names=("a", "b", "c"),
        component_names=("s", "b"),
        processes=("S", "B"),
        source="here",
        fingerprint="f",
        columns=random.normal(size=(count, extra)).astype(np.float32) if extra else None,
        origin=7 * (first + np.arange(count, dtype=np.int64)),
        notes=("one",),
    )


@pytest.fixture
def store(tmp_path) -> EventStore:
    writer = StoreWriter(tmp_path / "events")
    for number in range(4):
        writer.add(table(1000 + number, 10_000 * number))
    return writer.finish()


@pytest.mark.parametrize("extra", [0, 2])
def test_a_store_gives_back_what_was_written(tmp_path, extra):
    writer = StoreWriter(tmp_path / "events")
    written = [table(50, extra=extra), table(30, 100, extra=extra)]
    for one in written:
        writer.add(one)
    assert EventStore.open(tmp_path / "events") is None, "a store exists when it is complete, not before"
    made = writer.finish()
    assert len(made) == 80
    for number, one in enumerate(written):
        found = made.part(number)
        for field in dataclasses.fields(EventTable):
            a, b = getattr(found, field.name), getattr(one, field.name)
            if isinstance(b, np.ndarray):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype
            else:
                assert a == b
        np.testing.assert_array_equal(made.kin(number), one.kin)
    assert len(made.head(51)) == 80
    assert len(made.head(50)) == 50


def test_the_store_that_was_there_first_stays(tmp_path):
    first, second = StoreWriter(tmp_path / "events"), StoreWriter(tmp_path / "events")
    second.room = second.room.with_name("other")
    second.room.mkdir()
    first.add(table(50))
    second.add(table(60))
    first.finish()
    assert len(second.finish()) == 50
    second.give_up()
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_a_damaged_store_is_named(store):
    (store.folder / "part-00002.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"part-00002\.parquet: cannot be read .* delete its folder"):
        store.part(2)
    (store.folder / "events.json").write_text("{")
    with pytest.raises(DataError, match=r"events\.json: is damaged; delete the folder"):
        EventStore.open(store.folder)


@pytest.mark.parametrize("scheme", ["third", "folds"])
def test_a_pass_from_disk_holds_every_training_event_once(store, scheme):
    settings, fold = SplitSettings(folds=3), 0
    whole = [store.part(number) for number in range(4)]
    wanted = np.concatenate([t.features[split_part(t, settings, scheme).training(fold)] for t in whole])
    feed = StoreFeed.of(store, settings, scheme, fold)
    assert feed.count == len(wanted)
    size = 97
    chunks = itertools.islice(feed.chunks(size, np.random.SeedSequence(3)), 2 * feed.count // size)
    found = np.concatenate([np.asarray(chunk.features) for chunk in chunks])
    assert all(len(rows) == size for rows in np.split(found, len(found) // size))
    first, second = found[: feed.count], found[feed.count :]
    np.testing.assert_array_equal(np.sort(first[:, 0]), np.sort(wanted[:, 0]))
    assert not np.array_equal(first[: len(second)], second), "another pass, another order"
    assert not np.array_equal(first[:200], wanted[:200])


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_feed_goes_on_where_it_was(store, kind):
    settings = SplitSettings()
    one = table(900)
    feed = (
        StoreFeed.of(store, settings, "third", 0)
        if kind == "disk"
        else TableFeed(one, split_part(one, settings, "third").training(0))
    )
    seed = np.random.SeedSequence([1, 2])
    whole = [np.asarray(c.features) for c in itertools.islice(feed.chunks(200, seed), 40)]
    for skip in (0, 1, 7, 29):
        resumed = [np.asarray(c.features) for c in itertools.islice(feed.chunks(200, seed, skip), 3)]
        np.testing.assert_array_equal(resumed, whole[skip : skip + 3])


def test_streamed_yields_are_those_of_the_files_at_every_kind_of_variation(folder):  # noqa: F811
    case = made(basic())
    whole = case.load(0)
    stored = case.store(PART)
    assert stored is not None
    assert len(stored) == len(whole)
    assert len(stored.rows) > 5
    assert stored.fingerprint == whole.fingerprint
    parts = [stored.part(number) for number in range(len(stored.rows))]
    assert max(stored.rows) < 2 * PART.part
    np.testing.assert_array_equal(np.sort(np.concatenate([p.kin for p in parts])), np.sort(whole.kin))
    assert len(np.unique(np.concatenate([p.id for p in parts]))) == len(whole)
    for values in ({}, {"scale": 0.7}, {"jes": -0.4}, {"theory": 1.0, "jes": 0.6}):
        streamed = sum(total(case, part, **values) for part in parts)
        np.testing.assert_allclose(streamed, total(case, whole, **values), rtol=2e-6)


def test_an_event_and_its_shifted_copies_are_in_one_part(folder):  # noqa: F811
    stored = made(basic()).store(PART)
    seen: dict[int, int] = {}
    for number in range(len(stored.rows)):
        for kin in set(stored.kin(number).tolist()):
            assert seen.setdefault(kin, number) == number


def test_a_sample_stands_for_all_events(folder):  # noqa: F811
    case = made(basic())
    whole, stored = case.load(0), case.store(PART)
    head = stored.head(5000)
    sample = case.thinned(head, len(stored) / len(head))
    for values in ({}, {"jes": 1.0}):
        np.testing.assert_allclose(total(case, sample, **values), total(case, whole, **values), rtol=0.1)


def test_files_are_read_once_and_again_when_they_change(folder, monkeypatch):  # noqa: F811
    first = made(basic()).store(PART)
    monkeypatch.setattr("systwise.cases.analysis.reading._stored._fill", None)
    assert made(basic()).store(PART) == first
    monkeypatch.undo()
    write(folder / "signal.parquet", columns(2500, 5, 1.0))
    monkeypatch.chdir(folder)
    again = made(basic()).store(PART)
    assert again.folder != first.folder
    assert len(again) < len(first)
    assert made(basic()).store(StreamSettings()) is None, "few events stay in memory"


def test_weights_of_another_sign_are_found_in_all_parts_together(folder):  # noqa: F811
    values = columns(3000, 1, 1.0)
    values["w_up"][::50] *= -1
    write(folder / "signal.parquet", values)
    with pytest.raises(
        DataError, match=r"another sign than the nominal one in \d+ of [\d,]+ events of sample 'Signal'"
    ):
        made(basic()).store(PART)
    values["w_up"] = np.abs(values["w_up"])
    values["w_down"][np.argmax(values["pt"] > 30)] = np.nan
    write(folder / "signal.parquet", values)
    with pytest.raises(DataError, match=r"'w_down' is NaN or infinite in 1 of"):
        made(basic()).store(PART)


@pytest.mark.parametrize("ending", ["root", "h5", "csv", "csv.gz", "parquet"])
def test_rows_are_counted_before_they_are_read(tmp_path, ending):
    path = tmp_path / f"events.{ending}"
    values = columns(20_000, 3)
    if ending == "root":
        import uproot

        with uproot.recreate(path) as file:
            file["events"] = values
    elif ending == "h5":
        h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra [hdf5]")
        with h5py.File(path, "w") as file:
            for name, array in values.items():
                file[name] = array
    elif ending == "parquet":
        write(path, values)
    else:
        import gzip

        text = (
            ",".join(values) + "\n" + "\n".join(",".join(map(str, row)) for row in zip(*values.values(), strict=True))
        )
        path.write_bytes(gzip.compress(text.encode()) if ending == "csv.gz" else text.encode())
    assert estimated_rows(path) == pytest.approx(20_000, rel=0.05 if "csv" in ending else 0)


def study(stream: dict) -> dict:
    """Return the settings of a small study of the analysis in `my.yaml`, which is written."""
    region = basic()["Regions"][0] | {"Variable": "1 / (1 + exp(-x))"}
    tree = basic() | {"Regions": [region], "Systematics": basic()["Systematics"][:2]}
    Path("my.yaml").write_text(json.dumps(tree), encoding="utf-8")
    return {
        "strategies": ["column", "nominal"],
        "network": {"layers": 1, "width": 8},
        "training": {"batch": 128, "passes": 2, "minimum_steps": 128, "evaluations": 2},
        "split": {"scheme": "folds", "folds": 2},
        "binning": {"names": ["uniform"], "uniform": 5, "merge_below": 1},
        "fit": {"observables": ["binned"], "conventions": ["poisson"]},
        "inference": {"points": "none"},
        "true": [{}],
        "stream": stream,
    }


def test_a_score_of_ones_own_has_the_same_templates_streamed(folder):  # noqa: F811
    found = []
    for stream in ({}, STREAM):
        plan = make_plan("my.yaml", resolve_settings("my.yaml", overrides=study(stream)), no_progress)
        assert (plan.store is None) == (not stream)
        (own,) = (s for s in plan.strategies if s.name == "column")
        observable = own.fit(plan.problem, 0).observable
        pairs = anchor_pairs(plan.nuisances, [], False)
        found.append((plan.events, scored(plan, observable, "template", pairs, FineGrid.holding(5), no_progress)))
    (events, whole), (streamed, parts) = found
    assert events == streamed
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(parts.squares, whole.squares, rtol=1e-5, atol=1e-9)


def test_nothing_is_left_of_a_store_that_failed(folder, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("SYSTWISE_CACHE", str(tmp_path / "room"))
    values = columns(3000, 1, 1.0)
    values["w"][5] = np.inf
    write(folder / "signal.parquet", values)
    with pytest.raises(DataError, match="weight 'w' is NaN or infinite"):
        made(basic()).store(PART)
    assert not list((tmp_path / "room" / "events").iterdir())
