"""Results and plot data: what is written can be read, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import report_fixtures as invented
from systwise.atomic import write_atomically
from systwise.errors import ConfigError
from systwise.study.records._plotdata import FeatureDistribution, PlotData, ScoreTemplates
from systwise.study.records._record import plain
from systwise.study.records._results import Results, schema_text


def test_spread_over_seeds_is_mean_and_sample_deviation() -> None:
    records = [invented.measurement(seed=seed, sigma=sigma) for seed, sigma in ((1, 0.08), (2, 0.10), (3, 0.12))]
    (row,) = invented.results(measurements=records).summaries
    assert row.sigma.mean == pytest.approx(0.10, abs=1e-15)
    assert row.sigma.spread == pytest.approx(0.02, abs=1e-15)
    assert (row.seeds, row.converged, row.sigma.count) == (3, 3, 3)
    assert row.ratio_to_bound == pytest.approx(0.10 / invented.BOUND)
    assert row.ratio_to_best == pytest.approx(1.0)


def test_one_failed_training_takes_a_row_out_of_the_competition() -> None:
    records = [
        invented.measurement(strategy="nominal", seed=1, sigma=0.09),
        invented.measurement(strategy="nominal", seed=2, sigma=0.09),
        invented.measurement(strategy="augmented", seed=1, sigma=0.05),
        invented.measurement(strategy="augmented", seed=2, sigma=0.01, converged=False),
    ]
    nominal, augmented = invented.results(measurements=records).summaries
    assert nominal.competes
    assert not augmented.competes
    assert augmented.sigma.mean == 0.05
    assert nominal.ratio_to_best == pytest.approx(1.0)
    assert augmented.ratio_to_best == pytest.approx(0.05 / 0.09)


def test_yardsticks_and_second_conventions_do_not_compete() -> None:
    records = [
        invented.measurement(strategy="optimal", sigma=0.06),
        invented.measurement(strategy="aware", observable="moving", convention="poisson", sigma=0.08),
        invented.measurement(strategy="aware", observable="moving", convention="drop", sigma=0.07),
        invented.measurement(strategy="nominal", sigma=0.16),
    ]
    rows = invented.results(measurements=records).summaries
    assert [row.competes for row in rows] == [False, True, False, True]
    assert [row.ratio_to_best for row in rows] == pytest.approx([0.75, 1.0, 0.875, 2.0])


def test_best_is_taken_at_the_same_true_point_and_binning() -> None:
    records = [
        invented.measurement(strategy=strategy, sigma=sigma, binning=binning, true={"angle": angle, "mu": 1.0})
        for strategy, binning, angle, sigma in (
            ("nominal", "uniform", 0.8, 0.09),
            ("nominal", "optimised", 0.8, 0.07),
            ("nominal", "uniform", 1.6, 0.18),
            ("aware", "uniform", 1.6, 0.09),
        )
    ]
    rows = invented.results(measurements=records).summaries
    assert [row.ratio_to_best for row in rows] == pytest.approx([1, 1, 2, 1])


def test_optimised_anchored_and_unbinned_compete_with_each_other() -> None:
    records = [
        invented.measurement(sigma=0.09),
        invented.measurement(binning="optimised", sigma=0.08),
        invented.measurement(strategy="aware", observable="anchored", binning="joint", sigma=0.07),
        invented.measurement(strategy="ratio", observable="unbinned", binning="none", bins=0, sigma=0.06),
        invented.measurement(strategy="optimal", observable="unbinned", binning="none", bins=0, sigma=0.03),
    ]
    rows = invented.results(measurements=records).summaries
    assert [row.ratio_to_best for row in rows] == pytest.approx([1, 8 / 6, 7 / 6, 1, 0.5])
    assert [row.competes for row in rows] == [True, True, True, True, False]


def test_the_simulations_part_is_averaged_over_seeds() -> None:
    records = [invented.measurement(seed=seed, sigma_simulation=part) for seed, part in ((1, 0.02), (2, 0.04))]
    (row,) = invented.results(measurements=records).summaries
    assert row.sigma_simulation.mean == pytest.approx(0.03)
    (row,) = invented.results(measurements=[invented.measurement()]).summaries
    assert row.sigma_simulation.count == 0


def test_records_of_pseudo_experiments_come_back(tmp_path: Path) -> None:
    study = invented.with_toys(invented.every_observable(), None, count=50)
    study.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json").toys == study.toys


def test_a_check_of_ratios_comes_back_to_the_bit(tmp_path: Path) -> None:
    check = invented.ratio_check()
    PlotData(ratio_checks=(check,)).save(tmp_path / "plots.npz")
    (again,) = PlotData.load(tmp_path / "plots.npz").ratio_checks
    assert again.components == ("signal", "background")
    for name, value in vars(check).items():
        np.testing.assert_array_equal(value, getattr(again, name), err_msg=name)
    with pytest.raises(ConfigError, match=r"RatioCheck\.edges|RatioCheck\.observed"):
        dataclasses.replace(check, edges=np.linspace(0, 1, 20))


def test_shipped_schema_is_the_models_schema() -> None:
    shipped = resources.files("systwise.study").joinpath("results.schema.json").read_text()
    assert shipped == schema_text(), "write schema_text() to the file; a change that readers feel needs a new version"


def test_saved_results_follow_the_schema_and_come_back_equal(tmp_path: Path) -> None:
    study = invented.results(seeds=(1, 2))
    study.save(tmp_path / "deep" / "results.json")
    values = json.loads((tmp_path / "deep" / "results.json").read_text())
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(values)
    assert values["schema"] == "systwise/results/1"
    assert len(values["summaries"]) == 7 * 2 * 2
    again = Results.load(tmp_path / "deep" / "results.json")
    assert again == study
    assert again.summaries == study.summaries
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results.json"]


def test_numbers_that_are_not_finite_become_null_and_the_verdict_says_so(tmp_path: Path) -> None:
    record = invented.measurement(
        sigma=math.nan,
        sigma_up=math.inf,
        interval_95=(0.5, math.inf),
        nuisance_sigma={"angle": np.nan},
        verdict="at the edge",
    )
    assert record.sigma is None
    assert record.interval_95 == (0.5, None)
    assert record.verdict == "at the edge; not finite: sigma, sigma_up, interval_95, nuisance_sigma"
    study = invented.results(measurements=[record], settings={"deep": [{"x": np.float32(np.inf)}], "path": Path("a")})
    study.save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Results.load(tmp_path / "r.json").settings == {"deep": [{"x": None}], "path": "a"}
    assert study.summaries[0].sigma.count == 0


def test_plain_keeps_what_json_holds() -> None:
    tree = {"a": 1, "b": [True, None, "x"], "c": {"d": 0.5}}
    assert plain(tree) == tree
    assert plain({1: np.arange(2), "t": (np.int64(3), np.nan)}) == {"1": [0, 1], "t": [3, None]}


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_atomically(target, lambda file: file.write(b"old"))

    def interrupted(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, interrupted)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; point to the output directory of a finished run"),
        ("{broken", "cannot be read as JSON"),
        ("[]", "schema is None, this version reads 'systwise/results/1'"),
        ('{"schema": "systwise/results/9"}', "schema is 'systwise/results/9'"),
        ('{"schema": "systwise/results/1"}', "case: field required"),
    ],
)
def test_bad_results_give_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Results.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_in_a_measurement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    invented.results(strategies=("nominal",)).save(path)
    values = json.loads(path.read_text())
    values["measurements"][2]["sigmas"] = 1.0
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"measurements\.2\.sigmas"):
        Results.load(path)


def test_plot_data_come_back_to_the_bit(tmp_path: Path) -> None:
    study = invented.results(strategies=("nominal", "aware"))
    plots = invented.plots(study)
    plots.save(tmp_path / "plots.npz")
    again = PlotData.load(tmp_path / "plots.npz")
    assert again.components == plots.components
    for group in (
        "feature_distributions",
        "decision_functions",
        "likelihood_scans",
        "training_histories",
        "trade_offs",
    ):
        first, second = getattr(plots, group), getattr(again, group)
        assert len(first) == len(second) > 0
        for one, two in zip(first, second, strict=True):
            for name, value in vars(one).items():
                np.testing.assert_array_equal(value, getattr(two, name), err_msg=f"{group}.{name}")
    assert again.likelihood_scans[0].true == plots.likelihood_scans[0].true
    assert again.likelihood_scans[0].second_minimum is None
    assert again.training_histories[0].adversary is None


def test_empty_plot_data_come_back(tmp_path: Path) -> None:
    PlotData().save(tmp_path / "plots.npz")
    assert PlotData.load(tmp_path / "plots.npz") == PlotData()


def test_shapes_of_plot_records_are_checked() -> None:
    edges, anchors = np.linspace(0, 1, 5), np.arange(3.0)
    # Dimensions of the same name are the type checker's business in tests; edges against bins are not.
    good = ScoreTemplates("a", "uniform", "z", edges, anchors, np.ones((3, 2, 4), np.float32))
    assert good.counts.dtype == np.float64
    with pytest.raises(ConfigError, match=r"ScoreTemplates\.counts: shape \(3, 2, 5\) does not match 'edges' .* 'bin'"):
        ScoreTemplates("a", "uniform", "z", edges, anchors, np.ones((3, 2, 5)))
    with pytest.raises(ConfigError, match=r"FeatureDistribution\.counts: .* does not match 'edges' in dimension 'bin'"):
        FeatureDistribution("x", "x", edges, anchors, np.ones((3, 2, 5)))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_damaged_plot_data_give_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plots.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as plot data"):
        PlotData.load(path)


def test_missing_plot_data_and_other_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        PlotData.load(tmp_path / "plots.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(ConfigError, match="cannot be read as plot data"):
        PlotData.load(tmp_path / "other.npz")
    np.savez(tmp_path / "old.npz", manifest=np.frombuffer(b'{"format": "systwise/plots/0"}', np.uint8))
    with pytest.raises(ConfigError, match="use the version that wrote the file"):
        PlotData.load(tmp_path / "old.npz")
