"""Who trains on which event and who scores it: functions of the event id only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from systwise.errors import DataError
from systwise.events._table import EventTable, uniform_hash
from systwise.settings import Settings

FEW_EVENTS = 200_000


class SplitSettings(Settings):
    """How events are shared between training, validation, binning and templates."""

    scheme: Literal["auto", "third", "folds"] = "auto"
    """`third`: one network, tested on id % 3 == 1 (arXiv:2105.08742); `folds`: k-fold cross-fitting;
    `auto`: folds below 200,000 events."""
    folds: int = Field(5, ge=2, le=100)
    """Number of folds of the `folds` scheme."""
    validation: float = Field(0.15, gt=0, lt=0.5)
    """Fraction of the training events kept for early stopping."""
    binning: float = Field(0.3, gt=0, lt=0.9)
    """Fraction of the scored events kept for choosing bins (`folds` scheme)."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The part that each event plays; all arrays have one entry an event.

    An event's fold names the only network that may score it; fold -1 is never scored. Bins are chosen
    on events that the templates do not use.

    Attributes:
        scheme: `third`, `folds`, `whole`, or `unseen`, where another table trained one network.
        folds: number of networks.
        fold: `[event]` int8, the network that did not see the event, or -1.
        validation: `[event]` bool, kept out of the gradient by every network.
        binning: `[event]` bool, used to choose bins.
        template: `[event]` bool, used for templates.
    """

    scheme: str
    folds: int
    fold: np.ndarray
    validation: np.ndarray
    binning: np.ndarray
    template: np.ndarray

    def training(self, fold: int) -> np.ndarray:
        """Return the indices on which network `fold` descends."""
        return np.flatnonzero((self.fold != fold) & ~self.validation)

    def stopping(self, fold: int) -> np.ndarray:
        """Return the indices on which network `fold` decides when to stop."""
        return np.flatnonzero((self.fold != fold) & self.validation)

    @property
    def scorer(self) -> np.ndarray:
        """The network that scores each event, `[event]` int32."""
        return np.maximum(self.fold, 0).astype(np.int32)


def whole(table: EventTable) -> Split:
    """Return the split in which all events make templates and choose bins: where nothing is trained or chosen."""
    count = len(table)
    every = np.ones(count, bool)
    return Split("whole", 1, np.zeros(count, np.int8), np.zeros(count, bool), every, every)


def split_events(table: EventTable, settings: SplitSettings, events: int | None = None) -> Split:
    """Split a table by hashes of its event ids.

    Third (arXiv:2105.08742): test events are id % 3 == 1; bins are chosen on the validation events.
    Folds: the fold is a hash of the id; every event is scored by the one network that never saw it,
    and a hash of its own keeps some of them for choosing bins.

    Args:
        table: the events.
        settings: scheme, fractions, number of folds.
        events: number of all events where the table is a sample of them.

    Raises:
        DataError: a part would be left without events of some component.
    """
    split = split_part(table, settings, scheme_of(settings, events or len(table)))
    check_parts(table.source, table.component_names, table.weights, split)
    return split


def scheme_of(settings: SplitSettings, events: int) -> str:
    """Return `third` or `folds` for a number of events."""
    few = settings.scheme == "auto" and events < FEW_EVENTS
    return "folds" if settings.scheme == "folds" or few else "third"


def check_parts(source: str, components: Sequence[str], weights: np.ndarray, split: Split) -> None:
    """Refuse a split in which some part has no events of some component.

    Args:
        source: the file, for the message.
        components: names.
        weights: `[event, component]`.
        split: of these events.

    Raises:
        DataError: naming the component and the part.
    """
    parts = {"binning": split.binning, "template": split.template}
    for f in range(split.folds):
        parts[f"training (fold {f})"] = (split.fold != f) & ~split.validation
        parts[f"validation (fold {f})"] = (split.fold != f) & split.validation
    for part, mask in parts.items():
        for k, component in enumerate(components):
            if not np.any(weights[:, k]):
                continue  # of a process that is not in this region; `check_events` has seen that it may lack
            if not np.any(weights[mask, k] != 0):
                raise DataError(
                    f"{source}: no {component} events are left for {part}; give more events or change split.*"
                )


def split_part(table: EventTable, settings: SplitSettings, scheme: str) -> Split:
    """Split some events of a larger table: an event plays the same part there as in the whole.

    Args:
        table: the events.
        settings: fractions, and the number of folds.
        scheme: `third`, `folds`, `unseen` or `whole`, as decided for all events.
    """
    return whole(table) if scheme == "whole" else split_ids(table.kin, settings, scheme)


def split_ids(ids: np.ndarray, settings: SplitSettings, scheme: str) -> Split:
    """Split events by what decides their parts (`EventTable.kin`); see `split_part`."""
    validation = uniform_hash(ids, "valid") < settings.validation
    fold = _folds(ids, settings, scheme)
    if scheme in ("folds", "unseen"):
        binning = uniform_hash(ids, "binning") < settings.binning
        return Split(scheme, settings.folds if scheme == "folds" else 1, fold, validation, binning, ~binning)
    template = fold == 0
    return Split(scheme, 1, fold, validation, validation & ~template, template)


def fold_of(ids: np.ndarray, folds: int) -> np.ndarray:
    """Return the network that scores each event that no training saw, as it would if it had been in the table.

    Args:
        ids: what decides the events' parts (`EventTable.kin`).
        folds: number of networks.
    """
    return (uniform_hash(ids, "fold") * folds).astype(np.int32)


def training_rows(ids: np.ndarray, settings: SplitSettings, scheme: str, fold: int) -> np.ndarray:
    """Return which events network `fold` descends on, `[event]` bool, as `Split.training` has it.

    Args:
        ids: what decides the events' parts (`EventTable.kin`).
        settings: fractions, and the number of folds.
        scheme: `third` or `folds`.
        fold: the network.
    """
    return (_folds(ids, settings, scheme) != fold) & ~(uniform_hash(ids, "valid") < settings.validation)


def _folds(ids: np.ndarray, settings: SplitSettings, scheme: str) -> np.ndarray:
    """Return the network that did not see each event, or -1, `[event]` int8."""
    if scheme == "folds":
        return (uniform_hash(ids, "fold") * settings.folds).astype(np.int8)
    if scheme == "unseen":
        return np.zeros(len(ids), np.int8)
    return np.where(ids % 3 == 1, 0, -1).astype(np.int8)
