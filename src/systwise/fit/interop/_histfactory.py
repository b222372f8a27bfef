"""HistFactory workspaces as models: the same likelihood as pyhf's, fitted by this package.

Use it to bring in an existing analysis, and to compare with pyhf number by number. Normalisation factors
become parameters of interest (all float freely), `normsys` and `histosys` nuisances with a unit Gaussian
constraint, `lumi` a factor with its own constraint, and `staterror` a simulation factor a bin that is
profiled analytically instead of being a parameter (Barlow-Beeston lite with Gaussian constraints, as in
HistFactory, CERN-OPEN-2012-016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from systwise.errors import ConfigError
from systwise.fit.model._data import Data
from systwise.fit.model._effects import Effect, LinearFactor, added_shape, exponential_factor
from systwise.fit.model._model import Model
from systwise.fit.model._morph import build_morph
from systwise.parameters import AbstractConstraint, Components, GaussianConstraint, Nuisance

KNOWN = ("normfactor", "normsys", "histosys", "staterror", "lumi")


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
    chosen = _measurement(workspace, measurement)
    layout = _Layout(workspace)
    configured = {entry["name"]: entry for entry in chosen["config"].get("parameters", [])}
    pois = sorted(layout.factors, key=lambda name: name != chosen["config"]["poi"])
    if chosen["config"]["poi"] not in layout.factors:
        raise ConfigError(f"workspace: the parameter of interest '{chosen['config']['poi']}' scales no sample")
    components = Components(
        names=tuple(layout.samples),
        pois=tuple(pois),
        powers=tuple(tuple(int(name in layout.scaled[sample]) for name in pois) for sample in layout.samples),
        nominal=tuple(float(configured.get(name, {}).get("inits", [1.0])[0]) for name in pois),
        ranges=tuple(tuple(map(float, configured.get(name, {}).get("bounds", [[0, 10]])[0])) for name in pois),  # type: ignore[misc]
    )
    layout.check_expected()
    nuisances: list[Nuisance] = []
    constraints: list[AbstractConstraint] = []
    effects: list[Effect] = []
    for number, name in enumerate(layout.systematics):
        nominal, width = 0.0, 1.0
        if name in layout.lumi:
            nominal = float(configured[name]["auxdata"][0])
            width = float(configured[name]["sigmas"][0])
        low, high = nominal - reach * width, nominal + reach * width
        anchors = (low, nominal, high)
        nuisances.append(Nuisance(name, nominal, (low, high), (low, high), anchors))
        fixed = bool(configured.get(name, {}).get("fixed", False))
        if fixed:
            raise ConfigError(
                f"workspace: parameter '{name}' is fixed; fix it in the fit instead (fit(..., fixed=...))"
            )
        constraints.append(GaussianConstraint(name, width))
        if name in layout.lumi:
            if nominal != 1:
                raise ConfigError(
                    f"workspace: '{name}' has auxdata {nominal:g}; a factor on yields must be 1 nominally"
                )
            effects.append(LinearFactor(layout.lumi[name], number))
        if name in layout.rates:
            up, down = layout.rates[name]
            effects.append(exponential_factor(up, down, number, normsys))
        if name in layout.shapes:
            up, down = layout.shapes[name]
            effects.append(added_shape(layout.nominal, up, down, number, histosys))
    return Model(
        components=components,
        nuisances=tuple(nuisances),
        constraints=tuple(constraints),
        morph=build_morph([], [], [layout.nominal]),
        effects=tuple(effects),
        convention="poisson",
        moving=False,
        variance=layout.relative_variance(),
        simulated=layout.simulated,
    )


def histfactory_data(workspace: Mapping[str, Any], model: Model) -> Data:
    """Return the workspace's observations with all constraints centred on the nominal values.

    Raises:
        ConfigError: a channel has no observation.
    """
    observed = {entry["name"]: entry["data"] for entry in workspace.get("observations", [])}
    missing = [channel["name"] for channel in workspace["channels"] if channel["name"] not in observed]
    if missing:
        raise ConfigError(f"workspace: channel '{missing[0]}' has no observation; add one to observations")
    counts = np.concatenate([np.asarray(observed[channel["name"]], float) for channel in workspace["channels"]])
    return Data(counts, tuple(np.array([nuisance.nominal]) for nuisance in model.nuisances))


def _measurement(workspace: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    known = {entry["name"]: entry for entry in workspace.get("measurements", [])}
    if not known:
        raise ConfigError("workspace: no measurements; add one that names the parameter of interest")
    if name is not None and name not in known:
        raise ConfigError(f"workspace: no measurement '{name}' (known: {', '.join(known)})")
    return known[name] if name is not None else next(iter(known.values()))


class _Layout:
    """The workspace as arrays `[sample, bin]` over the bins of all channels.

    Attributes:
        samples: names in order of first appearance.
        nominal: expected counts.
        channels: their names.
        starts: first bin of each channel, and the number of bins.
        factors: names of normalisation factors.
        scaled: the factors of each sample.
        rates: up and down factors of each `normsys`.
        shapes: up and down templates of each `histosys`.
        lumi: `[sample]` masks of each `lumi`.
        errors: absolute uncertainties of the samples' `staterror`.
        simulated: 1 where a sample has a `staterror`.
    """

    def __init__(self, workspace: Mapping[str, Any]) -> None:
        channels: Sequence[Mapping[str, Any]] = workspace["channels"]
        self.samples = list(dict.fromkeys(s["name"] for c in channels for s in c["samples"]))
        widths = [len(channel["samples"][0]["data"]) for channel in channels]
        shape = (len(self.samples), sum(widths))
        self.nominal = np.zeros(shape)
        self.factors: list[str] = []
        self.systematics: list[str] = []
        self.scaled: dict[str, set[str]] = {sample: set() for sample in self.samples}
        self.rates: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.shapes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.lumi: dict[str, np.ndarray] = {}
        self.errors = np.zeros(shape)
        self.simulated = np.zeros(shape)
        starts = np.cumsum([0, *widths])
        self.channels, self.starts = [channel["name"] for channel in channels], starts
        placed = [
            (self.samples.index(sample["name"]), slice(starts[c], starts[c + 1]), sample, channel["name"])
            for c, channel in enumerate(channels)
            for sample in channel["samples"]
        ]
        for k, bins, sample, where in placed:
            if len(sample["data"]) != bins.stop - bins.start:
                raise ConfigError(
                    f"workspace: sample '{sample['name']}' of channel '{where}' has {len(sample['data'])} bins where "
                    f"others have {bins.stop - bins.start}"
                )
            self.nominal[k, bins] = sample["data"]
        seen: dict[str, list[str]] = {sample: [] for sample in self.samples}
        for k, bins, sample, where in placed:
            for modifier in sample["modifiers"]:
                self._add(modifier, k, bins, sample["name"], where)
            own = sorted(m["name"] for m in sample["modifiers"] if m["type"] == "normfactor")
            seen[sample["name"]].append(",".join(own))
        split = next((name for name, own in seen.items() if len(set(own)) > 1), None)
        if split is not None:
            raise ConfigError(
                f"workspace: sample '{split}' has different normalisation factors in different channels; "
                "give it a name of its own in each"
            )

    def _add(self, modifier: Mapping[str, Any], k: int, bins: slice, sample: str, where: str) -> None:
        kind, name, data = modifier["type"], modifier["name"], modifier.get("data")
        if kind not in KNOWN:
            raise ConfigError(
                f"workspace: modifier '{name}' of sample '{sample}', channel '{where}', is a {kind}; "
                f"known are {', '.join(KNOWN)}"
            )
        if kind == "normfactor":
            self.scaled[sample].add(name)
            if name not in self.factors:
                self.factors.append(name)
            return
        if kind == "staterror":
            self.errors[k, bins], self.simulated[k, bins] = data, 1.0
            return
        if name not in self.systematics:
            self.systematics.append(name)
        if kind == "lumi":
            self.lumi.setdefault(name, np.zeros(len(self.samples)))[k] = 1.0
        elif kind == "normsys":
            up, down = self.rates.setdefault(name, (np.ones_like(self.nominal), np.ones_like(self.nominal)))
            up[k, bins], down[k, bins] = data["hi"], data["lo"]  # type: ignore[index]
        else:
            up, down = self.shapes.setdefault(name, (self.nominal.copy(), self.nominal.copy()))
            up[k, bins], down[k, bins] = data["hi_data"], data["lo_data"]  # type: ignore[index]

    def check_expected(self) -> None:
        """Refuse bins in which no sample expects anything: a single event there would decide every fit."""
        empty = np.flatnonzero(self.nominal.sum(axis=0) <= 0)
        if len(empty):
            channel = int(np.searchsorted(self.starts, empty[0], side="right")) - 1
            place = f"channel '{self.channels[channel]}', bin {empty[0] - self.starts[channel]}"
            raise ConfigError(f"workspace: {place}: no sample expects events there; merge or drop the bin")

    def relative_variance(self) -> np.ndarray | None:
        """Return the squared relative uncertainty of each bin's simulated samples, None without any."""
        if not self.simulated.any():
            return None
        total = np.sum(self.nominal * self.simulated, axis=0)
        squares = np.sum(self.errors**2, axis=0)
        return np.divide(squares, total**2, out=np.zeros(len(total)), where=total > 0)
