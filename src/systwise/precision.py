"""The float64 context of the statistics rooms.

Training runs in float32. Likelihood differences of 0.5 on top of 10^5 need float64, and JAX keeps
that choice in a thread-local context, so each public function of `fit` enters it for itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

from systwise.compilation import keep_compiled_unless_declined

P = ParamSpec("P")
R = TypeVar("R")


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with JAX in 64-bit mode; it takes NumPy arrays and must return NumPy arrays.

    A float64 JAX array that leaves the context is truncated by its next operation without a
    warning, so nothing but NumPy may cross the border.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        keep_compiled_unless_declined()
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapper
