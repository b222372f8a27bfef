"""Calibration of learned ratios: over the reference, their mean is 1 at every nuisance value."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from systwise.cases import AbstractCase
from systwise.events import Events
from systwise.learn._game import Draw, draw_between
from systwise.learn._ratio import RatioObservable
from systwise.learn._strategy import Problem
from systwise.learn._task import Task
from systwise.random import named_key

BLOCK = 8192
NODES = 4
"""Nodes along a nuisance beyond the degree of the polynomial."""


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
    count = events.weights.shape[0]
    varied = case.vary(events, draw(key, count))
    w = jnp.sum(task.weights(varied), axis=1)

    if observable.polynomial:
        log_ratio = jnp.einsum("ekt,mt->kme", observable.coefficients(varied, fold), observable.basis(points))
    else:
        rows = jax.lax.map(
            lambda p: observable.log_ratios(varied, jnp.broadcast_to(p, (count, p.shape[0])), fold), points
        )
        log_ratio = rows.transpose(2, 0, 1)
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
    """
    index = np.sort(np.concatenate([problem.split.stopping(fold), problem.split.training(fold)]))
    index = index[:: -(-len(index) // most)]
    degree = max(max(row, default=0) for row in observable.basis.exponents)
    points = observable.basis.nodes(degree + NODES)
    mean, error = reference_means(observable, problem, task, draw, index, fold, points, seed)
    polynomials = np.asarray(observable.basis(jnp.asarray(points, jnp.float32)), np.float64)
    shift = np.zeros(observable.shift.shape[1:])
    for k in range(len(mean)):
        weight = mean[k] / np.maximum(error[k], 1e-9 * mean[k])
        shift[k] = np.linalg.lstsq(polynomials * weight[:, None], -np.log(mean[k]) * weight, rcond=None)[0]
    return dataclasses.replace(observable, shift=observable.shift.at[fold].add(jnp.asarray(shift, jnp.float32)))


def shape_nuisances(problem: Problem) -> tuple[int, ...]:
    """Return the numbers of the nuisances that change events, not only yields."""
    return tuple(j for j, nuisance in enumerate(problem.case.nuisances) if nuisance.kind != "norm")


def reference_draw(problem: Problem) -> Draw:
    """Return the uniform draw over the training ranges, with normalisations at their nominal values."""
    use = shape_nuisances(problem)
    ends = [n.training if j in use else (n.nominal, n.nominal) for j, n in enumerate(problem.case.nuisances)]
    return draw_between([low for low, _ in ends], [high for _, high in ends])
