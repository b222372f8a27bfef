"""From the files of an analysis to one event table: nominal events first, shifted samples beside them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from systwise.cases._case import Progress
from systwise.cases.analysis._layout import CODE, OWN, Layout, weights_of
from systwise.cases.analysis._nuisances import anchored_templates
from systwise.cases.analysis._read import Rows, Source, find_files, read_source
from systwise.cases.analysis._settings import AnalysisSettings, Template
from systwise.cases.analysis._stage import Stage
from systwise.cases.analysis._structure import Action, Term
from systwise.errors import DataError
from systwise.events import EventTable, Expression, base_name, column_names, file_fingerprint, hash_ids

MENDED = 0.01
"""Largest fraction of events whose varied weight may have no logarithm."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of what was found: a sample or a variation of it.

    Attributes:
        label: which.
        read, kept: events in the files and after the selection; None for weights.
        total: expected events.
        change: relative to the nominal sample; None for that itself.
        remark: what a reader should know.
    """

    label: str
    read: int | None
    kept: int | None
    total: float
    change: float | None = None
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The table, what was found in the files, and what deserves a warning."""

    table: EventTable
    findings: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True)
class _Nominal:
    """The nominal events of a sample, with which shifted ones are compared."""

    rows: Rows
    weights: np.ndarray
    features: np.ndarray


@dataclasses.dataclass
class Signs:
    """How many varied weights of a source have another sign than the nominal ones.

    Attributes:
        where: path in the analysis file, with the nuisance value.
        label: of the source.
        mended: events that have.
        events: all.
        nominal, varied: total weights.
    """

    where: str
    label: str
    mended: int = 0
    events: int = 0
    nominal: float = 0.0
    varied: float = 0.0

    def add(self, mended: int, events: int, totals: tuple[float, float]) -> None:
        """Count more events; `totals` are their nominal and varied weights."""
        self.mended += mended
        self.events += events
        self.nominal += totals[0]
        self.varied += totals[1]

    def check(self) -> None:
        """Refuse a variation that is no positive factor.

        Raises:
            DataError: too many events have a weight of another sign, or all of them together have.
        """
        if self.mended > MENDED * self.events or not self.nominal * self.varied > 0:
            raise DataError(
                f"{self.where}: the weight has another sign than the nominal one in {self.mended:,} of "
                f"{self.events:,} events of {self.label}; a weight variation needs positive ratios"
            )


