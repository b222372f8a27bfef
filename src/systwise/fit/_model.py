"""The model: components, nuisances, constraints and morphed templates, checked on the way in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float64

from systwise.errors import ConfigError, DataError, FitError
from systwise.fit._constraint_terms import JointTerm
from systwise.fit._data import Data
from systwise.fit._effects import Effect
from systwise.fit._joint_morph import JointMorph, build_joint_morph
from systwise.fit._likelihood import (
    CONVENTIONS,
    Likelihood,
    Observed,
    constant_terms,
    evaluate,
    expected_jet,
)
from systwise.fit._model_parts import (
    along_axes,
    match_constraints,
    normalisation_effects,
    relative_variance,
    without_padding,
)
from systwise.fit._morph import Morph, build_morph
from systwise.fit._starts import Starts, fixed_grid, start_grid, theta_starts
from systwise.fit._template_checks import check_templates
from systwise.fit._values import Values, ordered
from systwise.parameters import AbstractConstraint, Components, CorrelatedGaussian, Normalisation, Nuisance
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Expected counts and likelihood: `nu_b(theta, z) = sum_k c_k(theta) T_kb(z)`.

    Build one with `Model.from_templates`, or with `histfactory_model` from a workspace. Parameters are in
    the order `parameter_names`: parameters of interest, then nuisances.

    Attributes:
        components: components and their coefficients.
        nuisances: in the order of every `[nuisance]` axis.
        constraints: one a nuisance, in the same order.
        joint: constraints of several nuisances.
        morph: templates `[component, bin]` as a function of the nuisances numbered `morphed`.
        morphed: numbers of the nuisances that change shapes between anchors.
        effects: exact factors and added shapes of the others.
        convention: which terms in the data's counts the NLL keeps (see `nll`).
        moving: the data's histogram depends on the hypothesised nuisances.
        variance: squared relative uncertainty of each bin's simulation, `[bin]`; None: exact templates.
        simulated: 1 where a component comes from simulation of limited size, `[component, bin]`; None: everywhere.
        padding: bins at the end that only fill up the shape, constant and without influence.
    """

    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint, ...]
    morph: Morph | JointMorph
    convention: str
    moving: bool
    padding: int = 0
    morphed: tuple[int, ...] = ()
    effects: tuple[Effect, ...] = ()
    joint: tuple[CorrelatedGaussian, ...] = ()
    variance: np.ndarray | None = None
    simulated: np.ndarray | None = None

    @staticmethod
    def from_templates(
        components: Components,
        nuisances: Sequence[Nuisance],
        constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
        templates: np.ndarray | Sequence[np.ndarray],
        convention: str = "poisson",
        moving: bool = False,
        room: int = 0,
        *,
        normalisations: Sequence[Normalisation] = (),
        variances: np.ndarray | None = None,
    ) -> Model:
        """Build a model from templates at the nuisances' anchors.

        Args:
            components: components, in the order of the templates' component axis.
            nuisances: the nuisances; may be empty.
            constraints: at most one a nuisance, matched by name; a nuisance without one floats freely.
            templates: one array `[anchor, component, bin]` a nuisance that is no normalisation (the other
                nuisances at their nominal values), anchors as in `nuisance.anchors`; without any one
                `[component, bin]`. A bare array stands for a list of one; an array with one anchor axis a
                nuisance, `[anchor_1, ..., anchor_J, component, bin]`, is a joint grid. Moving observable:
                each anchor's events scored with the nuisance hypothesised at that anchor.
            convention: `drop`, `poisson`, `deviance` or `loggamma`.
            moving: the data's histogram depends on the hypothesised nuisances.
            room: number of bins to compile for. Models of up to so many bins share one compilation,
                at the cost of computing all of them; models without a constant component ignore it.
            normalisations: nuisances that are exact factors on the yields of components.
            variances: `[component, bin]` variances of the nominal templates (sums of squared weights): each
                bin then has a simulation factor in the likelihood (Barlow-Beeston lite).

        Raises:
            ConfigError: unknown convention, or a constraint on an unknown or twice constrained nuisance.
            TemplateError: wrong shape, content not finite or negative, or a bin in which nothing is expected.
        """
        if convention not in CONVENTIONS:
            raise ConfigError(f"unknown convention '{convention}' (known: {', '.join(CONVENTIONS)})")
        names = [nuisance.name for nuisance in nuisances]
        single, joint = match_constraints(names, constraints)
        effects = normalisation_effects(components, nuisances, normalisations)
        exact = {effect.nuisance for effect in effects}
        morphed = tuple(j for j in range(len(names)) if j not in exact)
        shaped = [nuisances[j] for j in morphed]
        arrays = [templates] if isinstance(templates, np.ndarray) else list(templates)
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
        grid = len(arrays) == 1 < len(shaped) and arrays[0].ndim == len(shaped) + 2
        check_templates(components, [] if grid else shaped, along_axes(arrays[0], shaped) if grid else arrays)
        bins = arrays[0].shape[-1]
        constant = [k for k, row in enumerate(components.powers) if not any(row)]
        padding = max(0, room - bins) if constant else 0
        if padding:
            # One constant event expected and seen: no slope anywhere, and finite under every convention.
            # A normalisation must not scale it: components share nothing but what no effect touches.
            filling = np.zeros((len(components.powers), padding))
            filling[constant[0]] = 1.0
            arrays = [np.concatenate([a, np.broadcast_to(filling, (*a.shape[:-1], padding))], axis=-1) for a in arrays]
            effects = tuple(without_padding(effect, bins, padding) for effect in effects)
        anchors, nominal = [n.anchors for n in shaped], [n.nominal for n in shaped]
        ranges = [n.range for n in shaped]
        if grid:
            morph: Morph | JointMorph = build_joint_morph(anchors, nominal, arrays[0], ranges)
        else:
            morph = build_morph(anchors, nominal, arrays, ranges=ranges)
        relative = None
        if variances is not None:
            relative = relative_variance(components, np.asarray(morph.nominal)[:, :bins] ** 2, variances)
            relative = np.concatenate([relative, np.zeros(padding)])
        return Model(
            components=components,
            nuisances=tuple(nuisances),
            constraints=single,
            joint=joint,
            morph=morph,
            morphed=morphed,
            effects=effects,
            convention=convention,
            moving=moving and bool(morphed),
            variance=relative,
            padding=padding,
        )

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.morph.nominal.shape[-1] - self.padding

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Parameters of interest, then nuisances."""
        return (*self.components.pois, *(nuisance.name for nuisance in self.nuisances))

    def poi_values(self, theta: Values) -> Float64[np.ndarray, " poi"]:
        """Return parameters of interest as an array, from a number, a sequence or names to values."""
        return ordered(theta, self.components.pois, self.components.nominal, "parameter of interest")

    def nuisance_values(self, z: Values) -> Float64[np.ndarray, " nuisance"]:
        """Return nuisances as an array, from a number, a sequence or names to values; absent names are nominal."""
        names = tuple(nuisance.name for nuisance in self.nuisances)
        return ordered(z, names, tuple(nuisance.nominal for nuisance in self.nuisances), "nuisance")

    @in_float64
    def coefficients(self, theta: Values) -> Float64[np.ndarray, " component"]:
        """Return the components' coefficients `c_k(theta)`."""
        return np.asarray(self.components.coefficients(jnp.asarray(self.poi_values(theta))))

    @in_float64
    def expected(self, theta: Values, z: Values) -> Float64[np.ndarray, " bin"]:
        """Return the expected counts `nu_b(theta, z)`.

        Args:
            theta: parameters of interest.
            z: nuisances, each in its own unit; beyond the anchors the outermost cubic continues.
        """
        theta, z = self.poi_values(theta), self.nuisance_values(z)
        return np.asarray(_expected(self.likelihood(), _columns(theta), _columns(z)))[: self.bins, 0, 0]

    @in_float64
    def templates(self, z: Values) -> Float64[np.ndarray, "component bin"]:
        """Return the expected counts of each component at coefficient 1, `T_kb(z)`."""
        value = np.asarray(_templates(self.likelihood(), _columns(self.nuisance_values(z))))
        return value[:, : self.bins, 0, 0]

    @in_float64
    def nll(self, theta: Values, z: Values, data: Data, factors: Float64[np.ndarray, " bin"] | None = None) -> float:
        """Return the negative log-likelihood of one data set.

        `drop`: `sum_b [nu - n ln nu]`; `poisson` adds `ln n!`; `deviance` is
        `sum_b [nu - n + n ln(n/nu)]`; `loggamma` adds `ln Gamma(n)`. For a fixed observable they differ
        by constants; for a moving one, where n depends on z, the choice is physics. Constraints add
        `constraint.nll(z, auxiliary)`. Infinite where an expected count is not positive.

        Args:
            theta: parameters of interest.
            z: nuisances.
            data: one data set.
            factors: simulation factors `[bin]`; None: those that minimise the NLL (Barlow-Beeston lite).

        Raises:
            DataError: the data do not match the model.
            FitError: factors were given to a model whose templates are exact.
        """
        observed = self.observed(data.batch())
        theta, z = self.poi_values(theta), self.nuisance_values(z)
        if factors is not None:
            return self._nll_at_factors(theta, z, data, np.asarray(factors, dtype=np.float64))
        return float(_nll(self.likelihood(), observed, _columns(theta), _columns(z))[0, 0])

    def _nll_at_factors(self, theta: np.ndarray, z: np.ndarray, data: Data, factors: np.ndarray) -> float:
        """Return the NLL with the simulation factors as parameters."""
        if self.variance is None or self.moving:
            raise FitError("factors: the model's templates are exact or moving; build it with variances")
        counts, templates = np.asarray(data.counts), self.templates(z)
        mask = np.ones_like(templates) if self.simulated is None else self.simulated
        nu = self.coefficients(theta) @ (templates * (1 + mask * (factors - 1)))
        variance = self.variance[: self.bins]
        known = np.ones(self.bins) if data.simulated is None else data.simulated
        # The difference to the NLL at fixed templates: everything else is the same.
        fixed = dataclasses.replace(self, variance=None).nll(theta, z, data)
        plain = self.coefficients(theta) @ templates
        pulls = np.divide((factors - known) ** 2, 2 * variance, out=np.zeros(self.bins), where=variance > 0)
        return float(fixed + np.sum(nu - plain - scipy.special.xlogy(counts, nu / plain) + pulls))

    def likelihood(self) -> Likelihood:
        """Return the arrays and structure that the jitted functions take."""
        return self._likelihood

    @functools.cached_property
    def _likelihood(self) -> Likelihood:
        ranges = [*self.components.ranges, *(nuisance.range for nuisance in self.nuisances)]
        names = [nuisance.name for nuisance in self.nuisances]
        return Likelihood(
            morph=self.morph,
            effects=self.effects,
            morphed=self.morphed,
            joint=tuple(JointTerm(c.precision, tuple(names.index(n) for n in c.nuisances)) for c in self.joint),
            variance=self.variance,
            simulated=self.simulated,
            low=np.array([low for low, _ in ranges], dtype=np.float64),
            high=np.array([high for _, high in ranges], dtype=np.float64),
            constraints=self.constraints,
            powers=self.components.powers,
            convention=np.array(CONVENTIONS.index(self.convention), dtype=np.int32),
            # nu - n ln nu + g(n) at nu = n = 1.
            offset=np.array(0.0 if self.convention == "deviance" else float(self.padding)),
        )

    def starts(self, grid: Sequence[float] | np.ndarray | None = None) -> Starts:
        """Return the nuisance values from which minimisations start, or over which they choose.

        Args:
            grid: values `[value]` (one nuisance) or `[value, nuisance]` to minimise over; None for a
                continuous minimisation.

        Raises:
            FitError: the grid's shape does not match the nuisances.
        """
        if grid is None:
            return self._continuous_starts
        values = np.asarray(grid, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != len(self.nuisances) or not len(values):
            raise FitError(
                f"grid: shape {np.shape(grid)} does not fit {len(self.nuisances)} nuisance(s); "
                "give [value] for one nuisance, [value, nuisance] for several"
            )
        return fixed_grid(values, self.components.ranges)

    @functools.cached_property
    def _continuous_starts(self) -> Starts:
        return start_grid(
            tuple(n.anchors for n in self.nuisances),
            tuple(n.range for n in self.nuisances),
            tuple(n.nominal for n in self.nuisances),
            self.components.ranges,
        )

    def theta_starts(self) -> Float64[np.ndarray, "start poi"]:
        """Return values of the parameters of interest from which minimisations start."""
        return theta_starts(self.components.powers, self.components.nominal, self.components.ranges)

    def observed(self, data: Data) -> Observed:
        """Return stacked data as the jitted functions take them.

        Raises:
            DataError: counts or auxiliary data do not match the model, or an empty bin under `loggamma`.
        """
        if data.moving != self.moving:
            kind = "depend on the hypothesised nuisance" if data.moving else "are fixed"
            raise DataError(f"data: the counts {kind} but the model has moving={self.moving}; build both the same way")
        arrays = data.counts if isinstance(data.counts, tuple) else (data.counts,)
        shaped = [self.nuisances[j] for j in self.morphed]
        expected = [(len(n.anchors), self.bins) for n in shaped] if self.moving else [(self.bins,)]
        if [array.shape[1:] for array in arrays] != expected:
            raise DataError(
                f"data: counts have shapes {[array.shape[1:] for array in arrays]} where the model needs {expected}"
            )
        if len(data.auxiliary) != len(self.constraints) + len(self.joint):
            raise DataError(
                f"data: {len(data.auxiliary)} auxiliary arrays for {len(self.constraints) + len(self.joint)} "
                "constraints; give one a constraint, in the nuisances' order, then those of several nuisances "
                "(study_auxiliary makes them)"
            )
        bad = next((a for a in data.auxiliary if not np.all(np.isfinite(a))), None)
        if bad is not None:
            raise DataError("data: an auxiliary observation is not a finite number; check the constraint centres")
        if self.moving and self.convention == "loggamma" and min(array.min() for array in arrays) == 0:
            where = next(np.argwhere(array == 0)[0] for array in arrays if array.min() == 0)
            raise DataError(
                f"data: bin {where[-1]} is empty at anchor {where[-2]}, where ln Gamma(n) is infinite; "
                "merge bins or use the convention 'poisson'"
            )
        if self.padding:
            arrays = tuple(np.concatenate([a, np.ones((*a.shape[:-1], self.padding))], axis=-1) for a in arrays)
        auxiliary = tuple(np.ascontiguousarray(a.T) for a in data.auxiliary)
        simulated = None
        if self.variance is not None:
            known = np.ones((len(data), self.bins)) if data.simulated is None else data.simulated
            if known.shape[1:] != (self.bins,):
                raise DataError(f"data: simulation factors have {known.shape[1]} bins where the model has {self.bins}")
            simulated = np.concatenate([known, np.ones((len(data), self.padding))], axis=1).T
            simulated = np.ascontiguousarray(simulated)
        if not self.moving:
            return Observed(np.ascontiguousarray(arrays[0].T), auxiliary, simulated)
        counts = build_morph(
            [n.anchors for n in shaped],
            [n.nominal for n in shaped],
            [np.moveaxis(array, 0, -1) for array in arrays],
            datasets=True,
            ranges=[n.range for n in shaped],
        )
        return Observed(counts, auxiliary, simulated)


@jax.jit
def _expected(lik: Likelihood, theta: list[Array], z: list[Array]) -> Array:
    nu = expected_jet(lik, theta, lik.templates(z), ()).value
    return jnp.broadcast_to(nu, (nu.shape[0], 1, 1))


@jax.jit
def _templates(lik: Likelihood, z: list[Array]) -> Array:
    value = lik.templates(z).value
    shape = np.shape(lik.morph.nominal)
    return jnp.broadcast_to(value, (*shape, 1, 1))


@jax.jit
def _nll(lik: Likelihood, observed: Observed, theta: list[Array], z: list[Array]) -> Array:
    value, _, _ = evaluate(lik, observed, theta, z, ())
    return jnp.broadcast_to(value + constant_terms(lik, observed), (1, 1))


def _columns(values: np.ndarray) -> list[np.ndarray]:
    """Return one `[point, data]` array a parameter, both of length 1."""
    return [np.full((1, 1), value) for value in values]
