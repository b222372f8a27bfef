"""Unbinned fits of any log-ratio function: polynomials over the whole range, then around the minimum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from systwise.errors import FitError
from systwise.fit.inference._fit import fit
from systwise.fit.model._unbinned_model import UnbinnedData, UnbinnedModel
from systwise.fit.results._result import FitResult
from systwise.parameters import ChebyshevBasis, chebyshev_basis
from systwise.precision import in_float64

LogRatios = Callable[[Float[np.ndarray, " nuisance"]], Float[np.ndarray, "event component"]]

WIDE, LOCAL = 8, 4
"""Total degree of the table over the whole range, and of those around a minimum."""
REACH = 6.0
"""Half-width of a local table in standard deviations: the ends at a rise of 2 lie within."""
ROUNDS = 6
TOGETHER = 16
"""Nodes held in memory at a time."""


@in_float64
def tabulate(log_ratios: LogRatios, basis: ChebyshevBasis) -> tuple[Float[np.ndarray, "event component term"], float]:
    """Return the least-squares coefficients of a function on Chebyshev nodes, and their accuracy.

    Args:
        log_ratios: maps nuisance values `[nuisance]` to ln r `[event, component]`.
        basis: the polynomials.

    Returns:
        coefficients, and the largest root-mean-square error at points between the nodes.
    """
    degree = max(max(row, default=0) for row in basis.exponents)
    nodes = basis.nodes(degree + 1)
    values = np.asarray(basis(jnp.asarray(nodes)))
    weights = np.linalg.pinv(values)
    total: np.ndarray | None = None
    for begin in range(0, len(nodes), TOGETHER):
        some = slice(begin, begin + TOGETHER)
        table = np.stack([np.asarray(log_ratios(node), np.float64) for node in nodes[some]], axis=-1)
        part = table @ weights[:, some].T
        total = part if total is None else total + part
    if total is None:
        raise FitError("tabulate: the basis has no terms")
    worst = 0.0
    for unit in (-0.83, 0.37, 0.91):
        point = np.asarray(basis.centre) + unit * np.asarray(basis.half)
        point = np.where(np.isin(np.arange(len(point)), basis.active), point, np.asarray(basis.centre))
        error = total @ np.asarray(basis(jnp.asarray(point))) - np.asarray(log_ratios(point), np.float64)
        # What all components share at an event drops out of the likelihood.
        error = error - error.mean(axis=1, keepdims=True)
        worst = max(worst, float(np.sqrt(np.mean(error**2))))
    return total, worst


def fit_log_ratios(
    model: UnbinnedModel,
    log_ratios: LogRatios,
    weights: Float[np.ndarray, " event"],
    auxiliary: Sequence[np.ndarray],
    poi: int = 0,
) -> FitResult:
    """Fit one data set whose log-ratios are any smooth function of the nuisances.

    The function is tabulated over the whole range first, then around the minimum found, until the
    minimum and both interval ends stay inside a table that is a few standard deviations wide.

    Args:
        model: yields and constraints.
        log_ratios: maps nuisance values `[nuisance]` to ln r `[event, component]` of the data's events.
        weights: `[event]`.
        auxiliary: one array a constraint.
        poi: number of the parameter of interest whose intervals are wanted.

    Raises:
        DataError: the data do not match the model.
        FitError: the minimum does not settle inside a table.
    """
    ranges = [nuisance.range for nuisance in model.nuisances]
    basis = chebyshev_basis(ranges, WIDE, model.shape)
    for _ in range(ROUNDS):
        coefficients, _ = tabulate(log_ratios, basis)
        result = fit(model, UnbinnedData(coefficients, basis, weights, tuple(auxiliary)), poi)
        centre = np.array([result.nuisance_estimate[n.name] for n in model.nuisances])
        widths = [result.nuisance_sigma[n.name] for n in model.nuisances]
        half = np.array(
            [
                min(REACH * (w or 0.1 * (high - low)), 0.5 * (high - low))
                for w, (low, high) in zip(widths, ranges, strict=True)
            ]
        )
        if not len(model.shape):
            return result
        inside = np.abs(centre - basis.centre) <= 0.5 * half
        if np.all((inside & (np.asarray(basis.half) <= 1.5 * half))[list(model.shape)]):
            return result
        low, high = np.array(ranges).T
        # A table that would reach beyond the range is moved inside.
        middle = np.clip(centre, low + half, high - half)
        local = chebyshev_basis([(m - h, m + h) for m, h in zip(middle, half, strict=True)], LOCAL, model.shape)
        basis = local
    raise FitError(
        f"unbinned fit: the minimum did not settle within {ROUNDS} tables; the log-ratios jump or the nuisances are "
        "not constrained, so narrow their ranges"
    )
