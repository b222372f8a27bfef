"""A model as a HistFactory workspace, the JSON that pyhf reads (CERN-OPEN-2012-016; arXiv:2103.06681 for the schema).

What each part becomes:

- a component with coefficient 1: a sample; with a product of parameters of interest: a sample with a
  `normfactor` each; with a square, as in EFT: refused;
- a nuisance that changes shapes: `histosys`, from our templates at plus and minus one standard deviation;
- an exact factor: `normsys`, `lumi`, or a `normfactor` where nothing constrains it;
- the uncertainty of the simulation: `staterror`.

Between and beyond one standard deviation HistFactory interpolates in its own way: `compare` says what that costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from systwise.errors import ConfigError
from systwise.export._deviations import deviations, free
from systwise.fit import AddedShape, Data, Effect, ExponentialFactor, LinearFactor, Model
from systwise.parameters import Deviations

WIDEST = 5.0
"""pyhf's own reach of a nuisance, in standard deviations."""
SAME = 1e-10
"""Relative difference of contents below which a template is not said to change."""


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A workspace and what the translation to it loses.

    Attributes:
        document: JSON of pyhf's schema, as a dictionary.
        maps: how many standard deviations a nuisance's value is, by name; a nuisance that is not in here is a
            factor, which pyhf's parameter holds as it is.
        names: pyhf's name of each of our parameters.
        losses: a sentence for each thing that the workspace says differently, none where it is exact.
    """

    document: dict[str, Any]
    maps: dict[str, Deviations]
    names: dict[str, str]
    losses: tuple[str, ...]


def histfactory_workspace(
    model: Model,
    data: Data,
    *,
    channel: str = "observable",
    steps: Mapping[str, float] | None = None,
    lumi: bool = True,
) -> Workspace:
    """Return the HistFactory workspace of a model and one data set.

    Args:
        model: of a fixed or an anchored observable.
        data: one data set, its constraints centred on the nominal values.
        channel: name of the channel where the model is of one region; else channels have the regions' names.
        steps: at how many standard deviations a nuisance's templates are taken, 1 where a name is missing. Templates
            taken nearer, `T(+-s)`, are extended to one standard deviation along the straight line
            `T(0) + (T(+-s) - T(0)) / s`: HistFactory's interpolation is then right where the data put a nuisance that
            they constrain far better than its constraint does.
        lumi: write the first factor with a Gaussian constraint as `lumi`, which is exact; else as `normsys`.

    Raises:
        ConfigError: HistFactory has no word for a part of the model: a moving observable, a square of a parameter of
            interest, correlated constraints, a free nuisance that changes shapes, an auxiliary measurement.
    """
    refuse_inexpressible(model)
    if model.moving or data.stacked:
        raise ConfigError("HistFactory: a workspace holds one data set with one histogram; choose one")
    channels = model.region_slices() if model.regions else {channel: slice(0, model.bins)}
    writer = _Writer(model, data, steps or {}, lumi, channels)
    for number in range(len(model.nuisances)):
        writer.add_nuisance(number)
    writer.add_simulation()
    counts = np.asarray(data.counts, np.float64)
    document = {
        "version": "1.0.0",
        "channels": [
            {"name": name, "samples": [s for s in writer.samples[name] if any(s["data"])]} for name in channels
        ],
        "observations": [{"name": name, "data": counts[own].tolist()} for name, own in channels.items()],
        "measurements": [
            {
                "name": "measurement",
                "config": {"poi": model.components.pois[0], "parameters": writer.parameters},
            }
        ],
    }
    return Workspace(document, writer.maps, writer.names, tuple(writer.losses))


def refuse_inexpressible(model: Model) -> None:
    """Refuse what HistFactory has no word for, whatever the data.

    Raises:
        ConfigError: a moving observable, a power of a parameter of interest, or correlated constraints.
    """
    if model.moving:
        raise ConfigError(
            "HistFactory: the observable moves with the hypothesised nuisance, but a workspace holds one histogram of "
            "the data; export the anchored observable of the same strategy (--observable anchored)"
        )
    components = model.components
    for name, powers in zip(components.names, components.powers, strict=True):
        if max(powers, default=0) > 1:
            poi = components.pois[int(np.argmax(powers))]
            raise ConfigError(
                f"HistFactory: component '{name}' scales with {poi}^{max(powers)}, and a workspace knows normalisation "
                "factors but no powers of them; fit it here, or export templates at one value of the coupling as a "
                "signal with a strength"
            )
    if model.joint:
        together = ", ".join(model.joint[0].nuisances)
        raise ConfigError(
            f"HistFactory: the constraint on {together} is correlated, and a workspace has one constraint a nuisance; "
            "run without fit.correlations, or with the principal components as nuisances"
        )


class _Writer:
    """Samples, parameters and losses of a workspace as they are put together."""

    def __init__(
        self, model: Model, data: Data, steps: Mapping[str, float], lumi: bool, channels: Mapping[str, slice]
    ) -> None:
        self.channels = channels
        self.model, self.data, self.steps, self.lumi = model, data, steps, lumi
        self.nominal = model.templates([n.nominal for n in model.nuisances])
        self.losses: list[str] = []
        self.maps: dict[str, Deviations] = {}
        self.names = {name: name for name in model.parameter_names}
        c = model.components
        self.samples: dict[str, list[dict[str, Any]]] = {}
        for channel, own in channels.items():
            self.samples[channel] = []
            for k, name in enumerate(c.names):
                factors = [poi for poi, power in zip(c.pois, c.powers[k], strict=True) if power]
                modifiers = [{"name": poi, "type": "normfactor", "data": None} for poi in factors]
                contents = self.nominal[k, own].tolist()
                self.samples[channel].append({"name": name, "data": contents, "modifiers": modifiers})
        self.parameters: list[dict[str, Any]] = [
            {"name": poi, "inits": [float(start)], "bounds": [[float(v) for v in ends]]}
            for poi, start, ends in zip(c.pois, c.nominal, c.ranges, strict=True)
        ]
        self.effects: dict[int, list[Effect]] = {}
        for effect in model.effects:
            self.effects.setdefault(effect.nuisance, []).append(effect)

    def _modify(self, mask: np.ndarray, modifier: dict[str, Any]) -> None:
        """Add a modifier where a mask `[component, bin]` is true."""
        for channel, own in self.channels.items():
            for k in np.flatnonzero(mask[:, own].any(axis=1)):
                self.samples[channel][k]["modifiers"].append(dict(modifier))

    def add_nuisance(self, number: int) -> None:
        """Add the modifiers of one nuisance, and its range."""
        nuisance, constraint = self.model.nuisances[number], self.model.constraints[number]
        effects = self.effects.get(number, [])
        factors = [effect for effect in effects if not isinstance(effect, AddedShape)]
        mask = self._mask(factors) if factors and len(factors) == len(effects) else None
        if mask is not None and free(constraint):
            self._add_free(number, mask, factors)
            return
        scale = deviations(nuisance, constraint, self.data.auxiliary[number])
        linear = bool(factors) and all(isinstance(factor, LinearFactor) for factor in factors)
        if mask is not None and linear and scale.width is not None:
            if self.lumi and "lumi" not in self.names.values():
                self._add_lumi(number, mask, scale.width)
                return
            self.losses.append(
                f"'{nuisance.name}' is a factor with a Gaussian constraint: it is written as normsys, which "
                "interpolates exponentially"
            )
        low, high = (scale.alpha(end) for end in nuisance.range)
        if low > -1 or high < 1:
            raise ConfigError(
                f"HistFactory: templates of '{nuisance.name}' are needed at plus and minus one standard deviation "
                f"({scale.value(-1):g} and {scale.value(1):g}), outside its range [{nuisance.range[0]:g}, "
                f"{nuisance.range[1]:g}]; widen the range or narrow the constraint"
            )
        self.maps[nuisance.name] = scale
        step = self.steps.get(nuisance.name, 1.0) if mask is None else 1.0
        near = (self._templates_at(number, scale.value(sign * step)) for sign in (1.0, -1.0))
        up, down = (self.nominal + (contents - self.nominal) / step for contents in near)
        if mask is not None and self._constant(up) and self._constant(down):
            self._add_rate(nuisance.name, mask, up, down)
        elif factors and step == 1:
            self._add_split(nuisance.name, factors, up, down)
        else:
            self._add_shape(nuisance.name, up, down, step)
        bounds = [max(low, -WIDEST), min(high, WIDEST)]
        self.parameters.append({"name": nuisance.name, "inits": [0.0], "bounds": [bounds]})

    def _mask(self, factors: Sequence[Effect]) -> np.ndarray:
        """Return where factors act, `[component, bin]`."""
        mask = np.zeros(self.nominal.shape, bool)
        for factor in factors:
            if isinstance(factor, LinearFactor):
                own = np.asarray(factor.mask, bool)
                mask |= own if own.ndim == 2 else own[:, None]
            elif isinstance(factor, ExponentialFactor):
                mask |= (np.asarray(factor.log_up) != 0) | (np.asarray(factor.log_down) != 0)
        return mask

    def _templates_at(self, number: int, value: float) -> Float64[np.ndarray, "component bin"]:
        z = [n.nominal for n in self.model.nuisances]
        z[number] = value
        return self.model.templates(z)

    def _ratio(self, other: np.ndarray) -> np.ndarray:
        return np.divide(other, self.nominal, out=np.ones_like(other), where=self.nominal != 0)

    def _constant(self, other: np.ndarray) -> bool:
        """Return whether templates differ from the nominal ones by one factor a component."""
        filled, ratio = self.nominal != 0, self._ratio(other)
        for own in self.channels.values():
            for row, known in zip(ratio[:, own], filled[:, own], strict=True):
                values = row[known]
                if len(values) and np.ptp(values) > SAME * np.max(np.abs(values)):
                    return False
        return True

    def _add_free(self, number: int, mask: np.ndarray, factors: Sequence[Effect]) -> None:
        nuisance = self.model.nuisances[number]
        if not all(isinstance(factor, LinearFactor) for factor in factors):
            raise ConfigError(
                f"HistFactory: '{nuisance.name}' is an exponential factor that nothing constrains, and a workspace's "
                "normsys has a Gaussian constraint; make it a linear normalisation or constrain it"
            )
        self._modify(mask, {"name": nuisance.name, "type": "normfactor", "data": None})
        bounds = [[float(v) for v in nuisance.range]]
        self.parameters.append({"name": nuisance.name, "inits": [nuisance.nominal], "bounds": bounds})

    def _add_lumi(self, number: int, mask: np.ndarray, width: float) -> None:
        nuisance = self.model.nuisances[number]
        self.names[nuisance.name] = "lumi"
        self._modify(mask, {"name": "lumi", "type": "lumi", "data": None})
        entry = {"name": "lumi", "inits": [1.0], "auxdata": [1.0], "sigmas": [float(width)]}
        self.parameters.append({**entry, "bounds": [[float(v) for v in nuisance.range]]})

    def _add_rate(self, name: str, mask: np.ndarray, up: np.ndarray, down: np.ndarray) -> None:
        ratios = self._ratio(up), self._ratio(down)
        for channel, own in self.channels.items():
            for k in np.flatnonzero(mask[:, own].any(axis=1)):
                bins = np.flatnonzero(self.nominal[k, own])
                if not len(bins):
                    continue
                hi, lo = (float(ratio[k, own][bins[0]]) for ratio in ratios)
                if hi != 1 or lo != 1:
                    data = {"hi": hi, "lo": lo}
                    self.samples[channel][k]["modifiers"].append({"name": name, "type": "normsys", "data": data})

    def _add_split(self, name: str, factors: Sequence[Effect], up: np.ndarray, down: np.ndarray) -> None:
        """Add the factors on yields and the shapes of a nuisance that has both, as HistFactory combines them."""
        logs = [
            sum((np.asarray(getattr(f, side)) for f in factors if isinstance(f, ExponentialFactor)), np.zeros((1, 1)))
            for side in ("log_up", "log_down")
        ]
        hi, lo = (np.broadcast_to(np.exp(log), self.nominal.shape) for log in logs)
        mask = (hi != 1) | (lo != 1)
        for channel, own in self.channels.items():
            for k in np.flatnonzero(mask[:, own].any(axis=1) & self.nominal[:, own].any(axis=1)):
                data = {"hi": float(hi[k, own][0]), "lo": float(lo[k, own][0])}
                self.samples[channel][k]["modifiers"].append({"name": name, "type": "normsys", "data": data})
        self._add_histosys(name, up / hi, down / lo)

    def _add_histosys(self, name: str, up: np.ndarray, down: np.ndarray) -> None:
        """Add templates at plus and minus one standard deviation where they are not the nominal ones."""
        for channel, own in self.channels.items():
            nominal, rise, fall = self.nominal[:, own], up[:, own], down[:, own]
            largest = np.maximum(np.abs(rise - nominal), np.abs(fall - nominal)).max(axis=1)
            for k in np.flatnonzero(largest > SAME * np.abs(nominal).max(axis=1)):
                data = {"hi_data": rise[k].tolist(), "lo_data": fall[k].tolist()}
                self.samples[channel][k]["modifiers"].append({"name": name, "type": "histosys", "data": data})

    def _add_shape(self, name: str, up: np.ndarray, down: np.ndarray, step: float) -> None:
        self._add_histosys(name, up, down)
        taken = "one standard deviation" if step == 1 else f"{step:.3g} standard deviations, extended linearly to one"
        self.losses.append(
            f"'{name}' moves shapes: the workspace holds templates at plus and minus {taken}, and interpolates between "
            "them in its own way"
        )

    def add_simulation(self) -> None:
        """Add the `staterror` of every simulated sample, so that each bin has our relative uncertainty.

        A workspace's does not follow the parameters of interest: it is that of the nominal point.
        """
        model = self.model
        if model.variance is None:
            return
        simulated = np.ones_like(self.nominal) if model.simulated is None else model.simulated
        own = np.abs(self.nominal) * simulated
        total = own.sum(axis=0)
        share = np.divide(own, total, out=np.zeros_like(own), where=total > 0)
        # pyhf adds the samples' errors in quadrature and divides by the sum of their contents.
        signed = np.abs((self.nominal * simulated).sum(axis=0))
        variance = model.factor_variance(model.components.nominal, {})
        errors = np.sqrt(variance * share) * signed
        for channel, bins in self.channels.items():
            for k in np.flatnonzero(simulated[:, bins].any(axis=1)):
                modifier = {"name": f"simulation_{channel}", "type": "staterror", "data": errors[k, bins].tolist()}
                self.samples[channel][k]["modifiers"].append(modifier)
