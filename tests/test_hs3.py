"""HistFactory models of the HS3 standard: what is written is read again and by pyhs3, and a document of ROOT's form."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
from typer.testing import CliRunner

from systwise.cli import app
from systwise.errors import ConfigError
from systwise.fit import fit, histfactory_data, histfactory_model, is_hs3, read_hs3, write_hs3
from test_histfactory import bare, workspace

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def with_luminosity() -> dict[str, Any]:
    """Return a workspace with a luminosity and settings of most parameters."""
    spec = bare([])
    spec["channels"][0]["samples"][0]["modifiers"].append({"name": "lumi", "type": "lumi", "data": None})
    rate = {"name": "rate", "type": "normsys", "data": {"hi": 1.2, "lo": 0.9}}
    spec["channels"][0]["samples"][1]["modifiers"].append(rate)
    spec["measurements"][0]["config"]["parameters"] = [
        {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.8, 1.2]], "inits": [1.0]},
        {"name": "rate", "auxdata": [0.3], "bounds": [[-4.0, 4.0]]},
        {"name": "mu", "bounds": [[0.0, 20.0]], "inits": [2.0]},
        {"name": "shape", "bounds": [[0.5, 2.0]] * 3},
    ]
    return spec


@pytest.mark.parametrize("spec", [workspace(), bare([]), with_luminosity()], ids=["whole", "bins", "luminosity"])
@pytest.mark.parametrize(("normsys", "histosys"), [("code4", "code4p"), ("code1", "code0")])
def test_what_is_written_is_read_again(spec: dict[str, Any], normsys: str, histosys: str) -> None:
    document = json.loads(json.dumps(write_hs3(spec, normsys=normsys, histosys=histosys)))
    assert is_hs3(document)
    assert not is_hs3(spec)
    back = read_hs3(document)
    here = histfactory_model(spec, normsys=normsys, histosys=histosys)
    there = histfactory_model(back.workspace, normsys=back.normsys, histosys=back.histosys)
    assert here.parameter_names == there.parameter_names
    assert here.components.ranges == there.components.ranges
    data, again = histfactory_data(spec, here), histfactory_data(back.workspace, there)
    draw = np.random.default_rng(3)
    for _ in range(3):
        z = {n.name: n.nominal + 0.1 * draw.standard_normal() for n in here.nuisances}
        theta = {poi: 1 + 0.2 * draw.random() for poi in here.components.pois}
        assert there.nll(theta, z, again) == here.nll(theta, z, data)


def roots() -> dict[str, Any]:
    """Return a document as ROOT writes it: named constraints, two analyses, a constant luminosity, Poisson factors."""
    axes = [{"name": "obs_x_c", "min": 0.0, "max": 2.0, "nbins": 2}]
    lumi = {"name": "Lumi", "parameter": "Lumi", "type": "normfactor"}
    mu = {"name": "mu", "parameter": "mu", "type": "normfactor"}
    shift = {
        "name": "shift",
        "type": "histosys",
        "parameter": "alpha_shift",
        "constraint": "shift_constraint",
        "data": {"hi": {"contents": [45, 55]}, "lo": {"contents": [55, 45]}},
    }
    ends = {"mu": (0, 10), "alpha_shift": (-5, 5), "Lumi": (0, 10)}
    return {
        "metadata": {"hs3_version": "0.2"},
        "distributions": [
            {
                "name": "model_c",
                "type": "histfactory_dist",
                "axes": axes,
                "default_interpolation": {"in": "poly6", "out": "poly1", "type": "add"},
                "samples": [
                    {"name": "signal", "data": {"contents": [12, 11], "errors": [3.5, 3.3]}, "modifiers": [lumi, mu]},
                    {
                        "name": "background",
                        "data": {"contents": [50, 52], "errors": [7.0, 7.2]},
                        "modifiers": [lumi, shift],
                    },
                ],
            },
            {"name": "shift_constraint", "type": "gaussian_dist", "mean": "alpha_shift", "x": 0.0, "sigma": 1.0},
        ],
        "data": [
            {"name": "asimov_c", "type": "binned", "axes": axes, "contents": [62, 63]},
            {"name": "obs_c", "type": "binned", "axes": axes, "contents": [51, 48]},
        ],
        "likelihoods": [
            {"name": "l_asimov", "distributions": ["model_c"], "data": ["asimov_c"]},
            {"name": "l_obs", "distributions": ["model_c"], "data": ["obs_c"]},
        ],
        "domains": [
            {
                "name": "all",
                "type": "product_domain",
                "axes": [{"name": name, "min": low, "max": high} for name, (low, high) in ends.items()],
            }
        ],
        "parameter_points": [
            {
                "name": "default_values",
                "parameters": [
                    {"name": "Lumi", "value": 1.0, "const": True},
                    {"name": "alpha_shift", "value": 0.0},
                    {"name": "mu", "value": 1.0},
                ],
            }
        ],
        "analyses": [
            {"name": "asimov", "likelihood": "l_asimov", "domains": ["all"], "parameters_of_interest": ["mu"]},
            {"name": "observed", "likelihood": "l_obs", "domains": ["all"], "parameters_of_interest": ["mu"]},
        ],
    }


def test_a_document_of_roots_form_is_the_model_of_pyhf() -> None:
    found = read_hs3(roots(), "observed")
    model = histfactory_model(found.workspace, normsys=found.normsys, histosys=found.histosys)
    assert found.histosys == "code4p"
    assert model.parameter_names == ("mu", "alpha_shift")
    data = histfactory_data(found.workspace, model)
    theirs = pyhf.simplemodels.correlated_background([12, 11], [50, 52], [45, 55], [55, 45])
    observed = [51, 48, *theirs.config.auxdata]
    points = [(0.3, 0.4), (1.7, -1.3), (2.2, 0.9)]
    order = theirs.config.par_order
    exact = [
        -theirs.logpdf([mu if name == "mu" else alpha for name in order], observed)[0].item() for mu, alpha in points
    ]
    ours = [model.nll(mu, {"alpha_shift": alpha}, data) for mu, alpha in points]
    np.testing.assert_allclose(np.diff(ours), np.diff(exact), rtol=1e-10)
    result = fit(model, histfactory_data(read_hs3(roots()).workspace, model))
    assert result.estimates == pytest.approx({"mu": 1.0, "alpha_shift": 0.0}, abs=1e-6)


def test_poisson_factors_of_simulation_have_as_many_events_as_were_simulated() -> None:
    """One sample: the factor a bin of a `shapesys`, which pyhf has too."""
    document = roots()
    background = document["distributions"][0]["samples"][1]
    background["modifiers"] = [
        {"name": "g", "type": "staterror", "constraint": "Poisson", "parameters": ["gamma_0", "gamma_1"]}
    ]
    found = read_hs3(document, "observed").workspace
    model = histfactory_model(found)
    same = copy.deepcopy(found)
    own = same["channels"][0]["samples"][1]["modifiers"][0]
    own.update(type="shapesys", data=[7.0, 7.2])
    other = histfactory_model(same)
    for gamma in (0.8, 1.2):
        z = {"g[0]": gamma, "g[1]": 1.1}
        assert model.nll(1.2, z, histfactory_data(found, model)) == other.nll(1.2, z, histfactory_data(same, other))


def broken(change: str) -> dict[str, Any]:
    document = roots()
    channel = document["distributions"][0]
    background = channel["samples"][1]["modifiers"][1]
    if change == "modifier":
        background["type"] = "morph"
    elif change == "interpolation":
        background["interpolation"] = "cubic"
    elif change == "constraint":
        background["constraint"] = "LogNormal"
    elif change == "width":
        document["distributions"][1]["sigma"] = "width"
    elif change == "data":
        document["likelihoods"][0]["data"] = ["nothing"]
    elif change == "unbinned":
        document["data"][0]["type"] = "unbinned"
    elif change == "poi":
        document["analyses"][0]["parameters_of_interest"] = []
    else:
        document["analyses"] = []
    return document


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("modifier", "'alpha_shift' of 'background' of 'model_c' is a morph"),
        ("interpolation", "interpolation 'cubic'"),
        ("constraint", "LogNormal constraint; a Gaussian is known"),
        ("width", "'shift_constraint' is a gaussian_dist"),
        ("data", "names 'nothing', which is not among the data"),
        ("unbinned", "'asimov_c' are unbinned"),
        ("poi", "has no parameters_of_interest"),
        ("analyses", "no analyses"),
    ],
)
def test_what_is_not_known_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_hs3(broken(change))


def test_an_analysis_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no analysis 'blind' \\(known: asimov, observed\\)"):
        read_hs3(roots(), "blind")


def test_the_command_line_fits_a_document(tmp_path: Path) -> None:
    path = tmp_path / "hs3.json"
    path.write_text(json.dumps(roots()))
    command = ["fit", str(path), "--measurement", "observed", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert record["result"]["estimates"]["mu"] == pytest.approx(0.0, abs=1e-6)
    assert record["limit"]["observed"] > 0


@pytest.mark.parametrize("spec", [workspace(), bare([]), with_luminosity()], ids=["whole", "bins", "luminosity"])
def test_pyhs3_evaluates_what_is_written(spec: dict[str, Any]) -> None:
    """Without what pyhs3 0.4.2 cannot do: `staterror`, uncertainties of zero, systematics centred elsewhere than 0."""
    pyhs3 = pytest.importorskip("pyhs3", reason="pyhs3 needs Python 3.12")
    pytensor = pytest.importorskip("pytensor")
    spec = copy.deepcopy(spec)
    for entry in spec["measurements"][0]["config"]["parameters"]:
        if entry["name"] == "rate":
            del entry["auxdata"]
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            sample["modifiers"] = [m for m in sample["modifiers"] if m["type"] != "staterror"]
            for modifier in sample["modifiers"]:
                if modifier["type"] == "shapesys":
                    modifier["data"] = [value or 2.5 for value in modifier["data"]]
    document = write_hs3(spec)
    theirs = pyhs3.Workspace(**document)
    model = theirs.model(theirs.analyses[0])
    inputs = list(pytensor.graph.traversal.explicit_graph_inputs([model.log_prob]))
    function = pytensor.function(inputs, model.log_prob)
    ours = histfactory_model(spec, normsys="code4", histosys="code4p")
    data = histfactory_data(spec, ours)
    draw = np.random.default_rng(5)
    differences = []
    for _ in range(4):
        z = {n.name: n.nominal + 0.1 * draw.standard_normal() for n in ours.nuisances}
        theta = {poi: 1 + 0.2 * draw.random() for poi in ours.components.pois}
        values = {**theta, **{name.replace("[", "_").rstrip("]"): value for name, value in z.items()}}
        arguments = [np.asarray(model.data[v.name] if v.name in model.data else values[v.name]) for v in inputs]
        differences.append(
            float(np.squeeze(function(*[a.astype(v.dtype) for a, v in zip(arguments, inputs, strict=True)])))
        )
        differences[-1] += ours.nll(theta, z, data)
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)
