"""Workspaces say what our models say: equal likelihoods where interpolations agree, a stated loss elsewhere."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import jax
import numpy as np
import pyhf
import pytest
from typer.testing import CliRunner

from export_fixtures import EDGES, RATE, contents, save_run, shape, stored
from systwise.cli import app
from systwise.errors import ConfigError
from systwise.export import choose_templates, compare, export_pyhf, histfactory_workspace, to_hist, translate
from systwise.export._pyhf_model import PyhfModel, pyhf_in_jax
from systwise.fit import Data, Model, asimov, fit, histfactory_data, histfactory_model
from systwise.parameters import (
    AsymmetricGaussianConstraint,
    Components,
    CorrelatedGaussian,
    CountsConstraint,
    GaussianConstraint,
    LogNormalConstraint,
    NoConstraint,
    Normalisation,
    Nuisance,
    signal_strength,
)
from systwise.study import StoredTemplates

# pyhf validates workspaces with a part of jsonschema that is on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
CODE1 = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}


def norm_nuisance(name, nominal=0.0, reach=5.0):
    ends = (nominal - reach, nominal + reach)
    return Nuisance(name, nominal, ends, ends, ends, kind="norm")


def rates_model(variances=None):
    """Every kind of exact factor at once."""
    nuisances = [norm_nuisance("tilt"), norm_nuisance("luminosity", 1.0, 0.9), norm_nuisance("scale", 1.0, 0.9)]
    nuisances.append(norm_nuisance("level", 1.0, 0.9))
    both = ("signal", "background")
    return Model.from_templates(
        signal_strength(),
        nuisances,
        [
            GaussianConstraint("tilt", 0.7),
            GaussianConstraint("luminosity", 0.03),
            LogNormalConstraint("scale", 1.2),
            NoConstraint("level"),
        ],
        contents(0.0),
        normalisations=[
            Normalisation("tilt", ("background",), "lognormal", up=1.1, down=0.85),
            Normalisation("luminosity", both),
            Normalisation("scale", ("signal",)),
            Normalisation("level", ("background",)),
        ],
        variances=variances,
    )


def shape_model(constraint, nuisance=None, **changes):
    nuisance = nuisance or shape()
    counts = np.array([contents(z) for z in nuisance.anchors])
    return Model.from_templates(signal_strength(), [nuisance], [constraint], [counts], **changes)


def differences(model, data, workspace, points, interpolation):
    """Return our NLL and pyhf's at the points, each against the first one."""
    with pyhf_in_jax():
        judge = PyhfModel(workspace, interpolation)
        ours, theirs = [], []
        for mu, z in points:
            values = judge.start.copy()
            values[judge.poi] = mu
            for name, value in z.items():
                scale = workspace.maps.get(name)
                values[judge.place(name)] = scale.alpha(value) if scale else value
            ours.append(model.nll(mu, z, data))
            theirs.append(judge.nll(values))
    return np.array(ours) - ours[0], np.array(theirs) - theirs[0]


def test_exact_factors_have_pyhfs_likelihood_everywhere():
    model = rates_model()
    data = asimov(model, 1.3, {"tilt": 0.4, "luminosity": 1.02, "scale": 0.9, "level": 1.05}, auxiliary_at={})
    workspace = histfactory_workspace(model, data)
    assert workspace.losses == ()
    assert {m["type"] for s in workspace.document["channels"][0]["samples"] for m in s["modifiers"]} == {
        "normfactor",
        "normsys",
        "lumi",
    }
    points = [
        (1.0, {}),
        (0.3, {"tilt": -1.7, "scale": 1.5}),
        (2.0, {"luminosity": 0.95, "level": 1.2, "tilt": 0.6}),
        (-0.2, {"scale": 0.7, "tilt": 2.5}),
    ]
    ours, theirs = differences(model, data, workspace, points, CODE1)
    assert np.abs(ours[1:]).min() > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize(
    ("constraint", "nuisance", "ends"),
    [
        (GaussianConstraint("shift", 1.0), None, (-1.0, 1.0)),
        (GaussianConstraint("shift", 0.5), None, (-0.5, 0.5)),
        (AsymmetricGaussianConstraint("shift", down=0.5, up=2.0), None, (-0.5, 2.0)),
        (
            LogNormalConstraint("shift", 1.5),
            Nuisance("shift", 1.0, (0.1, 3.0), (0.5, 2.0), (0.1, 1.0, 2.0, 3.0)),
            (1 / 1.5, 1.5),
        ),
    ],
    ids=["gaussian", "narrow", "asymmetric", "lognormal"],
)
def test_shapes_have_pyhfs_likelihood_at_one_standard_deviation(constraint, nuisance, ends):
    model = shape_model(constraint, nuisance)
    data = asimov(model, 1.0, model.nuisances[0].nominal)
    workspace = histfactory_workspace(model, data)
    points = [(1.0, {})] + [(mu, {"shift": z}) for mu in (0.0, 1.5) for z in ends]
    ours, theirs = differences(model, data, workspace, points, {})
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-8)
    assert "moves shapes" in workspace.losses[0]


