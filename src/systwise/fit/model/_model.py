"""The model: components, nuisances, constraints and morphed templates, checked on the way in."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Array, Float64

from systwise.errors import ConfigError, FitError
from systwise.fit.likelihood import (
    CONVENTIONS,
    Bins,
    Likelihood,
    Observed,
    constraint_terms,
)
from systwise.fit.minimise import Prepared, Sets, Starts, theta_starts
from systwise.fit.model._data import AbstractData, Data, observed_data
from systwise.fit.model._effects import Effect
from systwise.fit.model._model_parts import (
    along_axes,
    check_names,
    match_constraints,
    normalisation_effects,
    relative_variances,
    starts_over,
)
from systwise.fit.model._morph import JointMorph, Morph, build_joint_morph, build_morph
from systwise.fit.model._region import observed_by, region_of
from systwise.fit.model._template_checks import check_templates
from systwise.fit.model._values import Values, ordered
from systwise.parameters import AbstractConstraint, Components, CorrelatedGaussian, Normalisation, Nuisance
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
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
        variance: squared relative uncertainty of the simulation, of each bin as a whole `[bin]` (HistFactory), or of
            each component `[component, bin]`, where it follows the parameters of interest; None: exact templates.
        simulated: 1 where a component comes from simulation of limited size, `[component, bin]`; None: everywhere.
        regions: names of regions (HistFactory: channels) with their numbers of bins, in the bins' order; all bins are
            one region where there is none.
    """

    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint, ...]
    morph: Morph | JointMorph
    convention: str
    moving: bool
    morphed: tuple[int, ...] = ()
    effects: tuple[Effect, ...] = ()
    joint: tuple[CorrelatedGaussian, ...] = ()
    variance: np.ndarray | None = None
    simulated: np.ndarray | None = None
    regions: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @staticmethod
    def from_templates(
        components: Components,
        nuisances: Sequence[Nuisance],
        constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
        templates: np.ndarray | Sequence[np.ndarray],
        convention: str = "poisson",
        moving: bool = False,
        *,
        normalisations: Sequence[Normalisation] = (),
        variances: np.ndarray | None = None,
        regions: Mapping[str, int] | None = None,
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
            normalisations: nuisances that are exact factors on the yields of components.
            variances: `[component, bin]` variances of the nominal templates (sums of squared weights): each
                bin then has a simulation factor in the likelihood (Barlow-Beeston lite).
            regions: names of regions with their numbers of bins, where the bins belong to several.

        Raises:
            ConfigError: unknown convention, a constraint on an unknown or twice constrained nuisance, or regions
                whose bins are not all of them.
            TemplateError: wrong shape, content not finite or negative, or a bin in which nothing is expected.
        """
        if convention not in CONVENTIONS:
            raise ConfigError(f"unknown convention '{convention}' (known: {', '.join(CONVENTIONS)})")
        check_names(components, nuisances)
        names = [nuisance.name for nuisance in nuisances]
        single, joint = match_constraints(names, constraints)
        effects = normalisation_effects(components, nuisances, normalisations, regions)
        exact = {effect.nuisance for effect in effects}
        morphed = tuple(j for j in range(len(names)) if j not in exact)
        shaped = [nuisances[j] for j in morphed]
        arrays = [templates] if isinstance(templates, np.ndarray) else list(templates)
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
        grid = len(arrays) == 1 < len(shaped) and arrays[0].ndim == len(shaped) + 2
        check_templates(components, [] if grid else shaped, along_axes(arrays[0], shaped) if grid else arrays)
        anchors, nominal = [n.anchors for n in shaped], [n.nominal for n in shaped]
        ranges = [n.range for n in shaped]
        morph: Morph | JointMorph
        if grid:
            morph = build_joint_morph(anchors, nominal, arrays[0], ranges)
        else:
            morph = build_morph(anchors, nominal, arrays, ranges)
        bins = morph.base.shape[-1]
        if regions and (sum(regions.values()) != bins or min(regions.values()) < 1):
            raise ConfigError(f"regions: {dict(regions)} hold {sum(regions.values())} bins where there are {bins}")
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
            variance=None if variances is None else relative_variances(components, morph.base, variances),
            regions=dict(regions or {}),
        )

    def __repr__(self) -> str:
        """Return what it consists of in a line; its arrays would fill pages."""
        return (
            f"Model({', '.join(self.components.pois)} | components: {', '.join(self.components.names)} | "
            f"{len(self.nuisances)} nuisances | regions: "
            f"{', '.join(f'{name} ({own.stop - own.start} bins)' for name, own in self.region_slices().items())})"
        )

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.morph.base.shape[-1]

    def region_slices(self) -> dict[str, slice]:
        """Return the bins of each region by its name."""
        ends = np.cumsum([0, *(self.regions or {"all bins": self.bins}).values()]).tolist()
        return {
            name: slice(*pair)
            for name, pair in zip(self.regions or ("all bins",), itertools.pairwise(ends), strict=True)
        }

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
        x = np.concatenate([self.poi_values(theta), self.nuisance_values(z)])
        return np.asarray(_expected(self.arrays, jnp.asarray(x)))[: self.bins]

    @in_float64
    def templates(self, z: Values) -> Float64[np.ndarray, "component bin"]:
        """Return the expected counts of each component at coefficient 1, `T_kb(z)`."""
        return np.asarray(_templates(self.arrays, jnp.asarray(self.nuisance_values(z))))[:, : self.bins]

    def factor_variance(self, theta: Values, z: Values) -> Float64[np.ndarray, " bin"]:
        """Return the squared relative uncertainty of each bin's simulated part at given parameters.

        Raises:
            FitError: the templates are exact.
        """
        if self.variance is None:
            raise FitError("simulation factors: the model's templates are exact; build it with variances")
        if self.variance.ndim == 1:
            return self.variance
        mask = np.ones(self.variance.shape) if self.simulated is None else self.simulated
        each = self.coefficients(theta)[:, None] * self.templates(z) * mask
        total = each.sum(axis=0)
        spread = np.sum(self.variance * each**2, axis=0)
        return np.divide(spread, total**2, out=np.zeros(self.bins), where=total > 0)

    @in_float64
    def nll(
        self, theta: Values, z: Values, data: AbstractData, factors: Float64[np.ndarray, " bin"] | None = None
    ) -> float:
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
        theta, z = self.poi_values(theta), self.nuisance_values(z)
        if factors is not None:
            return self._nll_at_factors(theta, z, data, np.asarray(factors, dtype=np.float64))
        observed = jax.tree.map(lambda leaf: leaf[0], self.observed(data.batch()))
        return float(_nll(self.likelihood(), observed, jnp.asarray(np.concatenate([theta, z]))))

    def _nll_at_factors(self, theta: np.ndarray, z: np.ndarray, data: AbstractData, factors: np.ndarray) -> float:
        """Return the NLL with the simulation factors as parameters."""
        if self.variance is None or self.moving:
            raise FitError("factors: the model's templates are exact or moving; build it with variances")
        counts, templates = np.asarray(data.counts), self.templates(z)
        mask = np.ones_like(templates) if self.simulated is None else self.simulated
        nu = self.coefficients(theta) @ (templates * (1 + mask * (factors - 1)))
        variance = self.factor_variance(theta, z)
        known = np.ones(self.bins) if data.simulated is None else data.simulated
        # The difference to the NLL at fixed templates: everything else is the same.
        fixed = dataclasses.replace(self, variance=None).nll(theta, z, data)
        plain = self.coefficients(theta) @ templates
        pulls = np.divide((factors - known) ** 2, 2 * variance, out=np.zeros(self.bins), where=variance > 0)
        return float(fixed + np.sum(nu - plain - scipy.special.xlogy(counts, nu / plain) + pulls))

    def likelihood(self) -> Likelihood:
        """Return the arrays and structure that the compiled functions take."""
        return self._likelihood

    @property
    def arrays(self) -> Bins:
        """Its bins as arrays."""
        region = self._likelihood.regions[0]
        assert isinstance(region, Bins)
        return region

    @functools.cached_property
    @in_float64
    def _likelihood(self) -> Likelihood:
        ranges = np.array([*self.components.ranges, *(nuisance.range for nuisance in self.nuisances)], np.float64)
        names = [nuisance.name for nuisance in self.nuisances]
        lik = Likelihood(
            regions=(region_of(self),),
            constraints=constraint_terms(names, self.constraints, self.joint),
            low=ranges[:, 0],
            high=ranges[:, 1],
            reach=0.25 * (ranges[:, 1] - ranges[:, 0]),
            pois=len(self.components.pois),
        )
        return jax.tree.map(jnp.asarray, lik)

    def with_range(self, poi: str, low: float, high: float) -> Model:
        """Return the model with another range of a parameter of interest, for example its physical region.

        A nominal value outside it moves to its nearer end.

        Raises:
            ConfigError: no such parameter of interest, or a lower end that is not below the upper one.
        """
        if poi not in self.components.pois:
            raise ConfigError(
                f"range of '{poi}': no such parameter of interest (known: {', '.join(self.components.pois)})"
            )
        if not low < high:
            raise ConfigError(f"range of '{poi}': [{low:g}, {high:g}] is empty; give the lower end first")
        number, own = self.components.pois.index(poi), self.components
        ranges, nominal = list(own.ranges), list(own.nominal)
        ranges[number], nominal[number] = (low, high), min(max(nominal[number], low), high)
        components = dataclasses.replace(own, ranges=tuple(ranges), nominal=tuple(nominal))
        return dataclasses.replace(self, components=components)

    @property
    def shaped(self) -> list[Nuisance]:
        """The nuisances that change shapes."""
        return [self.nuisances[j] for j in self.morphed]

    def starts(self, free: Sequence[bool] | None = None) -> Starts:
        """Return the nuisance values from which minimisations start; those that are not free stay nominal."""
        return starts_over(self.nuisances, free)

    def theta_starts(self) -> Float64[np.ndarray, "start poi"]:
        """Return values of the parameters of interest from which minimisations start."""
        return theta_starts(self.components.powers, self.components.nominal, self.components.ranges)

    def data(self, counts: npt.ArrayLike, auxiliary: Mapping[str, float | Sequence[float]] | None = None) -> Data:
        """Return observed data: `fit(model, model.data([55, 61]))`.

        Args:
            counts: `[bin]`, or `[data, bin]` of several data sets.
            auxiliary: what the constraints observed, by nuisance, where it is not what a nominal nuisance expects: a
                Gaussian's centre, the logarithm of a log-normal's, the counts of an auxiliary histogram.

        Raises:
            DataError: another number of bins, counts that are negative or no numbers, an unknown or unconstrained
                nuisance, or another number of auxiliary values.
            FitError: the observable moves with the hypothesis.

        >>> from systwise.parameters import signal_strength
        >>> model = Model.from_templates(signal_strength(), (), (), np.array([[5.0, 3.0], [50.0, 60.0]]))
        >>> model.data([52, 61]).counts
        array([52., 61.])
        """
        return observed_data(self, counts, auxiliary)

    def prepared(self, data: AbstractData) -> list[Prepared]:
        """Return one data set or a stack, ready to be fitted together."""
        batch = data.batch()
        return [Prepared(self.likelihood(), Sets(self.observed(batch), len(batch), False))] if len(batch) else []

    def observed(self, data: AbstractData) -> Observed:
        """Return stacked data as the compiled functions take them, with a leading axis of data sets.

        Raises:
            DataError: counts or auxiliary data do not match the model, or an empty bin under `loggamma`.
        """
        return observed_by(self, data)


@jax.jit
def _expected(region: Bins, x: Array) -> Array:
    return region.expected(x)


@jax.jit
def _templates(region: Bins, z: Array) -> Array:
    return region.templates(z)


@jax.jit
def _nll(lik: Likelihood, observed: Observed, x: Array) -> Array:
    return lik.value(observed, x) + lik.constant(observed)
