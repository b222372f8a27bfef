"""The base of all settings: validated, frozen, and refusing unknown keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from systwise.errors import ConfigError, together
from systwise.registry import suggestion


class Settings(BaseModel):
    """A frozen group of settings; a key that no field uses is an error, not a comment."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)
WORDS = {
    "too_short": "must have at least {min_length} of them, has {actual_length}",
    "too_long": "must have at most {max_length} of them, has {actual_length}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must hold key: value pairs",
    "model_type": "must hold key: value pairs",
    "string_type": "must be a text",
}
"""What kinds of mistakes are called, where the validating library speaks of its own types."""


def validate(kind: type[S], values: dict[str, Any], path: str = "") -> S:
    """Build settings of class `kind` from plain values.

    Args:
        kind: the settings class.
        values: keys and values as read from YAML or the command line.
        path: where these settings live, e.g. `"case"`; printed before the key.

    Raises:
        ConfigError: keys are unknown or values do not fit; the message holds their paths, in the order of the values.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(together([_sentence(kind, one, path) for one in _distinct(error, values)])) from None


def _distinct(error: ValidationError, values: Any) -> list[ErrorDetails]:
    """Return one complaint a place, in the order of the values: a value has as many as there are ways to read it."""
    found: dict[tuple[int, ...], ErrorDetails] = {}
    for one in error.errors():
        place, current = [], values
        for part in one["loc"]:
            if isinstance(current, dict) and part in current:
                place.append(list(current).index(part))
            elif isinstance(current, list | tuple) and isinstance(part, int) and part < len(current):
                place.append(part)
            else:
                # A key that is missing, or the name of a way to read the value.
                place += [len(current), hash(part)] if one["type"] == "missing" and isinstance(current, dict) else []
                break
            current = current[part]
        found.setdefault(tuple(place), one)
    # What is too short because its items are wrong is mended with them.
    return [
        found[place]
        for place in sorted(found)
        if found[place]["type"] != "too_short" or not any(p[: len(place)] == place != p for p in found)
    ]


def _sentence(kind: type[BaseModel], error: ErrorDetails, path: str) -> str:
    places = [str(part) for part in error["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    key = ".".join(part for part in (path, *places) if part != "")
    if error["type"] == "extra_forbidden":
        known = _known_keys(kind, error["loc"][:-1])
        hint = suggestion(str(error["loc"][-1]), known)
        tail = f" (known: {', '.join(known)})" if known else ""
        return f"unknown key '{key}'{hint}{tail}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in WORDS:
        message = WORDS[error["type"]].format(**error.get("ctx", {}))
    if error["type"] == "missing":
        # What a file lacks is written there.
        where = f", e.g. --set {key}=..." if path and not path.endswith((".yaml", ".yml", ".json")) else ""
        return f"{key}: is missing; add it{where}"
    if error["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message[0].lower()}{message[1:]}, got {error['input']!r}"


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
