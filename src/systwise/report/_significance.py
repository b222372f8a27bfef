"""How well couplings are told from the standard model, and what a wrong scale would fake: rows and sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from systwise.report._numbers import MISSING, significant, with_error
from systwise.study import (
    ChannelRecord,
    ClassifierRecord,
    FakeRecord,
    SignificanceRecord,
    ToldCheckRecord,
    ToyCheckRecord,
)

SCALES = {
    "fixed": "statistics only",
    "shape": "free rate",
    "profiled": "scale profiled",
    "uncorrelated": "one scale a process",
}
"""What the fit does with the scale, in words."""
CAUTION = (
    "The scale is no random variable with a known density: a score that does not move between mu0/2 and 2 mu0 hides "
    "this estimate of the missing higher orders, it does not make them smaller (arXiv:2109.08159). Believe a gain in "
    "robustness as far as the hold-out variations, which no training saw, confirm it."
)
EQUAL = 0.01
"""Relative difference below which two significances are the same."""
DEVIANT = 3.0
"""Standard errors beyond which pseudo-experiments contradict the Asimov value."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the trainings; None where there is none.

    Attributes:
        mean: over seeds.
        spread: standard deviation, None for one seed.
    """

    mean: float | None
    spread: float | None = None

    def __str__(self) -> str:
        """Return the number as printed, with no more than two decimals."""
        if self.mean is None:
            return MISSING
        if self.spread:
            return with_error(self.mean, self.spread)
        return "0" if abs(self.mean) < 0.005 else significant(self.mean)


def over_seeds(values: Iterable[float | None]) -> Spread:
    """Return mean and spread of what is known.

    >>> str(over_seeds([2.0, None])), over_seeds([1.0, 3.0]).mean
    ('2.00', 2.0)
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Spread(None)
    return Spread(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def channel_sets(records: Sequence[SignificanceRecord | FakeRecord]) -> list[str]:
    """Return the sets of channels in the order of the study, combinations last."""
    return list(dict.fromkeys(record.channels for record in records))


def strategies(records: Sequence[SignificanceRecord | FakeRecord | ClassifierRecord]) -> list[str]:
    """Return the strategies in the order of the study."""
    return list(dict.fromkeys(record.strategy for record in records))


def words_of_channels(channels: str) -> str:
    """Return the name of a set of channels for a title.

    >>> words_of_channels("hj"), words_of_channels("hj+hjj")
    ('h j', 'h j and h j j combined')
    """
    names = {"hj": "h j", "hjj": "h j j"}
    parts = [names.get(part, part) for part in channels.split("+")]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]} combined"


@dataclasses.dataclass(frozen=True)
class SignificanceRow:
    """One strategy on one set of channels, at one tested point.

    Attributes:
        strategy: name.
        significances: by what the fit does with the scale, data of the standard model.
        reverse: scale profiled, data of the tested point against the standard model.
        fakes: largest faked significance along the line over wrong scales, by what the fit does with the scale.
        holdouts: the same over the hold-out variations.
        failed: fits that did not converge or points that could not be tested, at this point.
    """

    strategy: str
    significances: dict[str, Spread]
    reverse: Spread
    fakes: dict[str, Spread]
    holdouts: dict[str, Spread]
    failed: bool


@dataclasses.dataclass(frozen=True)
class SignificanceSection:
    """All strategies on one set of channels.

    Attributes:
        title: the channels, in words.
        channels: as in the records.
        c_t, c_g: the tested point.
        scales: what the fits do with the scale, keys of `SCALES`.
        rows: one a strategy.
    """

    title: str
    channels: str
    c_t: float
    c_g: float
    scales: tuple[str, ...]
    rows: tuple[SignificanceRow, ...]


