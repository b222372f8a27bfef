"""Statistical and systematic parts by freezing: intervals with nuisances held at their best-fit values.

Use it for the numbers that many papers quote. Parts obtained by freezing do not add up over groups, and are
no answer to how the estimate varies when the measurement is repeated; `impacts` is (arXiv:2307.04007).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from systwise.errors import FitError
from systwise.fit.inference._fit import fit, fit_many, poi_number
from systwise.fit.model._best_factors import frozen_factors
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._impacts import by_kind, check_groups
from systwise.fit.results._printed import Printed, plain
from systwise.fit.results._result import FitResult

HEADS = ("held at best fit", "- side", "+ side", "half", "removed", "fit")
SIMULATION = "simulation"


@dataclasses.dataclass(frozen=True)
class Frozen:
    """The interval with some nuisances held at their best-fit values.

    Attributes:
        name: what is held.
        down: distance from the estimate to the lower end; None where there is no end.
        up: distance to the upper end.
        removed: `sqrt(total^2 - half^2)`, half of the interval; None where an end is missing.
        converged: the fit can be believed.
        verdict: its verdict.
    """

    name: str
    down: float | None
    up: float | None
    removed: float | None
    converged: bool
    verdict: str

    @property
    def half(self) -> float | None:
        """Half of the interval."""
        return None if self.down is None or self.up is None else 0.5 * (self.down + self.up)


@dataclasses.dataclass(frozen=True)
class Split(Printed):
    """Total, statistical and systematic uncertainty of a parameter of interest.

    Attributes:
        result: the fit with nothing held.
        statistical: everything held, simulation factors too.
        groups: one group held at a time, `simulation` last where the templates have variances.
        verdict: in a sentence.
    """

    result: FitResult
    statistical: Frozen
    groups: tuple[Frozen, ...]
    verdict: str

    @property
    def total(self) -> float | None:
        """Half of the interval with nothing held."""
        return self.result.sigma

    @property
    def systematic(self) -> float | None:
        """`sqrt(total^2 - statistical^2)`."""
        return self.statistical.removed

    @property
    def converged(self) -> bool:
        """All fits can be believed."""
        return self.result.converged and all(row.converged for row in (self.statistical, *self.groups))

    def __getitem__(self, group: str) -> Frozen:
        """Return the row of one group."""
        for row in self.groups:
            if row.name == group:
                return row
        raise FitError(f"split: no group '{group}' (known: {', '.join(row.name for row in self.groups) or 'none'})")

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows."""
        first = Frozen("nothing (total)", self.result.sigma_down, self.result.sigma_up, None, self.result.converged, "")
        rows = (first, *self.groups, dataclasses.replace(self.statistical, name="everything (statistical)"))
        return [
            (r.name, plain(r.down), plain(r.up), plain(r.half), plain(r.removed), "yes" if r.converged else "NO")
            for r in rows
        ]

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return HEADS


def stat_syst_split(
    model: Model, data: AbstractData, poi: int | str = 0, groups: Mapping[str, Sequence[str]] | None = None
) -> Split:
    """Return intervals with nothing, each group, and everything held at the best fit.

    Args:
        model: the model.
        data: one data set.
        poi: number or name of the parameter of interest.
        groups: names of nuisances in each group; by their `kind` where None.

    Raises:
        FitError: a stack of data sets, an unknown parameter, or simulation factors of a moving observable.
    """
    if data.stacked:
        raise FitError(f"stat_syst_split: {len(data)} stacked data sets given; take one with data[i]")
    number, names = poi_number(model, poi), [nuisance.name for nuisance in model.nuisances]
    groups = by_kind(model) if groups is None else groups
    check_groups(names, groups)
    result = fit(model, data, number)
    best = result.estimates
    still_model, still_data = frozen_factors(model, data, best)

    def held(name: str, members: Sequence[str], simulation: bool) -> Frozen:
        chosen = (still_model, still_data) if simulation else (model, data)
        fixed = {member: best[member] for member in members}
        return _frozen(name, fit_many(*chosen, number, fixed=fixed, levels=(0.5,), stat_only=False)[0], result.sigma)

    rows = [held(group, members, False) for group, members in groups.items()]
    if model.variance is not None:
        rows.append(held(SIMULATION, (), True))
    statistical = held("everything", names, True)
    bad = [row.name for row in (*rows, statistical) if not row.converged]
    notes = [result.verdict]
    if bad:
        notes.append(f"NOT converged with {', '.join(bad)} held")
    if result.sigma is None:
        notes.append(f"{result.poi} has no two-sided interval, so there is nothing to split")
    return Split(result, statistical, tuple(rows), "; ".join(notes))


def _frozen(name: str, result: FitResult, total: float | None) -> Frozen:
    """Return the row of one fit."""
    removed = None
    if total is not None and result.sigma is not None:
        removed = math.sqrt(max(0.0, total**2 - result.sigma**2))
    return Frozen(name, result.sigma_down, result.sigma_up, removed, result.converged, result.verdict)
