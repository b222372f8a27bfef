"""Several regions and observed data: cabinetry's numbers, estimates from data, blinding, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml
from typer.testing import CliRunner

from systwise.cases import Analysis, AnalysisSettings
from systwise.cli import app
from systwise.fit import Model, asimov, fit, prefit_yields
from systwise.parameters import Components, GaussianConstraint, Nuisance
from systwise.report.figures._measurement import yield_figure
from systwise.study import Manifest, Results, StoredTemplates, stored_rows

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]
EXAMPLE = Path(__file__).parents[1] / "examples" / "cms-htautau"
EDGES = [0, 25, 50, 75, 100]


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def events(seed: int, count: int, peak: float, weight: float, charge: float = 0.5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mass = np.abs(random.normal(peak, 25, count))
    return {
        "mass": mass,
        "other": random.normal(peak / 50, 1, count),
        "far": random.uniform(0, 1, count),
        "same": (random.uniform(0, 1, count) > charge).astype(float),
        "w": np.full(count, weight),
        "w_up": weight * (1 + 0.2 * mass / 100),
        "w_down": weight * (1 - 0.15 * mass / 100),
    }


FILES = {
    "signal": lambda: events(1, 3000, 70, 0.05, 1.0),
    "background": lambda: events(2, 6000, 30, 0.1, 0.9),
    "shifted": lambda: events(3, 6000, 34, 0.1, 0.9),
}


def observed() -> dict[str, np.ndarray]:
    parts = [events(11, 160, 70, 1, 1.0), events(12, 600, 31, 1, 0.9), events(13, 220, 50, 1, 0.5)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: found[name] for name in ("mass", "other", "far", "same")}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    # Trees: uproot applies no cut to an RNTuple, and cabinetry would count all events.
    with uproot.recreate(folder / "prediction.root") as file:
        for name, make in FILES.items():
            tree_of(file, name, make())
    with uproot.recreate(folder / "data.root") as file:
        tree_of(file, "observed", observed())
    return folder


def tree_of(file, name: str, values: dict[str, np.ndarray]) -> None:
    file.mktree(name, {key: column.dtype for key, column in values.items()}).extend(values)


def analysis() -> dict:
    """An analysis in cabinetry's words: two regions, mirrored samples, weights, a rate in one region, a free factor."""
    return {
        "General": {
            "Measurement": "two-regions",
            "POI": "mu",
            "HistogramFolder": "histograms/",
            "InputPath": "{SamplePath}",
        },
        "Regions": [
            {"Name": "signal", "Variable": "mass", "Filter": "far < 0.6", "Binning": EDGES},
            {"Name": "control", "Variable": "mass", "Filter": "far >= 0.6", "Binning": EDGES[:3], "Kind": "control"},
        ],
        "Samples": [
            {"Name": "Data", "Tree": "observed", "SamplePath": "data.root", "Data": True},
            {
                "Name": "S",
                "Tree": "signal",
                "SamplePath": "prediction.root",
                "Weight": "w",
                "Regions": "signal",
                "DisableStaterror": True,
            },
            {"Name": "B", "Tree": "background", "SamplePath": "prediction.root", "Weight": "w"},
        ],
        "Systematics": [
            {
                "Name": "lumi",
                "Type": "Normalization",
                "Up": {"Normalization": 0.05},
                "Down": {"Normalization": -0.05},
            },
            {
                "Name": "model",
                "Samples": "B",
                "Type": "NormPlusShape",
                "Up": {"SamplePath": "prediction.root", "Tree": "shifted"},
                "Down": {"Symmetrize": True},
            },
            {
                "Name": "weights",
                "Samples": "B",
                "Type": "NormPlusShape",
                "Up": {"Weight": "w_up"},
                "Down": {"Weight": "w_down"},
                "Smoothing": {"Algorithm": "353QH, twice"},
            },
            {
                "Name": "extrapolation",
                "Samples": "B",
                "Regions": "control",
                "Type": "Normalization",
                "Up": {"Normalization": 0.1},
                "Down": {"Normalization": -0.08},
            },
        ],
        "NormFactors": [
            {"Name": "mu", "Samples": "S", "Nominal": 1, "Bounds": [-5, 10]},
            {"Name": "norm_B", "Samples": "B", "Nominal": 1, "Bounds": [0, 5]},
        ],
    }


