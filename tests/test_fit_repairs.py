"""Results that were silently wrong once, each with its right value: brute force, an exact sum, or pyhf with iminuit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import xlogy
from scipy.stats import poisson

from systwise.errors import ConfigError, DataError, FitError
from systwise.fit import (
    Model,
    Toys,
    asimov,
    fit,
    fit_many,
    histfactory_data,
    histfactory_model,
    pseudo_data,
    upper_limit,
)
from systwise.parameters import CountsConstraint, GaussianConstraint, LogNormalConstraint, Nuisance, signal_strength

MU = {"name": "mu", "type": "normfactor", "data": None}


def histosys(hi: list[float], lo: list[float]) -> dict:
    return {"name": "coupled", "type": "histosys", "data": {"hi_data": hi, "lo_data": lo}}


def sample(name: str, data: list[float], *modifiers: dict) -> dict:
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def workspace(channels: dict[str, tuple[list[float], list[dict]]], low: float = 0.0) -> dict:
    parameters = [{"name": "mu", "bounds": [[low, 20]], "inits": [1.0]}]
    return {
        "channels": [{"name": name, "samples": samples} for name, (_, samples) in channels.items()],
        "observations": [{"name": name, "data": data} for name, (data, _) in channels.items()],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


def test_lowest_minimum_is_found_behind_five_nuisances_that_do_nothing() -> None:
    dummies = [{"name": f"n{j}", "type": "normsys", "data": {"hi": 1.0001, "lo": 0.9999}} for j in range(5)]
    spec = workspace(
        {
            "signal": (
                [170.0, 220.0],
                [
                    sample("s", [30.0, 35.0], *dummies, MU),
                    sample("b1", [100.0, 100.0], histosys([110.0, 110.0], [90.0, 90.0])),
                    sample("b2", [50.0, 120.0], histosys([55.0, 55.0], [45.0, 45.0])),
                ],
            ),
            "control": ([110.0, 105.0], [sample("b", [105.0, 100.0], histosys([110.0, 115.0], [95.0, 90.0]))]),
        }
    )
    model = histfactory_model(spec)
    result = fit(model, histfactory_data(spec, model), fixed={"mu": 1.0})
    assert result.nll == pytest.approx(14.51693, abs=1e-5)
    assert result.estimates["coupled"] == pytest.approx(-0.35893, abs=1e-4)
    assert result.second_minimum is not None
    assert "each nuisance alone" in result.searched
    assert ("searched", result.searched) in result.rows()


def test_order_of_nuisances_does_not_matter_where_one_fills_an_empty_bin() -> None:
    nuisances = [Nuisance(name, range=(-3, 3)) for name in "ab"]
    signal, background = np.array([[5.0, 5.0, 0.0]] * 3), np.array([[50.0, 20.0, 5.0]] * 3)
    filled = signal.copy()
    filled[2] = [5.0, 5.0, 40.0]
    empty, full = np.stack([signal, background], axis=1), np.stack([filled, background], axis=1)
    constraints = [GaussianConstraint(name, 1.0) for name in "ab"]
    results = []
    for own, templates in ((nuisances, [empty, full]), (nuisances[::-1], [full, empty])):
        model = Model.from_templates(signal_strength(), own, constraints, templates)
        assert model.templates({"b": 3.0})[0] == pytest.approx([5.0, 5.0, 40.0])
        results.append(fit(model, model.data([52, 22, 25])))
    assert results[0].estimate == pytest.approx(1.232102, abs=1e-6)
    assert results[1].estimate == pytest.approx(results[0].estimate, abs=1e-9)


def test_a_curve_through_rising_templates_rises() -> None:
    templates = np.array([[[0.01], [1.0]], [[1.0], [1.0]], [[100.0], [1.0]]])
    model = Model.from_templates(signal_strength(), [Nuisance("a", range=(-1, 1))], (), templates)
    values = np.array([model.templates([z])[0, 0] for z in np.linspace(-1, 1, 201)])
    assert np.all(np.diff(values) > 0)
    assert 0.01 < values[75] < 1.0


def counting(low: float, high: float, width: float = 0.1, signal: float = 50.0, background: float = 1000.0) -> Model:
    jes = Nuisance("jes", width=1)
    rows = [[[signal], [background * (1 + width * z)]] for z in jes.anchors]
    return Model.from_templates(signal_strength(low, high), [jes], [GaussianConstraint("jes", 1.0)], np.array(rows))


def test_a_nuisance_with_templates_at_one_width_reaches_five() -> None:
    jes = Nuisance("jes", width=1)
    assert (jes.range, jes.training, jes.anchors) == ((-5.0, 5.0), (-1.0, 1.0), (-1.0, 0.0, 1.0))
    model = counting(0.0, 20.0)
    found = upper_limit(model, asimov(model, 0.0, 0.0))
    # pyhf 0.7 with the same rate as normsys, code 1; with the range cut at one width it is 3.09.
    assert found.expected[2] == pytest.approx(3.95466, abs=2e-4)
    shifts = {"hi_data": [1100.0], "lo_data": [900.0]}
    spec = workspace(
        {
            "c": (
                [1000.0],
                [sample("s", [50.0], MU), sample("b", [1000.0], {"name": "a", "type": "histosys", "data": shifts})],
            )
        }
    )
    linear = histfactory_model(spec)
    assert upper_limit(linear, histfactory_data(spec, linear)).expected[2] == pytest.approx(4.11361, abs=2e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give a width"),
        ({"width": 0.0}, "width 0 must be positive"),
        ({"width": -1.0}, "width -1 must be positive"),
        ({"width": float("nan")}, "must be positive"),
        ({"range": (1.0, 2.0)}, "nominal 0 is outside its range"),
        ({"range": (-float("inf"), 2.0), "anchors": (-1.0, 1.0)}, "must be finite"),
    ],
)
def test_nuisances_that_do_not_hold_together_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=f"'jes'.*{words}"):
        Nuisance("jes", **settings)


def test_a_parameter_at_an_end_of_its_range_is_at_a_boundary() -> None:
    model = counting(-20.0, 20.0)
    result = fit(model, model.data([3000], auxiliary={"jes": 9.0}), fixed={"mu": 1.0})
    assert result.at_boundary == ("jes",)
    assert result.minimum_found
    assert not result.converged
    assert result.verdict.startswith("at a boundary: jes sits at an end of its range")
    below = counting(0.0, 20.0)
    result = fit(below, below.data([700], auxiliary={"jes": 0.0}))
    assert result.at_boundary == ("mu",)
    assert not result.converged
    assert upper_limit(below, below.data([700])).converged


def test_no_number_stands_beside_no_fit() -> None:
    model = Model.from_templates(signal_strength(-0.5, 10.0), (), (), np.array([[1.0], [0.5]]))
    result = fit(model, model.data([0]))
    assert not result.minimum_found
    assert "an expected count is driven to zero" in result.verdict
    assert result.rows()[0] == ("mu", "-")
    assert not any(character.isdigit() for label, text in result.rows() if label == "mu" for character in text)


@pytest.mark.parametrize(
    ("counts", "errors", "best", "interval"),
    [
        # pyhf 0.7 with iminuit 2: data 0 with a variance above the content, and one event
        ([0, 10, 20], [3.0, 3.0, 3.0], 0.85388, (0.29636, 1.42969)),
        ([1, 10, 20], [3.0, 3.0, 3.0], None, (None, 1.66381)),
    ],
)
def test_simulation_factors_are_not_negative(
    counts: list[int], errors: list[float], best: float | None, interval: tuple[float | None, float]
) -> None:
    stat = {"name": "st", "type": "staterror", "data": errors}
    rate = {"name": "a", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [sample("s", [1.0, 4.0, 8.0], MU), sample("b", [3.0, 6.0, 10.0], stat, rate)]
    spec = workspace({"c": (counts, samples)})
    model = histfactory_model(spec)
    result = fit(model, histfactory_data(spec, model))
    assert result.converged
    if best is not None:
        assert result.estimate == pytest.approx(best, abs=2e-5)
    for end, expected in zip(result.interval, interval, strict=True):
        if expected is not None:
            assert end == pytest.approx(expected, abs=2e-5)


def exact_coverage(mu: float, signal: float, background: float, low: float) -> float:
    """Return the coverage of likelihood-ratio intervals of a counting experiment, summed over all counts."""
    counts = np.arange(200)
    best = np.maximum((counts - background) / signal, low)

    def nll(value: np.ndarray | float) -> np.ndarray:
        nu = value * signal + background
        return nu - xlogy(counts, nu)

    return float(poisson.pmf(counts, mu * signal + background)[nll(mu) - nll(best) <= 0.5].sum())


@pytest.mark.parametrize(("background", "mu", "low"), [(0.5, 1.0, -2.0), (3.0, 0.6, 0.0)])
def test_coverage_of_counts_is_the_exact_one_failed_fits_included(background: float, mu: float, low: float) -> None:
    model = Model.from_templates(signal_strength(low, 40.0), (), (), np.array([[1.0], [background]]))
    numbers = range(4000)
    results = fit_many(model, pseudo_data(model, mu, (), 0, numbers), stat_only=False)
    summary = Toys.of(results, "counting", 0, {"mu": mu}, numbers).summary()
    exact = exact_coverage(mu, 1.0, background, max(low, -background))
    assert summary.coverage.value == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 4000))


def test_observed_data_are_one_line() -> None:
    nuisances = [Nuisance("jes", width=1), Nuisance("rate", nominal=1.0, width=0.1), Nuisance("free", width=1)]
    constraints = [
        GaussianConstraint("jes", 1.0),
        CountsConstraint("rate", lambda z: z * np.array([10.0, 20.0])),
    ]
    rows = np.array([[[5.0, 3.0], [50.0, 60.0]]] * 3)
    model = Model.from_templates(signal_strength(), nuisances, constraints, [rows] * 3)
    data = model.data([52, 61])
    assert [a.tolist() for a in data.auxiliary] == [[0.0], [10.0, 20.0], []]
    moved = model.data([[52, 61], [50, 60]], auxiliary={"jes": 0.5, "rate": [9, 21]})
    assert len(moved) == 2
    assert moved[1].auxiliary[1].tolist() == [9.0, 21.0]


@pytest.mark.parametrize(
    ("counts", "auxiliary", "words"),
    [
        ([52, 61, 3], None, "model of 2 bins"),
        ([52, -1], None, "bin 1 holds -1 events"),
        ([52, np.nan], None, "bin 1 holds nan events"),
        ([52, 61], {"jse": 0.1}, "no constraint on 'jse'"),
        ([52, 61], {"free": 0.1}, "no constraint on 'free'"),
        ([52, 61], {"jes": [0.1, 0.2]}, "'jes' needs 1 finite"),
        ([52, 61], {"jes": np.nan}, "'jes' needs 1 finite"),
    ],
)
def test_data_that_do_not_match_are_refused(counts: list[float], auxiliary: dict | None, words: str) -> None:
    nuisances = [Nuisance("jes", width=1), Nuisance("free", width=1)]
    rows = np.array([[[5.0, 3.0], [50.0, 60.0]]] * 3)
    model = Model.from_templates(signal_strength(), nuisances, [GaussianConstraint("jes", 1.0)], [rows] * 2)
    with pytest.raises(DataError, match=words):
        model.data(counts, auxiliary)


def test_counts_alone_are_no_data_of_a_moving_observable() -> None:
    rows = np.array([[[5.0, 3.0], [50.0, 60.0]]] * 3)
    constraint = LogNormalConstraint("rate", 1.1)
    model = Model.from_templates(
        signal_strength(), [Nuisance("rate", nominal=1.0, range=(0.5, 2.0))], [constraint], rows, moving=True
    )
    with pytest.raises(FitError, match="moves with the hypothesised nuisance"):
        model.data([52, 61])
