"""Which leaves share a cell: clustering that loses little of the profiled information.

Joining leaves whose relative slopes `r = g / nu` differ takes
`sum nu (r - mean) (r - mean)^T` from the information, and `C [...] C` is added to the covariance C. With
`y = C r` in units of its standard deviations the loss is the within-cluster scatter of y: weighted
k-means.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from systwise.errors import TemplateError
from systwise.parameters import Components
from systwise.templates._expectation import effective_counts
from systwise.templates.joint._information import LeafInformation

NUISANCE_WEIGHT = 0.05
"""What a relative loss of variance of a nuisance counts beside that of the parameter of interest: little,
but without it cells could stop telling distant nuisance values apart."""


def cluster_leaves(
    problem: LeafInformation, bins: int, poi: int, seed: np.random.Generator, rounds: int = 3, sweeps: int = 30
) -> np.ndarray:
    """Return the cell `[leaf]` of each leaf, at most `bins` cells numbered without gaps.

    Args:
        problem: slopes and expected counts in leaves.
        bins: how many cells.
        poi: position of the parameter whose uncertainty counts; the others are profiled.
        seed: generator for the first centres.
        rounds: how often the covariance is updated to that of the cells found.
        sweeps: iterations of k-means a round.
    """
    covariance = problem.covariance()
    y = _coordinates(problem, covariance, poi)
    centres = _first_centres(problem.expected, y, bins, seed)
    for _ in range(rounds):
        cells = _kmeans(problem.expected, y, centres, sweeps)
        covariance = problem.grouped(cells, int(cells.max()) + 1).covariance()
        y = _coordinates(problem, covariance, poi)
        centres = _centres(problem.expected, y, cells)
    return cells


def fill_cells(
    problem: LeafInformation,
    sums: Float64[np.ndarray, "pair component leaf"],
    squares: Float64[np.ndarray, "pair component leaf"],
    components: Components,
    minimum: float,
    poi: int,
) -> np.ndarray:
    """Return the cell `[leaf]` of each leaf, so that every cell holds enough simulated events.

    The poorest cell joins the one with which it costs least information, until none is poor.

    Args:
        problem: slopes and expected counts in leaves.
        sums: sums of weights in leaves.
        squares: the same of squared weights.
        components: which sums must be positive.
        minimum: effective events, of the background and of the total, at every pair.
        poi: position of the parameter whose uncertainty counts.

    Raises:
        TemplateError: all leaves together do not hold enough.
    """
    nu = problem.expected.copy()
    mean = _coordinates(problem, problem.covariance(), poi)
    sums, squares = sums.copy(), squares.copy()
    counts = effective_counts(sums, squares, components).min(axis=0)
    cells, alive = np.arange(nu.shape[1]), np.ones(nu.shape[1], bool)
    while True:
        poorest = int(np.argmin(np.where(alive, counts, np.inf)))
        if counts[poorest] >= minimum:
            return np.unique(cells, return_inverse=True)[1]
        if alive.sum() == 1:
            raise TemplateError(
                f"binning: all cells together have {counts[poorest]:.3g} effective events at some point, fewer than "
                f"{minimum:g}; use more events or narrow the nuisances' range"
            )
        harmonic = nu * nu[:, [poorest]] / (nu + nu[:, [poorest]])
        cost = np.einsum("el,elp->l", harmonic, (mean - mean[:, [poorest]]) ** 2)
        cost[~alive | (np.arange(len(cost)) == poorest)] = np.inf
        partner = int(np.argmin(cost))
        for array in (sums, squares):
            array[..., partner] += array[..., poorest]
        share = (nu[:, poorest] / (nu[:, poorest] + nu[:, partner]))[:, None]
        mean[:, partner] += share * (mean[:, poorest] - mean[:, partner])
        nu[:, partner] += nu[:, poorest]
        counts[partner] = effective_counts(sums[..., [partner]], squares[..., [partner]], components).min()
        alive[poorest] = False
        cells[cells == poorest] = partner


def _coordinates(problem: LeafInformation, covariance: np.ndarray, poi: int) -> np.ndarray:
    """Return y `[point, leaf, parameter]`."""
    relative = problem.slopes / problem.expected[..., None]
    turned = np.einsum("eij,elj->eli", covariance, relative)
    importance = np.full(covariance.shape[-1], NUISANCE_WEIGHT)
    importance[poi] = 1.0
    return turned * np.sqrt(importance / np.einsum("eii->ei", covariance))[:, None]


def _distances(expected: np.ndarray, y: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return `[leaf, cell]`, `sum_e nu_e |y_e - m_e|^2` up to what does not depend on the cell."""
    weighted = y * expected[..., None]
    points, leaves, parameters = y.shape
    first = weighted.transpose(1, 0, 2).reshape(leaves, -1) @ centres.transpose(0, 2, 1).reshape(
        points * parameters, -1
    )
    return expected.T @ np.sum(centres**2, axis=-1) - 2 * first


def _centres(expected: np.ndarray, y: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the weighted means `[point, cell, parameter]`."""
    member = np.eye(int(cells.max()) + 1)[cells]
    total = np.einsum("elp,lb->ebp", y * expected[..., None], member, optimize=True)
    return total / (expected @ member)[..., None]


def _kmeans(expected: np.ndarray, y: np.ndarray, centres: np.ndarray, sweeps: int) -> np.ndarray:
    """Return the cell `[leaf]` of each leaf after at most `sweeps` iterations; cells without leaves vanish."""
    cells = np.full(y.shape[1], -1)
    for _ in range(sweeps):
        before = cells
        _, cells = np.unique(np.argmin(_distances(expected, y, centres), axis=1), return_inverse=True)
        if np.array_equal(before, cells):
            break
        centres = _centres(expected, y, cells)
    return cells


def _first_centres(expected: np.ndarray, y: np.ndarray, bins: int, seed: np.random.Generator) -> np.ndarray:
    """Return `[point, cell, parameter]`: leaves drawn with a chance that grows with their distance (k-means++)."""
    size = np.sum(expected[..., None] * y**2, axis=(0, 2))
    chosen = [int(np.argmax(size))]
    nearest = np.full(y.shape[1], np.inf)
    while len(chosen) < min(bins, y.shape[1]):
        last = y[:, chosen[-1]][:, None]
        nearest = np.minimum(nearest, np.sum(expected[..., None] * (y - last) ** 2, axis=(0, 2)))
        total = nearest.sum()
        if not total > 0:
            break
        chosen.append(int(seed.choice(len(nearest), p=nearest / total)))
    return y[:, chosen]
