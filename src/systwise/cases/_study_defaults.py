"""What a case proposes where a study does not say otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class StudyDefaults:
    """What a study of the case does unless told otherwise (a paper's choice where there is one).

    Attributes:
        true: true nuisance values to study, `{nuisance: value}` each; the nominal point first.
        uniform_bins: bins of the uniform binning of the score in (0, 1).
        optimised_bins: bins of the optimised binning.
        shown: three values of the first nuisance for feature and score distributions.
        binnings: which binnings a score is measured in.
        taken_apart: true points at which the uncertainty is taken apart, `first`, `all` or `none`.
        paper_grid: the paper's nuisance values for its profile, where it has one.
        significance: settings of the significances, by name; none are stated where this is empty.
    """

    true: tuple[dict[str, float], ...]
    uniform_bins: int
    optimised_bins: int
    shown: tuple[float, ...]
    binnings: tuple[str, ...] = ("uniform", "optimised")
    taken_apart: str = "first"
    paper_grid: tuple[float, ...] | None = None
    significance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