def test_a_workspace_survives_import_and_export():
    model = shape_model(GaussianConstraint("shift", 0.5))
    first = histfactory_workspace(model, asimov(model, 1.2, 0.0))
    again = histfactory_model(first.document)
    second = histfactory_workspace(again, histfactory_data(first.document, again))
    a, b = (space.document["channels"][0]["samples"] for space in (first, second))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one["data"], other["data"], rtol=1e-12)
        for key in ("hi_data", "lo_data"):
            old, new = (next(m for m in s["modifiers"] if m["type"] == "histosys")["data"][key] for s in (one, other))
            np.testing.assert_allclose(old, new, rtol=1e-9)


@pytest.mark.slow
def test_pyhf_finds_our_interval_with_simulation_factors():
    model = rates_model(variances=contents(0.0) * 0.3)
    data = asimov(model, 1.0, {})
    found = compare(model, data, histfactory_workspace(model, data))
    assert found.ours.sigma is not None
    assert abs(found.sigma_change) < 2e-3  # code 4 of normsys and pyhf's gammas in place of the profiled factors
    assert abs(found.shift) < 1e-3
    # pyhf and JAX are as they were: the first computes with NumPy, the second in single precision.
    assert pyhf.get_backend()[0].name == "numpy"
    assert not jax.config.read("jax_enable_x64")
    exact = fit(dataclasses.replace(model, variance=None), data)
    assert exact.sigma < 0.99 * found.theirs.sigma


@pytest.mark.slow
def test_templates_are_taken_nearer_where_that_agrees_better():
    # A shape that turns around between the anchors: the slope at nominal is not the difference at one deviation.
    nuisance = shape(tuple(np.linspace(-3, 3, 25)))
    counts = np.array([contents(3 * math.sin(2.2 * z), 0.05) for z in nuisance.anchors])
    model = Model.from_templates(signal_strength(), [nuisance], [GaussianConstraint("shift", 1.0)], [counts])
    data = asimov(model, 1.0, 0.0)
    plain = compare(model, data, histfactory_workspace(model, data))
    workspace, found = translate(model, data)
    assert found.loss < plain.loss
    assert found.loss < 0.01 < plain.loss
    assert "extended linearly" in workspace.losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moving": True}, "moves with the hypothesised nuisance"),
        ({"components": Components(("a", "b"), ("c",), ((2,), (1,)), (1.0,), ((-2.0, 2.0),))}, "scales with c\\^2"),
        ({"constraint": NoConstraint("shift")}, "Gaussian constraint only"),
        ({"constraint": CountsConstraint("shift", lambda z: z[None])}, "auxiliary measurement"),
        ({"constraint": GaussianConstraint("shift", 4.0)}, "outside its range"),
        ({"constraint": "joint"}, "correlated"),
    ],
)
def test_what_histfactory_cannot_say_is_refused(change, message):
    counts = np.array([contents(z) for z in shape().anchors])
    constraint = change.get("constraint", GaussianConstraint("shift", 1.0))
    nuisances, normalisations = [shape()], []
    if constraint == "joint":
        constraint = CorrelatedGaussian(("shift", "rate"), [[1.0, 0.3], [0.3, 1.0]])
        nuisances.append(RATE)
        normalisations = [Normalisation("rate", ("background",), "lognormal", up=1.05)]
    model = Model.from_templates(
        change.get("components", signal_strength()),
        nuisances,
        [constraint],
        [counts],
        moving=change.get("moving", False),
        normalisations=normalisations,
    )
    auxiliary = tuple(np.zeros(1) for _ in model.nuisances)
    with pytest.raises(ConfigError, match=message):
        histfactory_workspace(model, Data(contents(0.0).sum(axis=0), auxiliary))


def test_stored_templates_come_back_and_give_the_same_likelihood(tmp_path):
    one = stored(points=({}, {"shift": 1.0, "rate": 0.5, "mu": 2.0}))
    one.save(tmp_path / "t.npz")
    again = StoredTemplates.load(tmp_path / "t.npz")
    assert (again.nuisances, again.components, again.points) == (one.nuisances, one.components, one.points)
    a, b = one.model(True), again.model(True)
    point = {"shift": 1.0, "rate": 0.5, "mu": 2.0}
    da, db = one.data(a, point), again.data(b, point)
    np.testing.assert_array_equal(da.counts, db.counts)
    np.testing.assert_allclose(da.counts, [2.0, 1.05**0.5] @ contents(1.0))
    assert a.nll(1.2, [0.3, 0.1], da) == b.nll(1.2, [0.3, 0.1], db)


