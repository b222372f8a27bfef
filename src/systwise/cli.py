"""The words a person types."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from systwise.errors import ConfigError, SystwiseError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which training strategy and which likelihood give the smallest honest uncertainty?",
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. case.noise=0.5. Repeatable.")
]


@contextlib.contextmanager
def one_sentence(debug: bool) -> Iterator[None]:
    """Turn errors into one sentence on standard error and exit status 2."""

    def stop(message: str, status: int = 2) -> NoReturn:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]systwise:[/] {_escape(message)}")
        raise typer.Exit(status)

    try:
        yield
    except SystwiseError as error:
        if debug:
            raise
        stop(str(error))
    except KeyboardInterrupt:
        if debug:
            raise
        stop("interrupted; what was finished is complete on disk: go on with --resume, or start over with --force")
    except MemoryError:
        if debug:
            raise
        stop("not enough memory; use fewer events (case.events) or a smaller training.batch")
    except Exception as error:  # the last resort: a person gets a sentence, --debug the traceback
        if debug:
            raise
        stop(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it", 1)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


@contextlib.contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that draws bars on a terminal and nothing elsewhere."""
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)
            if done >= total:
                bars.remove_task(tasks.pop(what))

        yield report


def _prepare_process() -> None:
    """Use the persistent compilation cache, and let a batch system's SIGTERM end a run cleanly."""
    import pooch

    from systwise.compilation import keep_compiled

    pooch.get_logger().setLevel("WARNING")  # it would announce a download on top of the progress bar
    keep_compiled()

    def interrupt(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _overrides(assignments: list[str]) -> dict[str, Any]:
    from systwise.study import merge_settings, parse_assignment

    tree: dict[str, Any] = {}
    for text in assignments:
        tree = merge_settings(tree, parse_assignment(text))
    return tree


Case = Annotated[str, typer.Argument(help="A case of `systwise cases`, or the YAML file of your own analysis.")]
Strategies = Annotated[str | None, typer.Option(help="Comma-separated, or `all` of `systwise strategies`.")]
Seeds = Annotated[int | None, typer.Option(help="Trainings a strategy.")]
Seed = Annotated[int | None, typer.Option(help="First seed.")]
True_ = Annotated[
    list[str],
    typer.Option("--true", metavar="NAME=VALUE", help="True point, e.g. angle=1.2 or tes=0.9,mu=2. Repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="Output directory (default: systwise-CASE).")]
Config = Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Settings from a file.")]
Preset = Annotated[str | None, typer.Option(help="Named settings of the case, e.g. paper.")]
Quick = Annotated[bool, typer.Option("--quick", help="A small version, for a first look.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what the output directory holds.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in the output directory; strategies, seeds and toys may be added."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run on the workers of this Dask scheduler, e.g. tcp://host:8786."),
]


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
        console.print(f"{_escape(str(page))} shows it all.", soft_wrap=True)


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

    overrides = _overrides(assignments)
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
    _prepare_process()
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
        console.print(f"[yellow]warning:[/] {_escape(warning)}", soft_wrap=True)
    console.print(summary_table(results, width=console.width))
    if results.toys:
        console.print(toy_table(results))
    console.print(f"{_escape(str(page))} shows it all.", soft_wrap=True)


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
        console.print(f"{_escape(str(page))} shows it all.", soft_wrap=True)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="RUNDIR", help="Output directory of a run.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write (a folder for cabinetry).")],
    format_: Annotated[str, typer.Option("--format", help="pyhf, cabinetry or onnx.")] = "pyhf",
    strategy: Annotated[str | None, typer.Option(help="A strategy of the run.")] = None,
    observable: Annotated[str | None, typer.Option(help="fixed or anchored (the default where there is one).")] = None,
    binning: Annotated[str | None, typer.Option(help="Binning of a fixed observable (default: optimised).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training (default: the first).")] = None,
    true: Annotated[
        str | None,
        typer.Option("--true", metavar="NAME=VALUE", help="True point of the Asimov data (default: nominal)."),
    ] = None,
    simulation: Annotated[
        bool | None, typer.Option(help="Include the uncertainty of the simulation (default: as in the run).")
    ] = None,
    allow_loss: Annotated[float, typer.Option(help="Write where pyhf's result differs by at most this much.")] = 0.1,
    folds: Annotated[str, typer.Option(help="onnx: mean (one file, mean logit of all folds) or separate.")] = "mean",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    debug: Debug = False,
) -> None:
    """Write a finished run's templates or networks for other programs: pyhf, cabinetry, ONNX.

    A workspace is refitted by pyhf before it is written, and both results are printed. Where they differ by
    more than --allow-loss (of the uncertainty), nothing is written.
    """
    with one_sentence(debug):
        _prepare_process()
        from systwise.export import run_export
        from systwise.study import parse_point

        _refuse_existing(out, force)
        given = {"strategy": strategy, "observable": observable, "binning": binning, "seed": seed}
        point = parse_point(true) if true else {}
        lines = run_export(
            directory, out, format_, point=point, simulation=simulation, allow=allow_loss, folds=folds, **given
        )
        console = Console()
        for line in lines:
            console.print(_escape(line), soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="RUNDIR/models/NAME.eqx, or an ONNX file.")],
    files: Annotated[list[Path], typer.Argument(help="Parquet, csv, ROOT or HDF5 with the features as columns.")],
    name: Annotated[str, typer.Option(help="The new column.")] = "score",
    nuisance: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Hypothesis of a score that is told it. Repeatable.")
    ] = [],  # noqa: B006
    features: Annotated[str | None, typer.Option(help="Columns in order, for an ONNX file of another program.")] = None,
    friend: Annotated[
        str | None, typer.Option(metavar="ID", help="Write this column and the score only, not the whole file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the new files (default: beside).")] = None,
    tree: Annotated[str | None, typer.Option(help="ROOT tree or HDF5 group.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the files themselves.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace new files that are there.")] = False,
    debug: Debug = False,
) -> None:
    """Append a model's score to files of events; new files, unless --in-place.

    A model of several folds gives the mean of its networks, for events that none of them was trained on.
    """
    with one_sentence(debug):
        _prepare_process()
        from systwise.export import predict as score_files
        from systwise.study import parse_point

        point = {key: value for text in nuisance for key, value in parse_point(text).items()}
        names = [part.strip() for part in features.split(",")] if features else None
        console = Console()
        with progress_bars(console) as progress:
            done = score_files(
                model,
                files,
                name=name,
                nuisances=point,
                features=names,
                friend=friend,
                folder=out,
                tree=tree,
                in_place=in_place,
                force=force,
                progress=progress,
            )
        for path, count in done.items():
            console.print(f"{_escape(str(path))}: {count} events", soft_wrap=True)


