"""The minimum next to a start, for many problems; those that need long, or end at a kink, apart from the others."""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Int

from systwise.fit.likelihood import Bins, Likelihood, Observed
from systwise.fit.minimise._batches import Sets, batch_size, mapped, run
from systwise.fit.minimise._newton import Minimum, minimise

FIRST, MOST = 5, 60
"""Evaluations in which nearly all problems are done (99.8 % of pseudo-experiments), and most for the others, which
would keep a whole batch waiting."""
EARLY, LATE, TRIES = 1e-2, 1e-5, 3
"""Distance from a kink within which Newton's method is after the first and after all evaluations, as a fraction of the
parameter's range, and how often parameters are let go that are no kink's."""
SMALL = 16
"""Most parameters of a problem that is given up early."""
SIDE = 1e-7
"""Distance at which slopes on both sides of a kink are looked at, as a fraction of the range."""


class Problems(NamedTuple):
    """What is to be minimised.

    Attributes:
        owners: data set of each problem, `[problem]`.
        low: lower ends of the parameters, `[problem, parameter]`; equal ends fix one.
        high: upper ends.
    """

    owners: Int[np.ndarray, " problem"]
    low: Float64[np.ndarray, "problem parameter"]
    high: Float64[np.ndarray, "problem parameter"]


class Polished(NamedTuple):
    """Minima with what belongs to them; leading axis: problems.

    Attributes:
        minimum: parameters, value, derivatives, and whether it is one.
        constant: terms in fixed counts alone.
        smallest: smallest expected count, or smallest share of an event's density.
    """

    minimum: Minimum
    constant: Array
    smallest: Array


def _polish(lik: Likelihood, iterations: Array, observed: Observed, start: Array, low: Array, high: Array) -> Polished:
    found = minimise(lambda x: lik.terms(observed, x), start, low, high, jnp.asarray(lik.reach), iterations=iterations)
    return Polished(found, lik.constant(observed), lik.smallest(observed, found.x))


def _slopes(lik: Likelihood, observed: Observed, x: Array) -> Array:
    return lik.terms(observed, x).gradient


def elements(lik: Likelihood) -> int:
    """Return the size of the largest array of one evaluation."""
    sizes = [0]
    for region in lik.regions:
        if isinstance(region, Bins):
            curves = sum(c.coefficients[:, 0, 0].size for c in (region.factors, region.added) if c is not None)
            sizes.append(curves)
    return max(sizes)


def polish(lik: Likelihood, sets: Sets, problems: Problems, starts: np.ndarray) -> Polished:
    """Return the minimum next to each problem's start, `[problem, parameter]`."""
    size = batch_size(len(problems.owners), elements(lik))
    # A single batch waits for nobody, and of many parameters some are always near a kink.
    early = len(problems.owners) > size > 1 and lik.parameters <= SMALL
    found = _polished(lik, sets, problems, starts, FIRST if early else MOST, size)
    for near in (EARLY, LATE) if early else (LATE,):
        left = np.flatnonzero(~found.minimum.done & np.isfinite(found.minimum.value))
        if not len(left):
            break
        some, again = _of(problems, left), jax.tree.map(operator.itemgetter(left), found)
        if early and near == LATE:
            again = _polished(lik, sets, some, np.asarray(again.minimum.x), MOST, size)
        # Most that are left lie at a kink, where nothing helps but to hold them there.
        found = _merged(found, left, _at_kinks(lik, sets, some, again, near, size))
    return found


def _polished(
    lik: Likelihood, sets: Sets, problems: Problems, starts: np.ndarray, iterations: int, size: int
) -> Polished:
    function = functools.partial(mapped(_polish, sets.shared, (), 2), lik, np.array(iterations))
    return Polished(*run(function, sets, problems.owners, (starts, problems.low, problems.high), size))


def _of(problems: Problems, some: np.ndarray) -> Problems:
    return Problems(problems.owners[some], problems.low[some], problems.high[some])


