"""Numbers, sentences and tables of the report."""

from __future__ import annotations

import doctest
import io
from pathlib import Path

import pytest
from rich.console import Console

import report_fixtures as invented
from systwise.report import caveats, headline, summary_table, toy_table
from systwise.report.figures import _style, events, ratios
from systwise.report.page import _html
from systwise.report.tables import _coverage, _rows
from systwise.report.tables._coverage import judged_toys
from systwise.report.tables._rows import entries, true_points
from systwise.report.text import _numbers
from systwise.report.text._glossary import GLOSSARY, glossary
from systwise.study.records._results import NuisanceRecord, Results


@pytest.mark.parametrize("module", [_numbers, _html, events, _style, _rows, _coverage, ratios])
def test_examples(module: object) -> None:
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [  # the examples of the Review of Particle Physics, Introduction 5.3
        (0.827, 0.119, "0.83 ± 0.12"),
        (0.827, 0.367, "0.8 ± 0.4"),
        (0.827, 0.967, "0.8 ± 1.0"),
        (1234.5, 0.0001, "1230"),
        (0.090186, 0.000013, "0.09019 ± 0.00001"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (-0.5, None, "-0.500"),
        (None, 0.1, "–"),
        (float("nan"), 0.1, "–"),
        (1.0, float("inf"), "1.00"),
    ],
)
def test_rounding(value: float | None, error: float | None, text: str) -> None:
    assert _numbers.with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.9996, "1.00"), (99.96, "100"), (1.23e-7, "1.23e-07"), (4.5e9, "4.50e+09"), (0.0, "0")]
)
def test_significant_digits(value: float, text: str) -> None:
    assert _numbers.significant(value) == text


def two(**changes: object) -> Results:
    """Return a study of a baseline and a moving strategy at one point."""
    records = [
        invented.measurement(strategy="nominal", sigma=0.10),
        invented.measurement(**{"strategy": "aware", "observable": "moving", "sigma": 0.07, **changes}),
    ]
    return invented.results(measurements=records, warnings=[])


def test_headline_names_the_best_and_what_it_beats() -> None:
    (sentence,) = headline(two())
    assert sentence == (
        "Smallest profiled σ(mu) at angle = 0.785 rad: 0.0700, aware with uniform binning (moving observable, "
        "convention poisson), 3.6 % above the Cramér–Rao bound of 0.0676; the baseline, nominal with uniform "
        "binning, reaches 0.100, 43 % above that."
    )


def test_headline_leaves_out_what_did_not_converge() -> None:
    study = two(converged=False, verdict="stopped at a saddle")
    (sentence,) = headline(study)
    assert sentence.startswith("Smallest profiled σ(mu) at angle = 0.785 rad: 0.100, nominal")
    assert any("0 of 1 fit converged" in text and "stopped at a saddle" in text for text in caveats(study))


def test_headline_names_strategies_within_the_spread() -> None:
    records = [
        invented.measurement(strategy=name, seed=seed, sigma=sigma)
        for name, sigmas in (("nominal", (0.099, 0.101)), ("augmented", (0.1, 0.102)), ("adversarial", (0.2, 0.2)))
        for seed, sigma in enumerate(sigmas)
    ]
    (sentence,) = headline(invented.results(measurements=records, seeds=[0, 1]))
    assert "augmented (uniform) lies within the spread over seeds" in sentence
    assert "adversarial" not in sentence


def test_headline_says_when_nothing_competes() -> None:
    (sentence,) = headline(invented.results(measurements=[invented.measurement(strategy="optimal")]))
    assert "nothing competes" in sentence


def test_headline_without_a_bound() -> None:
    for sentence in headline(invented.results(bound=None)):
        assert "bound" not in sentence


def test_caveats_tell_what_moves_and_what_is_too_good() -> None:
    words = caveats(two())
    assert any(text.startswith("† aware:") and "not the likelihood of one observable" in text for text in words)
    assert any("biases the estimate" in text for text in words)
    assert not any("biases the estimate" in text for text in caveats(two(convention="drop")))
    assert any("3.8 % below the bound" in text for text in caveats(two(bound=0.07277)))
    assert not any("below the bound" in text for text in words)
    assert any("no two-sided interval" in text for text in caveats(two(sigma=None, verdict="upper side missing")))
    assert "theory!" in caveats(invented.results(warnings=["theory!"]))


