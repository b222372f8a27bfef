"""Networks in ONNX give our numbers, whatever the layers, the scaler and the folds."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from systwise.cases import CASES
from systwise.cli import app
from systwise.errors import ConfigError, DataError
from systwise.export import _onnx, export_onnx
from systwise.learn import (
    STRATEGIES,
    Blind,
    Halves,
    NetworkObservable,
    NetworkSettings,
    Scaler,
    Told,
    load_observable,
    save_observable,
)
from systwise.learn.networks._network import multilayer
from systwise.learn.observables._observable import stack_networks


def scaler(size, undefined=None, logarithmic=()):
    mean = jnp.arange(size, dtype=jnp.float32)
    return Scaler(mean, 1.0 + mean / 2, undefined, logarithmic)


def network(kind, activation="relu", key=0, **words):
    settings = NetworkSettings(layers=2, width=8, activation=activation)
    if kind == "blind":
        return Blind(scaler(2, **words), multilayer(settings, 2, "scalar", jax.random.key(key)))
    if kind == "told":
        return Told(scaler(2, **words), scaler(1), multilayer(settings, 3, "scalar", jax.random.key(key)))
    sides = (network("told", activation, key + n, **words) for n in (10, 20))
    return Halves(*sides, jnp.asarray(0.3, jnp.float32))


def saved(folder, networks, moving=False, name="aware"):
    case = CASES.get("gaussian-toy")(CASES.get("gaussian-toy").settings_class())
    path = folder / "models" / f"{name}-seed0.eqx"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        save_observable(file, STRATEGIES.get(name)(), 0, stack_networks(networks, moving), case)
    return path


def run_onnx(path, features, nuisances):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {"features": features, "nuisances": nuisances}
    return session.run(["score", "logit"], {i.name: given[i.name] for i in session.get_inputs()})


@pytest.mark.parametrize("kind", ["blind", "told", "halves"])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_graphs_give_our_logits(tmp_path, kind, activation):
    networks = [network(kind, activation, key, undefined=-999.0, logarithmic=(1,)) for key in (1, 2)]
    path = saved(tmp_path, networks, moving=kind != "blind")
    difference = export_onnx(path, tmp_path / "m.onnx")[tmp_path / "m.onnx"]
    assert difference < 1e-5
    draw = np.random.default_rng(3)
    features = draw.normal(1.0, 2.0, (50, 2)).astype(np.float32)
    features[:5, 0], features[5:9, 1] = -999.0, -999.0
    z = draw.normal(0.3, 1.0, (50, 1)).astype(np.float32)
    score, logit = run_onnx(tmp_path / "m.onnx", features, z)
    expected = np.mean([n(jnp.asarray(features), jnp.asarray(z)) for n in networks], axis=0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logit, expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-expected)), atol=1e-5)
    words = json.loads({p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}["systwise"])
    assert words["features"] == ["x1", "x2"]
    assert (words["folds"], words["fold"], words["strategy"]) == (2, None, "aware")


def test_folds_can_be_kept_apart(tmp_path):
    networks = [network("blind", key=key) for key in (1, 2)]
    made = export_onnx(saved(tmp_path, networks), tmp_path / "m.onnx", "separate")
    assert sorted(path.name for path in made) == ["m-fold0.onnx", "m-fold1.onnx"]
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    for fold, one in enumerate(networks):
        _, logit = run_onnx(tmp_path / f"m-fold{fold}.onnx", x, None)
        np.testing.assert_allclose(logit, one(jnp.asarray(x), jnp.zeros((9, 1))), atol=1e-5)


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    path = saved(tmp_path, [network("blind")])
    monkeypatch.setattr(_onnx, "TOLERANCE", 1e-12)
    with pytest.raises(ConfigError, match="differ from ours by"):
        export_onnx(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_saved_networks_come_back_without_training(tmp_path):
    networks = [network("halves", "silu", key, undefined=-1.0) for key in (1, 2)]
    header, again = load_observable(saved(tmp_path, networks, moving=True))
    assert isinstance(again, NetworkObservable)
    assert (again.folds, again.moving, header["features"]) == (2, True, ["x1", "x2"])
    for one, other in zip(jax.tree.leaves(stack_networks(networks, True)), jax.tree.leaves(again), strict=True):
        if isinstance(one, jax.Array):
            np.testing.assert_array_equal(one, other)


def test_unusable_models_are_one_sentence(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    path = saved(tmp_path, [network("blind")])
    whole = path.read_bytes()
    for content, message in [(b"no model", "is no saved model"), (whole[:-100], "is not a saved observable")]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            export_onnx(path, tmp_path / "m.onnx")
        done = CliRunner().invoke(app, ["export", str(tmp_path), "--format", "onnx", "-o", str(tmp_path / "m.onnx")])
        assert (done.exit_code, message in done.stderr) == (2, True)
    header = json.loads(whole.split(b"\n", 1)[0]) | {"structure": None, "strategy": "ratio"}
    path.write_bytes(json.dumps(header).encode() + b"\n")
    with pytest.raises(DataError, match="strategy 'ratio' is no network"):
        export_onnx(path, tmp_path / "m.onnx")
