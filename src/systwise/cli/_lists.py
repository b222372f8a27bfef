"""Commands that say what there is."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from systwise.cli._app import (
    Debug,
    app,
    escape,
    one_sentence,
)


@app.command()
def cases(debug: Debug = False) -> None:
    """List the physics cases and their settings."""
    with one_sentence(debug):
        from systwise.cases import CASES

        console = Console()
        for name in CASES.names():
            kind = CASES.get(name)
            table = _settings_table("case", kind.settings_class)
            console.print(f"[bold]{name}[/]: {escape(kind.summary)}", soft_wrap=True)
            if kind.presets:
                console.print(f"presets: {', '.join(kind.presets)}")
            console.print(table)


@app.command()
def strategies(debug: Debug = False) -> None:
    """List the training strategies and their settings."""
    with one_sentence(debug):
        from systwise.learn import STRATEGIES

        console = Console()
        for name in STRATEGIES.names():
            kind = STRATEGIES.get(name)
            console.print(f"[bold]{name}[/]: {escape(kind.summary)}", soft_wrap=True)
            if kind.model_fields:
                console.print(_settings_table(f"strategy.{name}", kind))


def _settings_table(prefix: str, kind: Any) -> Table:
    """Return a table of keys, defaults and meanings, nested groups spelled out."""
    from pydantic import BaseModel

    table = Table("key", "default", "meaning", box=None, padding=(0, 2, 0, 0))

    def rows(prefix: str, model: BaseModel) -> None:
        for name, field in type(model).model_fields.items():
            value = getattr(model, name, None)
            key = f"{prefix}.{field.alias or name}"
            if isinstance(value, BaseModel):
                rows(key, value)
            else:
                if field.is_required():
                    shown = "(must be given)"
                else:
                    shown = f"{value:.6g}" if isinstance(value, float) else "null" if value is None else str(value)
                table.add_row(key, escape(shown), escape(" ".join((field.description or "").split())))

    rows(prefix, kind.model_construct())
    return table
