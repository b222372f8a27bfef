"""The command line as a person uses it: one real run, and one clear sentence for each mistake."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from systwise.cli import app
from systwise.cli._app import progress_lines  # what a batch log gets is reached by a clock of the test's own
from systwise.study import PlotData, Results

TINY = [
    "--set",
    "case.events=12000",
    "--set",
    "case.anchors=7",
    "--set",
    "network.width=16",
    "--set",
    "network.layers=2",
]
TINY += ["--set", "training.batch=256", "--set", "training.minimum_steps=64", "--set", "training.passes=1"]
TINY += ["--set", "split.folds=2", "--set", "binning.optimised=6", "--set", "fit.conventions=[poisson]"]
# What takes an uncertainty apart has tests of its own, and compiles for longer than all else here.
TINY += ["--set", "inference.points=none"]
SCHEMA = Path(__file__).parents[1] / "src/systwise/study/results.schema.json"


pytestmark = pytest.mark.usefixtures("own_cache")


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One tiny run of three strategies with two seeds, in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["run", "gaussian-toy", "--strategies", "nominal,aware,optimal", "--seeds", "2", "--out", str(out), *TINY]
    words += ["--true", "angle=0.785398", "--true", "angle=1.2"]
    environment = {**os.environ, "SYSTWISE_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "systwise.cli", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_run_writes_results_models_figures_and_report(finished):
    out, printed = finished
    results = json.loads((out / "results.json").read_text())
    jsonschema.validate(results, json.loads(SCHEMA.read_text()))
    # Two trainings of two strategies and the exact score once, at two points, in two binnings, and the
    # anchored observable of the aware score.
    assert len(results["measurements"]) == (2 * 2 + 1) * 2 * 2 + 2 * 2
    assert {m["observable"] for m in results["measurements"] if m["strategy"] == "aware"} == {"moving", "anchored"}
    for record in results["measurements"]:
        assert record["bound"] == pytest.approx(0.0676, abs=1e-4)
        assert record["true"]["mu"] == 1.0
        # 0.785398 means the nominal angle: anchors at both would make a kink between them.
        assert record["true"]["angle"] in (math.pi / 4, 1.2)
        assert record["sigma"] is None or record["sigma"] > 0.9 * record["bound"]
    assert sum(r["converged"] for r in results["measurements"]) >= 0.9 * len(results["measurements"])
    assert sorted(p.name for p in (out / "models").iterdir()) == [
        "aware-seed0.eqx",
        "aware-seed1.eqx",
        "nominal-seed0.eqx",
        "nominal-seed1.eqx",
        "optimal-seed0.eqx",
    ]
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert {p.suffix for p in (out / "figures").iterdir()} == {".png", ".pdf"}
    assert "aware" in printed
    assert results["timings"]["report"] > 0
    assert not list(out.rglob("*.part"))
    assert not (out / ".systwise-running").exists()


def test_exact_baseline_agrees_with_the_exact_templates_of_statistics(finished):
    """Ten uniform bins, exact score, convention poisson: 0.0895 at pi/4 (a few per cent of MC noise here)."""
    out, _ = finished
    (record,) = [
        m
        for m in Results.load(out / "results.json").measurements
        if m.strategy == "optimal" and m.binning == "uniform" and abs(m.true["angle"] - 0.785398) < 1e-6
    ]
    assert record.bins == 10
    assert record.sigma == pytest.approx(0.0895, rel=0.1)
    assert record.auc == pytest.approx(0.978, abs=0.005)


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(finished, tmp_path):
    out, _ = finished
    words = ["run", "gaussian-toy", "--strategies", "nominal", "--out", tmp_path / "again", *TINY]
    words += ["--true", "angle=0.785398", "--true", "angle=1.2"]
    assert call(*words).exit_code == 0
    first = [m for m in Results.load(out / "results.json").measurements if m.strategy == "nominal" and m.seed == 0]
    again = Results.load(tmp_path / "again" / "results.json").measurements
    assert [m.model_dump() for m in again] == [m.model_dump() for m in first]


def test_report_is_drawn_again_from_what_is_stored(finished):
    out, _ = finished
    (out / "report.html").unlink()
    done = call("report", out)
    assert done.exit_code == 0, done.output
    assert (out / "report.html").stat().st_size > 10_000
    assert len(PlotData.load(out / "plots.npz").decision_functions) == 3


@pytest.mark.slow
def test_settings_of_a_run_repeat_it(finished, tmp_path):
    """The settings in results.json are a config file."""
    out, _ = finished
    tree = Results.load(out / "results.json").settings
    (tmp_path / "again.yaml").write_text(json.dumps(tree))
    done = call(
        "run", "gaussian-toy", "--config", tmp_path / "again.yaml", "--strategies", "optimal", "--out", tmp_path / "b"
    )
    assert done.exit_code == 0, done.output
    again = Results.load(tmp_path / "b" / "results.json").measurements
    first = [m for m in Results.load(out / "results.json").measurements if m.strategy == "optimal"]
    assert [m.sigma for m in again] == [m.sigma for m in first]


def test_cases_and_strategies_list_names_and_settings():
    done = call("cases")
    assert "gaussian-toy" in done.output
    assert "case.noise" in done.output
    done = call("strategies")
    assert "strategy.adversarial.lambda" in done.output.replace("\n", "")


def test_lists_are_whole_lines_and_take_a_name():
    done = call("strategies", "aware")
    assert done.exit_code == 0
    keys = [line.split()[0] for line in done.output.splitlines() if line.startswith("  ")]
    assert keys
    assert all(key.startswith("strategy.aware.") for key in keys)
    assert "…" not in call("strategies").output
    assert call("strategies", "awere").exit_code == 2
    done = call("settings", "inference")
    assert {line.split()[0].split(".")[0] for line in done.output.splitlines()} == {"inference"}
    assert "inference.level" in done.output
    assert len(call("settings").output.splitlines()) > 40
    wrong = call("settings", "infrence")
    assert wrong.exit_code == 2
    assert "did you mean 'inference'" in wrong.output


def test_a_batch_log_gets_a_line_now_and_then():
    now = iter([0.0, 1.0, 10.0, 40.0, 45.0, 200.0])
    console = Console(file=io.StringIO(), width=80)
    say = progress_lines(console, 30.0, lambda: next(now))
    say("train [nominal]", 0, 100)
    say("train [nominal]", 10, 100)
    say("train [nominal]", 40, 100)
    say("train [nominal]", 100, 100)
    say("fit", 1, 1)
    lines = console.file.getvalue().splitlines()
    assert lines == ["40 s  train [nominal]: 40 of 100, about 58 s left", "3 min  fit: 1 of 1"]


def test_vary_writes_features_ids_weights_and_the_selection(tmp_path):
    path = tmp_path / "shifted.parquet"
    done = call("vary", "gaussian-toy", "--nuisance", "angle=1.2", "--out", path, "--set", "case.events=2000")
    assert done.exit_code == 0, done.output
    events = pq.read_table(path)
    assert {"id", "x1", "x2", "weight", "weight_signal", "weight_background", "process", "kept"} <= set(
        events.column_names
    )
    assert events.schema.field("kept").type == pa.bool_()
    signal = np.array(events["process"].to_pylist()) == "signal"
    assert np.mean(np.asarray(events["x1"])[signal]) == pytest.approx(np.cos(1.2), abs=0.1)


BAD = {
    "unknown case": (["run", "gausian-toy"], "unknown case 'gausian-toy', did you mean 'gaussian-toy'"),
    "unknown strategy": (
        ["run", "gaussian-toy", "--strategies", "awere"],
        "unknown strategy 'awere', did you mean 'aware'",
    ),
    "unknown top key": (
        ["run", "gaussian-toy", "--set", "trainin.batch=3"],
        "unknown key 'trainin', did you mean 'training'",
    ),
    "unknown case key": (
        ["run", "gaussian-toy", "--set", "case.nois=3"],
        "unknown key 'case.nois', did you mean 'noise'",
    ),
    "unknown strategy key": (
        ["run", "gaussian-toy", "--set", "strategy.aware.halfs=true"],
        "unknown key 'strategy.aware.halfs', did you mean 'halves'",
    ),
    "unknown nested key": (["run", "gaussian-toy", "--set", "training.bach=3"], "training.bach"),
    "value out of range": (["run", "gaussian-toy", "--set", "case.noise=-1"], "case.noise"),
    "no value": (["run", "gaussian-toy", "--set", "case.noise"], "write key=value"),
    "true point outside": (["run", "gaussian-toy", "--true", "angle=9"], "angle=9 is outside the nuisance's range"),
    "true point of nobody": (
        ["run", "gaussian-toy", "--true", "angel=1"],
        "has no parameter 'angel' (known: angle, mu)",
    ),
    "true point is no number": (["run", "gaussian-toy", "--true", "angle=x"], "write name=number"),
    "unknown preset": (["run", "gaussian-toy", "--preset", "papers"], "has no preset 'papers'"),
    "no config": (["run", "gaussian-toy", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    "no data": (["run", "higgsml", "--set", "case.data=nowhere.parquet"], "nowhere.parquet"),
    "no optimum": (
        ["run", "higgsml", "--set", "case.data=x.parquet", "--strategies", "optimal"],
        "needs a known optimum",
    ),
    "no results": (["report", "nowhere"], "nowhere"),
    "vary outside": (
        ["vary", "gaussian-toy", "--nuisance", "angle=9", "--out", "v.parquet"],
        "outside the nuisance's range",
    ),
    "vary unknown": (["vary", "gaussian-toy", "--nuisance", "tes=1", "--out", "v.parquet"], "has no nuisance 'tes'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_gets_one_sentence_and_status_2(name, tmp_path, monkeypatch):
    words, sentence = BAD[name]
    monkeypatch.chdir(tmp_path)
    done = call(*words)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_directory_in_use_is_left_alone(finished):
    out, _ = finished
    before = (out / "results.json").read_bytes()
    done = call("run", "gaussian-toy", "--out", out, *TINY)
    assert done.exit_code == 2
    assert "already in use" in done.stderr
    assert "--force" in done.stderr
    assert (out / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_bin_without_background_names_bin_and_remedy(tmp_path):
    words = ["--set", "binning.uniform=600", "--set", "binning.merge_below=0", "--set", "binning.names=[uniform]"]
    done = call("run", "gaussian-toy", "--strategies", "optimal_nominal", "--out", tmp_path / "o", *TINY, *words)
    assert done.exit_code == 2
    assert "has no 'background' at angle=" in done.stderr
    assert "use fewer bins" in done.stderr


@pytest.mark.slow
def test_an_interrupted_training_keeps_what_was_finished(tmp_path):
    """SIGTERM, as a batch system sends it, while the second strategy trains."""
    out = tmp_path / "cut"
    words = ["run", "gaussian-toy", "--strategies", "nominal,augmented", "--out", str(out), *TINY]
    words += ["--set", "strategy.augmented.training.minimum_steps=1000000"]
    running = subprocess.Popen(
        [sys.executable, "-m", "systwise.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (out / "results.json").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1.0)
    running.send_signal(signal.SIGTERM)
    _, printed = running.communicate(timeout=120)
    assert running.returncode == 2, printed
    assert printed.count("\n") == 1
    assert "interrupted" in printed
    assert {m.strategy for m in Results.load(out / "results.json").measurements} == {"nominal"}
    assert not list(out.rglob("*.part"))
    assert not (out / ".systwise-running").exists()


def test_debug_shows_the_traceback(tmp_path):
    done = call("run", "gaussian-toy", "--strategies", "awere", "--out", tmp_path / "x", "--debug")
    assert type(done.exception).__name__ == "ConfigError"
