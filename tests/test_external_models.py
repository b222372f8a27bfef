"""Classifiers of other libraries and other people, trained or measured like our own."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import external_fixtures
from systwise.cases.gaussian_toy import GaussianToy, GaussianToySettings
from systwise.cli import app
from systwise.errors import ConfigError, DataError
from systwise.events import SplitSettings, split_events
from systwise.export import export_onnx, load_scorer
from systwise.learn import (
    STRATEGIES,
    Checkpoints,
    HostObservable,
    Problem,
    host_logits,
    load_observable,
    save_observable,
)
from systwise.settings import validate
from systwise.study import build_case, build_strategies, resolve_settings
from systwise.templates import anchor_pairs, joint_vectors, score

HIST = "sklearn.ensemble:HistGradientBoostingClassifier"
LIBRARIES = {
    HIST: {"max_iter": 30},
    "xgboost:XGBClassifier": {"n_estimators": 30, "n_jobs": 1},
    "lightgbm:LGBMClassifier": {"n_estimators": 30, "n_jobs": 1},
}
MODES = ("boosted_trees", "boosted_trees_augmented", "boosted_trees_aware")


@pytest.fixture(scope="module")
def problem() -> Problem:
    case = GaussianToy(GaussianToySettings(events=12_000))
    table = case.load(0)
    return Problem(case, table, split_events(table, SplitSettings(scheme="folds", folds=2)))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take a hundred times as long."""
    pytest.importorskip("sklearn.ensemble", reason="comes with the extra [trees]")
    controller = pytest.importorskip("threadpoolctl", reason="comes with scikit-learn")
    with controller.threadpool_limits(1):
        yield


def made(name, problem, seed=0, **settings):
    return validate(STRATEGIES.get(name), settings, f"strategy.{name}").fit(problem, seed).observable


def area(problem, observable, angle):
    """Return the area under the ROC curve of all events at `angle`, scored by the fold that never saw them."""
    z = jnp.array([angle], jnp.float32)
    events = problem.case.vary(problem.table.slice(slice(None)), z)
    logits = np.zeros(len(problem.table))
    for fold in range(problem.split.folds):
        rows = np.flatnonzero(problem.split.fold == fold)
        logits[rows] = observable.on_host(np.asarray(events.features)[rows], np.asarray(z), fold)
    signal = np.asarray(events.weights)[:, 0] > 0
    ranks = np.argsort(np.argsort(logits))
    count = signal.sum()
    return (ranks[signal].sum() - count * (count - 1) / 2) / (count * (len(signal) - count))


@pytest.mark.parametrize("library", LIBRARIES)
def test_three_libraries_come_near_the_optimum_and_the_aware_one_follows_the_angle(problem, library):
    """The exact area is Phi(2 / 0.7 / sqrt 2) = 0.9783 at every angle; a score of pi/4 at pi/2 + 0.4 is far below."""
    pytest.importorskip(library.partition(":")[0].partition(".")[0])
    settings = {"model": library, "parameters": LIBRARIES[library]}
    nominal, augmented, aware = (made(name, problem, **settings) for name in MODES)
    there = math.pi / 2
    for observable in (nominal, augmented, aware):
        assert 0.965 < area(problem, observable, math.pi / 4) < 0.985
    assert area(problem, aware, there) > 0.965
    assert area(problem, nominal, there) < 0.945
    assert [o.moving for o in (nominal, augmented, aware)] == [False, False, True]


def test_the_same_seed_gives_the_same_trees_and_each_copy_has_its_own_nuisance_values(problem):
    settings = {"parameters": {"max_iter": 5}, "copies": 2}
    first, again, other = (
        made("boosted_trees_aware", dataclasses.replace(problem, done={}), seed, **settings) for seed in (1, 1, 2)
    )
    features, z = problem.table.features[:500], np.array([1.0], np.float32)
    np.testing.assert_array_equal(first.on_host(features, z, 0), again.on_host(features, z, 0))
    assert not np.array_equal(first.on_host(features, z, 0), other.on_host(features, z, 0))
    from systwise.learn.external._training_rows import training_rows

    index = problem.split.training(0)
    inputs, labels, weights = training_rows(problem, 0, problem.training_draw(), 2, (0, 1), 1, 0, "refuse", "key")
    assert len(inputs) == len(labels) == 2 * len(index)
    assert len(np.unique(inputs[:, 2])) > 1.99 * len(index)
    np.testing.assert_allclose([weights[labels == k].sum() for k in (0, 1)], len(index), rtol=1e-4)


