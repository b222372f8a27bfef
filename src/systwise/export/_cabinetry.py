"""Histograms and a configuration with which cabinetry builds the workspace itself."""

from __future__ import annotations

import copy
import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from systwise.errors import ConfigError
from systwise.export._pyhf import about, check_loss, translate, write_json
from systwise.export._refit import Comparison, compare
from systwise.export._workspace import Workspace, refuse_inexpressible
from systwise.optional import optional_module
from systwise.study import StoredTemplates, write_atomically

HISTOGRAMS = "histograms"
HEAD = """\
# For cabinetry, which looks for these paths in the folder where it runs: change to this one first.
#   cabinetry workspace config.yml workspace.json   (or, from histograms.root: cabinetry templates config.yml)
"""
Histograms = dict[str, tuple[np.ndarray, np.ndarray]]
"""Contents and standard deviations by cabinetry's names."""


def export_cabinetry(
    stored: StoredTemplates,
    folder: Path,
    *,
    point: Mapping[str, float] | None = None,
    simulation: bool | None = None,
    allow: float = 0.1,
) -> Comparison:
    """Write `config.yml`, `histograms/*.npz`, `histograms.root` and `about.json` into a folder.

    cabinetry splits each shape into a normalisation and a rest, and knows no bounds of nuisances: what is compared
    with our fit, and what `allow` limits, is the workspace that cabinetry builds of these files.

    Args:
        stored: templates of a run.
        folder: where to write; made where it is missing.
        point: the true point, the nominal one where None.
        simulation: include the uncertainty of the simulation; the study's choice where None.
        allow: see `export_pyhf`.

    Raises:
        ConfigError: HistFactory cannot express the observable, cabinetry or uproot is not installed, or the loss is
            larger than `allow`.
    """
    optional_module("cabinetry", "this")
    optional_module("uproot", "this")
    model = stored.model(simulation)
    refuse_inexpressible(model)
    data = stored.data(model, point or {})
    region = stored.strategy.replace("@", "_at_")
    workspace, _ = translate(model, data, channel=region, lumi=False)
    config, histograms = cabinetry_input(workspace, region)
    folder = Path(folder)
    edges = np.asarray(stored.templates.edges)
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch), config, histograms, edges)
        built = dataclasses.replace(workspace, document=_built(config, Path(scratch)))
    found = compare(model, data, built)
    check_loss(found, allow)
    _write(folder, config, histograms, edges)
    write_json(folder / "about.json", about(stored, point or {}, found, model))
    return found


def cabinetry_input(workspace: Workspace, region: str) -> tuple[dict[str, Any], Histograms]:
    """Return cabinetry's configuration and histograms of a workspace of one channel without `lumi`."""
    document = workspace.document
    samples = document["channels"][0]["samples"]
    parameters = {entry["name"]: entry for entry in document["measurements"][0]["config"]["parameters"]}
    histograms: Histograms = {}
    counts = np.asarray(document["observations"][0]["data"])
    histograms[f"{region}_data"] = counts, np.sqrt(counts)
    config: dict[str, Any] = {
        "General": {
            "Measurement": "systwise",
            "POI": document["measurements"][0]["config"]["poi"],
            "InputPath": f"{HISTOGRAMS}.root:{{SamplePath}}{{VariationPath}}",
            "HistogramFolder": f"{HISTOGRAMS}/",
        },
        "Regions": [{"Name": region, "Variable": "score"}],
        "Samples": [{"Name": "data", "SamplePath": f"{region}_data", "Data": True}],
        "NormFactors": [],
        "Systematics": [],
    }
    factors: dict[str, list[str]] = {}
    shapes: dict[str, list[str]] = {}
    for sample in samples:
        name, nominal = sample["name"], np.asarray(sample["data"])
        errors = next((m["data"] for m in sample["modifiers"] if m["type"] == "staterror"), None)
        entry = {"Name": name, "SamplePath": f"{region}_{name}"}
        config["Samples"].append(entry if errors is not None else {**entry, "DisableStaterror": True})
        histograms[f"{region}_{name}"] = nominal, np.zeros_like(nominal) if errors is None else np.asarray(errors)
        for modifier in sample["modifiers"]:
            if modifier["type"] == "normfactor":
                factors.setdefault(modifier["name"], []).append(name)
            elif modifier["type"] == "normsys":
                config["Systematics"].append(_rate(modifier, name))
            elif modifier["type"] == "histosys":
                shapes.setdefault(modifier["name"], []).append(name)
                for word, key in (("Up", "hi_data"), ("Down", "lo_data")):
                    contents = np.asarray(modifier["data"][key])
                    histograms[f"{region}_{name}_{modifier['name']}_{word}"] = contents, np.zeros_like(contents)
    for name, own in factors.items():
        known = parameters.get(name, {})
        bounds = [float(v) for v in known.get("bounds", [[0, 10]])[0]]
        nominal_value = float(known.get("inits", [1.0])[0])
        config["NormFactors"].append({"Name": name, "Samples": own, "Nominal": nominal_value, "Bounds": bounds})
    for name, own in shapes.items():
        ends = {word: {"VariationPath": f"_{name}_{word}"} for word in ("Up", "Down")}
        config["Systematics"].append({"Name": name, "Type": "NormPlusShape", "Samples": own, **ends})
    return config, histograms


def _rate(modifier: Mapping[str, Any], sample: str) -> dict[str, Any]:
    """Return a normalisation uncertainty; one entry a sample, since each may have its own size."""
    size = {word: {"Normalization": float(modifier["data"][key]) - 1} for word, key in (("Up", "hi"), ("Down", "lo"))}
    name = modifier["name"]
    return {"Name": f"{name}_{sample}", "ModifierName": name, "Type": "Normalization", "Samples": [sample], **size}


def _write(folder: Path, config: Mapping[str, Any], histograms: Histograms, edges: np.ndarray) -> None:
    import uproot

    text = HEAD + yaml.safe_dump(dict(config), sort_keys=False)
    try:
        for name, (contents, errors) in histograms.items():
            arrays = {"yields": contents, "stdev": errors, "bins": edges}
            write_atomically(
                folder / HISTOGRAMS / f"{name.replace(' ', '-')}.npz",
                lambda file, arrays=arrays: np.savez(file, **arrays),  # type: ignore[misc]
            )
        part = folder / f".{HISTOGRAMS}.part.root"
        with uproot.recreate(part) as file:
            for name, (contents, errors) in histograms.items():
                file[name] = _weighted(contents, errors, edges)
        part.replace(folder / f"{HISTOGRAMS}.root")
        write_atomically(folder / "config.yml", lambda file: file.write(text.encode()))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); choose another folder with -o") from None


def _weighted(contents: np.ndarray, errors: np.ndarray, edges: np.ndarray) -> Any:
    """Return a histogram with uncertainties, as uproot writes it."""
    hist = optional_module("hist", "this")
    made = hist.Hist(hist.axis.Variable(edges, name="score"), storage=hist.storage.Weight())
    made.view(flow=False).value = contents
    made.view(flow=False).variance = errors**2
    return made


def _built(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the workspace that cabinetry builds."""
    import cabinetry

    here = copy.deepcopy(dict(config))
    here["General"]["HistogramFolder"] = str(folder / HISTOGRAMS)
    logger = logging.getLogger("cabinetry")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return cabinetry.workspace.build(here, with_validation=True)
    finally:
        logger.setLevel(level)
