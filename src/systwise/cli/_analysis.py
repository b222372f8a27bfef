"""Commands for the file of an analysis of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from systwise.cli._app import (
    Debug,
    Set,
    app,
    escape,
    one_sentence,
    overridden,
    progress_bars,
    refuse_existing,
)


@app.command()
def init(
    out: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="File to write.")] = Path("analysis.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    debug: Debug = False,
) -> None:
    """Write a commented example of an analysis file with its function and events, to be changed to your own."""
    with one_sentence(debug):
        from systwise.study import write_example

        for path in (out, out.parent / "shifts.py", out.parent / "make_ntuples.py", out.parent / "ntuples"):
            refuse_existing(path, force)
        written = write_example(out)
        console = Console()
        console.print(f"written: {', '.join(escape(str(path)) for path in written)}", soft_wrap=True)
        console.print(
            f"Try it with systwise check {escape(str(out))} and systwise run {escape(str(out))} --quick, then put your "
            "own files, columns and uncertainties in.",
            soft_wrap=True,
        )


@app.command()
def check(
    analysis: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="An analysis file.")],
    events: Annotated[int | None, typer.Option(min=1, help="Events to read of each sample (default: all).")] = None,
    set_: Set = [],  # noqa: B006
    debug: Debug = False,
) -> None:
    """Validate an analysis file, read the first events of each sample, and say what was found."""
    with one_sentence(debug):
        from systwise.report import finding_table
        from systwise.study import check_analysis

        console = Console()
        with progress_bars(console) as progress:
            found = check_analysis(str(analysis), overridden(set_), events, progress)
        for table in finding_table(found):
            console.print(table)
        for note in found.notes:
            console.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
        console.print(f"{escape(str(analysis))} is ready: systwise run {escape(str(analysis))}", soft_wrap=True)


@app.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON schema of analysis files, for editors and checks."""
    with one_sentence(debug):
        from systwise.study import analysis_schema

        typer.echo(analysis_schema(), nl=False)
