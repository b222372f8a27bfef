"""Commands that write events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from systwise.cli._app import (
    Debug,
    Set,
    app,
    escape,
    one_sentence,
    overridden,
    prepare_process,
    progress_bars,
    refuse_existing,
)


@app.command()
def vary(
    case: Annotated[str, typer.Argument(help="A case of `systwise cases`.")],
    nuisance: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Nuisance value, e.g. tes=0.9. Repeatable.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="File to write.")],
    seed: Annotated[int, typer.Option(help="Seed of generated events.")] = 0,
    set_: Set = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    debug: Debug = False,
) -> None:
    """Write the events of a case at other nuisance values to a parquet file."""
    with one_sentence(debug):
        prepare_process()
        from systwise.study import build_case, parse_point, resolve_settings, write_varied

        refuse_existing(out, force)
        settings = resolve_settings(case, overrides=overridden(set_))
        point = {name: value for text in nuisance for name, value in parse_point(text).items()}
        console = Console()
        with progress_bars(console) as progress:
            kept, total = write_varied(build_case(case, settings), point, out, seed, progress)
        console.print(f"{escape(str(out))}: {total} events, {kept} kept by the selection", soft_wrap=True)


@app.command()
def generate(
    case: Annotated[str, typer.Argument(help="A case with a generator: higgs-jets.")],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="File to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the events.")] = 0,
    set_: Set = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    debug: Debug = False,
) -> None:
    """Generate the events of a case and write them to a parquet file."""
    with one_sentence(debug):
        from systwise.study import build_case, resolve_settings

        refuse_existing(out, force)
        made = build_case(case, resolve_settings(case, overrides=overridden(set_)))
        console = Console()
        with progress_bars(console) as progress:
            rows = made.generate(out, seed, progress)
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in rows:
            table.add_row(name, value)
        console.print(table)
        console.print(escape(str(out)), soft_wrap=True)
