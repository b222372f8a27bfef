"""Pseudo-experiments of a study: parts, resumed runs and merged ones are the same as one run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from report_fixtures import results as made_results
from report_fixtures import with_toys
from systwise.cases import no_progress
from systwise.cli import app
from systwise.errors import ConfigError, FitError
from systwise.fit import Model, Toys
from systwise.study import Results, make_plan, merge_studies, resolve_settings, run_study, write_example
from systwise.study.measure._measurement import Fitted  # what merging compares is no public name
from systwise.study.run._toy_records import identity

SMALL = {
    "case": {"events": 24_000, "anchors": 7},
    "strategies": ["nominal", "ratio"],
    "binning": {"names": ["uniform"]},
    "training": {"passes": 2, "minimum_steps": 256, "batch": 256},
    "network": {"layers": 1, "width": 16},
    "strategy": {"ratio": {"degree": 3, "contrasts": 4, "calibration_events": 4000}},
    "fit": {"conventions": ["drop"]},
    "true": [{"angle": 1.0}],
    "inference": {"points": "none"},
}


def run(path: Path, count: int, first: int = 0, **changes: object) -> Results:
    settings = resolve_settings(
        "gaussian-toy", overrides=SMALL | {"toys": {"count": count, "first": first, "moving": 3}} | changes
    )
    resume = bool(path.exists())
    return run_study("gaussian-toy", settings, path, resume=resume)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    path = tmp_path_factory.mktemp("toys") / "whole"
    return path, run(path, 6)


def rows(path: Path, results: Results) -> dict[str, Toys]:
    return {record.file: Toys.load(path / record.file) for record in results.toys}


def check_same(one: dict[str, Toys], other: dict[str, Toys]) -> None:
    assert one.keys() == other.keys()
    for file, toys in one.items():
        np.testing.assert_array_equal(toys.numbers, other[file].numbers)
        # A fit stops within 1e-9 of the minimum; which data sets shared its call shows at that level only.
        np.testing.assert_allclose(toys.estimate, other[file].estimate, rtol=0, atol=1e-6)
        np.testing.assert_allclose(toys.ends, other[file].ends, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_every_observable_has_its_pseudo_experiments(whole: tuple[Path, Results]) -> None:
    path, results = whole
    kinds = {(record.strategy, record.observable): record for record in results.toys}
    assert set(kinds) == {("nominal", "fixed"), ("ratio", "unbinned")}
    assert {record.toys for record in kinds.values()} == {6}
    assert all(record.source == "events" for record in results.toys)
    for record in results.toys:
        assert record.converged > 3, record
        assert record.rms > 0
        assert record.bound == pytest.approx(0.06758, abs=1e-4)
        assert Toys.load(path / record.file).summary().mean == pytest.approx(record.mean)
    stored = Results.load(path / "results.json")
    assert [record.file for record in stored.toys] == [record.file for record in results.toys]


@pytest.mark.slow
def test_parts_merge_to_the_whole(whole: tuple[Path, Results], tmp_path: Path) -> None:
    path, results = whole
    parts = [run(tmp_path / "a", 4), run(tmp_path / "b", 2, first=4)]
    assert {record.toys for record in parts[1].toys if record.observable == "fixed"} == {2}
    merged = merge_studies([tmp_path / "a", tmp_path / "b"], tmp_path / "joined")
    check_same(rows(path, results), rows(tmp_path / "joined", merged))
    with pytest.raises(ConfigError, match="two directories"):
        merge_studies([tmp_path / "a"], tmp_path / "again")
    other = run(tmp_path / "c", 2, first=4, seed=5)
    assert other.toys
    with pytest.raises((ConfigError, FitError), match=r"different|other sets"):
        merge_studies([tmp_path / "a", tmp_path / "c"], tmp_path / "again")


@pytest.mark.slow
def test_a_resumed_run_adds_what_is_missing(whole: tuple[Path, Results], tmp_path: Path) -> None:
    path, results = whole
    run(tmp_path / "part", 4)
    resumed = run(tmp_path / "part", 6)
    check_same(rows(path, results), rows(tmp_path / "part", resumed))


@pytest.mark.slow
def test_points_that_differ_in_the_parameter_of_interest_have_files_of_their_own(tmp_path: Path) -> None:
    points = [{"angle": 1.0}, {"angle": 1.0, "mu": 2.0}]
    results = run(tmp_path / "a", 3, strategies=["nominal"], true=points)
    files = [record.file for record in results.toys]
    assert len(set(files)) == 2 * len({(r.observable, r.binning) for r in results.toys}) == len(files)
    merged = merge_studies([tmp_path / "a", part(tmp_path)], tmp_path / "joined")
    for record in merged.toys:
        kept = Toys.load(tmp_path / "joined" / record.file)
        assert kept.true["mu"] == record.true["mu"]
        assert record.mean == pytest.approx(kept.summary().mean)


def part(folder: Path) -> Path:
    """Make more pseudo-experiments of the same two points."""
    points = [{"angle": 1.0}, {"angle": 1.0, "mu": 2.0}]
    run(folder / "b", 3, first=3, strategies=["nominal"], true=points)
    return folder / "b"


def test_results_that_point_outside_of_their_folder_are_not_merged(tmp_path: Path) -> None:
    study = with_toys(made_results(), None)
    for name, file in (("a", "../victim/toys.npz"), ("b", str(tmp_path / "toys.npz"))):
        bad = study.model_copy(update={"toys": [study.toys[0].model_copy(update={"file": file})]})
        (tmp_path / name).mkdir()
        bad.save(tmp_path / name / "results.json")
        with pytest.raises(ConfigError, match="outside of the run's folder"):
            merge_studies([tmp_path / name, tmp_path / name], tmp_path / "out")
    twice = study.model_copy(update={"toys": [study.toys[0], study.toys[0]]})
    twice.save(tmp_path / "a" / "results.json")
    with pytest.raises(ConfigError, match="several true points"):
        merge_studies([tmp_path / "a", tmp_path / "a"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_where_an_analysis_lies_is_no_part_of_what_its_pseudo_experiments_are(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_example(tmp_path / "one" / "analysis.yaml")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = []
    for folder in ("one", "two"):
        name = str(tmp_path / folder / "analysis.yaml")
        plan = make_plan(name, resolve_settings(name, overrides={"strategies": ["nominal"]}), no_progress)
        shape = (len(plan.case.components.names), 1)
        counts = [np.ones((len(n.anchors), *shape)) for n in plan.nuisances if n.kind != "norm"]
        model = Model.from_templates(
            plan.case.components, plan.nuisances, plan.constraints, counts, normalisations=plan.normalisations
        )
        one = Fitted(None, model, "deviance")
        found.append(identity(plan, "nominal", 0, one))
    assert found[0] == found[1]


def test_the_commands_say_what_is_wrong(tmp_path: Path) -> None:
    runner = CliRunner()
    missing = runner.invoke(app, ["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")])
    assert missing.exit_code == 2
    assert "no such file" in missing.output
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_text(json.dumps({"schema": "other"}))
    wrong = runner.invoke(app, ["merge", str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(tmp_path / "c")])
    assert wrong.exit_code == 2
    assert "schema" in wrong.output
    negative = runner.invoke(app, ["toys", "gaussian-toy", "--toys", "-1", "--out", str(tmp_path / "d")])
    assert negative.exit_code == 2
    assert "toys.count" in negative.output
