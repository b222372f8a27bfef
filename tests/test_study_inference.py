"""Pulls, impacts, limits, planes, correlations and joint grids as a study makes them and a report shows them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from systwise.errors import ConfigError
from systwise.parameters import CorrelatedGaussian, GaussianConstraint, LogNormalConstraint
from systwise.report import write_report
from systwise.study import PlotData, Results, resolve_settings, run_study
from systwise.study.config._correlations import correlated
from systwise.study.config._settings import CorrelationSettings

SMALL = {
    "case": {"benchmark": "B3", "events": 60_000},
    "strategies": ["nominal"],
    "training": {"passes": 1},
    "binning": {"names": ["optimised"], "optimised": 8},
    "true": [{}],
    "inference": {"plane": 9},
}
THREE = (GaussianConstraint("a", 0.5), GaussianConstraint("b", 2.0), LogNormalConstraint("c", 1.1))


def pair(a: str, b: str, value: float) -> CorrelationSettings:
    return CorrelationSettings(nuisances=(a, b), value=value)


def study(folder: Path, **fit: object) -> Results:
    tree = {**SMALL, "fit": {"observables": ["binned"], **fit}}
    if fit:
        tree["inference"] = {"points": "none"}
    settings = resolve_settings("inferno-mixture", overrides=tree)
    return run_study("inferno-mixture", settings, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inference")
    study(path)
    return path


@pytest.mark.slow
def test_the_uncertainty_is_taken_apart(folder: Path) -> None:
    results = Results.load(folder / "results.json")
    (measured,), (record,) = results.measurements, results.inferences
    assert (record.strategy, record.observable, record.binning, record.poi) == ("nominal", "fixed", "optimised", "s")
    assert record.total == pytest.approx(measured.sigma, rel=1e-6)
    assert record.total == pytest.approx(math.hypot(record.statistical, record.systematic), rel=1e-9)
    assert record.systematic == pytest.approx(math.sqrt(sum(v**2 for v in record.groups.values())), rel=1e-6)
    assert [row.size for row in record.impacts] == sorted((row.size for row in record.impacts), reverse=True)
    assert {row.nuisance for row in record.impacts} == {"r", "rate"}
    # Asimov data pull nothing; what they constrain is what the Hessian of the measurement says.
    for row in record.pulls:
        assert row.pull == pytest.approx(0.0, abs=1e-4)
        assert row.sigma == pytest.approx(measured.nuisance_sigma[row.nuisance], rel=1e-4)
        assert row.constraint == pytest.approx(row.sigma / row.width)
        assert 0 < row.constraint <= 1 + 1e-6
    everything = next(row for row in record.split if row.held == "everything")
    assert everything.half == pytest.approx(measured.sigma_stat_only, rel=1e-4)
    assert everything.half < record.statistical < record.total
    assert record.referee is True
    assert all("NOT" not in verdict for verdict in record.verdicts.values())


@pytest.mark.slow
def test_significance_and_limit_follow_from_the_same_likelihood(folder: Path) -> None:
    (record,) = Results.load(folder / "results.json").inferences
    # Asymptotics: without signal the median limit is about 1.64 to 2 sigma, the observed one lies a signal above.
    assert record.limit_level == 0.95
    assert 1.4 * record.total < record.limit_expected[2] < 2.3 * record.total
    assert record.limit_expected == sorted(record.limit_expected)
    assert record.limit > record.limit_expected[2]
    assert record.significance_bands[2] == record.significance
    assert np.diff(record.significance_bands)[2:] == pytest.approx([1.0, 1.0])
    assert record.significance == pytest.approx(50 / record.total, rel=0.35)


@pytest.mark.slow
def test_planes_are_profiled_and_drawn(folder: Path) -> None:
    plots = PlotData.load(folder / "plots.npz")
    assert [scan.names for scan in plots.plane_scans] == [("s", "r"), ("s", "rate")]
    for scan in plots.plane_scans:
        assert scan.rise.shape == (9, 9)
        middle = scan.rise[4, 4]
        assert middle == pytest.approx(scan.rise.min(), abs=1e-3)
        assert scan.rise[0, 0] > 1
        assert "NOT" not in scan.verdict
    page = write_report(folder).read_text()
    assert "What makes up the uncertainty" in page
    assert 'id="impacts"' in page
    assert 'id="planes"' in page
    assert "agrees" in page


@pytest.mark.slow
def test_correlations_and_joint_grids_reach_the_fit(folder: Path, tmp_path: Path) -> None:
    plain = Results.load(folder / "results.json").measurements[0]
    together = study(
        tmp_path / "correlated", correlations=[{"nuisances": ["r", "rate"], "value": 0.9}], morph="factorised"
    ).measurements[0]
    assert together.converged
    # The data constrain both far better than the correlated prior does, which changes them a little.
    for name in ("r", "rate"):
        assert abs(together.nuisance_sigma[name] / plain.nuisance_sigma[name] - 1) > 1e-5
    assert together.sigma != plain.sigma
    grid = study(tmp_path / "joint", morph="joint").measurements[0]
    assert grid.converged
    # Effects of small shifts factorise: both morphs agree where Asimov data lie.
    assert grid.estimate == pytest.approx(50.0, abs=0.05)
    assert grid.sigma == pytest.approx(plain.sigma, rel=0.1)
    assert grid.sigma != plain.sigma


def test_correlated_constraints_are_joined() -> None:
    joined = correlated(THREE, [pair("a", "b", 0.5)])
    assert joined[0] == THREE[2]
    assert isinstance(joined[1], CorrelatedGaussian)
    assert joined[1].nuisances == ("a", "b")
    np.testing.assert_allclose(joined[1].covariance, [[0.25, 0.5], [0.5, 4.0]])
    assert correlated(THREE, []) == THREE


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([pair("a", "bb", 0.5)], "no nuisance 'bb', did you mean 'b'"),
        ([pair("a", "c", 0.5)], "'c' is no plain Gaussian"),
        ([pair("a", "a", 0.5)], "each pair of two nuisances once"),
        ([pair("a", "b", 0.5), pair("b", "a", 0.1)], "each pair of two nuisances once"),
    ],
)
def test_impossible_correlations_are_refused(entries: list[CorrelationSettings], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        correlated(THREE, entries)


def test_contradicting_correlations_are_refused() -> None:
    four = (*THREE[:2], GaussianConstraint("d", 1.0))
    with pytest.raises(ConfigError, match="not positive definite"):
        correlated(four, [pair("a", "b", 0.9), pair("b", "d", 0.9), pair("a", "d", -0.9)])
