"""An analysis from a file: truth of its variations, what each mistake says, and the worked example end to end."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import uproot
import yaml
from typer.testing import CliRunner

from systwise.cases import Analysis, AnalysisSettings, no_progress
from systwise.cases.analysis._functions import check_at_nominal, import_function, source_of
from systwise.cases.analysis.file._formula import parse_polynomial
from systwise.cases.analysis.reading import _portions
from systwise.cli import app
from systwise.errors import ConfigError, DataError
from systwise.events import AnchorInterpolation, Expression, SplitSettings, split_events
from systwise.learn import Problem
from systwise.learn.strategies.ratio import ratio_basis
from systwise.learn.training._game import draw_between, make_batch
from systwise.learn.training._task import hypothesis_task
from systwise.settings import validate
from systwise.study import Results, analysis_schema, build_case, example_analysis, resolve_settings
from systwise.study.plan._checked import check_region

EXAMPLE = Path(__file__).parents[1] / "examples" / "own-analysis"


pytestmark = pytest.mark.usefixtures("own_cache")


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def columns(count: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, count)
    w = random.uniform(0.5, 1.5, count)
    return {
        "number": np.arange(count),
        "x": x,
        "pt": 20 + 30 * random.random(count),
        "w": w,
        "w_up": w * np.exp(0.1 + 0.02 * x),
        "w_down": w * np.exp(-0.08 - 0.02 * x),
    }


def write(path: Path, values: dict[str, np.ndarray]) -> None:
    pq.write_table(pa.table(values), path)


FUNCTIONS = """
import jax.numpy as jnp

def scale(columns, z):
    return {"pt": columns["pt"] * (1 + 0.1 * z)}

def drops(columns, z):
    return {"pt": columns["pt"][columns["pt"] > 30]}

def shortens(columns, z):
    return {"pt": columns["pt"][:-1]}

def unfaithful(columns, z):
    return {"pt": columns["pt"] * (1.1 + z)}

def asks(columns, z):
    return {"pt": columns["pq"] * z}

def names(columns, z):
    return {"ptt": columns["pt"]}
