"""Which hypotheses are told from the reference, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from systwise.settings import Settings

Told = Literal["sample", "nominal"]
"""Sample-wide value that a score is told: the hypothesis' own, or one for all data and hypotheses."""


class SignificanceSettings(Settings):
    """Hypotheses that are tested against a reference: single points, a line through the reference, and a plane."""

    reference: dict[str, float] = Field(default_factory=dict)
    """Parameters of interest of the reference, `{name: value}`; nominal where they are not named."""
    points: tuple[dict[str, float], ...] = ()
    """Tested points, `{name: value}` each; the reference's values where they are not named."""
    direction: dict[str, float] = Field(default_factory=dict)
    """Change of each parameter along one step of a line through the reference, `{name: change}`; empty: no line."""
    steps: tuple[float, ...] = ()
    """Tested points of the line, in steps from the reference, which is left out itself; empty: no line."""
    across: str | None = None
    """Parameter in which points beside the line are shifted."""
    offsets: tuple[float, ...] = (0.0,)
    """Shifts of that parameter; 0 is the line."""
    grid: int = Field(0, ge=0)
    """Points of the plane along the line; 0: no plane."""
    across_grid: int = Field(25, ge=3)
    """Points of the plane across the line, dense near it."""
    reach: tuple[float, float] = (-0.6, 0.6)
    """Ends of the plane along the line, in steps."""
    width: float = Field(0.4, gt=0)
    """Ends of the plane across the line: largest |shift|."""
    wrong: tuple[float, ...] = (-1.0, -0.5, 0.5, 1.0)
    """True values of data whose fit believes in the nominal ones, in standard deviations of each nuisance's constraint,
    one nuisance at a time."""
    told: Told = "nominal"
    """Sample-wide value told to scores that ask for one: `nominal` is the reference's at nominal nuisances for all,
    which makes the score one fixed observable; `sample` is each hypothesis' own at its own nuisances, in data and
    templates. At one point the study states both."""
    toys: int = Field(1000, ge=0)
    """Pseudo-experiments of the check, once a set of regions for the first strategy; 0: none."""
    toy_significance: float = Field(2.0, gt=0)
    """The check is made at the tested point on the line whose significance is closest to this."""

    @model_validator(mode="after")
    def _held_together(self) -> SignificanceSettings:
        if self.direction and not any(self.direction.values()):
            raise ValueError("direction: every change is zero, which is no line")
        if self.line and (any(self.offsets) or self.grid) and self.across is None:
            raise ValueError("across: name the parameter in which points beside the line are shifted")
        if self.line and 0.0 not in self.offsets:
            raise ValueError("offsets: no tested point lies on the line; add 0")
        return self

    @property
    def line(self) -> bool:
        """Whether points of a line are tested."""
        return bool(self.direction and self.steps)

    @property
    def plane(self) -> bool:
        """Whether the plane around the line is tested."""
        return self.line and self.grid > 0

    @property
    def active(self) -> bool:
        """Whether there is anything to test."""
        return bool(self.points) or self.line