def test_host_scores_are_the_same_in_every_pass_of_the_templates(problem):
    """Fine bins, score vectors and the observable itself agree on the same events; folds are kept apart."""
    observable = made("boosted_trees_aware", problem, parameters={"max_iter": 5}, copies=1)
    index = np.flatnonzero(problem.split.template)[:3000]
    fold_of, z = problem.split.scorer, np.array([1.0])
    vectors, weights = joint_vectors(observable, problem.case, problem.table, index, fold_of, z, z[None])
    events = problem.case.vary(problem.table.slice(index), jnp.array([1.0], jnp.float32))
    expected = np.zeros(len(index), np.float32)
    for fold in (0, 1):
        rows = fold_of[index] == fold
        expected[rows] = observable.on_host(np.asarray(events.features)[rows], np.float32(z), fold)
    np.testing.assert_array_equal(vectors[:, 0], expected)
    table = score(
        observable, problem.case, problem.table, index, fold_of, anchor_pairs(problem.case.nuisances, moving=True)
    )
    assert table.sums.sum(axis=(1, 2)) == pytest.approx(np.full(len(table.sums), weights.sum()), rel=1e-5)
    folds = jnp.array([0, 1], jnp.int32)
    found = host_logits(observable, problem.table.slice(slice(0, 100)), jnp.array([1.0]), folds)
    np.testing.assert_array_equal(found[50:], observable.on_host(problem.table.features[50:100], np.float32(z), 1))


def test_inside_a_compiled_function_it_says_where_it_belongs(problem):
    observable = made("external_score", problem, model="external_fixtures:logit", output="logit")
    events = problem.table.slice(slice(0, 10))
    with pytest.raises(TypeError, match="outside compiled functions"):
        jax.jit(lambda e: observable.output(e, jnp.zeros((10, 1)), jnp.int32(0)))(events)


def test_negative_weights_are_refused_or_handled(problem):
    """Both ways keep each class's total, which is what the balance of the classes rests on."""
    from systwise.learn.external._training_rows import training_rows

    weights = problem.table.weights.copy()
    weights[::10] *= -0.5
    broken = dataclasses.replace(problem, table=dataclasses.replace(problem.table, weights=weights), done={})
    with pytest.raises(DataError, match=r"training weights are negative.*negative_weights to zero, absolute or keep"):
        made("boosted_trees", broken)
    for how in ("zero", "absolute", "keep"):
        rows = training_rows(broken, 0, broken.nominal_draw(), 1, (0, 1), 0, 0, how, "key")
        totals = [rows[2][rows[1] == label].sum() for label in (0, 1)]
        np.testing.assert_allclose(totals, len(broken.split.training(0)) / 2, rtol=1e-3)
        assert (rows[2].min() < 0) == (how == "keep")
    settings = {"parameters": {"max_iter": 10}, "negative_weights": "zero"}
    assert area(problem, made("boosted_trees", broken, **settings), math.pi / 4) > 0.95


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("external_fixtures:Fisher", {}),
        ("sklearn.linear_model:LogisticRegression", {"C": 0.1}),
        ("sklearn.linear_model:RidgeClassifier", {}),
        ("sklearn.ensemble:HistGradientBoostingRegressor", {"max_iter": 20}),
    ],
)
def test_any_estimator_of_scikit_learns_kind_serves(problem, model, parameters):
    """A linear discriminant is the optimum of two equal Gaussians."""
    assert area(problem, made("boosted_trees", problem, model=model, parameters=parameters), math.pi / 4) > 0.97


def saved(tmp_path, problem, name, **settings):
    strategy = validate(STRATEGIES.get(name), settings)
    observable = strategy.fit(problem, 0).observable
    path = tmp_path / "model.eqx"
    with path.open("wb") as file:
        save_observable(file, strategy, 0, observable, problem.case)
    return path, observable


