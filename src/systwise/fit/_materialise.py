"""Intermediate results that are computed once, although the compiler would rather compute them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

T = TypeVar("T")


def materialised(go: Bool[Array, ""], function: Callable[..., T], *operands: Any) -> T:
    """Return `function(*operands)`, written to memory before anything uses it.

    On CPU the compiler fuses cheap producers into each of their consumers, so that a spline used by
    fifteen sums is evaluated fifteen times; optimisation barriers are dropped before that. A branch
    whose condition only the run knows is not looked through. Python floats in the result (derivatives
    known to vanish) stay what they are.

    Args:
        go: true, but not known to be so when compiling.
        function: pure; returns any tree of arrays and floats.
        operands: its arguments.
    """
    structure: list[Any] = []

    def arrays_of(*arguments: Any) -> list[Array]:
        leaves, tree = jax.tree.flatten(function(*arguments))
        structure[:] = [tree, [leaf if isinstance(leaf, float) else None for leaf in leaves]]
        return [leaf for leaf in leaves if not isinstance(leaf, float)]

    shapes = jax.eval_shape(arrays_of, *operands)
    arrays = iter(
        jax.lax.cond(go, arrays_of, lambda *_: [jnp.zeros(shape.shape, shape.dtype) for shape in shapes], *operands)
    )
    tree, constants = structure
    return jax.tree.unflatten(tree, [next(arrays) if value is None else value for value in constants])
