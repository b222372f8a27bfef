"""Phrases that tables, headline and figures share."""

from __future__ import annotations

from typing import Final

from systwise.report.tables._rows import UNNAMED, entries, words_of_binning
from systwise.study import Results, Summary, ToyRecord

SIMULATION_SHOWN: Final = 0.1
"""The simulation's part is worth a column in the terminal above this fraction of sigma."""
COVERAGE_WORDS: Final = (
    "toys: those whose fit converged; width: mean half of the 68.27 % intervals\n"
    "coverage in per cent with its binomial error\n"
    "! coverage off by more than 3 errors, or bias beyond 0.1 σ and twice its error"
)


def simulation_words(results: Results) -> str:
    """Return what the simulation's part means, and whether sigma holds it."""
    held = "included in σ" if simulation_included(results) else "not included in σ"
    return (
        f"what the limited number of simulated events adds in quadrature, {held}; "
        "more simulation shrinks it, more data do not"
    )


def simulation_included(results: Results) -> bool:
    """Whether the fits treat the simulation's statistical uncertainty as part of sigma."""
    return (results.settings.get("fit") or {}).get("simulation") == "include"


def where(results: Results, row: Summary | ToyRecord, seed: bool = False) -> str:
    """Return a row as a short name: strategy, kind of observable, binning.

    Args:
        results: of a study, which know what has to be told apart.
        row: of a comparison.
        seed: whether to add the seed of the training (`#1`).
    """
    key = (row.strategy, row.observable, row.convention)
    name = next(
        (entry.short for entry in entries(results) if (entry.strategy, entry.observable, entry.convention) == key),
        row.strategy,
    )
    binning = "" if row.binning in UNNAMED else f", {row.binning}"
    training = f" #{row.seed}" if seed and isinstance(row, ToyRecord) else ""
    return f"{name}{binning}{training}"


def in_list(results: Results, row: Summary) -> str:
    """Return a row without commas, for a list of several."""
    name, *rest = where(results, row).split(", ")
    return f"{name} ({', '.join(rest)})" if rest else name


def name_in_sentence(row: Summary) -> str:
    """Return a row as it is called in a sentence."""
    if row.observable == "anchored":
        return f"{row.strategy} as an anchored observable with {row.bins[1]} joint cells"
    if row.observable == "unbinned":
        return f"{row.strategy} as an unbinned likelihood"
    moving = f" (moving observable, convention {row.convention})" if row.observable == "moving" else ""
    return f"{row.strategy} with {words_of_binning(row.binning)}{moving}"