def test_a_saved_model_scores_the_same_and_predicts_for_files(problem, tmp_path, monkeypatch):
    path, observable = saved(tmp_path, problem, "boosted_trees_aware", parameters={"max_iter": 5}, copies=1)
    header, loaded = load_observable(path)
    assert isinstance(loaded, HostObservable)
    assert header["structure"]["packages"] == ["sklearn"]
    features, z = problem.table.features[:300], np.array([1.0], np.float32)
    for fold in (0, 1):
        np.testing.assert_array_equal(loaded.on_host(features, z, fold), observable.on_host(features, z, fold))
    logits = sum(observable.on_host(features, z, fold) for fold in (0, 1)) / 2
    np.testing.assert_allclose(
        load_scorer(path, trusted=True)(features, {"angle": 1.0}), 1 / (1 + np.exp(-logits)), atol=1e-6
    )
    # It is a pickle: read where that was said only.
    monkeypatch.setattr(pickle, "loads", lambda payload: pytest.fail("a pickle was read"))
    with pytest.raises(DataError, match="model of another library; use its own converter"):
        export_onnx(path, tmp_path / "model.onnx")
    with pytest.raises(ConfigError, match=r"holds a model of sklearn, a pickle, which can run any code.*--trust"):
        load_scorer(path)
    done = CliRunner().invoke(app, ["predict", str(path), "events.parquet"])
    assert done.exit_code == 2
    assert "--trust" in done.output


def test_a_damaged_model_or_a_missing_package_is_one_sentence(problem, tmp_path, monkeypatch):
    path, _ = saved(tmp_path, problem, "boosted_trees", model="external_fixtures:Fisher")
    content = path.read_bytes()
    monkeypatch.setitem(sys.modules, "external_fixtures", None)
    with pytest.raises(DataError, match="holds a model of the package 'external_fixtures'"):
        load_observable(path)
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="is damaged; train it again"):
        load_observable(path)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ConfigError, match=r"needs the package 'xgboost'; pip install '\.\[trees\]'"):
        made("boosted_trees", problem, model="xgboost:XGBClassifier")


def test_a_fitted_model_is_not_fitted_again(problem, tmp_path, monkeypatch):
    """A run that was killed after some folds goes on with the next one."""
    kept = dataclasses.replace(problem, done={}, checkpoints=Checkpoints(tmp_path))
    settings = {"model": "external_fixtures:Fisher"}
    first = made("boosted_trees", kept, **settings)
    assert len(list(tmp_path.glob("boosted_trees-*.fitted"))) == 2
    monkeypatch.setattr(external_fixtures.Fisher, "fit", None)
    again = made("boosted_trees", dataclasses.replace(kept, done={}), **settings)
    features = problem.table.features[:100]
    for fold in (0, 1):
        z = np.zeros(1, np.float32)
        np.testing.assert_array_equal(first.on_host(features, z, fold), again.on_host(features, z, fold))
    with pytest.raises(DataError, match="cannot be fitted"):
        made("boosted_trees", dataclasses.replace(kept, done={}), seed=1, **settings)


def test_functions_give_the_exact_score(problem):
    exact = made("optimal_nominal", problem)
    events = problem.table.slice(slice(0, 500))
    z = jnp.full((500, 1), math.pi / 4)
    expected = np.asarray(exact.output(events, z, jnp.int32(0)))
    for settings in (
        {"model": "external_fixtures:logit", "output": "logit"},
        {"model": "external_fixtures:probability"},
    ):
        found = np.asarray(made("external_score", problem, **settings).output(events, z, jnp.int32(0)))
        np.testing.assert_allclose(found, np.clip(expected, -13.8155, 13.8155), atol=2e-3)
    aware = made("external_score_aware", problem, model="external_fixtures:aware_logit", output="logit")
    moving = made("optimal", problem).output(events, z + 0.5, jnp.int32(0))
    np.testing.assert_allclose(np.asarray(aware.output(events, z + 0.5, jnp.int32(0))), np.asarray(moving), atol=1e-4)


