"""The base of all settings: validated, frozen, and refusing unknown keys."""

from __future__ import annotations

from typing import Any, TypeVar

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
        key = ".".join(str(part) for part in (path, *first["loc"]) if part != "")
        if first["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in kind.model_fields.items()]
            hint = suggestion(str(first["loc"][-1]), known) if len(first["loc"]) == 1 else ""
            tail = f" (known: {', '.join(known)})" if len(first["loc"]) == 1 else ""
            raise ConfigError(f"unknown key '{key}'{hint}{tail}") from None
        raise ConfigError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}") from None
