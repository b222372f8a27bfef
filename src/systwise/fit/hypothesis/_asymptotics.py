"""Test statistics for discovery and exclusion, and the significances that follow from their asymptotic forms.

Formulae of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727. What to use when: `q0` for a discovery and
`expected_significance` for its expectation; `q_mu_tilde` for one tested value; `cls` and `upper_limit`
(`_limits`) for exclusion. Below zero the estimate counts as zero, whatever the parameter's range allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import norm

from systwise.fit.hypothesis._hypothetical import Tail, check_calculator, conditional, doubt, hypothetical, tail
from systwise.fit.hypothesis._profile_ratio import not_below_zero, profile_ratio
from systwise.fit.inference._engine import poi_number
from systwise.fit.model._data import AbstractData, Values, asimov
from systwise.fit.model._model import Model
from systwise.fit.results._printed import Printed, plain

BANDS = (-2, -1, 0, 1, 2)
"""Standard deviations of the bands around an expected median."""


@dataclasses.dataclass(frozen=True)
class Discovery(Printed):
    """Test of the background-only hypothesis; arrays have a leading axis of data sets where they were stacked.

    Attributes:
        poi: name of the parameter of interest.
        q0: eq. 12: `2 (NLL(0) - NLL(estimate))`, zero for an estimate below zero.
        estimate: the estimate, not below zero.
        converged: the fits can be believed.
        tail: from data sets without signal, the probability of such a q0 or more; None: asymptotic.
        caution: why the asymptotic p-value cannot be trusted, empty where it can.
    """

    poi: str
    q0: Float64[np.ndarray, "*data"]
    estimate: Float64[np.ndarray, "*data"]
    converged: Bool[np.ndarray, "*data"]
    tail: Tail | None = None
    caution: str = ""

    @property
    def significance(self) -> Float64[np.ndarray, "*data"]:
        """`Z = sqrt(q0)`, eq. 53, or of the pseudo-experiments' p-value; infinite where none is as large."""
        return np.asarray(np.sqrt(self.q0) if self.tail is None else norm.isf(self.tail.p))

    @property
    def p_value(self) -> Float64[np.ndarray, "*data"]:
        """Probability of such a q0 or more without signal; by eq. 52 one half where there is no excess."""
        return np.asarray(norm.sf(np.sqrt(self.q0)) if self.tail is None else self.tail.p)

    @property
    def verdict(self) -> str:
        """Whether to believe it, in a sentence."""
        notes = [said(self.converged)]
        none = np.sum(np.asarray(self.q0) == 0)
        if none:
            notes.append("no excess" if np.ndim(self.q0) == 0 else f"{none} data sets without an excess")
        if self.tail is not None and self.tail.p == 0:
            notes.append(f"no pseudo-experiment has such an excess: p < {self.tail.error:.1g}; take more of them")
        if self.caution:
            notes.append(self.caution)
        return "; ".join(notes)

    def cells(self) -> list[tuple[str, str]]:
        """Return the rows."""
        if not np.any(self.converged):
            return [("significance", "-")]
        rows = (
            (f"{self.poi}, not below 0", self.estimate),
            ("q0", self.q0),
            ("significance", self.significance),
            ("p-value", self.p_value),
        )
        cells = [(name, spread(np.where(self.converged, values, np.nan))) for name, values in rows]
        if self.tail is not None and self.tail.error:
            cells[-1] = ("p-value", f"{self.tail.p:.3g} +- {self.tail.error:.1g}")
        return cells

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return ("discovery", "value")


def q0(
    model: Model,
    data: AbstractData,
    poi: int | str = 0,
    *,
    calculator: str = "asymptotic",
    toys: int = 10_000,
    seed: int = 0,
) -> Discovery:
    """Test the background-only hypothesis on one data set or a stack of them.

    Args:
        model: the model.
        data: one data set, or a stack with the asymptotic calculator.
        poi: number or name of the parameter of interest, whose value 0 means no signal.
        calculator: `asymptotic`, or `toys`: pseudo-experiments without signal, with the nuisances that the data
            prefer there, each fitted again; a counting experiment's outcomes are summed instead.
        toys: number of pseudo-experiments.
        seed: their seed.

    Raises:
        FitError: no such parameter, its range does not hold zero, or toys of what has none.
    """
    check_calculator("q0", calculator, toys, data, model)
    number = poi_number(model, poi)
    name = model.components.pois[number]
    ratio = profile_ratio(model, data.batch(), [0.0], number)
    first = (...,) if data.stacked else (0,)
    found, caution = None, ""
    if calculator == "toys":
        bounded = not_below_zero(model, number)
        sets = hypothetical(bounded, data, conditional(bounded, data, {name: 0.0}), toys, seed)
        without = profile_ratio(model, sets.data, [0.0], number)
        statistic = np.where(without.converged, without.twice_rise[:, 0], np.nan)
        found = tail(sets, statistic, float(ratio.twice_rise[0, 0]))
    elif not data.stacked and not model.moving:
        caution = doubt(model, name, 0.0)
    return Discovery(
        poi=name,
        q0=np.asarray(ratio.twice_rise[:, 0][first]),
        estimate=np.asarray(ratio.best[first]),
        converged=np.asarray(ratio.converged[first]),
        tail=found,
        caution=caution,
    )


