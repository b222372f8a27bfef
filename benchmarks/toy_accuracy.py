"""How close the Gaussian toy comes to what is known: the Cramér-Rao bound and the paper's settings.

    python benchmarks/toy_accuracy.py            # learned aware classifier against the bound, three seeds
    python benchmarks/toy_accuracy.py --paper    # exact scores with --preset paper against exact templates

The first part prints ratios to the bound in the optimised binning; the second ratios to numbers that were
computed from exact normal distributions (arXiv:2105.08742's toy, 10 uniform bins). Templates are Monte
Carlo: their noise is part of what is measured here.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from systwise.study import Results, resolve_settings, run_study

PI_4, PI_2 = 0.785, 1.571
GRID = {  # profiled on the paper's grid of angles
    ("optimal_nominal", "any", PI_4): 0.0873,
    ("optimal", "loggamma", PI_4): 0.0886,
    ("optimal_nominal", "any", PI_2): 0.1507,
    ("optimal", "loggamma", PI_2): 0.0982,
}
CONTINUOUS = {
    ("optimal_nominal", "any", PI_4): 0.0902,
    ("optimal_nominal", "any", PI_2): 0.169,
    ("optimal", "drop", PI_4): 0.0867,
    ("optimal", "poisson", PI_4): 0.0895,
    ("optimal", "deviance", PI_4): 0.0902,
    ("optimal", "loggamma", PI_4): 0.0910,
    ("optimal", "drop", PI_2): 0.0867,
    ("optimal", "poisson", PI_2): 0.0915,
    ("optimal", "deviance", PI_2): 0.0917,
    ("optimal", "loggamma", PI_2): 0.0920,
}


def study(**settings) -> Results:
    """Run a study into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        return run_study("gaussian-toy", resolve_settings("gaussian-toy", **settings), Path(folder) / "out")


def learned(seeds: int) -> None:
    """Print the aware classifier's sigma over the bound."""
    results = study(overrides={"strategies": ["nominal", "aware", "optimal"], "seeds": seeds})
    print(f"{'strategy':<10}{'seed':>5}{'angle':>8}{'bins':>6}{'stat-only / bound':>20}{'profiled / bound':>18}")
    for m in results.measurements:
        if m.binning == "optimised" and m.convention == "poisson":
            ratios = f"{m.sigma_stat_only / m.bound:>20.4f}{m.sigma / m.bound:>18.4f}"
            print(f"{m.strategy:<10}{m.seed:>5}{m.true['angle']:>8.3f}{m.bins:>6}{ratios}  {m.verdict}")


def paper(events: int) -> None:
    """Print the exact scores' sigma over that of exact templates."""
    for title, grid, table in (("the paper's grid", "paper", GRID), ("continuous profile", None, CONTINUOUS)):
        over = {"strategies": ["optimal", "optimal_nominal"], "case": {"events": events}, "fit": {"grid": grid}}
        results = study(preset="paper", overrides=over)
        print(f"\n{title}\n{'strategy':<18}{'convention':<12}{'angle':>8}{'sigma':>10}{'exact':>10}{'ratio':>9}")
        for m in results.measurements:
            convention = m.convention if m.observable == "moving" else "any"
            exact = table.get((m.strategy, convention, round(m.true["angle"], 3)))
            if exact is not None:
                row = f"{m.true['angle']:>8.3f}{m.sigma:>10.4f}{exact:>10.4f}{m.sigma / exact:>9.4f}"
                print(f"{m.strategy:<18}{convention:<12}{row}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="the paper's settings, exact scores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--events", type=int, default=24_000_000, help="simulated events of --paper")
    arguments = parser.parse_args()
    paper(arguments.events) if arguments.paper else learned(arguments.seeds)