"""


def basic() -> dict:
    return {
        "General": {"EventId": "number"},
        "Regions": [{"Filter": "(pt > 25) & (x < 4)", "Features": ["x", {"Name": "half", "Expression": "pt / 2"}]}],
        "Samples": [
            {"Name": "Signal", "SamplePath": "signal.parquet", "Weight": "w"},
            {"Name": "Background", "SamplePath": "background.parquet", "Weight": "2 * w"},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "Signal"}],
        "Systematics": [
            {"Name": "scale", "Function": "moves:scale"},
            {
                "Name": "jes",
                "Samples": "Background",
                "Up": {"SamplePath": "background_up.parquet"},
                "Down": {"SamplePath": "background_down.parquet"},
            },
            {
                "Name": "theory",
                "Kind": "theory",
                "Samples": "Signal",
                "Up": {"Weight": "w_up"},
                "Down": {"Weight": "w_down"},
            },
            {"Name": "lumi", "Type": "Normalization", "Up": {"Normalization": 0.02}, "Down": {"Symmetrize": True}},
        ],
    }


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "signal.parquet", columns(3000, 1, 1.0))
    write(tmp_path / "background.parquet", columns(4000, 2))
    write(tmp_path / "background_up.parquet", columns(4000, 2, 0.3))
    write(tmp_path / "background_down.parquet", columns(3900, 2, -0.2))
    (tmp_path / "moves.py").write_text(FUNCTIONS)
    return tmp_path


def made(tree: dict) -> Analysis:
    return Analysis(validate(AnalysisSettings, tree, "my.yaml"))


def at(case: Analysis, **values: float) -> np.ndarray:
    return np.array([values.get(n.name, n.nominal) for n in case.nuisances], np.float32)


def total(case, table, **values) -> np.ndarray:
    events = case.vary(table.slice(slice(None)), jnp.asarray(at(case, **values)))
    return np.asarray(events.weights, np.float64).sum(axis=0)


# --- truth ---------------------------------------------------------------------------------------------------------


def kept(values, scale=1.0):
    return (values["pt"] * scale > 25) & (values["x"] < 4)


def test_yields_at_every_kind_of_variation_are_those_of_the_files(folder):
    case = made(basic())
    table = case.load(0)
    signal, background = columns(3000, 1, 1.0), columns(4000, 2)
    up, down = columns(4000, 2, 0.3), columns(3900, 2, -0.2)
    nominal = [signal["w"][kept(signal)].sum(), 2 * background["w"][kept(background)].sum()]
    np.testing.assert_allclose(total(case, table), nominal, rtol=1e-5)
    # A function moves pt across the threshold: events come in and go out, none was dropped on reading.
    moved = [signal["w"][kept(signal, 1.1)].sum(), 2 * background["w"][kept(background, 1.1)].sum()]
    np.testing.assert_allclose(total(case, table, scale=1.0), moved, rtol=1e-5)
    assert moved[0] > nominal[0]
    # Samples at their own values, straight lines beyond, and the differences of two nuisances add.
    ups, downs = 2 * up["w"][kept(up)].sum(), 2 * down["w"][kept(down)].sum()
    np.testing.assert_allclose(total(case, table, jes=1.0), [nominal[0], ups], rtol=1e-5)
    np.testing.assert_allclose(total(case, table, jes=-1.0), [nominal[0], downs], rtol=1e-5)
    slope = 1.5 * ups - 2 * nominal[1] + 0.5 * downs
    np.testing.assert_allclose(total(case, table, jes=2.0), [nominal[0], ups + slope], rtol=1e-4)
    varied = [signal["w_up"][kept(signal)].sum(), nominal[1]]
    np.testing.assert_allclose(total(case, table, theory=1.0), varied, rtol=1e-5)
    np.testing.assert_allclose(total(case, table, theory=1.0, jes=1.0), [varied[0], ups], rtol=1e-5)
    assert [n.name for n in case.nuisances] == ["scale", "jes", "theory", "lumi"]
    assert case.normalisations[0].factors == (0.98, 1.02)


def test_a_function_recomputes_features_and_leaves_the_other_samples_alone(folder):
    tree = basic()
    tree["Systematics"][0]["Samples"] = "Signal"
    case = made(tree)
    table = case.load(0)
    events = table.slice(slice(None))
    moved = case.vary(events, jnp.asarray(at(case, scale=1.0)))
    signal = np.asarray(events.process) == 0
    ratio = np.asarray(moved.features[:, 1] / events.features[:, 1])
    np.testing.assert_allclose(ratio[signal], 1.1, rtol=1e-5)
    np.testing.assert_array_equal(ratio[~signal], 1.0)
    np.testing.assert_array_equal(moved.features[:, 0], events.features[:, 0])


def test_a_mirror_image_is_twice_nominal_minus_the_other_side(folder):
    tree = basic()
    tree["Systematics"][1]["Down"] = {"Symmetrize": True}
    tree["Systematics"][2]["Down"] = {"Symmetrize": True}
    case = made(tree)
    table = case.load(0)
    base, up, down = (total(case, table, jes=z)[1] for z in (0.0, 1.0, -1.0))
    assert down == pytest.approx(2 * base - up, rel=1e-5)
    events = table.slice(slice(0, 100))
    weights = [np.asarray(case.vary(events, jnp.asarray(at(case, theory=z))).weights[:, 0]) for z in (-1.0, 0.0, 1.0)]
    np.testing.assert_allclose(weights[0] * weights[2], weights[1] ** 2, rtol=1e-5)


def test_training_sees_every_process_at_each_value_with_its_yield(folder):
    """Rows settle on values of their own samples; each class's weight at each value is what `vary` says."""
    case = made(basic())
    table = case.load(0)
    task = hypothesis_task(case, table, np.arange(len(table)))
    low, high = [0.0, -2.0, 0.0], [0.0, 2.0, 0.0]
    batches = [
        make_batch(case, task, draw_between(low, high), table.slice(slice(None)), jax.random.key(seed))
        for seed in range(40)
    ]
    z = np.concatenate([np.asarray(b.z[:, 1]) for b in batches])
    weights = np.concatenate([np.asarray(b.weights, np.float64) for b in batches]) / len(batches)
    assert set(np.unique(z)) == {-1.0, 0.0, 1.0}
    for value in (-1.0, 0.0, 1.0):
        expected = total(case, table, jes=value) * np.asarray(task.balance) / 3
        np.testing.assert_allclose(weights[z == value].sum(axis=0), expected, rtol=0.02)
    # At the nominal point only nominal rows count.
    fixed = make_batch(case, task, draw_between([0.0] * 3, [0.0] * 3), table.slice(slice(None)), jax.random.key(0))
    np.testing.assert_allclose(
        np.asarray(fixed.weights, np.float64).sum(axis=0), total(case, table) * np.asarray(task.balance), rtol=1e-4
    )


def test_events_that_fill_a_block_weigh_nothing_wherever_they_are_shifted(folder):
    """Shifted samples carry weights of their own, which the filling events must not keep."""
    case = made(basic())
    table = case.load(0)
    rows = np.flatnonzero(table.process == 1)[::-1]  # shifted ones first
    alone = dataclasses.replace(table, **{f: getattr(table, f)[rows] for f in ("features", "weights", "process", "id")})
    alone = dataclasses.replace(alone, columns=table.columns[rows], origin=table.origin[rows])
    for values in ({}, {"jes": 1.0}, {"jes": -0.4}):
        z = jnp.asarray(at(case, **values))
        found = np.zeros(2)
        for _, events in alone.blocks(np.arange(len(alone)), 1000):
            found += np.asarray(case.vary(events, z).weights, np.float64).sum(axis=0)
        np.testing.assert_allclose(found, total(case, alone, **values), rtol=1e-5)