class Loader:
    """Reads the samples one after the other and gathers rows of the table."""

    def __init__(
        self,
        settings: AnalysisSettings,
        layout: Layout,
        terms: Sequence[Term],
        moved: Sequence[str],
        progress: Progress,
        limit: int | None = None,
        stage: Stage | None = None,
        first_id: int = 0,
    ) -> None:
        """Keep what describes the analysis.

        Args:
            settings: the analysis.
            layout: where everything stands in the table.
            terms: the components.
            moved: columns that functions change.
            progress: told about blocks read.
            limit: events to read of each sample, all where None.
            stage: where a portion of the events is, None to read the files.
            first_id: number of the first event.
        """
        self.settings, self.layout, self.terms = settings, layout, terms
        self.moved, self.progress, self.limit = set(moved), progress, limit
        self.stage, self.first_id = stage, first_id
        self.findings: list[Finding] = []
        self.warnings: list[str] = []
        self.parts: dict[str, list[np.ndarray]] = {
            k: [] for k in ("features", "weights", "columns", "process", "origin")
        }
        self.files: dict[str, None] = {}
        self.signs: dict[str, Signs] = {}

    def load(self) -> Loaded:
        """Read everything.

        Raises:
            DataError: the input is missing or unusable.
        """
        for number, sample in enumerate(self.settings.samples):
            source = self._nominal_source(number)
            rows = self._read(source, number, self._weight_expressions(number, source))
            weights = self._scaled(number, rows, source)
            self.findings.append(Finding(sample.name, rows.read, len(rows.ids), float(weights.sum())))
            columns = self._columns(number, source, rows)
            if self.layout.samples:
                columns[:, OWN : OWN + len(self.terms)] = weights
            seen = self._append(number, rows, weights, columns)
            for action, variation in self.layout.samples:
                if number in action.samples:
                    self._shifted(number, action, variation.anchors, variation.first, _Nominal(rows, weights, seen))
        joined = {key: np.concatenate(parts) for key, parts in self.parts.items()}
        return Loaded(self._table(joined), tuple(self.findings))

    def _table(self, joined: dict[str, np.ndarray]) -> EventTable:
        settings, files = self.settings, list(self.files)
        return EventTable(
            features=joined["features"],
            weights=joined["weights"],
            process=joined["process"],
            id=self.first_id + np.arange(len(joined["process"]), dtype=np.int64),
            feature_names=tuple(feature.name for feature in settings.region.features),
            component_names=tuple(term.name for term in self.terms),
            processes=tuple(sample.name for sample in settings.samples),
            source=files[0] + (f" and {len(files) - 1} more files" if len(files) > 1 else ""),
            # Portions of a store share its fingerprint, which is taken once.
            fingerprint=self.fingerprint() if self.limit is None and self.stage is None else "",
            columns=joined["columns"] if self.layout.width else None,
            origin=joined["origin"],
            notes=tuple(dict.fromkeys(self.warnings)),
        )

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the content of all files that were looked up."""
        digest = hashlib.sha256(self.settings.model_dump_json(exclude={"folder"}).encode())
        for path in self.files:
            digest.update(file_fingerprint(path).encode())
        return digest.hexdigest()

    def sources(self) -> list[Source]:
        """Look up the files of all samples, nominal and shifted.

        Raises:
            DataError: one is missing.
        """
        found: list[Source] = []
        for number in range(len(self.settings.samples)):
            found.append(self._nominal_source(number))
            for action, _ in self.layout.samples:
                if number in action.samples:
                    sides = anchored_templates(action.entry).items()
                    found += [self._shifted_source(number, action, v, side) for v, side in sides if not side.symmetrize]
        return found

    def _source(self, number: int, label: str, where: str, side: Template | None) -> Source:
        """Return where a sample's events come from, overridden by one side of a systematic uncertainty."""
        sample, region = self.settings.samples[number], self.settings.region
        paths, tree, text = sample.sample_path, sample.tree, sample.filter or region.filter
        weight = sample.weight
        own = f"Samples.{number}"
        if side is not None:
            paths, own = (side.sample_path, where) if side.sample_path is not None else (paths, own)
            tree, text, weight = side.tree or tree, side.filter or text, side.weight or weight
        chosen = None if text is None else Expression(text)
        cut = () if chosen is None else tuple(p for p in chosen.parts() if not set(p.names) & self.moved)
        files = find_files(self.settings, paths, sample.name, own)
        self.files.update(dict.fromkeys(map(str, files)))
        return Source(sample.name, label, where, files, tree, Expression(weight), chosen, cut)

    def _nominal_source(self, number: int) -> Source:
        name = self.settings.samples[number].name
        return self._source(number, f"sample '{name}'", f"Samples.{number}", None)

    def _shifted_source(self, number: int, action: Action, value: float, side: Template) -> Source:
        label = f"sample '{self.settings.samples[number].name}' at {action.entry.name}={value:g}"
        return self._source(number, label, action.where, side)

    def _weight_expressions(self, number: int, source: Source) -> list[Expression]:
        """Return the weights that variations and components need, of those that the files have."""
        texts = [t.weight for t in self.terms if t.sample == number and t.weight is not None]
        for action, _ in self.layout.weights:
            if number in action.samples:
                texts += [text for weights in weights_of(action.entry).values() for text in weights]
        return [Expression(text) for text in texts]

    def _read(self, source: Source, number: int, more: Sequence[Expression]) -> Rows:
        raw = [Expression(f"`{name}`") for name in self.layout.raw]
        wanted = [*self.layout.features, *raw, *more]
        if self.stage is not None:
            return self.stage.read(source, wanted)
        return read_source(self.settings, source, wanted, self.progress, self.limit)

    def _scaled(self, number: int, rows: Rows, source: Source) -> np.ndarray:
        """Return weights `[event, component]` in expected events.

        Raises:
            DataError: they add up to nothing, or all are zero (which a portion may be).
        """
        sample, general = self.settings.samples[number], self.settings.general
        scale = 1.0
        if sample.cross_section is not None:
            total = sample.sum_of_weights or rows.total
            if not total > 0:
                raise DataError(f"{source.where}: the weights of all events add up to {total:g}; set SumOfWeights")
            scale = general.luminosity * sample.cross_section / total
        out = np.zeros((len(rows.ids), len(self.terms)), np.float32)
        for k, term in enumerate(self.terms):
            if term.sample == number:
                weight = source.weight.text if term.weight is None else term.weight
                out[:, k] = rows.values[weight] * scale * term.factor
        if self.stage is None and not np.any(out):
            raise DataError(f"{source.where}: all weights of {source.label} are zero; check Weight and Filter")
        return out

    def _columns(self, number: int, source: Source, rows: Rows, shifted: bool = False) -> np.ndarray:
        """Return the further columns `[event, column]` of a source."""
        out = np.zeros((len(rows.ids), self.layout.width), np.float32)
        for action, variation in self.layout.weights:
            if number in action.samples:
                logs = self._log_ratios(action, source, rows, shifted)
                out[:, variation.first : variation.first + len(logs)] = np.stack(logs, axis=1)
        for i, name in enumerate(self.layout.raw):
            out[:, self.layout.first_raw + i] = rows.values[f"`{name}`"]
        return out

    def _log_ratios(self, action: Action, source: Source, rows: Rows, shifted: bool) -> list[np.ndarray]:
        """Return `ln r` of each anchor but the nominal one; zero where shifted files have no such weights."""
        entry = action.entry
        nominal = rows.values[source.weight.text]
        name = source.sample
        found: dict[float, np.ndarray] = {}
        changes: dict[float, float] = {}
        for value, texts in weights_of(entry).items():
            if not all(text in rows.values for text in texts):
                found[value] = np.zeros(len(nominal))
                continue
            varied = np.stack([rows.values[text] for text in texts])
            if entry.envelope:
                varied = np.concatenate([varied, nominal[None]])
                varied = varied.max(axis=0) if value > entry.nominal else varied.min(axis=0)
            else:
                varied = varied[0]
            found[value] = self._logs(action, source, value, nominal, varied, shifted)
            changes[value] = _change(float(varied.sum()), float(nominal.sum()))
        if not shifted and len(nominal):
            one, *others = found.values()
            if len(others) == 1 and np.array_equal(one, others[0]):
                self.warnings.append(f"{action.where}: Up and Down of sample '{name}' are identical; check the weights")
            self._compare_sides(action, name, changes)
        for value, side in anchored_templates(entry).items():
            if side.symmetrize:
                found[value] = -found[2 * entry.nominal - value]
        return [found[value] for value in sorted(found)]

    def _logs(
        self, action: Action, source: Source, value: float, nominal: np.ndarray, varied: np.ndarray, shifted: bool
    ) -> np.ndarray:
        where = f"{action.where} at {action.entry.name}={value:g}"
        if self.stage is None and not np.any(varied):
            raise DataError(f"{where}: all weights of {source.label} are zero; check the column")
        totals = float(nominal.sum()), float(varied.sum())
        with np.errstate(all="ignore"):
            ratio, mean = varied / nominal, totals[1] / totals[0]
        bad = ~(np.isfinite(ratio) & (ratio > 0))
        mended = int(np.sum(bad & (nominal != 0)))
        tally = self.signs.setdefault(f"{where}|{source.label}", Signs(where, source.label))
        tally.add(mended, len(nominal), totals)
        if self.stage is None:
            tally.check()
        elif not mean > 0:  # a portion with a handful of events
            mean = 1.0
        if not shifted and len(nominal):
            same = bool(np.all(varied == nominal))
            if same:
                self.warnings.append(
                    f"{where}: the weights of {source.label} are the nominal ones; nothing varies there"
                )
            remark = "identical to nominal" if same else f"{mended} weights mended" if mended else ""
            label = f"{source.sample}, {action.entry.name}={value:g}"
            self.findings.append(Finding(label, None, None, float(varied.sum()), mean - 1, remark))
        return np.log(np.where(bad, mean, ratio))

    def _shifted(
        self,
        number: int,
        action: Action,
        anchors: tuple[float, ...],
        first: int,
        nominal: _Nominal,
    ) -> None:
        """Add the rows of a sample's shifted versions."""
        name, base = self.settings.samples[number].name, nominal.weights.sum(dtype=np.float64)
        changes: dict[float, float] = {}
        seen: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        for value, side in anchored_templates(action.entry).items():
            if side.symmetrize:
                continue
            source = self._shifted_source(number, action, value, side)
            label = source.label
            present = set(column_names(source.paths[0], source.tree))
            more = [
                e
                for e in self._weight_expressions(number, source)
                if all(n in present or base_name(n) in present for n in e.names)
            ]
            rows = self._read(source, number, more)
            weights = self._scaled(number, rows, source)
            columns = self._columns(number, source, rows, shifted=True)
            columns[:, CODE] = first + anchors.index(value)
            columns[:, OWN : OWN + len(self.terms)] = weights
            # At the nominal point, which is what the table's weights are for, these rows do not count.
            features = self._append(number, rows, np.zeros_like(weights), columns)
            total = float(weights.sum(dtype=np.float64))
            changes[value] = _change(total, base)
            seen[value] = (features, weights)
            remark = _kinship(nominal.rows, rows)
            if len(features) and _same(seen[value], (nominal.features, nominal.weights)):
                self.warnings.append(
                    f"{action.where}: {label} is identical to the nominal sample; nothing varies there"
                )
                remark = "identical to nominal"
            self.findings.append(
                Finding(
                    f"{name}, {action.entry.name}={value:g}", rows.read, len(rows.ids), total, changes[value], remark
                )
            )
        if len(seen) == 2 and len(features) and _same(*seen.values()):
            self.warnings.append(f"{action.where}: Up and Down of sample '{name}' are identical; check the files")
        self._compare_sides(action, name, changes)

    def _compare_sides(
        self,
        action: Action,
        name: str,
        changes: dict[float, float],
    ) -> None:
        """Warn where Up and Down seem to stand in each other's place."""
        if action.entry.anchors or len(changes) != 2:
            return
        low, high = sorted(changes)
        if changes[high] < 0 < changes[low]:
            self.warnings.append(
                f"{action.where}: Up lowers the yield of sample '{name}' by {-100 * changes[high]:.2g} % and Down "
                f"raises it by {100 * changes[low]:.2g} %; check that they are not swapped"
            )

    def _append(self, number: int, rows: Rows, weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Add rows to the table and return their features."""
        name = self.settings.samples[number].name
        # Row i of a shifted file without event ids counts as kin of row i: shared folds do no harm if it is not.
        origin = (hash_ids(rows.ids, name) >> np.uint64(1)).astype(np.int64)
        features = np.stack([rows.values[f.text] for f in self.layout.features], axis=1).astype(np.float32)
        self.parts["features"].append(features)
        self.parts["weights"].append(weights)
        self.parts["columns"].append(columns)
        self.parts["process"].append(np.full(len(rows.ids), number, np.int8))
        self.parts["origin"].append(origin)
        return features


def _change(varied: float, nominal: float) -> float:
    """Return the relative change; NaN where there is nothing to compare with."""
    return varied / nominal - 1 if nominal else float("nan")


def _kinship(nominal: Rows, shifted: Rows) -> str:
    """Return how the events of a shifted sample relate to the nominal ones."""
    common = np.intersect1d(nominal.ids, shifted.ids, assume_unique=True)
    share = len(common) / max(1, min(len(nominal.ids), len(shifted.ids)))
    if share < 0.5:
        return "independent events"
    order = np.array_equal(nominal.ids[np.isin(nominal.ids, common)], shifted.ids[np.isin(shifted.ids, common)])
    words = "same events" if share == 1 else f"{100 * share:.0f} % same events"
    return words if order else f"{words}, in another order"


def _same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
