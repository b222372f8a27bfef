"""Which strengths of the adversary a study scans."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from systwise.errors import ConfigError
from systwise.learn import AbstractStrategy
from systwise.settings import Settings, validate


class TradeOffSettings(Settings):
    """The scan of the adversary's strength."""

    strengths: tuple[float, ...] = ()
    """Strengths lambda, 0 for no adversary, e.g. `[0, 1, 3, 10, 30]`; one training each, none by default."""
    strategy: str = Field("adversarial", min_length=1)
    """Strategy that is trained, with its settings but for the strength."""

    @field_validator("strengths")
    @classmethod
    def _in_order(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= strength < float("inf") for strength in strengths):
            raise ValueError("must be finite and not negative")
        return tuple(sorted(set(strengths)))


def trade_off_strategies(
    strategies: Sequence[AbstractStrategy], settings: TradeOffSettings
) -> list[tuple[float, AbstractStrategy]]:
    """Return (strength, strategy) of every training of the scan; an empty list where none is asked for.

    Args:
        strategies: those of the study.
        settings: which of them to scan, and where.

    Raises:
        ConfigError: the study has no such strategy, or it has no strength.
    """
    if not settings.strengths:
        return []
    chosen = next((strategy for strategy in strategies if strategy.name == settings.strategy), None)
    if chosen is None:
        raise ConfigError(
            f"trade_off.strategy: '{settings.strategy}' is not among the strategies of this study "
            f"({', '.join(s.name for s in strategies)}); add it to strategies, or leave trade_off.strengths empty"
        )
    field = type(chosen).model_fields.get("strength")
    if field is None:
        raise ConfigError(f"trade_off.strategy: '{settings.strategy}' has no strength to scan; name 'adversarial'")
    key = field.alias or "strength"
    tree = chosen.model_dump(by_alias=True)
    path = f"strategy.{chosen.name}"
    return [(strength, validate(type(chosen), {**tree, key: strength}, path)) for strength in settings.strengths]