def test_hypotheses_of_density_ratios_are_where_samples_exist(folder):
    """Elsewhere a hypothesis would compete with no event, and the ratio would learn that there are none."""
    case = made(basic())
    low, high = jnp.array([-1.0, -2.0, 0.0, 0.0]), jnp.array([1.0, 2.0, 0.0, 0.0])
    drawn = low + (high - low) * jax.random.uniform(jax.random.key(0), (3000, 4))
    points = np.asarray(case.settle_points(drawn, low, high, jax.random.key(1)))
    values, counts = np.unique(points[:, 1], return_counts=True)
    assert values.tolist() == [-1.0, 0.0, 1.0]
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.03)
    np.testing.assert_array_equal(points[:, 0], drawn[:, 0])  # a function may have any value
    inside = case.settle_points(drawn, low.at[1].set(-0.5), high, jax.random.key(1))
    assert set(np.unique(inside[:, 1]).tolist()) == {0.0, 1.0}  # within the draw only
    # Three values determine a parabola.
    assert case.settled == {"jes": 3}
    table = case.load(0)
    basis = ratio_basis(Problem(case, table, split_events(table, SplitSettings())), 4)
    powers = np.array(basis.exponents)
    jes = [n.name for n in case.nuisances].index("jes")
    assert powers[:, jes].max() == 2
    assert powers.sum(axis=1).max() == 4


def test_a_check_of_events_in_portions_is_that_of_all_at_once(folder, monkeypatch):
    """Memory is that of a portion, whatever the number and size of the files."""
    tree = basic()
    tree["Samples"].append({"Name": "again", "SamplePath": "background.parquet", "Filter": "pt > 60", "Weight": "w"})
    case = made(tree)
    whole = check_region(case, None, SplitSettings(), no_progress)
    monkeypatch.setattr(_portions, "TOGETHER", 700)
    assert sum(1 for _ in case.portions()) > 10
    parts = check_region(case, None, SplitSettings(), no_progress)
    assert parts.notes == whole.notes
    assert any("events of 'again' are events of 'Background' too" in note for note in whole.notes)
    for one, other in zip(parts.samples, whole.samples, strict=True):
        assert (one.name, one.read, one.kept) == (other.name, other.read, other.kept)
        assert (one.expected, one.effective) == pytest.approx((other.expected, other.effective), rel=1e-5)
    for one, other in zip(parts.effects, whole.effects, strict=True):
        assert (one.nuisance, one.sample, one.remark) == (other.nuisance, other.sample, other.remark)
        assert (one.down, one.up) == pytest.approx((other.down, other.up), abs=1e-5)
    assert [finding.label for finding in parts.findings] == [finding.label for finding in whole.findings]
    for one, other in zip(parts.findings, whole.findings, strict=True):
        assert (one.read, one.kept, one.remark) == (other.read, other.kept, other.remark)
        assert one.total == pytest.approx(other.total, rel=1e-5)
        assert (one.change or 0) == pytest.approx(other.change or 0, abs=1e-5)


def test_check_refuses_events_that_no_split_can_share(folder):
    write(folder / "signal.parquet", {name: values[:4] for name, values in columns(3000, 1, 1.0).items()})
    (folder / "my.yaml").write_text(yaml.safe_dump(basic()))
    done = call("check", "my.yaml")
    assert done.exit_code == 2
    assert "no Signal events are left for" in done.stderr


def test_an_angle_may_come_back_on_the_other_side_of_its_cut():
    angle = jnp.array([-np.pi, -1.0, 0.0, 3.0], jnp.float32)
    columns_of = {"phi": angle}
    check_at_nominal(lambda given, z: {"phi": given["phi"].at[0].set(np.pi)}, columns_of, 0.0, "Systematics.0")
    check_at_nominal(lambda given, z: {"phi": given["phi"] + 1e-7}, columns_of, 0.0, "Systematics.0")
    with pytest.raises(DataError, match=r"changes 'phi' of 1 of the first 4 events .* \(-1 becomes -1.5\)"):
        check_at_nominal(lambda given, z: {"phi": given["phi"].at[1].add(-0.5)}, columns_of, 0.0, "Systematics.0")


def test_an_event_and_its_shifted_copies_share_their_part_of_the_study(folder):
    table = made(basic()).load(0)
    split = split_events(table, SplitSettings(scheme="folds", folds=3))
    for origin in np.unique(table.origin[table.process == 1])[:50]:
        rows = table.origin == origin
        assert len(set(split.fold[rows])) == len(set(split.template[rows])) == 1
    assert len(np.unique(table.id)) == len(table)


