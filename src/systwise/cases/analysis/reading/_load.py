"""From the files of an analysis to one event table: nominal events first, shifted samples beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from systwise.cases.analysis.file._nuisances import anchored_templates
from systwise.cases.analysis.file._structure import Action, Term
from systwise.cases.analysis.file._view import RegionView
from systwise.cases.analysis.reading._compare import Finding, kinship, relative_change, same_events, swapped
from systwise.cases.analysis.reading._layout import CODE, OWN, Layout, weights_of
from systwise.cases.analysis.reading._read import Rows, Source, generated_weights
from systwise.cases.analysis.reading._sources import Sources
from systwise.cases.analysis.reading._tallies import Tallies
from systwise.errors import DataError
from systwise.events import EventTable, Expression, base_name, column_names, hash_ids


def _column(name: str) -> Expression:
    return Expression(f"`{name}`")


Reader = Callable[[Source, Sequence[Expression]], Rows]
"""Returns values of expressions for the events of a source."""


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


class Loader:
    """Reads the samples one after the other and gathers rows of the table."""

    def __init__(
        self,
        view: RegionView,
        layout: Layout,
        terms: Sequence[Term],
        sources: Sources,
        read: Reader,
        tallies: Tallies,
        first_id: int = 0,
    ) -> None:
        """Keep what describes the analysis.

        Args:
            view: the analysis as the region sees it.
            layout: where everything stands in the table.
            terms: the components.
            sources: where files are.
            read: returns the rows of a source, all or a portion of them.
            tallies: counts what is to be checked when all rows were read.
            first_id: number of the first event.
        """
        self.view, self.settings, self.layout, self.terms = view, view.settings, layout, terms
        self.sources, self.read, self.tallies, self.first_id = sources, read, tallies, first_id
        self.findings: list[Finding] = []
        self.warnings: list[str] = []
        self.parts: dict[str, list[np.ndarray]] = {
            k: [] for k in ("features", "weights", "columns", "process", "origin")
        }

    def load(self, fingerprint: str = "", samples: Sequence[int] | None = None) -> Loaded:
        """Read everything, or some samples; the table carries the fingerprint.

        Raises:
            DataError: the input is missing or unusable.
        """
        for number in self.view.samples if samples is None else samples:
            rows, weights, seen = self._nominal(number)
            for action, variation in self.layout.samples:
                if number in action.samples:
                    self._shifted(number, action, variation.anchors, variation.first, _Nominal(rows, weights, seen))
        return Loaded(self._table(fingerprint), tuple(self.findings))

    def _nominal(self, number: int) -> tuple[Rows, np.ndarray, np.ndarray]:
        """Add the nominal events of a sample; return the rows, weights and features of its only or last source."""
        read = kept = 0
        total = 0.0
        for source in self.sources.nominal(number):
            estimated = self.settings.processes[number].estimate is not None
            rows = self._read(source, [] if estimated else self.weight_expressions(number))
            weights = self._scaled(number, rows, source)
            columns = self._columns(number, source, rows, shifted=estimated)
            if self.layout.samples:
                columns[:, OWN : OWN + len(self.terms)] = weights
            seen = self._append(number, rows, weights, columns, source)
            read, kept, total = read + rows.read, kept + len(rows.ids), total + float(weights.sum(dtype=np.float64))
        self.findings.append(Finding(self.settings.processes[number].name, read, kept, total))
        return rows, weights, seen

    def observed(self) -> EventTable:
        """Return the observed events of the region, weight 1 each, as events of the first component.

        Raises:
            ConfigError: the region has no data.
            DataError: the data are missing or unusable.
        """
        for source in self.sources.data():
            self._count(source)
        return self._table(self.sources.fingerprint())

    def count(self, source: Source) -> EventTable:
        """Return the events of one source as if they were observed."""
        self._count(source)
        return self._table("")

    def wanted(self, source: Source) -> list[Expression]:
        """Return what is evaluated for the events of a source, beside weights."""
        return [*self.layout.features, *map(_column, self._raw_of(source))]

    def _count(self, source: Source) -> None:
        rows = self._read(source, [])
        own = rows.values[source.weight.text]
        if not np.all(own == 1):
            raise DataError(
                f"{source.where}: {source.label} has weights other than 1; data are counted, so leave out Weight "
                "(or Data, if this is simulation)"
            )
        weights = np.zeros((len(own), len(self.terms)), np.float32)
        weights[:, 0] = own
        columns = self._columns(-1, source, rows)
        if self.layout.samples:
            columns[:, OWN : OWN + len(self.terms)] = weights
        # A process of their own, which no variation acts on and no late cut asks again.
        self._append(len(self.settings.processes), rows, weights, columns, source)

    def _table(self, fingerprint: str) -> EventTable:
        joined = {key: np.concatenate(parts) for key, parts in self.parts.items()}
        settings, files = self.settings, list(self.sources.files)
        return EventTable(
            features=joined["features"],
            weights=joined["weights"],
            process=joined["process"],
            id=self.first_id + np.arange(len(joined["process"]), dtype=np.int64),
            feature_names=tuple(name for name, _ in self.view.features),
            component_names=tuple(term.name for term in self.terms),
            processes=(*(sample.name for sample in settings.processes), "data"),
            source=files[0] + (f" and {len(files) - 1} more files" if len(files) > 1 else ""),
            fingerprint=fingerprint,
            columns=joined["columns"] if self.layout.width else None,
            origin=joined["origin"],
            notes=tuple(dict.fromkeys(self.warnings)),
        )

    def weight_expressions(self, number: int) -> list[Expression]:
        """Return the weights that variations and components need, of those that the files have."""
        texts = [t.weight for t in self.terms if t.sample == number and t.weight is not None]
        for action, _ in self.layout.weights:
            if number in action.samples:
                texts += [text for weights in weights_of(action.entry).values() for text in weights]
        return [Expression(text) for text in texts]

    def _read(self, source: Source, more: Sequence[Expression]) -> Rows:
        return self.read(source, [*self.wanted(source), *more])

    def _raw_of(self, source: Source) -> list[str]:
        """Return the raw columns of a source; data need not have what functions ask of simulation."""
        if not source.of.data:
            return list(self.layout.raw)
        present = set(column_names(source.paths[0], source.tree))
        variable = self.view.region.variable
        needed = set(Expression(variable).names) if variable is not None else set()
        return [n for n in self.layout.raw if n in needed or n in present or base_name(n) in present]

    def _scaled(self, number: int, rows: Rows, source: Source) -> np.ndarray:
        """Return weights `[event, component]` in expected events.

        Raises:
            DataError: those of all events add up to nothing.
        """
        sample, general = source.of, self.settings.general
        scale = source.factor
        if sample.cross_section is not None:
            total = generated_weights(source) or rows.total
            if not total > 0:
                raise DataError(f"{source.where}: the weights of all events add up to {total:g}; set SumOfWeights")
            scale *= general.luminosity * sample.cross_section / total
        out = np.zeros((len(rows.ids), len(self.terms)), np.float32)
        for k, term in enumerate(self.terms):
            if term.sample == number:
                weight = source.weight.text if term.weight is None else term.weight
                out[:, k] = rows.values[weight] * scale * term.factor
        words = f"{source.where}: all weights of {source.label} are zero; check Weight and Filter"
        if len(out) or not self.view.given:  # a given region may be without events of a process
            self.tallies.not_all_zero(out, words)
        return out

    def _columns(self, number: int, source: Source, rows: Rows, shifted: bool = False) -> np.ndarray:
        """Return the further columns `[event, column]` of a source."""
        out = np.zeros((len(rows.ids), self.layout.width), np.float32)
        for action, variation in self.layout.weights:
            if number in action.samples and not source.of.data:
                logs = self._log_ratios(action, source, rows, shifted)
                out[:, variation.first : variation.first + len(logs)] = np.stack(logs, axis=1)
        for name in self._raw_of(source):
            out[:, self.layout.first_raw + self.layout.raw.index(name)] = rows.values[f"`{name}`"]
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
            changes[value] = relative_change(float(varied.sum()), float(nominal.sum()))
        if not shifted and len(nominal):
            one, *others = found.values()
            if len(others) == 1 and np.array_equal(one, others[0]):
                self.warnings.append(f"{action.where}: Up and Down of sample '{name}' are identical; check the weights")
            self._warn(swapped(action, name, changes))
        for value, side in anchored_templates(entry).items():
            if side.symmetrize:
                found[value] = -found[2 * entry.nominal - value]
        return [found[value] for value in sorted(found)]

    def _logs(
        self, action: Action, source: Source, value: float, nominal: np.ndarray, varied: np.ndarray, shifted: bool
    ) -> np.ndarray:
        where = f"{action.where} at {action.entry.name}={value:g}"
        self.tallies.not_all_zero(varied, f"{where}: all weights of {source.label} are zero; check the column")
        totals = float(nominal.sum()), float(varied.sum())
        with np.errstate(all="ignore"):
            ratio, mean = varied / nominal, totals[1] / totals[0]
        bad = ~(np.isfinite(ratio) & (ratio > 0))
        mended = int(np.sum(bad & (nominal != 0)))
        self.tallies.positive_ratios(where, source.label, mended, nominal, varied)
        if not mean > 0:  # a portion with a handful of events, or one that the tallies will refuse
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
        name, base = self.settings.processes[number].name, nominal.weights.sum(dtype=np.float64)
        changes: dict[float, float] = {}
        seen: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        for value, side in anchored_templates(action.entry).items():
            if side.symmetrize:
                continue
            source = self.sources.shifted(number, action, value, side)
            label = source.label
            present = set(column_names(source.paths[0], source.tree))
            more = [
                e
                for e in self.weight_expressions(number)
                if all(n in present or base_name(n) in present for n in e.names)
            ]
            rows = self._read(source, more)
            weights = self._scaled(number, rows, source)
            columns = self._columns(number, source, rows, shifted=True)
            columns[:, CODE] = first + anchors.index(value)
            columns[:, OWN : OWN + len(self.terms)] = weights
            # At the nominal point, which is what the table's weights are for, these rows do not count.
            features = self._append(number, rows, np.zeros_like(weights), columns, source)
            total = float(weights.sum(dtype=np.float64))
            changes[value] = relative_change(total, base)
            seen[value] = (features, weights)
            remark = kinship(nominal.rows, rows)
            if same_events(seen[value], (nominal.features, nominal.weights)):
                self.warnings.append(
                    f"{action.where}: {label} is identical to the nominal sample; nothing varies there"
                )
                remark = "identical to nominal"
            self.findings.append(
                Finding(
                    f"{name}, {action.entry.name}={value:g}", rows.read, len(rows.ids), total, changes[value], remark
                )
            )
        if len(seen) == 2 and same_events(*seen.values()):
            self.warnings.append(f"{action.where}: Up and Down of sample '{name}' are identical; check the files")
        self._warn(swapped(action, name, changes))

    def _warn(self, words: str | None) -> None:
        if words is not None:
            self.warnings.append(words)

    def _append(self, number: int, rows: Rows, weights: np.ndarray, columns: np.ndarray, source: Source) -> np.ndarray:
        """Add rows to the table and return their features."""
        name = source.sample
        # Row i of a shifted file without event ids counts as kin of row i: shared folds do no harm if it is not.
        origin = (hash_ids(rows.ids, name) >> np.uint64(1)).astype(np.int64)
        features = np.stack([rows.values[f.text] for f in self.layout.features], axis=1).astype(np.float32)
        self.parts["features"].append(features)
        self.parts["weights"].append(weights)
        self.parts["columns"].append(columns)
        self.parts["process"].append(np.full(len(rows.ids), number, np.int8))
        self.parts["origin"].append(origin)
        return features
