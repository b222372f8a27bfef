"""The tested points of a study by name and as arrays: single ones, a line, the plane around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from systwise.errors import ConfigError
from systwise.parameters import Components
from systwise.study.significance._settings import SignificanceSettings


class Tested(NamedTuple):
    """A hypothesis that is tested against the reference.

    Attributes:
        step: place on the line; None for a single point.
        offset: shift away from the line.
        theta: parameters of interest.
    """

    step: float | None
    offset: float
    theta: tuple[float, ...]


class Hypotheses:
    """The tested points of a study, in the order of its parameters of interest.

    Attributes:
        pois: names of the parameters of interest.
        reference: their values under the reference.
    """

    def __init__(self, settings: SignificanceSettings, components: Components) -> None:
        """Resolve names.

        Args:
            settings: which points.
            components: names and nominal values of the parameters of interest.

        Raises:
            ConfigError: a name is unknown.
        """
        self.settings, self.pois = settings, components.pois
        for key, names in (
            ("reference", settings.reference),
            ("direction", settings.direction),
            ("across", () if settings.across is None else (settings.across,)),
            *((f"points.{number}", point) for number, point in enumerate(settings.points)),
        ):
            unknown = [name for name in names if name not in self.pois]
            if unknown:
                raise ConfigError(
                    f"significance.{key}: '{unknown[0]}' is no parameter of interest (known: {', '.join(self.pois)})"
                )
        if settings.plane and len(self.pois) < 2:
            raise ConfigError(f"significance.grid: a plane needs two parameters of interest, not {self.pois[0]} alone")
        self.reference = self._filled(settings.reference, components.nominal)
        self._direction = np.array([settings.direction.get(name, 0.0) for name in self.pois])
        self._across = np.array([float(name == settings.across) for name in self.pois])

    def _filled(self, point: Mapping[str, float], base: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(point.get(name, value)) for name, value in zip(self.pois, base, strict=True))

    def point(self, step: float, offset: float = 0.0) -> tuple[float, ...]:
        """Return a point of the line, or `offset` beside it."""
        # Twelve digits: 1 - 0.1 - ... shall be the number that a person would write.
        moved = np.array(self.reference) + step * self._direction + offset * self._across
        return tuple(float(f"{value:.12g}") for value in moved)

    def tested(self) -> list[Tested]:
        """Return all tested points without the reference, each once."""
        s = self.settings
        single = [Tested(None, 0.0, self._filled(point, self.reference)) for point in s.points]
        steps = s.steps if s.line else ()
        line = [Tested(step, offset, self.point(step, offset)) for offset in s.offsets for step in steps]
        by_point: dict[tuple[float, ...], Tested] = {self.reference: Tested(0.0, 0.0, self.reference)}
        for row in (*single, *line):
            by_point.setdefault(row.theta, row)
        return list(by_point.values())[1:]

    def named(self, theta: Sequence[float]) -> dict[str, float]:
        """Return a point as `{name: value}`."""
        return {name: float(value) for name, value in zip(self.pois, theta, strict=True)}

    def axes(self) -> tuple[Float64[np.ndarray, " offset"], Float64[np.ndarray, " step"]]:
        """Return the plane's shifts away from the line, and its steps along it.

        The line may be a valley as narrow as a rate is well known, hence shifts that grow with the distance from it.
        """
        s = self.settings
        shifts = np.sinh(4 * np.linspace(-1, 1, s.across_grid)) / np.sinh(4)
        return s.width * shifts, np.linspace(*s.reach, s.grid)
