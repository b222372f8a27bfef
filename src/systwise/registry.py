"""Names to classes, found by looking into a package: a new case or strategy is one new file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Generic, TypeVar

from systwise.errors import ConfigError

T = TypeVar("T")


def suggestion(name: str, known: list[str]) -> str:
    """Return `, did you mean 'x'?` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean '{near[0]}'?" if near else ""


class Registry(Generic[T]):
    """A set of named classes; modules of `package` are imported when a name is first asked for."""

    def __init__(self, kind: str, package: str) -> None:
        """Make an empty registry of `kind` (a word for messages) over the modules of `package`."""
        self.kind = kind
        self._package = package
        self._entries: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, entry: type[T]) -> type[T]:
        """Add a class under its `name` attribute (class decorator)."""
        self._entries[entry.name] = entry  # type: ignore[attr-defined]
        return entry

    def names(self) -> list[str]:
        """Return the known names, sorted by their class's `order` attribute and then by name."""
        self._discover()
        return sorted(self._entries, key=lambda name: (getattr(self._entries[name], "order", 50), name))

    def get(self, name: str) -> type[T]:
        """Return the class called `name`.

        Raises:
            ConfigError: no such name; the message lists the known ones.
        """
        known = self.names()
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} '{name}'{suggestion(name, known)} (known: {', '.join(known)})")
        return self._entries[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self._package}.{module.name}")
        self._discovered = True
