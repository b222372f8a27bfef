"""The choices of arXiv:2105.08742 that its two cases share, as a layer of study settings."""

from __future__ import annotations

from typing import Any

DEEP = {"layers": 10, "width": 64}


def paper_preset(case: dict[str, Any], strategy: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the paper's networks, training, grid, binning and likelihood convention.

    Ten layers of 64 units, batches of 4096, RMSprop with L2; two halves for the aware classifier; a
    regression adversary of both classes through gradient reversal of strength 0.2; uniform bins; the
    profile on the paper's grid of nuisance values with ln Gamma(n) kept. Learning rate and L2
    coefficient are ours.

    Args:
        case: settings of the case: range and anchors.
        strategy: settings of single strategies on top.
    """
    return {
        "case": case,
        "network": DEEP,
        "training": {"batch": 4096, "optimiser": "rmsprop", "learning_rate": 5e-4, "l2": 1e-6, "schedule": "constant"},
        "strategy": {
            "adversarial": {
                "adversary": "regression",
                "adversary_network": DEEP,
                "adversary_steps": 1,
                "pretrain_classifier": 0.0,
                "pretrain_adversary": 0.0,
                "lambda": 0.2,
                "pivot_on": "both",
            },
            "aware": {"halves": True},
            **(strategy or {}),
        },
        "binning": {"names": ["uniform"]},
        "fit": {"conventions": ["loggamma", "poisson", "drop", "deviance"], "grid": "paper"},
        "split": {"scheme": "third"},
    }
