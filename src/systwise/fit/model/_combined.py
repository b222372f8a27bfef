"""Several regions, binned and unbinned, in one likelihood: parameters of the same name are the same parameter.

A binned control region beside an unbinned signal region, say. Every region keeps the class that describes it;
here they are only moved into the space of all parameters, and an auxiliary observation counts once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from systwise.errors import ConfigError, DataError, FitError
from systwise.fit.likelihood import BLOCK, Likelihood, Observed, constraint_terms
from systwise.fit.minimise import Prepared, Sets, Starts, theta_starts
from systwise.fit.model._data import AbstractData, Data, MovingData
from systwise.fit.model._model import Model
from systwise.fit.model._model_parts import check_names, match_constraints, starts_over
from systwise.fit.model._unbinned_model import SAMPLE, START_LINE, START_POINTS, UnbinnedData, UnbinnedModel, blocks_for
from systwise.parameters import (
    AbstractConstraint,
    ChebyshevBasis,
    Components,
    CorrelatedGaussian,
    NoConstraint,
    Nuisance,
)

Part = Model | UnbinnedModel
PartData = AbstractData | UnbinnedData


@dataclasses.dataclass(frozen=True)
class CombinedData:
    """One data set of several regions; `CombinedModel.data` makes it.

    Attributes:
        parts: the regions' data, by name.
        auxiliary: of all constraints, as `Data` has them.
    """

    parts: dict[str, PartData]
    auxiliary: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CombinedModel:
    """Several models as one; build it with `combined`.

    Attributes:
        parts: models by name, each with the parameters of all.
        own: numbers of the nuisances that each had before.
        places: numbers, among all constraints, of those that each had before, in the order of its auxiliary data.
        components: all of them, named `part/component`, for the coefficients.
        nuisances: of all.
        constraints: one a nuisance.
        joint: constraints of several nuisances.
    """

    parts: dict[str, Part]
    own: dict[str, tuple[int, ...]]
    places: dict[str, tuple[int, ...]]
    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint, ...]
    joint: tuple[CorrelatedGaussian, ...]

    def __repr__(self) -> str:
        """Return what it consists of in a line."""
        kinds = {name: "events" if isinstance(part, UnbinnedModel) else "bins" for name, part in self.parts.items()}
        regions = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        return f"CombinedModel({', '.join(self.components.pois)} | {len(self.nuisances)} nuisances | {regions})"

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Parameters of interest, then nuisances."""
        return (*self.components.pois, *(nuisance.name for nuisance in self.nuisances))

    @property
    def convention(self) -> str:
        """Terms in the data's counts are those of the binned parts."""
        return "combined"

    @property
    def moving(self) -> bool:
        """Moving observables are not combined."""
        return False

    def data(self, parts: Mapping[str, PartData]) -> CombinedData:
        """Return one data set from those of the regions.

        Args:
            parts: as each region's own model takes it, with the auxiliary data of that model.

        Raises:
            DataError: a region without data or data without a region, a stack, data that do not match their region, or
                two regions that say different things about one auxiliary observation.
        """
        if set(parts) != set(self.parts):
            raise DataError(f"data: given for {sorted(parts)} where the regions are {sorted(self.parts)}")
        constraints: list[AbstractConstraint | CorrelatedGaussian] = [*self.constraints, *self.joint]
        found: list[np.ndarray | None] = [None] * len(constraints)
        for name, part in self.parts.items():
            data = parts[name]
            if isinstance(part, UnbinnedModel) != isinstance(data, UnbinnedData):
                raise DataError(f"data: those of '{name}' are of another kind than its model")
            if isinstance(data, MovingData):
                raise DataError(f"data: those of '{name}' move with the hypothesis; give counts of a fixed observable")
            if isinstance(data, AbstractData) and data.stacked:
                raise DataError(f"data: '{name}' has a stack of data sets; give one with data[i]")
            places = self.places[name]
            if len(data.auxiliary) != len(places):
                raise DataError(
                    f"data: '{name}' has {len(data.auxiliary)} auxiliary arrays for {len(places)} constraints"
                )
            for place, value in zip(places, data.auxiliary, strict=True):
                value = np.asarray(value, np.float64)
                before = found[place] if value.size else None
                if before is not None and not np.array_equal(before, value):
                    who = ", ".join(constraints[place].nuisances)
                    raise DataError(
                        f"data: regions differ in the auxiliary observation of '{who}': {before} and {value}"
                    )
                found[place] = value if value.size else found[place]
        return CombinedData(dict(parts), tuple(np.zeros(0) if value is None else value for value in found))

    def prepared(self, data: CombinedData | Sequence[CombinedData]) -> list[Prepared]:
        """Return one data set or several; each is fitted by itself.

        Raises:
            DataError: a region's data do not match its model.
            FitError: learned ratios of different ranges.
        """
        several = [self._prepared(one) for one in ([data] if isinstance(data, CombinedData) else data)]
        ends = [np.stack([one.lik.low, one.lik.high]) for one in several]
        if any(not np.array_equal(end, ends[0]) for end in ends):
            raise FitError("fit_many: data sets with polynomials of different ranges; fit them one by one")
        return several

    def _prepared(self, data: CombinedData) -> Prepared:
        regions, whole, some, ranges = [], [], [], [np.array(self._ranges(), np.float64)]
        constraints = constraint_terms([n.name for n in self.nuisances], self.constraints, self.joint)
        for name, part in self.parts.items():
            own = data.parts[name]
            if isinstance(part, UnbinnedModel) and isinstance(own, UnbinnedData):
                wide = self._widened(name, own, data.auxiliary)
                part.check(wide)
                likelihood = part.likelihood(wide.basis)
                whole.append(wide.events(blocks_for([own])))
                some.append(wide.events(SAMPLE // BLOCK, SAMPLE))
            elif isinstance(part, Model) and isinstance(own, Data):
                batch = dataclasses.replace(own, auxiliary=data.auxiliary).batch()
                likelihood = part.likelihood()
                one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], part.observed(batch).regions[0])
                whole.append(one)
                some.append(one)
            else:
                raise DataError(f"data: those of '{name}' are of another kind than its model")
            regions.append(likelihood.regions[0])
            ranges.append(np.stack([np.asarray(likelihood.low), np.asarray(likelihood.high)], axis=1))
        low, high = np.max([r[:, 0] for r in ranges], axis=0), np.min([r[:, 1] for r in ranges], axis=0)
        lik = Likelihood(tuple(regions), constraints, low, high, 0.25 * (high - low), len(self.components.pois))
        auxiliary = tuple(a[0] for a in constraints.arranged([a[None] for a in data.auxiliary]))
        # Events are not copied for every problem; bins alone go as a stack of one does.
        shared = not lik.binned
        both = (Observed(tuple(each), auxiliary) for each in (whole, some))
        sets, sample = (
            Sets(jax.tree.map(lambda a: jnp.asarray(a if shared else np.asarray(a)[None]), each), 1, shared)
            for each in both
        )
        return Prepared(jax.tree.map(jnp.asarray, lik), sets, sample if shared else None)

    def _widened(self, name: str, data: UnbinnedData, auxiliary: tuple[np.ndarray, ...]) -> UnbinnedData:
        """Return events with polynomials in the nuisances of all regions."""
        basis, own = data.basis, list(self.own[name])
        if len(basis.exponents[0]) != len(own):
            raise DataError(
                f"data: '{name}' has polynomials in {len(basis.exponents[0])} nuisances, its model {len(own)}"
            )
        ends = np.array([nuisance.range for nuisance in self.nuisances], np.float64).reshape(-1, 2)
        centre, half = ends.mean(axis=1), (ends[:, 1] - ends[:, 0]) / 2
        centre[own], half[own] = np.asarray(basis.centre), np.asarray(basis.half)
        exponents = np.zeros((basis.terms, len(self.nuisances)), int)
        exponents[:, own] = np.array(basis.exponents)
        wide = ChebyshevBasis(centre, half, tuple(tuple(row) for row in exponents.tolist()))
        return dataclasses.replace(data, basis=wide, auxiliary=auxiliary)

    def _ranges(self) -> list[tuple[float, float]]:
        return [*self.components.ranges, *(nuisance.range for nuisance in self.nuisances)]

    def starts(self, free: Sequence[bool] | None = None) -> Starts:
        """Return the nuisance values from which minimisations start."""
        return starts_over(self.nuisances, free, START_LINE, START_POINTS)

    def theta_starts(self) -> Float64[np.ndarray, "start poi"]:
        """Return values of the parameters of interest from which minimisations start."""
        return theta_starts(self.components.powers, self.components.nominal, self.components.ranges)


def combined(parts: Mapping[str, Part]) -> CombinedModel:
    """Return several models, binned or unbinned, as one: `combined({"signal": unbinned, "control": binned})`.

    Args:
        parts: models by the names of their regions. Parameters of the same name are the same; a nuisance's constraint
            counts once.

    Raises:
        ConfigError: no part, a moving observable, a nuisance with two definitions or constraints, or ranges of a
            parameter of interest that do not overlap.
    """
    if not parts:
        raise ConfigError("combined: no models given")
    moving = next((name for name, part in parts.items() if part.moving), None)
    if moving is not None:
        raise ConfigError(f"combined: the observable of '{moving}' moves with the hypothesis; use an anchored one")
    nuisances: dict[str, Nuisance] = {}
    constraints: dict[str, AbstractConstraint] = {}
    joint: list[CorrelatedGaussian] = []
    for name, part in parts.items():
        for nuisance, constraint in zip(part.nuisances, part.constraints, strict=True):
            known = nuisances.setdefault(nuisance.name, nuisance)
            if (known.nominal, known.range) != (nuisance.nominal, nuisance.range):
                raise ConfigError(
                    f"combined: nuisance '{nuisance.name}' of '{name}' has another nominal value or range than in a "
                    "region before; give both the same, or another name"
                )
            if not isinstance(constraint, NoConstraint):
                before = constraints.setdefault(nuisance.name, constraint)
                if not eqx.tree_equal(before, constraint):
                    raise ConfigError(
                        f"combined: nuisance '{nuisance.name}' of '{name}' has another constraint than in a region "
                        "before; one observation counts once, so give both the same"
                    )
        joint += [term for term in part.joint if term not in joint]
    components = _components(parts)
    check_names(components, list(nuisances.values()))
    single, several = match_constraints(list(nuisances), [*constraints.values(), *joint])
    order = {name: number for number, name in enumerate(nuisances)}
    own = {name: tuple(order[n.name] for n in part.nuisances) for name, part in parts.items()}
    beyond = {term.nuisances: len(nuisances) + number for number, term in enumerate(several)}
    places = {name: (*own[name], *(beyond[term.nuisances] for term in part.joint)) for name, part in parts.items()}
    wide = {
        name: _widened(part, own[name], components, tuple(nuisances.values()), single, several)
        for name, part in parts.items()
    }
    return CombinedModel(wide, own, places, components, tuple(nuisances.values()), single, several)


