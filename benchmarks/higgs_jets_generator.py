"""Validate the generator of Higgs + jets: cross sections, spectra and couplings against known numbers, and its speed.

    python benchmarks/higgs_jets_generator.py

`known` is a published number, the result of an independent program (its statistical error, where it is
known, enters the pull), or for the spectrum of h j a three-dimensional Gauss-Legendre quadrature of the
same squared amplitudes and densities, good to 1e-4. A pull is the difference over both errors; a
ratio of sums over the same events, or a number of another setup, is shown with its relative difference.
Needs the parton densities that pythia8mc installs.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from typing import Literal

from systwise.cases.higgs_jets._generator import generate
from systwise.cases.higgs_jets._generator_settings import SCALES, GeneratorSettings
from systwise.cases.higgs_jets._sample import Sample

EDGES = [30, 50, 75, 100, 150, 200, 300, 400, 500, 600, 800, 1000]
SPECTRUM = [6044.6, 2825.5, 1228.7, 963.93, 325.06, 175.49, 33.184, 7.9409, 2.2717, 1.0123, 0.1501]
"""Standard Model, fb a bin, by quadrature."""
RATIOS = {
    (0, 1): [0.9429, 0.9486, 0.9571, 0.9686, 0.9965, 1.1425, 1.5785, 2.2391, 3.1280, 4.6468, 8.0580],
    (0.8, 0.2): [0.9884, 0.9894, 0.9908, 0.9921, 0.9947, 1.0197, 1.0905, 1.1868, 1.3022, 1.4735, 1.8075],
    (0.6, 0.4): [0.9769, 0.9790, 0.9820, 0.9850, 0.9916, 1.0437, 1.1935, 1.4039, 1.6660, 2.0734, 2.9143],
    (1.2, -0.2): [1.0117, 1.0107, 1.0094, 1.0087, 1.0075, 0.9847, 0.9221, 0.8436, 0.7595, 0.6529, 0.4918],
}
"""(c_t, c_g) over the Standard Model in the same bins: quadrature for (0, 1), the independent program for others."""
HIGGS_EDGES = [0, 100, 200, 300, 400, 600, 1000]
HIGGS_SPECTRUM = [3206, 1769, 371.0, 89.2, 32.7, 4.42]
"""h j j, Standard Model, fb a bin of the Higgs boson's pT, by the independent program (errors unknown)."""
HIGGS_RATIOS = {
    (0.8, 0.2): [0.990, 0.992, 1.012, 1.074, 1.188, 1.465],
    (0.6, 0.4): [0.980, 0.985, 1.026, 1.156, 1.403, 2.044],
    (1.2, -0.2): [1.010, 1.008, 0.991, 0.934, 0.840, 0.650],
    (0, 1): [0.950, 0.966, 1.083, 1.453, 2.213, 4.470],
}


def row(what: str, known: float, measured: tuple[float, float], error: float = 0.0) -> None:
    """Print a known and a measured number with their pull."""
    value, own = measured
    pull = (value - known) / math.hypot(own, error)
    print(f"| {what:<44} | {known:>10.5g} | {value:>10.5g} ± {own:<8.2g} | {pull:>+6.1f} |", flush=True)


def same(what: str, known: float, value: float) -> None:
    """Print a ratio over the same events with its relative difference."""
    print(f"| {what:<44} | {known:>10.4f} | {value:>10.4f} {'':<10} | {100 * (value / known - 1):>+5.2f}% |")


def head(title: str) -> None:
    """Print the head of a table."""
    print(f"\n**{title}**\n\n| | known | measured | pull |\n|---|---|---|---|")


def timed(process: Literal["hj", "hjj"], events: int, settings: GeneratorSettings | None = None) -> Sample:
    """Generate, and print the speed."""
    begin = time.perf_counter()
    sample = generate(process, events, 1, settings)
    seconds = time.perf_counter() - begin
    tail = (sample.feature("pt_j1") > 400).mean()
    print(
        f"\n{process}: {events} events in {seconds:.1f} s, {events / seconds:.0f} events/s with {len(SCALES)} scales;"
    )
    print(f"effective fraction {sample.effective_fraction:.3f}, events above 400 GeV {tail:.3f}")
    return sample


