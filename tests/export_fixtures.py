"""Templates of a shifted exponential-like score, computed and not drawn, for the tests of exports."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from systwise.parameters import Components, GaussianConstraint, Normalisation, Nuisance, signal_strength
from systwise.study import StoredTemplates
from systwise.templates import Templates

EDGES = np.linspace(0, 1, 7)
RATE = Nuisance("rate", 0.0, (-5.0, 5.0), (-1.0, 1.0), (-5.0, 5.0), kind="norm")


def shape(anchors=(-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0), name="shift"):
    return Nuisance(name, 0.0, (anchors[0], anchors[-1]), (-1.0, 1.0), tuple(anchors))


def contents(z: float, size: float = 0.02) -> np.ndarray:
    """Return `[component, bin]`: two Gaussians on (0, 1) whose means move by `size` a standard deviation."""
    means, widths, totals = (0.7, 0.35), (0.15, 0.2), (60.0, 1000.0)
    rows = [
        total * np.diff(norm.cdf(EDGES, mean + size * z, width))
        for mean, width, total in zip(means, widths, totals, strict=True)
    ]
    return np.array(rows)


def stored(nuisance: Nuisance | None = None, points=({},), size=0.02, moving=False, **changes) -> StoredTemplates:
    """Return templates of a strategy that nobody trained."""
    nuisance = nuisance or shape()
    counts = np.array([contents(z, size) for z in nuisance.anchors])
    components: Components = changes.pop("components", signal_strength())
    full = [{"mu": 1.0, nuisance.name: nuisance.nominal, "rate": 0.0, **point} for point in points]
    observable = changes.pop("observable", "moving" if moving else "fixed")
    templates = Templates(
        edges=EDGES,
        nuisances=(nuisance.name,),
        component_names=components.names,
        anchors=(np.array(nuisance.anchors),),
        counts=(counts,),
        variances=(counts * 0.05,),
        moving=moving,
        true_points=np.array([[p[nuisance.name], p["rate"]] for p in full]),
        truth=np.array([contents(p[nuisance.name], size) for p in full]),
        at_true=(),
        observable=observable,
    )
    values = {
        "case": "none",
        "strategy": "nominal",
        "seed": 0,
        "binning": "uniform",
        "components": components,
        "nuisances": (nuisance, RATE),
        "constraints": tuple(
            {"kind": GaussianConstraint.__name__, "nuisance": name, "width": 1.0} for name in (nuisance.name, "rate")
        ),
        "normalisations": (Normalisation("rate", ("background",), "lognormal", up=1.05),),
        "points": tuple(full),
        "convention": "poisson",
        "simulation": False,
        "templates": templates,
    }
    return StoredTemplates(**{**values, **changes})


def save_run(folder, *found: StoredTemplates):
    """Write a run directory with nothing but templates in it."""
    (folder / "templates").mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    for one in found:
        one.save(folder / "templates" / f"{one.strategy}-{one.observable}-{one.binning}-seed{one.seed}.npz")
    return folder