def test_labels_tell_conventions_and_observables_apart() -> None:
    records = [
        invented.measurement(strategy="aware", observable="moving", convention="poisson"),
        invented.measurement(strategy="aware", observable="moving", convention="drop"),
        invented.measurement(strategy="aware", observable="fixed"),
    ]
    labels = [entry.label for entry in entries(invented.results(measurements=records))]
    assert labels == ["aware†, poisson", "aware†, drop", "aware, fixed"]
    labels = [entry.label for entry in entries(invented.every_observable())]
    assert len(labels) == len(set(labels)) == 1 + 4 + 2 + 4 + 2
    assert {"aware, anchored", "ratio, unbinned", "optimal, unbinned"} <= set(labels)


def test_true_points_are_named_by_what_differs() -> None:
    nuisances = [NuisanceRecord(name="tes", nominal=1.0), NuisanceRecord(name="jes", nominal=1.0, unit="%")]
    records = [
        invented.measurement(true={"tes": tes, "jes": jes, "mu": mu})
        for tes, jes, mu in ((1.0, 1.0, 1.0), (1.1, 1.0, 1.0), (1.1, 1.0, 2.0))
    ]
    study = invented.results(measurements=records, nuisances=nuisances)
    labels = [point.label for point in true_points(study)]
    assert labels == ["tes = 1.00, mu = 1.00", "tes = 1.10, mu = 1.00", "tes = 1.10, mu = 2.00"]
    study = invented.results(measurements=records[:1], nuisances=nuisances)
    assert [p.label for p in true_points(study)] == ["tes = 1.00, jes = 1.00 %"]


