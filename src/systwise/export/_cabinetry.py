"""Histograms and a configuration with which cabinetry builds the workspace itself."""

from __future__ import annotations

import copy
import dataclasses
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from systwise.errors import ConfigError
from systwise.export._pyhf import about, check_loss, translate, workspace_data, write_json
from systwise.export._refit import Comparison, compare
from systwise.export._workspace import Workspace, refuse_inexpressible
from systwise.optional import optional_module
from systwise.study import StoredTemplates, write_atomically

HISTOGRAMS = "histograms"
HEAD = """\
# For cabinetry, which looks for these paths in the folder where it runs: change to this one first.
#   cabinetry workspace config.yml workspace.json   (or, from histograms.root: cabinetry templates config.yml)
"""
Histograms = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
"""Contents and standard deviations by region and cabinetry's name of a sample or its variation."""


def export_cabinetry(
    stored: StoredTemplates,
    folder: Path,
    *,
    point: Mapping[str, float] | None = None,
    observed: Mapping[str, Sequence[float]] | None = None,
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
        observed: see `export_pyhf`.
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
    data = workspace_data(stored, model, point, observed)
    region = stored.strategy.replace("@", "_at_")
    workspace, _ = translate(model, data, channel=region, lumi=False)
    config, histograms = cabinetry_input(workspace)
    folder = Path(folder)
    edges = {name: np.asarray(own) for name, own in stored.fitted.templates.region_edges(region).items()}
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch), config, histograms, edges)
        built = dataclasses.replace(workspace, document=_built(config, Path(scratch)))
    found = compare(model, data, built)
    check_loss(found, allow)
    _write(folder, config, histograms, edges)
    write_json(folder / "about.json", about(stored, point or {}, found, model, observed is not None))
    return found


def cabinetry_input(workspace: Workspace) -> tuple[dict[str, Any], Histograms]:
    """Return cabinetry's configuration and histograms of a workspace without `lumi`; a channel is a region."""
    document = workspace.document
    names = [channel["name"] for channel in document["channels"]]
    parameters = {entry["name"]: entry for entry in document["measurements"][0]["config"]["parameters"]}
    histograms: Histograms = {}
    for observation in document["observations"]:
        counts = np.asarray(observation["data"])
        histograms[observation["name"], "data"] = counts, np.sqrt(counts)
    config: dict[str, Any] = {
        "General": {
            "Measurement": "systwise",
            "POI": document["measurements"][0]["config"]["poi"],
            "InputPath": f"{HISTOGRAMS}.root:{{RegionPath}}_{{SamplePath}}{{VariationPath}}",
            "HistogramFolder": f"{HISTOGRAMS}/",
        },
        "Regions": [{"Name": name, "RegionPath": name.replace(" ", "-"), "Variable": "score"} for name in names],
        "Samples": [{"Name": "data", "SamplePath": "data", "Data": True}],
        "NormFactors": [],
        "Systematics": [],
    }
    factors: dict[str, dict[str, list[str]]] = {}
    known_samples: dict[str, dict[str, Any]] = {}
    for channel in document["channels"]:
        region = channel["name"]
        for sample in channel["samples"]:
            name, nominal = sample["name"], np.asarray(sample["data"])
            errors = next((m["data"] for m in sample["modifiers"] if m["type"] == "staterror"), None)
            entry = known_samples.setdefault(name, {"Name": name, "SamplePath": name.replace(" ", "-"), "Regions": []})
            entry["Regions"].append(region)
            if errors is None:
                entry["DisableStaterror"] = True
            histograms[region, name] = nominal, np.zeros_like(nominal) if errors is None else np.asarray(errors)
            for modifier in sample["modifiers"]:
                if modifier["type"] == "normfactor":
                    factors.setdefault(modifier["name"], {}).setdefault(name, []).append(region)
            config["Systematics"] += _systematics(sample, region, histograms)
    config["Samples"] += known_samples.values()
    for name, by_sample in factors.items():
        known = parameters.get(name, {})
        bounds = [float(v) for v in known.get("bounds", [[0, 10]])[0]]
        nominal_value = float(known.get("inits", [1.0])[0])
        entry = {"Name": name, "Samples": list(by_sample), "Nominal": nominal_value, "Bounds": bounds}
        regions = next(iter(by_sample.values()))
        if any(own != regions for own in by_sample.values()):
            # Samples that lack in a region need no factor there.
            regions = list(dict.fromkeys(region for own in by_sample.values() for region in own))
        config["NormFactors"].append({**entry, "Regions": regions})
    return config, histograms


def _systematics(sample: Mapping[str, Any], region: str, histograms: Histograms) -> list[dict[str, Any]]:
    """Return the uncertainties of a sample in a region, and add its shifted histograms.

    One entry a sample and region, since each may have a size of its own; ModifierName correlates them. A factor and a
    shape of one nuisance are one entry: cabinetry splits them again.
    """
    found: dict[str, dict[str, Any]] = {}
    for modifier in sample["modifiers"]:
        if modifier["type"] in ("normsys", "histosys"):
            found.setdefault(modifier["name"], {})[modifier["type"]] = modifier["data"]
    entries = []
    for name, data in found.items():
        entry = {
            "Name": f"{name}_{sample['name']}_{region}".replace(" ", "-"),
            "ModifierName": name,
            "Regions": [region],
            "Samples": [sample["name"]],
        }
        rate = data.get("normsys", {"hi": 1.0, "lo": 1.0})
        if "histosys" not in data:
            sizes = {"Up": rate["hi"] - 1, "Down": rate["lo"] - 1}
            ends: dict[str, Any] = {word: {"Normalization": float(size)} for word, size in sizes.items()}
            entries.append({**entry, "Type": "Normalization", **ends})
            continue
        for word, key, factor in (("Up", "hi_data", rate["hi"]), ("Down", "lo_data", rate["lo"])):
            contents = np.asarray(data["histosys"][key]) * factor
            histograms[region, f"{sample['name']}_{entry['Name']}_{word}"] = contents, np.zeros_like(contents)
        ends = {word: {"VariationPath": f"_{entry['Name']}_{word}"} for word in ("Up", "Down")}
        entries.append({**entry, "Type": "NormPlusShape", **ends})
    return entries


def _write(folder: Path, config: Mapping[str, Any], histograms: Histograms, edges: Mapping[str, np.ndarray]) -> None:
    import uproot

    text = HEAD + yaml.safe_dump(dict(config), sort_keys=False)
    try:
        for (region, name), (contents, errors) in histograms.items():
            arrays = {"yields": contents, "stdev": errors, "bins": edges[region]}
            write_atomically(
                folder / HISTOGRAMS / f"{region}_{name}.npz".replace(" ", "-"),
                lambda file, arrays=arrays: np.savez(file, **arrays),  # type: ignore[misc]
            )
        part = folder / f".{HISTOGRAMS}.part.root"
        with uproot.recreate(part) as file:
            for (region, name), (contents, errors) in histograms.items():
                file[f"{region}_{name}".replace(" ", "-")] = _weighted(contents, errors, edges[region])
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
