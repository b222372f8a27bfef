"""What an analysis file and its events hold, region by region: yields after the selection, and what each nuisance does.

The remarks are those of combine's ValidateDatacards: an effect on one side only, on both sides the same way, larger
than `LARGE`, smaller than `SMALL`, none at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from systwise.cases import AbstractCase, Analysis, Finding, Portion, Progress
from systwise.events import EventTable, SplitSettings, check_finite, check_parts, check_yields, scheme_of, split_ids
from systwise.parameters import Nuisance
from systwise.study.plan._doubts import Doubts
from systwise.templates import in_order, yields

LARGE = 0.10
"""Relative change of a yield by one standard deviation that deserves a look."""
COMPARED = 1_000_000
"""Events that are compared at most to find the same ones in two samples."""
FEW = 2000
"""Events of a component beyond which every part of a split has some."""
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


def check_region(case: Analysis, limit: int | None, split: SplitSettings, progress: Progress) -> RegionCheck:
    """Read a region's events a few at a time, and the data of a control or validation region.

    Args:
        case: the region.
        limit: events to read of each sample, all where None.
        split: how a run would share the events; untold where they are not all read.
        progress: told about reading.

    Raises:
        DataError: the events are missing or unusable.
    """
    sums = _Sums(case)
    for portion in case.portions(progress, limit):
        sums.add(portion)
    sums.check(split if limit is None else None)
    samples = sums.samples()
    effects = _effects(case, sums.yields, samples)
    observed = None
    if case.kind != "signal" and case.settings.observed:
        observed = int(case.observed(progress).weights.sum())
    region = case.view.region
    bins = "" if region.binning is None else f" in {len(region.binning) - 1} bins"
    observable = f"{region.variable}{bins}" if case.given else ", ".join(case.features)
    notes = (
        *dict.fromkeys(sums.notes),
        *sums.doubts.notes(),
        *_remarks(effects),
        *_poor(case, samples),
        *_repeated(case, sums.hashes, sums.thinned),
    )
    return RegionCheck(case.region, case.kind, observable, samples, effects, observed, tuple(sums.findings), notes)


class _Sums:
    """What adds up over the events of a region."""

    def __init__(self, case: Analysis) -> None:
        """Begin with nothing: yields at the nominal point, and down and up of each nuisance."""
        self.case = case
        nominal = np.array([n.nominal for n in case.nuisances])
        points = [nominal]
        for j, nuisance in enumerate(case.shape_nuisances):
            for value in _sides(case, nuisance):
                point = nominal.copy()
                point[j] = value
                points.append(point)
        self.points = np.array(points)
        self.yields = np.zeros((len(points), len(case.terms)))
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.hashes: dict[int, np.ndarray] = {}
        self.thinned = 1
        self.doubts = Doubts(case)
        self._kept: dict[int, np.ndarray] = {number: np.zeros(3) for number in case.view.samples}
        self._total = np.zeros((len(case.settings.processes), len(case.terms)))
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._few = np.zeros(len(case.terms), int)
        self._events = 0
        self._source = ""

    def add(self, portion: Portion) -> None:
        """Add some events.

        Raises:
            DataError: a number is NaN or infinite.
        """
        case, table, number = self.case, portion.table, portion.sample
        self.findings += portion.findings
        self.notes += portion.notes
        self._events += len(table)
        self._source = self._source or table.source
        if not len(table):
            return
        check_finite(table)
        self.yields += yields(case, table, np.arange(len(table)), self.points)
        weights = selected_weights(case, table) @ case.components.reference()
        self.doubts.add(table, number, weights, self._scores(table))
        own = weights[table.process == number]
        self._kept[number] += np.sum(own != 0), np.sum(own), np.sum(own**2)
        self._total[number] += table.weights.sum(axis=0, dtype=np.float64)
        counted = table.weights.any(axis=1)
        if table.features.shape[1] > 1 and case.settings.processes[number].estimate is None:
            self._remember(number, _hashed(table.features[counted]))
        # Whether every part of a split has events of a component is in question where there are a few only.
        for k in np.flatnonzero(self._few < FEW):
            rows = np.flatnonzero(table.weights[:, k])[: FEW - self._few[k]]
            self._few[k] += len(rows)
            self._rows.append((table.kin[rows], table.weights[rows]))

    def _scores(self, table: EventTable) -> np.ndarray | None:
        """Return the region's Variable where it has a range instead of bins."""
        case = self.case
        if not case.has_score or case.score_edges is not None:
            return None
        rows, folds = np.arange(len(table)), np.zeros(len(table), np.int32)
        (found,) = in_order(lambda events, fold: (case.score(events),), table, rows, folds, 65_536)
        return found

    def _remember(self, number: int, hashed: np.ndarray) -> None:
        """Keep hashes of a sample's events; of too many those with some values, the same ones in every sample."""
        own = self.hashes.get(number, hashed[:0])
        self.hashes[number] = np.concatenate([own, hashed[hashed % np.uint64(self.thinned) == 0]])
        while sum(map(len, self.hashes.values())) > COMPARED:
            self.thinned *= 2
            self.hashes = {k: kept[kept % np.uint64(self.thinned) == 0] for k, kept in self.hashes.items()}

    def samples(self) -> tuple[SampleYield, ...]:
        """Return what each sample holds."""
        read = {finding.label: finding.read or 0 for finding in self.findings}
        totals = _by_sample(self.case, self.yields[0])
        out = []
        for number in self.case.view.samples:
            kept, total, squares = self._kept[number].tolist()
            name = self.case.settings.processes[number].name
            effective = total**2 / squares if squares > 0 else 0.0
            out.append(SampleYield(name, read[name], int(kept), effective, float(totals[number])))
        return tuple(out)

    def check(self, split: SplitSettings | None) -> None:
        """Refuse what a run would refuse.

        Raises:
            DataError: a sample of negative yield, a component without events, or one that a part of the split lacks.
        """
        case = self.case
        present = () if case.given else case.present
        names = tuple(term.name for term in case.terms)
        check_yields(self._source, [s.name for s in case.settings.processes], names, self._total, present)
        if split is not None and not case.given:
            ids, weights = (np.concatenate(each) for each in zip(*self._rows, strict=True))
            check_parts(self._source, names, weights, split_ids(ids, split, scheme_of(split, self._events)))


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


def selected_weights(case: AbstractCase, table: EventTable) -> np.ndarray:
    """Return the weights `[event, component]` after the selection at nominal nuisances."""
    z = jnp.array([n.nominal for n in case.nuisances], jnp.float32)
    if not len(table):
        return np.zeros(table.weights.shape)
    rows, folds = np.arange(len(table)), np.zeros(len(table), np.int32)
    (found,) = in_order(lambda events, fold: (case.vary(events, z).weights,), table, rows, folds, 65_536)
    return found.astype(np.float64)


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


def _repeated(case: Analysis, hashes: Mapping[int, np.ndarray], thinned: int) -> list[str]:
    """Return a sentence for every pair of samples that hold the same events, and how many.

    Events are the same where all features are; one feature alone may agree by chance.

    Args:
        case: the region.
        hashes: of the events of each sample, by its number.
        thinned: how many events each of them stands for.
    """
    notes: list[str] = []
    seen: dict[str, np.ndarray] = {}
    for number, own in hashes.items():
        name, rows = case.settings.processes[number].name, np.unique(own)
        for other, known in seen.items():
            both = len(np.intersect1d(rows, known, assume_unique=True))
            if both > 0.01 * min(len(rows), len(known)):
                count = f"{both:,}" if thinned == 1 else f"about {both * thinned:,}"
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
