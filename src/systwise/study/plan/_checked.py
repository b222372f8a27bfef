"""What an analysis file and its events hold, region by region: yields after the selection, and what each nuisance does.

The remarks are those of combine's ValidateDatacards: an effect on one side only, on both sides the same way, larger
than `LARGE`, smaller than `SMALL`, none at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from systwise.cases import AbstractCase, Analysis, Finding, Progress
from systwise.events import EventTable, check_events
from systwise.parameters import Nuisance
from systwise.templates import yields

LARGE = 0.10
"""Relative change of a yield by one standard deviation that deserves a look."""
COMPARED = 1_000_000
"""Events that are compared at most to find the same ones in two samples."""
SMALL = 1e-4
"""Relative change below which a nuisance may be pruned."""


@dataclasses.dataclass(frozen=True)
class SampleYield:
    """A sample in a region.

    Attributes:
        name: of the sample.
        read, kept: events in the files, and after the selection at nominal nuisances.
        effective: effective number of events, `(sum w)^2 / sum w^2`.
        expected: events after the selection.
    """

    name: str
    read: int
    kept: int
    effective: float
    expected: float


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a nuisance does to the yield of a sample after the selection.

    Attributes:
        nuisance, sample: names.
        down, up: relative changes at one standard deviation.
        remark: what deserves a look; empty where nothing does.
    """

    nuisance: str
    sample: str
    down: float
    up: float
    remark: str


@dataclasses.dataclass(frozen=True)
class RegionCheck:
    """One region.

    Attributes:
        name, kind: of the region.
        observable: features, or the variable with its number of bins.
        samples: its samples.
        effects: of all nuisances, those that do something or should.
        observed: observed events; None in a blinded region, and without data.
        findings: what was found in the files.
        notes: what deserves a warning.
    """

    name: str
    kind: str
    observable: str
    samples: tuple[SampleYield, ...]
    effects: tuple[Effect, ...]
    observed: int | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def check_region(case: Analysis, limit: int | None, progress: Progress) -> RegionCheck:
    """Read a region's events, and the data of a control or validation region.

    Raises:
        DataError: the events are missing or unusable.
    """
    table, findings = case.read(progress, limit)
    check_events(table, () if case.given else case.present)
    sides = [_sides(case, nuisance) for nuisance in case.shape_nuisances]
    nominal = np.array([n.nominal for n in case.nuisances])
    points = [nominal]
    for j, ends in enumerate(sides):
        for value in ends:
            point = nominal.copy()
            point[j] = value
            points.append(point)
    found = yields(case, table, np.arange(len(table)), np.array(points), progress=progress)
    samples = _samples(case, table, found[0], findings)
    effects = _effects(case, found, samples)
    observed = None
    if case.kind != "signal" and case.settings.observed:
        observed = int(case.observed(progress).weights.sum())
    region = case.view.region
    bins = "" if region.binning is None else f" in {len(region.binning) - 1} bins"
    observable = f"{region.variable}{bins}" if case.given else ", ".join(case.features)
    notes = (*table.notes, *_remarks(effects), *_poor(case, samples), *_repeated(case, table))
    return RegionCheck(case.region, case.kind, observable, samples, effects, observed, findings, notes)


def _sides(case: Analysis, nuisance: Nuisance) -> tuple[float, float]:
    """Return a nuisance's values one standard deviation down and up, within its range."""
    width = next(action.entry.width for action in case.actions if action.entry.name == nuisance.name)
    low, high = nuisance.range
    return max(low, nuisance.nominal - width), min(high, nuisance.nominal + width)


def _by_sample(case: Analysis, components: np.ndarray) -> np.ndarray:
    """Return `[..., sample]` sums of `[..., component]` at the nominal parameters of interest."""
    weighted = components * case.components.reference()
    out = np.zeros((*weighted.shape[:-1], len(case.settings.processes)))
    for k, term in enumerate(case.terms):
        out[..., term.sample] += weighted[..., k]
    return out


def _samples(
    case: Analysis, table: EventTable, nominal: np.ndarray, findings: Sequence[Finding]
) -> tuple[SampleYield, ...]:
    read = {finding.label: finding.read or 0 for finding in findings}
    totals = _by_sample(case, nominal)
    weights = selected_weights(case, table) @ case.components.reference()
    out = []
    for number in case.view.samples:
        own = weights[table.process == number]
        squares = float(np.sum(own**2))
        effective = float(np.sum(own)) ** 2 / squares if squares > 0 else 0.0
        name = case.settings.processes[number].name
        out.append(SampleYield(name, read[name], int(np.sum(own != 0)), effective, float(totals[number])))
    return tuple(out)


def selected_weights(case: AbstractCase, table: EventTable) -> np.ndarray:
    """Return the weights `[event, component]` after the selection at nominal nuisances."""
    z = jnp.array([n.nominal for n in case.nuisances], jnp.float32)
    out = []
    for rows, events in table.blocks(np.arange(len(table)), 65_536):
        out.append(np.asarray(case.vary(events, z).weights, np.float64)[: len(rows)])
    return np.concatenate(out)