def _components(parts: Mapping[str, Part]) -> Components:
    """Return all components, and all parameters of interest in order of first appearance.

    Raises:
        ConfigError: ranges of a parameter of interest that do not overlap.
    """
    pois = list(dict.fromkeys(poi for part in parts.values() for poi in part.components.pois))
    nominal: dict[str, float] = {}
    ranges: dict[str, tuple[float, float]] = {}
    names: list[str] = []
    powers: list[tuple[int, ...]] = []
    for name, part in parts.items():
        own = part.components
        for poi, value, (low, high) in zip(own.pois, own.nominal, own.ranges, strict=True):
            nominal.setdefault(poi, value)
            before = ranges.get(poi, (low, high))
            ranges[poi] = (max(low, before[0]), min(high, before[1]))
            if not ranges[poi][0] < ranges[poi][1]:
                raise ConfigError(f"combined: the ranges of '{poi}' in '{name}' and in a region before do not overlap")
        names += [f"{name}/{component}" for component in own.names]
        powers += [tuple(row[own.pois.index(poi)] if poi in own.pois else 0 for poi in pois) for row in own.powers]
    return Components(
        tuple(names), tuple(pois), tuple(powers), tuple(nominal[p] for p in pois), tuple(ranges[p] for p in pois)
    )


def _widened(
    part: Part,
    own: tuple[int, ...],
    components: Components,
    nuisances: tuple[Nuisance, ...],
    constraints: tuple[AbstractConstraint, ...],
    joint: tuple[CorrelatedGaussian, ...],
) -> Part:
    """Return a model with the parameters of all; its own nuisances become those numbered `own`."""
    mine = part.components
    powers = tuple(
        tuple(row[mine.pois.index(poi)] if poi in mine.pois else 0 for poi in components.pois) for row in mine.powers
    )
    common = {
        "components": Components(mine.names, components.pois, powers, components.nominal, components.ranges),
        "nuisances": nuisances,
        "constraints": constraints,
        "joint": joint,
        "effects": tuple(dataclasses.replace(effect, nuisance=own[effect.nuisance]) for effect in part.effects),
    }
    if isinstance(part, Model):
        return dataclasses.replace(part, morphed=tuple(own[j] for j in part.morphed), **common)  # type: ignore[arg-type]
    return dataclasses.replace(part, shape=tuple(own[j] for j in part.shape), **common)  # type: ignore[arg-type]