def test_many_anchors_and_mixed_ways_of_one_nuisance(folder):
    write(folder / "background_two.parquet", columns(4000, 2, 0.6))
    tree = basic()
    tree["Systematics"] = [
        {
            "Name": "jes",
            "Samples": "Background",
            "Anchors": [
                {"Value": v, "SamplePath": f"background_{word}.parquet"}
                for v, word in ((-1, "down"), (1, "up"), (2, "two"))
            ],
        },
        {"Name": "jes", "Samples": "Signal", "Up": {"Normalization": 0.1}, "Down": {"Normalization": -0.05}},
    ]
    case = made(tree)
    table = case.load(0)
    two = columns(4000, 2, 0.6)
    base, found = total(case, table), total(case, table, jes=2.0)
    assert found[1] == pytest.approx(2 * two["w"][kept(two)].sum(), rel=1e-5)
    assert found[0] == pytest.approx(1.21 * base[0], rel=1e-5)
    assert case.nuisances[0].anchors == (-1.0, 0.0, 1.0, 2.0)
    assert case.nuisances[0].range == (-2.5, 2.5)
    assert case.nuisances[0].kind == "detector"


def test_an_envelope_holds_every_weight(folder):
    tree = basic()
    tree["Systematics"] = [{"Name": "pdf", "Samples": "Signal", "Envelope": ["w_up", "w_down"]}]
    case = made(tree)
    table = case.load(0)
    signal = columns(3000, 1, 1.0)
    use = kept(signal)
    both = np.stack([signal[name][use] for name in ("w", "w_up", "w_down")])
    assert total(case, table, pdf=1.0)[0] == pytest.approx(both.max(axis=0).sum(), rel=1e-5)
    assert total(case, table, pdf=-1.0)[0] == pytest.approx(both.min(axis=0).sum(), rel=1e-5)


def test_luminosity_scales_by_the_sum_of_weights_before_the_selection(folder):
    tree = basic()
    tree["General"]["Luminosity"] = 140.0
    tree["Samples"][0]["CrossSection"] = 0.5
    case = made(tree)
    signal = columns(3000, 1, 1.0)
    expected = 140 * 0.5 * signal["w"][kept(signal)].sum() / signal["w"].sum()
    assert total(case, case.load(0))[0] == pytest.approx(expected, rel=1e-5)


def test_quadratic_couplings_are_components(folder):
    tree = basic()
    tree["General"] |= {"POI": ["c_t", "c_g"], "Alternative": {"c_t": 0.8, "c_g": 0.2}}
    tree["NormFactors"] = [{"Name": "c_t"}, {"Name": "c_g", "Nominal": 0, "Bounds": [-1, 1]}]
    tree["Samples"][0] = {
        "Name": "Higgs",
        "SamplePath": "signal.parquet",
        "Components": {
            "tt": {"Formula": "c_t**2", "Weight": "w"},
            "tg": {"Formula": "c_t * c_g", "Weight": "-w_up"},
            "gg": {"Formula": "c_g**2", "Weight": "w_down"},
        },
    }
    tree["Systematics"] = []
    case = made(tree)
    assert case.components.powers == ((2, 0), (1, 1), (0, 2), (0, 0))
    assert case.components.alternative == (0.8, 0.2)
    signal = columns(3000, 1, 1.0)
    use = kept(signal)
    found = total(case, case.load(0))
    np.testing.assert_allclose(
        found[:3], [signal["w"][use].sum(), -signal["w_up"][use].sum(), signal["w_down"][use].sum()], rtol=1e-5
    )


def test_a_polynomial_is_split_into_its_monomials():
    assert parse_polynomial("1 - 2*mu + mu^2/2", ("mu",), "here") == {(0,): 1.0, (1,): -2.0, (2,): 0.5}
    with pytest.raises(ConfigError, match=r"here: 'sqrt\(mu\)' in 'sqrt\(mu\)' is no polynomial of mu"):
        parse_polynomial("sqrt(mu)", ("mu",), "here")


def test_interpolation_of_a_parabola_is_exact_and_its_ends_are_straight():
    inside = AnchorInterpolation((-2.0, -0.5, 0.0, 1.0, 3.0))
    x = jnp.array(inside.anchors)
    z = jnp.linspace(-2, 3, 21)
    np.testing.assert_allclose(inside(z) @ (1 + x - 0.3 * x**2), 1 + z - 0.3 * z**2, atol=1e-5)
    np.testing.assert_allclose(inside(jnp.array([5.0])) @ x**2, 9 + 6 * 2, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(inside(x)), np.eye(5))


def test_expressions_are_the_same_in_numpy_and_jax_and_run_nothing_else():
    text = "where((a > 1) & ~(b < 0.5), sqrt(a) / 2, -b ** 2) + `my column` % 2"
    values = {"a": np.linspace(0, 3, 7), "b": np.linspace(1, 0, 7), "my column": np.arange(7.0)}
    expression = Expression(text)
    assert expression.names == ("a", "b", "my column")
    expected = np.where((values["a"] > 1) & ~(values["b"] < 0.5), np.sqrt(values["a"]) / 2, -(values["b"] ** 2))
    expected = expected + values["my column"] % 2
    np.testing.assert_allclose(expression.evaluate(values), expected)
    np.testing.assert_allclose(
        expression.evaluate({k: jnp.asarray(v) for k, v in values.items()}, jnp), expected, rtol=1e-5
    )
    for bad in ("__import__('os').system('x')", "a.b()", "[a]", "lambda: 1", "'text'", "exec(a)"):
        with pytest.raises(ConfigError):
            Expression(bad)
    with pytest.raises(ConfigError, match="put brackets around the comparisons"):
        Expression("a & b").evaluate({"a": np.ones(2), "b": np.ones(2)})


