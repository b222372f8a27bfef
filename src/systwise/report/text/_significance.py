"""How well hypotheses are told from a reference, and what wrong nuisances would fake, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systwise.report.tables._significance import (
    SignificanceRow,
    SignificanceSection,
    Spread,
    over_seeds,
    significance_sections,
    strategies,
    words_of_point,
    words_of_regions,
)
from systwise.report.text._numbers import significant, with_error
from systwise.study import ClassifierRecord, RegionRecord, Results, ToldCheckRecord, ToyCheckRecord

CAUTION = (
    "A theory nuisance is no random variable with a known density: a score that does not move between its variations "
    "hides this estimate of what is not known, it does not make it smaller (arXiv:2109.08159). Believe a gain in "
    "robustness as far as variations that no training saw confirm it."
)
EQUAL = 0.01
"""Relative difference below which two significances are the same."""
SIMULATION = "The limited size of the simulation is not in these significances, whatever `fit.simulation` says."
DEVIANT = 3.0
"""Standard errors beyond which pseudo-experiments contradict the Asimov value."""


def significance_sentences(results: Results) -> list[str]:
    """Return the answer in words: who is conservative, who is robust, and what to doubt."""
    sections = significance_sections(results.significances, results.fakes, results.classifiers)
    if not sections:
        return []
    last = sections[-1]
    sentences = [_conservative(last)]
    for treatment in ("fixed", "shape", "profiled"):
        sentences += _robust(last, treatment)
    sentences += _movement(results.classifiers)
    sentences += _told(results.classifiers)
    sentences += _told_otherwise(results.told_checks, last.regions)
    sentences += [_toy_sentence(check) for check in results.toy_checks]
    lost = [r for r in results.significances if not r.converged]
    if lost:
        sentences.append(
            f"{len(lost)} of {len(results.significances)} significances cannot be believed or are missing "
            f"({lost[0].verdict})."
        )
    sentences.append(SIMULATION)
    theory = any(nuisance.kind == "theory" for nuisance in results.nuisances)
    return [*sentences, *([CAUTION] if theory else [])]


def _ranked(rows: Sequence[SignificanceRow], value: Callable[[SignificanceRow], float | None]) -> list[str]:
    """Return `strategy (number)` from the smallest on."""
    known = [(number, row.strategy) for row in rows if (number := value(row)) is not None]
    return [f"{name} ({_z(number)})" for number, name in sorted(known, key=lambda pair: pair[0])]


def _z(value: float) -> str:
    return "0" if abs(value) < 0.005 else f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"


def _conservative(section: SignificanceSection) -> str:
    """Say who expects least, from data of the reference with the nuisances profiled."""
    where = f"{section.where} in {section.title}"
    values = {row.strategy: row.significances["profiled"].mean for row in section.rows}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return f"No strategy has a significance at {where}."
    least, most = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
    alone = next(row for row in section.rows if row.strategy == most).significances["fixed"].mean
    price = f", of {_z(alone)} with statistics only" if alone is not None else ""
    said = f"Expected significance at {where}, nuisances profiled"
    if known[most] - known[least] <= EQUAL * max(known[most], 1e-12):
        return f"{said}: {_z(known[most])} for {'all strategies' if len(known) > 1 else most}{price}."
    ranked = ", ".join(_ranked(section.rows, lambda row: row.significances["profiled"].mean))
    return (
        f"{said}: {ranked}. The most conservative strategy is {least}, "
        f"{100 * (1 - known[least] / known[most]):.0f} % below {most}, which keeps {_z(known[most])}{price}."
    )


def _robust(section: SignificanceSection, treatment: str) -> list[str]:
    """Say whom wrong nuisances in the data fool least, and whether hold-outs agree."""
    believes = {
        "fixed": "a fit that does not know of them",
        "shape": "a fit of the shape alone that does not know of them",
        "profiled": "a fit that profiles them",
    }[treatment]
    known = {row.strategy: row.fakes[treatment].mean for row in section.rows if treatment in row.fakes}
    values = {name: value for name, value in known.items() if value is not None}
    if not values:
        return []
    words = [f"At other true nuisances the reference fakes, to {believes}, at most "]
    if max(values.values()) < 0.005:
        words.append("nothing: it never prefers a tested point, whatever the strategy")
    else:
        words.append(", ".join(_ranked(section.rows, lambda row: row.fakes[treatment].mean)))
        words.append(_verdict(values))
    hidden = {row.strategy: row.holdouts[treatment].mean for row in section.rows}
    unseen = {name: value for name, value in hidden.items() if value is not None}
    if unseen:
        words.append("; at hold-out variations ")
        if max(unseen.values()) < 0.005:
            words.append("nothing either" if max(values.values()) < 0.005 else "nothing")
        else:
            words.append(", ".join(_ranked(section.rows, lambda row: row.holdouts[treatment].mean)))
            words.append(_verdict(unseen))
    return ["".join(words) + "."]


def _verdict(values: dict[str, float]) -> str:
    lowest, highest = min(values.values()), max(values.values())
    if len(values) == 1:
        return ""
    if highest - lowest <= EQUAL * highest:
        return ", which tells no strategy from another"
    least = [name for name, value in values.items() if value - lowest <= EQUAL * highest]
    most = max(values, key=lambda name: values[name])
    return f": {' and '.join(least)} {'are' if len(least) > 1 else 'is'} the most robust, {most} the least"


def _movement(classifiers: Sequence[ClassifierRecord]) -> list[str]:
    """Say how much less each score moves than the nominal one's."""
    names = strategies(classifiers)
    sentences = []
    for region in dict.fromkeys(r.region for r in classifiers):
        own = {name: [r for r in classifiers if (r.strategy, r.region) == (name, region)] for name in names}
        ks = {name: over_seeds(r.ks for r in own[name]) for name in names}
        hidden = {name: over_seeds(r.ks_holdout for r in own[name]) for name in names}
        auc = {name: over_seeds(r.auc for r in own[name]) for name in names}
        rate = over_seeds(r.rate for r in own[names[0]]).mean
        parts = []
        for name in names:
            unseen = f", {_small(hidden[name])} at hold-outs" if hidden[name].mean is not None else ""
            parts.append(f"{name} {_small(ks[name])}{unseen} (AUC {_small(auc[name], 4)})")
        told = any(record.told != "nothing" for records in own.values() for record in records)
        sentences.append(
            f"{'Told the number of its own sample, the' if told else 'The'} score in {region} moves with the nuisances "
            f"by a Kolmogorov-Smirnov distance of at most {'; '.join(parts)}. Whatever the score, the rate changes by "
            f"up to {100 * (rate or 0):.0f} %: no decorrelation of the score removes that."
        )
    return sentences


