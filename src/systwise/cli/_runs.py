"""Commands that run a study, and show one that was run."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from systwise.cli._app import (
    Case,
    Config,
    Debug,
    Force,
    Out,
    Preset,
    Quick,
    Resume,
    Scheduler,
    Seed,
    Seeds,
    Set,
    Strategies,
    True_,
    app,
    escape,
    one_sentence,
    overridden,
    prepare_process,
    progress_bars,
)


@app.command()
def run(
    case: Case,
    strategies: Strategies = None,
    seeds: Seeds = None,
    seed: Seed = None,
    true: True_ = [],  # noqa: B006
    out: Out = None,
    set_: Set = [],  # noqa: B006
    config: Config = None,
    preset: Preset = None,
    quick: Quick = False,
    toys: Annotated[
        int | None, typer.Option(metavar="N", help="Check coverage with N pseudo-experiments each.")
    ] = None,
    resume: Resume = False,
    scheduler: Scheduler = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Train all strategies, fit with each, and write results, figures and a report."""
    with one_sentence(debug):
        overrides = _given(set_, strategies, seeds, seed, true, {"count": toys})
        _study(
            case, overrides, out or Path(f"systwise-{Path(case).stem}"), config, preset, quick, force, resume, scheduler
        )


@app.command(name="toys")
def toys_command(
    case: Case,
    toys: Annotated[
        int, typer.Option(metavar="N", help="Pseudo-experiments a strategy, observable and true point.")
    ] = 1000,
    first: Annotated[int, typer.Option(metavar="I", help="Number of the first one, for runs in parts.")] = 0,
    strategies: Strategies = None,
    seeds: Seeds = None,
    seed: Seed = None,
    true: True_ = [],  # noqa: B006
    out: Out = None,
    set_: Set = [],  # noqa: B006
    config: Config = None,
    preset: Preset = None,
    quick: Quick = False,
    resume: Resume = False,
    scheduler: Scheduler = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Check by pseudo-experiments that intervals hold what they promise: bias, spread, pull and coverage.

    Pseudo-experiment number i depends on the seed and i only. Run parts anywhere with --first, and join
    them with `systwise merge`.
    """
    with one_sentence(debug):
        overrides = _given(set_, strategies, seeds, seed, true, {"count": toys, "first": first})
        _study(
            case,
            overrides,
            out or Path(f"systwise-{Path(case).stem}-toys"),
            config,
            preset,
            quick,
            force,
            resume,
            scheduler,
        )


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(help="Output directories of `systwise toys` with different --first.")],
    out: Annotated[Path, typer.Option(help="Output directory.")],
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Join pseudo-experiments that were run in parts."""
    with one_sentence(debug):
        from systwise.report import toy_table, write_report
        from systwise.study import merge_studies

        results = merge_studies(parts, out, force)
        page = write_report(out)
        console = Console()
        console.print(toy_table(results))
        console.print(f"{escape(str(page))} shows it all.", soft_wrap=True)


def _given(
    assignments: list[str],
    strategies: str | None,
    seeds: int | None,
    seed: int | None,
    true: list[str],
    toys: dict[str, int | None],
) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    from systwise.study import merge_settings, parse_point

    overrides = overridden(assignments)
    numbers: dict[str, Any] = {"seeds": seeds, "seed": seed, "toys": {k: v for k, v in toys.items() if v is not None}}
    overrides = merge_settings(overrides, {key: value for key, value in numbers.items() if value not in (None, {})})
    if strategies is not None:
        overrides["strategies"] = [name.strip() for name in strategies.split(",") if name.strip()]
    if true:
        overrides["true"] = [parse_point(text) for text in true]
    return overrides


def _study(
    case: str,
    overrides: dict[str, Any],
    folder: Path,
    config: Path | None,
    preset: str | None,
    quick: bool,
    force: bool,
    resume: bool,
    scheduler: str | None,
) -> None:
    """Run a study, write its report and print its tables."""
    prepare_process()
    from systwise.report import summary_table, toy_table, write_report
    from systwise.study import read_config, resolve_settings, run_study

    settings = resolve_settings(case, preset, quick, read_config(config) if config else None, overrides)
    console = Console()
    with progress_bars(console) as progress:
        command = shlex.join(["systwise", *sys.argv[1:]])
        results = run_study(
            case,
            settings,
            folder,
            force=force,
            resume=resume,
            scheduler=scheduler,
            progress=progress,
            command=command,
        )
        progress("report", 0, 1)
        start = time.perf_counter()
        page = write_report(folder)
        results.with_report_seconds(time.perf_counter() - start).save(folder / "results.json")
        progress("report", 1, 1)
    for warning in results.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    console.print(summary_table(results, width=console.width))
    if results.toys:
        console.print(toy_table(results))
    console.print(f"{escape(str(page))} shows it all.", soft_wrap=True)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="Output directory of a run.")],
    debug: Debug = False,
) -> None:
    """Draw figures and report of a finished run again."""
    with one_sentence(debug):
        from systwise.report import summary_table, toy_table, write_report
        from systwise.study import Results

        page = write_report(directory)
        results, console = Results.load(directory / "results.json"), Console()
        console.print(summary_table(results, width=console.width))
        if results.toys:
            console.print(toy_table(results))
        console.print(f"{escape(str(page))} shows it all.", soft_wrap=True)
