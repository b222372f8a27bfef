"""Commands that bring a finished run into other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from systwise.cli._app import (
    Debug,
    app,
    escape,
    one_sentence,
    prepare_process,
    progress_bars,
    refuse_existing,
)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="RUNDIR", help="Output directory of a run.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write (a folder for cabinetry).")],
    format_: Annotated[str, typer.Option("--format", help="pyhf, cabinetry or onnx.")] = "pyhf",
    strategy: Annotated[str | None, typer.Option(help="A strategy of the run.")] = None,
    observable: Annotated[str | None, typer.Option(help="fixed or anchored (the default where there is one).")] = None,
    binning: Annotated[str | None, typer.Option(help="Binning of a fixed observable (default: optimised).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training (default: the first).")] = None,
    data: Annotated[
        str, typer.Option(help="asimov, or observed: the counts that systwise unblind --stage full has read.")
    ] = "asimov",
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
        prepare_process()
        from systwise.export import run_export
        from systwise.study import parse_point

        refuse_existing(out, force)
        given = {"strategy": strategy, "observable": observable, "binning": binning, "seed": seed}
        point = parse_point(true) if true else {}
        lines = run_export(
            directory,
            out,
            format_,
            point=point,
            data=data,
            simulation=simulation,
            allow=allow_loss,
            folds=folds,
            **given,
        )
        console = Console()
        for line in lines:
            console.print(escape(line), soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Output directory of a run, RUNDIR/models/NAME.eqx, or an ONNX file.")],
    files: Annotated[list[Path], typer.Argument(help="Parquet, csv, ROOT or HDF5 with the features as columns.")],
    name: Annotated[str, typer.Option(help="The new column, or how the columns of a run begin.")] = "score",
    sample: Annotated[
        str | None, typer.Option(help="A run: sample whose selection and folds the files get (default: the data).")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="A run: which strategy.")] = None,
    observable: Annotated[str | None, typer.Option(help="A run: fixed or anchored.")] = None,
    binning: Annotated[str | None, typer.Option(help="A run: binning of a fixed observable.")] = None,
    seed: Annotated[int | None, typer.Option(help="A run: seed of the training (default: the first).")] = None,
    nuisance: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Hypothesis of a score that is told it. Repeatable.")
    ] = [],  # noqa: B006
    features: Annotated[str | None, typer.Option(help="Columns in order, for an ONNX file of another program.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read a model of another library too: a pickle, which can run any code.")
    ] = False,
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

    A model of several folds gives the mean of its networks, for events that none of them was trained on. A run's
    directory makes features, selections, folds and bins as its analysis file did: three columns for each region.
    """
    with one_sentence(debug):
        prepare_process()
        from systwise.errors import ConfigError
        from systwise.export import predict as score_files
        from systwise.export import predict_run
        from systwise.study import parse_point

        choice = {
            "sample": sample,
            "strategy": strategy,
            "observable": observable,
            "binning": binning,
            "seed": seed,
        }
        given = [key for key, value in choice.items() if value is not None]
        if not model.is_dir() and given:
            raise ConfigError(f"--{given[0]} is for the directory of a run, which {model} is not; leave it out")
        if model.is_dir() and (nuisance or features):
            raise ConfigError(
                f"{model}: a run takes features from its analysis and scores at nominal nuisances; leave out "
                "--features and --nuisance, or name one of its models"
            )
        point = {key: value for text in nuisance for key, value in parse_point(text).items()}
        names = [part.strip() for part in features.split(",")] if features else None
        console = Console()
        with progress_bars(console) as progress:
            where: dict[str, Any] = {
                "name": name,
                "friend": friend,
                "folder": out,
                "tree": tree,
                "in_place": in_place,
                "force": force,
                "progress": progress,
            }
            done = (
                predict_run(model, files, choice=choice, **where)
                if model.is_dir()
                else score_files(model, files, nuisances=point, features=names, trusted=trust, **where)
            )
        for path, count in done.items():
            console.print(f"{escape(str(path))}: {count} events", soft_wrap=True)