def _merged(found: Polished, some: np.ndarray, others: Polished) -> Polished:
    """Return the minima with those of `some` replaced."""

    def put(old: Any, new: Any) -> np.ndarray:
        array = np.array(old)
        array[some] = new
        return array

    return jax.tree.map(put, found, others)  # type: ignore[no-any-return]


def _at_kinks(lik: Likelihood, sets: Sets, problems: Problems, found: Polished, near: float, size: int) -> Polished:
    """Return the minima, those accepted that lie at a kink: the NLL rises on both sides of where two curves meet.

    HistFactory's codes 0 and 1 have one at the nominal value of every nuisance, and three of a thousand
    pseudo-experiments their minimum there. Newton's method jumps to and fro; held at the kink, the others have one.
    """
    knots = _knots(lik)
    span = np.asarray(lik.high) - np.asarray(lik.low)
    x = np.asarray(found.minimum.x)
    places = np.full(x.shape, np.nan)
    for j, knot in knots.items():
        nearest = knot[np.argmin(np.abs(x[:, j, None] - knot), axis=1)]
        close = (np.abs(x[:, j] - nearest) < near * span[j]) & (problems.low[:, j] < problems.high[:, j])
        places[close, j] = nearest[close]
    held = np.isfinite(places)
    for _ in range(TRIES):
        some = np.flatnonzero(held.any(axis=1) & ~np.asarray(found.minimum.done) & np.isfinite(found.minimum.value))
        if not len(some):
            break
        own, at = held[some], places[some]
        low, high = np.where(own, at, problems.low[some]), np.where(own, at, problems.high[some])
        here = Problems(problems.owners[some], low, high)
        there = _polished(lik, sets, here, np.where(own, at, x[some]), MOST, size)
        rises = _rises(lik, sets, here.owners, np.asarray(there.minimum.x), own, SIDE * span, size)
        good = rises.all(axis=1) & np.asarray(there.minimum.done)
        good &= np.asarray(there.minimum.value <= found.minimum.value[some] + 1e-9)
        # Zero lies between the slopes on both sides.
        slopes: Any = np.where(own, 0.0, there.minimum.gradient)
        accepted = there._replace(minimum=there.minimum._replace(gradient=slopes))
        found = _merged(found, some[good], jax.tree.map(operator.itemgetter(good), accepted))
        # What falls on one side is no minimum there: it is let go, and the others tried without it.
        held[some] = own & rises & ~rises.all(axis=1, keepdims=True)
    return found


def _rises(
    lik: Likelihood, sets: Sets, owners: np.ndarray, x: np.ndarray, held: np.ndarray, step: np.ndarray, size: int
) -> np.ndarray:
    """Return whether the NLL rises on both sides along each held parameter, true for the others."""
    rows, columns = np.nonzero(held)
    function = functools.partial(mapped(_slopes, sets.shared, (), 1), lik)
    result = np.ones(held.shape, bool)
    for side in (-1.0, 1.0):
        point = x[rows]
        point[np.arange(len(rows)), columns] += side * step[columns]
        gradient = np.asarray(run(function, sets, owners[rows], (point,), size))
        result[rows, columns] &= side * gradient[np.arange(len(rows)), columns] >= 0
    return result


def _knots(lik: Likelihood) -> dict[int, Float64[np.ndarray, " knot"]]:
    """Return where the curves of each parameter meet, by its number."""
    found: dict[int, list[float]] = {}
    for region in lik.regions:
        for curves in (region.factors, region.added):
            if curves is None:
                continue
            for number, breaks in zip(np.asarray(curves.numbers), np.asarray(curves.breaks), strict=True):
                found.setdefault(lik.pois + int(number), []).extend(breaks[np.isfinite(breaks)].tolist())
    return {number: np.unique(knots) for number, knots in found.items() if knots}
