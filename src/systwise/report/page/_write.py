"""From a finished run's folder to its figures and report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from systwise.fit import Toys
from systwise.report.figures._figure import FIGURES, Stored
from systwise.report.figures._style import save_figure, style
from systwise.report.page._html import Drawing, render
from systwise.study import PlotData, Results, write_atomically

RESULTS, PLOTS, REPORT, FOLDER = "results.json", "plots.npz", "report.html", "figures"


def write_report(directory: Path) -> Path:
    """Draw all figures of a finished run and write its report.

    Reads `results.json` and, where they are there, `plots.npz` and the rows of pseudo-experiments; writes
    `figures/*.png`, `figures/*.pdf` and `report.html`, which needs no other file. Nothing is computed again.

    Args:
        directory: output directory of a run.

    Returns:
        the path of `report.html`.

    Raises:
        ConfigError: a file is missing or damaged.
        FitError: the rows of pseudo-experiments are damaged.
    """
    directory = Path(directory)
    results = Results.load(directory / RESULTS)
    plots = PlotData.load(directory / PLOTS) if (directory / PLOTS).exists() else PlotData()
    files = {record.file: directory / record.file for record in results.toys}
    toys = {name: Toys.load(path) for name, path in files.items() if path.exists()}
    drawings = draw(results, plots, directory / FOLDER, toys)
    text = render(results, drawings)
    write_atomically(directory / REPORT, lambda file: file.write(text.encode()))
    return directory / REPORT


def draw(results: Results, plots: PlotData, folder: Path, toys: Mapping[str, Toys] | None = None) -> list[Drawing]:
    """Write every figure for which there is data; return them in the order of the report.

    Args:
        results: of the study.
        plots: arrays behind the figures.
        folder: where to write.
        toys: rows of pseudo-experiments by their file's name in the records.
    """
    stored, drawings = Stored(results, plots, toys or {}), []
    with style():
        for name in FIGURES.names():
            for sketch in FIGURES.get(name)().sketches(stored):
                if sketch.figure is not None:
                    path = save_figure(sketch.figure, folder, sketch.name)
                    drawings.append(Drawing(sketch.name, sketch.title, sketch.caption, path))
    return drawings
