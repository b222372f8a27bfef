"""A workspace of pyhf's schema as a document of the HEP Statistics Serialization Standard (HS3).

pyhs3 reads what is written, but for a systematic whose auxiliary datum is not 0: its constraint is a distribution of
its own, as ROOT has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from systwise.errors import ConfigError
from systwise.fit.interop._histfactory_layout import checked_channels, chosen_measurement

HS3_VERSION = "0.2"
WIDE, BIN = (-5.0, 5.0), (1e-10, 10.0)
"""Ranges of a nuisance and of a factor a bin that are written where nothing else is said, as pyhf suggests them."""


def write_hs3(
    workspace: Mapping[str, Any], measurement: str | None = None, *, normsys: str = "code4", histosys: str = "code4p"
) -> dict[str, Any]:
    """Return a workspace of pyhf's schema as an HS3 document.

    Args:
        workspace: the workspace.
        measurement: name of a measurement; the first where None.
        normsys: interpolation of factors that the document states.
        histosys: interpolation of shapes.

    Raises:
        ConfigError: a workspace without what is needed.
    """
    chosen = chosen_measurement(workspace, measurement)
    config = chosen["config"]
    written = _Written({entry["name"]: entry for entry in config.get("parameters", [])}, normsys, histosys)
    observed = {entry["name"]: entry["data"] for entry in workspace.get("observations", [])}
    distributions: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    for channel in checked_channels(workspace):
        name, bins = channel["name"], len(channel["samples"][0]["data"])
        if name not in observed:
            raise ConfigError(f"workspace: channel '{name}' has no observation; add one to observations")
        axes = [{"name": f"obs_{name}", "min": 0.0, "max": float(bins), "nbins": bins}]
        samples = []
        for sample in channel["samples"]:
            errors = next((m["data"] for m in sample["modifiers"] if m["type"] == "staterror"), [0.0] * bins)
            contents = {"contents": list(sample["data"]), "errors": list(errors)}
            modifiers = [written.modifier(modifier, bins) for modifier in sample["modifiers"]]
            samples.append({"name": sample["name"], "data": contents, "modifiers": modifiers})
        distributions.append({"name": name, "type": "histfactory_dist", "axes": axes, "samples": samples})
        data.append({"name": f"{name}_data", "type": "binned", "axes": axes, "contents": list(observed[name])})
    return {
        "metadata": {"hs3_version": HS3_VERSION, "packages": [{"name": "systwise", "version": version("systwise")}]},
        "distributions": [*distributions, *written.constraints.values()],
        "data": data,
        "domains": [{"name": "domain", "type": "product_domain", "axes": list(written.axes.values())}],
        "parameter_points": [{"name": "default_values", "parameters": list(written.points.values())}],
        "likelihoods": [
            {
                "name": "likelihood",
                "distributions": [entry["name"] for entry in distributions],
                "data": [entry["name"] for entry in data],
                "aux_distributions": [entry["name"] for entry in written.constraints.values()],
            }
        ],
        "analyses": [
            {
                "name": chosen["name"],
                "likelihood": "likelihood",
                "domains": ["domain"],
                "init": "default_values",
                "parameters_of_interest": [config["poi"]],
            }
        ],
    }


class _Written:
    """Modifiers as a document has them, with the parameters and constraints that they need.

    Attributes:
        axes: ranges of the parameters, by name.
        points: their starting values.
        constraints: Gaussian distributions.
    """

    def __init__(self, configured: Mapping[str, Mapping[str, Any]], normsys: str, histosys: str) -> None:
        self.axes: dict[str, dict[str, Any]] = {}
        self.points: dict[str, dict[str, Any]] = {}
        self.constraints: dict[str, dict[str, Any]] = {}
        self._configured, self._normsys, self._histosys = configured, normsys, histosys

    def _parameter(self, name: str, start: float, ends: tuple[float, float], own: str | None = None, i: int = 0) -> str:
        """Remember a parameter called `own` with the i-th settings of `name`; return what it is called."""
        entry = self._configured.get(name, {})
        own = name if own is None else own
        low, high = entry["bounds"][i] if "bounds" in entry else ends
        value = entry["inits"][i] if "inits" in entry else start
        self.axes[own] = {"name": own, "min": float(low), "max": float(high)}
        self.points[own] = {"name": own, "value": float(value), "const": bool(entry.get("fixed", False))}
        return own

    def _constrain(self, name: str, centre: float, width: float) -> str:
        """Remember a Gaussian constraint with the measurement's own centre and width; return its name."""
        entry = self._configured.get(name, {})
        centre, width = entry.get("auxdata", [centre])[0], entry.get("sigmas", [width])[0]
        own = f"{name}_constraint"
        gaussian = {"type": "gaussian_dist", "mean": name, "x": float(centre), "sigma": float(width)}
        self.constraints[name] = {"name": own, **gaussian}
        return own

    def modifier(self, modifier: Mapping[str, Any], bins: int) -> dict[str, Any]:
        """Return one modifier of a sample with so many bins.

        Raises:
            ConfigError: a luminosity without centre and width, or an unknown modifier.
        """
        kind, name, data = modifier["type"], modifier["name"], modifier.get("data")
        if kind in ("normfactor", "lumi"):
            if kind == "lumi":
                if not {"auxdata", "sigmas"} <= set(self._configured.get(name, {})):
                    raise ConfigError(
                        f"workspace: '{name}' needs auxdata and sigmas among the measurement's parameters"
                    )
                self._constrain(name, 1.0, 1.0)
            return {"name": name, "type": "normfactor", "parameter": self._parameter(name, 1.0, (0.0, 10.0))}
        if kind in ("normsys", "histosys"):
            assert data is not None
            own = {**data, "interpolation": self._normsys}
            if kind == "histosys":
                own = {side: {"contents": list(data[f"{side}_data"])} for side in ("hi", "lo")}
                own["interpolation"] = self._histosys
            # A unit Gaussian is the default; another one is a distribution of its own.
            moved = {"auxdata", "sigmas"} & set(self._configured.get(name, {}))
            constraint = self._constrain(name, 0.0, 1.0) if moved else "Gauss"
            parameter = self._parameter(name, 0.0, WIDE)
            return {"name": name, "type": kind, "parameter": parameter, "constraint": constraint, "data": own}
        if kind not in ("shapesys", "shapefactor", "staterror"):
            raise ConfigError(f"workspace: modifier '{name}' is a {kind}, which HS3 does not have")
        members = [self._parameter(name, 1.0, BIN, f"{name}_{i}", i) for i in range(bins)]
        entry: dict[str, Any] = {"name": name, "type": kind, "parameters": members}
        if kind == "shapesys":
            entry |= {"constraint": "Poisson", "data": {"vals": list(data or [])}}
        elif kind == "staterror":
            entry["constraint"] = "Gauss"  # with the errors of the samples' contents
        return entry
