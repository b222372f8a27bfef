"""The true point that control regions decide: nuisances at a fit to their data."""

from __future__ import annotations

from typing import Literal

from systwise.cases import AbstractCase, Analysis
from systwise.errors import ConfigError

CONTROL: Literal["control"] = "control"
"""Its name among the true points."""


def control_regions(case: AbstractCase) -> list[str]:
    """Return the control regions whose observable is given, and so the same under every strategy."""
    return [name for name, region in case.regions.items() if region.kind == "control" and region.given]


def check_control(case: AbstractCase) -> None:
    """Refuse a case whose control regions cannot be fitted before anything is trained.

    Raises:
        ConfigError: saying what is missing.
    """
    if not isinstance(case, Analysis) or not case.settings.observed:
        raise ConfigError(f"true: '{CONTROL}' is a fit to observed data; add a sample with Data: true")
    if not control_regions(case):
        raise ConfigError(
            f"true: '{CONTROL}' needs a region of Kind control with Variable and Binning, and without Features or "
            "Observable"
        )
