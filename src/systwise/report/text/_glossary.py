"""The words of a report in plain terms; docs/glossary.md has them all."""

from __future__ import annotations

from systwise.study import Results

GLOSSARY = {
    "true point": "values of the parameters of interest and of the nuisances from which a data set is made; a fit "
    "does not know them",
    "profiled": "with every other parameter at its best fit for each value of the parameter of interest",
    "Asimov data": "expected data of a true point, without fluctuations: an unbiased fit finds exactly what was put in",
    "fixed": "an observable that is one function of the event, whatever nuisances a fit assumes",
    "moving": "a score that is told the nuisances and so changes with the hypothesis of the fit, its histogram of "
    "the data too; its likelihood is not that of one observable, and it may be biased",
    "anchored": "the same score at a few fixed hypotheses, taken together as one fixed observable: an ordinary "
    "likelihood, which can be exported",
    "joint cells": "the bins of an anchored observable, in the space of its scores at all anchors",
    "unbinned": "a likelihood of density ratios of single events, as good as the calibration of the ratios",
    "yardstick": "a strategy that knows what no analysis does (the true nuisances, the true likelihood): what is "
    "left to gain",
    "bound": "the smallest uncertainty that any observable can have (Cramer-Rao), where the likelihood is known",
    "simulation": "what the limited number of simulated events adds to the uncertainty, in quadrature",
    "pull": "(estimate - centre) / width of a nuisance's constraint; of pseudo-experiments: (estimate - true) / sigma",
    "impact": "how far the parameter of interest moves with the auxiliary observation of a nuisance by one standard "
    "deviation",
    "coverage": "the part of repeated experiments whose interval holds the true value; an interval is honest if that "
    "is what it promises, 68 or 95 %",
    "blinded": "the data of signal regions, which nothing reads before systwise unblind",
}
"""Words and what they mean."""


def glossary(results: Results) -> list[tuple[str, str]]:
    """Return the words that a report of these results uses."""
    observables = {record.observable for record in results.measurements}
    used = {
        "moving": "moving" in observables,
        "anchored": "anchored" in observables,
        "joint cells": "anchored" in observables,
        "unbinned": "unbinned" in observables,
        "yardstick": any(record.strategy in results.yardsticks for record in results.measurements),
        "bound": any(record.bound for record in results.measurements),
        "simulation": any(record.sigma_simulation for record in results.measurements),
        "pull": bool(results.inferences or results.toys),
        "impact": bool(results.inferences),
        "coverage": bool(results.toys),
        "blinded": any(kind == "signal" for kind in _kinds(results)),
    }
    return [(word, text) for word, text in GLOSSARY.items() if used.get(word, True)]


def _kinds(results: Results) -> list[str]:
    """Return the kinds of the regions of an analysis with data; none of a built-in case."""
    case = results.settings.get("case", {})
    data = any(sample.get("Data") for sample in case.get("Samples", ()))
    return [region.get("Kind", "signal") for region in case.get("Regions", ())] if data else []