@pytest.mark.parametrize("ending", ["root", "rntuple", "h5", "csv", "csv.gz", "parquet"])
def test_every_format_gives_the_same_events(folder, ending):
    reference = made(basic()).load(0)
    values = columns(3000, 1, 1.0)
    path = folder / f"other.{ending.replace('rntuple', 'root')}"
    if ending in {"root", "rntuple"}:
        with uproot.recreate(path) as file:
            if ending == "root":
                file.mktree("tree", {k: v.dtype for k, v in values.items()})
                file["tree"].extend(values)
            else:
                file["tree"] = values
    elif ending == "h5":
        with h5py.File(path, "w") as file:
            for name, array in values.items():
                file[f"tree/{name}"] = array
    elif ending == "parquet":
        write(path, values)
    else:
        with pa.CompressedOutputStream(str(path), "gzip") if ending == "csv.gz" else pa.OSFile(str(path), "wb") as sink:
            pyarrow.csv.write_csv(pa.table(values), sink)
    tree = basic()
    tree["Samples"][0] |= {"SamplePath": "oth*", "Tree": "tree"}
    table = made(tree).load(0)
    np.testing.assert_array_equal(table.features, reference.features)
    np.testing.assert_array_equal(table.weights, reference.weights)


def test_elements_of_vectors_are_features_and_missing_ones_are_marked(folder):
    import awkward as ak

    values = columns(200, 3)
    jets = ak.unflatten(np.arange(300.0), np.tile([0, 1, 2, 3], 50))
    with uproot.recreate(folder / "jets.root") as file:
        file["tree"] = {**values, "jet": jets}
    tree = basic()
    tree["Systematics"] = []
    tree["Samples"][0] |= {"SamplePath": "jets.root", "Filter": "pt > 0"}
    tree["Samples"][1] |= {"SamplePath": "jets.root", "Filter": "pt > 0"}
    tree["Regions"][0]["Features"] = ["x", "jet[1]"]
    with pytest.raises(DataError, match=r"set General\.Undefined for elements that are missing"):
        made(tree).load(0)
    tree["General"]["Undefined"] = -999
    found = made(tree).load(0).features[:200, 1]
    np.testing.assert_allclose(found[:8], [-999, -999, 2, 4, -999, -999, 8, 10])
    tree["Regions"][0]["Features"] = ["x", "jet"]
    with pytest.raises(DataError, match=r"branch 'jet' is a vector in each event; use an element, e\.g\. jet\[0\]"):
        made(tree).load(0)


# --- bad input ------------------------------------------------------------------------------------------------------


def put(*path):
    """Return a change of the tree: everything but the last item is the place, the last item the value."""

    def change(tree, folder):
        node = tree
        for part in path[:-2]:
            node = node[part]
        node[path[-2]] = path[-1]

    return change


def data(name, **changes):
    def change(tree, folder):
        values = columns(
            3000 if name == "signal" else 4000, 1 if name == "signal" else 2, 1.0 if name == "signal" else 0.0
        )
        for key, change in changes.items():
            values[key] = change(values[key].astype(float))
        write(folder / f"{name}.parquet", values)

    return change


def nan_at_seven(values):
    values[7] = np.nan
    return values


def repeat(values):
    return np.where(values == 5, 4, values).astype(np.int64)


def nan_feature(tree, folder):
    tree["Regions"][0]["Filter"] = "pt > 25"
    values = columns(3000, 1, 1.0)
    nan_at_seven(values["x"])[7:20] = np.nan
    write(folder / "signal.parquet", values)


