"""Expected data as control regions see the world: nuisances at their fit to observed data."""

from __future__ import annotations

import dataclasses

from systwise.cases import Analysis, Progress
from systwise.errors import FitError
from systwise.fit import fit
from systwise.learn import given_observable
from systwise.study.config._control import CONTROL, control_regions
from systwise.study.measure._binned import binned_setups
from systwise.study.measure._binning import uniform_bins
from systwise.study.measure._measure import stored
from systwise.study.plan._plan import Plan
from systwise.study.run._placed import counts_of
from systwise.study.run._unblind import digest_of
from systwise.study.store._manifest import Manifest
from systwise.templates import join_templates

Fitted = tuple[dict[str, float], dict[str, str]]
"""Values of the nuisances, and digests of the data of each region."""


def at_control_fit(plan: Plan, progress: Progress) -> tuple[Plan, Fitted | None]:
    """Return the study with the true point `control` at the nuisances of a fit to the data of its control regions.

    Parameters of interest are held at their nominal values in the fit. Auxiliary observations stay where they were
    made, as they do in the data, so that an expected result shows by how much they disagree.

    Args:
        plan: the study, with the other true points.
        progress: told about reading and scoring.

    Raises:
        FitError: the fit has no minimum.
    """
    case = plan.case
    if CONTROL not in (plan.settings.true or ()) or not isinstance(case, Analysis):
        return plan, None
    names = control_regions(case)
    regions = {name: plan.regions[name].as_given() for name in names}
    observables = {name: given_observable(own.case, 1) for name, own in regions.items()}
    setups = {
        name: binned_setups(own, f"control fit, {name}", 0, observables[name], (), progress)[0][0]
        for name, own in regions.items()
    }
    joined = join_templates({name: setup.templates for name, setup in setups.items()})
    row = stored(plan, dataclasses.replace(setups[names[0]], templates=joined)).restricted(names)
    counts, digests = {}, {}
    for name, own in regions.items():
        table = case.regions[name].observed(progress)
        uniform = uniform_bins(plan.settings.binning, own.case)
        counts[name] = counts_of(row, own.case, observables[name], name, table, uniform)
        digests[name] = digest_of(table)
    model = row.model()
    held = dict(zip(model.components.pois, model.components.nominal, strict=True))
    result = fit(model, row.observed_data(model, counts), fixed=held)
    if not result.minimum_found:
        raise FitError(f"true: the fit of the control regions ({', '.join(names)}) has failed: {result.verdict}")
    found = {name: float(value) for name, value in result.nuisance_estimate.items()}
    return plan.at_control(found), (found, digests)


def noted(manifest: Manifest, fitted: Fitted | None) -> Manifest:
    """Return the manifest with a note that data of control regions were fitted."""
    if fitted is None:
        return manifest
    labels = {"strategy": "given", "observable": "fixed", "binning": "given", "seed": 0}
    return manifest.looked("control", fitted[1], manifest.command, **labels)
