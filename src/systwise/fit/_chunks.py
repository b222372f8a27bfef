"""Many data sets through one compiled function, a fixed number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from systwise.fit._data import Data

T = TypeVar("T")

LARGEST = 64
"""Data sets in one call at most: the working arrays of larger chunks fall out of the cache."""
ELEMENTS = 400_000
"""Start values (points times starts times data sets) in one call at most."""


def chunk_size(sets: int, elements: int) -> int:
    """Return how many data sets go into one call; one of few sizes, so that few functions are compiled.

    Args:
        sets: data sets in all.
        elements: start values that each of them needs.
    """
    if sets == 1:
        return 1
    largest = max(1, min(LARGEST, ELEMENTS // max(elements, 1)))
    size = 8 if sets <= 8 else LARGEST
    while size > largest:
        size //= 2
    return max(size, 1)


def in_chunks(function: Callable[[Data], T], data: Data, size: int) -> T:
    """Return the arrays of `function(part)`, data sets last, for all parts, joined as NumPy arrays.

    The last part is filled up with copies of its last data set, which are dropped from the result.
    Calls return before they have run, so that parts overlap where there are cores for them.
    """
    sets = len(data)
    pending = []
    for begin in range(0, sets, size):
        index = np.minimum(np.arange(begin, begin + size), sets - 1)
        pending.append(function(data if sets == size else data[index]))
    if len(pending) == 1:
        return jax.tree.map(lambda array: np.asarray(array)[..., :sets], pending[0])
    return jax.tree.map(lambda *arrays: np.concatenate([np.asarray(a) for a in arrays], axis=-1)[..., :sets], *pending)
