"""What the parts of an analysis file have in common: expressions, lists of words, names and patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_pascal

from systwise.errors import ConfigError
from systwise.events import Expression
from systwise.registry import suggestion
from systwise.settings import Settings


def _expression(text: str) -> str:
    try:
        Expression(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


def _text(value: Any) -> Any:
    """Let a number stand where an expression may."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _list(value: Any) -> Any:
    """Let one word stand where a list of words may."""
    return [value] if isinstance(value, str) else value


def _drawable(text: str) -> str:
    if text.count("$") > 1:
        # Not at the top: a file without formulas in its names needs no figures to be read.
        from matplotlib.mathtext import MathTextParser

        try:
            MathTextParser("path").parse(text)
        except ValueError as error:
            raise ValueError(f"'{text}' cannot be written in a figure: {str(error).strip().splitlines()[-1]}") from None
    return text


Label = Annotated[str, AfterValidator(_drawable)]
"""A text that figures show; what stands between two dollar signs is a formula."""
Formula = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | float), AfterValidator(_expression)]
"""An expression of columns: arithmetic, comparisons, logic and functions such as sqrt or where."""
Words = Annotated[tuple[str, ...], BeforeValidator(_list, json_schema_input_type=str | tuple[str, ...])]
"""One word or a list of words."""
Paths = Words | dict[str, Words]
"""A file, a list of files (with * and ?), or these by sample; `{Sample}` stands for the sample's name."""
RegionKind = Literal["signal", "control", "validation"]
"""Signal regions are blinded, control regions fitted beside them, validation regions predicted and never fitted."""


class Part(Settings):
    """A part of the file; keys begin with a capital letter, as cabinetry's do."""

    model_config = ConfigDict(alias_generator=to_pascal)


def matching(patterns: Sequence[str] | None, known: Sequence[str], where: str, what: str) -> tuple[str, ...]:
    """Return the known names that any pattern (`*`, `?`) matches, in their order; all of them where it is None.

    Raises:
        ConfigError: a pattern matches none, or there is no pattern.
    """
    if patterns is None:
        return tuple(known)
    if not patterns:
        raise ConfigError(f"{where}: is empty, so that it would act on nothing; name a {what}, or leave it out for all")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigError(
                f"{where}: unknown {what} '{pattern}'{suggestion(pattern, list(known))} (known: {', '.join(known)})"
            )
    return tuple(name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns))
