"""Numbers, sentences and tables of the report."""

from __future__ import annotations

import doctest
import io

import pytest
from rich.console import Console

import report_fixtures as invented
from systwise.report import _events_figures, _html, _numbers, _style, caveats, headline, summary_table
from systwise.report._rows import entries, true_points
from systwise.study._results import NuisanceRecord, Results


@pytest.mark.parametrize("module", [_numbers, _html, _events_figures, _style])
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
    assert "augmented lies within the spread over seeds" in sentence
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


def printed(study: Results, width: int) -> str:
    """Return the table as a terminal of `width` columns shows it."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(summary_table(study))
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
