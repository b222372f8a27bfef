"""What all stored records share: frozen, no unknown keys, and no numbers that JSON cannot hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def plain(value: Any) -> Any:
    """Turn a tree of settings into what JSON can hold: no NumPy, no paths, no NaN.

    >>> plain({"a": (np.float32(0.5), float("nan")), "b": Path("x")})
    {'a': [0.5, None], 'b': 'x'}
    """
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


Number = Annotated[float | None, BeforeValidator(plain)]
"""A finite float or null."""
Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(plain)]
Tree = Annotated[dict[str, Any], BeforeValidator(plain)]


Kind = TypeVar("Kind", bound="Record")


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True, use_attribute_docstrings=True
    )

    @classmethod
    def of(cls: type[Kind], result: object, **labels: Any) -> Kind:
        """Return the record of a result: its attributes of the record's names, and labels beside them.

        Args:
            result: has an attribute for every field that is no label and has no default.
            labels: fields that the result does not know, or that are to be others.
        """
        own = {name: getattr(result, name) for name in cls.model_fields if name not in labels and hasattr(result, name)}
        return cls.model_validate(own | labels)
