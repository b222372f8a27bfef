"""Compare the training loop with PyTorch on CPU: the same network, batch, optimiser, loss and features.

Run `python benchmarks/training_throughput.py --torch-python PATH`, PATH being an interpreter that has
torch 2.13.0 (this one if it has). Both sides train a classifier with Adam and weighted binary
cross-entropy. PyTorch runs in a process of its own, with all events in memory as tensors and shuffled
batches of indices, and does nothing about nuisances; the better of one and two threads counts. Our side
is `systwise.learn`'s own loop: events gathered from the host table and streamed, a nuisance drawn and
applied for every event in every step, and a validation at the end. The two take turns; medians count.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SHAPES = ((10, 64, 4096, 29, 1.0), (10, 64, 4096, 2, 1.0), (3, 64, 512, 29, 2.0), (3, 64, 512, 2, 2.0))
"""Layers, width, batch, features, and the ratio to reach."""
EVENTS = 500_000
RATE = 1e-3


def torch_worker() -> None:
    """Answer requests on standard input: train with torch for a number of steps, print events a second."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    label = (torch.arange(EVENTS) % 2).float()
    data: dict[int, Any] = {}
    players: dict[tuple, Any] = {}
    print(json.dumps(torch.__version__), flush=True)
    for line in sys.stdin:
        *shape, steps, threads, fused = json.loads(line)
        layers, width, batch, features = shape
        torch.set_num_threads(threads)
        if features not in data:
            data[features] = torch.randn(EVENTS, features) + 0.3 * label[:, None]
        if tuple(shape) not in players:
            sizes = [features] + [width] * layers
            hidden = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
            network = nn.Sequential(*hidden, nn.Linear(width, 1))
            players[tuple(shape)] = network, torch.optim.Adam(network.parameters(), RATE, fused=fused or None)
        torch_steps(*players[tuple(shape)], data[features], label, batch, 3)
        begin = time.perf_counter()
        torch_steps(*players[tuple(shape)], data[features], label, batch, steps)
        print(json.dumps(steps * batch / (time.perf_counter() - begin)), flush=True)


def torch_steps(network: Any, optimiser: Any, features: Any, label: Any, batch: int, steps: int) -> None:
    """Train with torch, pass after pass in shuffled order."""
    import torch

    weight, order = torch.ones_like(label), torch.empty(0, dtype=torch.int64)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(len(label))])
        part, order = order[:batch], order[batch:]
        loss = loss_of(network(features[part]).squeeze(1), label[part], weight=weight[part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


class TorchProcess:
    """A process that trains with torch on request."""

    def __init__(self, interpreter: str, fused: bool) -> None:
        """Start it."""
        self._fused = fused
        # A thread pool of the parent's environment must not decide how many threads torch uses.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "PYTHONPATH"))}
        command = [interpreter, __file__, "--torch-worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self._process = subprocess.Popen(command, **pipes)
        self.version = self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the torch process ended; give an interpreter that has torch by --torch-python")
        return json.loads(line)

    def speed(self, shape: tuple[int, int, int, int], steps: int, threads: int) -> float:
        """Train and return events a second."""
        self._process.stdin.write(json.dumps([*shape, steps, threads, self._fused]) + "\n")
        self._process.stdin.flush()
        return self._answer()


def our_speeds(shape: tuple[int, int, int, int], steps: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return two measurements, both compiled: the whole loop as users get it, and the step alone.

    Each call trains for `steps` steps and returns events a second.
    """
    import jax
    import jax.numpy as jnp

    from memory import SyntheticCase, SyntheticSettings
    from systwise.cases import no_progress
    from systwise.events import SplitSettings, split_events
    from systwise.learn import NetworkSettings, Problem, TrainingSettings
    from systwise.learn._strategy import blind_network, lesson_of
    from systwise.learn.training._game import Descent
    from systwise.learn.training._schedule import CHUNK_STEPS
    from systwise.learn.training._training import train, train_chunk

    layers, width, batch, features = shape
    case = SyntheticCase(SyntheticSettings(events=EVENTS, features=features))
    table = case.load(0)
    problem = Problem(case, table, split_events(table, SplitSettings(scheme="third", validation=0.02)))
    lesson = lesson_of(problem, 0, problem.training_draw())
    chunks = max(2, -(-steps // CHUNK_STEPS))
    controls = np.full((chunks * CHUNK_STEPS, 1), RATE)
    game = Descent(TrainingSettings(batch=batch, weight_decay=0.0, evaluations=1, patience=None))
    start = blind_network(NetworkSettings(layers=layers, width=width), problem, lesson.training, jax.random.key(0))
    events = table.slice(lesson.training[: CHUNK_STEPS * batch])
    part, key = jnp.asarray(controls[:CHUNK_STEPS], jnp.float32), jax.random.key(1)

    def loop() -> float:
        begin = time.perf_counter()
        train(game, start, lesson, controls, 0, ("train",), no_progress)
        return len(controls) * batch / (time.perf_counter() - begin)

    def step() -> float:
        players, state = start, game.begin(start)
        begin = time.perf_counter()
        for _ in range(chunks):
            players, state, losses = train_chunk(
                game, case, lesson.task, lesson.draw, players, state, events, part, key
            )
        losses.block_until_ready()
        return len(controls) * batch / (time.perf_counter() - begin)

    loop(), step()
    return loop, step


def torch_interpreter(given: str | None) -> str:
    """Return the interpreter to run torch with."""
    if given:
        return given
    if importlib.util.find_spec("torch") is None:
        sys.exit("torch is not installed here; name an interpreter that has it by --torch-python")
    return sys.executable


def compare(torch: TorchProcess, shape: tuple[int, int, int, int], target: float, options: argparse.Namespace) -> None:
    """Measure one shape by turns and print its row."""
    batch = shape[2]
    steps = max(8, round(options.events / batch))
    loop, step = our_speeds(shape, steps)
    ours: list[float] = []
    bare: list[float] = []
    theirs: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.repeats):
        for threads, speeds in theirs.items():
            speeds.append(torch.speed(shape, steps, threads))
            ours.append(loop())
        bare.append(step())
    layers, width, _, features = shape
    medians = {threads: statistics.median(speeds) for threads, speeds in theirs.items()}
    reached, best = statistics.median(ours), max(medians.values())
    print(
        f"{f'{layers} x {width}, batch {batch}, {features} features':34}{reached / 1e3:10.0f}"
        f"{statistics.median(bare) / 1e3:12.0f}{medians[1] / 1e3:10.0f}{medians[2] / 1e3:10.0f}"
        f"{reached / best:9.2f}{target:9.1f}{max(ours) / max(map(max, theirs.values())):15.2f}",
        flush=True,
    )


def main() -> None:
    """Print one row a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="interpreter with torch 2.13.0 (default: this one)")
    parser.add_argument("--repeats", type=int, default=7, help="turns of which the median is taken")
    parser.add_argument("--events", type=int, default=400_000, help="events of one turn")
    parser.add_argument("--fused", action="store_true", help="let torch use its fused Adam instead of the default one")
    parser.add_argument("--torch-worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch_worker:
        torch_worker()
        return
    torch = TorchProcess(torch_interpreter(options.torch_python), options.fused)
    print(f"thousands of events a second; torch {torch.version}{', fused Adam' if options.fused else ''}")
    print(
        f"{'':34}{'systwise':>10}{'step alone':>12}{'torch 1t':>10}{'torch 2t':>10}{'ratio':>9}{'target':>9}"
        f"{'ratio of best':>15}"
    )
    for *shape, target in SHAPES:
        compare(torch, tuple(shape), target, options)


if __name__ == "__main__":
    main()
