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

import numpy as np

from systwise.errors import ConfigError
from systwise.fit.interop._histfactory_layout import Layout, Vector, chosen_measurement, observations
from systwise.fit.model._data import Data
from systwise.fit.model._effects import AddedShape, Effect, LinearFactor, added_shape, exponential_factor
from systwise.fit.model._model import Model
from systwise.fit.model._model_parts import check_names, match_constraints
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
    config = chosen_measurement(workspace, measurement)["config"]
    layout = Layout(workspace)
    layout.check_expected()
    parameters = _Parameters(layout, {entry["name"]: entry for entry in config.get("parameters", [])})
    components = parameters.components(config.get("poi", ""))
    parameters.add_factors()
    for name in layout.systematics:
        parameters.add_systematic(name, normsys, histosys, reach)
    for name, vector in layout.vectors.items():
        parameters.add_vector(name, vector)
    variance = parameters.variance()
    check_names(components, parameters.nuisances)
    names = [nuisance.name for nuisance in parameters.nuisances]
    single, _ = match_constraints(names, parameters.constraints)
    return Model(
        components=components,
        nuisances=tuple(parameters.nuisances),
        constraints=single,
        morph=build_morph([], [], [parameters.base * parameters.constant]),
        effects=parameters.scaled_effects(),
        convention="poisson",
        moving=False,
        variance=variance,
        simulated=layout.simulated,
        regions=dict(zip(layout.channels, np.diff(layout.starts).tolist(), strict=True)),
    )


