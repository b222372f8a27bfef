"""Files as people have them: texts, lists, several cycles, paths with variables, event numbers in two columns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
import yaml
from typer.testing import CliRunner

from systwise.cases import Analysis, AnalysisSettings
from systwise.cases.analysis.reading import _read
from systwise.cli import app
from systwise.errors import ConfigError, DataError
from systwise.events import Expression, as_numpy, column_names, read_blocks

LABELS = ["htautau", "ztautau", "htautau", "ttbar"]


def column(path: Path, name: str, kind: str, tree: str | None = None) -> list:
    return [value for block in read_blocks(path, {name: kind}, tree=tree) for value in as_numpy(block, name, path)]


@pytest.fixture
def files(tmp_path) -> Path:
    table = pa.table(
        {
            "label": pa.array(LABELS).dictionary_encode(),
            "pt": [[50.0, 30.0], [], [20.0], [70.0, 60.0, 40.0]],
            "w": [1.0, 2.0, 3.0, 4.0],
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    (tmp_path / "events.csv").write_text("label,w\n" + "".join(f"{name},{i + 1}\n" for i, name in enumerate(LABELS)))
    with uproot.recreate(tmp_path / "events.root") as file:
        for scale in (1.0, 10.0):
            tree = file.mktree("events", {"w": np.float64})
            tree.extend({"w": scale * np.arange(1, 5)})
    return tmp_path


@pytest.mark.parametrize("name", ["events.parquet", "events.csv"])
def test_texts_are_compared(files, name):
    cut = Expression('(label == "htautau") & (w > 1)')
    assert cut.names == ("label", "w")
    assert cut.texts == {"label"}
    assert [sorted(part.texts) for part in cut.parts()] == [["label"], []]
    columns = {"label": np.array(column(files / name, "label", "text"), object), "w": np.arange(1.0, 5)}
    assert cut.evaluate(columns).tolist() == [False, False, True, False]
    assert Expression('label != "htautau"').evaluate(columns).tolist() == [False, True, False, True]


@pytest.mark.parametrize("text", ['label < "a"', 'label == "a" == "b"', '"a" == "a"', 'abs(label == "a") + "b"'])
def test_texts_in_other_places_are_refused(text):
    with pytest.raises(ConfigError, match=r"a text is compared with a column|is not allowed"):
        Expression(text)


def test_a_selection_by_text_is_applied_as_files_are_read(files):
    tree = {
        "General": {"InputPath": str(files), "POI": "mu"},
        "Regions": [{"Name": "SR", "Variable": "`pt[0]`", "Binning": [0, 60, 100]}],
        "Samples": [
            {"Name": "S", "SamplePath": "events.parquet", "Weight": "w", "Filter": 'label == "htautau"'},
            {"Name": "B", "SamplePath": "events.parquet", "Weight": "w", "Filter": '(label != "htautau") & (w > 3)'},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "S"}],
    }
    table = Analysis(AnalysisSettings.model_validate(tree)).load(0)
    np.testing.assert_allclose(table.weights.sum(axis=0), [4.0, 4.0])


def test_elements_of_lists_in_parquet(files):
    path = files / "events.parquet"
    np.testing.assert_array_equal(column(path, "pt[1]", "float64"), [30.0, np.nan, np.nan, 60.0])
    assert column_names(path) == ["label", "pt", "w"]
    with pytest.raises(DataError, match=r"branch 'pt' is a vector in each event; use an element, e.g. pt\[0\]"):
        column(path, "pt", "float64")
    with pytest.raises(DataError, match=r"branch 'w' is one number an event; write w without \[0\]"):
        column(path, "w[0]", "float64")


@pytest.mark.parametrize("ending", ["parquet", "root"])
def test_numbers_made_of_vectors_are_the_same_from_every_format(tmp_path, ending):
    import awkward as ak

    jets = ak.Array([[3.0, 5.0, 4.0], [], [7.0], [1.0, 2.0]])
    path = tmp_path / f"jets.{ending}"
    if ending == "root":
        with uproot.recreate(path) as file:
            file["tree"] = {"pt": jets}
    else:
        pq.write_table(pa.table({"pt": pa.array(jets.to_list())}), path)
    nan = np.nan
    for name, expected in {
        "pt[0]": [3, nan, 7, 1],
        "pt[-1]": [4, nan, 7, 2],
        "pt[-3]": [3, nan, nan, nan],
        "len(pt)": [3, 0, 1, 2],
        "sum(pt)": [12, 0, 7, 3],
        "max(pt)": [5, nan, 7, 2],
        "min(pt)": [3, nan, 7, 1],
    }.items():
        np.testing.assert_array_equal(np.array(column(path, name, "float64"), float), expected, err_msg=name)
    known = {"sum(pt)": np.array([12.0, 3.0]), "pt[-1]": np.array([4.0, 2.0]), "x": np.array([1.0, 5.0])}
    expression = Expression("sum(pt) + maximum(pt[-1], x)")
    assert set(expression.names) == set(known)
    np.testing.assert_array_equal(expression.evaluate(known, np), [16.0, 8.0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pow(x, 2)", "unknown function 'pow'; write x**y for pow(x, y)"),
        ("fabs(x)", "unknown function 'fabs'; write abs"),
        ("max(x, y)", "unknown function 'max'; write maximum(x, y), or max(vector) of a branch of vectors"),
    ],
)
def test_functions_of_other_languages_are_answered_with_what_to_write(text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Expression(text)


def test_what_the_user_wrote_is_shown_as_it_is_written(files, tmp_path):
    tree = simple(files, "events.csv") | {"NormFactors": [{"Name": "mu", "Samples": "S"}]}
    (files / "events.csv").write_text("x\n" + "0.5\n" * 50)
    tree["General"]["Measurement"] = "[red]x[/blue]\\[b]"
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a.yaml")])
    assert done.exit_code == 0, done.output
    assert "[red]x[/blue]\\[b]" in done.output
    for key, value in (("Label", "$\\frac{$"), ("Measurement", "a $\\nothing$")):
        (tmp_path / "b.yaml").write_text(yaml.safe_dump(tree | {"General": tree["General"] | {key: value}}))
        done = CliRunner().invoke(app, ["check", str(tmp_path / "b.yaml")])
        assert done.exit_code == 2
        assert "cannot be written in a figure" in done.output


def test_patterns_that_match_too_many_files_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_read, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"matches more than 2 files; narrow the pattern"):
        Analysis(AnalysisSettings.model_validate(simple(tmp_path, "*.csv"))).load(0)


def test_cycles_and_leading_slashes_of_trees(files):
    path = files / "events.root"
    assert column(path, "w", "float64") == [10, 20, 30, 40]
    assert column(path, "w", "float64", "/events") == [10, 20, 30, 40]
    assert column(path, "w", "float64", "events;1") == [1, 2, 3, 4]
    with pytest.raises(DataError, match="no tree 'event', did you mean 'events'"):
        column(path, "w", "float64", "event")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n1;2\n", "columns are separated by ';'; write the file with commas"),
        ("a\tb\n1\t2\n", "separated by tabs"),
        ("a b\n1 2\n", "separated by spaces"),
        ("# made today\na,b\n1,2\n", "begins with a comment, '# made today'"),
        ("a, b\n1, 2\n", "have spaces around them"),
    ],
)
def test_csv_files_of_other_habits_are_told_apart(tmp_path, text, said):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        list(read_blocks(tmp_path / "x.csv", {"a": "float64", "b": "float64"}))


def simple(folder: Path, path: str, **general: object) -> dict:
    return {
        "General": {"Measurement": "m", "POI": "mu", "InputPath": str(folder), **general},
        "Regions": [{"Name": "SR", "Variable": "x", "Binning": [0, 1]}],
        "Samples": [{"Name": "S", "SamplePath": path}, {"Name": "B", "SamplePath": path}],
        "NormFactors": [{"Name": "mu", "Samples": "S"}],
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("xyz://host/events.root", "install what reads xyz (pip install '.[remote]') or copy the file here"),
        ("memory://nowhere/events.csv", "'memory://nowhere/events.csv': no such file; check the address"),
        ("memory://nowhere/*.csv", "no file matches 'memory://nowhere/*.csv'"),
        ("events.root:events", "write SamplePath: events.root and Tree: events for 'events.root:events'"),
    ],
)
def test_paths_that_are_not_read_say_what_to_write(files, tmp_path, path, said):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(simple(files, path)))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a.yaml")])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_files_on_other_machines_are_copied_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTWISE_CACHE", str(tmp_path / "cache"))
    system = pytest.importorskip("fsspec").filesystem("memory")
    for name, rows in (("one", 3), ("two", 4)):
        system.pipe(f"/store/{name}.csv", b"x\n" + b"0.5\n" * rows)
    for path, general, rows in (
        ("memory://store/one.csv", {}, 3),
        ("memory://store/*.csv", {}, 7),
        ("two.csv", {"InputPath": "memory://store/{SamplePath}"}, 4),
    ):
        table = Analysis(AnalysisSettings.model_validate(simple(tmp_path, path, **general))).load(0)
        assert len(table) == 2 * rows  # two samples
    copies = list((tmp_path / "cache" / "remote").rglob("*.csv"))
    assert sorted(copy.name for copy in copies) == ["one.csv", "two.csv"]
    # A file that has changed is copied again.
    system.pipe("/store/one.csv", b"x\n" + b"0.5\n" * 5)
    table = Analysis(AnalysisSettings.model_validate(simple(tmp_path, "memory://store/one.csv"))).load(0)
    assert len(table) == 10


def test_variables_and_the_home_folder_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EVENTS", "events")
    (tmp_path / "events.csv").write_text("x\n0.5\n0.5\n")
    for path in ("~/events.csv", f"{tmp_path}/$EVENTS.csv", "${EVENTS}.csv"):
        table = Analysis(AnalysisSettings.model_validate(simple(tmp_path, path))).load(0)
        assert len(table) == 4


def test_run_and_event_number_name_an_event_together(tmp_path):
    run, event = [1, 1, 2, 2], [2**40 + 1, 2**40 + 2, 2**40 + 1, 2**40 + 2]
    (tmp_path / "e.csv").write_text(
        "x,run,event\n" + "".join(f"0.5,{r},{e}\n" for r, e in zip(run, event, strict=True))
    )
    pair = simple(tmp_path, "e.csv", EventId=["run", "event"])
    table = Analysis(AnalysisSettings.model_validate(pair)).load(0)
    assert len(set(table.kin[:4].tolist())) == 4
    with pytest.raises(DataError, match="event"):
        Analysis(AnalysisSettings.model_validate(simple(tmp_path, "e.csv", EventId="event"))).load(0)


def test_the_sum_of_weights_may_stand_in_another_tree_of_the_files(tmp_path):
    for number, weights in enumerate(([100.0, 50.0], [250.0])):
        with uproot.recreate(tmp_path / f"skim{number}.root") as file:
            file.mktree("events", {"x": np.float64, "w": np.float64}).extend({"x": np.full(4, 0.5), "w": np.ones(4)})
            file.mktree("Runs", {"genEventSumw": np.float64}).extend({"genEventSumw": np.array(weights)})
    tree = simple(tmp_path, "skim*.root", Luminosity=10)
    for sample, where in zip(tree["Samples"], ("Runs:genEventSumw", 800), strict=True):
        sample |= {"Tree": "events", "Weight": "w", "CrossSection": 40, "SumOfWeights": where}
    table = Analysis(AnalysisSettings.model_validate(tree)).load(0)
    # 8 events of the files at 10 x 40 / 400 and 10 x 40 / 800.
    np.testing.assert_allclose(table.weights.sum(axis=0), [8.0, 4.0])
    tree["Samples"][0]["SumOfWeights"] = "Runs:genEventSum"
    with pytest.raises(DataError, match="genEventSum"):
        Analysis(AnalysisSettings.model_validate(tree)).load(0)
    tree["Samples"][0]["SumOfWeights"] = "many"
    with pytest.raises(ConfigError, match="neither a number nor Tree:branch"):
        Analysis(AnalysisSettings.model_validate(tree)).load(0)
