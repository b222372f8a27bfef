"""What all commands share: the application, one sentence an error, progress bars, common options."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

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


SECONDS_A_LINE = 30.0
"""Between two lines on progress where there is no terminal."""


@contextlib.contextmanager
def one_sentence(debug: bool) -> Iterator[None]:
    """Turn errors into one sentence on standard error and exit status 2."""

    def stop(message: str, status: int = 2) -> NoReturn:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]systwise:[/] {escape(message)}")
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


@contextlib.contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that draws bars on a terminal, and says a line now and then elsewhere."""
    if not console.is_terminal:
        # On standard error: what a command prints stays what it is, and a batch system logs both.
        yield progress_lines(Console(stderr=True))
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


def progress_lines(
    console: Console, every: float = SECONDS_A_LINE, clock: Callable[[], float] = time.monotonic
) -> Callable[[str, int, int], None]:
    """Return a progress callback that prints `stage: done of total, left` no more often than every so many seconds.

    Args:
        console: where to print.
        every: seconds between lines; what is over before says nothing.
        clock: seconds from some beginning.
    """
    start = said = clock()
    began: dict[str, tuple[float, int]] = {}

    def report(what: str, done: int, total: int) -> None:
        nonlocal said
        now = clock()
        since, first = began.setdefault(what, (now, done))
        if done >= total:
            began.pop(what)
        if now - said < every:
            return
        said = now
        left = ""
        if first < done < total:
            left = f", about {_duration((now - since) / (done - first) * (total - done))} left"
        console.print(
            f"{_duration(now - start)}  {escape(what)}: {done} of {total}{left}", soft_wrap=True, highlight=False
        )

    return report


def _duration(seconds: float) -> str:
    """Return seconds as a person would say them.

    >>> _duration(42), _duration(600), _duration(8000)
    ('42 s', '10 min', '2.2 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def prepare_process() -> None:
    """Use the persistent compilation cache, and let a batch system's SIGTERM end a run cleanly."""
    import pooch

    from systwise.compilation import keep_compiled

    pooch.get_logger().setLevel("WARNING")  # it would announce a download on top of the progress bar
    keep_compiled()

    def interrupt(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def overridden(assignments: list[str]) -> dict[str, Any]:
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


def refuse_existing(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; choose another file with --out, or replace it with --force")
