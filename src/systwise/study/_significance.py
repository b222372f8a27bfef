"""The significance study: from score histograms of every strategy to significances, robustness and trade-offs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError, DataError, TemplateError
from systwise.study._channels import ChannelTable, Couplings
from systwise.study._hypothesis_tests import STANDARD_MODEL, HypothesisTests, Minima, root, signed_root
from systwise.study._significance_plots import SignificancePlane, SignificanceTradeOff
from systwise.study._significance_records import (
    ChannelRecord,
    ClassifierRecord,
    FakeRecord,
    Scale,
    SignificanceRecord,
    ToldCheckRecord,
    ToyCheckRecord,
)
from systwise.study._significance_settings import SignificanceSettings, Told
from systwise.study._trade_off import describe_classifier, trade_offs

Tables = Mapping[str, Mapping[str, ChannelTable]]
"""Strategy to channel to histograms."""
MOST_NUISANCES = 4
"""Most channels that get a scale of their own in one likelihood."""
TOLD: tuple[Told, ...] = ("sample", "nominal")


@dataclasses.dataclass(frozen=True)
class SignificanceResults:
    """All that the study of one seed found.

    Attributes:
        significances: median expected significances.
        fakes: significances that a wrong scale fakes.
        toys: the check by pseudo-experiments.
        classifiers: separation and residual scale dependence of each score.
        planes: significances over the plane of couplings.
        trade_offs: what decorrelation costs, where strengths were given.
        channels: what the standard model expects.
        told: significances by what scores are told.
    """

    significances: tuple[SignificanceRecord, ...] = ()
    fakes: tuple[FakeRecord, ...] = ()
    toys: tuple[ToyCheckRecord, ...] = ()
    classifiers: tuple[ClassifierRecord, ...] = ()
    planes: tuple[SignificancePlane, ...] = ()
    trade_offs: tuple[SignificanceTradeOff, ...] = ()
    channels: tuple[ChannelRecord, ...] = ()
    told: tuple[ToldCheckRecord, ...] = ()

    def joined(self, other: SignificanceResults) -> SignificanceResults:
        """Return the records of both, for instance of two seeds."""
        fields = (field.name for field in dataclasses.fields(self))
        return SignificanceResults(**{name: getattr(self, name) + getattr(other, name) for name in fields})


def significance_study(
    tables: Tables,
    settings: SignificanceSettings,
    progress: Progress = no_progress,
    *,
    seed: int = 0,
    strengths: Mapping[str, float] | None = None,
) -> SignificanceResults:
    """Tell couplings from the standard model with every strategy, each channel alone and all together.

    Args:
        tables: histograms `[strategy][channel]`, the same channels for all strategies.
        settings: tested points and fits.
        progress: told about every strategy.
        seed: seed of the trainings, and of the pseudo-experiments.
        strengths: strength of the adversary or penalty of the strategies that have one; 0 for one without.

    Raises:
        ConfigError: no tables, channels that differ between strategies, or no point on the blind line.
        DataError: the standard model itself lies outside the tabulated cross sections.
        TemplateError: the standard model expects nothing in a bin.
    """
    names = _channel_names(tables)
    line = [row for row in settings.points() if row[0] == 0.0]
    if not line:
        raise ConfigError("significance: no tested point lies on the blind line; add 0 to offsets and values to c_g")
    sets = [(name,) for name in names] + ([tuple(names)] if 1 < len(names) <= MOST_NUISANCES else [])
    expected = tuple(_channel(table) for table in next(iter(tables.values())).values())
    found = SignificanceResults(channels=expected)
    benchmark: Couplings = ()
    for number, (strategy, channels) in enumerate(tables.items()):
        progress(f"significance {strategy}", number, len(tables))
        for chosen in sets:
            tests = HypothesisTests(tuple(channels[n] for n in chosen), settings.reach, settings.told)
            found = found.joined(_tested(tests, settings, strategy, seed))
        if number == 0:
            benchmark = _benchmark(found.significances, "+".join(sets[-1]), settings.toy_significance)
            for chosen in sets if settings.toys else []:
                tests = HypothesisTests(tuple(channels[n] for n in chosen), settings.reach, settings.told)
                check = _toy_check(tests, benchmark, settings, strategy, seed)
                found = dataclasses.replace(found, toys=(*found.toys, check))
        if any(len(channels[name].s_values) > 1 for name in names):
            for chosen in sets:
                own = tuple(channels[n] for n in chosen)
                checks = tuple(_told_check(own, settings, told, benchmark, strategy, seed) for told in TOLD)
                found = dataclasses.replace(found, told=(*found.told, *checks))
        for name in names:
            strength = (strengths or {}).get(strategy)
            described = describe_classifier(channels[name], strategy, seed, benchmark, settings.told, strength)
            found = dataclasses.replace(found, classifiers=(*found.classifiers, described))
    progress("significance", len(tables), len(tables))
    curves = trade_offs(found.significances, found.fakes, found.classifiers, benchmark, strengths or {})
    return dataclasses.replace(found, trade_offs=curves)


def _channel_names(tables: Tables) -> list[str]:
    """Return the channels of all strategies."""
    every = [tuple(channels) for channels in tables.values()]
    if not every or not every[0]:
        raise ConfigError("significance: there are no score histograms; give at least one strategy and one channel")
    if len(set(every)) > 1:
        raise ConfigError(f"significance: strategies have different channels {sorted(set(every))}; give all the same")
    return list(every[0])


def _channel(table: ChannelTable) -> ChannelRecord:
    """Return what the standard model expects."""
    rate = table.cross_section(STANDARD_MODEL, table.nominal)
    nearest = [table.anchor_index[int(np.argmin(np.abs(np.array(table.anchor_z) - z)))] for z in (-1.0, 1.0)]
    down, up = (table.cross_section(STANDARD_MODEL, number) / rate - 1 for number in nearest)
    slope = None
    if len(STANDARD_MODEL) == 2:
        theta, powers = np.array(STANDARD_MODEL), np.array(table.powers)
        # d/dx of x^p y^q at (1, 0): only q = 0 and q = 1 are left.
        gradient = [
            float(
                table.cross_sections[table.nominal] @ (powers[:, j] * np.prod(theta ** np.maximum(powers - row, 0), 1))
            )
            for j, row in enumerate(np.eye(2, dtype=int))
        ]
        slope = -gradient[0] / gradient[1] if gradient[1] else None
    events = float(table.expected(STANDARD_MODEL, table.nominal).sum())
    return ChannelRecord(channel=table.name, cross_section=rate, events=events, down=down, up=up, blind_slope=slope)


def _told_check(
    channels: tuple[ChannelTable, ...],
    settings: SignificanceSettings,
    told: Told,
    theta: Couplings,
    strategy: str,
    seed: int,
) -> ToldCheckRecord:
    """Test one point with scores that are told `told`."""
    tests = HypothesisTests(channels, settings.reach, told)
    scales: tuple[Scale, ...] = ("fixed", "profiled")
    try:
        minima = [tests.lowest(theta, tests.counts(STANDARD_MODEL)[None], scale) for scale in scales]
        fixed, profiled = (root(2 * fit.nll)[0] if fit.converged[0] else None for fit in minima)
    except (DataError, TemplateError):
        # A cross section beyond the tabulated ones: told otherwise, the point cannot be tested.
        fixed = profiled = None
    return ToldCheckRecord(
        strategy=strategy,
        seed=seed,
        channels=tests.name,
        told=told,
        c_t=float(theta[0]),
        c_g=float(theta[1]),
        fixed=fixed,
        profiled=profiled,
    )


def scales_of(tests: HypothesisTests) -> tuple[Scale, ...]:
    """Return what can be done with the scale; one channel has nothing to correlate."""
    common: tuple[Scale, ...] = ("fixed", "shape", "profiled")
    return (*common, "uncorrelated") if len(tests.channels) > 1 else common


@dataclasses.dataclass(frozen=True)
class _Wrong:
    """Data of the standard model that are not made as the fit believes."""

    label: str
    holdout: bool
    counts: np.ndarray


def _wrong_data(tests: HypothesisTests, settings: SignificanceSettings) -> list[_Wrong]:
    shared = [
        name
        for name in (tests.channels[0].variations[i] for i in tests.channels[0].holdout_index)
        if all(name in (t.variations[i] for i in t.holdout_index) for t in tests.channels)
    ]
    scales = [_Wrong(f"z = {z:g}", False, tests.counts(STANDARD_MODEL, z)) for z in settings.wrong_scales]
    return [*scales, *(_Wrong(name, True, tests.counts(STANDARD_MODEL, name)) for name in shared)]


def _tested(tests: HypothesisTests, settings: SignificanceSettings, strategy: str, seed: int) -> SignificanceResults:
    """Return significances, faked ones and planes of one strategy and set of channels."""
    labels: dict[str, Any] = {"strategy": strategy, "seed": seed, "channels": tests.name}
    wrong = _wrong_data(tests, settings)
    nominal = tests.counts(STANDARD_MODEL)
    data = np.stack([nominal, *(w.counts for w in wrong)])
    significances, fakes = [], []
    for scale in scales_of(tests):
        model = tests.lowest(STANDARD_MODEL, data, scale)
        against = _against_standard_model(tests, settings, scale)
        for offset, c_t, c_g in settings.points():
            point = {**labels, "c_t": c_t, "c_g": c_g, "scale": scale}
            try:
                minima = tests.lowest((c_t, c_g), data, scale)
            except (DataError, TemplateError) as error:
                lost = {**point, "offset": offset, "z": None, "converged": False, "verdict": f"not tested: {error}"}
                significances += [SignificanceRecord(direction=d, **lost) for d in ("sm_data", "eft_data")]
                continue
            reverse, row = against[(c_t, c_g)]
            for direction, fit, place in (("sm_data", minima, 0), ("eft_data", reverse, row)):
                # Asimov data agree perfectly with the hypothesis that made them: its NLL is zero, at z = 0.
                z = root(2 * fit.nll[[place]])[0]
                significances.append(
                    SignificanceRecord(
                        **point,
                        offset=offset,
                        direction=direction,
                        z=z,
                        pull=fit.scale[place, 0] if fit.scale.shape[1] == 1 else None,
                        converged=bool(fit.converged[place] and np.isfinite(z)),
                        verdict=fit.verdict(place),
                    )
                )
            if offset == 0.0:
                q = signed_root(2 * (model.nll - minima.nll))[1:]
                believed = (model.converged & minima.converged)[1:]
                fakes += [
                    FakeRecord(**point, variation=w.label, holdout=w.holdout, z=value, converged=bool(good))
                    for w, value, good in zip(wrong, q, believed, strict=True)
                ]
    planes = [_plane(tests, settings, scale, labels) for scale in ("fixed", "profiled")] if settings.grid else []
    return SignificanceResults(tuple(significances), tuple(fakes), planes=tuple(planes))


def _against_standard_model(
    tests: HypothesisTests, settings: SignificanceSettings, scale: Scale
) -> dict[tuple[float, float], tuple[Minima, int]]:
    """Fit the standard model to the Asimov data of all tested points, in one call."""
    points, rows = [], []
    for _, c_t, c_g in settings.points():
        try:
            rows.append(tests.counts((c_t, c_g)))
        except (DataError, TemplateError):
            # Said in the record of the point, whose own likelihood fails for the same reason.
            continue
        points.append((c_t, c_g))
    if not points:
        return {}
    minima = tests.lowest(STANDARD_MODEL, np.stack(rows), scale)
    return {point: (minima, number) for number, point in enumerate(points)}


def _plane(
    tests: HypothesisTests, settings: SignificanceSettings, scale: Scale, labels: dict[str, Any]
) -> SignificancePlane:
    """Test every point of the plane against data of the standard model."""
    offsets, along = settings.axes()
    nominal = tests.counts(STANDARD_MODEL)[None]
    z: Float64[np.ndarray, "offset c_g"] = np.full((len(offsets), len(along)), np.nan)
    for i, j in np.ndindex(*z.shape):
        try:
            minima = tests.lowest(settings.point(float(along[j]), float(offsets[i])), nominal, scale)
        except (DataError, TemplateError):
            # Couplings without a tabulated likelihood stay blank in the figure.
            continue
        if minima.converged[0]:
            z[i, j] = root(2 * minima.nll)[0]
    return SignificancePlane(**labels, scale=scale, offset=offsets, c_g=along, z=z, slope=settings.slope)


def _benchmark(records: Sequence[SignificanceRecord], channels: str, wanted: float) -> tuple[float, float]:
    """Return the point of the line whose profiled significance is closest to `wanted`."""
    known = [
        (abs(r.z - wanted), (r.c_t, r.c_g))
        for r in records
        if r.channels == channels and r.scale == "profiled" and r.direction == "sm_data" and r.offset == 0.0
        if r.z is not None
    ]
    if not known:
        reason = next((r.verdict for r in records if r.channels == channels), "")
        raise ConfigError(f"significance: no point of the blind line could be tested in {channels} ({reason})")
    return min(known)[1]


def _toy_check(
    tests: HypothesisTests, theta: Couplings, settings: SignificanceSettings, strategy: str, seed: int
) -> ToyCheckRecord:
    """Compare the median of q over pseudo-experiments with its Asimov value."""
    q = np.sort(tests.toys(theta, "profiled", seed, settings.toys))
    if len(q) < 2:
        raise ConfigError(f"significance.toys: {len(q)} of {settings.toys} pseudo-experiments converged; ask for more")
    # The number of values below the median is binomial with a spread of sqrt(n) / 2.
    reach = 0.5 * np.sqrt(len(q)) / len(q)
    low, high = np.quantile(q, [max(0.0, 0.5 - reach), min(1.0, 0.5 + reach)])
    asimov = 2 * tests.lowest(theta, tests.counts(STANDARD_MODEL)[None], "profiled").nll[0]
    return ToyCheckRecord(
        strategy=strategy,
        seed=seed,
        channels=tests.name,
        c_t=theta[0],
        c_g=theta[1],
        scale="profiled",
        toys=len(q),
        median=float(np.median(q)),
        median_error=float(0.5 * (high - low)),
        asimov=float(asimov),
    )
