"""Where the events of an analysis come from: the files of every sample, nominal and shifted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from systwise.cases.analysis._layout import Layout
from systwise.cases.analysis._nuisances import anchored_templates
from systwise.cases.analysis._read import Source, find_files
from systwise.cases.analysis._settings import AnalysisSettings, Template
from systwise.cases.analysis._structure import Action
from systwise.events import Expression, file_fingerprint


class Sources:
    """Looks up files.

    Attributes:
        files: all that were looked up so far, in this order.
    """

    def __init__(self, settings: AnalysisSettings, layout: Layout, moved: Sequence[str]) -> None:
        """Keep what describes the analysis; `moved` are columns that functions change."""
        self._settings, self._layout, self._moved = settings, layout, set(moved)
        self.files: dict[str, None] = {}

    def nominal(self, number: int) -> Source:
        """Return the nominal events of sample `number`.

        Raises:
            DataError: a file is missing.
        """
        name = self._settings.samples[number].name
        return self._source(number, f"sample '{name}'", f"Samples.{number}", None)

    def shifted(self, number: int, action: Action, value: float, side: Template) -> Source:
        """Return the events of sample `number` at `value` of a nuisance.

        Raises:
            DataError: a file is missing.
        """
        label = f"sample '{self._settings.samples[number].name}' at {action.entry.name}={value:g}"
        return self._source(number, label, action.where, side)

    def all(self) -> list[Source]:
        """Return the events of all samples, nominal and shifted.

        Raises:
            DataError: a file is missing.
        """
        found: list[Source] = []
        for number in range(len(self._settings.samples)):
            found.append(self.nominal(number))
            for action, _ in self._layout.samples:
                if number in action.samples:
                    sides = anchored_templates(action.entry).items()
                    found += [self.shifted(number, action, v, side) for v, side in sides if not side.symmetrize]
        return found

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the content of all files that were looked up."""
        digest = hashlib.sha256(self._settings.model_dump_json(exclude={"folder"}).encode())
        for path in self.files:
            digest.update(file_fingerprint(path).encode())
        return digest.hexdigest()

    def _source(self, number: int, label: str, where: str, side: Template | None) -> Source:
        """Return where a sample's events come from, overridden by one side of a systematic uncertainty."""
        sample, region = self._settings.samples[number], self._settings.region
        paths, tree, text = sample.sample_path, sample.tree, sample.filter or region.filter
        weight = sample.weight
        own = f"Samples.{number}"
        if side is not None:
            paths, own = (side.sample_path, where) if side.sample_path is not None else (paths, own)
            tree, text, weight = side.tree or tree, side.filter or text, side.weight or weight
        chosen = None if text is None else Expression(text)
        cut = () if chosen is None else tuple(p for p in chosen.parts() if not set(p.names) & self._moved)
        files = find_files(self._settings, paths, sample.name, own)
        self.files.update(dict.fromkeys(map(str, files)))
        return Source(sample.name, label, where, files, tree, Expression(weight), chosen, cut)
