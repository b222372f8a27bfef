"""Tables for a person to read, as text and as HTML, shared by the results of this room."""

from __future__ import annotations

import html
from collections.abc import Sequence


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
    return "-" if value is None else f"{value:.{digits}g}"
