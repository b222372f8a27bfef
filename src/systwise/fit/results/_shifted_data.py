"""Data sets with one observation shifted, of counts or of a simulation factor, and their fits in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from systwise.fit.inference._fit import fit_many
from systwise.fit.model._best_factors import best_factors
from systwise.fit.model._data import AbstractData, stack
from systwise.fit.model._model import Model

STEP = 0.25
"""Step of the counts, in their standard deviations, by which the statistical part is differentiated."""


def simulation_shifts(
    model: Model, data: AbstractData, values: Mapping[str, float]
) -> list[tuple[AbstractData, AbstractData]]:
    """Return data sets in which what is known of one bin's simulation factor moves by its uncertainty."""
    if model.variance is None or data.simulated is None:
        return []
    known = data.simulated
    variance = model.factor_variance(
        {name: values[name] for name in model.components.pois},
        {nuisance.name: values[nuisance.name] for nuisance in model.nuisances},
    )
    widths = np.sqrt(variance)
    steps = [width * np.eye(model.bins)[b] for b, width in enumerate(widths) if width > 0]
    return [
        (dataclasses.replace(data, simulated=known + step), dataclasses.replace(data, simulated=known - step))
        for step in steps
    ]


def count_shifts(
    model: Model, data: AbstractData, values: Mapping[str, float]
) -> tuple[list[tuple[AbstractData, AbstractData]], Float64[np.ndarray, " step"]]:
    """Return data sets with one bin's count moved a little, and standard deviation over step of each."""
    if model.moving:
        return [], np.zeros(0)
    counts = np.asarray(data.counts)
    expected = model.expected(
        {name: values[name] for name in model.components.pois},
        {nuisance.name: values[nuisance.name] for nuisance in model.nuisances},
    )
    deviations = np.sqrt(np.maximum(expected * best_factors(model, data, values), 0.0))
    pairs, scale = [], []
    for b, deviation in enumerate(deviations):
        # An empty bin cannot go down: there both sides are the side that exists.
        step = STEP * deviation
        lowest = min(step, counts[b])
        move = np.eye(model.bins)[b]
        up, down = counts + step * move, counts - lowest * move
        pairs.append((dataclasses.replace(data, counts=up), dataclasses.replace(data, counts=down)))
        scale.append(2 * deviation / (step + lowest) if step > 0 else 0.0)
    return pairs, np.array(scale)


def refitted(
    model: Model, poi: int, estimate: float, jobs: Mapping[str, list[tuple[AbstractData, AbstractData]]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return for each job the changes of the estimate `[shift, side]`, and whether each fit converged."""
    every = [data for pairs in jobs.values() for pair in pairs for data in pair]
    if not every:
        return {word: np.zeros((0, 2)) for word in jobs}, {word: np.zeros((0, 2), bool) for word in jobs}
    fits = fit_many(model, stack(every), poi, levels=(), stat_only=False)
    change = np.where(np.isfinite(fits.nll), fits.estimate - estimate, np.nan).reshape(-1, 2)
    ends = np.cumsum([0, *(len(pairs) for pairs in jobs.values())])
    flags = fits.converged.reshape(-1, 2)
    slices = {word: slice(a, b) for word, a, b in zip(jobs, ends[:-1], ends[1:], strict=True)}
    return {w: change[s] for w, s in slices.items()}, {w: flags[s] for w, s in slices.items()}
