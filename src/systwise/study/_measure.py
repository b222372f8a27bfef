"""From templates to measurements: every convention, every true point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from systwise.fit import Convention, Data, FitResult, Model, fit, moving_asimov, study_auxiliary
from systwise.study._binning import uniform_bins
from systwise.study._exhibits import background_shift
from systwise.study._plan import Plan
from systwise.study._plotdata import LikelihoodScan
from systwise.study._results import Measurement
from systwise.study._scans import likelihood_scan
from systwise.templates import ScoreTable, Templates, auc


@dataclasses.dataclass(frozen=True)
class Setup:
    """One strategy with one seed and one binning, ready to be fitted.

    Attributes:
        strategy, binning, seed: labels of the records.
        points: the true points that these templates serve.
        templates: expected counts.
        scores: the fine table behind them, for the separation.
    """

    strategy: str
    binning: str
    seed: int
    points: tuple[dict[str, float], ...]
    templates: Templates
    scores: ScoreTable


def room(plan: Plan) -> int:
    """Return the bins to compile for: one compilation serves every binning of the study."""
    bins = plan.settings.binning.optimised or plan.case.defaults.optimised_bins
    return 16 * -(-max(bins, uniform_bins(plan.settings.binning, plan.case)) // 16)


def build_model(plan: Plan, templates: Templates, convention: Convention) -> Model:
    """Return the likelihood of the templates."""
    return Model.from_templates(
        plan.case.components,
        plan.nuisances,
        plan.case.constraints,
        list(templates.counts),
        convention=convention,
        moving=templates.moving,
        room=room(plan),
    )


def study_data(plan: Plan, model: Model, templates: Templates, number: int, point: dict[str, float]) -> Data:
    """Return the Asimov data of true point `number` of the templates.

    Events of the true point itself, not the morph's interpolation to it: a study at a point off the
    axes of several nuisances shows what the factorisation costs.
    """
    theta = plan.poi_values(point)
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    if templates.moving:
        return moving_asimov(model, theta, z, templates.at_true[number])
    return Data(model.coefficients(theta) @ templates.truth[number], study_auxiliary(model, z))


def measure(plan: Plan, setup: Setup, shown: bool) -> tuple[list[Measurement], list[LikelihoodScan]]:
    """Fit the first parameter of interest at every true point, in every convention that matters.

    Args:
        plan: the study.
        setup: templates and labels.
        shown: whether to scan the likelihood of the first convention for the figures.
    """
    conventions: Sequence[Convention] = plan.settings.fit.conventions
    if not setup.templates.moving:
        # Terms in n alone are constants for a fixed observable.
        conventions = conventions[:1]
    records, scans = [], []
    for convention in conventions:
        model = build_model(plan, setup.templates, convention)
        for number, point in enumerate(setup.points):
            data = study_data(plan, model, setup.templates, number, point)
            result = fit(model, data, grid=plan.grid)
            records.append(_record(plan, setup, convention, point, result))
            if shown and plan.nuisances and convention == conventions[0]:
                scans.append(
                    likelihood_scan(plan, setup.strategy, setup.binning, convention, point, model, data, result)
                )
    return records, scans


def _record(
    plan: Plan, setup: Setup, convention: Convention, point: dict[str, float], result: FitResult
) -> Measurement:
    truth, poi = plan.case.truth, plan.case.components.pois[0]
    z = np.array([point[nuisance.name] for nuisance in plan.nuisances])
    bound = truth.bound(plan.poi_values(point), z) if truth is not None else (None, None)
    second = result.second_minimum
    return Measurement(
        strategy=setup.strategy,
        observable="moving" if setup.templates.moving else "fixed",
        convention=convention,
        binning=setup.binning,
        bins=setup.templates.bins,
        seed=setup.seed,
        data="asimov",
        true=point,
        poi=poi,
        estimate=result.estimate,
        sigma=result.sigma,
        sigma_down=result.sigma_down,
        sigma_up=result.sigma_up,
        sigma_stat_only=result.sigma_stat_only,
        bound=bound[0],
        bound_stat_only=bound[1],
        interval_95=result.interval_two_sigma,
        nuisance_estimate=dict(result.nuisance_estimate),
        nuisance_sigma=result.nuisance_sigma,
        second_minimum=None if second is None else {**second.nuisances, "delta_nll": second.rise},
        auc=auc(setup.scores, setup.scores.pairs.find(z), plan.case.components),
        ks_background=background_shift(plan.case, setup.scores, setup.scores.pairs, z),
        converged=result.converged,
        verdict=result.verdict,
    )
