"""The significance study: from histograms of every strategy to significances, robustness and trade-offs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError, DataError, TemplateError
from systwise.parameters import Nuisance
from systwise.study.significance._classifiers import describe_classifier, trade_offs
from systwise.study.significance._hypotheses import Hypotheses, Tested
from systwise.study.significance._hypothesis_tests import HypothesisTests, Minima, Systematics, root, signed_root
from systwise.study.significance._plots import SignificancePlane, SignificanceTradeOff
from systwise.study.significance._records import (
    ClassifierRecord,
    Direction,
    FakeRecord,
    RegionRecord,
    SignificanceRecord,
    ToldCheckRecord,
    ToyCheckRecord,
    Treatment,
)
from systwise.study.significance._region_table import NOMINAL, RegionTable
from systwise.study.significance._settings import Told

Tables = Mapping[str, Mapping[str, RegionTable]]
"""Strategy to region to histograms."""
TOLD: tuple[Told, ...] = ("sample", "nominal")


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of all strategies.

    Attributes:
        hypotheses: the reference and what is tested against it.
        systematics: the nuisances of the likelihood.
        alone: regions that are also tested without the others.
        widths: standard deviations of the constrained nuisances, by name.
        samples: values of sample-wide features of the reference, by region.
    """

    hypotheses: Hypotheses
    systematics: Systematics
    alone: tuple[str, ...]
    widths: Mapping[str, float] = dataclasses.field(default_factory=dict)
    samples: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def wrong(self) -> dict[str, tuple[float, ...]]:
        """True values of nuisances of which the fit does not know, by name."""
        return wrong_values(self.systematics.nuisances, self.widths, self.hypotheses.settings.wrong)

    def sets(self, regions: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the sets of regions that are tested, all of them together last."""
        single: list[tuple[str, ...]] = [(name,) for name in regions if name in self.alone]
        return single if single == [tuple(regions)] else [*single, tuple(regions)]


@dataclasses.dataclass(frozen=True)
class SignificanceResults:
    """All that the study of one seed found.

    Attributes:
        significances: median expected significances.
        fakes: significances that wrong nuisances fake.
        toys: the check by pseudo-experiments.
        classifiers: separation and residual dependence on nuisances of each score.
        planes: significances over the plane around the line.
        trade_offs: what decorrelation costs, where strengths were given.
        regions: what the reference expects.
        told: significances by what scores are told.
    """

    significances: tuple[SignificanceRecord, ...] = ()
    fakes: tuple[FakeRecord, ...] = ()
    toys: tuple[ToyCheckRecord, ...] = ()
    classifiers: tuple[ClassifierRecord, ...] = ()
    planes: tuple[SignificancePlane, ...] = ()
    trade_offs: tuple[SignificanceTradeOff, ...] = ()
    regions: tuple[RegionRecord, ...] = ()
    told: tuple[ToldCheckRecord, ...] = ()

    def joined(self, other: SignificanceResults) -> SignificanceResults:
        """Return the records of both, for instance of two seeds."""
        fields = (field.name for field in dataclasses.fields(self))
        return SignificanceResults(**{name: getattr(self, name) + getattr(other, name) for name in fields})


def wrong_values(
    nuisances: Sequence[Nuisance], widths: Mapping[str, float], steps: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """Return true values of each nuisance, `steps` standard deviations from the nominal one, within its range.

    Args:
        nuisances: those of the study.
        widths: standard deviations by name; a nuisance without one is free and has no wrong value.
        steps: how far; 0 is left out.

    >>> wrong_values([Nuisance("tes", nominal=1.0, width=0.03)], {"tes": 0.03}, [-0.5, 1])
    {'tes': (0.985, 1.03)}
    """
    found: dict[str, tuple[float, ...]] = {}
    for nuisance in nuisances:
        if nuisance.name in widths:
            values = [float(f"{nuisance.nominal + step * widths[nuisance.name]:.12g}") for step in steps if step]
            inside = tuple(value for value in values if nuisance.range[0] <= value <= nuisance.range[1])
            found |= {nuisance.name: inside} if inside else {}
    return found


def significance_study(
    tables: Tables,
    question: Question,
    progress: Progress = no_progress,
    *,
    seed: int = 0,
    strengths: Mapping[str, float] | None = None,
) -> SignificanceResults:
    """Tell hypotheses from the reference with every strategy, in each region alone and in all together.

    Args:
        tables: histograms `[strategy][region]`, the same regions for all strategies.
        question: tested points and fits.
        progress: told about every strategy.
        seed: seed of the trainings, and of the pseudo-experiments.
        strengths: strength of the adversary or penalty of the strategies that have one; 0 for one without.

    Raises:
        ConfigError: no tables, regions that differ between strategies, or no point that can be tested.
        DataError: the reference itself lies outside the tabulated sample-wide values.
        TemplateError: the reference expects nothing in a bin.
    """
    names, settings = _region_names(tables), question.hypotheses.settings
    sets = question.sets(names)
    first = next(iter(tables.values()))
    found = SignificanceResults(regions=tuple(_region(first[name], question) for name in question.alone))
    benchmark: tuple[float, ...] = ()
    for number, (strategy, regions) in enumerate(tables.items()):
        progress(f"significance {strategy}", number, len(tables))

        def tests(chosen: Sequence[str], told: Told, own: Mapping[str, RegionTable] = regions) -> HypothesisTests:
            chosen_tables = tuple(own[n] for n in chosen)
            return HypothesisTests(chosen_tables, question.systematics, question.hypotheses.reference, told)

        for chosen in sets:
            found = found.joined(_tested(tests(chosen, settings.told), question, strategy, seed))
        if number == 0:
            benchmark = _benchmark(found.significances, list(sets[-1]), question.hypotheses)
            for chosen in sets if settings.toys else []:
                check = _toy_check(tests(chosen, settings.told), benchmark, question.hypotheses, strategy, seed)
                found = dataclasses.replace(found, toys=(*found.toys, check))
        if any(len(regions[name].sample_values) > 1 for name in names):
            checks = tuple(
                _told_check(tests(chosen, told), benchmark, question.hypotheses, strategy, seed)
                for chosen in sets
                for told in TOLD
            )
            found = dataclasses.replace(found, told=(*found.told, *checks))
        for name in question.alone:
            strength = (strengths or {}).get(strategy)
            described = describe_classifier(regions[name], strategy, seed, benchmark, question.hypotheses, strength)
            found = dataclasses.replace(found, classifiers=(*found.classifiers, described))
    progress("significance", len(tables), len(tables))
    curves = trade_offs(found.significances, found.fakes, found.classifiers, strengths or {})
    return dataclasses.replace(found, trade_offs=curves)


def _region_names(tables: Tables) -> list[str]:
    """Return the regions of all strategies."""
    every = [tuple(regions) for regions in tables.values()]
    if not every or not every[0]:
        raise ConfigError("significance: there are no histograms; give at least one strategy and one region")
    if len(set(every)) > 1:
        raise ConfigError(f"significance: strategies have different regions {sorted(set(every))}; give all the same")
    return list(every[0])


def _region(table: RegionTable, question: Question) -> RegionRecord:
    """Return what the reference expects."""
    reference = question.hypotheses.reference
    events = float(table.expected(reference).sum())
    effects = {}
    for name, values, index in table.anchors:
        if name not in question.widths:
            continue
        nominal = values[index.index(NOMINAL)]
        ends = [nominal + sign * question.widths[name] for sign in (-1, 1)]
        nearest = [index[int(np.argmin(np.abs(np.array(values) - end)))] for end in ends]
        low, high = (float(table.expected(reference, number).sum()) / events - 1 for number in nearest)
        effects[name] = (low, high)
    return RegionRecord(
        region=table.name,
        point=question.hypotheses.named(reference),
        events=events,
        sample=dict(question.samples.get(table.name, {})),
        effects=effects,
        blind_slope=table.blind_slope(reference),
    )


def _told_check(
    tests: HypothesisTests, theta: tuple[float, ...], hypotheses: Hypotheses, strategy: str, seed: int
) -> ToldCheckRecord:
    """Test one point with scores that are told as `tests` tells them."""
    treatments: tuple[Treatment, ...] = ("fixed", "profiled")
    try:
        minima = [tests.lowest(theta, tests.counts(tests.reference)[None], treatment) for treatment in treatments]
        fixed, profiled = (root(2 * fit.nll)[0] if fit.converged[0] else None for fit in minima)
    except (DataError, TemplateError):
        # A rate beyond the tabulated ones: told otherwise, the point cannot be tested.
        fixed = profiled = None
    return ToldCheckRecord(
        strategy=strategy,
        seed=seed,
        regions=tests.regions,
        told=tests.told,
        point=hypotheses.named(theta),
        fixed=fixed,
        profiled=profiled,
    )


@dataclasses.dataclass(frozen=True)
class _Wrong:
    """Data of the reference that are not made as the fit believes."""

    label: str
    holdout: bool
    counts: np.ndarray


def _wrong_data(tests: HypothesisTests, question: Question) -> list[_Wrong]:
    first, *others = tests.tables
    shared = [
        name
        for name in (first.variations[i] for i in first.holdouts)
        if all(name in (t.variations[i] for i in t.holdouts) for t in others)
    ]
    moved = [
        _Wrong(f"{name} = {value:g}", False, tests.counts(tests.reference, at={name: value}))
        for name, values in question.wrong.items()
        for value in values
    ]
    return [*moved, *(_Wrong(name, True, tests.counts(tests.reference, name)) for name in shared)]


def _tested(tests: HypothesisTests, question: Question, strategy: str, seed: int) -> SignificanceResults:
    """Return significances, faked ones and planes of one strategy and set of regions."""
    hypotheses = question.hypotheses
    labels: dict[str, Any] = {"strategy": strategy, "seed": seed, "regions": tests.regions}
    wrong = _wrong_data(tests, question)
    nominal = tests.counts(tests.reference)
    data = np.stack([nominal, *(w.counts for w in wrong)])
    significances, fakes = [], []
    directions: tuple[Direction, ...] = ("reference", "alternative")
    for treatment in tests.treatments:
        model = tests.lowest(tests.reference, data, treatment)
        against = _against_reference(tests, hypotheses.tested(), treatment)
        for point in hypotheses.tested():
            named = {**labels, "point": hypotheses.named(point.theta), "nuisances": treatment}
            place = {"step": point.step, "offset": point.offset}
            try:
                minima = tests.lowest(point.theta, data, treatment)
            except (DataError, TemplateError) as error:
                lost = {**named, **place, "z": None, "converged": False, "verdict": f"not tested: {error}"}
                significances += [SignificanceRecord(data=d, **lost) for d in directions]
                continue
            reverse, row = against[point.theta]
            for direction, fit, number in zip(directions, (minima, reverse), (0, row), strict=True):
                # Asimov data agree perfectly with the hypothesis that made them: its NLL is zero, nuisances nominal.
                z = root(2 * fit.nll[[number]])[0]
                significances.append(
                    SignificanceRecord(
                        **named,
                        **place,
                        data=direction,
                        z=z,
                        preferred=fit.preferred(number),
                        converged=bool(fit.converged[number] and np.isfinite(z)),
                        verdict=fit.verdict(number),
                    )
                )
            if point.offset == 0.0:
                q = signed_root(2 * (model.nll - minima.nll))[1:]
                believed = (model.converged & minima.converged)[1:]
                fakes += [
                    FakeRecord(**named, variation=w.label, holdout=w.holdout, z=value, converged=bool(good))
                    for w, value, good in zip(wrong, q, believed, strict=True)
                ]
    drawn: tuple[Treatment, ...] = ("fixed", "profiled") if hypotheses.settings.plane else ()
    planes = tuple(_plane(tests, hypotheses, treatment, labels) for treatment in drawn)
    return SignificanceResults(tuple(significances), tuple(fakes), planes=planes)


def _against_reference(
    tests: HypothesisTests, points: Sequence[Tested], treatment: Treatment
) -> dict[tuple[float, ...], tuple[Minima, int]]:
    """Fit the reference to the Asimov data of all tested points, in one call."""
    thetas, rows = [], []
    for point in points:
        try:
            rows.append(tests.counts(point.theta))
        except (DataError, TemplateError):
            # Said in the record of the point, whose own likelihood fails for the same reason.
            continue
        thetas.append(point.theta)
    if not thetas:
        return {}
    minima = tests.lowest(tests.reference, np.stack(rows), treatment)
    return {theta: (minima, number) for number, theta in enumerate(thetas)}


def _plane(
    tests: HypothesisTests, hypotheses: Hypotheses, treatment: Treatment, labels: dict[str, Any]
) -> SignificancePlane:
    """Test every point of the plane against data of the reference."""
    offsets, steps = hypotheses.axes()
    nominal = tests.counts(tests.reference)[None]
    z: Float64[np.ndarray, "offset step"] = np.full((len(offsets), len(steps)), np.nan)
    theta = np.zeros((*z.shape, len(hypotheses.pois)))
    for i, j in np.ndindex(*z.shape):
        theta[i, j] = hypotheses.point(float(steps[j]), float(offsets[i]))
        try:
            minima = tests.lowest(theta[i, j], nominal, treatment)
        except (DataError, TemplateError):
            # A point without a tabulated likelihood stays blank in the figure.
            continue
        if minima.converged[0]:
            z[i, j] = root(2 * minima.nll)[0]
    return SignificancePlane(
        **{**labels, "regions": tuple(tests.regions)},
        nuisances=treatment,
        pois=hypotheses.pois,
        across=hypotheses.settings.across or "",
        offset=offsets,
        step=steps,
        theta=theta,
        z=z,
    )


def _benchmark(records: Sequence[SignificanceRecord], regions: list[str], hypotheses: Hypotheses) -> tuple[float, ...]:
    """Return the point on the line, or the single one, whose profiled significance is closest to what is wanted."""
    wanted = hypotheses.settings.toy_significance
    known = [
        (abs(r.z - wanted), tuple(r.point[name] for name in hypotheses.pois))
        for r in records
        if r.regions == regions and r.nuisances == "profiled" and r.data == "reference" and r.offset == 0.0
        if r.z is not None
    ]
    if not known:
        reason = next((r.verdict for r in records if r.regions == regions), "all are the reference itself")
        raise ConfigError(f"significance: no point could be tested in {' + '.join(regions)} ({reason})")
    return min(known)[1]


def _toy_check(
    tests: HypothesisTests, theta: tuple[float, ...], hypotheses: Hypotheses, strategy: str, seed: int
) -> ToyCheckRecord:
    """Compare the median of q over pseudo-experiments with its Asimov value."""
    count = hypotheses.settings.toys
    q = np.sort(tests.toys(theta, "profiled", seed, count))
    if len(q) < 2:
        raise ConfigError(f"significance.toys: {len(q)} of {count} pseudo-experiments converged; ask for more")
    # The number of values below the median is binomial with a spread of sqrt(n) / 2.
    reach = 0.5 * np.sqrt(len(q)) / len(q)
    low, high = np.quantile(q, [max(0.0, 0.5 - reach), min(1.0, 0.5 + reach)])
    asimov = 2 * tests.lowest(theta, tests.counts(tests.reference)[None], "profiled").nll[0]
    return ToyCheckRecord(
        strategy=strategy,
        seed=seed,
        regions=tests.regions,
        point=hypotheses.named(theta),
        nuisances="profiled",
        toys=len(q),
        median=float(np.median(q)),
        median_error=float(0.5 * (high - low)),
        asimov=float(asimov),
    )