def _told(classifiers: Sequence[ClassifierRecord]) -> list[str]:
    """Say what scores that ask for a number of the sample were told."""
    sentences = []
    for told in ("sample", "nominal"):
        names = strategies([r for r in classifiers if r.told == told])
        if names and told == "sample":
            sentences.append(
                f"The score of {', '.join(names)} is told a number of the sample, one a data set: each hypothesis' "
                "own, in its data and its templates. A fit that holds the nuisances takes that number for exactly "
                "known; believe only its profiled significances."
            )
        elif names:
            sentences.append(
                f"The score of {', '.join(names)} is told one number of the sample, the reference's, for all data and "
                "hypotheses: it is one fixed observable."
            )
    return sentences


def _told_otherwise(checks: Sequence[ToldCheckRecord], regions: list[str]) -> list[str]:
    """Say what is left when every hypothesis is told the same number of the sample, or its own."""
    own = [check for check in checks if check.regions == regions]
    sentences = []
    for told, words in (("nominal", "the same number for all hypotheses"), ("sample", "each hypothesis' own")):
        here = [check for check in own if check.told == told]
        parts = []
        for name in dict.fromkeys(check.strategy for check in here):
            mine = [check for check in here if check.strategy == name]
            fixed, profiled = over_seeds(c.fixed for c in mine), over_seeds(c.profiled for c in mine)
            parts.append(f"{name} {profiled} ({fixed} with statistics only)")
        if parts:
            where = f"{words_of_point(here[0].point)} in {words_of_regions(regions)}"
            sentences.append(f"Scores told {words}, at {where}, nuisances profiled: {', '.join(parts)}.")
    return sentences


def region_sentences(records: Sequence[RegionRecord]) -> list[str]:
    """Say what the reference expects in each region, and along which parameters the rate is blind."""
    sentences = []
    for record in records:
        numbers = [f"{name} = {significant(value)}" for name, value in record.sample.items()]
        moved = [
            f"{100 * low:+.0f} % and {100 * high:+.0f} % for {name} one standard deviation down and up"
            for name, (low, high) in record.effects.items()
        ]
        said = f"{record.region}: {', '.join([*numbers, f'{significant(record.events)} events'])}"
        said += f" ({'; '.join(moved)})" if moved else ""
        if record.blind_slope is not None:
            first, second = record.point
            said += f"; the rate stays the same along d{second}/d{first} = {significant(record.blind_slope, 4)}"
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
        f"{check.toys} pseudo-experiments of {words_of_regions(check.regions)} ({check.strategy}, nuisances profiled) "
        f"{judged} the Asimov value of q at {words_of_point(check.point)}: median "
        f"{with_error(check.median, check.median_error)} against {significant(check.asimov)}, {away:+.1f} errors."
    )
