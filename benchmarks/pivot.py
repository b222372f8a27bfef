"""What decorrelation costs: the adversarial strategies on the Gaussian toy against their strength lambda.

    python benchmarks/pivot.py

For each adversary and lambda: Kolmogorov-Smirnov distance of the background score between pi/4 and pi/2
(and its ratio to the baseline's), area under the ROC curve and profiled sigma(mu) over the bound at both
angles in the optimised binning. The row `paper` has the paper's adversary, lambda and pivot classes in our
network and training.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from systwise.study import resolve_settings, run_study

PAPER = {
    "adversary": "regression",
    "lambda": 0.2,
    "pivot_on": "both",
    "pretrain_classifier": 0.0,
    "pretrain_adversary": 0.0,
}


def row(name: str, over: dict, seed: int, baseline: float | None) -> float:
    """Train, measure, print; return the KS distance."""
    settings = {
        "strategies": ["nominal" if name == "nominal" else "adversarial"],
        "strategy": {"adversarial": over} if over else {},
        "binning": {"names": ["optimised"]},
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        results = run_study("gaussian-toy", resolve_settings("gaussian-toy", overrides=settings), Path(folder) / "out")
    first, second = results.measurements
    ks = second.ks_background
    ratio = 1.0 if baseline is None else ks / baseline
    sigmas = f"{first.sigma / first.bound:>12.3f}{second.sigma / second.bound:>12.3f}"
    print(f"{name:<26}{seed:>5}{ks:>9.4f}{ratio:>9.3f}{first.auc:>9.4f}{second.auc:>9.4f}{sigmas}", flush=True)
    return ks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 3.0, 10.0, 30.0])
    parser.add_argument("--seeds", type=int, default=3, help="seeds at the default strength")
    arguments = parser.parse_args()
    columns = ("KS", "ratio", "AUC pi/4", "AUC pi/2")
    print(
        f"{'training':<26}{'seed':>5}" + "".join(f"{c:>9}" for c in columns) + f"{'sig/b pi/4':>12}{'sig/b pi/2':>12}"
    )
    base = row("nominal", {}, 0, None)
    for strength in arguments.strengths:
        row(f"mixture lambda={strength:g}", {"lambda": strength}, 0, base)
    for seed in range(1, arguments.seeds):
        row("mixture, default lambda", {}, seed, base)
    for strength in arguments.strengths[1::2]:
        row(f"regression lambda={strength:g}", {"lambda": strength, "adversary": "regression"}, 0, base)
    row("paper", PAPER, 0, base)
