"""Events streamed from disk: training against the same events in memory, and memory against the number of events.

`python benchmarks/streaming.py throughput` trains the same network with the same loop on the events of one store, from
disk and from memory, in turns; medians count. The target is 80 % of the speed in memory.

`python benchmarks/streaming.py memory` runs a whole study (files read and dealt to parts, a blind and a told
classifier, templates at all anchors, fits) on 1, 2 and 4 million events, each in a process of its own, and prints the
largest resident memory and the time. The target is memory that does not grow.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from systwise.cases import no_progress
from systwise.events import SplitSettings, StreamSettings, TableFeed, split_part
from systwise.learn import Problem
from systwise.learn._strategy import blind_network, lesson_of
from systwise.learn.networks._network import NetworkSettings
from systwise.learn.training._game import Descent, TrainingSettings
from systwise.learn.training._schedule import learning_rates
from systwise.learn.training._training import train
from systwise.random import named_key
from systwise.study import resolve_settings, run_study
from systwise.study.plan._plan import make_plan

FEATURES = 8
ROWS = 250_000
PART = 250_000
SHAPES = ((3, 64, 512), (3, 64, 4096), (10, 64, 4096))
"""Layers, width and batch of the networks trained."""
ANALYSIS = {
    "General": {"POI": "mu"},
    "Regions": [{"Features": [f"x{i}" for i in range(FEATURES)]}],
    "Samples": [
        {"Name": "Signal", "SamplePath": "signal.parquet", "Weight": "w"},
        {"Name": "Background", "SamplePath": "background.parquet", "Weight": "w"},
    ],
    "NormFactors": [{"Name": "mu", "Samples": "Signal"}],
    "Systematics": [
        {"Name": "scale", "Function": "moves:scale"},
        {"Name": "theory", "Kind": "theory", "Up": {"Weight": "w_up"}, "Down": {"Weight": "w_down"}},
    ],
}
FUNCTION = """
def scale(columns, z):
    return {"x0": columns["x0"] * (1 + 0.05 * z)}
"""


def write_events(folder: Path, events: int) -> None:
    """Write two samples of `events` in all, block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "moves.py").write_text(FUNCTION)
    (folder / "my.yaml").write_text(json.dumps(ANALYSIS))
    for number, name in enumerate(("signal", "background")):
        random = np.random.default_rng(number)
        writer = None
        for _ in range(events // (2 * ROWS)):
            x = random.normal(0.4 * (1 - number), 1, (FEATURES, ROWS)).astype(np.float32)
            w = np.full(ROWS, (100 if number == 0 else 1000) / (events / 2), np.float32)
            values = {f"x{i}": x[i] for i in range(FEATURES)}
            values |= {"w": w, "w_up": w * np.exp(0.1 + 0.02 * x[1]), "w_down": w * np.exp(-0.1 - 0.02 * x[1])}
            table = pa.table(values)
            writer = writer or pa.parquet.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def overrides(**more: object) -> dict:
    """Return the settings of the study."""
    return {
        "strategies": ["nominal", "aware"],
        "training": {"passes": 1, "minimum_steps": 64, "patience": None},
        "binning": {"names": ["optimised"]},
        "fit": {"observables": ["binned"], "conventions": ["poisson"]},
        "inference": {"points": "none"},
        "true": [{}],
        "split": {"scheme": "third"},
        **more,
    }


def throughput(events: int, rounds: int) -> None:
    """Print events a second from disk and from memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder), events)
        stream = StreamSettings(above=0, part=PART, sample=PART)
        settings = resolve_settings(f"{folder}/my.yaml", overrides=overrides(stream=stream.model_dump()))
        begin = time.perf_counter()
        plan = make_plan(f"{folder}/my.yaml", settings, no_progress)
        speed = events / (time.perf_counter() - begin)
        print(f"{events:,} events dealt to {len(plan.store.rows)} parts at {speed:,.0f}/s")
        whole = plan.store.head(events)
        split = SplitSettings(scheme="third")
        streamed = Problem(plan.case, plan.table, plan.split, store=plan.store, split_settings=split)
        print("layers width batch   from memory     from disk   ratio (median of pairs)")
        for layers, width, batch in SHAPES:
            lesson = lesson_of(streamed, 0, streamed.nominal_draw())
            rows = split_part(whole, split, "third").training(0)
            resident = dataclasses.replace(lesson, feed=TableFeed(whole, rows))
            training = TrainingSettings(batch=batch, patience=None, evaluations=1)
            network = blind_network(
                NetworkSettings(layers=layers, width=width), streamed, lesson.training, named_key(0, "n")
            )
            # A pass and a half: parts are read, and read again.
            steps = max(64, int(1.5 * len(rows) / batch) // 64 * 64)
            controls = learning_rates(training, steps)[:, None]
            speeds: dict[str, list[float]] = {"memory": [], "disk": []}
            for _ in range(rounds + 1):
                for name, one in (("memory", resident), ("disk", lesson)):
                    begin = time.perf_counter()
                    train(Descent(training), network, one, controls, 0, ("train", 0), no_progress)
                    speeds[name].append(steps * batch / (time.perf_counter() - begin))
            pairs = [d / m for m, d in zip(speeds["memory"][1:], speeds["disk"][1:], strict=True)]
            medians = [statistics.median(values[1:]) for values in speeds.values()]
            ratio = f"{statistics.median(pairs):.2f}  ({min(pairs):.2f} to {max(pairs):.2f})"
            print(f"{layers:6d} {width:5d} {batch:5d} {medians[0]:11,.0f}/s {medians[1]:11,.0f}/s   {ratio}")


def memory(events: tuple[int, ...]) -> None:
    """Print the largest memory of studies of more and more events."""
    print("   events   largest memory   seconds   sigma(mu) nominal")
    for count in events:
        done = subprocess.run(
            [sys.executable, __file__, "one", "--events", str(count)], capture_output=True, text=True, check=True
        )
        print(done.stdout.strip().splitlines()[-1], flush=True)


def one(events: int) -> None:
    """Run one study and print its line."""
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder), events)
        stream = {"above": 0, "part": PART, "sample": 500_000}
        settings = resolve_settings(f"{folder}/my.yaml", overrides=overrides(stream=stream))
        begin = time.perf_counter()
        results = run_study(f"{folder}/my.yaml", settings, Path(folder) / "out")
        seconds = time.perf_counter() - begin
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{events:9,d} {largest:12,.0f} MiB {seconds:9.0f}   {results.measurements[0].sigma:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["throughput", "memory", "one"])
    parser.add_argument("--events", type=int, nargs="+", default=None)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SYSTWISE_CACHE"] = cache
        if given.what == "throughput":
            throughput((given.events or [2_000_000])[0], given.rounds)
        elif given.what == "memory":
            memory(tuple(given.events or (1_000_000, 2_000_000, 4_000_000)))
        else:
            one(given.events[0])
