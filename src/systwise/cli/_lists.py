"""Commands that say what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from systwise.cli._app import (
    Debug,
    app,
    escape,
    one_sentence,
)
from systwise.errors import ConfigError
from systwise.registry import suggestion

OnlyCase = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this case.")]
OnlyStrategy = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this strategy.")]
SettingPath = Annotated[
    str, typer.Argument(metavar="[PATH]", help="Only settings below this key, e.g. fit or inference.")
]


@app.command()
def cases(name: OnlyCase = None, debug: Debug = False) -> None:
    """List the physics cases and their settings."""
    with one_sentence(debug):
        from systwise.cases import CASES

        console = Console()
        for each in CASES.names() if name is None else [name]:
            kind = CASES.get(each)
            console.print(f"[bold]{each}[/]: {escape(kind.summary)}", soft_wrap=True)
            if kind.presets:
                console.print(f"presets: {', '.join(kind.presets)}")
            _show(console, list(_rows("case", kind.settings_class.model_construct())))


@app.command()
def strategies(name: OnlyStrategy = None, debug: Debug = False) -> None:
    """List the training strategies and their settings."""
    with one_sentence(debug):
        from systwise.learn import STRATEGIES

        console = Console()
        for each in STRATEGIES.names() if name is None else [name]:
            kind = STRATEGIES.get(each)
            console.print(f"[bold]{each}[/]: {escape(kind.summary)}", soft_wrap=True)
            _show(console, list(_rows(f"strategy.{each}", kind.model_construct())))


@app.command()
def settings(path: SettingPath = "", debug: Debug = False) -> None:
    """List the settings of a study; those of cases and strategies have commands of their own."""
    with one_sentence(debug):
        from systwise.study import StudySettings

        rows = list(_rows("", StudySettings.model_construct()))
        chosen = [row for row in rows if not path or row[0] == path or row[0].startswith(f"{path}.")]
        if not chosen:
            groups = list(dict.fromkeys(key.split(".")[0] for key, _, _ in rows))
            near = suggestion(path, [*groups, *(key for key, _, _ in rows)])
            raise ConfigError(f"settings: there is no key '{path}'{near} (groups: {', '.join(groups)})")
        _show(Console(), chosen)


def _rows(prefix: str, model: Any) -> Iterator[tuple[str, str, str]]:
    """Yield key, default and meaning of every setting of a group, those of nested groups by their full key."""
    from pydantic import BaseModel

    for name, field in type(model).model_fields.items():
        value = getattr(model, name, None)
        key = f"{prefix}.{field.alias or name}".removeprefix(".")
        if isinstance(value, BaseModel):
            yield from _rows(key, value)
            continue
        if field.is_required():
            shown = "(must be given)"
        else:
            shown = f"{value:.6g}" if isinstance(value, float) else "null" if value is None else str(value)
        yield key, shown, " ".join((field.description or "").split())


def _show(console: Console, rows: list[tuple[str, str, str]]) -> None:
    """Print a table on a terminal; elsewhere one line a key, whole, for grep and files."""
    if not rows:
        return
    if not console.is_terminal:
        width, middle = (max(len(row[column]) for row in rows) for column in (0, 1))
        for key, shown, meaning in rows:
            # Plain text: rich would fold it at 80 columns and cut keys.
            print(f"  {key:<{width}}  {shown:<{min(middle, 24)}}  {meaning}".rstrip(), file=console.file)
        return
    table = Table("key", "default", "meaning", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(escape(text) for text in row))
    console.print(table)
