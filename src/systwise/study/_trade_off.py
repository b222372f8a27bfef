"""What a score separates, how far the scale moves it, and how both change with the strength of a penalty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.study._channels import ChannelTable, Couplings
from systwise.study._hypothesis_tests import STANDARD_MODEL
from systwise.study._significance_plots import SignificanceTradeOff
from systwise.study._significance_records import ClassifierRecord, FakeRecord, SignificanceRecord
from systwise.study._significance_settings import Told
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
    table: ChannelTable, strategy: str, seed: int, theta: Couplings, told: Told, strength: float | None
) -> ClassifierRecord:
    """Return separation and residual scale dependence of one score.

    Separation is at one cross section, the standard model's: a score that is told another one for every hypothesis
    would separate data sets, not events. For its dependence on the scale a score is told the cross section at that
    scale, whatever the significances tell it: it is this that a network which forgets the scale has to forget.

    Args:
        table: its histograms.
        strategy: labels.
        seed: labels.
        theta: alternative that is separated from the standard model.
        told: cross section that the score is told in the significances.
        strength: of the adversary or penalty.
    """
    nominal_s = table.cross_section(STANDARD_MODEL, table.nominal)
    nominal = table.expected(STANDARD_MODEL, table.nominal)

    def moved(numbers: Sequence[int]) -> list[Float64[np.ndarray, " bin"]]:
        return [table.expected(STANDARD_MODEL, number) for number in numbers if number != table.nominal]

    anchors, holdouts = moved(table.anchor_index), moved(table.holdout_index)
    auc = binned_auc(table.expected(theta, table.nominal, nominal_s), table.expected(STANDARD_MODEL, table.nominal))
    return ClassifierRecord(
        strategy=strategy,
        seed=seed,
        channel=table.name,
        told=told if len(table.s_values) > 1 else "nothing",
        strength=strength,
        c_t=float(theta[0]),
        c_g=float(theta[1]),
        # Which end of the score is the alternative's depends on the training.
        auc=max(auc, 1 - auc),
        ks=max(ks_distance(nominal, other) for other in anchors),
        ks_holdout=max((ks_distance(nominal, other) for other in holdouts), default=None),
        rate=max(abs(other.sum() / nominal.sum() - 1) for other in anchors),
    )


def trade_offs(
    significances: Sequence[SignificanceRecord],
    fakes: Sequence[FakeRecord],
    classifiers: Sequence[ClassifierRecord],
    theta: Couplings,
    strengths: Mapping[str, float],
) -> tuple[SignificanceTradeOff, ...]:
    """Return the curves of every family of strategies `name@...` with two strengths or more.

    A strategy of strength 0, trained without adversary or penalty, starts the curves of its family, or of every family
    that has none of its own.

    Args:
        significances: records of one seed.
        fakes: the same.
        classifiers: the same.
        theta: the point whose significance is drawn.
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
        for channels in dict.fromkeys(r.channels for r in significances):
            parts = channels.split("+")
            own = {name: [r for r in classifiers if r.strategy == name and r.channel in parts] for name in known}
            curves.append(
                SignificanceTradeOff(
                    strategy=family,
                    seed=classifiers[0].seed,
                    channels=channels,
                    c_t=float(theta[0]),
                    c_g=float(theta[1]),
                    strength=np.array([strengths[name] for name in known]),
                    auc=np.array([np.mean([r.auc for r in own[name]]) for name in known]),
                    ks=np.array([max(r.ks for r in own[name]) for name in known]),
                    fixed=np.array([_z(significances, name, channels, theta, "fixed") for name in known]),
                    profiled=np.array([_z(significances, name, channels, theta, "profiled") for name in known]),
                    fake=np.array([largest_fake(fakes, name, channels, "fixed") for name in known]),
                    fake_shape=np.array([largest_fake(fakes, name, channels, "shape") for name in known]),
                )
            )
    return tuple(curves)


def _z(records: Sequence[SignificanceRecord], strategy: str, channels: str, theta: Couplings, scale: str) -> float:
    wanted = (strategy, channels, scale, "sm_data", theta[0], theta[1])
    for r in records:
        if (r.strategy, r.channels, r.scale, r.direction, r.c_t, r.c_g) == wanted and r.z is not None:
            return r.z
    return float("nan")


def largest_fake(fakes: Sequence[FakeRecord], strategy: str, channels: str, scale: str) -> float:
    """Return the largest faked significance along the line, 0 at the standard model included, over all variations."""
    own = [f.z for f in fakes if (f.strategy, f.channels, f.scale) == (strategy, channels, scale) and f.z is not None]
    return max(0.0, *own) if own else float("nan")
