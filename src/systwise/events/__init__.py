"""The event table, its variations and splits, and the readers. Knows no physics."""

from systwise.events._checks import check_events
from systwise.events._splits import Split, SplitSettings, split_events
from systwise.events._table import Events, EventTable, event_seed, hash_ids, uniform_hash
from systwise.events._variation import AbstractVariation, Exactness
from systwise.events._writers import write_varied as write_varied_table

__all__ = [
    "AbstractVariation",
    "EventTable",
    "Events",
    "Exactness",
    "Split",
    "SplitSettings",
    "check_events",
    "event_seed",
    "hash_ids",
    "split_events",
    "uniform_hash",
    "write_varied_table",
]