BAD = {
    "unknown top key": (put("Sistematics", []), "unknown key 'my.yaml.Sistematics', did you mean 'Systematics'"),
    "unknown nested key": (
        put("Systematics", 1, "Up", {"SamplePth": "x"}),
        "unknown key 'my.yaml.Systematics.1.Up.SamplePth', did you mean 'SamplePath'",
    ),
    "unknown study key": (put("study", {"sedes": 3}), "unknown key 'sedes', did you mean 'seeds'"),
    "missing key": (put("Regions", [{"Name": "x"}]), "my.yaml.Regions.0: region 'x' has no observable; give Features"),
    "bad expression": (
        put("Regions", 0, "Filter", "pt >> "),
        "my.yaml.Regions.0.Filter: 'pt >> ' is not an expression",
    ),
    "code": (put("Samples", 0, "Weight", "open('x')"), "unknown function 'open'"),
    "an argument that would be overwritten": (
        put("Samples", 0, "Weight", "sqrt(pt, w)"),
        "'sqrt' takes 1 argument, not 2",
    ),
    "a cut that would not hold": (
        lambda tree, folder: tree["Systematics"].append(
            {"Name": "cut", "Up": {"Filter": "pt > 25"}, "Down": {"Symmetrize": True}}
        ),
        "its Filter cuts on 'pt', which a Function moves",
    ),
    "too few arguments": (put("Regions", 0, "Filter", "maximum(pt) > 1"), "'maximum' takes 2 arguments, not 1"),
    "a number without end": (put("Regions", 0, "Filter", "pt > 9**9**9"), "is no finite number"),
    "ROOT's power": (put("Samples", 0, "Weight", "w^2"), "write ** for a power"),
    "ROOT's function": (put("Samples", 0, "Weight", "TMath::Abs(w)"), "write abs, sqrt, ... for TMath::Abs"),
    "ROOT's choice": (put("Samples", 0, "Weight", "pt > 3 ? w : 0"), "write where(condition, a, b)"),
    "ROOT's not": (put("Regions", 0, "Filter", "!(pt > 3)"), "write ~ for !"),
    "unknown sample": (
        put("Systematics", 1, "Samples", "Backgrund"),
        "unknown sample 'Backgrund', did you mean 'Background'",
    ),
    "unknown poi": (put("General", {"POI": "nu"}), "General.POI: unknown NormFactor 'nu', did you mean 'mu'"),
    "unknown formula name": (
        put("Samples", 0, "Formula", "mmu**2"),
        "Samples.0 ('Signal').Formula: unknown parameter 'mmu', did you mean 'mu'",
    ),
    "no side": (
        put("Systematics", 1, "Down", None),
        "'jes' has no Down; give it, or mirror the other one with Down: {Symmetrize: true}",
    ),
    "two ways": (
        put("Systematics", 0, "Up", {"Weight": "w_up"}),
        "'scale' needs exactly one of Up/Down, Anchors, Envelope and Function",
    ),
    "missing file": (put("Samples", 0, "SamplePath", "nowhere.root"), "nowhere.root: no such file"),
    "empty glob": (put("Samples", 0, "SamplePath", "no*.root"), "Samples.0.SamplePath: no file matches 'no*.root'"),
    "missing branch": (
        put("Regions", 0, "Features", ["x", "ptt"]),
        "signal.parquet: no column 'ptt' for sample 'Signal', did you mean 'pt'",
    ),
    "missing variation weight": (
        put("Systematics", 2, "Up", {"Weight": "w_upp"}),
        "no column 'w_upp' for sample 'Signal'",
    ),
    "nothing selected": (
        put("Regions", 0, "Filter", "x > 99"),
        "none of the 3,000 events of sample 'Signal' passes the selection",
    ),
    "NaN weight": (data("signal", w=nan_at_seven), "weight 'w' is NaN or infinite in 1 of"),
    "NaN varied weight": (data("signal", w_up=nan_at_seven), "value 'w_up' is NaN or infinite in 1 of"),
    "NaN feature": (nan_feature, "value 'x' is NaN or infinite in 1"),
    "all-zero variation": (
        data("signal", w_up=lambda w: 0 * w),
        "Systematics.2 ('theory') at theory=1: all weights of sample 'Signal' are zero",
    ),
    "negative variation": (data("signal", w_up=lambda w: -w), "has another sign than the nominal one"),
    "duplicate ids": (
        data("signal", number=repeat),
        "event id 4 occurs 2 times in sample 'Signal' (1 ids are repeated)",
    ),
    "no such module": (put("Systematics", 0, "Function", "mover:scale"), "'mover' cannot be imported"),
    "no such function": (
        put("Systematics", 0, "Function", "moves:scal"),
        "has no function 'scal', did you mean 'scale'",
    ),
    "function drops events": (
        put("Systematics", 0, "Function", "moves:drops"),
        "selects events, which changes their number",
    ),
    "function of another length": (
        put("Systematics", 0, "Function", "moves:shortens"),
        "changes the number of events: 'pt' has shape (15,) for 16 events",
    ),
    "function moves nominal": (
        put("Systematics", 0, "Function", "moves:unfaithful"),
        "); there it must change nothing (or set Nominal)",
    ),
    "function asks for more": (
        put("Systematics", 0, "Function", "moves:asks"),
        "asks for column 'pq', did you mean 'pt'",
    ),
    "function invents": (put("Systematics", 0, "Function", "moves:names"), "returns 'ptt', did you mean 'pt'"),
}


