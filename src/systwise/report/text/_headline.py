"""The answer in words: which strategy gives the smallest honest uncertainty, and what to doubt."""

from __future__ import annotations

from systwise.report.tables._coverage import coverage_answers
from systwise.report.tables._rows import TruePoint, competitors, entries, pois, true_points
from systwise.report.text._numbers import excess, significant, with_error
from systwise.report.text._words import SIMULATION_SHOWN, in_list, name_in_sentence, simulation_included, where
from systwise.study import Results, Summary

BASELINE = "nominal"
# Below the bound by more than this, a width says something about the templates, not about physics.
TOLERANCE = 0.99


def headline(results: Results) -> list[str]:
    """Return one paragraph a true point, the answer first, then what pseudo-experiments say of it."""
    answers = [_answer(results, point, poi) for poi in pois(results) for point in true_points(results)]
    return answers + coverage_answers(results)


def _answer(results: Results, point: TruePoint, poi: str) -> str:
    """Say who wins at one true point, by how much, and against what."""
    rows = competitors(results, point, poi)
    if not rows:
        return (
            f"At {point.label} nothing competes for the smallest σ({poi}): no row has an interval from a "
            "converged fit in every training, yardsticks aside."
        )
    best = rows[0]
    words = [
        f"Smallest profiled σ({poi}) at {point.label}: {with_error(best.sigma.mean, best.sigma.spread)}, "
        f"{name_in_sentence(best)}{_against_bound(best)}"
    ]
    rivals = [row for row in rows[1:] if (row.strategy, row.observable) != (best.strategy, best.observable)]
    equal = list(dict.fromkeys(in_list(results, row) for row in rivals if _indistinguishable(best, row)))
    if equal:
        reason = "the spread over seeds" if best.sigma.spread else "1 %, which one training cannot resolve"
        words.append(f"{_listed(equal)} {'lies' if len(equal) == 1 else 'lie'} within {reason}")
    baseline = next((row for row in rows if row.strategy == BASELINE), None)
    if baseline is not None and best.strategy != BASELINE and baseline.sigma.mean and best.sigma.mean:
        ratio = baseline.sigma.mean / best.sigma.mean
        reached = with_error(baseline.sigma.mean, baseline.sigma.spread)
        words.append(f"the baseline, {name_in_sentence(baseline)}, reaches {reached}, {excess(ratio)} that")
    if best.observable == "moving":
        valid = next((row for row in rows if row.observable != "moving"), None)
        if valid is not None and (valid.strategy, valid.observable) != (BASELINE, "fixed"):
            words.append(
                f"the best that is the likelihood of one observable is {name_in_sentence(valid)}, "
                f"{with_error(valid.sigma.mean, valid.sigma.spread)}"
            )
    return "; ".join(words) + "."


def _against_bound(row: Summary) -> str:
    if row.ratio_to_bound is None or row.bound is None:
        return ""
    return f", {excess(row.ratio_to_bound)} the Cramér–Rao bound of {significant(row.bound)}"