@app.command()
def init(
    out: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="File to write.")] = Path("analysis.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    debug: Debug = False,
) -> None:
    """Write a commented example of an analysis file, to be filled in."""
    with one_sentence(debug):
        from systwise.study import example_analysis, write_atomically

        _refuse_existing(out, force)
        write_atomically(out, lambda file: file.write(example_analysis().encode()))
        Console().print(f"{_escape(str(out))}: fill it in, then systwise check {_escape(str(out))}", soft_wrap=True)


@app.command()
def check(
    analysis: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="An analysis file.")],
    events: Annotated[int, typer.Option(min=1, help="Events to read of each sample.")] = 10_000,
    set_: Set = [],  # noqa: B006
    debug: Debug = False,
) -> None:
    """Validate an analysis file, read the first events of each sample, and say what was found."""
    with one_sentence(debug):
        from systwise.report import finding_table
        from systwise.study import check_analysis

        console = Console()
        with progress_bars(console) as progress:
            found = check_analysis(str(analysis), _overrides(set_), events, progress)
        for table in finding_table(found):
            console.print(table)
        for note in found.notes:
            console.print(f"[yellow]warning:[/] {_escape(note)}", soft_wrap=True)
        console.print(f"{_escape(str(analysis))} is ready: systwise run {_escape(str(analysis))}", soft_wrap=True)


@app.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON schema of analysis files, for editors and checks."""
    with one_sentence(debug):
        from systwise.study import analysis_schema

        typer.echo(analysis_schema(), nl=False)


@app.command()
def cases(debug: Debug = False) -> None:
    """List the physics cases and their settings."""
    with one_sentence(debug):
        from systwise.cases import CASES

        console = Console()
        for name in CASES.names():
            kind = CASES.get(name)
            table = _settings_table("case", kind.settings_class)
            console.print(f"[bold]{name}[/]: {_escape(kind.summary)}", soft_wrap=True)
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
            console.print(f"[bold]{name}[/]: {_escape(kind.summary)}", soft_wrap=True)
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
                table.add_row(key, _escape(shown), _escape(" ".join((field.description or "").split())))

    rows(prefix, kind.model_construct())
    return table


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
        _prepare_process()
        from systwise.study import build_case, parse_point, resolve_settings, write_varied

        _refuse_existing(out, force)
        settings = resolve_settings(case, overrides=_overrides(set_))
        point = {name: value for text in nuisance for name, value in parse_point(text).items()}
        console = Console()
        with progress_bars(console) as progress:
            kept, total = write_varied(build_case(case, settings), point, out, seed, progress)
        console.print(f"{_escape(str(out))}: {total} events, {kept} kept by the selection", soft_wrap=True)


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

        _refuse_existing(out, force)
        made = build_case(case, resolve_settings(case, overrides=_overrides(set_)))
        console = Console()
        with progress_bars(console) as progress:
            rows = made.generate(out, seed, progress)
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in rows:
            table.add_row(name, value)
        console.print(table)
        console.print(_escape(str(out)), soft_wrap=True)


def _refuse_existing(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; choose another file with --out, or replace it with --force")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
