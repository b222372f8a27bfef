"""What a model is made of, checked and put into order: constraints, factors, simulation uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from systwise.errors import ConfigError, TemplateError
from systwise.fit.minimise import Starts, start_points
from systwise.fit.model._effects import Effect, LinearFactor, exponential_factor
from systwise.parameters import (
    AbstractConstraint,
    Components,
    CorrelatedGaussian,
    NoConstraint,
    Normalisation,
    Nuisance,
)


def match_constraints(
    names: Sequence[str], constraints: Sequence[AbstractConstraint | CorrelatedGaussian]
) -> tuple[tuple[AbstractConstraint, ...], tuple[CorrelatedGaussian, ...]]:
    """Return one constraint a nuisance, and those of several nuisances.

    Raises:
        ConfigError: a constraint on an unknown nuisance, or two on the same.
    """
    single: dict[str, AbstractConstraint] = {}
    joint: list[CorrelatedGaussian] = []
    taken: set[str] = set()
    for constraint in constraints:
        for name in constraint.nuisances:
            if name not in names:
                raise ConfigError(f"constraint on '{name}': no such nuisance (known: {', '.join(names) or 'none'})")
            if name in taken:
                raise ConfigError(f"constraint on '{name}': it has one already; combine both into one")
            taken.add(name)
        if isinstance(constraint, CorrelatedGaussian):
            joint.append(constraint)
        else:
            single[constraint.nuisance] = constraint
    return tuple(single.get(name, NoConstraint(name)) for name in names), tuple(joint)


def starts_over(nuisances: Sequence[Nuisance], free: Sequence[bool] | None, *budget: int) -> Starts:
    """Return the values of free nuisances from which minimisations start; the others stay nominal.

    Args:
        nuisances: all of a model.
        free: which of them vary; all where None.
        budget: points of a line and of a grid, as `start_points` takes them.
    """
    return start_points(
        tuple(n.anchors for n in nuisances),
        tuple(n.range for n in nuisances),
        tuple(n.nominal for n in nuisances),
        tuple(free) if free is not None else (True,) * len(nuisances),
        *budget,
    )


def check_names(components: Components, nuisances: Sequence[Nuisance]) -> None:
    """Refuse two parameters of one name, which results could not tell apart.

    Raises:
        ConfigError: there are two.
    """
    names = [*components.pois, *(nuisance.name for nuisance in nuisances)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two parameters are called '{twice}'; give each a name of its own, or make them one")


def normalisation_effects(
    components: Components,
    nuisances: Sequence[Nuisance],
    normalisations: Sequence[Normalisation],
    regions: Mapping[str, int] | None = None,
) -> tuple[Effect, ...]:
    """Return the exact factors of the normalisations.

    Raises:
        ConfigError: an unknown nuisance or component, or a nominal value at which the factor is not 1.
    """
    names = [nuisance.name for nuisance in nuisances]
    effects: list[Effect] = []
    for rate in normalisations:
        if rate.nuisance not in names:
            raise ConfigError(
                f"normalisation '{rate.nuisance}': no such nuisance (known: {', '.join(names) or 'none'})"
            )
        unknown = [name for name in rate.components if name not in components.names]
        if unknown:
            raise ConfigError(
                f"normalisation '{rate.nuisance}': unknown component '{unknown[0]}' "
                f"(known: {', '.join(components.names)})"
            )
        j = names.index(rate.nuisance)
        if nuisances[j].nominal != rate.nominal:
            raise ConfigError(
                f"normalisation '{rate.nuisance}': its factor is 1 at {rate.nominal:g} but the nuisance's nominal "
                f"value is {nuisances[j].nominal:g}; make them equal"
            )
        mask = rate.acts(components.names, regions).astype(np.float64)
        if rate.kind == "linear":
            effects.append(LinearFactor(mask, j))
        else:
            down, up = (np.where(mask, factor, 1.0) for factor in rate.factors)
            effects.append(exponential_factor(up, down, j, "code1"))
    return tuple(effects)


def relative_variances(
    components: Components, nominal: Float64[np.ndarray, "component bin"], variances: np.ndarray
) -> Float64[np.ndarray, "component bin"]:
    """Return `V_kb / T_kb^2`, zero where nothing is expected.

    Raises:
        TemplateError: another shape, or variances that are not finite or negative.
    """
    values = np.asarray(variances, dtype=np.float64)
    if values.shape != nominal.shape:
        raise TemplateError(f"variances: shape {values.shape} where (component, bin) = {nominal.shape} is needed")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        k, b = (int(i) for i in np.argwhere(~np.isfinite(values) | (values < 0))[0])
        raise TemplateError(
            f"variance of '{components.names[k]}', bin {b}, is {values[k, b]:g}; it must be a sum of squared weights"
        )
    return np.divide(values, nominal**2, out=np.zeros_like(values), where=nominal > 0)


def along_axes(grid: np.ndarray, nuisances: Sequence[Nuisance]) -> list[np.ndarray]:
    """Return a joint grid `[anchor_1, ..., anchor_J, component, bin]` as flat lists of templates, to be checked."""
    shape = tuple(len(nuisance.anchors) for nuisance in nuisances)
    if grid.shape[:-2] != shape:
        raise TemplateError(
            f"joint templates: shape {grid.shape} where (anchors..., component, bin) = {(*shape, '...')} is needed"
        )
    flat = grid.reshape(-1, *grid.shape[-2:])
    return [flat.min(axis=0)]
