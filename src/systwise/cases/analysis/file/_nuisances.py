"""Nuisances of an analysis file, with their ranges, anchors and constraints."""

from __future__ import annotations

from collections.abc import Sequence

from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.file._structure import Action, is_rate
from systwise.cases.analysis.file._systematics import Systematic, Template
from systwise.errors import ConfigError
from systwise.parameters import (
    AbstractConstraint,
    GaussianConstraint,
    NoConstraint,
    Nuisance,
    UniformConstraint,
    uniform_anchors,
)

SHAPE_REACH = 2.5
"""Widths on both sides of the nominal value that a fit may reach: beyond, straight lines from one width are guesses."""
RATE_REACH = 5.0
TRAINING_REACH = 2.0


def anchored_templates(entry: Systematic) -> dict[float, Template]:
    """Return the templates of a systematic uncertainty by the nuisance value that they belong to."""
    if entry.anchors:
        return {anchor.value: anchor for anchor in entry.anchors}
    sides = {entry.nominal - entry.width: entry.down, entry.nominal + entry.width: entry.up}
    return {value: side for value, side in sides.items() if side is not None}


def known_values(entry: Systematic) -> tuple[float, ...]:
    """Return the values, nominal one included, at which events or weights are given; increasing."""
    if entry.way == "function":
        return (entry.nominal,)
    values = set(anchored_templates(entry))
    if entry.envelope:
        values = {entry.nominal - entry.width, entry.nominal + entry.width}
    return tuple(sorted({entry.nominal, *values}))


def build_nuisances(settings: AnalysisSettings, found: Sequence[Action]) -> tuple[Nuisance, ...]:
    """Return the nuisances, those that change yields only last.

    Raises:
        ConfigError: a range or kind does not fit.
    """
    names = list(dict.fromkeys(action.entry.name for action in found))
    shapes = [_shape(name, found) for name in names if not is_rate(name, found)]
    rates = [_rate(name, found) for name in names if is_rate(name, found)]
    free = []
    for factor in settings.norm_factors:
        if factor.name not in settings.general.poi and not factor.fixed:
            low, high = factor.bounds or (0.05, 5.0)
            free.append(Nuisance(factor.name, 1.0, (low, high), (low, high), (low, 1.0, high), kind="norm"))
    return (*shapes, *free, *rates)


def _shape(name: str, found: Sequence[Action]) -> Nuisance:
    own = [action for action in found if action.entry.name == name]
    entry = own[0].entry
    if entry.kind == "norm":
        raise ConfigError(f"{own[0].where}: moves events, so that its Kind is detector or theory, not norm")
    known = sorted({value for action in own for value in known_values(action.entry)})
    reach = SHAPE_REACH * entry.width
    low, high = entry.range or (min(entry.nominal - reach, known[0]), max(entry.nominal + reach, known[-1]))
    outside = [value for value in known if not low <= value <= high]
    if outside:
        raise ConfigError(f"{own[0].where}: Range [{low:g}, {high:g}] does not hold the value {outside[0]:g}; widen it")
    reach = TRAINING_REACH * entry.width
    training = entry.training or (max(low, entry.nominal - reach), min(high, entry.nominal + reach))
    continuous = any(action.entry.way == "function" for action in own)
    # Between known values the events are interpolated; more templates there would tell the fit nothing.
    anchors = uniform_anchors(low, high, entry.points) if continuous else tuple(sorted({low, high, *known}))
    samples = any(action.entry.way == "samples" for action in own)
    if samples:
        # Weights of events cannot go beyond their samples without becoming negative; contents of bins can.
        anchors = tuple(known)
    label = next((action.entry.label for action in own if action.entry.label), "")
    nuisance = Nuisance(
        name,
        entry.nominal,
        (low, high),
        training,
        anchors,
        kind=entry.kind or "detector",
        unit=entry.unit,
        label=label,
        extrapolated=samples,
    )
    return nuisance.with_anchors(*known)


def _rate(name: str, found: Sequence[Action]) -> Nuisance:
    entry = next(action.entry for action in found if action.entry.name == name)
    if entry.width != 1:
        raise ConfigError(f"Systematics ('{name}'): Width of a normalisation is 1; write its size in Up and Down")
    low, high = entry.range or (-RATE_REACH, RATE_REACH)
    return Nuisance(name, 0.0, (low, high), (low, high), (low, 0.0, high), kind="norm", label=entry.label)


def build_constraints(nuisances: Sequence[Nuisance], found: Sequence[Action]) -> tuple[AbstractConstraint, ...]:
    """Return one constraint a nuisance."""
    entries: dict[str, Systematic] = {}
    for action in found:
        entries.setdefault(action.entry.name, action.entry)
    out: list[AbstractConstraint] = []
    for nuisance in nuisances:
        entry = entries.get(nuisance.name)
        if entry is None or entry.constraint == "none":
            out.append(NoConstraint(nuisance.name))
        elif entry.constraint == "uniform":
            out.append(UniformConstraint(nuisance.name))
        else:
            out.append(GaussianConstraint(nuisance.name, entry.width))
    return tuple(out)
