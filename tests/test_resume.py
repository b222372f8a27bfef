"""A run that was killed goes on to the same numbers; what is finished is not repeated; other runs are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from systwise.errors import ConfigError, DataError
from systwise.fit import Toys
from systwise.study import Manifest, Results, resolve_settings, run_study

TINY = {
    "case": {"events": 20_000},
    "network": {"layers": 1, "width": 8},
    "training": {"batch": 512, "passes": 1, "minimum_steps": 128, "evaluations": 4},
    "strategies": ["nominal", "aware"],
    "binning": {"names": ["optimised"], "optimised": 8},
    "fit": {"observables": ["binned"], "conventions": ["poisson"]},
    "inference": {"points": "none"},
    "toys": {"count": 60, "moving": 4},
    "true": [{"angle": 0.9}],
}


class Killed(BaseException):
    """Stands for a signal."""


def settings(**over):
    return resolve_settings("gaussian-toy", overrides={**TINY, **over})


def killed_after(calls):
    seen = []

    def progress(what, done, total):
        seen.append(what)
        if len(seen) == calls:
            raise Killed

    return progress


def numbers(folder):
    """Return all of a run's results but times."""
    tree = json.loads((folder / "results.json").read_text())
    for key in ("timings", "command"):
        tree.pop(key)
    for record in tree["measurements"] + tree["summaries"]:
        for key in [key for key in record if "seconds" in key]:
            record.pop(key)
    toys = {path.name: Toys.load(path) for path in sorted((folder / "toys").iterdir())}
    plots = np.load(folder / "plots.npz", allow_pickle=False)
    models = {path.name: path.read_bytes() for path in sorted((folder / "models").iterdir())}
    return tree, toys, {name: plots[name] for name in plots.files}, models


def same(left, right):
    for a, b in zip(numbers(left), numbers(right), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if isinstance(a[name], Toys):
                for field in ("numbers", "estimate", "low", "high"):
                    if hasattr(a[name], field):
                        np.testing.assert_array_equal(getattr(a[name], field), getattr(b[name], field))
            elif isinstance(a[name], np.ndarray):
                np.testing.assert_array_equal(a[name], b[name])
            else:
                assert a[name] == b[name], name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_study("gaussian-toy", settings(), folder)
    return folder


def calls_of_a_run(folder):
    seen = []
    run_study("gaussian-toy", settings(), folder, progress=lambda *words: seen.append(words))
    return seen


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("systwise.study.run._toys.SECONDS", 0.0)
    monkeypatch.setattr("systwise.learn.training._checkpoints.SECONDS", 0.0)
    total = len(calls_of_a_run(tmp_path / "counted"))
    for at in (total // 4, total // 2):
        with pytest.raises(Killed):
            run_study("gaussian-toy", settings(), tmp_path / "run", resume=True, progress=killed_after(at))
        assert Manifest.load(tmp_path / "run").status == "running"
        assert not list((tmp_path / "run").rglob("*.part"))
    run_study("gaussian-toy", settings(), tmp_path / "run", resume=True)
    assert Manifest.load(tmp_path / "run").status == "finished"
    same(whole, tmp_path / "run")


def test_what_is_finished_is_not_repeated(whole, tmp_path):
    folder = tmp_path / "run"
    run_study("gaussian-toy", settings(strategies=["nominal"]), folder)
    before = (folder / "units" / "nominal-seed0.unit").stat().st_mtime_ns
    seen = []
    run_study("gaussian-toy", settings(), folder, resume=True, progress=lambda what, *_: seen.append(what))
    assert (folder / "units" / "nominal-seed0.unit").stat().st_mtime_ns == before
    assert not any("nominal" in what for what in seen)
    assert Manifest.load(folder).units == ["nominal-seed0", "aware-seed0"]
    same(whole, folder)


@pytest.mark.slow
def test_more_toys_train_nothing_again(whole, tmp_path):
    folder = tmp_path / "run"
    run_study("gaussian-toy", settings(toys={"count": 20, "moving": 4}), folder)
    seen = []
    run_study("gaussian-toy", settings(), folder, resume=True, progress=lambda what, *_: seen.append(what))
    results = Results.load(folder / "results.json")
    assert {record.toys for record in results.toys} >= {60}
    # A finished training reports once that it is finished; none reports steps.
    assert seen.count("nominal") <= 1
    same(whole, folder)


def test_another_run_is_not_gone_on_with(whole, tmp_path):
    changed = settings(training={**TINY["training"], "batch": 256})
    with pytest.raises(ConfigError, match=r"was run with training\.batch=512, not 256; use the same"):
        run_study("gaussian-toy", changed, whole, resume=True)
    other = {key: value for key, value in TINY.items() if key not in ("true", "case")}
    other = resolve_settings("inferno-mixture", overrides=other)
    with pytest.raises(ConfigError, match=r"holds a run of 'gaussian-toy', not of 'inferno-mixture'"):
        run_study("inferno-mixture", other, whole, resume=True)
    manifest = json.loads((whole / "manifest.json").read_text())
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    (stolen / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no run that could go on"):
        run_study("gaussian-toy", settings(), stolen, resume=True)
    old = tmp_path / "old"
    old.mkdir()
    (old / "manifest.json").write_text(json.dumps({**manifest, "versions": {**manifest["versions"], "jax": "0.1"}}))
    with pytest.raises(ConfigError, match=r"was begun with jax 0\.1, and this is"):
        run_study("gaussian-toy", settings(), old, resume=True)
    (old / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match=r"manifest\.json: is damaged"):
        run_study("gaussian-toy", settings(), old, resume=True)


def test_a_damaged_unit_is_named(tmp_path):
    folder = tmp_path / "run"
    alone = settings(strategies=["nominal"], toys={"count": 0})
    run_study("gaussian-toy", alone, folder)
    unit = folder / "units" / "nominal-seed0.unit"
    unit.write_bytes(unit.read_bytes()[:-3])
    with pytest.raises(ConfigError, match=r"nominal-seed0\.unit: is damaged; delete this file"):
        run_study("gaussian-toy", alone, folder, resume=True)
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"")
    unit.unlink()
    with pytest.raises(DataError, match="checkpoint is damaged"):
        run_study("gaussian-toy", alone, folder, resume=True)
    run_study("gaussian-toy", alone, folder, force=True)
