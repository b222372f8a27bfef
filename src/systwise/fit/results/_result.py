"""The result of a fit, with a verdict that a person can read."""

from __future__ import annotations

import dataclasses
import html

import numpy as np
from jaxtyping import Bool, Float64

from systwise.fit.results._printed import Ends, pair, plus_minus, rounded


@dataclasses.dataclass(frozen=True)
class SecondMinimum:
    """Another local minimum of the likelihood.

    Attributes:
        nuisances: its nuisance values.
        rise: NLL above the lowest minimum.
    """

    nuisances: dict[str, float]
    rise: float


@dataclasses.dataclass(frozen=True)
class FitResult:
    """One fit; numbers are Python floats, None where they do not exist.

    Attributes:
        poi: the parameter of interest whose intervals are given.
        estimates: best-fit value of every parameter.
        covariance: inverse Hessian over all parameters, `[parameter, parameter]` in the order of
            `estimates`; NaN for parameters held at an end of their range or without curvature.
        nll: NLL at the minimum, in the model's convention.
        interval: where the profiled NLL has risen by 0.5; None for an end that does not exist.
        interval_95: where it has risen by 2 (95.4 %).
        interval_stat_only: where it has risen by 0.5 with nuisances fixed at their best-fit values.
        gradient_norm: largest gradient component times its parameter's standard deviation.
        positive_hessian: the Hessian by all free parameters is positive definite.
        at_boundary: names of parameters at an end of their range.
        no_lower_anchor: no anchor, start or scanned point lies lower.
        second_minimum: another local minimum, if the search met one.
        minimum_found: gradient, Hessian and anchors agree that this is the minimum within the ranges.
        converged: and no parameter lies at an end of its range, so that the minimum is the likelihood's own.
        convention: which terms in the data's counts the NLL keeps.
        moving: the data's histogram depends on the hypothesised nuisances.
        on_grid: nuisances were chosen from a grid.
        searched: from where minimisations started.
        verdict: all of this in a sentence.
        pois: the parameters of interest.
        fixed: parameters that were held at a value.
    """

    poi: str
    estimates: dict[str, float]
    covariance: Float64[np.ndarray, "parameter parameter"]
    nll: float
    interval: Ends
    interval_95: Ends
    interval_stat_only: Ends
    gradient_norm: float
    positive_hessian: bool
    at_boundary: tuple[str, ...]
    no_lower_anchor: bool
    second_minimum: SecondMinimum | None
    minimum_found: bool
    converged: bool
    convention: str
    moving: bool
    on_grid: bool
    searched: str
    verdict: str
    pois: tuple[str, ...]
    fixed: tuple[str, ...] = ()

    @property
    def estimate(self) -> float:
        """Best-fit value of the parameter of interest."""
        return self.estimates[self.poi]

    @property
    def sigma(self) -> float | None:
        """Half of the interval, `(upper - lower) / 2`; None unless both ends exist."""
        return _half(self.interval)

    @property
    def sigma_down(self) -> float | None:
        """Distance from the estimate to the lower end."""
        return None if self.interval[0] is None else self.estimate - self.interval[0]

    @property
    def sigma_up(self) -> float | None:
        """Distance from the estimate to the upper end."""
        return None if self.interval[1] is None else self.interval[1] - self.estimate

    @property
    def sigma_stat_only(self) -> float | None:
        """Half of the interval with nuisances fixed at their best-fit values."""
        return _half(self.interval_stat_only)

    @property
    def nuisance_estimate(self) -> dict[str, float]:
        """Best-fit nuisances."""
        return {name: value for name, value in self.estimates.items() if name not in self.pois}

    @property
    def nuisance_sigma(self) -> dict[str, float | None]:
        """Standard deviations of the nuisances from the covariance; None where there is none."""
        deviations = dict(zip(self.estimates, np.sqrt(np.diag(self.covariance)), strict=True))
        return {name: _number(deviations[name]) for name in self.estimates if name not in self.pois}

    @property
    def correlation(self) -> Float64[np.ndarray, "parameter parameter"]:
        """Correlation coefficients, in the order of `estimates`; NaN where there is no covariance."""
        widths = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(widths, widths)

    def rows(self) -> list[tuple[str, str]]:
        """Return the table behind the printed form, as label and text."""
        if not self.minimum_found:
            # A number beside the verdict that it is none would be quoted.
            return [(self.poi, "-"), ("observable", self._kind), ("searched", self.searched), ("verdict", self.verdict)]
        rows = [(self.poi, f"{plus_minus(self.estimate, self.sigma_down, self.sigma_up)}")]
        rows.append(("  at delta NLL = 2", pair(self.interval_95)))
        if self.sigma_stat_only is not None:
            rows.append(("  statistics only", f"+- {rounded(self.sigma_stat_only)}"))
        deviations = np.sqrt(np.diag(self.covariance))
        for (name, value), deviation in zip(self.estimates.items(), deviations, strict=True):
            if name != self.poi:
                width = _number(deviation)
                text = f"{value:.6g}" if width is None else plus_minus(value, width, width)
                rows.append((name, f"{text} (fixed)" if name in self.fixed else text))
        if self.second_minimum is not None:
            where = ", ".join(f"{name} = {value:.4g}" for name, value in self.second_minimum.nuisances.items())
            rows.append(("second minimum", f"{where}, NLL higher by {self.second_minimum.rise:.3g}"))
        rows.append(("observable", self._kind))
        rows.append(("NLL", f"{self.nll:.4f}"))
        rows.append(("gradient", f"{self.gradient_norm:.1e} standard deviations"))
        rows.append(("Hessian positive", "yes" if self.positive_hessian else "NO"))
        rows.append(("at a boundary", ", ".join(self.at_boundary) or "no"))
        rows.append(("no lower anchor", "yes" if self.no_lower_anchor else "NO"))
        rows.append(("searched", self.searched))
        rows.append(("verdict", self.verdict))
        return rows

    @property
    def _kind(self) -> str:
        if self.convention == "unbinned":
            return "every event (unbinned)"
        if self.convention == "combined":
            return "several regions (combined)"
        return f"moving ({self.convention}; counts interpolated between anchors)" if self.moving else "fixed"

    def __str__(self) -> str:
        """Return the table as text."""
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)

    def _repr_html_(self) -> str:
        colour = "#2a7d2a" if self.converged else "#b02020"
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"
            for label, text in self.rows()
        )
        return f"<table style='border-left:4px solid {colour}'>{body}</table>"


