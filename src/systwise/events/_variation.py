"""Variations: how one nuisance acts on events."""

from __future__ import annotations

import abc
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float

from systwise.events._table import Events

Exactness = Literal["continuous", "anchors"]


class AbstractVariation(eqx.Module):
    """The action of one nuisance, a pure JAX function of events and nuisance values.

    `exact` says where it can be trusted: at every value (`continuous`), or at the nuisance's anchors
    only, as with files of shifted events. A variation never drops rows: an event that fails a
    threshold has its weights set to zero.
    """

    nuisance: eqx.AbstractVar[str]
    exact: eqx.AbstractClassVar[Exactness]

    @abc.abstractmethod
    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Return the events as they are at nuisance values `z`, one value an event."""
