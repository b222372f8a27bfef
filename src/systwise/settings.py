"""The base of all settings: validated, frozen, and refusing unknown keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from systwise.errors import ConfigError
from systwise.registry import suggestion


class Settings(BaseModel):
    """A frozen group of settings; a key that no field uses is an error, not a comment."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)


def validate(kind: type[S], values: dict[str, Any], path: str = "") -> S:
    """Build settings of class `kind` from plain values.

    Args:
        kind: the settings class.
        values: keys and values as read from YAML or the command line.
        path: where these settings live, e.g. `"case"`; printed before the key.

    Raises:
        ConfigError: a key is unknown or a value does not fit; the message holds the key's path.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        places = [str(part) for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
        key = ".".join(part for part in (path, *places) if part != "")
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"][:-1])
            hint = suggestion(str(first["loc"][-1]), known)
            tail = f" (known: {', '.join(known)})" if known else ""
            raise ConfigError(f"unknown key '{key}'{hint}{tail}") from None
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            where = f", e.g. --set {key}=..." if path else ""
            raise ConfigError(f"{key}: is missing; add it{where}") from None
        if first["type"] == "value_error":
            raise ConfigError(f"{key}: {message}") from None
        raise ConfigError(f"{key}: {message[0].lower()}{message[1:]}, got {first['input']!r}") from None


def _known_keys(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the settings at `place` inside those of class `kind`, none where they are not found."""
    current: Any = kind
    for part in place:
        models = list(_models(current))
        if isinstance(part, int) or not models:
            continue
        fields = {field.alias or name: field for model in models for name, field in model.model_fields.items()}
        fields |= {name: field for model in models for name, field in model.model_fields.items()}
        current = fields[part].annotation if part in fields else current
    return [field.alias or name for model in _models(current) for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings classes in an annotation such as `tuple[Sample, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models(part)