class _Parameters:
    """What the modifiers of a workspace and the settings of its measurement make of the parameters.

    Attributes:
        nuisances: those that are not fixed.
        constraints: theirs, where there are any.
        effects: theirs.
        base: contents with the fixed shapes added, `[sample, bin]`.
        constant: the fixed factors, which multiply the contents and whatever is added to them.
    """

    def __init__(self, layout: Layout, configured: Mapping[str, Mapping[str, Any]]) -> None:
        self.nuisances: list[Nuisance] = []
        self.constraints: list[AbstractConstraint] = []
        self.effects: list[Effect] = []
        self.base, self.constant = layout.nominal.copy(), np.ones_like(layout.nominal)
        self._layout, self._configured = layout, configured

    def _setting(self, name: str, key: str, default: list[Any]) -> list[Any]:
        return list(self._configured.get(name, {}).get(key, default))

    def _fixed(self, name: str) -> bool:
        return bool(self._configured.get(name, {}).get("fixed", False))

    def components(self, poi: str) -> Components:
        """Return samples and free normalisation factors, the parameter of interest first.

        Raises:
            ConfigError: that parameter scales no sample, or is fixed.
        """
        layout = self._layout
        if poi not in layout.factors:
            raise ConfigError(f"workspace: the parameter of interest '{poi}' scales no sample")
        if self._fixed(poi):
            raise ConfigError(f"workspace: the parameter of interest '{poi}' is fixed; name another or let it float")
        pois = sorted((name for name in layout.factors if not self._fixed(name)), key=lambda name: name != poi)
        return Components(
            names=tuple(layout.samples),
            pois=tuple(pois),
            powers=tuple(tuple(int(name in layout.scaled[sample]) for name in pois) for sample in layout.samples),
            nominal=tuple(float(self._setting(name, "inits", [1.0])[0]) for name in pois),
            ranges=tuple(tuple(map(float, self._setting(name, "bounds", [[0, 10]])[0])) for name in pois),  # type: ignore[misc]
        )

    def add_factors(self) -> None:
        """Multiply samples by their fixed normalisation factors."""
        for name in filter(self._fixed, self._layout.factors):
            own = [k for k, sample in enumerate(self._layout.samples) if name in self._layout.scaled[sample]]
            self.constant[own] *= float(self._setting(name, "inits", [1.0])[0])

    def add_systematic(self, name: str, normsys: str, histosys: str, reach: float) -> None:
        """Add `lumi`, `normsys` and `histosys` of one name, or what they are worth where it is fixed.

        Raises:
            ConfigError: a luminosity without auxiliary datum and width, or a range without the nominal value.
        """
        layout, number = self._layout, len(self.nuisances)
        lumi = name in layout.lumi
        entry = self._configured.get(name, {})
        if lumi and not self._fixed(name) and not {"auxdata", "sigmas"} <= set(entry):
            raise ConfigError(f"workspace: '{name}' needs auxdata and sigmas among the measurement's parameters")
        effects: list[Effect] = []
        if lumi:
            effects.append(LinearFactor(layout.lumi[name], number))
        if name in layout.rates:
            effects.append(exponential_factor(*layout.rates[name], number, normsys))
        if name in layout.shapes:
            effects.append(added_shape(layout.nominal, *layout.shapes[name], number, histosys))
        if self._fixed(name):
            value = float(self._setting(name, "inits", [1.0 if lumi else 0.0])[0])
            for effect in effects:
                if effect.additive:
                    self.base += effect.curve()(value)
                else:
                    self.constant *= effect.curve()(value)
            return
        self.effects += effects
        nominal = float(entry["auxdata"][0]) if lumi else 0.0
        width = float(self._setting(name, "sigmas", [1.0])[0])
        ends = [nominal - reach * width, nominal + reach * width]
        self.nuisances.append(_nuisance(name, nominal, *map(float, self._setting(name, "bounds", [ends])[0])))
        self.constraints.append(GaussianConstraint(name, width))

    def add_vector(self, name: str, vector: Vector) -> None:
        """Add the factors a bin of a `shapesys` or `shapefactor`; a bin without uncertainty has none."""
        count = len(vector.masks)
        starts = self._setting(name, "inits", [1.0] * count)
        bounds = self._setting(name, "bounds", [RANGE] * count)
        for i, (mask, scale) in enumerate(zip(vector.masks, vector.scales, strict=True)):
            if self._fixed(name):
                self.constant *= 1 + mask * (float(starts[i]) - 1)
            elif scale is None or np.isfinite(scale):
                self.effects.append(LinearFactor(mask, len(self.nuisances)))
                self.nuisances.append(_nuisance(f"{name}[{i}]", 1.0, *map(float, bounds[i])))
                if scale is not None:
                    self.constraints.append(PoissonConstraint(f"{name}[{i}]", scale))

    def variance(self) -> np.ndarray | None:
        """Return the squared relative uncertainty of the simulated samples of each bin; None where there is none.

        Raises:
            ConfigError: bounds of a `staterror`, whose factors are minimised in closed form, from 0 on.
        """
        found = self._layout.relative_variance()
        if found is None:
            return None
        for name, bins in self._layout.simulation.items():
            if self._configured.get(name, {}).get("bounds") and not self._fixed(name):
                raise ConfigError(
                    f"workspace: staterror '{name}' has bounds, but its factors are minimised in closed form; "
                    "drop the bounds, or fix it"
                )
            sigmas = self._setting(name, "sigmas", np.sqrt(found[bins]).tolist())
            found[bins] = 0.0 if self._fixed(name) else np.square(_of_bins(name, "sigmas", sigmas, len(bins)))
            if self._fixed(name):
                inits = _of_bins(name, "inits", self._setting(name, "inits", [1.0] * len(bins)), len(bins))
                self.constant[:, bins] *= 1 + self._layout.simulated[:, bins] * (inits - 1)
        return found if found.any() else None

    def scaled_effects(self) -> tuple[Effect, ...]:
        """Return the effects, added shapes multiplied by the fixed factors."""
        return tuple(
            dataclasses.replace(effect, pieces=effect.pieces * self.constant)
            if isinstance(effect, AddedShape)
            else effect
            for effect in self.effects
        )


def _of_bins(name: str, key: str, values: list[Any], bins: int) -> np.ndarray:
    """Return a setting of a parameter with a value a bin.

    Raises:
        ConfigError: another number of values.
    """
    if len(values) != bins:
        raise ConfigError(f"workspace: parameter '{name}': {len(values)} {key} for {bins} bins")
    return np.asarray(values, np.float64)


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
    layout = Layout(workspace)
    configured = {e["name"]: e for e in chosen_measurement(workspace, measurement)["config"].get("parameters", [])}
    observed = {c.nuisance for c in model.constraints if c.observed}
    auxiliary: dict[str, float] = {}
    known = np.ones(model.bins)
    for name, values in ((name, entry["auxdata"]) for name, entry in configured.items() if "auxdata" in entry):
        if name in layout.simulation:
            bins = layout.simulation[name]
            known[bins] = _of_bins(name, "auxdata", values, len(bins))
        # A factor a bin is a nuisance a bin.
        names = [name] if name in observed else [f"{name}[{i}]" for i in range(len(values))]
        auxiliary |= {own: float(value) for own, value in zip(names, values, strict=False) if own in observed}
    data = model.data(observations(workspace), auxiliary)
    return data if np.all(known == 1) else dataclasses.replace(data, simulated=known)
