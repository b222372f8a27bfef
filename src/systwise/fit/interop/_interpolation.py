"""A model with HistFactory's interpolation between templates in place of splines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from systwise.errors import FitError
from systwise.fit.model._effects import Effect, ExponentialFactor, added_shape, exponential_factor
from systwise.fit.model._model import Model
from systwise.fit.model._morph import Morph
from systwise.precision import in_float64

SAME = 1e-9
"""Relative difference below which a shape does not change."""


@in_float64
def histfactory_interpolation(model: Model, mirrored: Mapping[str, int] | None = None) -> Model:
    """Return the model with its templates at one standard deviation interpolated as HistFactory does.

    A nuisance with nominal value 0 and a Gaussian constraint of width 1 becomes a factor on the yield of each
    component and region (code 4) and a difference of shapes (code 4p), as cabinetry builds its workspaces; factors of
    code 1 become code 4, and the simulation's uncertainty of a bin is that at the nominal point (`staterror`), whatever
    the parameters of interest. Other nuisances keep their splines. CERN-OPEN-2012-016, section 4; interpolation codes
    as pyhf documents them.

    Args:
        model: of templates.
        mirrored: nuisances of which one side is the mirror image of the other, with the sign of that side: yields
            and shapes are then mirrored apart, `2 - factor` and `2 T(0) - shape`, in place of the templates there.

    Raises:
        FitError: the observable moves, or templates cover a joint grid of nuisances.
    """
    if model.moving or not isinstance(model.morph, Morph):
        raise FitError(
            "HistFactory's interpolation is of a fixed observable, one nuisance at a time; use fit.morph: factorised"
        )
    nominal = model.templates([n.nominal for n in model.nuisances])
    effects: list[Effect] = [_smooth(effect) for effect in model.effects]
    kept = []
    for place, number in enumerate(model.morphed):
        if not _standard(model, number):
            kept.append(place)
            continue
        up, down = (_moved(model, number, sign) for sign in (1.0, -1.0))
        factors = [_factor(model, nominal, varied) for varied in (up, down)]
        shapes = [varied / factor for varied, factor in zip((up, down), factors, strict=True)]
        side = (mirrored or {}).get(model.nuisances[number].name)
        if side is not None:
            image, given = (0, 1) if side > 0 else (1, 0)
            factors[image], shapes[image] = 2 - factors[given], 2 * nominal - shapes[given]
        if any(np.any(factor != 1) for factor in factors):
            effects.append(exponential_factor(factors[0], factors[1], number, "code4"))
        scale = SAME * max(float(nominal.max()), 1.0)
        if any(np.any(np.abs(shape - nominal) > scale) for shape in shapes):
            effects.append(added_shape(nominal, shapes[0], shapes[1], number, "code4p"))
    ratios, added = model.morph.ratios, model.morph.added
    return dataclasses.replace(
        model,
        morph=Morph(model.morph.base, tuple(ratios[i] for i in kept), tuple(added[i] for i in kept)),
        morphed=tuple(model.morphed[i] for i in kept),
        effects=tuple(effects),
        variance=None if model.variance is None else np.asarray(model.factor_variance(model.components.nominal, {})),
    )


def _standard(model: Model, number: int) -> bool:
    """Return whether a nuisance counts standard deviations from its nominal value."""
    nuisance = model.nuisances[number]
    found = model.constraints[number].deviations(nuisance.nominal)
    return (
        nuisance.nominal == 0 and found is not None and not found.logarithmic and (found.up, found.down) == (1.0, 1.0)
    )


def _moved(model: Model, number: int, value: float) -> Float64[np.ndarray, "component bin"]:
    z = np.array([n.nominal for n in model.nuisances])
    z[number] = value
    return model.templates(z)


def _factor(
    model: Model, nominal: Float64[np.ndarray, "component bin"], varied: Float64[np.ndarray, "component bin"]
) -> Float64[np.ndarray, "component bin"]:
    """Return the ratio of yields of each component in each region, 1 where there is none above zero."""
    out = np.ones_like(nominal)
    for own in model.region_slices().values():
        before, after = nominal[:, own].sum(axis=1), varied[:, own].sum(axis=1)
        usable = (before > 0) & (after > 0)
        out[usable, own] = (after[usable] / before[usable])[:, None]
    return out


def _smooth(effect: Effect) -> Effect:
    if not isinstance(effect, ExponentialFactor):
        return effect
    return exponential_factor(np.exp(effect.log_up), np.exp(effect.log_down), effect.nuisance, "code4")
