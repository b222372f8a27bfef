"""Show that memory holds the event table and little else: training and templates on millions of events.

Run `python benchmarks/memory.py`. A child process makes a table of 5 million events with 30 features,
trains a fixed and a moving strategy on it for a fraction of a pass, scores the test events at five
anchors and builds templates; the peak of its resident memory is printed after each stage. A second
child does the same with half the events: the difference is what grows with them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from systwise.cases import AbstractCase, Progress, StudyDefaults, no_progress
from systwise.events import AbstractVariation, Events, EventTable, Exactness, SplitSettings, check_events, split_events
from systwise.learn import STRATEGIES, Problem
from systwise.parameters import (
    AbstractConstraint,
    Components,
    GaussianConstraint,
    Nuisance,
    signal_strength,
    uniform_anchors,
)
from systwise.settings import Settings, validate
from systwise.templates import anchor_pairs, build_templates, score, uniform_edges, yields

LIMIT = 4.0
"""Resident memory that 5 million events of 30 features may take, GiB."""


class SyntheticSettings(Settings):
    """Size of the synthetic problem."""

    events: int = Field(5_000_000, ge=1000)
    """Events, half of them signal."""
    features: int = Field(30, ge=1)
    """Features, the first few of which separate and are shifted."""


class _Scale(AbstractVariation):
    """Scale the first features, as an energy scale does."""

    nuisance: str = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply the first `columns` features by z."""
        scaled = jnp.arange(events.features.shape[1]) < self.columns
        return eqx.tree_at(lambda e: e.features, events, events.features * jnp.where(scaled, z[:, None], 1.0))


class SyntheticCase(AbstractCase):
    """Gaussian features of any number, of which a few are shifted for signal and scaled by a nuisance."""

    name = "synthetic"
    summary = "Gaussian features for measuring time and memory"
    settings_class = SyntheticSettings
    settings: SyntheticSettings

    @property
    def features(self) -> tuple[str, ...]:
        """Numbered features."""
        return tuple(f"x{i}" for i in range(self.settings.features))

    @property
    def components(self) -> Components:
        """Signal and background."""
        return signal_strength()

    @property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """A scale with five anchors."""
        return (Nuisance("scale", 1.0, (0.8, 1.2), (0.8, 1.2), uniform_anchors(0.8, 1.2, 5)),)

    @property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """Known to a tenth."""
        return (GaussianConstraint("scale", 0.1),)

    @property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The scale."""
        return (_Scale("scale", min(5, self.settings.features)),)

    @property
    def defaults(self) -> StudyDefaults:
        """The nominal point and the end of the range."""
        return StudyDefaults(({"scale": 1.0}, {"scale": 1.2}), 20, 20, (0.8, 1.0, 1.2))

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Draw the events in place: one table, no temporary of its size."""
        count = self.settings.events
        features = np.empty((count, self.settings.features), np.float32)
        np.random.Generator(np.random.Philox(key=seed)).standard_normal(dtype=np.float32, out=features)
        features[:, : min(5, features.shape[1])] += 2.0
        features[1::2, : min(5, features.shape[1])] += 0.7
        weights = np.zeros((count, 2), np.float32)
        weights[1::2, 0] = 500 / (count // 2)
        weights[::2, 1] = 50_000 / (count - count // 2)
        return EventTable(
            features=features,
            weights=weights,
            process=(np.arange(count) % 2).astype(np.int8),
            id=np.arange(count, dtype=np.int64),
            feature_names=self.features,
            component_names=self.components.names,
            processes=("background", "signal"),
            source="generated",
            fingerprint=f"synthetic {self.settings.model_dump_json()} {seed}",
        )


def peak() -> float:
    """Return the highest resident memory of this process so far, GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def measure(events: int, features: int, passes: float) -> None:
    """Go through all stages and print the peak after each as a line of JSON."""

    def report(stage: str) -> None:
        print(json.dumps([stage, peak()]), flush=True)

    report("imports")
    case = SyntheticCase(SyntheticSettings(events=events, features=features))
    table = check_events(case.load(0))
    report("table made and checked")
    split = split_events(table, SplitSettings(scheme="third"))
    report("split")
    problem = Problem(case, table, split)
    true = [{"scale": 1.2}]
    test, everything = np.flatnonzero(split.template), np.arange(len(table))
    for name in ("nominal", "aware"):
        strategy = validate(STRATEGIES.get(name), {"training": {"passes": passes, "batch": 4096}})
        observable = strategy.fit(problem, 0).observable
        report(f"{name}: trained")
        pairs = anchor_pairs(case.nuisances, true, observable.moving)
        scores = score(observable, case, table, test, split.scorer, pairs)
        report(f"{name}: scored at {len(pairs)} pairs of true and assumed value")
        totals = yields(case, table, everything, pairs.z_true)
        templates = build_templates(
            scores,
            uniform_edges(10),
            case.components,
            case.nuisances,
            totals=totals,
            true_points=true,
            moving=observable.moving,
        )
        report(f"{name}: templates of {templates.bins} bins ({'moving' if templates.moving else 'fixed'})")


def stages(events: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the peak after each stage, measured in a process of its own."""
    command = [sys.executable, __file__, "--child", "--events", str(events)]
    command += ["--features", str(options.features), "--passes", str(options.passes)]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(line) for line in child.stdout.splitlines())


def main() -> None:
    """Print the peaks of both sizes and what grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5_000_000, help="events of the larger table")
    parser.add_argument("--features", type=int, default=30, help="features of an event")
    parser.add_argument("--passes", type=float, default=0.3, help="passes of each training over its events")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.events, options.features, options.passes)
        return
    large, small = stages(options.events, options), stages(options.events // 2, options)
    print(f"{'peak of resident memory, GiB':55}{options.events // 2:>14,}{options.events:>14,}{'bytes an event':>16}")
    for stage, value in large.items():
        slope = (value - small[stage]) * 2**30 / (options.events - options.events // 2)
        print(f"{stage:55}{small[stage]:14.2f}{value:14.2f}{slope:16.0f}")
    row = 4 * (options.features + 2) + 1 + 8
    print(f"the table itself takes {row} bytes an event, {row * options.events / 2**30:.2f} GiB")
    reached = max(large.values())
    print(f"peak {reached:.2f} GiB, {reached / LIMIT:.2f} of {LIMIT:g} GiB (target: at most 1)")


if __name__ == "__main__":
    main()