def _effects(case: Analysis, found: np.ndarray, samples: Sequence[SampleYield]) -> tuple[Effect, ...]:
    """Return the effect of every nuisance on every sample that it acts on."""
    by_sample = _by_sample(case, found)
    names = [sample.name for sample in case.settings.processes]
    out = []
    for j, nuisance in enumerate(case.shape_nuisances):
        down, up = by_sample[1 + 2 * j], by_sample[2 + 2 * j]
        acted = {k for action in case.view.actions if action.entry.name == nuisance.name for k in action.samples}
        for k in sorted(acted):
            changes = _change(down[k], by_sample[0][k]), _change(up[k], by_sample[0][k])
            one = next(sample for sample in samples if sample.name == names[k])
            out.append(Effect(nuisance.name, names[k], *changes, _remark(*changes, one.effective, shape=True)))
    for rate in case.normalisations:
        if rate.kind == "linear":
            continue
        down_factor, up_factor = rate.factors
        own = {term.sample for term in case.terms if term.name in rate.components}
        for k in sorted(own & set(case.view.samples)):
            changes = down_factor - 1, up_factor - 1
            out.append(Effect(rate.nuisance, names[k], *changes, _remark(*changes, np.inf, shape=False)))
    return tuple(out)


def _change(varied: float, nominal: float) -> float:
    return varied / nominal - 1 if nominal else 0.0


def _remark(down: float, up: float, effective: float, shape: bool) -> str:
    if abs(down) < SMALL and abs(up) < SMALL:
        return "" if shape else "no effect"
    if min(abs(down), abs(up)) < 0.05 * max(abs(down), abs(up)) and max(abs(down), abs(up)) > 1e-3:
        return "one side only"
    if down * up > 0 and max(abs(down), abs(up)) > 1e-3:
        return "both sides the same way"
    if max(abs(down), abs(up)) > 1:
        return "above 100 %, do these events or weights belong to the sample?"
    if max(abs(down), abs(up)) > LARGE + 1e-9:
        return f"above {100 * LARGE:.0f} %"
    return ""


def _remarks(effects: Sequence[Effect]) -> list[str]:
    """Return one sentence a nuisance and remark."""
    found: dict[tuple[str, str], list[str]] = {}
    for effect in effects:
        if effect.remark:
            found.setdefault((effect.nuisance, effect.remark), []).append(effect.sample)
    return [f"{nuisance}: {remark} on the yield of {', '.join(names)}" for (nuisance, remark), names in found.items()]


def _poor(case: Analysis, samples: Sequence[SampleYield]) -> list[str]:
    """Return what speaks against samples, as far as a fit of this region goes."""
    notes = []
    free = case.freely_normalised
    if case.kind == "control" and free and not any(s.kept and s.name in free for s in samples):
        notes.append(f"no sample with a free NormFactor ({', '.join(sorted(free))}) is here: it controls none of them")
    for sample in samples:
        if sample.kept > 1 and sample.expected == sample.kept and sample.effective == sample.kept:
            notes.append(
                f"every event of sample '{sample.name}' has weight 1; if these are observed events, say Data: true"
            )
        if sample.expected < 0:
            notes.append(
                f"sample '{sample.name}' has a negative yield of {sample.expected:.4g} events in {case.region}"
            )
        elif sample.kept == 0:
            notes.append(f"sample '{sample.name}' has no events here")
    return notes


def _repeated(case: Analysis, table: EventTable) -> list[str]:
    """Return a sentence for every pair of samples that hold the same events, and how many.

    Events are the same where all features are; one feature alone may agree by chance.
    """
    if table.features.shape[1] < 2:
        return []
    notes: list[str] = []
    seen: dict[str, np.ndarray] = {}
    fraction = max(1, len(table) // COMPARED)
    for number in case.view.samples:
        if case.settings.processes[number].estimate is not None:
            continue
        name = case.settings.processes[number].name
        hashed = _hashed(table.features[(table.process == number) & (table.weights != 0).any(axis=1)])
        # Of many events those with some values of the hash stand for all, the same ones in every sample.
        rows = np.unique(hashed[hashed % np.uint64(fraction) == 0])
        for other, known in seen.items():
            both = len(np.intersect1d(rows, known, assume_unique=True))
            if both > 0.01 * min(len(rows), len(known)):
                count = f"{both:,}" if fraction == 1 else f"about {both * fraction:,}"
                notes.append(f"{count} events of '{name}' are events of '{other}' too; cut them in one of the two")
        seen[name] = rows
    return notes


def _hashed(features: np.ndarray) -> np.ndarray:
    """Return a 64-bit number for each row, the same for the same features (multiplicative hashing of their bits)."""
    bits = np.ascontiguousarray(features, np.float32).view(np.uint32).astype(np.uint64)
    total = np.zeros(len(bits), np.uint64)
    for column in bits.T:
        total = (total ^ column) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total
