"""Goodness of fit: the likelihood ratio to the saturated model, whose expected counts are the observed ones."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from systwise.errors import FitError
from systwise.fit.hypothesis._hypothetical import check_calculator, hypothetical, parts, tail
from systwise.fit.inference._fit import fit_many
from systwise.fit.model._data import AbstractData
from systwise.fit.model._model import Model
from systwise.fit.results._printed import Printed, plain
from systwise.precision import in_float64

FEW = 5.0
"""Expected counts in a bin below which its deviance does not follow a chi-squared distribution."""


@dataclasses.dataclass(frozen=True)
class GoodnessOfFit(Printed):
    """How well the model describes the data.

    Attributes:
        statistic: twice the NLL above that of the saturated model.
        degrees: bins less parameters that no auxiliary observation constrains.
        p_asymptotic: probability of such a statistic or more by chi-squared; None without degrees of freedom.
        p_toys: the same by pseudo-experiments around the best fit; None where there were none.
        p_error: standard deviation of `p_toys`.
        converged: the fits can be believed.
        verdict: in a sentence.
    """

    statistic: float
    degrees: int
    p_asymptotic: float | None
    p_toys: float | None
    p_error: float | None
    converged: bool
    verdict: str

    @property
    def p_value(self) -> float | None:
        """By pseudo-experiments where there are some, else by chi-squared; None where the fit has failed."""
        if not self.converged:
            return None
        return self.p_asymptotic if self.p_toys is None else self.p_toys

    def cells(self) -> list[tuple[str, str]]:
        """Return the rows."""
        good = self.converged
        cells = [
            ("statistic", plain(self.statistic if good else None)),
            ("degrees of freedom", str(self.degrees)),
            ("p-value, asymptotic", plain(self.p_asymptotic if good else None, 4)),
        ]
        if self.p_toys is None or self.p_error is None or not good:
            cells.append(("p-value, toys", "untested"))
        else:
            cells.append(("p-value, toys", f"{self.p_toys:.3g} +- {self.p_error:.1g}"))
        return cells

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return ("goodness of fit", "saturated")


def goodness_of_fit(model: Model, data: AbstractData, *, toys: int = 0, seed: int = 0) -> GoodnessOfFit:
    """Compare the best fit with the model in which every expected count is the observed one.

    The statistic is `2 sum_b [nu - n + n ln(n/nu)]` and what the constraints add above their own minima (Baker and
    Cousins, Nucl. Instrum. Meth. 221 (1984) 437). Asymptotically it is chi-squared distributed with as many degrees
    of freedom as there are bins, less the parameters of interest and free nuisances: a constrained nuisance brings
    an observation of its own.

    Args:
        model: the model.
        data: one data set.
        toys: pseudo-experiments around the best fit, each fitted again; none: asymptotic only.
        seed: their seed.

    Raises:
        FitError: a stack of data sets, too few pseudo-experiments, or a moving observable with any.
    """
    if data.stacked:
        raise FitError(f"goodness_of_fit: {len(data)} stacked data sets given; take one with data[i]")
    if toys:
        check_calculator("goodness_of_fit", "toys", toys, data, model)
    bare = dataclasses.replace(model, convention="deviance")
    result = fit_many(bare, data, levels=(), stat_only=False)[0]
    observed = float(_saturated(bare, data.batch(), np.array([result.nll]))[0])
    constrained = {c.nuisance for c in model.constraints if c.observed}.union(*(c.nuisances for c in model.joint))
    free = len(model.components.pois) + sum(nuisance.name not in constrained for nuisance in model.nuisances)
    degrees = model.bins - free
    good = result.minimum_found
    notes = ["converged" if good else f"NOT converged: {result.verdict}"]
    p_asymptotic = float(chi2.sf(observed, degrees)) if degrees > 0 and good else None
    if degrees <= 0:
        notes.append(f"{model.bins} bins and {free} free parameters leave no degree of freedom")
    p_toys = p_error = None
    if toys and good:
        sets = hypothetical(bare, data, result.estimates, toys, seed)
        fits = fit_many(bare, sets.data, levels=(), stat_only=False)
        statistic = np.where(fits.minimum_found, _saturated(bare, sets.data, fits.nll), np.nan)
        p_toys, p_error = tail(sets, statistic, observed)
        failed = int(np.sum(np.isnan(statistic)))
        if failed:
            notes.append(f"{failed} of {len(statistic)} pseudo-experiments have no fit and count as worse")
    else:
        few = float(model.expected(*parts(model, result.estimates)).min()) if good else FEW
        if few < FEW:
            notes.append(f"a bin expects {few:.2g} events, too few for chi-squared: ask for toys")
    if model.moving:
        notes.append("the data's histogram moves with the nuisances: compared at their best-fit values")
    return GoodnessOfFit(observed, degrees, p_asymptotic, p_toys, p_error, good, "; ".join(notes))


def _saturated(model: Model, data: AbstractData, nll: Float64[np.ndarray, " data"]) -> Float64[np.ndarray, " data"]:
    """Return twice the NLL, in deviances, above what the constraints keep where each sits at its own minimum."""
    return np.asarray(2 * (nll - lowest_constraints(model, data)))


@in_float64
def lowest_constraints(model: Model, data: AbstractData) -> Float64[np.ndarray, " data"]:
    """Return the sum of the constraints' NLL, each at the nuisance value that its observation prefers, `[data]`."""
    total = np.zeros(len(data))
    for j, constraint in enumerate(model.constraints):
        if constraint.observed:
            total += constraint.lowest(data.auxiliary[j], model.nuisances[j].range)
    return total