def printed(study: Results, width: int, toys: bool = False) -> str:
    """Return a table as a terminal of `width` columns shows it."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(toy_table(study) if toys else summary_table(study))
    return stream.getvalue()


def test_terminal_table_fits_eighty_columns_and_holds_the_numbers() -> None:
    text = printed(invented.results(), 80)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    (row,) = [line for line in text.splitlines() if line.split()[:2] == ["nominal", "0.924"]]
    study = invented.results()
    (expected,) = [r for r in study.summaries if (r.strategy, r.binning, r.auc.mean) == ("nominal", "uniform", 0.924)]
    assert f"{expected.ratio_to_bound:.3f}" in row
    assert f"{expected.ratio_to_best:.3f}" in row
    assert "true_nuisance*" in text
    assert "aware†" in text
    assert "! not converged" not in text


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize("simulation", [0.02, 0.001])
def test_terminal_table_of_every_observable_fits_eighty_columns(seeds: tuple[int, ...], simulation: float) -> None:
    study = invented.every_observable(seeds, simulation)
    text = printed(study, 80)
    assert "…" not in text
    lines = [line.split() for line in text.splitlines() if line.strip()]
    names = [
        line[0].rstrip("†*,") for line in lines if line[0].rstrip("†*,") in {"nominal", "aware", "ratio", "optimal"}
    ]
    assert names == 2 * ["nominal", "aware", "aware", "ratio", "optimal", "optimal", "optimal"]
    assert ("sim." in text) == (simulation > 0.01)
    assert "best at angle = 1.57 rad: ratio, unbinned, 0.0678" in text
    assert "convention poisson; the others are in the report" in " ".join(text.split())
    (ratio,) = [row for row in study.summaries if row.strategy == "ratio" and row.true["angle"] == invented.NOMINAL]
    assert ratio.ratio_to_best == 1
    assert "mean ± spread" in text or len(seeds) == 1


def test_terminal_table_says_whether_sigma_holds_the_simulation() -> None:
    study = invented.every_observable()
    assert "not included in σ" in " ".join(printed(study, 80).split())
    included = study.model_copy(update={"settings": {"fit": {"simulation": "include"}}})
    text = " ".join(printed(included, 80).split())
    assert "included in σ" in text
    assert "not included in σ" not in text
    assert any(
        "adds 0.020 in quadrature" in sentence and "which holds it" in sentence for sentence in caveats(included)
    )


def test_unbinned_without_pseudo_experiments_is_doubted() -> None:
    study = invented.every_observable()
    words = "ratio and optimal: an unbinned likelihood of density ratios is as good as their calibration"
    assert any(text.startswith(words) for text in caveats(study))
    assert not any(text.startswith(words) for text in caveats(invented.with_toys(study, None)))


def test_coverage_is_judged_by_its_errors() -> None:
    study = invented.with_toys(invented.every_observable(), None)
    for row in judged_toys(study):
        halved = row.record.observable == "moving" and row.record.binning == "uniform"
        assert row.off == halved
        assert row.biased == (row.record.observable == "unbinned")
        assert row.off_two or not halved
    few = invented.with_toys(invented.every_observable(), None, count=20)
    # A bias of 0.33 is less than twice its error of 0.22.
    assert not any(row.biased for row in judged_toys(few) if abs(row.record.bias) < 0.44)


def test_headline_answers_with_coverage() -> None:
    study = invented.with_toys(invented.every_observable(), None)
    answers = headline(study)
    assert len(answers) == 2 + 2 + 1
    assert answers[2].startswith(
        "Do the intervals hold what they promise? At angle = 0.785 rad, ratio, unbinned: no, and"
    )
    assert "aware†, uniform at angle = 1.57 rad (68.27 % intervals hold" in answers[-1]
    assert "optimal" not in answers[-1]
    assert "simulation" not in answers[-1]  # nobody knows the simulation's part of an unbinned likelihood
    biased = study.toys[2].model_copy(update={"bias": 0.4, "rms": 0.09})
    few = study.model_copy(update={"toys": [biased]})
    assert "In 1 of them the bias is within twice what the limited simulation adds" in headline(few)[-1]
    assert "ratio, unbinned: yes, within the errors, though the estimate is biased;" in answers[3]
    fine = study.model_copy(update={"toys": [r for r in study.toys if r.strategy == "nominal"]})
    assert "ratio, unbinned has no pseudo-experiments" in headline(fine)[2]
    assert headline(fine)[-1] == (
        "Coverage and bias of all 4 sets of pseudo-experiments agree with what the intervals promise."
    )


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_toy_table_fits_eighty_columns_and_flags(seeds: tuple[int, ...]) -> None:
    study = invented.with_toys(invented.every_observable(seeds), None)
    text = printed(study, 80, toys=True)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    first = study.toys[0]
    row = next(line for line in text.splitlines() if line.startswith(" nominal, uniform"))
    assert f"{100 * first.coverage:.1f}±2.3" in row
    assert f"{first.half_width / invented.BOUND:.3f}" in row
    assert "!" not in row
    flagged = [line for line in text.splitlines() if line.startswith(" aware†, uniform")]
    assert len(flagged) == 2 * len(seeds)
    assert all(line.count("!") == 2 for line in flagged)
    assert ("#2" in text) == (len(seeds) > 1)


def test_toy_table_without_pseudo_experiments_says_so() -> None:
    assert "none were made" in printed(invented.results(), 80, toys=True)


def test_terminal_table_marks_failures_and_does_without_bound() -> None:
    records = [
        invented.measurement(strategy="nominal", bound=None),
        invented.measurement(strategy="augmented", bound=None, sigma=None, converged=False),
    ]
    text = printed(invented.results(measurements=records), 80)
    assert "bound" not in text
    assert "–!" in text
    assert "! not converged" in text


def test_seeds_are_averaged_in_the_terminal_table() -> None:
    records = [invented.measurement(seed=seed, sigma=sigma) for seed, sigma in ((1, 0.08), (2, 0.10), (3, 0.12))]
    text = printed(invented.results(measurements=records, seeds=[1, 2, 3]), 100)
    assert "0.100 ± 0.020" in text
    assert "mean ± spread of 3 trainings" in " ".join(text.split())


def test_words_that_are_used_are_explained_and_the_glossary_has_them_all() -> None:
    page = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text(encoding="utf-8").lower()
    assert [word for word in GLOSSARY if word.lower() not in page.replace("**", "")] == []
    used = dict(glossary(invented.every_observable()))
    assert {"true point", "moving", "anchored", "joint cells", "unbinned", "simulation"} <= set(used)
    assert not {"coverage", "blinded"} & set(used)
    assert not {"anchored", "joint cells", "unbinned"} & set(dict(glossary(invented.results())))
