"""What a score separates, how far nuisances move it, and how both change with the strength of a penalty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.study.significance._hypotheses import Hypotheses
from systwise.study.significance._plots import SignificanceTradeOff
from systwise.study.significance._records import ClassifierRecord, FakeRecord, SignificanceRecord
from systwise.study.significance._region_table import RegionTable
from systwise.templates import ks_distance


def binned_auc(signal: Float64[np.ndarray, " bin"], background: Float64[np.ndarray, " bin"]) -> float:
    """Return the area under the ROC curve, `P(signal above background) + P(same bin) / 2`.

    Args:
        signal: contents in increasing order of the score.
        background: the same.

    Raises:
        TemplateError: a histogram has no positive total.

    >>> binned_auc(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    0.75
    """
    if not (signal.sum() > 0 and background.sum() > 0):
        raise TemplateError("area under the ROC curve: two histograms with positive totals are needed")
    below = np.cumsum(background) - background
    return float(signal @ (below + background / 2) / (signal.sum() * background.sum()))


def describe_classifier(
    table: RegionTable,
    strategy: str,
    seed: int,
    theta: tuple[float, ...],
    hypotheses: Hypotheses,
    strength: float | None,
) -> ClassifierRecord:
    """Return separation and residual dependence on nuisances of one score.

    Separation is at one sample-wide value, the reference's: a score that is told another one for every hypothesis
    would separate data sets, not events. For its dependence on nuisances a score is told the value at these
    nuisances, whatever the significances tell it: it is this that a network which forgets them has to forget.

    Args:
        table: its histograms.
        strategy: labels.
        seed: labels.
        theta: alternative that is separated from the reference.
        hypotheses: the reference, and what the score is told in the significances.
        strength: of the adversary or penalty.
    """
    nominal = table.expected(hypotheses.reference)

    def moved(numbers: Sequence[int]) -> list[Float64[np.ndarray, " bin"]]:
        return [table.expected(hypotheses.reference, number) for number in numbers]

    anchors, holdouts = moved(table.moved), moved(table.holdouts)
    auc = binned_auc(table.expected(theta, s=table.rate(hypotheses.reference)), nominal)
    return ClassifierRecord(
        strategy=strategy,
        seed=seed,
        region=table.name,
        told=hypotheses.settings.told if len(table.sample_values) > 1 else "nothing",
        strength=strength,
        point=hypotheses.named(theta),
        # Which end of the score is the alternative's depends on the training.
        auc=max(auc, 1 - auc),
        ks=max((ks_distance(nominal, other) for other in anchors), default=0.0),
        ks_holdout=max((ks_distance(nominal, other) for other in holdouts), default=None),
        rate=max((abs(other.sum() / nominal.sum() - 1) for other in anchors), default=0.0),
    )


def trade_offs(
    significances: Sequence[SignificanceRecord],
    fakes: Sequence[FakeRecord],
    classifiers: Sequence[ClassifierRecord],
    strengths: Mapping[str, float],
) -> tuple[SignificanceTradeOff, ...]:
    """Return the curves of every family of strategies `name@...` with two strengths or more.

    A strategy of strength 0, trained without adversary or penalty, starts the curves of its family, or of every family
    that has none of its own.

    Args:
        significances: records of one seed.
        fakes: the same.
        classifiers: the same; their point is the one whose significance is drawn.
        strengths: strategy to strength.
    """
    free = [name for name, value in strengths.items() if value == 0]
    families = dict.fromkeys(name.split("@")[0] for name, value in strengths.items() if value != 0)
    curves = []
    for family in families:
        start = [name for name in free if name.split("@")[0] == family] or free
        members = [*start, *(n for n, value in strengths.items() if value != 0 and n.split("@")[0] == family)]
        known = [name for name in members if any(r.strategy == name for r in classifiers)]
        known = sorted(known, key=lambda name: strengths[name])
        if len(known) < 2:
            continue
        for regions in {tuple(r.regions): None for r in significances}:
            own = {name: [r for r in classifiers if r.strategy == name and r.region in regions] for name in known}
            chosen = [r for r in significances if tuple(r.regions) == regions]
            wrong = [f for f in fakes if tuple(f.regions) == regions]
            point = classifiers[0].point
            curves.append(
                SignificanceTradeOff(
                    strategy=family,
                    seed=classifiers[0].seed,
                    regions=regions,
                    point=point,
                    strength=np.array([strengths[name] for name in known]),
                    auc=np.array([np.mean([r.auc for r in own[name]]) for name in known]),
                    ks=np.array([max(r.ks for r in own[name]) for name in known]),
                    fixed=np.array([_z(chosen, name, point, "fixed") for name in known]),
                    profiled=np.array([_z(chosen, name, point, "profiled") for name in known]),
                    fake=np.array([_largest_fake(wrong, name, "fixed") for name in known]),
                    fake_shape=np.array([_largest_fake(wrong, name, "shape") for name in known]),
                )
            )
    return tuple(curves)


def _z(records: Sequence[SignificanceRecord], strategy: str, point: Mapping[str, float], nuisances: str) -> float:
    for r in records:
        if (r.strategy, r.nuisances, r.data, r.point) == (strategy, nuisances, "reference", point) and r.z is not None:
            return r.z
    return float("nan")


def _largest_fake(fakes: Sequence[FakeRecord], strategy: str, nuisances: str) -> float:
    """Return the largest faked significance along the line, 0 at the reference included, over all variations."""
    own = [f.z for f in fakes if (f.strategy, f.nuisances) == (strategy, nuisances) and f.z is not None]
    return max(0.0, *own) if own else float("nan")