@dataclasses.dataclass(frozen=True)
class FitResults:
    """Many fits as arrays with a leading axis of data sets; `results[i]` is one `FitResult`.

    Attributes:
        names: parameters, those of interest first.
        pois: parameters of interest.
        poi: the one whose intervals are given.
        ranges: the parameters' ranges.
        convention: which terms in the data's counts the NLL keeps.
        moving: the data's histogram depends on the hypothesised nuisances.
        on_grid: nuisances were chosen from a grid.
        values: best-fit values `[data, parameter]`.
        nll: NLL at the minimum.
        gradient: by all parameters.
        hessian: by all parameters.
        distance: estimated vertical distance to the minimum.
        positive: Hessian by the free parameters positive definite.
        done: Newton's method ended at a minimum.
        lowest: no anchor, start or scanned point lies lower.
        smallest_count: smallest expected count at the minimum.
        second_nuisances: the other local minimum.
        second_rise: NLL above the lowest minimum there.
        ends: lower and upper end at a rise of 0.5, then of 2; NaN where there is none.
        stat_ends: the first two with nuisances fixed.
        fixed: parameters held at a value.
        levels: rises at which `ends` were asked for.
        searched: from where minimisations started.
    """

    names: tuple[str, ...]
    pois: tuple[str, ...]
    poi: str
    ranges: tuple[tuple[float, float], ...]
    convention: str
    moving: bool
    on_grid: bool
    values: Float64[np.ndarray, "data parameter"]
    nll: Float64[np.ndarray, " data"]
    gradient: Float64[np.ndarray, "data parameter"]
    hessian: Float64[np.ndarray, "data parameter parameter"]
    distance: Float64[np.ndarray, " data"]
    positive: Bool[np.ndarray, " data"]
    done: Bool[np.ndarray, " data"]
    lowest: Bool[np.ndarray, " data"]
    smallest_count: Float64[np.ndarray, " data"]
    second_nuisances: Float64[np.ndarray, "data nuisance"]
    second_rise: Float64[np.ndarray, " data"]
    ends: Float64[np.ndarray, "data 4"]
    stat_ends: Float64[np.ndarray, "data 2"]
    fixed: tuple[str, ...] = ()
    levels: tuple[float, ...] = (0.5, 2.0)
    searched: str = ""

    def __len__(self) -> int:
        """Return the number of fits."""
        return len(self.nll)

    @property
    def estimate(self) -> Float64[np.ndarray, " data"]:
        """Best-fit values of the parameter of interest."""
        return self.values[:, self.names.index(self.poi)]

    @property
    def interval(self) -> Float64[np.ndarray, "data 2"]:
        """Where the profiled NLL has risen by 0.5; NaN for an end that does not exist."""
        return self.ends[:, :2]

    @property
    def sigma(self) -> Float64[np.ndarray, " data"]:
        """Half of the interval; NaN unless both ends exist."""
        return 0.5 * (self.ends[:, 1] - self.ends[:, 0])

    @property
    def sigma_stat_only(self) -> Float64[np.ndarray, " data"]:
        """Half of the interval with nuisances fixed at their best-fit values."""
        return 0.5 * (self.stat_ends[:, 1] - self.stat_ends[:, 0])

    @property
    def nuisances(self) -> Float64[np.ndarray, "data nuisance"]:
        """Best-fit nuisances."""
        return self.values[:, len(self.pois) :]

    @property
    def minimum_found(self) -> Bool[np.ndarray, " data"]:
        """Gradient, Hessian and anchors agree that this is the minimum within the ranges."""
        return self.done & self.positive & self.lowest & np.isfinite(self.nll)

    @property
    def at_end(self) -> Bool[np.ndarray, "data parameter"]:
        """Whether a free parameter lies at an end of its range."""
        held = np.array([name in self.fixed for name in self.names], dtype=bool)
        low, high = np.array(self.ranges, np.float64).reshape(-1, 2).T
        return at_ends(self.values, low, high) & ~held

    @property
    def converged(self) -> Bool[np.ndarray, " data"]:
        """The minimum was found, and within the ranges: one at an end of a range is the range's."""
        return self.minimum_found & ~self.at_end.any(axis=1)

    def __getitem__(self, index: int) -> FitResult:
        """Return one fit."""
        value = self.values[index]
        held = np.array([name in self.fixed for name in self.names], dtype=bool)
        at_end = self.at_end[index]
        bounded = at_end | held
        covariance = _covariance(self.hessian[index], bounded)
        at_boundary = tuple(name for name, flag in zip(self.names, at_end, strict=True) if flag)
        if not np.isfinite(self.nll[index]):
            value, covariance = np.full(value.shape, np.nan), np.full(covariance.shape, np.nan)
        deviation = np.sqrt(np.diag(covariance))
        free = ~bounded & np.isfinite(deviation)
        norm = float(np.max(np.abs(self.gradient[index])[free] * deviation[free], initial=0.0))
        converged = bool(self.converged[index])
        ends = [_number(end) for end in self.ends[index]]
        return FitResult(
            poi=self.poi,
            estimates={name: float(v) for name, v in zip(self.names, value, strict=True)},
            covariance=covariance,
            nll=float(self.nll[index]),
            interval=(ends[0], ends[1]),
            interval_95=(ends[2], ends[3]),
            interval_stat_only=(_number(self.stat_ends[index, 0]), _number(self.stat_ends[index, 1])),
            gradient_norm=norm,
            positive_hessian=bool(self.positive[index]),
            at_boundary=at_boundary,
            no_lower_anchor=bool(self.lowest[index]),
            second_minimum=self._second(index),
            minimum_found=bool(self.minimum_found[index]),
            converged=converged,
            convention=self.convention,
            moving=self.moving,
            on_grid=self.on_grid,
            searched=self.searched,
            verdict=self._verdict(index, at_boundary, ends),
            pois=self.pois,
            fixed=self.fixed,
        )

    def _second(self, index: int) -> SecondMinimum | None:
        rise, z = self.second_rise[index], self.second_nuisances[index]
        spans = np.array([high - low for low, high in self.ranges[len(self.pois) :]])
        distinct = np.any(np.abs(z - self.nuisances[index]) > 1e-4 * spans)
        if not np.isfinite(rise) or not distinct:
            return None
        names = self.names[len(self.pois) :]
        return SecondMinimum({name: float(v) for name, v in zip(names, z, strict=True)}, float(rise))

    def _flat(self, index: int) -> str:
        """Say along which parameter the likelihood bends least."""
        free = [j for j, name in enumerate(self.names) if name not in self.fixed]
        block = self.hessian[index][np.ix_(free, free)]
        if not np.all(np.isfinite(block)):
            return "it is not finite"
        span = np.array([self.ranges[j][1] - self.ranges[j][0] for j in free])
        values, vectors = np.linalg.eigh(block * np.outer(span, span))
        direction = np.abs(vectors[:, 0])
        order = np.argsort(-direction)
        names = [self.names[free[k]] for k in order]
        if values[0] < -1e-6 * np.abs(values[-1]):
            return f"a saddle, along {names[0]}: constrain or fix it, or look for a lower minimum"
        shared = int(np.sum(direction > 0.1 * direction.max()))
        if shared > 1:
            return f"{' and '.join(names[: min(shared, 4)])} are indistinguishable: fix one of them, or constrain it"
        return f"nothing constrains {names[0]}: constrain or fix it"

    def _verdict(self, index: int, at_boundary: tuple[str, ...], ends: list[float | None]) -> str:
        if not np.isfinite(self.nll[index]):
            return "no fit: nowhere in the parameters' ranges is every expected count positive"
        faults = []
        if not self.lowest[index]:
            faults.append("a start or scanned point lies lower than the minimum")
        if self.smallest_count[index] < 1e-6 and not (self.positive[index] and self.done[index]):
            faults.append("an expected count is driven to zero")
        elif not self.positive[index]:
            faults.append(f"the Hessian is not positive ({self._flat(index)})")
        elif not self.done[index]:
            faults.append(f"Newton's method stopped {self.distance[index]:.1g} above the minimum")
        notes = []
        low, high = self.ranges[self.names.index(self.poi)]
        for end, side, limit in ((ends[0], "lower", low), (ends[1], "upper", high)):
            if end is None and self.levels and self.poi not in self.fixed:
                notes.append(
                    f"no {side} end of the interval: the NLL does not rise by 0.5 before {self.poi} = {limit:g} "
                    "or before an expected count turns negative"
                )
        if self.on_grid:
            notes.append("nuisances were chosen from a grid, which is narrower or wider than a continuous profile")
        text = "NOT converged: " + "; ".join(faults) if faults else "converged"
        if at_boundary:
            verb = "sits at an end of its range" if len(at_boundary) == 1 else "sit at ends of their ranges"
            which = f"{', '.join(at_boundary)} {verb}"
            text = f"{text}; {which}" if faults else f"at a boundary: {which}; widen it or read the result as bounded"
        return "; ".join([text, *notes])


