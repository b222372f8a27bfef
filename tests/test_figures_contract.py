"""What modules of figures keep: names and places of their own, nothing without data, one file for a new one."""

from __future__ import annotations

import inspect

import pytest

from systwise.report import draw
from systwise.report.figures._figure import FIGURES, AbstractFigures, Sketch, Stored
from systwise.report.figures._layout import new_figure
from systwise.study import DataRecord, PlotData, Results, Timings


@pytest.fixture
def nothing() -> Results:
    return Results(
        case="any",
        settings={},
        seeds=[0],
        versions={},
        timings=Timings(),
        data=DataRecord(source="", fingerprint="", events=1),
        command="",
        nuisances=[],
        yields=[],
        measurements=[],
    )


def test_every_public_module_of_the_folder_registers_figures():
    modules = {inspect.getmodule(FIGURES.get(name)).__name__.rsplit(".", 1)[1] for name in FIGURES.names()}
    assert {"summary", "significance", "toys", "fits", "inference", "ratios", "scores", "events"} == modules


def test_places_in_the_report_are_distinct():
    orders = [FIGURES.get(name).order for name in FIGURES.names()]
    assert orders == sorted(set(orders))


@pytest.mark.parametrize("name", FIGURES.names())
def test_where_there_is_no_data_nothing_is_drawn(name, nothing):
    assert [sketch for sketch in FIGURES.get(name)().sketches(Stored(nothing, PlotData())) if sketch.figure] == []


def test_a_class_that_registers_itself_is_in_the_report(nothing, tmp_path, monkeypatch):
    monkeypatch.setattr(FIGURES, "_entries", {name: FIGURES.get(name) for name in FIGURES.names()})

    @FIGURES.register
    class Added(AbstractFigures):
        """One more."""

        name = "added"
        order = 1

        def sketches(self, stored):
            """Yield a figure and one for which there is no data."""
            yield Sketch("added", "One more", "As added.", new_figure(2, 2))
            yield Sketch("missing", "Not there", "Nothing.", None)

    (drawing,) = draw(nothing, PlotData(), tmp_path)
    assert (drawing.name, drawing.title, drawing.caption) == ("added", "One more", "As added.")
    assert (tmp_path / "added.png").stat().st_size > 500