def test_functions_of_one_name_in_two_folders_and_edited_ones_are_told_apart(tmp_path):
    found = []
    for folder, factor in (("one", 2), ("other", 3), ("one", 5)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "moved.py").write_text(
            f"def scale(columns, z):\n    return {{'x': columns['x'] * {factor}}}\n"
        )
        function = import_function("moved:scale", tmp_path / folder, "here")
        found.append((function({"x": 1}, 0)["x"], source_of(function).split()[-1]))
    assert found == [(2, "2}"), (3, "3}"), (5, "5}")]


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_gets_one_sentence_and_status_2(folder, name):
    change, sentence = BAD[name]
    tree = basic()
    change(tree, folder)
    (folder / "my.yaml").write_text(yaml.safe_dump(tree))
    done = call("check", "my.yaml")
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def warned(folder, tree) -> str:
    (folder / "my.yaml").write_text(yaml.safe_dump(tree))
    done = call("check", "my.yaml")
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["x", {"Name": "one", "Expression": "x * 0 + 2"}], "feature 'one' is 2 in every event: it tells nothing"),
        (["x", {"Name": "told", "Expression": "w + 1"}], "feature 'told' is made of 'w', which Weight uses too"),
        (["x", "number"], "feature 'number' is made of 'number', which EventId uses too"),
        (["x", {"Name": "far", "Expression": "where(x > 3.5, 1e9, x)"}], "feature 'far' reaches 1e+09, where 99 %"),
    ],
)
def test_features_that_tell_nothing_or_too_much_are_warned_of(folder, features, said):
    tree = basic()
    tree["Regions"][0] = {"Features": features}
    tree["Systematics"] = tree["Systematics"][3:]
    found = warned(folder, tree)
    assert said in found
    assert found.count("feature '") == 1


def test_a_lone_weight_and_a_variable_beyond_its_range_are_warned_of(folder):
    tree = basic()
    tree["Systematics"] = tree["Systematics"][3:]
    tree["Samples"][1]["Weight"] = "where(number == 7, 1e6, w)"
    tree["Regions"][0] = {"Features": ["x", "pt"], "Variable": "x", "VariableRange": [-0.5, 0.5]}
    found = warned(folder, tree)
    assert "one event of sample 'Background' has 100 % of its weight" in found
    assert "% of the events lie beyond VariableRange [-0.5, 0.5] and count in the bins at its ends" in found
    assert not any(word in warned(folder, basic()) for word in ("feature '", "of its weight", "VariableRange"))


def test_swapped_and_identical_sides_are_warned_of_and_kinship_is_told(folder):
    tree = basic()
    assert "same events, in another order" not in warned(folder, tree)
    write(folder / "background_up.parquet", {k: v[::-1] for k, v in columns(4000, 2, 0.3).items()})
    assert "same events, in another order" in warned(folder, tree)
    write(folder / "background_up.parquet", columns(4000, 2, 0.3) | {"number": np.arange(4000) + 10**6})
    assert "independent events" in warned(folder, tree)
    tree["Systematics"][2] |= {"Up": {"Weight": "w_down"}, "Down": {"Weight": "w_up"}}
    assert "check that they are not swapped" in warned(folder, tree)
    tree["Systematics"][2] |= {"Up": {"Weight": "w_up"}}
    assert "Up and Down of sample 'Signal' are identical" in warned(folder, tree)
    tree["Systematics"][1]["Down"] = {"SamplePath": "background.parquet"}
    assert "sample 'Background' at jes=-1 is identical to the nominal sample" in warned(folder, tree)


# --- the example, schema and command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    spec = importlib.util.spec_from_file_location("make_ntuples", EXAMPLE / "make_ntuples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(folder / "ntuples", 3000)
    for name in ("analysis.yaml", "shifts.py"):
        (folder / name).write_text((EXAMPLE / name).read_text())
    return folder


def test_init_writes_the_example_and_the_schema_accepts_it(tmp_path):
    assert call("init", tmp_path / "mine.yaml").exit_code == 0
    text = (tmp_path / "mine.yaml").read_text()
    assert text == example_analysis() == (EXAMPLE / "analysis.yaml").read_text()
    for name in ("shifts.py", "make_ntuples.py"):
        assert (tmp_path / name).read_text() == (EXAMPLE / name).read_text()
    done = call("check", tmp_path / "mine.yaml")
    assert done.exit_code == 0, done.output
    assert "is ready" in done.output
    schema = json.loads(call("schema").output)
    assert resources.files("systwise.study").joinpath("analysis.schema.json").read_text() == analysis_schema()
    checker = jsonschema.Draft202012Validator(schema)
    checker.validate(yaml.safe_load(text))
    assert list(checker.iter_errors(yaml.safe_load(text.replace("Samples:", "Smples:", 1))))
    assert call("init", tmp_path / "mine.yaml").exit_code == 2
    # An editor completes the settings of a study, those of single strategies among them.
    good = {"strategy": {"adversarial": {"network": {"width": 8}}}, "training": {"passes": 2}, "network": {"layers": 1}}
    checker.validate(yaml.safe_load(text) | {"study": good})
    for bad in ({"strategy": {"ratio": {"degre": 2}}}, {"training": {"pases": 2}}, {"network": {"layers": "two"}}):
        assert list(checker.iter_errors(yaml.safe_load(text) | {"study": bad})), bad


def test_check_reads_the_example(example):
    done = call("check", example / "analysis.yaml", "--events", "1000")
    assert done.exit_code == 0, done.output
    for word in ("Signal, met_resolution=1", "same events", "mu Signal + Ztautau + Top", "is ready"):
        assert word in done.output