def significance_sections(
    records: Sequence[SignificanceRecord], fakes: Sequence[FakeRecord], classifiers: Sequence[ClassifierRecord] = ()
) -> list[SignificanceSection]:
    """Return the table of the report, a section a set of channels.

    Args:
        records: of all strategies and seeds.
        fakes: the same.
        classifiers: their point is the one shown; without them the line's point of median significance.
    """
    if not records:
        return []
    c_t, c_g = shown_point(records, classifiers)
    sections = []
    for channels in channel_sets(records):
        own = [r for r in records if r.channels == channels]
        scales = tuple(scale for scale in SCALES if any(r.scale == scale for r in own))
        here = [r for r in own if (r.c_t, r.c_g) == (c_t, c_g)]
        wrong = [f for f in fakes if f.channels == channels]
        rows = tuple(_row(name, here, wrong, scales) for name in strategies(own))
        sections.append(SignificanceSection(words_of_channels(channels), channels, c_t, c_g, scales, rows))
    return sections


def shown_point(records: Sequence[SignificanceRecord], classifiers: Sequence[ClassifierRecord]) -> tuple[float, float]:
    """Return (c_t, c_g) of the point that tables show."""
    if classifiers:
        return classifiers[0].c_t, classifiers[0].c_g
    line = [r for r in records if r.offset == 0.0 and r.scale == "profiled" and r.z is not None] or list(records)
    middle = sorted(line, key=lambda r: r.z or 0.0)[len(line) // 2]
    return middle.c_t, middle.c_g


def _row(
    strategy: str, here: Sequence[SignificanceRecord], wrong: Sequence[FakeRecord], scales: Sequence[str]
) -> SignificanceRow:
    own = [r for r in here if r.strategy == strategy]

    def z(scale: str, direction: str) -> Spread:
        return over_seeds(r.z for r in own if (r.scale, r.direction) == (scale, direction))

    return SignificanceRow(
        strategy=strategy,
        significances={scale: z(scale, "sm_data") for scale in scales},
        reverse=z("profiled", "eft_data"),
        fakes={scale: faked(wrong, strategy, scale, lambda f: not f.holdout) for scale in scales},
        holdouts={scale: faked(wrong, strategy, scale, lambda f: f.holdout) for scale in scales},
        failed=any(not r.converged for r in own),
    )


def faked(
    fakes: Sequence[FakeRecord], strategy: str, scale: str, chosen: Callable[[FakeRecord], bool] = lambda _: True
) -> Spread:
    """Return the largest faked significance along the line, the standard model (0) included, over seeds.

    Args:
        fakes: of one set of channels.
        strategy: whose.
        scale: what the fit does with the scale.
        chosen: which data.
    """
    own = [f for f in fakes if (f.strategy, f.scale) == (strategy, scale) and f.z is not None and chosen(f)]
    return over_seeds(max(0.0, *(f.z or 0.0 for f in own if f.seed == s)) for s in dict.fromkeys(f.seed for f in own))


def significance_sentences(
    records: Sequence[SignificanceRecord],
    fakes: Sequence[FakeRecord],
    classifiers: Sequence[ClassifierRecord] = (),
    toys: Sequence[ToyCheckRecord] = (),
    told: Sequence[ToldCheckRecord] = (),
) -> list[str]:
    """Return the answer in words: who is conservative, who is robust, and what to doubt.

    Args:
        records: of all strategies and seeds.
        fakes: the same.
        classifiers: the same.
        toys: checks by pseudo-experiments.
        told: significances by the cross section that scores are told.
    """
    sections = significance_sections(records, fakes, classifiers)
    if not sections:
        return []
    last = sections[-1]
    sentences = [_conservative(last)]
    for scale in ("fixed", "shape", "profiled"):
        sentences += _robust(last, scale)
    sentences += _movement(classifiers)
    sentences += _told(classifiers)
    sentences += _told_otherwise(told, last.channels)
    sentences += [_toy_sentence(check) for check in toys]
    lost = sum(not r.converged for r in records)
    if lost:
        reason = next(r.verdict for r in records if not r.converged)
        sentences.append(f"{lost} of {len(records)} significances cannot be believed or are missing ({reason}).")
    return [*sentences, CAUTION]


def _ranked(rows: Sequence[SignificanceRow], value: Callable[[SignificanceRow], float | None]) -> list[str]:
    """Return `strategy (number)` from the smallest on."""
    known = [(number, row.strategy) for row in rows if (number := value(row)) is not None]
    return [f"{name} ({_z(number)})" for number, name in sorted(known, key=lambda pair: pair[0])]


def _z(value: float) -> str:
    return "0" if abs(value) < 0.005 else f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"


def _conservative(section: SignificanceSection) -> str:
    """Say who expects least, from data of the standard model with the scale profiled."""
    where = f"(c_t, c_g) = ({significant(section.c_t)}, {significant(section.c_g)}) in {section.title}"
    values = {row.strategy: row.significances["profiled"].mean for row in section.rows}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return f"No strategy has a significance at {where}."
    least, most = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
    alone = next(row for row in section.rows if row.strategy == most).significances["fixed"].mean
    price = f", of {_z(alone)} with statistics only" if alone is not None else ""
    if known[most] - known[least] <= EQUAL * max(known[most], 1e-12):
        return f"Expected significance at {where}, scale profiled: {_z(known[most])} for all strategies{price}."
    ranked = ", ".join(_ranked(section.rows, lambda row: row.significances["profiled"].mean))
    return (
        f"Expected significance at {where}, scale profiled: {ranked}. The most conservative strategy is {least}, "
        f"{100 * (1 - known[least] / known[most]):.0f} % below {most}, which keeps {_z(known[most])}{price}."
    )


def _robust(section: SignificanceSection, scale: str) -> list[str]:
    """Say whom a wrong scale in the data fools least, and whether hold-outs agree."""
    believes = {
        "fixed": "a fit that does not know the scale",
        "shape": "a fit of the shape alone, its scale held",
        "profiled": "a fit that profiles the scale",
    }[scale]
    known = {row.strategy: row.fakes[scale].mean for row in section.rows if scale in row.fakes}
    values = {name: value for name, value in known.items() if value is not None}
    if not values:
        return []
    words = [f"At another scale the standard model fakes, to {believes}, at most "]
    if max(values.values()) < 0.005:
        words.append("nothing: it never prefers a point of the line, whatever the strategy")
    else:
        words.append(", ".join(_ranked(section.rows, lambda row: row.fakes[scale].mean)))
        words.append(_verdict(values))
    hidden = {row.strategy: row.holdouts[scale].mean for row in section.rows}
    unseen = {name: value for name, value in hidden.items() if value is not None}
    if unseen:
        words.append("; at hold-out variations ")
        if max(unseen.values()) < 0.005:
            words.append("nothing either" if max(values.values()) < 0.005 else "nothing")
        else:
            words.append(", ".join(_ranked(section.rows, lambda row: row.holdouts[scale].mean)))
            words.append(_verdict(unseen))
    return ["".join(words) + "."]


def _verdict(values: dict[str, float]) -> str:
    lowest, highest = min(values.values()), max(values.values())
    if highest - lowest <= EQUAL * highest:
        return ", which tells no strategy from another"
    least = [name for name, value in values.items() if value - lowest <= EQUAL * highest]
    most = max(values, key=lambda name: values[name])
    return f": {' and '.join(least)} {'are' if len(least) > 1 else 'is'} the most robust, {most} the least"


def _movement(classifiers: Sequence[ClassifierRecord]) -> list[str]:
    """Say how much less each score moves than the nominal one's."""
    names = strategies(classifiers)
    sentences = []
    for channel in dict.fromkeys(r.channel for r in classifiers):
        own = {name: [r for r in classifiers if (r.strategy, r.channel) == (name, channel)] for name in names}
        ks = {name: over_seeds(r.ks for r in own[name]) for name in names}
        hidden = {name: over_seeds(r.ks_holdout for r in own[name]) for name in names}
        auc = {name: over_seeds(r.auc for r in own[name]) for name in names}
        rate = over_seeds(r.rate for r in own[names[0]]).mean
        parts = []
        for name in names:
            unseen = f", {_small(hidden[name])} at hold-outs" if hidden[name].mean is not None else ""
            parts.append(f"{name} {_small(ks[name])}{unseen} (AUC {_small(auc[name], 4)})")
        sentences.append(
            f"Told the cross section of its scale, the score of {words_of_channels(channel)} moves between scales by a "
            "Kolmogorov-Smirnov distance of "
            f"{'; '.join(parts)}. Whatever the score, the rate changes by up to {100 * (rate or 0):.0f} %: no "
            "decorrelation of the score removes that."
        )
    return sentences


def _told(classifiers: Sequence[ClassifierRecord]) -> list[str]:
    """Say what scores that ask for a cross section were told."""
    sentences = []
    for told in ("sample", "nominal"):
        names = strategies([r for r in classifiers if r.told == told])
        if names and told == "sample":
            sentences.append(
                f"The score of {', '.join(names)} is told the cross section of the sample, one number a data set: each "
                "hypothesis' own, in its data and its templates. A fit that holds the scale takes that number for "
                "exactly known; believe only its profiled significances."
            )
        elif names:
            sentences.append(
                f"The score of {', '.join(names)} is told one cross section, the standard model's, for all data and "
                "hypotheses: it is one fixed observable."
            )
    return sentences


def _told_otherwise(checks: Sequence[ToldCheckRecord], channels: str) -> list[str]:
    """Say what is left when every hypothesis is told the same cross section, or its own."""
    own = [check for check in checks if check.channels == channels]
    sentences = []
    for told, words in (("nominal", "the same cross section for all hypotheses"), ("sample", "each hypothesis' own")):
        here = [check for check in own if check.told == told]
        parts = []
        for name in dict.fromkeys(check.strategy for check in here):
            mine = [check for check in here if check.strategy == name]
            fixed, profiled = over_seeds(c.fixed for c in mine), over_seeds(c.profiled for c in mine)
            parts.append(f"{name} {profiled} ({fixed} with statistics only)")
        if parts:
            where = f"(c_t, c_g) = ({significant(here[0].c_t)}, {significant(here[0].c_g)})"
            sentences.append(
                f"Scores told {words}, at {where} in {words_of_channels(channels)}, scale profiled: {', '.join(parts)}."
            )
    return sentences


def channel_sentences(channels: Sequence[ChannelRecord]) -> list[str]:
    """Say what the standard model expects in each channel, and along which couplings the rate is blind."""
    sentences = []
    for record in channels:
        said = (
            f"{words_of_channels(record.channel)}: {significant(record.cross_section)} pb "
            f"({100 * record.down:+.0f} % at half, {100 * record.up:+.0f} % at twice the scale), "
            f"{significant(record.events)} events"
        )
        if record.blind_slope is not None:
            said += f"; the rate stays the same along dc_g/dc_t = {significant(record.blind_slope, 4)}"
        sentences.append(said + ".")
    return sentences


def _small(value: Spread, digits: int = 3) -> str:
    return with_error(value.mean, value.spread, digits)


def _toy_sentence(check: ToyCheckRecord) -> str:
    """Say whether pseudo-experiments confirm the Asimov value."""
    error = max(check.median_error, 1e-12)
    away = (check.median - check.asimov) / error
    judged = "confirm" if abs(away) <= DEVIANT else "DO NOT confirm"
    return (
        f"{check.toys} pseudo-experiments of {words_of_channels(check.channels)} ({check.strategy}, scale profiled) "
        f"{judged} the Asimov value of q at (c_t, c_g) = ({significant(check.c_t)}, {significant(check.c_g)}): median "
        f"{with_error(check.median, check.median_error)} against {significant(check.asimov)}, {away:+.1f} errors."
    )
