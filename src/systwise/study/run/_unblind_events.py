"""Observed events in an unbinned likelihood, beside the bins of other regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from systwise.cases import AbstractCase
from systwise.errors import ConfigError
from systwise.events import EventTable, fold_of
from systwise.fit import (
    AbstractData,
    CombinedData,
    CombinedModel,
    Model,
    UnbinnedData,
    UnbinnedModel,
    combined,
    study_auxiliary,
)
from systwise.learn import RatioObservable
from systwise.parameters import ChebyshevBasis
from systwise.study.measure._unbinned import Sample
from systwise.study.run._placed import observed_in
from systwise.study.store._templates import StoredTemplates, constraint_of


class Likelihood(NamedTuple):
    """A likelihood with events, and its observed data.

    Attributes:
        model: of one region of events, or of several regions.
        data: observed.
    """

    model: UnbinnedModel | CombinedModel
    data: UnbinnedData | CombinedData


def event_likelihood(
    folder: Path,
    row: StoredTemplates,
    case: AbstractCase,
    names: Sequence[str],
    tables: Mapping[str, EventTable],
    counts: Mapping[str, np.ndarray],
) -> Likelihood:
    """Return the likelihood of some regions of a stored observable, and what was observed there.

    Args:
        folder: of the run.
        row: yields of the regions of events, bins of the others.
        case: the analysis, as its first region sees it.
        names: the regions.
        tables: their observed events.
        counts: `[bin]` of each region.

    Raises:
        ConfigError: none of the regions has events.
    """
    if not set(names) & set(row.events):
        raise ConfigError(f"{row.strategy}: none of {', '.join(names)} has an unbinned likelihood; choose another row")
    models: dict[str, UnbinnedModel | Model] = {}
    data: dict[str, UnbinnedData | AbstractData] = {}
    for name in names:
        own = row.restricted([name])
        if name not in row.events:
            model = models[name] = own.model()
            data[name] = own.observed_data(model, counts)
            continue
        one = models[name] = UnbinnedModel.from_yields(
            own.components,
            own.nuisances,
            [constraint_of(record) for record in own.constraints],
            [array[..., 0] for array in own.templates.counts],
            own.acting,
        )
        data[name] = _observed(folder, row, case, name, one, tables[name])
    if len(models) == 1:
        (alone,), (events,) = models.values(), data.values()
        if isinstance(alone, UnbinnedModel) and isinstance(events, UnbinnedData):
            return Likelihood(alone, events)
    model_of_all = combined(models)
    return Likelihood(model_of_all, model_of_all.data(data))


def _observed(
    folder: Path, row: StoredTemplates, case: AbstractCase, name: str, model: UnbinnedModel, table: EventTable
) -> UnbinnedData:
    """Return the log-ratios of observed events, each from the network of its fold."""
    own, observable = observed_in(folder, row, case, name)
    if not isinstance(observable, RatioObservable):
        raise TypeError(f"region {name} has events but no density ratios")
    nominal = np.array([nuisance.nominal for nuisance in own.nuisances])
    folds = fold_of(table.kin, observable.folds)
    sample = Sample(observable, own, table, np.arange(len(table)), folds, nominal)
    coefficients, weights = sample.polynomial()
    kept = weights.sum(axis=1) != 0
    # The polynomials know all nuisances of the analysis, the model those that act in the region.
    places = [[n.name for n in own.nuisances].index(nuisance.name) for nuisance in model.nuisances]
    z = np.array([nuisance.nominal for nuisance in model.nuisances])
    return UnbinnedData(
        coefficients[kept],
        _chosen(observable.basis, places),
        weights.sum(axis=1)[kept].astype(np.float64),
        study_auxiliary(model, z),
    )


def _chosen(basis: ChebyshevBasis, places: Sequence[int]) -> ChebyshevBasis:
    """Return the same polynomials in some of the nuisances; the others have none."""
    exponents = np.array(basis.exponents).reshape(basis.terms, -1)[:, list(places)]
    centre, half = (np.asarray(array, np.float64)[list(places)] for array in (basis.centre, basis.half))
    return ChebyshevBasis(centre, half, tuple(tuple(line) for line in exponents.tolist()))