@pytest.mark.parametrize("name", ["nominal", "aware"])
def test_our_own_export_comes_back_as_the_same_score(problem, tmp_path, name):
    pytest.importorskip("onnxruntime", reason="comes with the extra [onnx]")
    small = {"network": {"layers": 1, "width": 8}, "training": {"batch": 256, "passes": 1, "minimum_steps": 64}}
    path, observable = saved(tmp_path, problem, name, **small)
    (target,) = export_onnx(path, tmp_path / "model.onnx")
    strategy = "external_score_aware" if name == "aware" else "external_score"
    found = made(strategy, problem, model=str(target))
    assert isinstance(found, HostObservable)
    features, z = problem.table.features[:200], np.full((200, 1), 0.9, np.float32)
    events = problem.table.slice(slice(0, 200))
    expected = np.mean([observable.output(events, jnp.asarray(z), jnp.int32(fold)) for fold in (0, 1)], axis=0)
    np.testing.assert_allclose(found.on_host(features, z, 0), expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_file_is_a_score(problem, tmp_path):
    torch = pytest.importorskip("torch", reason="comes with the extra [torch]")
    linear = torch.nn.Linear(2, 1)
    torch.jit.trace(linear, torch.zeros(1, 2)).save(str(tmp_path / "linear.pt"))
    found = made("external_score", problem, model=str(tmp_path / "linear.pt"), output="logit", features=("x2", "x1"))
    features = problem.table.features[:50]
    weights, bias = (parameter.detach().numpy() for parameter in (linear.weight, linear.bias))
    np.testing.assert_allclose(
        found.on_host(features, np.zeros(1), 0), features[:, ::-1] @ weights[0] + bias, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("boosted_trees", {"model": "xgboost"}, "write module:name"),
        ("boosted_trees", {"model": "sklearn.ensemble:HistGradientBostingClassifier"}, "did you mean 'HistGradientBoo"),
        ("boosted_trees", {"parameters": {"max_itr": 3}}, "does not take"),
        ("boosted_trees", {"parameters": {"max_iter": -3}}, "cannot be fitted"),
        ("boosted_trees", {"model": "external_fixtures:logit"}, "is no class; name a class"),
        ("boosted_trees", {"model": "subprocess:Popen", "parameters": {"args": ["touch", "ran"]}}, "has no method fit"),
        ("external_score", {"model": "nowhere.onnx"}, "cannot be read"),
        ("external_score", {"model": "nowhere"}, "is no .onnx or .pt file and no module:function"),
        ("external_score", {"model": "external_fixtures:logit"}, "is no probability; set output to logit"),
        ("external_score", {"model": "external_fixtures:one_number"}, "not one score each"),
        (
            "external_score",
            {"model": "external_fixtures:logit", "features": ["x3"]},
            "has no feature 'x3', did you mean",
        ),
    ],
)
def test_bad_input_is_one_sentence(problem, name, settings, sentence):
    with pytest.raises((ConfigError, DataError), match=sentence) as caught:
        made(name, problem, **settings)
    assert len(str(caught.value).splitlines()) == 1


def test_all_leaves_out_what_has_no_model_and_the_command_line_says_what_is_missing(tmp_path):
    settings = resolve_settings("gaussian-toy", overrides={"strategies": ["all"]})
    names = [strategy.name for strategy in build_strategies(build_case("gaussian-toy", settings), settings)]
    assert "boosted_trees" in names
    assert "external_score" not in names
    run = CliRunner().invoke(
        app, ["run", "gaussian-toy", "--strategies", "external_score", "--out", str(tmp_path / "r")]
    )
    assert run.exit_code == 2
    assert "strategy.external_score.model: is missing" in " ".join(run.output.split())


@pytest.mark.slow
def test_a_study_compares_trees_with_an_external_score_and_goes_on(tmp_path):
    """A resumed run repeats nothing: the units are there, and so are the numbers."""
    words = [
        "run",
        "gaussian-toy",
        "--out",
        str(tmp_path / "run"),
        "--strategies",
        "boosted_trees_aware,external_score",
    ]
    for value in (
        "case.events=20000",
        "split.folds=2",
        "strategy.boosted_trees_aware.parameters.max_iter=10",
        "strategy.boosted_trees_aware.copies=1",
        "strategy.external_score.model=external_fixtures:probability",
        "inference.points=none",
    ):
        words += ["--set", value]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    found = {(m["strategy"], m["observable"]) for m in results["measurements"]}
    assert {("boosted_trees_aware", "anchored"), ("external_score", "fixed")} <= found
    again = CliRunner().invoke(app, [*words, "--resume"])
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "run" / "results.json").read_text())["measurements"] == results["measurements"]
