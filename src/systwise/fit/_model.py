"""The model: components, nuisances, constraints and morphed templates, checked on the way in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64

from systwise.errors import ConfigError, DataError, FitError, TemplateError
from systwise.fit._data import Data, Values
from systwise.fit._likelihood import (
    CONVENTIONS,
    Likelihood,
    Observed,
    constant_terms,
    evaluate,
    expected_jet,
)
from systwise.fit._morph import Morph, build_morph
from systwise.fit._starts import Starts, fixed_grid, start_grid, theta_starts
from systwise.parameters import AbstractConstraint, Components, NoConstraint, Nuisance
from systwise.precision import in_float64


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Expected counts and likelihood: `nu_b(theta, z) = sum_k c_k(theta) T_kb(z)`.

    Build one with `Model.from_templates`. Parameters are in the order `parameter_names`: parameters of
    interest, then nuisances.

    Attributes:
        components: components and their coefficients.
        nuisances: in the order of every `[nuisance]` axis.
        constraints: one a nuisance, in the same order.
        morph: templates `[component, bin]` as a function of the nuisances.
        convention: which terms in the data's counts the NLL keeps (see `nll`).
        moving: the data's histogram depends on the hypothesised nuisances.
        padding: bins at the end that only fill up the shape, constant and without influence.
    """

    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[AbstractConstraint, ...]
    morph: Morph
    convention: str
    moving: bool
    padding: int = 0

    @staticmethod
    def from_templates(
        components: Components,
        nuisances: Sequence[Nuisance],
        constraints: Sequence[AbstractConstraint],
        templates: np.ndarray | Sequence[np.ndarray],
        convention: str = "poisson",
        moving: bool = False,
        room: int = 0,
    ) -> Model:
        """Build a model from templates at the nuisances' anchors.

        Args:
            components: components, in the order of the templates' component axis.
            nuisances: the nuisances; may be empty.
            constraints: at most one a nuisance, matched by name; a nuisance without one floats freely.
            templates: one array `[anchor, component, bin]` a nuisance (the other nuisances at their
                nominal values), anchors as in `nuisance.anchors`; without nuisances one `[component, bin]`.
                A bare array stands for a list of one. Moving observable: each anchor's events scored
                with the nuisance hypothesised at that anchor.
            convention: `drop`, `poisson`, `deviance` or `loggamma`.
            moving: the data's histogram depends on the hypothesised nuisances.
            room: number of bins to compile for. Models of up to so many bins share one compilation,
                at the cost of computing all of them; models without a constant component ignore it.

        Raises:
            ConfigError: unknown convention, or a constraint on an unknown nuisance.
            TemplateError: wrong shape, content not finite or negative, or a bin in which nothing is expected.
        """
        if convention not in CONVENTIONS:
            raise ConfigError(f"unknown convention '{convention}' (known: {', '.join(CONVENTIONS)})")
        names = [nuisance.name for nuisance in nuisances]
        for constraint in constraints:
            if constraint.nuisance not in names:
                raise ConfigError(
                    f"constraint on '{constraint.nuisance}': no such nuisance (known: {', '.join(names) or 'none'})"
                )
        matched = {constraint.nuisance: constraint for constraint in constraints}
        arrays = [templates] if isinstance(templates, np.ndarray) else list(templates)
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
        _check_templates(components, nuisances, arrays)
        padding = max(0, room - arrays[0].shape[-1])
        constant = [k for k, row in enumerate(components.powers) if not any(row)]
        padding = padding if constant else 0
        if padding:
            # One constant event expected and seen: no slope anywhere, and finite under every convention.
            filling = np.zeros((len(components.powers), padding))
            filling[constant[0]] = 1.0
            arrays = [np.concatenate([a, np.broadcast_to(filling, (*a.shape[:-1], padding))], axis=-1) for a in arrays]
        morph = build_morph([n.anchors for n in nuisances], [n.nominal for n in nuisances], arrays)
        return Model(
            components=components,
            nuisances=tuple(nuisances),
            constraints=tuple(matched.get(name, NoConstraint(name)) for name in names),
            morph=morph,
            convention=convention,
            moving=moving and bool(names),
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
        return _ordered(theta, self.components.pois, self.components.nominal, "parameter of interest")

    def nuisance_values(self, z: Values) -> Float64[np.ndarray, " nuisance"]:
        """Return nuisances as an array, from a number, a sequence or names to values; absent names are nominal."""
        names = tuple(nuisance.name for nuisance in self.nuisances)
        return _ordered(z, names, tuple(nuisance.nominal for nuisance in self.nuisances), "nuisance")

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
    def nll(self, theta: Values, z: Values, data: Data) -> float:
        """Return the negative log-likelihood of one data set.

        `drop`: `sum_b [nu - n ln nu]`; `poisson` adds `ln n!`; `deviance` is
        `sum_b [nu - n + n ln(n/nu)]`; `loggamma` adds `ln Gamma(n)`. For a fixed observable they differ
        by constants; for a moving one, where n depends on z, the choice is physics. Constraints add
        `constraint.nll(z, auxiliary)`. Infinite where an expected count is not positive.

        Raises:
            DataError: the data do not match the model.
        """
        observed = self.observed(data.batch())
        theta, z = self.poi_values(theta), self.nuisance_values(z)
        return float(_nll(self.likelihood(), observed, _columns(theta), _columns(z))[0, 0])

    def likelihood(self) -> Likelihood:
        """Return the arrays and structure that the jitted functions take."""
        return self._likelihood

    @functools.cached_property
    def _likelihood(self) -> Likelihood:
        ranges = [*self.components.ranges, *(nuisance.range for nuisance in self.nuisances)]
        return Likelihood(
            morph=self.morph,
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
        expected = [(len(n.anchors), self.bins) for n in self.nuisances] if self.moving else [(self.bins,)]
        if [array.shape[1:] for array in arrays] != expected:
            raise DataError(
                f"data: counts have shapes {[array.shape[1:] for array in arrays]} where the model needs {expected}"
            )
        if len(data.auxiliary) != len(self.constraints):
            raise DataError(
                f"data: {len(data.auxiliary)} auxiliary arrays for {len(self.constraints)} constraints; "
                "give one a constraint, in the nuisances' order (study_auxiliary makes them)"
            )
        if self.moving and self.convention == "loggamma" and min(array.min() for array in arrays) == 0:
            where = next(np.argwhere(array == 0)[0] for array in arrays if array.min() == 0)
            raise DataError(
                f"data: bin {where[-1]} is empty at anchor {where[-2]}, where ln Gamma(n) is infinite; "
                "merge bins or use the convention 'poisson'"
            )
        if self.padding:
            arrays = tuple(np.concatenate([a, np.ones((*a.shape[:-1], self.padding))], axis=-1) for a in arrays)
        auxiliary = tuple(np.ascontiguousarray(a.T) for a in data.auxiliary)
        if not self.moving:
            return Observed(np.ascontiguousarray(arrays[0].T), auxiliary)
        counts = build_morph(
            [n.anchors for n in self.nuisances],
            [n.nominal for n in self.nuisances],
            [np.moveaxis(array, 0, -1) for array in arrays],
            datasets=True,
        )
        return Observed(counts, auxiliary)


@jax.jit
def _expected(lik: Likelihood, theta: list[Array], z: list[Array]) -> Array:
    nu = expected_jet(lik, theta, lik.morph.jet(z), ())[0]
    return jnp.broadcast_to(nu, (nu.shape[0], 1, 1))


@jax.jit
def _nll(lik: Likelihood, observed: Observed, theta: list[Array], z: list[Array]) -> Array:
    value, _, _ = evaluate(lik, observed, theta, z, ())
    return jnp.broadcast_to(value + constant_terms(lik, observed), (1, 1))


def _columns(values: np.ndarray) -> list[np.ndarray]:
    """Return one `[point, data]` array a parameter, both of length 1."""
    return [np.full((1, 1), value) for value in values]


def _ordered(values: Values, names: tuple[str, ...], nominal: tuple[float, ...], kind: str) -> np.ndarray:
    if isinstance(values, Mapping):
        unknown = [name for name in values if name not in names]
        if unknown:
            raise FitError(f"unknown {kind} '{unknown[0]}' (known: {', '.join(names) or 'none'})")
        return np.array([float(values.get(name, z)) for name, z in zip(names, nominal, strict=True)])
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.shape != (len(names),):
        raise FitError(f"{kind}: {array.size} value(s) given for {len(names)} ({', '.join(names) or 'none'})")
    return array


def _check_templates(components: Components, nuisances: Sequence[Nuisance], arrays: Sequence[np.ndarray]) -> None:
    """Refuse templates that cannot carry a likelihood, naming process, bin and nuisance value."""
    if len(arrays) != max(len(nuisances), 1):
        raise TemplateError(f"templates: {len(arrays)} arrays for {len(nuisances)} nuisances; give one a nuisance")
    reference = components.reference()
    constant = np.array([not any(row) for row in components.powers])
    for j, array in enumerate(arrays):
        if nuisances:
            nuisance = nuisances[j]
            shape = (len(nuisance.anchors), len(components.names))
            if array.ndim != 3 or array.shape[:2] != shape or array.shape[2] != arrays[0].shape[-1]:
                raise TemplateError(
                    f"templates of nuisance '{nuisance.name}': shape {array.shape} where (anchor, component, bin) = "
                    f"({shape[0]}, {shape[1]}, bins) is needed"
                )
            places = [f" at {nuisance.name}={value:g}" for value in nuisance.anchors]
        else:
            if array.ndim != 2 or array.shape[0] != len(components.names):
                raise TemplateError(
                    f"templates: shape {array.shape} where (component, bin) = ({len(components.names)}, bins) is needed"
                )
            array, places = array[None], [""]
        bad = ~np.isfinite(array) | (array < 0)
        if bad.any():
            a, k, b = (int(i) for i in np.argwhere(bad)[0])
            raise TemplateError(
                f"template of '{components.names[k]}', bin {b}{places[a]}, holds {array[a, k, b]:g}; contents must be "
                "finite and not negative, so merge bins with too few events or express negative components in a "
                "positive basis of hypotheses"
            )
        total = np.einsum("k,akb->ab", reference, array)
        if (total <= 0).any():
            a, b = (int(i) for i in np.argwhere(total <= 0)[0])
            raise TemplateError(
                f"templates: no process is expected in bin {b}{places[a]}; use fewer bins or more simulated events"
            )
        background = array[:, constant].sum(axis=1)
        if constant.any() and (background <= 0).any():
            a, b = (int(i) for i in np.argwhere(background <= 0)[0])
            named = " + ".join(f"'{name}'" for name, flag in zip(components.names, constant, strict=True) if flag)
            raise TemplateError(
                f"template of {named}, bin {b}{places[a]}, holds no events, so that a single event there would decide "
                "the fit; use fewer bins, another binning or more simulated events"
            )
