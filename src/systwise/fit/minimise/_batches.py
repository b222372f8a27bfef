"""Many problems through one compiled function, a fixed number at a time."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from systwise.compilation import quick_options
from systwise.fit.likelihood import Likelihood, Observed

LARGEST, FEW, CROWD = 64, 8, 1024
"""Problems in one call: of a stack, of a single data set, and of tens of thousands of small problems (the points of
many profiles), where the cost of a call counts and the last iterations of a few do not."""
ELEMENTS = 30_000
"""Numbers in the contents' derivatives of one problem, above which every problem is a call of its own."""


@dataclasses.dataclass(frozen=True)
class Sets:
    """Data sets as the compiled functions take them.

    Attributes:
        observed: with a leading axis of data sets in every leaf, or one data set that all problems share.
        count: number of data sets.
        shared: whether the leading axis is missing.
    """

    observed: Observed
    count: int
    shared: bool

    def take(self, index: np.ndarray) -> Observed:
        """Return the data sets numbered `index`, or the one there is."""
        return self.observed if self.shared else jax.tree.map(lambda leaf: leaf[index], self.observed)


class Prepared(NamedTuple):
    """Data sets with the likelihood of all of them, ready to be fitted together.

    Attributes:
        lik: the likelihood.
        sets: the data sets.
        sample: of unbinned data the part on which starts descend.
    """

    lik: Likelihood
    sets: Sets
    sample: Sets | None = None


def batch_size(problems: int, elements: int) -> int:
    """Return how many problems go into one call; each other number would be another compilation.

    Args:
        problems: in all.
        elements: numbers in the largest array of one problem.
    """
    if elements > ELEMENTS:
        return 1
    if problems >= 4 * CROWD and CROWD * elements <= 100 * ELEMENTS:
        return CROWD
    return FEW if problems <= 4 * FEW else LARGEST


def run(function: Callable[..., Any], sets: Sets, owners: np.ndarray, arrays: tuple[np.ndarray, ...], size: int) -> Any:
    """Return the arrays of `function(observed, *arrays)`, problems first, as NumPy arrays.

    The last part is filled up with copies of its last problem, which are dropped from the result. Parts run in as
    many threads as there are cores: compiled code releases the interpreter's lock.

    Args:
        function: takes observed data and arrays with `size` problems.
        sets: data sets.
        owners: the data set of each problem, `[problem]`.
        arrays: with a leading axis of problems.
        size: problems in one call.
    """
    count = len(owners)

    def part(begin: int) -> Any:
        index = np.minimum(np.arange(begin, begin + size), count - 1)
        # The choice of 64 bits belongs to a thread: the caller's does not reach this one.
        with jax.enable_x64(True):
            result = function(sets.take(owners[index]), *(array[index] for array in arrays))
            return jax.tree.map(np.asarray, result)

    begins = range(0, count, size)
    first = part(0)  # alone, so that the function is compiled once
    if len(begins) == 1:
        return jax.tree.map(lambda array: array[:count], first)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts = [first, *pool.map(part, begins[1:])]
    return jax.tree.map(lambda *several: np.concatenate(several)[:count], *parts)


@functools.cache
def mapped(function: Callable[..., Any], shared: bool, static: tuple[tuple[str, Any], ...], common: int) -> Any:
    """Return `function(*common arguments, observed, *arrays)` compiled for many problems at once.

    Args:
        function: of one problem.
        shared: the data set has no axis of problems.
        static: keyword arguments.
        common: number of leading arguments that all problems share.
    """

    def over(*arguments: Any) -> Any:
        axes = [None] * common + [None if shared else 0] + [0] * (len(arguments) - common - 1)
        return jax.vmap(functools.partial(function, **dict(static)), in_axes=axes)(*arguments)

    return jax.jit(over, compiler_options=quick_options())
