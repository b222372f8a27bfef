"""Units on a Dask cluster: the numbers of one process to the bit, also where a worker dies; what cannot be is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from systwise.cases import no_progress
from systwise.errors import ConfigError
from systwise.study import make_plan, resolve_settings, run_study
from systwise.study.run._places import study_text, worker_plan
from test_analysis import folder as analysis_folder  # noqa: F401 - a fixture
from test_resume import same, settings
from test_streaming import STREAM
from test_streaming import study as streamed_study

distributed = pytest.importorskip("dask.distributed", reason="a cluster needs the extra [dask]")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return the address of a scheduler with two workers, processes of their own, the workers, and their cache."""
    folder = tmp_path_factory.mktemp("dask")
    environment = {**os.environ, "SYSTWISE_CACHE": str(folder / "cache")}
    started = []

    def start(*words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:]]
        with (folder / f"{len(started)}.log").open("w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        return started[-1]

    file = folder / "scheduler.json"
    start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    workers = []
    common = ["--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
    for _ in range(2):
        workers.append(start("worker", *common, "--no-nanny"))
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.2)
    yield json.loads(file.read_text())["address"], workers, folder / "cache"
    for process in started:
        process.kill()
    for process in started:
        process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_study("gaussian-toy", settings(), folder)
    return folder


@pytest.mark.slow
def test_parts_of_the_events_are_shared_by_the_workers(cluster, analysis_folder, tmp_path, monkeypatch):  # noqa: F811
    """Templates over parts on disk: sums in the order of the parts, wherever each was scored."""
    address, _, cache = cluster
    monkeypatch.setenv("SYSTWISE_CACHE", str(cache))
    wanted = resolve_settings("my.yaml", overrides=streamed_study(STREAM))
    run_study("my.yaml", wanted, tmp_path / "here")
    told = []
    run_study("my.yaml", wanted, tmp_path / "there", scheduler=address, progress=lambda *said: told.append(said))
    assert ("units on the cluster", 2, 2) in told
    assert len(list((cache / "events").iterdir())) == 1, "one store serves all"
    for place in ("here", "there"):
        (tmp_path / place / "toys").mkdir()  # none were asked for
    same(tmp_path / "here", tmp_path / "there")


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers_though_a_worker_dies(cluster, whole, tmp_path):
    address, workers, _ = cluster
    killed = []

    def progress(what, done, total):
        # Once the first unit is back, the other one is under way.
        if what == "units on the cluster" and done == 0 and not killed:
            killed.append(workers[0].pid)
            time.sleep(2.0)
            os.kill(workers[0].pid, signal.SIGKILL)

    run_study("gaussian-toy", settings(), tmp_path / "run", scheduler=address, progress=progress)
    assert killed
    same(whole, tmp_path / "run")


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("systwise.study.run._places.PATIENCE", 2.0)
    with pytest.raises(ConfigError, match=r"--scheduler tcp://127\.0\.0\.1:1: no Dask scheduler answers"):
        run_study("gaussian-toy", settings(), tmp_path / "run", scheduler="tcp://127.0.0.1:1")


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[dask\]'"):
        run_study("gaussian-toy", settings(), tmp_path / "run", scheduler="tcp://127.0.0.1:1")


def test_workers_read_events_again_that_have_changed_and_refuse_others(cluster, tmp_path):
    """A worker keeps its plan of a study: with new events under the same settings it must not use the old ones."""
    address, *_ = cluster
    rows = "\n".join(f"{0.1 + 0.2 * (i % 5)},{i % 2},1" for i in range(400))

    def events(weight: float) -> None:
        for name, scale in (("s", 1.0), ("b", weight)):
            text = "x,y,w\n" + rows.replace(",1\n", f",{scale}\n")
            (tmp_path / f"{name}.csv").write_text(text[: text.rindex(",") + 1] + f"{scale}\n")

    tree = {
        "General": {"Measurement": "m", "POI": "mu", "InputPath": "."},
        "Regions": [{"Name": "SR", "Variable": "x", "Binning": [0, 0.5, 1]}],
        "Samples": [
            {"Name": "S", "SamplePath": "s.csv", "Weight": "w", "Filter": "x > 0.5"},
            {"Name": "B", "SamplePath": "b.csv", "Weight": "w"},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "S"}],
        "study": {"inference": {"points": "none"}, "fit": {"conventions": ["poisson"]}, "true": [{}]},
    }
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps(tree))
    sigma = []
    for number, weight in enumerate((1.0, 4.0)):
        events(weight)
        results = run_study(str(path), resolve_settings(str(path)), tmp_path / f"out{number}", scheduler=address)
        sigma.append(results.asimov[0].sigma)
    local = run_study(str(path), resolve_settings(str(path)), tmp_path / "local")
    assert sigma[1] == local.asimov[0].sigma
    assert sigma[1] > 1.5 * sigma[0]
    # What the run read and what the worker reads differ: refused, though the worker could go on.
    plan = make_plan(str(path), resolve_settings(str(path)), no_progress)
    text = study_text(str(path), resolve_settings(str(path)), plan)
    events(2.0)
    with pytest.raises(ConfigError, match="reads other events or functions for region 'SR' than the run does"):
        worker_plan(text)