def one_jet(events: int) -> None:
    """Show h j."""
    sample = timed("hj", events)
    head("p p -> h j, 13 TeV, pT > 30 GeV, |y_j| < 4.5, pb")
    totals = {(1, 0): 11.6078, (0.8, 0.2): 11.4966, (0.6, 0.4): 11.3899, (1.2, -0.2): 11.7236, (0, 1): 11.0970}
    for (c_t, c_g), known in {**totals, (1, 0.1): 13.9836, (0.9, 0): 9.4023}.items():
        row(f"(c_t, c_g) = ({c_t}, {c_g})", known, sample.cross_section(c_t, c_g))
    row("half the scale", 16.4114, sample.cross_section(1, 0, 1))
    row("twice the scale", 8.4091, sample.cross_section(1, 0, 2))
    slope, error = sample.blind_slope()
    row("blind slope dc_g/dc_t", -1.02505, (slope, error))
    head("h j in bins of pT, Standard Model, fb; ratios to it")
    for index, (low, high) in enumerate(pairwise(EDGES)):
        inside = (sample.feature("pt_j1") >= low) & (sample.feature("pt_j1") < high)
        value, error = sample.cross_section(1, 0, where=inside)
        row(f"{low}-{high} GeV", SPECTRUM[index], (1000 * value, 1000 * error))
        for (c_t, c_g), ratios in RATIOS.items():
            same(
                f"{low}-{high} GeV ({c_t}, {c_g})", ratios[index], sample.cross_section(c_t, c_g, 0, inside)[0] / value
            )


def published(events: int) -> None:
    """Show the setup of arXiv:1802.00349."""
    settings = GeneratorSettings(
        jet_eta=20.0, top_mass=173.055, pdf="NNPDF31_nlo_as_0118_luxqed_0000", alpha_s_loops=2, scale="half-ht"
    )
    sample = timed("hj", events, settings)
    head("p p -> h j, no rapidity cut, mu = H_T/2; an independent program with the same densities, pb")
    row("full top mass", 8.546, sample.cross_section(1, 0), 0.015)
    row("heavy top", 8.203, sample.cross_section(0, 1), 0.015)
    head("the same; arXiv:1802.00349, which has other densities (PDF4LHC15), pb")
    same("full top mass", 8.57, sample.cross_section(1, 0)[0])
    same("heavy top", 8.22, sample.cross_section(0, 1)[0])
    same("full, half the scale", 8.57 + 3.31, sample.cross_section(1, 0, 1)[0])
    same("full, twice the scale", 8.57 - 2.24, sample.cross_section(1, 0, 2)[0])


def two_jets(events: int) -> None:
    """Show h j j."""
    sample = timed("hjj", events)
    head("p p -> h j j, R > 0.4, mu = sqrt(pT1 pT2), pb (known to 0.010)")
    totals = {(1, 0): 5.473, (0.8, 0.2): 5.446, (0.6, 0.4): 5.424, (1.2, -0.2): 5.504, (0, 1): 5.382}
    for (c_t, c_g), known in totals.items():
        row(f"(c_t, c_g) = ({c_t}, {c_g})", known, sample.cross_section(c_t, c_g), 0.010)
    row("half the scale", 9.057, sample.cross_section(1, 0, 1), 0.017)
    row("twice the scale", 3.454, sample.cross_section(1, 0, 2), 0.007)
    row("blind slope dc_g/dc_t", -1.013, sample.blind_slope(), 5e-4)
    head("h j j in bins of the Higgs boson's pT, Standard Model, fb; ratios to it")
    for index, (low, high) in enumerate(pairwise(HIGGS_EDGES)):
        inside = (sample.feature("pt_h") >= low) & (sample.feature("pt_h") < high)
        value, error = sample.cross_section(1, 0, where=inside)
        row(f"{low}-{high} GeV", HIGGS_SPECTRUM[index], (1000 * value, 1000 * error))
        for (c_t, c_g), ratios in HIGGS_RATIOS.items():
            same(
                f"{low}-{high} GeV ({c_t}, {c_g})", ratios[index], sample.cross_section(c_t, c_g, 0, inside)[0] / value
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_500_000, help="events of each process")
    arguments = parser.parse_args()
    one_jet(arguments.events)
    published(arguments.events // 3)
    two_jets(arguments.events)
