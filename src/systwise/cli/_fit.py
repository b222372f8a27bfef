"""The command that fits an existing workspace."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from systwise.cli._app import Debug, Force, app, escape, one_sentence, prepare_process, refuse_existing
from systwise.errors import ConfigError, FitError


@app.command(name="fit")
def fit_command(
    workspace: Annotated[
        Path, typer.Argument(metavar="WORKSPACE.json", help="A HistFactory workspace of pyhf or HS3.")
    ],
    out: Annotated[Path | None, typer.Option(help="Output directory (default: systwise-fit-WORKSPACE).")] = None,
    measurement: Annotated[
        str | None,
        typer.Option(help="A measurement of the workspace, or an analysis of an HS3 document (default: the first)."),
    ] = None,
    poi: Annotated[str | None, typer.Option(help="Parameter of interest (default: the measurement's).")] = None,
    asimov: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="Expected instead of observed data, with this value of the parameter."),
    ] = None,
    toys: Annotated[
        int, typer.Option(metavar="N", help="Goodness of fit, significance and limit by N pseudo-experiments.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the pseudo-experiments.")] = 0,
    level: Annotated[float, typer.Option(help="Confidence level of the upper limit.")] = 0.95,
    normsys: Annotated[str, typer.Option(help="Interpolation of factors: code1 or code4.")] = "code4",
    histosys: Annotated[str, typer.Option(help="Interpolation of shapes: code0, code2 or code4p.")] = "code4p",
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Fit a workspace: value, intervals, significance, limit, goodness of fit, pulls, impacts, yields and a report.

    The interpolation codes are those that pyhf uses where it is not told otherwise; an HS3 document states its own.
    """
    with one_sentence(debug):
        folder = out or Path(f"systwise-fit-{workspace.stem}")
        refuse_existing(folder, force)
        content, digest = _read(workspace)
        prepare_process()
        from systwise.fit import asimov as expected_data
        from systwise.fit import histfactory_data, histfactory_model, is_hs3, measure, read_hs3
        from systwise.report import Origin, measurement_answers, measurement_cautions, write_measurement
        from systwise.study import versions

        if is_hs3(content):
            content, normsys, histosys = read_hs3(content, measurement)
        model = histfactory_model(content, measurement=measurement, normsys=normsys, histosys=histosys)
        name = poi or model.components.pois[0]
        if asimov is None:
            data = histfactory_data(content, model, measurement=measurement)
        else:
            data = expected_data(model, {name: asimov}, {})
        found = measure(model, data, name, level=level, toys=toys, seed=seed)
        settings = {
            "measurement": measurement,
            "poi": name,
            "asimov": asimov,
            "toys": toys,
            "seed": seed,
            "level": level,
            "normsys": normsys,
            "histosys": histosys,
        }
        command = shlex.join(["systwise", *sys.argv[1:]])
        origin = Origin(workspace.stem, command, str(workspace), digest, settings, versions())
        page = write_measurement(found, origin, folder)
        console = Console(highlight=False)
        for table in found.tables:
            console.print(f"{escape(table)}\n", soft_wrap=True)
        for sentence in measurement_cautions(found):
            console.print(f"[yellow]warning:[/] {escape(sentence)}", soft_wrap=True)
        for sentence in measurement_answers(found):
            console.print(escape(sentence), soft_wrap=True)
        console.print(f"{escape(str(page))} shows it all.", soft_wrap=True)
        if not found.result.minimum_found:
            raise FitError(f"{workspace}: {found.result.verdict}")


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a JSON file, and its SHA-256.

    Raises:
        ConfigError: no such file, or one that is no JSON object.
    """
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a workspace in JSON") from None
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error}); give a workspace as pyhf writes it") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, where a workspace is an object with channels")
    return content, hashlib.sha256(raw).hexdigest()
