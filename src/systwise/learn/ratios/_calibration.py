"""Calibration of learned ratios: a map of the classifier, and a mean over the reference of 1 at all nuisances."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.stats import qmc

from systwise.cases import AbstractCase
from systwise.errors import FitError
from systwise.events import Events
from systwise.learn._strategy import Problem
from systwise.learn.ratios._calibrator import Method, calibration_map, fresh_calibrator, stored
from systwise.learn.ratios._game import present
from systwise.learn.ratios._ratio import RatioObservable
from systwise.learn.training._game import Draw, draw_between, drawn_events
from systwise.learn.training._task import Task
from systwise.parameters import ChebyshevBasis
from systwise.random import named_key

BLOCK = 8192
NODES = 4
"""Nodes along a nuisance beyond the degree of the polynomial."""
MOST_POINTS = 256
"""Points of a product of nodes, at most."""


def reference_means(
    observable: RatioObservable,
    problem: Problem,
    task: Task,
    draw: Draw,
    index: np.ndarray,
    fold: int,
    points: Float[np.ndarray, "point nuisance"],
    seed: int,
) -> tuple[Float[np.ndarray, "component point"], Float[np.ndarray, "component point"]]:
    """Return the mean of r_k over the reference at some nuisance points, and its statistical error.

    Args:
        observable: the ratios.
        problem: case and events.
        task: gives every component the same weight.
        draw: nuisance values of the reference.
        index: events to use.
        fold: the network.
        points: nuisance values.
        seed: of the draws.
    """
    key = named_key(seed, "reference", fold)
    total = np.zeros((3, len(task.classes), len(points)))
    weight, weight2 = 0.0, 0.0
    for number, (_, events) in enumerate(problem.table.blocks(index, BLOCK)):
        sums, part, part2 = _reference_sums(
            problem.case, observable, task, draw, events, jnp.asarray(points, jnp.float32), jnp.int32(fold),
            jax.random.fold_in(key, number),
        )  # fmt: skip
        total += np.asarray(sums, np.float64)
        weight, weight2 = weight + float(part), weight2 + float(part2)
    mean = total[0] / weight
    variance = total[1] - 2 * mean * total[2] + mean**2 * weight2
    return mean, np.sqrt(np.maximum(variance, 0.0)) / weight


@eqx.filter_jit
def _reference_sums(
    case: AbstractCase,
    observable: RatioObservable,
    task: Task,
    draw: Draw,
    events: Events,
    points: Float[Array, "point nuisance"],
    fold: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[Float[Array, "3 component point"], Float[Array, ""], Float[Array, ""]]:
    """Return `sum w r`, `sum w^2 r^2` and `sum w^2 r` of a block, and the sums of w and w^2."""
    varied, _, share = drawn_events(case, draw, events, key)
    w = share * jnp.sum(task.weights(varied), axis=1)

    log_ratio = observable.log_ratios_at(varied, points, fold)
    ratio = jnp.exp(log_ratio)
    return jnp.stack([ratio @ w, ratio**2 @ w**2, ratio @ w**2]), jnp.sum(w), jnp.sum(w**2)


def normalised(
    observable: RatioObservable, problem: Problem, task: Task, draw: Draw, fold: int, most: int, seed: int
) -> RatioObservable:
    """Return the ratios of `fold` divided by `N_k(z)`, the mean over the reference, smooth in the nuisances.

    ln N is fitted by the basis's polynomials, weighted by its statistical error. All events of the fold but
    those that it scores take part, at fresh nuisance values: one number in z learns nothing by heart.

    Args:
        observable: the ratios so far.
        problem: case and events.
        task: gives every component the same weight.
        draw: nuisance values of the reference.
        fold: the network.
        most: events to use at most.
        seed: of the draws.

    Raises:
        FitError: the ratios overflow.
    """
    index = np.sort(np.concatenate([problem.split.stopping(fold), problem.split.training(fold)]))
    index = index[:: -(-len(index) // most)]
    points = normalisation_points(observable.basis)
    mean, error = reference_means(observable, problem, task, draw, index, fold, points, seed)
    polynomials = np.asarray(observable.basis(jnp.asarray(points, jnp.float32)), np.float64)
    found = list(present(problem.table))
    if not (np.all(np.isfinite(mean[found])) and np.all(mean[found] > 0)):
        raise FitError(
            "ratio: the learned density ratios overflow within the nuisances' training ranges, so they have no "
            "normalisation; lower the strategy's degree or the learning rate, or give more events"
        )
    shift = np.zeros(observable.shift.shape[1:])
    for k in found:
        weight = mean[k] / np.maximum(error[k], 1e-9 * mean[k])
        shift[k] = np.linalg.lstsq(polynomials * weight[:, None], -np.log(mean[k]) * weight, rcond=None)[0]
    change = jnp.asarray(shift, jnp.float32)
    if observable.calibrator is None:
        return dataclasses.replace(observable, shift=observable.shift.at[fold].add(change))
    both = dataclasses.replace(observable.calibrator, shift=observable.calibrator.shift.at[fold].add(change))
    return dataclasses.replace(observable, calibrator=both)


def normalisation_points(basis: ChebyshevBasis) -> Float[np.ndarray, "point nuisance"]:
    """Return nuisance values at which polynomials are fitted: Chebyshev nodes, their product if it is not too large.

    Else a sequence that fills the space, as dense towards the ends as Chebyshev nodes are.
    """
    degree = max((max(row, default=0) for row in basis.exponents), default=0)
    active = len(basis.active)
    if (degree + NODES) ** active <= MOST_POINTS:
        return basis.nodes(degree + NODES)
    unit = np.full((max(MOST_POINTS, 3 * basis.terms), len(basis.exponents[0])), 0.5)
    unit[:, list(basis.active)] = qmc.Halton(active, scramble=False).random(len(unit) + 1)[1:]
    return np.asarray(basis.centre, np.float64) - np.asarray(basis.half, np.float64) * np.cos(np.pi * unit)


def calibrated(
    observable: RatioObservable,
    method: Method,
    problem: Problem,
    task: Task,
    draw: Draw,
    fold: int,
    most: int,
    seed: int,
) -> RatioObservable:
    """Return the ratios of `fold` with a map of the nominal ln r_k of every component added, not normalised again.

    The map is learnt on the validation events, on which no network descends: the components' at the nominal
    nuisance values and the reference's.

    Args:
        observable: normalised ratios.
        method: kind of map (`calibration_map`).
        problem: case and events.
        task: gives every component the same weight.
        draw: nuisance values of the reference.
        fold: the network.
        most: events to use at most.
        seed: of the draws.
    """
    index = problem.split.stopping(fold)[:most]
    key, nominal = named_key(seed, "classifier", fold), np.array([n.nominal for n in problem.case.nuisances])
    plain = observable.uncalibrated()
    rows = []
    for number, (chosen, events) in enumerate(problem.table.blocks(index, BLOCK)):
        found = _nominal_ratios(
            problem.case, plain, task, draw, events, jnp.asarray(nominal, jnp.float32), jnp.int32(fold),
            jax.random.fold_in(key, number),
        )  # fmt: skip
        rows.append([np.asarray(a)[..., : len(chosen)] for a in found])
    own, own_weight, other, other_weight = (np.concatenate(column, axis=-1) for column in zip(*rows, strict=True))
    folds, components, terms = observable.shift.shape
    made = observable.calibrator or fresh_calibrator(nominal, folds, components, terms)
    # The map is looked up before the normalisation, which is one number for all events at the nominal point.
    start = np.asarray(observable.shift[fold] @ observable.basis(made.nominal))
    for k in present(problem.table):
        held = own_weight[k] != 0
        at, offset = calibration_map((own[k, held], own_weight[k, held]), (other[k], other_weight), method)
        knots, offsets = stored(at - start[k], offset)
        made = dataclasses.replace(
            made,
            knots=made.knots.at[fold, k].set(jnp.asarray(knots, jnp.float32)),
            offsets=made.offsets.at[fold, k].set(jnp.asarray(offsets, jnp.float32)),
        )
    return dataclasses.replace(observable, calibrator=made)


@eqx.filter_jit
def _nominal_ratios(
    case: AbstractCase,
    observable: RatioObservable,
    task: Task,
    draw: Draw,
    events: Events,
    nominal: Float[Array, " nuisance"],
    fold: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Return nominal ln r_k and weights of a block: components' `[component, event]` twice, then the reference's."""
    z = jnp.broadcast_to(nominal, (events.weights.shape[0], nominal.shape[0]))
    there, (varied, _, share) = case.vary(events, z), drawn_events(case, draw, events, key)
    own, other = observable.log_ratios(there, z, fold), observable.log_ratios(varied, z, fold)
    return own.T, task.weights(there).T, other.T, share * jnp.sum(task.weights(varied), axis=1)


def shape_nuisances(problem: Problem) -> tuple[int, ...]:
    """Return the numbers of the nuisances that change events, not only yields."""
    return tuple(j for j, nuisance in enumerate(problem.case.nuisances) if nuisance.kind != "norm")


def reference_draw(problem: Problem) -> Draw:
    """Return the uniform draw over the training ranges, with normalisations at their nominal values."""
    use = shape_nuisances(problem)
    ends = [n.training if j in use else (n.nominal, n.nominal) for j, n in enumerate(problem.case.nuisances)]
    return draw_between([low for low, _ in ends], [high for _, high in ends])
