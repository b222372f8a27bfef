"""Tables for a person to read, as text and as HTML, shared by the results of this room."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from systwise.errors import FitError

Ends = tuple[float | None, float | None]


@runtime_checkable
class Named(Protocol):
    """A row of a table about nuisances."""

    @property
    def nuisance(self) -> str:
        """Its nuisance."""


Row = TypeVar("Row", bound=Named)


@runtime_checkable
class Tabular(Protocol):
    """A result that is a table with a verdict."""

    @property
    def converged(self) -> Any:
        """Whether its fits can be believed, one flag or an array."""

    @property
    def verdict(self) -> str:
        """In a sentence."""

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""

    def cells(self) -> Sequence[tuple[str, ...]]:
        """Return the rows."""


class Printed:
    """What makes a result readable: its table, then its verdict, as text and as HTML."""

    def __str__(self: Tabular) -> str:
        """Return the table as text."""
        return text_table(self.heads(), self.cells(), [f"verdict: {self.verdict}"])

    def _repr_html_(self: Tabular) -> str:
        good = bool(np.all(self.converged))
        return html_table(self.heads(), self.cells(), [f"verdict: {self.verdict}"], good)


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Return an aligned table; the first column to the left, the others to the right.

    >>> print(text_table(("name", "value"), [("mu", "1.00")], ["verdict: converged"]))
    name  value
    mu     1.00
    verdict: converged
    """
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = []
    for line in lines:
        cells = [f"{line[0]:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, *foot])


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str], good: bool) -> str:
    """Return the same table in HTML, its border green where the result can be believed and red where not."""
    colour = "#2a7d2a" if good else "#b02020"
    head = "".join(f"<th style='text-align:left'>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    last = "".join(f"<tr><td colspan='{len(heads)}'>{html.escape(line)}</td></tr>" for line in foot)
    return f"<table style='border-left:4px solid {colour}'><tr>{head}</tr>{body}{last}</table>"


def signed(value: float | None, digits: int = 4) -> str:
    """Return a number with its sign, a dash where there is none."""
    return "-" if value is None else f"{value:+.{digits}g}"


def plain(value: float | None, digits: int = 5) -> str:
    """Return a number, a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}g}"


def error_decimals(error: float) -> int:
    """Return the decimals at which the Particle Data Group rounds an uncertainty.

    Of its three leading digits, 100-354 keep two, 355-949 one, and 950-999 round up to 1000 and keep
    two (Review of Particle Physics, Introduction, section 5.3).

    >>> error_decimals(0.827), error_decimals(0.119), error_decimals(0.967)
    (1, 2, 1)
    """
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    if leading < 355:
        return 1 - exponent
    return -exponent


def decimals(width: float) -> int:
    """Return the decimals of an uncertainty by the PDG's rule, none negative; four where there is none."""
    return max(0, error_decimals(width)) if np.isfinite(width) and width > 0 else 4


def rounded(width: float) -> str:
    """Return an uncertainty with the PDG's number of digits and one more, which comparisons need."""
    return f"{width:.{decimals(width) + 1}f}"


def plus_minus(value: float, down: float | None, up: float | None) -> str:
    """Return a value with its two uncertainties, question marks where there is none."""
    widths = [width for width in (down, up) if width is not None]
    digits = 1 + max((decimals(width) for width in widths), default=3)
    text = [f"{value:.{digits}f}"]
    text.append("+ ?" if up is None else f"+ {up:.{digits}f}")
    text.append("- ?" if down is None else f"- {down:.{digits}f}")
    return " ".join(text)


def pair(ends: Ends) -> str:
    """Return an interval."""
    low, high = ("none" if end is None else f"{end:.5g}" for end in ends)
    return f"[{low}, {high}]"


def row_of(rows: Sequence[Row], nuisance: str, who: str) -> Row:
    """Return the row of one nuisance.

    Raises:
        FitError: there is none.
    """
    for row in rows:
        if row.nuisance == nuisance:
            return row
    known = ", ".join(row.nuisance for row in rows) or "none"
    raise FitError(f"{who}: no nuisance '{nuisance}' (known: {known})")
