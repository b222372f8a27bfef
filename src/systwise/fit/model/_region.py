"""A binned model and its data as the arrays that the likelihood reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from systwise.errors import DataError
from systwise.fit.likelihood import (
    CONVENTIONS,
    EXPONENT,
    BinnedData,
    Bins,
    Curve,
    Curves,
    Observed,
    curve_table,
    stack_curves,
)
from systwise.fit.model._data import AbstractData, MovingData
from systwise.fit.model._morph import EMPTY, JointMorph, build_morph, root_curve

if TYPE_CHECKING:
    from systwise.fit.model._model import Model


def region_of(model: Model) -> Bins:
    """Return bins, curves and simulation uncertainties as arrays."""
    shape, rows = model.morph.base.shape, rounded_rows(model.bins)

    def wide(array: np.ndarray) -> np.ndarray:
        return np.pad(np.asarray(array, np.float64), [(0, 0)] * (array.ndim - 1) + [(0, rows - model.bins)])

    factors: list[tuple[Curve, int]] = []
    added: list[tuple[Curve, int]] = []
    base, grid = model.morph.base, None
    if isinstance(model.morph, JointMorph):
        # The joint curve holds contents as they are.
        base = np.ones(shape)
        roots = wide(np.asarray(model.morph.curve.roots))
        grid = dataclasses.replace(model.morph.curve, numbers=np.array(model.morphed, np.int32), roots=roots)
    else:
        for j, ratio, filled in zip(model.morphed, model.morph.ratios, model.morph.added, strict=True):
            factors.append((ratio, j))
            if filled is not None:
                added.append((filled, j))
    for effect in model.effects:
        (added if effect.additive else factors).append((effect.curve(), effect.nuisance))

    def stacked(curves: list[tuple[Curve, int]], neutral: float) -> Curves | None:
        return stack_curves([c for c, _ in curves], [j for _, j in curves], shape, rows, neutral)

    size = len(model.components.pois) + len(model.nuisances)
    moving, moving_added = _moving_curves(model) if model.moving else (None, None)
    return Bins(
        base=wide(base),
        factors=stacked(factors, 1.0),
        added=stacked(added, 0.0),
        grid=grid,
        real=np.arange(rows) < model.bins,
        variance=None if model.variance is None else wide(model.variance),
        simulated=None if model.simulated is None else wide(model.simulated),
        convention=np.array(CONVENTIONS.index(model.convention), dtype=np.int32),
        moving=moving,
        moving_added=moving_added,
        powers=model.components.powers,
        size=size,
    )


def _moving_curves(model: Model) -> tuple[Curves, Curves]:
    """The curves of a moving observable's counts but for the counts: knots and numbers."""
    flat = [root_curve(n.anchors, np.ones((len(n.anchors), 1, 1)), n.range) for n in model.shaped]
    curves = stack_curves(flat, model.morphed, (1, 1), 1, 1.0)
    assert curves is not None
    return curves, curves


def observed_by(model: Model, data: AbstractData) -> Observed:
    """Return stacked data as the compiled functions take them, with a leading axis of data sets.

    Raises:
        DataError: counts or auxiliary data do not match the model, or an empty bin under `loggamma`.
    """
    if isinstance(data, MovingData) != model.moving:
        kind = "are fixed" if model.moving else "depend on the hypothesised nuisance"
        raise DataError(f"data: the counts {kind} but the model has moving={model.moving}; build both the same way")
    arrays = data.arrays
    shaped = [model.nuisances[j] for j in model.morphed]
    expected = [(len(n.anchors), model.bins) for n in shaped] if model.moving else [(model.bins,)]
    if [array.shape[1:] for array in arrays] != expected:
        raise DataError(
            f"data: counts have shapes {[array.shape[1:] for array in arrays]} where the model needs {expected}"
        )
    if len(data.auxiliary) != len(model.constraints) + len(model.joint):
        raise DataError(
            f"data: {len(data.auxiliary)} auxiliary arrays for {len(model.constraints) + len(model.joint)} "
            "constraints; give one a constraint, in the nuisances' order, then those of several nuisances "
            "(study_auxiliary makes them)"
        )
    bad = next((a for a in data.auxiliary if not np.all(np.isfinite(a))), None)
    if bad is not None:
        raise DataError("data: an auxiliary observation is not a finite number; check the constraint centres")
    if model.moving and model.convention == "loggamma" and min(array.min() for array in arrays) == 0:
        where = next(np.argwhere(array == 0)[0] for array in arrays if array.min() == 0)
        raise DataError(
            f"data: bin {where[-1]} is empty at anchor {where[-2]}, where ln Gamma(n) is infinite; "
            "merge bins or use the convention 'poisson'"
        )
    simulated = None
    rows, extra = rounded_rows(model.bins), rounded_rows(model.bins) - model.bins
    if model.variance is not None:
        known = np.ones((len(data), model.bins)) if data.simulated is None else data.simulated
        if known.shape[1:] != (model.bins,):
            raise DataError(f"data: simulation factors have {known.shape[1]} bins where the model has {model.bins}")
        simulated = np.pad(known, ((0, 0), (0, extra)), constant_values=1.0)
    auxiliary = model.likelihood().constraints.arranged(data.auxiliary)
    if not model.moving:
        counts = np.pad(arrays[0], ((0, 0), (0, extra)))
        return Observed((BinnedData(counts, simulated),), auxiliary)
    shaped = model.shaped
    seen = build_morph(
        [n.anchors for n in shaped],
        [n.nominal for n in shaped],
        [np.moveaxis(array, 1, 0) for array in arrays],
        [n.range for n in shaped],
    )
    shape = (len(data), 1, model.bins)

    def table(curves: Sequence[Curve], neutral: float) -> np.ndarray:
        wide = [dataclasses.replace(c, coefficients=c.coefficients[:, :, :, None]) for c in curves]
        # `[curve, segment, power, data, 1, row]`: data sets go first.
        return np.ascontiguousarray(np.moveaxis(curve_table(wide, shape, rows, neutral), 3, 0))

    nothing = [dataclasses.replace(c, coefficients=np.zeros_like(c.coefficients)) for c in seen.ratios]
    for curve in nothing:
        curve.coefficients[curve.kinds == EXPONENT, 0] = EMPTY
    filled = [b if a is None else a for a, b in zip(seen.added, nothing, strict=True)]
    base = np.pad(seen.base, ((0, 0), (0, extra)))
    return Observed((BinnedData(base, simulated, table(seen.ratios, 1.0), table(filled, 0.0)),), auxiliary)


def rounded_rows(bins: int) -> int:
    """Return the number of rows that hold so many bins: models of similar size share a compilation."""
    step = 8 if bins <= 64 else 32 if bins <= 512 else 128
    return step * -(-bins // step)
