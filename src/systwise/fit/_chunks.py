"""Many data sets through one compiled function, a fixed number at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

LARGEST = 64
"""Data sets in one call at most: the working arrays of larger chunks fall out of the cache."""
ELEMENTS = 400_000
"""Start values (points times starts times data sets) in one call at most."""


def chunk_size(sets: int, elements: int) -> int:
    """Return how many data sets go into one call: one, or always the same number.

    Each other number would be another compilation, which costs more than fits of copies.

    Args:
        sets: data sets in all.
        elements: start values that each of them needs.
    """
    if sets == 1:
        return 1
    largest = max(1, min(LARGEST, ELEMENTS // max(elements, 1)))
    size = LARGEST
    while size > largest:
        size //= 2
    return max(size, 1)


def in_chunks(function: Callable[[np.ndarray], Any], sets: int, size: int) -> Any:
    """Return the arrays of `function(index)`, data sets last, for all parts, joined as NumPy arrays.

    The last part is filled up with copies of its last data set, which are dropped from the result.
    Parts run in as many threads as there are cores: compiled code releases the interpreter's lock.

    Args:
        function: takes the numbers of `size` data sets.
        sets: data sets in all.
        size: data sets in one call.
    """

    def run(begin: int) -> Any:
        index = np.minimum(np.arange(begin, begin + size), sets - 1)
        # The choice of 64 bits belongs to a thread: the caller's does not reach this one.
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, function(index))

    begins = range(0, sets, size)
    first = run(0)  # alone, so that the function is compiled once
    if len(begins) == 1:
        return jax.tree.map(lambda array: array[..., :sets], first)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts = [first, *pool.map(run, begins[1:])]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays, axis=-1)[..., :sets], *parts)