def q_mu_tilde(
    model: Model, data: AbstractData, mu: float | Sequence[float] | np.ndarray, poi: int | str = 0
) -> Float64[np.ndarray, "*shape"]:
    """Return the statistic for upper limits, eq. 16, for one data set or a stack.

    With muhat the estimate: `2 (NLL(mu) - NLL(0))` for muhat < 0, `2 (NLL(mu) - NLL(muhat))` for
    0 <= muhat <= mu, and 0 above. NaN where a fit cannot be believed.

    Args:
        model: the model.
        data: one data set or a stack.
        mu: tested value, or several `[value]`.
        poi: number or name of the parameter of interest.

    Returns:
        `[data, value]`; without axes for one data set and for one value.

    Raises:
        FitError: no such parameter, or a tested value that is negative or outside its range.
    """
    ratio = profile_ratio(model, data.batch(), np.atleast_1d(mu), poi)
    q = np.where(ratio.converged[:, None], ratio.q_mu_tilde, np.nan)
    q = q if np.ndim(mu) else q[:, 0]
    return np.asarray(q if data.stacked else q[0])


@dataclasses.dataclass(frozen=True)
class ExpectedSignificance(Printed):
    """Discovery significance that an experiment may expect.

    Attributes:
        poi: name of the parameter of interest.
        value: its true value.
        median: `Z_A = sqrt(q0)` of the Asimov data.
        bands: at -2, -1, 0, 1, 2 standard deviations: `max(0, Z_A + N)`.
        converged: the fits can be believed.
        verdict: in a sentence.
    """

    poi: str
    value: float
    median: float
    bands: tuple[float, float, float, float, float]
    converged: bool
    verdict: str

    def cells(self) -> list[tuple[str, str]]:
        """Return the rows."""
        if not self.converged:
            return [("median", "-")]
        cells = [(f"{number:+d} sigma", plain(value)) for number, value in zip(BANDS, self.bands, strict=True)]
        cells[2] = ("median", plain(self.median))
        return cells

    def heads(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return ("expected significance", f"{self.poi} = {self.value:g}")


def expected_significance(
    model: Model, mu: float = 1.0, z: Values | None = None, poi: int | str = 0, data: AbstractData | None = None
) -> ExpectedSignificance:
    """Return the median discovery significance and its bands from one Asimov data set (section 4.2 of the paper).

    q0 of data with signal is the square of `(muhat / sigma)^2`, and muhat is normal around mu with sigma
    `mu / Z_A`, so that Z is normal around `Z_A` with unit width.

    Args:
        model: the model.
        mu: true value of the parameter of interest; others are nominal.
        z: true nuisances; nominal where None.
        poi: number or name of the parameter of interest.
        data: the Asimov data, where they cannot be read off the templates (moving observable); replaces `z`.

    Raises:
        FitError: no such parameter, or a range that does not hold zero.
    """
    number = poi_number(model, poi)
    name = model.components.pois[number]
    if data is None:
        data = asimov(model, {name: mu}, {} if z is None else z)
    test = q0(model, data, number)
    median = float(test.significance)
    bands = tuple(max(0.0, median + number) for number in BANDS)
    return ExpectedSignificance(name, mu, median, bands, bool(test.converged), test.verdict)  # type: ignore[arg-type]


def said(converged: Bool[np.ndarray, "*data"]) -> str:
    """Return the verdict on one fit or many."""
    flags = np.atleast_1d(converged)
    if flags.all():
        return "converged"
    return "NOT converged" if flags.size == 1 else f"NOT converged in {np.sum(~flags)} of {flags.size} data sets"


def spread(values: Float64[np.ndarray, "*data"]) -> str:
    """Return a number, or median and central 68 % of several."""
    if np.ndim(values) == 0:
        return plain(float(values))
    low, middle, high = np.nanpercentile(values, [15.87, 50, 84.13])
    return f"median {middle:.4g}, 68 % in [{low:.4g}, {high:.4g}]"