def _covariance(hessian: np.ndarray, bounded: np.ndarray) -> np.ndarray:
    """Return the inverse Hessian over unbounded parameters, NaN elsewhere or where it is not positive."""
    covariance = np.full(hessian.shape, np.nan)
    free = np.flatnonzero(~bounded)
    block = hessian[np.ix_(free, free)]
    if not len(free) or not np.all(np.isfinite(block)):
        return covariance
    # In units of its own diagonal, so that the smallest eigenvalue says whether rounding decides.
    widths = np.sqrt(np.abs(np.diag(block)))
    scaled = block / np.outer(widths, widths) if np.all(widths > 0) else block
    if np.all(widths > 0) and np.linalg.eigvalsh(scaled)[0] > 1e-14 * len(free):
        covariance[np.ix_(free, free)] = np.linalg.inv(scaled) / np.outer(widths, widths)
    return covariance


def at_ends(
    values: Float64[np.ndarray, "data parameter"],
    low: Float64[np.ndarray, " parameter"],
    high: Float64[np.ndarray, " parameter"],
) -> Bool[np.ndarray, "data parameter"]:
    """Return whether parameters lie at an end of their ranges."""
    return (values <= low) | (values >= high)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _half(ends: Ends) -> float | None:
    return None if ends[0] is None or ends[1] is None else 0.5 * (ends[1] - ends[0])
