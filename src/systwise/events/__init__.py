"""The event table, its variations and splits, and the readers. Knows no physics."""

from systwise.events._checks import (
    check_events,
    check_finite,
    check_labels,
    check_positive,
    check_yields,
    process_yields,
)
from systwise.events._download import cache_folder, fetch
from systwise.events._expressions import Expression
from systwise.events._feed import AbstractFeed, StoreFeed, TableFeed
from systwise.events._interpolation import AnchorInterpolation
from systwise.events._readers import ColumnType, as_numpy, column_names, estimated_rows, file_fingerprint, read_blocks
from systwise.events._root import base_name
from systwise.events._sample_variation import SampleVariation, WeightVariation
from systwise.events._splits import (
    Split,
    SplitSettings,
    check_parts,
    fold_of,
    scheme_of,
    split_events,
    split_ids,
    split_part,
    whole,
)
from systwise.events._store import EventStore, StoreWriter, StreamSettings
from systwise.events._table import Events, EventTable, event_seed, hash_ids, uniform_hash
from systwise.events._variation import AbstractVariation, Exactness
from systwise.events._weight_variation import LogQuadraticWeights, log_quadratic_columns
from systwise.events._writers import write_varied as write_varied_table

__all__ = [
    "AbstractFeed",
    "AbstractVariation",
    "AnchorInterpolation",
    "ColumnType",
    "EventStore",
    "EventTable",
    "Events",
    "Exactness",
    "Expression",
    "LogQuadraticWeights",
    "SampleVariation",
    "Split",
    "SplitSettings",
    "StoreFeed",
    "StoreWriter",
    "StreamSettings",
    "TableFeed",
    "WeightVariation",
    "as_numpy",
    "base_name",
    "cache_folder",
    "check_events",
    "check_finite",
    "check_labels",
    "check_parts",
    "check_positive",
    "check_yields",
    "column_names",
    "estimated_rows",
    "event_seed",
    "fetch",
    "file_fingerprint",
    "fold_of",
    "hash_ids",
    "log_quadratic_columns",
    "process_yields",
    "read_blocks",
    "scheme_of",
    "split_events",
    "split_ids",
    "split_part",
    "uniform_hash",
    "whole",
    "write_varied_table",
]
