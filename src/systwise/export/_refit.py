"""What a workspace says, asked of pyhf, beside our own fit: how far best fit and interval lie apart."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from systwise.export._pyhf_model import INTERPOLATION, PyhfModel, Refit, pyhf_in_jax, quiet
from systwise.export._workspace import Workspace
from systwise.fit import Data, FitResult, Model, fit


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A workspace refitted by pyhf beside our own fit of the model that it was made of.

    Attributes:
        poi: the parameter of interest.
        ours: our fit.
        theirs: pyhf's fit of the workspace.
        interpolation: distance of the expected counts in statistical standard deviations, over all bins, where it is
            largest between -1 and 1 standard deviations of a nuisance; by nuisance.
        losses: sentences on what the workspace says differently.
    """

    poi: str
    ours: FitResult
    theirs: Refit
    interpolation: dict[str, float]
    losses: tuple[str, ...]

    @property
    def sigma_change(self) -> float | None:
        """Relative change of the uncertainty, pyhf's over ours minus 1; None where a fit has none."""
        if self.ours.sigma is None or self.theirs.sigma is None:
            return None
        return self.theirs.sigma / self.ours.sigma - 1

    @property
    def shift(self) -> float | None:
        """Shift of the estimate in units of our uncertainty."""
        return None if not self.ours.sigma else (self.theirs.estimate - self.ours.estimate) / self.ours.sigma

    @property
    def loss(self) -> float:
        """The larger of both changes; infinite where a fit has no interval."""
        values = (self.sigma_change, self.shift)
        return max(math.inf if value is None else abs(value) for value in values)

    def record(self) -> dict[str, Any]:
        """Return everything as plain values, for the workspace's metadata."""
        return {
            "poi": self.poi,
            "ours": {"estimate": self.ours.estimate, "sigma": self.ours.sigma},
            "pyhf": {"estimate": self.theirs.estimate, "sigma": self.theirs.sigma, "nuisances": self.theirs.nuisances},
            "sigma_change": self.sigma_change,
            "shift_in_sigma": self.shift,
            "interpolation_in_sigma": self.interpolation,
            "losses": list(self.losses),
            "modifier_settings": INTERPOLATION,
        }


def compare(model: Model, data: Data, workspace: Workspace) -> Comparison:
    """Fit a model here and its workspace with pyhf, and return both.

    Args:
        model: what the workspace was made of.
        data: its data.
        workspace: from `histfactory_workspace(model, data)`.

    Raises:
        FitError: pyhf's fit fails.
        ConfigError: pyhf is not installed.
    """
    with pyhf_in_jax(), quiet():
        judge = PyhfModel(workspace)
        theirs = judge.fit()
        between = judge.interpolation(model)
    return Comparison(model.components.pois[0], fit(model, data), theirs, between, workspace.losses)
