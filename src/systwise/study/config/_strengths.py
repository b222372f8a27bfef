"""Which strengths of decorrelating strategies a study scans."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from systwise.errors import ConfigError
from systwise.learn import STRATEGIES, AbstractStrategy
from systwise.settings import Settings, validate


class TradeOffSettings(Settings):
    """The scan of the strength of an adversary or a penalty."""

    strengths: tuple[float, ...] = ()
    """Strengths lambda, 0 for no adversary or penalty, e.g. `[0, 1, 3, 10, 30]`; one training each, none by default."""
    strategy: str | None = Field(None, min_length=1)
    """Strategy that is trained, with its settings but for the strength; null: every one of the study that has one."""

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
        ConfigError: the study has no such strategy, or none that has a strength.
    """
    if not settings.strengths:
        return []
    named = ", ".join(s.name for s in strategies)
    able = [s for s in strategies if "strength" in type(s).model_fields]
    chosen = able
    if settings.strategy is not None:
        chosen = [s for s in strategies if s.name == settings.strategy]
        if not chosen:
            raise ConfigError(
                f"trade_off.strategy: '{settings.strategy}' is not among the strategies of this study ({named}); "
                "add it to strategies, or leave trade_off.strengths empty"
            )
    if not chosen or chosen[0] not in able:
        who = f"'{settings.strategy}' has" if settings.strategy else f"the strategies of this study ({named}) have"
        known = [n for n in STRATEGIES.names() if "strength" in STRATEGIES.get(n).model_fields]
        raise ConfigError(f"trade_off.strategy: {who} no strength to scan; name one of {', '.join(known)}")
    scan = []
    for strategy in chosen:
        key = type(strategy).model_fields["strength"].alias or "strength"
        tree = strategy.model_dump(by_alias=True)
        path = f"strategy.{strategy.name}"
        scan += [(value, validate(type(strategy), {**tree, key: value}, path)) for value in settings.strengths]
    return scan