def test_settings_come_from_file_quick_and_command_line_in_this_order(example):
    path = str(example / "analysis.yaml")
    settings = resolve_settings(path, quick=True, overrides={"case": {"General": {"Luminosity": 3.0}}, "seed": 4})
    assert settings.split.folds == 2
    assert settings.seed == 4
    assert build_case(path, settings).settings.general.luminosity == 3.0


SMALL = [
    "--quick",
    "--set",
    "inference.points=none",
    "--set",
    "training.minimum_steps=64",
    "--set",
    "network.width=8",
    "--set",
    "training.passes=1",
]
SMALL += ["--set", "training.batch=512", "--set", "binning.names=[optimised]", "--set", "binning.optimised=5"]
SMALL += ["--set", "fit.observables=[binned]", "--true", "mu=1"]


def run_example(example, out, strategies, *more) -> Results:
    """Run the example in a process of its own: compiling without the tests' checks takes half as long."""
    words = ["run", str(example / "analysis.yaml"), "--strategies", strategies, "--out", str(out), *SMALL, *more]
    done = subprocess.run(
        [sys.executable, "-m", "systwise.cli", *words], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    results = Results.load(out / "results.json")
    assert results.case == "higgs-example"
    assert {m.strategy for m in results.measurements} == set(strategies.split(","))
    for record in results.measurements:
        assert record.sigma is not None
        assert 0.05 < record.sigma < 1.5
        assert record.estimate == pytest.approx(1.0, abs=0.05)
        assert record.sigma_stat_only < record.sigma
    assert (out / "report.html").stat().st_size > 10_000
    return results


@pytest.mark.slow
def test_the_example_runs_with_samples_a_rate_and_a_score_of_its_own(example, tmp_path):
    tree = yaml.safe_load((example / "analysis.yaml").read_text())
    kept = [entry for entry in tree["Systematics"] if entry["Name"] in {"met_resolution", "lumi"}]
    results = run_example(example, tmp_path / "out", "nominal,column", "--set", f"case.Systematics={json.dumps(kept)}")
    assert {n.name: n.kind for n in results.nuisances} == {"met_resolution": "detector", "lumi": "norm"}


@pytest.mark.slow
def test_the_whole_example_runs_with_all_ways_to_vary_at_once(example, tmp_path):
    results = run_example(example, tmp_path / "out", "nominal,column")
    kinds = {n.name: n.kind for n in results.nuisances}
    assert kinds["tes"] == kinds["met_resolution"] == "detector"
    assert kinds["scale"] == "theory"
    assert kinds["lumi"] == kinds["top_cross_section"] == "norm"


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(tmp_path):
    tree = {
        "General": {"Measurement": "m", "POI": "mu", "InputPath": "."},
        "Regions": [{"Name": "SR", "Feature": ["a"]}, {"Name": "CR", "Kind": "signl", "Features": "a"}],
        "Samples": [{"Name": "S", "SamplePath": 3, "Wight": "w"}],
        "NormFactors": [{"Name": "mu", "Samples": "S", "Nominal": "one"}],
    }
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "bad.yaml")])
    assert done.exit_code == 2
    title, *said = done.output.removeprefix("systwise: ").strip().splitlines()
    assert title == "6 mistakes:"
    places = ("0.Feature'", "1.Kind:", "1.Features:", "0.SamplePath:", "0.Wight'", "0.Nominal:")
    assert all(place in line for place, line in zip(places, said, strict=True))
    assert "tuple" not in done.output
    assert "--set" not in done.output


def test_settings_files_and_columns_are_looked_at_together(tmp_path):
    example_events = tmp_path / "events.csv"
    example_events.write_text("pt,mass\n1,2\n3,4\n")
    tree = {
        "General": {"Measurement": "m", "POI": "mu", "InputPath": str(tmp_path)},
        "Regions": [
            {"Name": "SR", "Features": ["pt", "mas"]},
            {"Name": "CR", "Variable": "m_vis", "Binning": [0, 5], "Kind": "control"},
        ],
        "Samples": [{"Name": "S", "SamplePath": "events.csv"}, {"Name": "B", "SamplePath": "none.csv"}],
        "NormFactors": [{"Name": "mu", "Samples": "S"}],
        "study": {
            "strategies": ["nominall"],
            "true": [{"mux": 1}],
            "significance": {"points": [{"nu": 1}]},
            "trade_off": {"strengths": [1]},
        },
    }
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "bad.yaml")])
    assert done.exit_code == 2
    for said in (
        "6 mistakes:",
        "unknown strategy 'nominall'",
        "no parameter 'mux'",
        "'nu' is no parameter of interest",
        "no column 'mas' for sample 'S', did you mean 'mass'",
        "none.csv: no such file",
        "no column 'm_vis'",
    ):
        assert said in done.output, said
    # A run tells what it can without events, too.
    done = CliRunner().invoke(app, ["run", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "3 mistakes:" in done.output
