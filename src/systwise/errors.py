"""Errors that a person can act on: each message names the thing at fault and the remedy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence


class SystwiseError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one sentence."""


class ConfigError(SystwiseError):
    """A setting, name or option is unknown or out of range; the message holds its path."""


class UntrustedError(ConfigError):
    """A file would run code when it is read, and nobody said that it may."""


class DataError(SystwiseError):
    """Input events are unusable; the message names file, column or process."""


class TemplateError(SystwiseError):
    """Templates cannot carry a likelihood; the message names process, bin and nuisance."""


class FitError(SystwiseError):
    """A fit was asked for that cannot be done; the message names the parameter or bin."""


def together(messages: Sequence[str]) -> str:
    r"""Return several complaints as one text; one alone as it is.

    >>> together(["a: is missing", "a: is missing", "b: is 3"])
    '2 mistakes:\n- a: is missing\n- b: is 3'
    """
    distinct = list(dict.fromkeys(messages))
    return distinct[0] if len(distinct) == 1 else "\n- ".join([f"{len(distinct)} mistakes:", *distinct])


@dataclasses.dataclass
class Complaints:
    """Gathers errors of parts that can be looked at one by one, so that all are told at once.

    Attributes:
        found: errors so far.
    """

    found: list[SystwiseError] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep an error that is raised inside."""
        try:
            yield
        except SystwiseError as error:
            self.found.append(error)

    def tell(self) -> None:
        """Raise what was found, as an error of the first one's kind; nothing where there is none."""
        if self.found:
            raise type(self.found[0])(together([str(error) for error in self.found])) from self.found[0]
