"""The command that looks at observed data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from systwise.cli._app import Debug, app, escape, one_sentence, prepare_process, progress_bars
from systwise.errors import ConfigError

if TYPE_CHECKING:
    from systwise.study import Unblinded


@app.command(name="unblind")
def unblind_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output directory of a finished run of an analysis.")],
    stage: Annotated[
        str,
        typer.Option(
            help="control: control regions, with validation regions predicted; gof: goodness of fit, value not shown; "
            "full: the measurement."
        ),
    ] = "control",
    strategies: Annotated[
        str | None, typer.Option("--strategies", help="Strategies, with commas (default: all of the run).")
    ] = None,
    observable: Annotated[
        str | None, typer.Option(help="fixed or anchored (default: anchored where it exists).")
    ] = None,
    binning: Annotated[
        str | None, typer.Option(help="Binning (default: joint, given, optimised, in this order).")
    ] = None,
    toys: Annotated[
        int, typer.Option(metavar="N", min=0, help="Goodness of fit, significance and limit by N pseudo-experiments.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the pseudo-experiments.")] = 0,
    level: Annotated[float, typer.Option(help="Confidence level of the upper limit.")] = 0.95,
    blind: Annotated[
        int | None, typer.Option(metavar="SEED", help="Hide the value by an offset that this seed decides.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Fit the observed data with the observables that a run recorded; what was looked at goes into its manifest."""
    with one_sentence(debug):
        from systwise.study import STAGES, stored_rows, unblind

        if stage not in STAGES:
            raise ConfigError(f"--stage {stage}: choose one of {', '.join(STAGES)}")
        prepare_process()
        from systwise.report import observed_table, write_report

        command = shlex.join(["systwise", *sys.argv[1:]])
        wanted = strategies.split(",") if strategies else None
        # Single events have no goodness of fit; asked for by name they say so.
        rows = stored_rows(folder, wanted, observable, binning, None, stage != "gof" or wanted is not None)
        console, found = Console(highlight=False), []
        with progress_bars(console) as progress:
            for number, row in enumerate(rows):
                progress(f"unblind, {stage}", number, len(rows))
                found.append(
                    unblind(
                        folder,
                        row,
                        stage,
                        toys=toys,
                        seed=seed,
                        level=level,
                        hide=blind,
                        command=command,
                        progress=progress,
                    )
                )
            progress(f"unblind, {stage}", len(rows), len(rows))
        for one in found:
            _show(console, folder, one, command)
        if stage == "full":
            console.print(observed_table(found))
            if blind is not None:
                console.print("The values are hidden by an offset; leave out --blind to see them.", soft_wrap=True)
        page = write_report(folder)
        console.print(f"{escape(str(page))} shows what was looked at.", soft_wrap=True)


def _show(console: Console, folder: Path, one: Unblinded, command: str) -> None:
    """Print the tables of one observable, and write its page."""
    from systwise.report import write_unblinded

    label = f"{one.row.strategy}, {one.row.observable}, {one.row.binning}"
    console.rule(escape(f"{label}: {', '.join(one.regions)}"))
    if one.stage == "gof" and one.goodness is not None:
        console.print(escape(str(one.goodness)), soft_wrap=True)
    if one.stage == "control":
        for table in (one.result, one.postfit, one.validation):
            if table is not None:
                console.print(escape(f"{table}\n"), soft_wrap=True)
    page = write_unblinded(one, folder, command)
    if page is not None:
        console.print(f"{escape(str(page))} has it all.", soft_wrap=True)
