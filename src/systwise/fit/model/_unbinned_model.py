"""The model and the data of an unbinned fit, checked on the way in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from systwise.errors import DataError, FitError, TemplateError
from systwise.fit.likelihood import BLOCK, EventData, Events, Likelihood, Observed, constraint_terms, stack_curves
from systwise.fit.minimise import Prepared, Sets, Starts, theta_starts
from systwise.fit.model._effects import Effect
from systwise.fit.model._model_parts import check_names, match_constraints, normalisation_effects, starts_over
from systwise.fit.model._morph import Morph, build_morph
from systwise.fit.model._values import Values, ordered
from systwise.parameters import (
    AbstractConstraint,
    ChebyshevBasis,
    Components,
    CorrelatedGaussian,
    Normalisation,
    Nuisance,
    chebyshev_basis,
)
from systwise.precision import in_float64

SAMPLE = 2 * BLOCK
"""Events on which all starts descend."""
START_POINTS = 128
"""Most points of the grid of starts in the nuisances."""
START_LINE = 17
"""Most values of a single nuisance on it."""


@dataclasses.dataclass(frozen=True, eq=False)
class UnbinnedModel:
    """Yields and constraints of an unbinned fit: `expected = sum_k c_k(theta) Y_k(z)`.

    The densities are part of the data, as ratios to one reference. Build with `from_yields`.

    Attributes:
        components: components and their coefficients.
        nuisances: in the order of every `[nuisance]` axis.
        constraints: one a nuisance, in the same order.
        yields: expected events `[component, 1]` as a function of the nuisances that change events.
        shape: numbers of those nuisances.
        effects: exact factors on yields, of the other nuisances.
        joint: constraints on several nuisances at once.
    """

    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint, ...]
    yields: Morph
    shape: tuple[int, ...]
    effects: tuple[Effect, ...] = ()
    joint: tuple[CorrelatedGaussian, ...] = ()

    @staticmethod
    def from_yields(
        components: Components,
        nuisances: Sequence[Nuisance],
        constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
        yields: Sequence[np.ndarray] | np.ndarray,
        normalisations: Sequence[Normalisation] = (),
    ) -> UnbinnedModel:
        """Build a model from expected events at the nuisances' anchors.

        Args:
            components: components, in the order of the yields' component axis.
            nuisances: the nuisances; may be empty.
            constraints: at most one a nuisance, matched by name; a nuisance without one floats freely.
            yields: one array `[anchor, component]` a nuisance that no normalisation names (the others at
                their nominal values), interpolated like templates; where there is none, one `[component]`.
                A bare array stands for a list of one.
            normalisations: exact factors on yields.

        Raises:
            TemplateError: wrong shape, or a yield that is negative or not finite.
            ConfigError: a constraint or normalisation on an unknown nuisance or component, or two on one.
        """
        check_names(components, nuisances)
        names = [nuisance.name for nuisance in nuisances]
        single, joint = match_constraints(names, constraints)
        effects = normalisation_effects(components, nuisances, normalisations)
        exact = {item.nuisance for item in normalisations}
        shape = tuple(j for j, name in enumerate(names) if name not in exact)
        arrays = [np.asarray(a, np.float64) for a in ([yields] if isinstance(yields, np.ndarray) else yields)]
        count = len(components.names)
        wanted: list[tuple[int, ...]] = [(len(nuisances[j].anchors), count) for j in shape] or [(count,)]
        if [a.shape for a in arrays] != wanted:
            raise TemplateError(
                f"yields: shapes {[a.shape for a in arrays]} where {wanted} (anchor, component) are needed"
            )
        for a in arrays:
            if not (np.all(np.isfinite(a)) and np.all(a >= 0)):
                raise TemplateError("yields: every component's expected events must be finite and not negative")
        return UnbinnedModel(
            components=components,
            nuisances=tuple(nuisances),
            constraints=single,
            yields=build_morph(
                [nuisances[j].anchors for j in shape],
                [nuisances[j].nominal for j in shape],
                [a[..., None] for a in arrays],
                ranges=[nuisances[j].range for j in shape],
            ),
            shape=shape,
            effects=effects,
            joint=joint,
        )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Parameters of interest, then nuisances."""
        return (*self.components.pois, *(nuisance.name for nuisance in self.nuisances))

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Ranges of all parameters."""
        return (*self.components.ranges, *(nuisance.range for nuisance in self.nuisances))

    def values(self, theta: Values, z: Values) -> Float64[np.ndarray, " parameter"]:
        """Return all parameters as one array, from numbers, sequences or names to values (absent: nominal)."""
        names = tuple(nuisance.name for nuisance in self.nuisances)
        nominal = tuple(nuisance.nominal for nuisance in self.nuisances)
        pois = ordered(theta, self.components.pois, self.components.nominal, "parameter of interest")
        return np.concatenate([pois, ordered(z, names, nominal, "nuisance")])

    def nuisance_values(self, z: Values) -> Float64[np.ndarray, " nuisance"]:
        """Return nuisances as an array, from a number, a sequence or names to values; absent names are nominal."""
        return self.values(self.components.nominal, z)[len(self.components.pois) :]

    @in_float64
    def expected(self, theta: Values, z: Values) -> Float64[np.ndarray, " component"]:
        """Return the expected events of every component, `c_k(theta) Y_k(z)`."""
        everything = chebyshev_basis(self.ranges[len(self.components.pois) :], 0)
        return np.asarray(_expected(self._events(everything), jnp.asarray(self.values(theta, z))))

    def _events(self, basis: ChebyshevBasis) -> Events:
        """Return yields and polynomials as arrays."""
        shape = self.yields.base.shape
        curves = [*zip(self.yields.ratios, self.shape, strict=True)] if self.yields.ratios else []
        curves += [(effect.curve(), effect.nuisance) for effect in self.effects]
        added = [(c, j) for c, j in zip(self.yields.added, self.shape, strict=False) if c is not None]
        half = np.asarray(basis.half, np.float64)
        slopes = [basis.slopes(j) / half[j] for j in basis.active]
        return Events(
            yields=self.yields.base,
            factors=stack_curves([c for c, _ in curves], [j for _, j in curves], shape, 1, 1.0),
            added=stack_curves([c for c, _ in added], [j for _, j in added], shape, 1, 0.0),
            basis=basis,
            slopes=np.stack(slopes) if slopes else np.zeros((0, basis.terms, basis.terms)),
            powers=self.components.powers,
            size=len(self.parameter_names),
        )

    @in_float64
    def likelihood(self, basis: ChebyshevBasis) -> Likelihood:
        """Return what the compiled functions need, nuisances in the ranges that `basis` is good for."""
        ranges = np.array(self.ranges_within(basis), np.float64)
        names = [nuisance.name for nuisance in self.nuisances]
        lik = Likelihood(
            regions=(self._events(basis),),
            constraints=constraint_terms(names, self.constraints, self.joint),
            low=ranges[:, 0],
            high=ranges[:, 1],
            reach=0.25 * (ranges[:, 1] - ranges[:, 0]),
            pois=len(self.components.pois),
        )
        return jax.tree.map(jnp.asarray, lik)

    def ranges_within(self, basis: ChebyshevBasis) -> tuple[tuple[float, float], ...]:
        """Return the ranges of all parameters, of nuisances no wider than polynomials in them are good for.

        Raises:
            FitError: the polynomials' range and a nuisance's do not overlap.
        """
        ranges = list(self.ranges)
        pois = len(self.components.pois)
        for j in basis.active:
            low, high = ranges[pois + j]
            centre, half = float(basis.centre[j]), float(basis.half[j])
            # Ranges meant to be equal may differ by the rounding of float32.
            slack = 1e-6 * half
            new = (max(low, centre - half - slack), min(high, centre + half + slack))
            if not new[0] < new[1]:
                raise FitError(
                    f"nuisance '{self.nuisances[j].name}': its range [{low:g}, {high:g}] lies outside that of the "
                    f"learned ratios, [{centre - half:g}, {centre + half:g}]; train over the range of the fit"
                )
            ranges[pois + j] = new
        return tuple(ranges)

    def starts(self, free: Sequence[bool] | None = None) -> Starts:
        """Return the nuisance values from which minimisations start: over those that change events, others nominal."""
        moves = tuple(j in self.shape and (free is None or free[j]) for j in range(len(self.nuisances)))
        return starts_over(self.nuisances, moves, START_LINE, START_POINTS)

    def theta_starts(self) -> Float64[np.ndarray, "start poi"]:
        """Return values of the parameters of interest from which minimisations start."""
        return theta_starts(self.components.powers, self.components.nominal, self.components.ranges)

    @property
    def convention(self) -> str:
        """Events have no terms of their own in the NLL."""
        return "unbinned"

    @property
    def moving(self) -> bool:
        """No histogram of the data depends on the nuisances."""
        return False

    def check(self, data: UnbinnedData) -> None:
        """Refuse a data set of another model.

        Raises:
            DataError: another number of components, constraints or nuisances.
        """
        components = len(self.components.names)
        if data.coefficients.shape[1] != components:
            raise DataError(f"unbinned data: {data.coefficients.shape[1]} components where the model has {components}")
        wanted = len(self.constraints) + len(self.joint)
        if len(data.auxiliary) != wanted:
            raise DataError(
                f"unbinned data: {len(data.auxiliary)} auxiliary arrays for {wanted} constraints; "
                "give one a nuisance, in the model's order, then one a joint constraint"
            )
        if len(data.basis.exponents[0]) != len(self.nuisances):
            raise DataError(
                f"unbinned data: polynomials in {len(data.basis.exponents[0])} nuisances where the model has "
                f"{len(self.nuisances)}"
            )

    def prepared(self, data: UnbinnedData | Sequence[UnbinnedData]) -> list[Prepared]:
        """Return one data set or several, which may differ in size; each is fitted by itself.

        Raises:
            DataError: a data set does not match the model.
            FitError: they are given in different polynomials.
        """
        several = [data] if isinstance(data, UnbinnedData) else list(data)
        for one in several:
            self.check(one)
        if not several:
            return []
        basis = several[0].basis
        if any(not same_basis(one.basis, basis) for one in several):
            raise FitError("fit_many: data sets in different polynomials; fit them one by one")
        room, lik = blocks_for(several), self.likelihood(basis)
        return [Prepared(lik, one.sets(lik, room), one.sets(lik, SAMPLE // BLOCK, SAMPLE)) for one in several]


def same_basis(one: ChebyshevBasis, other: ChebyshevBasis) -> bool:
    """Return whether polynomials are the same."""
    arrays = (one.centre, other.centre), (one.half, other.half)
    return one.exponents == other.exponents and all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class UnbinnedData:
    """Events of one data set as polynomials in the nuisances, and the auxiliary data.

    Attributes:
        coefficients: `[event, component, term]`, float32 or float64: `ln r_k(x_i, z) = sum_t a_ikt P_t(z)`, the
            densities of the components relative to any function of x that is the same for all of
            them and for every z.
        basis: the polynomials P_t.
        weights: `[event]`, 1 for data; weighted events (an Asimov data set) work alike.
        auxiliary: one array `[auxiliary]` a nuisance, in the model's order, then one a joint constraint.
    """

    coefficients: np.ndarray
    basis: ChebyshevBasis
    weights: np.ndarray
    auxiliary: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        """Refuse shapes that do not match and numbers that are not finite."""
        shape = np.shape(self.coefficients)
        if len(shape) != 3 or shape[2] != self.basis.terms or np.shape(self.weights) != shape[:1]:
            raise DataError(
                f"unbinned data: coefficients {shape} and weights {np.shape(self.weights)} where "
                f"(event, component, {self.basis.terms}) and (event,) are needed"
            )
        if not (np.all(np.isfinite(self.coefficients)) and np.all(np.isfinite(self.weights))):
            raise DataError("unbinned data: a log-ratio or weight is not finite; check the events' features")

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.weights)

    def events(self, room: int | None = None, most: int | None = None) -> EventData:
        """Return the events in blocks as the compiled functions take them.

        Args:
            room: number of blocks to make room for, at least those needed.
            most: take evenly spaced events, at most so many, their weights scaled to the same total.
        """
        coefficients, weights = np.asarray(self.coefficients), np.asarray(self.weights, np.float64)
        if most is not None and len(weights) > most:
            index = np.linspace(0, len(weights) - 1, most).round().astype(np.int64)
            chosen = weights[index]
            coefficients, weights = coefficients[index], chosen * (weights.sum() / chosen.sum())
        used = -(-len(weights) // BLOCK)
        blocks = max(used, room or 1, 1)
        _, components, terms = coefficients.shape
        padded = np.zeros((blocks * BLOCK, components, terms), coefficients.dtype)
        padded[: len(weights)] = coefficients
        filled = np.zeros(blocks * BLOCK)
        filled[: len(weights)] = weights
        return EventData(
            coefficients=np.ascontiguousarray(padded.reshape(blocks, BLOCK, components, terms).transpose(0, 2, 3, 1)),
            weights=filled.reshape(blocks, BLOCK),
            used=np.array(used, np.int32),
        )

    def sets(self, lik: Likelihood, room: int | None = None, most: int | None = None) -> Sets:
        """Return the data set as the minimisation takes it; arguments as those of `events`."""
        auxiliary = lik.constraints.arranged([np.asarray(a, np.float64)[None] for a in self.auxiliary])
        observed = Observed((self.events(room, most),), tuple(a[0] for a in auxiliary))
        return Sets(jax.tree.map(jnp.asarray, observed), 1, True)


def blocks_for(data: Sequence[UnbinnedData]) -> int:
    """Return the blocks to make room for: rounded up, so that data sets of similar size share a compilation."""
    need = max(1, *(-(-len(d) // BLOCK) for d in data)) if data else 1
    step = 2 ** max(0, need.bit_length() - 3)
    return step * -(-need // step) + step


@jax.jit
def _expected(region: Events, x: Float[Array, " parameter"]) -> Float[Array, " component"]:
    return region.expectation(x).each[:, 0]
