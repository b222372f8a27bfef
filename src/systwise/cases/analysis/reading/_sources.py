"""Where the events of an analysis come from: the files of every sample, nominal and shifted, and of the data."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from systwise.cases.analysis.file._nuisances import anchored_templates
from systwise.cases.analysis.file._parts import matching
from systwise.cases.analysis.file._settings import Sample
from systwise.cases.analysis.file._structure import Action
from systwise.cases.analysis.file._systematics import Template
from systwise.cases.analysis.file._view import RegionView
from systwise.cases.analysis.reading._layout import Layout
from systwise.cases.analysis.reading._read import Source, find_files
from systwise.errors import ConfigError
from systwise.events import Expression, file_fingerprint
from systwise.registry import suggestion


class Sources:
    """Looks up files.

    Attributes:
        files: all that were looked up so far, in this order.
    """

    def __init__(self, view: RegionView, layout: Layout, moved: Sequence[str], code: str = "") -> None:
        """Keep what describes the region; `moved` are columns that functions change, `code` is their source."""
        self._code = code
        self._view, self._settings, self._layout, self._moved = view, view.settings, layout, set(moved)
        self.files: dict[str, None] = {}

    def nominal(self, number: int) -> list[Source]:
        """Return the nominal events of sample `number`: one source, or several for an estimate from data.

        Raises:
            ConfigError: an estimate subtracts what it cannot.
            DataError: a file is missing.
        """
        sample = self._settings.processes[number]
        if sample.estimate is None:
            return [self._source(sample, f"sample '{sample.name}'", self._settings.place(sample), None)]
        where, estimate = f"{self._settings.place(sample)}.Estimate", sample.estimate
        text = self._view.filter_of(number)
        found = [
            self._made(data, f"sample '{sample.name}' from '{data.name}'", where, text, estimate.scale, ())
            for data in self._settings.observed
        ]
        simulated = [other.name for other in self._settings.processes if other.estimate is None]
        chosen = matching(estimate.subtract, simulated, f"{where}.Subtract", "sample") if estimate.subtract else ()
        for other in self._settings.processes:
            if other.name not in chosen:
                continue
            if other.components:
                raise ConfigError(f"{where}.Subtract: sample '{other.name}' has Components; leave it out")
            label = f"sample '{other.name}' subtracted from '{sample.name}'"
            found.append(self._made(other, label, where, text, -estimate.scale, ()))
        return found

    def data(self) -> list[Source]:
        """Return the observed events of the region; a selection of the data's own takes the place of the region's.

        Raises:
            ConfigError: there are none.
            DataError: a file is missing.
        """
        settings = self._settings
        here = [
            sample
            for sample in settings.observed
            if self._view.name in settings.in_regions(sample.regions, f"{settings.place(sample)}.Regions")
        ]
        if not here:
            raise ConfigError(
                f"Regions ('{self._view.name}'): has no data; add a sample with Data: true, or make the region "
                "one of Kind validation"
            )
        region = self._view.region
        return [
            self._made(sample, f"data '{sample.name}'", settings.place(sample), sample.filter or region.filter, 1.0, ())
            for sample in here
        ]

    def file(self, name: str, path: Path, tree: str | None) -> Source:
        """Return a file whose events are taken as those of a sample at the nominal point, each counting once.

        Raises:
            ConfigError: there is no such sample, or it is made of others.
        """
        settings = self._settings
        known = {sample.name: sample for sample in (*settings.observed, *settings.processes) if sample.estimate is None}
        if name not in known:
            raise ConfigError(f"sample '{name}'{suggestion(name, list(known))}: the analysis has {', '.join(known)}")
        sample = known[name]
        text = sample.filter or self._view.region.filter
        cut = None if text is None else Expression(text)
        whole = () if cut is None else (cut,)
        self.files[str(path)] = None
        return Source(sample, f"'{path}'", "predict", (path,), tree, Expression("1"), cut, whole)

    def shifted(self, number: int, action: Action, value: float, side: Template) -> Source:
        """Return the events of sample `number` at `value` of a nuisance.

        Raises:
            DataError: a file is missing.
        """
        sample = self._settings.processes[number]
        label = f"sample '{sample.name}' at {action.entry.name}={value:g}"
        return self._source(sample, label, action.where, side)

    def all(self) -> list[Source]:
        """Return the events of all samples, nominal and shifted.

        Raises:
            DataError: a file is missing.
        """
        return [source for _, look in self.each() for source in look()]

    def each(self) -> Iterator[tuple[int | None, Callable[[], list[Source]]]]:
        """Yield what looks up the events of a sample (see `all`), with its number for the nominal ones."""
        for number in self._view.samples:
            yield number, functools.partial(self.nominal, number)
            for action, _ in self._layout.samples:
                if number in action.samples:
                    for value, side in anchored_templates(action.entry).items():
                        if not side.symmetrize:
                            yield None, functools.partial(self._one_shifted, number, action, value, side)

    def by_sample(self) -> Iterator[tuple[int, list[Source]]]:
        """Yield the number of each sample, with its events, nominal and shifted."""
        of_sample: dict[int, list[Source]] = {}
        last = -1
        for number, look in self.each():
            last = last if number is None else number
            of_sample.setdefault(last, []).extend(look())
        yield from of_sample.items()

    def _one_shifted(self, number: int, action: Action, value: float, side: Template) -> list[Source]:
        return [self.shifted(number, action, value, side)]

    def fingerprint(self) -> str:
        """Return a digest of region, settings, the functions' source and the content of files that were looked up."""
        text = self._settings.model_dump_json(exclude={"folder"})
        digest = hashlib.sha256(f"{self._view.name}\n{text}\n{self._code}".encode())
        for path in self.files:
            digest.update(file_fingerprint(path).encode())
        return digest.hexdigest()

    def _source(self, sample: Sample, label: str, where: str, side: Template | None) -> Source:
        """Return where a sample's events come from, overridden by one side of a systematic uncertainty."""
        return self._made(sample, label, where, sample.filter or self._view.region.filter, 1.0, self._moved, side)

    def _made(
        self,
        sample: Sample,
        label: str,
        where: str,
        text: str | None,
        factor: float,
        moved: Sequence[str] | set[str],
        side: Template | None = None,
    ) -> Source:
        """Return a source; parts of its selection on columns that are `moved` wait until they were."""
        paths, tree, weight, own = sample.sample_path, sample.tree, sample.weight, self._settings.place(sample)
        if side is not None:
            paths, own = (side.sample_path, where) if side.sample_path is not None else (paths, own)
            tree, text, weight = side.tree or tree, side.filter or text, side.weight or weight
            late = set(moved) & set(Expression(side.filter).names if side.filter is not None else ())
            if late:
                raise ConfigError(
                    f"{where}: its Filter cuts on '{min(late)}', which a Function moves, so that it would not hold "
                    "after the shift; cut on it in the region's Filter, or shift these events in their files"
                )
        chosen = None if text is None else Expression(text)
        cut = () if chosen is None else tuple(p for p in chosen.parts() if not set(p.names) & set(moved))
        empty = self._view.given or factor < 0
        files = find_files(self._settings, paths, sample.name, own)
        self.files.update(dict.fromkeys(map(str, files)))
        return Source(sample, label, where, files, tree, Expression(weight), chosen, cut, factor, empty)
