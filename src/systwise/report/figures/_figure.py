"""What a module of figures gives to the report; one file that registers itself is all that a new figure needs."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from matplotlib.figure import Figure

from systwise.fit import Toys
from systwise.registry import Registry
from systwise.study import PlotData, Results


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a run left behind.

    Attributes:
        results: numbers and records.
        plots: arrays behind the figures.
        toys: rows of pseudo-experiments by their file's name in the records.
    """

    results: Results
    plots: PlotData
    toys: Mapping[str, Toys] = dataclasses.field(default_factory=dict)


class Sketch(NamedTuple):
    """A drawn figure.

    Attributes:
        name: of its files.
        title: above it.
        caption: below it, one or more sentences.
        figure: as drawn; None where there was nothing to draw.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None


class AbstractFigures(abc.ABC):
    """Figures of one kind, drawn from what a run stored.

    Subclasses register themselves in a public module of this folder, `@FIGURES.register`.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    """Place in the report, small first."""

    @abc.abstractmethod
    def sketches(self, stored: Stored) -> Iterator[Sketch]:
        """Yield the figures for which there is data."""


FIGURES: Registry[AbstractFigures] = Registry("figure", "systwise.report.figures")