def test_stored_templates_refuse_what_they_do_not_hold(tmp_path):
    one = stored()
    model = one.model()
    with pytest.raises(ConfigError, match="did not study it"):
        one.data(model, {"shift": 0.5})
    with pytest.raises(ConfigError, match="unknown parameter 'shft'"):
        one.data(model, {"shft": 0.5})
    counted = dataclasses.replace(one, constraints=({"kind": "CountsConstraint", "nuisance": "shift"},))
    with pytest.raises(ConfigError, match="its expected is a formula, which files do not hold"):
        counted.model()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ConfigError, match=r"broken\.npz: cannot be read as templates"):
        StoredTemplates.load(tmp_path / "broken.npz")


def test_histograms_for_hist():
    made = to_hist(stored(), {"shift": 1.0})
    np.testing.assert_allclose(made[{"component": "signal"}].values(), contents(1.0)[0], rtol=1e-12)
    np.testing.assert_allclose(made.axes["score"].edges, EDGES)
    nominal = to_hist(stored())
    np.testing.assert_allclose(nominal[{"component": "background"}].variances(), 0.05 * contents(0.0)[1], rtol=1e-12)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    far = stored(shape(), ({}, {"shift": 2.0}), size=0.12)
    aware = stored(strategy="aware", observable="anchored", binning="joint")
    moving = stored(strategy="aware", moving=True)
    return save_run(tmp_path_factory.mktemp("export") / "run", far, aware, moving)


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.slow
def test_export_on_the_command_line_prints_both_results(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTWISE_CACHE", str(tmp_path / "cache"))
    done = call("export", run, "--format", "pyhf", "--strategy", "aware", "-o", tmp_path / "w.json")
    assert done.exit_code == 0, done.stderr
    about = json.loads((tmp_path / "w.about.json").read_text())
    assert about["observable"] == "anchored"
    sigma = about["comparison"]["pyhf"]["sigma"]
    assert f"{sigma:.4g}" in done.stdout
    assert abs(sigma / about["comparison"]["ours"]["sigma"] - 1) < 0.01
    space = pyhf.Workspace(json.loads((tmp_path / "w.json").read_text()))
    assert space.model().config.poi_name == "mu"
    again = call("export", run, "--strategy", "aware", "-o", tmp_path / "w.json")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


def test_a_workspace_that_says_something_else_is_not_written(run, tmp_path):
    one = StoredTemplates.load(choose_templates(run, "nominal"))
    with pytest.raises(ConfigError, match="HistFactory cannot express this model: mu is"):
        export_pyhf(one, tmp_path / "w.json", point={"shift": 2.0})
    assert list(tmp_path.iterdir()) == []


def test_mistakes_on_the_command_line_are_one_sentence(run, tmp_path):
    broken = tmp_path / "broken"
    save_run(broken, stored())
    next((broken / "templates").iterdir()).write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "results.json").write_text("{}")
    for words, message in [
        ([tmp_path / "nowhere"], "no such directory"),
        ([tmp_path / "empty"], "no output directory of a run"),
        ([tmp_path / "bare"], "holds no templates"),
        ([broken], "cannot be read as templates"),
        ([run], "name one with --strategy"),
        ([run, "--strategy", "awar"], "did you mean 'aware'"),
        ([run, "--strategy", "nominal", "--observable", "anchored"], "has no observable 'anchored'"),
        ([run, "--strategy", "aware", "--observable", "moving"], "moves with the hypothesised"),
        ([run, "--strategy", "nominal", "--seed", "7"], "no seed 7"),
        ([run, "--strategy", "nominal", "--true", "shift=0.3"], "did not study it"),
        ([run, "--strategy", "nominal", "--format", "phyf"], "did you mean 'pyhf'"),
    ]:
        done = call("export", *words, "-o", tmp_path / "out.json")
        assert done.exit_code == 2, words
        assert message in done.stderr, done.stderr
        assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_cabinetry_builds_the_workspace_that_was_compared(tmp_path, monkeypatch):
    import cabinetry

    from systwise.export import export_cabinetry

    one = stored(simulation=True)
    with pytest.raises(ConfigError, match="a larger loss than 0 "):
        export_cabinetry(one, tmp_path / "none", allow=0.0)
    assert not (tmp_path / "none").exists()
    found = export_cabinetry(one, tmp_path / "out")
    assert found.loss < 0.05
    monkeypatch.chdir(tmp_path / "out")
    config = cabinetry.configuration.load("config.yml")
    built = cabinetry.workspace.build(config)
    before = copy.deepcopy(built)
    for file in (tmp_path / "out/histograms").iterdir():
        file.unlink()
    cabinetry.templates.collect(config)
    assert cabinetry.workspace.build(config) == before
    samples = {s["name"]: s for s in built["channels"][0]["samples"]}
    np.testing.assert_allclose(samples["signal"]["data"], contents(0.0)[0])
    kinds = sorted(m["type"] for m in samples["background"]["modifiers"])
    assert kinds == ["histosys", "normsys", "normsys", "staterror"]
