"""The unreachable reference: trained at the value that the data turn out to have."""

from __future__ import annotations

from systwise.cases import Progress, no_progress
from systwise.errors import ConfigError
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    AbstractStrategy,
    Problem,
    Trained,
    blind_network,
)
from systwise.learn.training._folds import fit_networks
from systwise.learn.training._game import draw_between


@STRATEGIES.register
class TrueNuisance(AbstractNetworkStrategy):
    """Train at the tested nuisance values, one network a true point.

    No analysis can do this, since the true value is not known; it shows what a classifier could gain.
    """

    name = "true_nuisance"
    summary = "trained at the tested nuisance value: what nobody can have in practice"
    order = 20
    is_yardstick = True

    at: tuple[tuple[str, float], ...] = ()
    """Nuisance values to train at, (name, value) pairs; nominal where not given."""

    def specialise(self, true_points: list[dict[str, float]]) -> list[tuple[AbstractStrategy, list[int]]]:
        """Return one training a true point."""
        return [
            (self.model_copy(update={"at": tuple(sorted(point.items()))}), [number])
            for number, point in enumerate(true_points)
        ]

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train on events at the nuisance values `at`."""
        values = dict(self.at)
        unknown = set(values) - {nuisance.name for nuisance in problem.case.nuisances}
        if unknown:
            raise ConfigError(f"true_nuisance.at: case '{problem.case.name}' has no nuisance '{sorted(unknown)[0]}'")
        point = [values.get(nuisance.name, nuisance.nominal) for nuisance in problem.case.nuisances]
        return fit_networks(self, problem, draw_between(point, point), blind_network, seed, progress)
