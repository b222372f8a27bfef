"""Legends above panels: never wider than the figure, never over a title."""

from __future__ import annotations

import pytest
from matplotlib.lines import Line2D

from systwise.report.figures._layout import grid, legend_above


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("columns", [1, 3])
def test_a_legend_fits_and_leaves_the_panels_free(count, columns):
    figure, axes = grid(2, columns, panel=(3.0, 2.0), margins=(0.75, 0.25, 0.6, 0.75))
    for axis in axes.flat:
        axis.set_title("a title")
    height, panel = figure.get_figheight(), axes[0, 0].get_window_extent().height
    legend_above(figure, [Line2D([], [], label=f"a strategy of some length {i}") for i in range(count)])
    box = figure.legends[0].get_window_extent()
    assert len(figure.legends) == 1
    assert len(figure.legends[0].get_texts()) == count
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert box.y0 >= max(axis.get_tightbbox().y1 for axis in axes.flat) - 1
    # What is missing is added above; the panels keep their size.
    assert axes[0, 0].get_window_extent().height == pytest.approx(panel, abs=0.5)
    if count != 4:
        assert (figure.get_figheight() > height) == (count == 12)


def test_nothing_to_name_writes_nothing():
    figure, _ = grid(1, 1)
    legend_above(figure, [])
    assert figure.legends == []
