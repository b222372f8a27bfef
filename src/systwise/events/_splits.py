"""Who trains on which event and who scores it: functions of the event id only."""

from __future__ import annotations

import dataclasses
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
        scheme: `third` or `folds`.
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


def split_events(table: EventTable, settings: SplitSettings) -> Split:
    """Split a table by hashes of its event ids.

    Third (arXiv:2105.08742): test events are id % 3 == 1; bins are chosen on the validation events.
    Folds: the fold is a hash of the id; every event is scored by the one network that never saw it,
    and a hash of its own keeps some of them for choosing bins.

    Raises:
        DataError: a part would be left without events of some component.
    """
    ids = table.kin
    few = settings.scheme == "auto" and len(table) < FEW_EVENTS
    validation = uniform_hash(ids, "valid") < settings.validation
    if settings.scheme == "folds" or few:
        scheme, folds = "folds", settings.folds
        fold = (uniform_hash(ids, "fold") * folds).astype(np.int8)
        binning = uniform_hash(ids, "binning") < settings.binning
        template = ~binning
    else:
        scheme, folds = "third", 1
        template = ids % 3 == 1
        fold = np.where(template, 0, -1).astype(np.int8)
        binning = validation & ~template
    split = Split(scheme, folds, fold, validation, binning, template)
    parts = {"binning": binning, "template": template}
    for f in range(folds):
        parts[f"training (fold {f})"] = (fold != f) & ~validation
        parts[f"validation (fold {f})"] = (fold != f) & validation
    for part, mask in parts.items():
        for k, component in enumerate(table.component_names):
            if not np.any(table.weights[mask, k] != 0):
                raise DataError(
                    f"{table.source}: no {component} events are left for {part}; give more events or change split.*"
                )
    return split
