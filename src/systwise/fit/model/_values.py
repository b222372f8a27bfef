"""Parameter values as a user writes them: a number, a sequence, or names to values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import FitError

Values = Mapping[str, float] | Sequence[float] | np.ndarray | float


def ordered(
    values: Values, names: tuple[str, ...], nominal: tuple[float, ...], kind: str
) -> Float64[np.ndarray, " value"]:
    """Return the values in the order of `names`; absent names are nominal.

    Raises:
        FitError: an unknown name, or another number of values.
    """
    if isinstance(values, Mapping):
        unknown = [name for name in values if name not in names]
        if unknown:
            raise FitError(f"unknown {kind} '{unknown[0]}' (known: {', '.join(names) or 'none'})")
        return np.array([float(values.get(name, z)) for name, z in zip(names, nominal, strict=True)])
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.shape != (len(names),):
        raise FitError(f"{kind}: {array.size} value(s) given for {len(names)} ({', '.join(names) or 'none'})")
    return array
