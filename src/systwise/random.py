"""Random keys by name: the same seed and the same words give the same numbers, in any order."""

from __future__ import annotations

import zlib

import jax
from jaxtyping import Array, Key


def named_key(seed: int, *words: str | int) -> Key[Array, ""]:
    """Return the random key that belongs to `seed` and the path `words`.

    Words are folded in one after the other: integers as they are, strings through their CRC-32,
    so that a key does not depend on what else was drawn before it.

    Args:
        seed: the seed of the run, 0 to 2^32 - 1.
        words: the path, e.g. `("train", "aware", 0)`.

    >>> bool((jax.random.key_data(named_key(1, "a")) == jax.random.key_data(named_key(1, "a"))).all())
    True
    """
    key = jax.random.key(seed)
    for word in words:
        key = jax.random.fold_in(key, word if isinstance(word, int) else zlib.crc32(word.encode()))
    return key