def _indistinguishable(best: Summary, row: Summary) -> bool:
    """Whether two means differ by less than their spread, or by 1 % where there is no spread."""
    if best.sigma.mean is None or row.sigma.mean is None:
        return False
    scale = ((best.sigma.spread or 0) ** 2 + (row.sigma.spread or 0) ** 2) ** 0.5
    return abs(row.sigma.mean - best.sigma.mean) <= (scale or 0.01 * best.sigma.mean)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def caveats(results: Results) -> list[str]:
    """Return what a reader must know before believing the table, the run's own warnings first."""
    found = list(results.warnings)
    failed = [row for row in results.summaries if row.converged < row.seeds]
    for row in failed[:8]:
        verdict = _verdict(results, row)
        found.append(
            f"{where(results, row)}, {_point(results, row)}: {row.converged} of {row.seeds} "
            f"{'fits' if row.seeds > 1 else 'fit'} converged; the row does not compete"
            + (f" ({verdict})" if verdict else "")
            + "."
        )
    if len(failed) > 8:
        found.append(f"{len(failed) - 8} further rows have fits that did not converge; see the table.")
    open_rows = [row for row in results.summaries if row.converged == row.seeds and row.sigma.count < row.seeds]
    for row in open_rows[:8]:
        found.append(
            f"{where(results, row)}, {_point(results, row)}: no two-sided interval; "
            f"the row does not compete{_because(_verdict(results, row))}."
        )
    for row in results.summaries:
        if row.ratio_to_bound is not None and row.ratio_to_bound < TOLERANCE:
            found.append(
                f"{where(results, row)}, {_point(results, row)}: σ({row.poi}) is "
                f"{excess(row.ratio_to_bound)} the bound, which no unbiased measurement can be; "
                "suspect the likelihood convention or the statistics of the templates."
            )
    moving = [entry for entry in entries(results) if entry.moving]
    if moving:
        names = _listed(list(dict.fromkeys(entry.strategy for entry in moving)))
        kept = sorted({entry.convention for entry in moving} - {"drop"})
        bias = f"; keeping terms in n ({', '.join(kept)}) biases the estimate" if kept else ""
        found.append(
            f"† {names}: the histogram of the data moves with the hypothesis, so this is not the likelihood of one "
            f"observable{bias}. Judge it together with the bias and coverage of pseudo-experiments."
        )
    unbinned = [row for row in results.summaries if row.observable == "unbinned"]
    if unbinned and not any(record.observable == "unbinned" for record in results.toys):
        names = _listed(list(dict.fromkeys(row.strategy for row in unbinned)))
        found.append(
            f"{names}: an unbinned likelihood of density ratios is as good as their calibration, and nothing in its "
            "width shows a bias. Judge it together with the bias and coverage of pseudo-experiments."
        )
    heaviest = max(
        (row for row in results.summaries if row.sigma.mean and row.sigma_simulation.mean and row.competes),
        key=lambda row: (row.sigma_simulation.mean or 0.0) / (row.sigma.mean or 1.0),
        default=None,
    )
    if heaviest is not None and (heaviest.sigma_simulation.mean or 0) > SIMULATION_SHOWN * (heaviest.sigma.mean or 1):
        included = "which holds it" if simulation_included(results) else "which does not hold it"
        found.append(
            f"The simulation is small: its statistical uncertainty adds "
            f"{significant(heaviest.sigma_simulation.mean, 2)} in quadrature to σ({heaviest.poi}) of "
            f"{in_list(results, heaviest)} at {_point(results, heaviest)}, {significant(heaviest.sigma.mean)}, "
            f"{included}; more simulation shrinks it, more data do not."
        )
    yardsticks = list(dict.fromkeys(entry.strategy for entry in entries(results) if entry.yardstick))
    if yardsticks:
        found.append(
            f"Yardsticks that do not compete, for they use what no measurement has (the true nuisance value or the "
            f"exact densities): {_listed(yardsticks)}."
        )
    if len(set(results.seeds)) == 1:
        found.append("One training a strategy: differences of about 1 % may be chance; --seeds 3 shows the spread.")
    return found


def _because(verdict: str) -> str:
    return f" ({verdict})" if verdict else ""


def _point(results: Results, row: Summary) -> str:
    return next((point.label for point in true_points(results) if point.same(row.true)), "")


def _verdict(results: Results, row: Summary) -> str:
    """Return the first verdict of a row's fits that failed."""
    for record in results.asimov:
        key = (record.strategy, record.observable, record.convention, record.binning, record.poi, record.true)
        own = (row.strategy, row.observable, row.convention, row.binning, row.poi, row.true)
        if key == own and (not record.converged or record.sigma is None):
            return record.verdict.rstrip(". ")
    return ""


def second_minima(results: Results) -> list[str]:
    """Return one sentence a strategy whose likelihood has another minimum."""
    found: dict[str, str] = {}
    for record in results.asimov:
        if record.second_minimum and record.strategy not in found:
            place = ", ".join(
                f"{name} = {significant(value)}" for name, value in record.second_minimum.items() if name != "delta_nll"
            )
            rise = record.second_minimum.get("delta_nll")
            height = f", ΔNLL = {significant(rise, 2)} above the best" if rise is not None else ""
            found[record.strategy] = f"{record.strategy}: a second minimum at {place}{height}."
    return list(found.values())
