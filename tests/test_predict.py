"""Scores appended to the user's files: every format, nothing overwritten unless asked for."""

from __future__ import annotations

import h5py
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import uproot
from onnx import TensorProto, helper
from typer.testing import CliRunner

from systwise.cli import app
from systwise.export import export_onnx, load_scorer
from test_export_onnx import network, saved

DRAW = np.random.default_rng(5)
COLUMNS = {
    "id": np.arange(200, dtype=np.int64),
    "x2": DRAW.normal(size=200).astype(np.float32),
    "x1": DRAW.normal(size=200).astype(np.float32),
    "weight": DRAW.random(200),
}
FEATURES = np.stack([COLUMNS["x1"], COLUMNS["x2"]], axis=1)


def write(path):
    if path.suffix == ".parquet":
        pq.write_table(pa.table(COLUMNS), path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(pa.table(COLUMNS), path)
    elif path.suffix == ".root":
        with uproot.recreate(path) as file:
            file.mktree("events", {name: values.dtype for name, values in COLUMNS.items()})
            file["events"].extend(COLUMNS)
    else:
        with h5py.File(path, "w") as file:
            for name, values in COLUMNS.items():
                file[name] = values
    return path


def read(path):
    if path.suffix == ".parquet":
        return {name: column.to_numpy() for name, column in zip(*_columns(pq.read_table(path)), strict=True)}
    if path.suffix == ".csv":
        return {name: column.to_numpy() for name, column in zip(*_columns(pa.csv.read_csv(path)), strict=True)}
    if path.suffix == ".root":
        with uproot.open(path) as file:
            return file["events"].arrays(library="np")
    with h5py.File(path) as file:
        return {name: np.asarray(values) for name, values in file.items()}


def _columns(table):
    return table.column_names, table.columns


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("predict"), [network("told", key=1), network("told", key=2)], moving=True)


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTWISE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("ending", ["parquet", "csv", "root", "h5"])
def test_scores_are_appended_to_a_new_file(tmp_path, model, ending):
    source = write(tmp_path / f"events.{ending}")
    before = source.read_bytes()
    done = call("predict", model, source, "--nuisance", "angle=1.1", "--name", "s")
    assert done.exit_code == 0, done.stderr
    found = read(tmp_path / f"events-s.{ending}")
    expected = load_scorer(model)(FEATURES, {"angle": 1.1})
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found["s"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["weight"], COLUMNS["weight"])
    assert source.read_bytes() == before
    assert call("predict", model, source, "--name", "s").exit_code == 2
    friend = call("predict", model, source, "--friend", "id", "--name", "s", "-o", tmp_path, "--force")
    assert friend.exit_code == 0, friend.stderr
    assert sorted(read(tmp_path / f"events-s.{ending}")) == ["id", "s"]
    nominal = load_scorer(model)(FEATURES)
    assert call("predict", model, source, "--in-place").exit_code == 0
    np.testing.assert_allclose(read(source)["score"], nominal, rtol=1e-5)


def test_an_onnx_file_gives_the_same_scores(tmp_path, model):
    export_onnx(model, tmp_path / "m.onnx")
    z = {"angle": 0.4}
    np.testing.assert_allclose(
        load_scorer(tmp_path / "m.onnx")(FEATURES, z), load_scorer(model)(FEATURES, z), atol=1e-5
    )


def foreign(path):
    """Write a model of another program: the sum of two columns, as probabilities of two classes."""
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([helper.make_node("Softmax", ["input"], ["probabilities"], axis=1)], "other", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, path)
    return path


def test_a_model_of_another_program_is_a_score(tmp_path):
    path, source = foreign(tmp_path / "other.onnx"), write(tmp_path / "e.parquet")
    refused = call("predict", path, source)
    assert (refused.exit_code, "does not name its features" in refused.stderr) == (2, True)
    assert call("predict", path, source, "--features", "x1,x2").exit_code == 0
    expected = 1 / (1 + np.exp(COLUMNS["x1"] - COLUMNS["x2"]))
    np.testing.assert_allclose(read(tmp_path / "e-score.parquet")["score"], expected, rtol=1e-5)


def test_mistakes_are_one_sentence(tmp_path, model):
    good = write(tmp_path / "good.parquet")
    pq.write_table(pa.table({"x1": [1.0], "x_2": [2.0]}), tmp_path / "lacks.parquet")
    pq.write_table(pa.table({"x1": ["a"], "x2": [2.0]}), tmp_path / "words.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    (tmp_path / "events.txt").write_text("x1,x2")
    root = write(tmp_path / "events.root")
    for words, message in [
        ([model, tmp_path / "none.parquet"], "no such file"),
        ([model, tmp_path / "lacks.parquet"], "did you mean 'x_2'"),
        ([model, tmp_path / "words.parquet"], "which is no number"),
        ([model, tmp_path / "broken.parquet"], "cannot be read or written"),
        ([model, tmp_path / "events.txt"], "unknown format"),
        ([model, good, "--name", "weight"], "has a column 'weight' already"),
        ([model, good, "--nuisance", "angel=1"], "did you mean 'angle'"),
        ([model, good, "--nuisance", "angle=nan"], "'angle': nan is not a finite number"),
        ([model, good, "--in-place", "--friend", "id"], "writes no other file"),
        ([model, root, "--tree", "event"], "did you mean 'events'"),
        ([model, good, "-o", tmp_path / "nowhere"], "its folder does not exist"),
        ([tmp_path / "broken.onnx", good], "cannot be read as ONNX"),
        ([tmp_path / "m.pt", good], "give a model that ends in"),
        ([tmp_path / "m.eqx", good], "cannot be read"),
    ]:
        done = call("predict", *words)
        assert done.exit_code == 2, (words, done.stdout)
        assert message in done.stderr, done.stderr
    assert [p.name for p in tmp_path.glob("*score*")] == []
