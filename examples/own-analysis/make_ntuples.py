"""Make the ROOT files of the example: a Higgs-like signal over two backgrounds, in a tau and a lepton."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import uproot

EXPECTED = {"Signal": 300.0, "Ztautau": 6000.0, "Top": 1500.0}
MASSES = {"Signal": (85.0, 15.0), "Ztautau": (62.0, 11.0), "Top": (90.0, 35.0)}
"""Mean and width of the visible mass, in GeV."""


def draw(process: str, count: int, seed: int, smearing: float = 1.0) -> dict[str, np.ndarray]:
    """Return the columns of `count` events; `smearing` changes the missing energy of the same events."""
    random = np.random.default_rng([seed, sorted(EXPECTED).index(process)])
    mean, width = MASSES[process]
    mass = np.abs(random.normal(mean, width, count)) + 10.0
    tau_pt = 20.0 + random.exponential(0.35 * mass)
    lep_pt = 20.0 + random.exponential(0.25 * mass)
    true_met = random.exponential({"Signal": 28.0, "Ztautau": 16.0, "Top": 45.0}[process], count)
    met = np.abs(true_met + smearing * random.normal(0, 12.0, count))
    jets = random.poisson({"Signal": 0.9, "Ztautau": 0.5, "Top": 2.2}[process], count)
    # The scale weights grow with the missing energy and have a spread of their own.
    slope = 0.04 + 0.001 * (true_met - 25.0) + 0.01 * random.normal(size=count)
    score = 1 / (1 + np.exp(-(mass - 75.0) / 12.0 - (met - 25.0) / 25.0 + 0.8 * jets))
    return {
        "event": np.arange(count, dtype=np.int64),
        "tau_pt": tau_pt,
        "lep_pt": lep_pt,
        "mass": mass,
        "met": met,
        "njets": jets.astype(np.int32),
        "weight": np.full(count, EXPECTED[process] / count) * random.choice([0.8, 1.2], count),
        "weight_scale_up": np.exp(slope),
        "weight_scale_down": np.exp(-0.9 * slope),
        "my_score": score,
    }


def write(folder: Path, events: int) -> None:
    """Write the nominal files and those with the resolution of the missing energy up and down."""
    folder.mkdir(parents=True, exist_ok=True)
    for process in EXPECTED:
        for label, smearing in (("", 1.0), ("_met_up", 1.25), ("_met_down", 0.8)):
            columns = draw(process, events, 1, smearing)
            with uproot.recreate(folder / f"{process}{label}.root") as file:
                file.mktree("events", {name: values.dtype for name, values in columns.items()})
                file["events"].extend(columns)


if __name__ == "__main__":
    write(Path(__file__).parent / "ntuples", int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
