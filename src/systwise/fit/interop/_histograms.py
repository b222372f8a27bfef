"""Models from histograms of the UHI protocol: what hist, boost_histogram and uproot hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from systwise.errors import TemplateError
from systwise.fit.model._model import Model
from systwise.parameters import (
    AbstractConstraint,
    Components,
    CorrelatedGaussian,
    Normalisation,
    Nuisance,
)
from systwise.registry import suggestion


@runtime_checkable
class PlottableHistogram(Protocol):
    """What is needed of the protocol (https://uhi.readthedocs.io): contents, variances, axes with edges."""

    @property
    def axes(self) -> Any:
        """The axes."""

    def values(self) -> Any:
        """Return the contents, `[bin]` or `[bin, ...]`."""

    def variances(self) -> Any:
        """Return their variances, None where they are not known."""


def histogram_model(
    components: Components,
    nominal: Mapping[str, PlottableHistogram],
    nuisances: Sequence[Nuisance] = (),
    constraints: Sequence[AbstractConstraint | CorrelatedGaussian] = (),
    *,
    varied: Mapping[str, Mapping[float, Mapping[str, PlottableHistogram]]] | None = None,
    normalisations: Sequence[Normalisation] = (),
    convention: str = "poisson",
    simulation: bool = False,
) -> Model:
    """Return the model of histograms, one a component and variation; more than one axis is flattened.

    Args:
        components: names and how they depend on the parameters of interest.
        nominal: a histogram for each component.
        nuisances: those that change shapes, with anchors at the values of `varied`, and those of `normalisations`.
        constraints: at most one a nuisance.
        varied: for each nuisance that changes shapes, by anchor value, the histograms of the components that
            differ from nominal there; every anchor but the nominal one must be given.
        normalisations: nuisances that are exact factors on yields.
        convention: terms in the data alone, see `Model.from_templates`.
        simulation: give each bin a simulation factor (Barlow-Beeston lite) by the histograms' variances.

    Raises:
        TemplateError: a component or anchor is missing or unknown, edges differ, or variances are not known.
    """
    base, edges = _nominal(components, nominal)
    varied = {} if varied is None else varied
    exact = {rate.nuisance for rate in normalisations}
    shaped = [nuisance for nuisance in nuisances if nuisance.name not in exact]
    for name in varied:
        _known(name, [nuisance.name for nuisance in shaped], "varied", "nuisance that changes shapes")
    arrays = []
    for nuisance in shaped:
        given = varied.get(nuisance.name, {})
        for value in given:
            if value not in nuisance.anchors:
                anchors = ", ".join(f"{anchor:g}" for anchor in nuisance.anchors)
                raise TemplateError(f"varied '{nuisance.name}': {value:g} is no anchor of it (anchors: {anchors})")
        rows = []
        for anchor in nuisance.anchors:
            if anchor not in given and anchor != nuisance.nominal:
                raise TemplateError(f"varied '{nuisance.name}': no histograms at its anchor {anchor:g}; add them")
            rows.append(_replaced(components, base, edges, given.get(anchor, {}), f"{nuisance.name}={anchor:g}"))
        arrays.append(np.stack(rows))
    variances = None
    if simulation:
        variances = np.stack([_variances(name, nominal[name]) for name in components.names])
    return Model.from_templates(
        components,
        nuisances,
        constraints,
        arrays or [base],
        convention=convention,
        normalisations=normalisations,
        variances=variances,
    )


def _nominal(components: Components, nominal: Mapping[str, PlottableHistogram]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return nominal contents `[component, bin]` and the edges that all histograms share."""
    for name in nominal:
        _known(name, components.names, "nominal", "component")
    missing = [name for name in components.names if name not in nominal]
    if missing:
        raise TemplateError(f"nominal: no histogram for component '{missing[0]}'; add it")
    edges = _edges(nominal[components.names[0]])
    return np.stack([_contents(nominal[name], edges, f"nominal '{name}'") for name in components.names]), edges


def _replaced(
    components: Components,
    base: np.ndarray,
    edges: list[np.ndarray],
    given: Mapping[str, PlottableHistogram],
    where: str,
) -> np.ndarray:
    rows = base.copy()
    for name, histogram in given.items():
        _known(name, components.names, where, "component")
        rows[components.names.index(name)] = _contents(histogram, edges, f"'{name}' at {where}")
    return rows


def _known(name: str, known: Sequence[str], where: str, what: str) -> None:
    if name not in known:
        names = ", ".join(known) or "none"
        raise TemplateError(f"{where}: '{name}' is no {what}{suggestion(name, list(known))} (known: {names})")


def _edges(histogram: PlottableHistogram) -> list[np.ndarray]:
    return [np.asarray(axis.edges if hasattr(axis, "edges") else axis, np.float64) for axis in histogram.axes]


def _contents(histogram: PlottableHistogram, edges: list[np.ndarray], where: str) -> np.ndarray:
    own = _edges(histogram)
    if len(own) != len(edges) or any(
        a.shape != b.shape or not np.allclose(a, b) for a, b in zip(own, edges, strict=True)
    ):
        raise TemplateError(f"{where}: its edges differ from those of the first histogram; fill all with the same axes")
    return np.asarray(histogram.values(), np.float64).ravel()


def _variances(name: str, histogram: PlottableHistogram) -> np.ndarray:
    found = histogram.variances()
    if found is None:
        raise TemplateError(f"nominal '{name}': has no variances; fill it with Weight storage, or simulation=False")
    return np.asarray(found, np.float64).ravel()
