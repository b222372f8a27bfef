"""HistFactory workspaces as models: the same likelihood as pyhf's, fitted by this package.

Use it to bring in an existing analysis, and to compare with pyhf number by number. Normalisation factors
become parameters of interest (all float freely), `normsys` and `histosys` nuisances with a unit Gaussian
constraint, `lumi` a factor with its own constraint, `shapesys` a factor a bin with a Poisson constraint,
`shapefactor` one without, and `staterror` a simulation factor a bin that is profiled analytically instead of being a
parameter (Barlow-Beeston lite with Gaussian constraints, as in HistFactory, CERN-OPEN-2012-016). What a measurement
fixes is no parameter: its effect at the fixed value is part of the contents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from systwise.errors import ConfigError
from systwise.fit.interop._histfactory_layout import Layout, chosen_measurement, observations
from systwise.fit.model._data import Data
from systwise.fit.model._effects import AddedShape, Effect, LinearFactor, added_shape, exponential_factor
from systwise.fit.model._model import Model
from systwise.fit.model._model_parts import match_constraints
from systwise.fit.model._morph import build_morph
from systwise.parameters import AbstractConstraint, Components, GaussianConstraint, Nuisance, PoissonConstraint

RANGE = (1e-10, 10.0)
"""Range of a factor a bin, as pyhf suggests it."""


def histfactory_model(
    workspace: Mapping[str, Any],
    *,
    measurement: str | None = None,
    normsys: str = "code1",
    histosys: str = "code0",
    reach: float = 8.0,
) -> Model:
    """Return the model of a HistFactory workspace (JSON of pyhf's schema, as a dictionary).

    Bins of all channels follow one another in the workspace's order; a sample that occurs in several
    channels is one component. The first parameter of interest is the measurement's.

    Args:
        workspace: `channels`, `measurements` and, for `histfactory_data`, `observations`.
        measurement: name of a measurement; the first where None.
        normsys: interpolation of factors, `code1` or `code4`.
        histosys: interpolation of shapes, `code0`, `code2` or `code4p`.
        reach: half-width of the range of a nuisance, in standard deviations.

    Raises:
        ConfigError: a modifier that this model does not have, or a workspace without what is needed.
    """
    chosen = chosen_measurement(workspace, measurement)
    layout = Layout(workspace)
    configured = {entry["name"]: entry for entry in chosen["config"].get("parameters", [])}
    poi = chosen["config"]["poi"]
    fixed = {name for name, entry in configured.items() if entry.get("fixed", False)}
    if poi not in layout.factors:
        raise ConfigError(f"workspace: the parameter of interest '{poi}' scales no sample")
    if poi in fixed:
        raise ConfigError(f"workspace: the parameter of interest '{poi}' is fixed; name another or let it float")
    pois = sorted((name for name in layout.factors if name not in fixed), key=lambda name: name != poi)
    components = Components(
        names=tuple(layout.samples),
        pois=tuple(pois),
        powers=tuple(tuple(int(name in layout.scaled[sample]) for name in pois) for sample in layout.samples),
        nominal=tuple(float(configured.get(name, {}).get("inits", [1.0])[0]) for name in pois),
        ranges=tuple(tuple(map(float, configured.get(name, {}).get("bounds", [[0, 10]])[0])) for name in pois),  # type: ignore[misc]
    )
    layout.check_expected()
    # What is fixed multiplies the contents and whatever is added to them, or is added itself.
    base, constant = layout.nominal.copy(), np.ones_like(layout.nominal)
    for name in fixed.intersection(layout.factors):
        own = [layout.samples.index(sample) for sample, names in layout.scaled.items() if name in names]
        constant[own] *= float(configured[name].get("inits", [1.0])[0])
    nuisances: list[Nuisance] = []
    constraints: list[AbstractConstraint] = []
    effects: list[Effect] = []

    def added(name: str, number: int) -> None:
        """Add the effects of a parameter, or what they are worth where it is fixed."""
        mine: list[Effect] = []
        if name in layout.lumi:
            mine.append(LinearFactor(layout.lumi[name], number))
        if name in layout.rates:
            up, down = layout.rates[name]
            mine.append(exponential_factor(up, down, number, normsys))
        if name in layout.shapes:
            up, down = layout.shapes[name]
            mine.append(added_shape(layout.nominal, up, down, number, histosys))
        if name not in fixed:
            effects.extend(mine)
            return
        value = float(configured[name].get("inits", [1.0 if name in layout.lumi else 0.0])[0])
        for effect in mine:
            if effect.additive:
                base[...] += effect.curve()(value)
            else:
                constant[...] *= effect.curve()(value)

    for name in layout.systematics:
        added(name, len(nuisances))
        if name in fixed:
            continue
        entry = configured.get(name, {})
        nominal, width = 0.0, 1.0
        if name in layout.lumi:
            if "auxdata" not in entry or "sigmas" not in entry:
                raise ConfigError(f"workspace: '{name}' needs auxdata and sigmas among the measurement's parameters")
            nominal, width = float(entry["auxdata"][0]), float(entry["sigmas"][0])
        low, high = nominal - reach * width, nominal + reach * width
        if "bounds" in entry:
            low, high = map(float, entry["bounds"][0])
        nuisances.append(_nuisance(name, nominal, low, high))
        constraints.append(GaussianConstraint(name, width))
    for name, vector in layout.vectors.items():
        entry = configured.get(name, {})
        for i, mask in enumerate(vector.masks):
            scale = vector.scales[i]
            start = float(entry.get("inits", [1.0] * len(vector.masks))[i])
            if name in fixed or (scale is not None and not np.isfinite(scale)):
                constant *= 1 + mask * (start - 1 if name in fixed else 0.0)
                continue
            low, high = map(float, entry["bounds"][i]) if "bounds" in entry else RANGE
            effects.append(LinearFactor(mask, len(nuisances)))
            nuisances.append(_nuisance(f"{name}[{i}]", 1.0, low, high))
            if scale is not None:
                constraints.append(PoissonConstraint(f"{name}[{i}]", scale))
    names = [nuisance.name for nuisance in nuisances]
    scaled = [
        dataclasses.replace(effect, pieces=effect.pieces * constant) if isinstance(effect, AddedShape) else effect
        for effect in effects
    ]
    single, _ = match_constraints(names, constraints)
    return Model(
        components=components,
        nuisances=tuple(nuisances),
        constraints=single,
        morph=build_morph([], [], [base * constant]),
        effects=tuple(scaled),
        convention="poisson",
        moving=False,
        variance=layout.relative_variance(),
        simulated=layout.simulated,
    )


def _nuisance(name: str, nominal: float, low: float, high: float) -> Nuisance:
    """Return the nuisance of a modifier, its anchors the ends of its range.

    Raises:
        ConfigError: the range excludes the nominal value.
    """
    if not low < nominal < high:
        raise ConfigError(
            f"workspace: parameter '{name}' has bounds [{low:g}, {high:g}], which do not hold its nominal value "
            f"{nominal:g}; widen them or fix it"
        )
    return Nuisance(name, nominal, (low, high), (low, high), (low, nominal, high))


def histfactory_data(workspace: Mapping[str, Any], model: Model, *, measurement: str | None = None) -> Data:
    """Return the workspace's observations, constraints centred on the measurement's `auxdata` or nominal values.

    Args:
        workspace: as of `histfactory_model`.
        model: its model.
        measurement: name of a measurement; the first where None.

    Raises:
        ConfigError: a channel has no observation.
    """
    counts = observations(workspace)
    configured = {e["name"]: e for e in chosen_measurement(workspace, measurement)["config"].get("parameters", [])}
    auxiliary = []
    for nuisance, constraint in zip(model.nuisances, model.constraints, strict=True):
        centre = nuisance.nominal
        if isinstance(constraint, GaussianConstraint) and "auxdata" in configured.get(nuisance.name, {}):
            centre = float(configured[nuisance.name]["auxdata"][0])
        auxiliary.append(np.asarray(constraint.asimov(jnp.asarray(centre))))
    return Data(counts, tuple(auxiliary))