def write(folder: Path, tree: dict, name: str = "my.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def run(inputs) -> Path:
    tree = analysis() | {"study": {"fit": {"simulation": "include"}, "true": [{}, "control"]}}
    write(inputs, tree)
    os.environ["SYSTWISE_CACHE"] = str(inputs / "cache")
    done = call("run", inputs / "my.yaml", "--out", inputs / "out")
    assert done.exit_code == 0, done.output
    return inputs / "out"


@pytest.fixture(scope="module")
def by_cabinetry(inputs):
    """cabinetry's fits of the same file: expected and observed data."""
    cabinetry = pytest.importorskip("cabinetry")
    logging.getLogger("cabinetry").setLevel(logging.ERROR)
    tree = analysis()
    del tree["Regions"][1]["Kind"]  # cabinetry does not know it
    tree["General"]["InputPath"] = str(inputs / "{SamplePath}")
    tree["General"]["HistogramFolder"] = str(inputs / "histograms")
    cabinetry.templates.build(tree, method="uproot")
    cabinetry.templates.postprocess(tree)
    workspace = cabinetry.workspace.build(tree)
    found = {}
    for kind in ("asimov", "observed"):
        model, data = cabinetry.model_utils.model_and_data(workspace, asimov=kind == "asimov")
        result = cabinetry.fit.fit(model, data, minos=["mu"])
        found[kind] = dict(zip(result.labels, result.bestfit, strict=True)), result.minos_uncertainty["mu"]
    return found


def test_a_file_of_cabinetry_gives_its_numbers_on_expected_data(run, by_cabinetry):
    record, _ = Results.load(run / "results.json").asimov
    best, (down, up) = by_cabinetry["asimov"]
    sigma = (up - down) / 2
    assert record.estimate == pytest.approx(best["mu"], abs=0.01 * sigma)
    assert record.sigma_down == pytest.approx(-down, rel=0.01)
    assert record.sigma_up == pytest.approx(up, rel=0.01)
    assert record.bins == 6


def test_expected_data_may_be_those_of_the_control_regions_fit(run, tmp_path):
    _, record = Results.load(run / "results.json").asimov
    row = StoredTemplates.load(next((run / "templates").glob("*.npz"))).restricted(["control"])
    values = observed()
    counts, _ = np.histogram(values["mass"][values["far"] >= 0.6], EDGES[:3])
    model = row.model()
    best = fit(model, row.observed_data(model, {"control": counts}), fixed={"mu": 1.0}).nuisance_estimate
    assert {name: record.true[name] for name in best} == pytest.approx(best, abs=1e-5)
    assert best["norm_B"] > 1.1
    assert record.true["mu"] == 1.0
    # A fit to these data finds the factor that the control region wants.
    assert record.nuisance_estimate["norm_B"] == pytest.approx(best["norm_B"], abs=0.1)
    first = Manifest.load(run).looks[0]
    assert (first.stage, first.regions) == ("control", ["control"])


def test_observed_data_are_shown_stage_by_stage_and_give_cabinetrys_numbers(run, by_cabinetry, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    refused = call("export", folder, "-o", tmp_path / "w.json", "--data", "observed")
    assert refused.exit_code == 2
    assert "is blinded; run systwise unblind --stage full first" in " ".join(refused.stderr.split())
    control = call("unblind", folder, "--stage", "control")
    assert control.exit_code == 0, control.output
    values = observed()
    inside = (values["far"] >= 0.6) & (values["mass"] < 50)
    assert f"data {int(inside.sum())}" in " ".join(control.output.split())
    goodness = call("unblind", folder, "--stage", "gof")
    assert "p-value" in goodness.output
    assert not Results.load(folder / "results.json").observed
    full = call("unblind", folder, "--stage", "full")
    assert full.exit_code == 0, full.output
    (record,) = Results.load(folder / "results.json").observed
    best, (down, up) = by_cabinetry["observed"]
    sigma = (up - down) / 2
    assert record.estimate == pytest.approx(best["mu"], abs=0.01 * sigma)
    assert record.sigma_up == pytest.approx(up, rel=0.015)
    assert record.sigma_down == pytest.approx(-down, rel=0.015)
    for name in ("model", "weights", "extrapolation", "lumi"):
        assert record.nuisance_estimate[name] == pytest.approx(best[name], abs=0.02)
    assert record.nuisance_estimate["norm_B"] == pytest.approx(best["norm_B"], abs=0.005)
    looks = Manifest.load(folder).looks[1:]  # the run itself has fitted the control region
    assert [look.stage for look in looks] == ["control", "gof", "full"]
    assert looks[0].regions == ["control"]
    assert set(looks[2].data) == {"signal", "control"}
    assert (folder / "unblinded" / "column-fixed-given-full" / "report.html").exists()


@pytest.mark.parametrize("kind", ["pyhf", "cabinetry"])
def test_exports_of_several_regions_are_exact(run, tmp_path, kind):
    pytest.importorskip(kind)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert call("unblind", folder, "--stage", "full").exit_code == 0
    for data in ("asimov", "observed"):
        out = tmp_path / f"{kind}-{data}{'.json' if kind == 'pyhf' else ''}"
        done = call("export", folder, "-o", out, "--format", kind, "--data", data)
        assert done.exit_code == 0, done.output
        about = json.loads((tmp_path / f"pyhf-{data}.about.json" if kind == "pyhf" else out / "about.json").read_text())
        assert abs(about["comparison"]["sigma_change"]) < 0.002
        assert abs(about["comparison"]["shift_in_sigma"]) < 0.002
        if kind == "pyhf":
            channels = json.loads(out.read_text())["channels"]
            assert [channel["name"] for channel in channels] == ["signal", "control"]
            assert [sample["name"] for sample in channels[1]["samples"]] == ["B"]


def test_a_hidden_value_is_shifted_by_an_offset_that_the_seed_decides(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    pages = []
    for seed in (1, 1, 2):
        assert call("unblind", folder, "--stage", "full", "--blind", seed).exit_code == 0
        record = json.loads((folder / "unblinded" / "column-fixed-given-full" / "measurement.json").read_text())
        pages.append(record)
        assert record["postfit"] is None
        assert record["discovery"] is None
        assert record["limit"] is None
    values = [page["result"]["estimates"]["mu"] for page in pages]
    assert values[0] == values[1] != values[2]
    widths = [np.ptp(page["result"]["interval"]) for page in pages]
    np.testing.assert_allclose(widths, widths[0], rtol=1e-12)
    assert not Results.load(folder / "results.json").observed
    assert all(look.hidden for look in Manifest.load(folder).looks[1:])


def test_a_run_that_replaces_another_leaves_nothing_of_it_and_one_that_is_refused_leaves_it(run, inputs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert call("unblind", folder, "--stage", "full").exit_code == 0
    (folder / "templates" / "old-fixed-given-seed9.npz").write_bytes(b"")
    refused = call("run", inputs / "my.yaml", "--out", folder, "--force", "--set", "fit.anchors=0")
    assert refused.exit_code == 2
    assert Results.load(folder / "results.json").observed
    assert call("run", inputs / "my.yaml", "--out", folder, "--force").exit_code == 0
    assert not (folder / "unblinded").exists()
    assert [path.name for path in (folder / "templates").iterdir()] == ["column-fixed-given-seed0.npz"]
    assert not Results.load(folder / "results.json").observed
    assert [look.strategy for look in Manifest.load(folder).looks] == ["given"]


def test_a_rate_acts_in_its_regions_only(run):
    row = StoredTemplates.load(next((run / "templates").glob("*.npz"))).fitted
    model = row.model(simulation=False)
    nominal = model.expected({}, {})
    moved = model.expected({}, {"extrapolation": 1.0})
    own = model.region_slices()
    np.testing.assert_allclose(moved[own["signal"]], nominal[own["signal"]])
    np.testing.assert_allclose(moved[own["control"]], 1.1 * nominal[own["control"]], rtol=1e-9)


def test_an_estimate_is_data_in_another_selection_less_simulation(inputs):
    tree = analysis()
    tree["Regions"][0]["Filter"] = "(far < 0.6) & (same == 0)"
    tree["Regions"][1]["Filter"] = "(far >= 0.6) & (same == 0)"
    filters = {"signal": "(far < 0.6) & (same == 1)", "control": "(far >= 0.6) & (same == 1)"}
    tree["Samples"].append({"Name": "fakes", "Estimate": {"Filter": filters, "Scale": 1.5, "Subtract": ["S", "B*"]}})
    case = Analysis(AnalysisSettings.model_validate(tree | {"Folder": str(inputs)}))
    assert case.estimated == ("fakes",)
    values, simulated = observed(), FILES["background"]()
    for name, region in case.regions.items():
        table = region.load(0)
        in_region = (lambda v: v["far"] < 0.6) if name == "signal" else (lambda v: v["far"] >= 0.6)
        truth = np.sum(in_region(values) & (values["same"] == 1))
        truth -= np.sum(simulated["w"][in_region(simulated) & (simulated["same"] == 1)])
        own = table.weights[:, case.components.names.index("fakes")]
        assert own.sum() == pytest.approx(1.5 * truth, rel=1e-5)
        assert (own < 0).any()


@pytest.fixture(scope="module")
def trained(inputs) -> Path:
    """A run with a trained, a given and a validation region, unblinded."""
    tree = analysis()
    tree["General"]["Label"] = "1 fb$^{-1}$ (8 TeV)"
    tree["Regions"][0]["Features"] = ["mass", "other"]
    tree["Regions"].append(
        {"Name": "middle", "Kind": "validation", "Variable": "other", "Binning": [-5, 0, 5], "Filter": "same == 1"}
    )
    tree["Regions"].append(
        {
            "Name": "side",
            "Kind": "control",
            "Filter": "(far >= 0.6) & (mass >= 50)",
            "Observable": {"Region": "signal"},
            "Variable": "mass",
            "Binning": EDGES[2:],
        }
    )
    tree["study"] = {
        "strategies": ["nominal", "aware", "column", "ratio"],
        "true": [{}],
        "network": {"layers": 1, "width": 8},
        "training": {"passes": 2, "minimum_steps": 100, "evaluations": 2},
        "split": {"scheme": "folds", "folds": 2},
        "inference": {"points": "none"},
        "binning": {"names": ["optimised"], "optimised": 4, "minimum": 10},
        "fit": {"conventions": ["poisson"], "cells": 6, "anchors": 3},
    }
    os.environ["SYSTWISE_CACHE"] = str(inputs / "cache")
    for words in (("run", write(inputs, tree, "trained.yaml"), "--out"), ("unblind", "--stage", "full")):
        done = call(*words, inputs / "trained")
        assert done.exit_code == 0, done.output
    return inputs / "trained"


def test_trained_and_given_regions_are_fitted_together_and_unblinded(trained):
    found = {(m.strategy, m.observable): m for m in Results.load(trained / "results.json").asimov}
    kinds = {("nominal", "fixed"), ("aware", "moving"), ("aware", "anchored"), ("column", "fixed")}
    assert set(found) == kinds | {("ratio", "unbinned")}
    assert all(record.converged for record in found.values())
    # Events of the signal region, and of the side region too, which lacks S; the control region is in bins.
    assert found["ratio", "unbinned"].bins == 2
    assert found["ratio", "unbinned"].sigma_stat_only == pytest.approx(
        found["nominal", "fixed"].sigma_stat_only, rel=0.1
    )
    assert found["column", "fixed"].bins == 8  # the validation region's bins are not fitted
    measured = {m.strategy: m for m in Results.load(trained / "results.json").observed}
    assert set(measured) == {"nominal", "aware", "column", "ratio"}
    values = observed()
    # Events one by one, beside the bins of the control region; the counts are those of the selection.
    counts = json.loads((trained / "unblinded" / "ratio-unbinned-none-seed0.json").read_text())
    far = values["far"] >= 0.6
    assert [len(own) for own in counts.values()] == [1, 2, 1]
    assert counts["signal"] == [(~far).sum()]
    assert counts["side"] == [(far & (values["mass"] >= 50)).sum()]
    record = measured["ratio"]
    assert (record.observable, record.converged) == ("unbinned", True)
    assert record.estimate == pytest.approx(measured["nominal"].estimate, abs=2 * record.sigma)
    saved = json.loads((trained / "unblinded" / "ratio-unbinned-none-full" / "measurement.json").read_text())
    assert "single events" in saved["missing"]["goodness"]
    for name, kind, binning in (
        ("nominal", "fixed", "optimised"),
        ("aware", "anchored", "joint"),
        ("column", "fixed", "given"),
    ):
        path = trained / "unblinded" / f"{name}-{kind}-{binning}-seed0.json"
        counts = json.loads(path.read_text())
        assert set(counts) == {"signal", "control", "side"}
        inside = (values["far"] < 0.6) & ((values["mass"] < 100) if name == "column" else True)
        assert sum(counts["signal"]) == inside.sum()
        # The same counts give the same number again.
        row = StoredTemplates.load(next((trained / "templates").glob(f"{name}-{kind}-{binning}-*")))
        model = row.fitted.model()
        data = row.observed_data(model, {region: np.array(own) for region, own in counts.items()})
        again = fit(model, data)
        assert measured[name].estimate == pytest.approx(again.estimate if again.minimum_found else None, rel=1e-9)
    goodness = call("unblind", trained, "--stage", "gof", "--strategies", "ratio")
    assert goodness.exit_code == 2
    assert "events one by one have no saturated goodness of fit" in " ".join(goodness.output.split())
    assert {row.strategy for row in stored_rows(trained, None, None, None, None, events=False)} == set(measured) - {
        "ratio"
    }
    control = call("unblind", trained, "--stage", "control", "--strategies", "nominal")
    assert "middle" in control.output


def test_figures_of_data_have_the_variable_in_its_unit_and_the_analyst_s_label(trained):
    given = {"control": ["mass", EDGES[:3]], "middle": ["other", [-5, 0, 5]]}
    for name, axes in (
        ("column-fixed-given", {"signal": ["mass", EDGES], **given, "side": ["mass", EDGES[2:]]}),
        ("nominal-fixed-optimised", given),
    ):
        origin = json.loads((trained / "unblinded" / f"{name}-full" / "measurement.json").read_text())["origin"]
        assert origin["axes"] == axes
        assert origin["label"] == "1 fb$^{-1}$ (8 TeV)"
    row = StoredTemplates.load(trained / "templates" / "column-fixed-given-seed0.npz")
    yields = prefit_yields(row.fitted.model())
    main, ratio = yield_figure(yields, yields, "signal", ("mass [GeV]", EDGES), "1 fb").axes
    assert ratio.get_xlabel() == "mass [GeV]"
    assert ratio.get_xlim() == (0, 100)
    assert [main.get_title(loc=place) for place in ("left", "right")] == ["signal", "1 fb"]
    # Without either: numbers of bins.
    main, ratio = yield_figure(yields, yields, "signal").axes
    assert ratio.get_xlabel() == "bin"
    assert ratio.get_xlim() == (0.5, 4.5)


COUNTS = {"A": 260, "B": 400, "C": 300, "D": 600}


@pytest.fixture(scope="module")
def abcd(inputs) -> Path:
    """A background of two independent cuts, told by three control regions: free factors that act in some of them."""
    place = {"A": (1, 1), "B": (1, 0), "C": (0, 1), "D": (0, 0)}

    def flat(counts: dict[str, int]) -> dict[str, np.ndarray]:
        rows = np.array([place[name] for name, count in counts.items() for _ in range(count)], float)
        return {"isolated": rows[:, 0], "opposite": rows[:, 1], "x": np.full(len(rows), 0.5)}

    with uproot.recreate(inputs / "abcd.root") as file:
        tree_of(file, "data", flat(COUNTS))
        tree_of(file, "signal", flat({"A": 500}))
        tree_of(file, "multijet", flat(dict.fromkeys("ABCD", 100)))
    region = {"Variable": "x", "Binning": [0, 1]}
    tree = {
        "General": {"Measurement": "abcd", "POI": "mu", "InputPath": "."},
        "Regions": [
            {"Name": name, **region, "Kind": kind, "Filter": f"(isolated == {a}) & (opposite == {b})"}
            for (name, (a, b)), kind in zip(place.items(), ["signal", "control", "control", "control"], strict=True)
        ],
        "Samples": [
            {"Name": "Data", "Tree": "data", "SamplePath": "abcd.root", "Data": True},
            {"Name": "S", "Tree": "signal", "SamplePath": "abcd.root", "Weight": "0.1", "Regions": "A"},
            # Any number of events a region: what counts are the factors.
            {"Name": "multijet", "Tree": "multijet", "SamplePath": "abcd.root"},
        ],
        "NormFactors": [
            {"Name": "mu", "Samples": "S", "Nominal": 1, "Bounds": [-20, 20]},
            {"Name": "multijet_D", "Samples": "multijet", "Nominal": 1, "Bounds": [0, 100]},
            {"Name": "isolated_over_not", "Samples": "multijet", "Regions": ["A", "B"], "Bounds": [0, 10]},
            {"Name": "opposite_over_same", "Samples": "multijet", "Regions": ["A", "C"], "Bounds": [0, 10]},
        ],
        "study": {"true": [{}], "inference": {"points": "none"}},
    }
    os.environ["SYSTWISE_CACHE"] = str(inputs / "cache")
    for words in (("run", write(inputs, tree, "abcd.yaml"), "--out"), ("unblind", "--stage", "full")):
        done = call(*words, inputs / "abcd")
        assert done.exit_code == 0, done.output
    return inputs / "abcd"


def test_abcd_with_free_factors_is_the_closed_form(abcd):
    """mu = (A - B C / D) / s, and its variance adds A and (B C / D)^2 (1/B + 1/C + 1/D)."""
    (measured,) = Results.load(abcd / "results.json").observed
    a, b, c, d = (float(COUNTS[name]) for name in "ABCD")
    background = b * c / d
    assert measured.estimate == pytest.approx((a - background) / 50, rel=1e-4)
    variance = a + background**2 * (1 / b + 1 / c + 1 / d)
    assert measured.sigma == pytest.approx(np.sqrt(variance) / 50, rel=0.01)
    found = json.loads((abcd / "unblinded" / "column-fixed-given-full" / "measurement.json").read_text())
    best = found["result"]["estimates"]
    wanted = {"multijet_D": d / 100, "isolated_over_not": b / d, "opposite_over_same": c / d}
    assert {name: best[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)


def columns(path: Path) -> dict[str, np.ndarray]:
    with uproot.open(path) as file:
        return file["observed"].arrays(library="np")


@pytest.mark.parametrize(
    ("name", "kind", "binning"),
    [("nominal", "fixed", "optimised"), ("aware", "anchored", "joint"), ("column", "fixed", "given")],
)
def test_predict_puts_every_event_where_the_run_counts_it(trained, inputs, tmp_path, name, kind, binning):
    words = ("predict", trained, "--strategy", name, "--out", tmp_path, "--name", "run")
    done = call(*words, inputs / "data.root")
    assert done.exit_code == 0, done.output
    found, values = columns(tmp_path / "data-run.root"), observed()
    counts = json.loads((trained / "unblinded" / f"{name}-{kind}-{binning}-seed0.json").read_text())
    for region, bins in counts.items():
        places = found[f"run_{region}_bin"]
        np.testing.assert_array_equal(np.bincount(places[places >= 0], minlength=len(bins)), bins)
    np.testing.assert_array_equal(found["run_middle_bin"] >= 0, (values["same"] == 1) & (np.abs(values["other"]) < 5))
    scored = "run_signal_score" in found
    assert scored == (name != "column")
    if scored:
        outside = values["far"] >= 0.6
        assert np.isnan(found["run_signal_score"][outside]).all()
        assert set(found["run_signal_fold"][outside]) == {-1}
        assert set(found["run_signal_fold"][~outside]) == {0, 1}
    # Without an event id, events count on from file to file: two halves give what the whole gives.
    halves = []
    for number, part in enumerate((slice(0, 300), slice(300, None))):
        halves.append(tmp_path / f"half{number}.root")
        with uproot.recreate(halves[-1]) as file:
            tree_of(file, "observed", {key: column[part] for key, column in values.items()})
    done = call(*words, *halves)
    assert done.exit_code == 0, done.output
    parts = [columns(tmp_path / f"half{number}-run.root") for number in (0, 1)]
    for key, column in found.items():
        np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), column)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "has several strategies; choose one with --strategy: aware, column, nominal"),
        (("--strategy", "nominal", "--sample", "Dta"), "sample 'Dta', did you mean 'Data'"),
        (("--strategy", "nominal", "--nuisance", "model=1"), "scores at nominal nuisances"),
        (("--strategy", "augmented"), "the run has aware, column, nominal"),
    ],
)
def test_predict_of_a_run_says_what_is_missing(trained, inputs, tmp_path, words, said):
    done = call("predict", trained, inputs / "data.root", "--out", tmp_path, *words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def change(*path_and_value):
    *path, last, value = path_and_value

    def apply(tree: dict) -> None:
        for key in path:
            tree = tree[key]
        tree[last] = value

    return apply


BAD = {
    "weights of data": (
        lambda tree: tree["Samples"][0].update(Weight="mass", Regions="control"),
        "has weights other than 1; data are counted",
    ),
    "all data": (lambda tree: tree.update(Samples=tree["Samples"][:1]), "all are Data; describe the simulation"),
    "no signal region": (change("Regions", 0, "Kind", "control"), "none is of Kind signal"),
    "two regions of one name": (change("Regions", 1, "Name", "signal"), "Regions: 'signal' occurs twice"),
    "a factor of nothing": (
        lambda tree: (tree["Regions"][1].update(Kind="validation"), tree["NormFactors"][1].update(Regions="control")),
        "nothing constrains it, because none of its samples is in a fitted region",
    ),
    "an observable of no region": (
        change("Regions", 1, {"Name": "control", "Kind": "control", "Observable": {"Region": "signl"}}),
        "'signl' is no region (regions with Features: none)",
    ),
    "an observable of a given one": (
        change("Regions", 1, {"Name": "control", "Kind": "control", "Observable": {"Region": "signal"}}),
        "'signal' has no Features of its own",
    ),
    "two observables": (
        change("Regions", 1, {"Name": "control", "Features": ["mass"], "Observable": {"Region": "signal"}}),
        "give its own Features, or the Observable of another region",
    ),
    "no signal region of its own": (
        change(
            "Regions",
            [
                {"Name": "signal", "Observable": {"Region": "control"}},
                {"Name": "control", "Kind": "control", "Features": ["mass"]},
            ],
        ),
        "every signal region has the Observable of another one",
    ),
    "a score that one region lacks": (
        lambda tree: (
            tree["Regions"][1].pop("Binning"),
            tree["Regions"][1].pop("Variable"),
            tree["Regions"][1].update(Features=["mass"]),
            tree["Regions"][0].update(Features=["mass"]),
            tree.update(study={"strategies": ["column"]}),
        ),
        "needs a score of your own, which region 'control' has not",
    ),
    "control regions without data": (
        lambda tree: (tree["Samples"].pop(0), tree.update(study={"true": ["control"]})),
        "'control' is a fit to observed data",
    ),
    "no control region to fit": (
        lambda tree: (tree["Regions"].pop(1), tree["Systematics"].pop(3), tree.update(study={"true": ["control"]})),
        "'control' needs a region of Kind control with Variable and Binning",
    ),
    "unknown region": (change("Samples", 2, "Regions", "contrl"), "unknown region 'contrl', did you mean 'control'"),
    "no region": (change("Systematics", 3, "Regions", []), "is empty, so that it would act on nothing"),
    "no sample": (change("Systematics", 0, "Samples", []), "is empty, so that it would act on nothing"),
    "bins without edges": (change("Regions", 1, "Binning", [3]), "edges are two numbers or more"),
    "edges that fall": (change("Regions", 1, "Binning", [3, 2]), "each larger than the one before"),
    "a rate beside a shape": (
        change("Systematics", 1, "Up", {"SamplePath": "prediction.root", "Tree": "shifted", "Normalization": 0.1}),
        "Normalization beside other events or weights would be ignored",
    ),
    "smoothing": (
        change("Systematics", 1, "Smoothing", {"Algorithm": "loess"}),
        "should be '353QH, twice', got 'loess'",
    ),
    "parameter in one region": (change("NormFactors", 0, "Regions", "signal"), "acts in all regions"),
    "estimate without data": (
        lambda tree: tree.update(
            Samples=[*tree["Samples"][1:], {"Name": "Q", "Estimate": {"Filter": "same == 1", "Subtract": "B"}}]
        ),
        "an Estimate needs data",
    ),
    "estimate of no sample": (
        lambda tree: tree["Samples"].append({"Name": "Q", "Estimate": {"Filter": "same == 1", "Subtract": "Z*"}}),
        "unknown sample 'Z*'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_sentence(inputs, name):
    spoil, sentence = BAD[name]
    tree = analysis()
    spoil(tree)
    done = call("check", write(inputs, tree, "bad.yaml"))
    assert done.exit_code == 2, done.output
    assert sentence in " ".join(done.stderr.split())
    assert done.stderr.count("\n") == 1


def test_a_key_written_twice_is_refused_with_both_lines(inputs):
    path = inputs / "twice.yaml"
    path.write_text(yaml.safe_dump(analysis(), sort_keys=False) + "Systematics: []\n")
    done = call("check", path)
    assert done.exit_code == 2
    assert "key 'Systematics' is written twice, in line" in " ".join(done.stderr.split())


def test_events_of_weight_one_and_control_regions_without_their_process_get_a_warning(inputs):
    tree = analysis()
    tree["Samples"].append({"Name": "T", "Tree": "observed", "SamplePath": "data.root", "Regions": "control"})
    tree["Systematics"] = []
    tree["Samples"][2]["Regions"] = "signal"
    done = call("check", write(inputs, tree, "warned.yaml"))
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "every event of sample 'T' has weight 1; if these are observed events, say Data: true" in words
    assert "no sample with a free NormFactor (B) is here: it controls none of them" in words


def test_effects_that_cannot_be_meant_get_a_remark(inputs):
    tree = analysis()
    tree["Samples"][1]["Regions"] = "*"
    del tree["Systematics"][1]["Samples"]  # the shifted background now stands for the signal too
    tree["Systematics"][2]["Down"] = {"Weight": "w_up"}
    done = call("check", write(inputs, tree, "odd.yaml"))
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "model: above 100 %, do these events or weights belong to the sample? on the yield of S" in words
    assert "weights: both sides the same way on the yield of B" in words
    assert "Up and Down of sample 'B' are identical" in words


def test_the_same_events_in_two_samples_are_counted(inputs):
    tree = analysis()
    tree["Regions"][0] |= {"Features": ["mass", "other"]}
    again = {"Name": "again", "Tree": "background", "SamplePath": "prediction.root", "Weight": "w"}
    tree["Samples"].append(again | {"Filter": "(far < 0.6) & (mass > 30)", "Regions": "signal"})
    done = call("check", write(inputs, tree, "again.yaml"))
    assert done.exit_code == 0, done.output
    simulated = FILES["background"]()
    count = int(((simulated["far"] < 0.6) & (simulated["mass"] > 30)).sum())
    assert f"signal: {count:,} events of 'again' are events of 'B' too" in " ".join(done.output.split())


def test_a_region_without_data_cannot_be_unblinded(inputs, tmp_path):
    tree = analysis() | {"study": {"true": [{}], "inference": {"points": "none"}}}
    tree["Samples"][0]["Regions"] = "signal"
    done = call("run", write(inputs, tree, "nodata.yaml"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    done = call("unblind", tmp_path / "out", "--stage", "control")
    assert done.exit_code == 2
    assert "Regions ('control'): has no data; add a sample with Data: true" in " ".join(done.stderr.split())
    assert not Manifest.load(tmp_path / "out").looks


@pytest.fixture(scope="module")
def cms(tmp_path_factory) -> Path:
    folder = os.environ.get("SYSTWISE_DATA")
    if not folder or not (Path(folder) / "cms-htautau").is_dir():
        pytest.skip("set SYSTWISE_DATA to a folder with cms-htautau to run on CMS Open Data")
    copy = tmp_path_factory.mktemp("cms")
    for name in ("reference.yaml", "cms-htautau.yaml", "shifts.py"):
        shutil.copy(EXAMPLE / name, copy)
    (copy / "data").symlink_to(Path(folder).resolve() / "cms-htautau")
    return copy


def test_the_higgs_signal_in_collision_data_is_that_of_cabinetry(cms):
    """cabinetry on the same histograms: mu = 1.23 +- 0.47, W 0.980 +- 0.039, Z pull +1.73 +- 0.37; expected 0.44."""
    out = cms / "reference"
    done = call("run", cms / "reference.yaml", "--out", out, "--set", "fit.simulation=include")
    assert done.exit_code == 0, done.output
    assert call("unblind", out, "--stage", "full").exit_code == 0
    results = Results.load(out / "results.json")
    expected = next(record for record in results.asimov if record.true["Z_norm"] == 0)
    assert expected.sigma_down == pytest.approx(0.4231, abs=0.002)
    assert expected.sigma_up == pytest.approx(0.4509, abs=0.002)
    (record,) = results.observed
    assert record.estimate == pytest.approx(1.225, abs=0.004)
    assert record.sigma_down == pytest.approx(0.4512, abs=0.004)
    assert record.sigma_up == pytest.approx(0.4803, abs=0.004)
    assert record.nuisance_estimate["W_norm"] == pytest.approx(0.980, abs=0.001)
    assert record.nuisance_estimate["Z_norm"] == pytest.approx(1.726, abs=0.005)


def test_check_of_the_example_has_the_yields_of_the_readme(cms):
    done = call("check", cms / "cms-htautau.yaml")
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "ggH 813 486 486 229.012" in words
    assert "W 9,078 742 491 837.054" in words
    assert "data blinded" in words
    assert "data 3,842" in words


@pytest.mark.parametrize("bins", [3, 6, 8])
def test_an_empty_component_adds_nothing_beyond_the_last_anchor(bins):
    """The likelihood's arrays have more rows than bins: nothing may be expected in the others, wherever a nuisance is.

    A sample that a region lacks is empty there; with continued templates the rows that fill up held an event each.
    """
    nuisance = Nuisance("shift", 0.0, (-2.5, 2.5), (-1, 1), (-1.0, 0.0, 1.0), extrapolated=True)
    random = np.random.default_rng(bins)
    background = random.uniform(20, 40, (3, bins))
    signal = random.uniform(2, 9, bins) * (np.arange(bins) < bins - 1)
    templates = np.stack([np.broadcast_to(signal, (3, bins)), background], axis=1)
    components = Components(("S", "B"), ("mu",), ((1,), (0,)), (1.0,), ((-5.0, 5.0),))
    model = Model.from_templates(components, [nuisance], [GaussianConstraint("shift", 1.0)], [templates])
    data = asimov(model, 1.0, {})
    for z in (-2.0, -1.0, 0.5, 1.0, 1.7):
        expected = model.expected(1.0, {"shift": z})
        counts = np.asarray(data.counts)
        truth = np.sum(expected - counts * np.log(expected)) + z**2 / 2
        base = np.sum(counts - counts * np.log(counts))
        assert model.nll(1.0, {"shift": z}, data) - model.nll(1.0, {}, data) == pytest.approx(truth - base, abs=1e-9)
