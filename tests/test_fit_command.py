"""`systwise fit`: a workspace from the command line to numbers, figures and a page."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from systwise.cli import app
from systwise.fit import fit, histfactory_data, histfactory_model, measure, upper_limit

RUNNER = CliRunner()


def workspace(observed: float = 62.0, signal: float = 15.0) -> dict[str, Any]:
    """Return a signal and a control region with a common rate."""
    rate = {"name": "rate", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "signal", "data": [signal, 3.0], "modifiers": [mu]},
                    {"name": "background", "data": [50.0, 40.0], "modifiers": [rate]},
                ],
            },
            {"name": "CR", "samples": [{"name": "background", "data": [400.0], "modifiers": [rate]}]},
        ],
        "observations": [{"name": "SR", "data": [observed, 41.0]}, {"name": "CR", "data": [409.0]}],
        "measurements": [{"name": "first", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "ws.json"
    path.write_text(json.dumps(content))
    return path


def test_a_workspace_becomes_numbers_figures_and_a_page(tmp_path: Path) -> None:
    path = written(tmp_path, workspace())
    done = RUNNER.invoke(app, ["fit", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    model = histfactory_model(workspace(), normsys="code4", histosys="code4p")
    data = histfactory_data(workspace(), model)
    result, limit = fit(model, data), upper_limit(model, data)
    record = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert record["result"]["estimates"] == pytest.approx(result.estimates, rel=1e-9)
    assert record["result"]["interval"] == pytest.approx(result.interval, rel=1e-9)
    assert record["limit"]["observed"] == pytest.approx(limit.observed, rel=1e-9)
    assert record["discovery"]["significance"] == pytest.approx(math.sqrt(record["discovery"]["q0"]))
    assert record["goodness"]["degrees"] == 2
    assert record["postfit"]["regions"] == {"SR": [0, 2], "CR": [2, 3]}
    assert record["origin"]["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["origin"]["settings"]["normsys"] == "code4"
    assert record["missing"] == {}
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (result.rows()[0][1], "untested", "SR", record["origin"]["digest"], "How to repeat it"):
        assert text in page
    names = {figure.name for figure in (tmp_path / "out" / "figures").glob("*.png")}
    assert names == {"yields_1.png", "yields_2.png", "ranking.png", "likelihood.png", "correlation.png"}
    assert f"mu = {result.rows()[0][1]}" in done.output
    # The same number comes out again, and nothing is overwritten unasked.
    again = RUNNER.invoke(app, ["fit", str(path), "--out", str(tmp_path / "out")])
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_asimov_data_give_back_their_parameter_and_a_fit_at_an_end_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, workspace())
    done = RUNNER.invoke(app, ["fit", str(path), "--out", str(tmp_path / "a"), "--asimov", "1"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "a" / "measurement.json").read_text())
    assert record["result"]["estimates"] == pytest.approx({"mu": 1.0, "rate": 0.0}, abs=1e-6)
    done = RUNNER.invoke(app, ["fit", str(path), "--out", str(tmp_path / "b"), "--asimov", "40"])
    assert "at a boundary: mu" in done.output


def test_pseudo_experiments_are_said_with_their_uncertainty(tmp_path: Path) -> None:
    """One bin without auxiliary data: every outcome is summed, so that the limit is the exact one."""
    content = workspace()
    content["channels"] = [
        {
            "name": "SR",
            "samples": [
                {"name": "s", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                {"name": "b", "data": [3.0], "modifiers": []},
            ],
        }
    ]
    content["observations"] = [{"name": "SR", "data": [0.0]}]
    done = RUNNER.invoke(app, ["fit", str(written(tmp_path, content)), "--out", str(tmp_path / "o"), "--toys", "200"])
    assert done.exit_code == 0, done.output
    assert "mu < 3.00" in done.output
    assert "pseudo-experiments" in done.output
    assert "untested" not in done.output.split("Goodness")[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "holds a list"),
        ({}, "no measurements"),
        ({**workspace(), "observations": []}, "channel 'SR' has no observation"),
        ({**workspace(), "version": "2.0.0"}, "version 2.0.0"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(tmp_path: Path, content: object, words: str) -> None:
    done = RUNNER.invoke(app, ["fit", str(written(tmp_path, content)), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_one_that_is_no_json_are_said(tmp_path: Path) -> None:
    assert "No such file" in RUNNER.invoke(app, ["fit", str(tmp_path / "none.json")]).output
    (tmp_path / "bad.json").write_text("{")
    assert "no JSON" in RUNNER.invoke(app, ["fit", str(tmp_path / "bad.json")]).output


def test_a_fit_without_a_minimum_has_a_page_but_no_number(tmp_path: Path) -> None:
    """Two free factors on one sample cannot be told apart."""
    content = workspace()
    content["channels"][0]["samples"][0]["modifiers"].append({"name": "k", "type": "normfactor", "data": None})
    done = RUNNER.invoke(app, ["fit", str(written(tmp_path, content)), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No measurement of mu" in page
    assert "the fit has no minimum" in page


def test_measure_says_why_a_part_is_missing() -> None:
    model = histfactory_model(workspace()).with_range("mu", 0.5, 4.0)
    found = measure(model, histfactory_data(workspace(), model))
    assert found.limit is None
    assert set(found.missing) == {"discovery", "limit"}
    assert "does not hold 0" in str(found)
