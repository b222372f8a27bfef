"""One analysis of a document of the HEP Statistics Serialization Standard (HS3), as a workspace of pyhf's schema.

What is read is its likelihood's `histfactory_dist` distributions with their data, domains as bounds, parameter points
as starting values and constants. `normfactor` parameters with a Gaussian constraint are luminosities. The contents of
a `histosys` are absolute, as ROOT and pyhs3 write them.

Source: the standard's chapters 2.1.1 (HistFactory) and 2.3 to 2.8, version 0.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from systwise.errors import ConfigError
from systwise.fit.interop._histfactory_layout import VERSION

NORMSYS = {"log": "code1", "code1": "code1", "poly6": "code4", "code4": "code4"}
"""Interpolations of factors, by the standard's and pyhs3's names."""
HISTOSYS = {
    "lin": "code0",
    "code0": "code0",
    "parabolic": "code2",
    "code2": "code2",
    "poly6": "code4p",
    "code4p": "code4p",
}
"""Interpolations of contents."""


class HS3Analysis(NamedTuple):
    """One analysis of a document.

    Attributes:
        workspace: the same as a workspace of pyhf's schema, with one measurement of the analysis's name.
        normsys: interpolation of factors, as `histfactory_model` takes it.
        histosys: interpolation of shapes.
    """

    workspace: dict[str, Any]
    normsys: str
    histosys: str


def is_hs3(document: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is an HS3 document and not a workspace of pyhf's schema."""
    return "distributions" in document and "channels" not in document


def read_hs3(document: Mapping[str, Any], analysis: str | None = None) -> HS3Analysis:
    """Return one analysis of an HS3 document.

    Args:
        document: the JSON object.
        analysis: its name; the first where None.

    Raises:
        ConfigError: no such analysis, a reference to something that is not there, or a distribution, modifier,
            constraint or interpolation that a HistFactory model of this package does not have.
    """
    return _Reader(document).analysis(analysis)


class _Reader:
    """A document with its parts by name, and what has been read of it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._distributions = self._by_name("distributions")
        self._codes: dict[str, set[str]] = {"normsys": set(), "histosys": set()}
        self._parameters: dict[str, dict[str, Any]] = {}
        self._vectors: dict[str, tuple[str, ...]] = {}
        # Simulation factors that are minimised in closed form, from 0 on, whatever ranges a document suggests.
        self._closed: set[str] = set()

    def _by_name(self, section: str) -> dict[str, Mapping[str, Any]]:
        return {entry["name"]: entry for entry in self._document.get(section, [])}

    def _get(self, section: str, name: str, who: str) -> Mapping[str, Any]:
        known = self._by_name(section)
        if name not in known:
            raise ConfigError(f"HS3: {who} names '{name}', which is not among the {section} ({_listed(known)})")
        return known[name]

    def analysis(self, name: str | None) -> HS3Analysis:
        """Return an analysis by name, the first where None."""
        known = self._by_name("analyses")
        if not known:
            raise ConfigError("HS3: no analyses; add one that names a likelihood and parameters of interest")
        if name is not None and name not in known:
            raise ConfigError(f"HS3: no analysis '{name}' (known: {_listed(known)})")
        chosen = known[name] if name is not None else next(iter(known.values()))
        pois = chosen.get("parameters_of_interest") or []
        if not pois:
            raise ConfigError(f"HS3: analysis '{chosen['name']}' has no parameters_of_interest; add one")
        likelihood = self._get("likelihoods", chosen["likelihood"], f"analysis '{chosen['name']}'")
        pairs = list(zip(likelihood["distributions"], likelihood["data"], strict=True))
        for auxiliary in likelihood.get("aux_distributions", []):
            self._constrain(auxiliary, None)
        binned = []
        for distribution, data in pairs:
            if self._get("distributions", distribution, "a likelihood")["type"] == "histfactory_dist":
                binned.append((distribution, data))
            else:
                self._constrain(distribution, data if isinstance(data, int | float) else None)
        channels = [self._channel(distribution) for distribution, _ in binned]
        observations = [self._observation(distribution, data) for distribution, data in binned]
        self._settings(chosen)
        workspace = {
            "channels": channels,
            "observations": observations,
            "measurements": [
                {
                    "name": chosen["name"],
                    "config": {"poi": pois[0], "parameters": [*self._parameters.values()]},
                }
            ],
            "version": VERSION,
        }
        return HS3Analysis(workspace, self._code("normsys", "code4"), self._code("histosys", "code4p"))

    def _code(self, kind: str, default: str) -> str:
        found = self._codes[kind]
        if len(found) > 1:
            raise ConfigError(f"HS3: {kind} modifiers have different interpolations ({_listed(found)}); use one")
        return next(iter(found), default)

    def _setting(self, name: str) -> dict[str, Any]:
        return self._parameters.setdefault(name, {"name": name})

    def _observation(self, distribution: str, data: Any) -> dict[str, Any]:
        entry = self._get("data", data, f"the likelihood of '{distribution}'")
        if entry.get("type") != "binned":
            raise ConfigError(f"HS3: data '{entry['name']}' are {entry.get('type')}; bins need binned data")
        return {"name": distribution, "data": list(entry["contents"])}

    def _channel(self, name: str) -> dict[str, Any]:
        distribution = self._distributions[name]
        default = distribution.get("default_interpolation")
        default = default.get("in") if isinstance(default, Mapping) else default
        samples = []
        for number, sample in enumerate(distribution["samples"]):
            own = sample.get("name", f"{name}_{number}")
            modifiers = [self._modifier(m, sample, f"'{own}' of '{name}'", default) for m in sample["modifiers"]]
            samples.append({"name": own, "data": list(sample["data"]["contents"]), "modifiers": modifiers})
        return {"name": name, "samples": samples}

    def _modifier(
        self, modifier: Mapping[str, Any], sample: Mapping[str, Any], where: str, default: str | None
    ) -> dict[str, Any]:
        """Return a modifier as pyhf's schema has it."""
        kind = modifier["type"]
        name = modifier.get("parameter") or modifier.get("name")
        if kind in ("normsys", "histosys"):
            self._constraint(modifier, str(name), where)
            data, names = modifier["data"], NORMSYS if kind == "normsys" else HISTOSYS
            code = modifier.get("interpolation", data.get("interpolation", default if default in names else None))
            if code is not None:
                if code not in names:
                    raise ConfigError(f"HS3: {kind} of {where} has interpolation '{code}' (known: {_listed(names)})")
                self._codes[kind].add(names[code])
            if kind == "normsys":
                return {"name": name, "type": kind, "data": {"hi": float(data["hi"]), "lo": float(data["lo"])}}
            sides = {f"{side}_data": list(data[side]["contents"]) for side in ("hi", "lo")}
            return {"name": name, "type": kind, "data": sides}
        if kind == "normfactor":
            if self._gaussian_of(str(name)) is not None:
                self._constrain(str(self._gaussian_of(str(name))), None)
                return {"name": name, "type": "lumi", "data": None}
            return {"name": name, "type": kind, "data": None}
        if kind in ("shapesys", "shapefactor", "staterror"):
            return self._vector(modifier, sample, where)
        raise ConfigError(
            f"HS3: modifier '{name}' of {where} is a {kind}; known are normfactor, normsys, histosys, shapesys, "
            "shapefactor and staterror"
        )

    def _vector(self, modifier: Mapping[str, Any], sample: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return a modifier with a factor a bin, called like its parameters where it has no name."""
        kind, members = modifier["type"], tuple(modifier.get("parameters") or ())
        # The same parameters are the same factors, whatever the modifier is called; others need another name.
        known = {own: name for name, own in self._vectors.items()}
        name = known.get(members, modifier.get("name") or modifier.get("parameter") or "".join(members[:1]))
        if self._vectors.get(name, members) != members:
            name = members[0]
        self._vectors[name] = members
        self._closed |= {name} if kind == "staterror" and modifier.get("constraint", "Gauss") == "Gauss" else set()
        if kind == "shapefactor":
            return {"name": name, "type": kind, "data": None}
        data = modifier.get("data") or {}
        if kind == "shapesys":
            if modifier.get("constraint", "Poisson") != "Poisson":
                raise ConfigError(
                    f"HS3: shapesys of {where} has a {modifier['constraint']} constraint; Poisson is known"
                )
            return {"name": name, "type": kind, "data": list(data["vals"])}
        errors = data.get("uncertainties", sample["data"].get("errors"))
        if errors is None:
            raise ConfigError(f"HS3: staterror of {where} has no errors; add them to the sample's data")
        constraint = modifier.get("constraint", "Gauss")
        if constraint not in ("Gauss", "Poisson"):
            raise ConfigError(f"HS3: staterror of {where} has a {constraint} constraint; known are Gauss and Poisson")
        return {"name": name, "type": kind, "data": list(errors), "constraint": constraint}

    def _constraint(self, modifier: Mapping[str, Any], name: str, where: str) -> None:
        """Check the constraint of a systematic: a unit Gaussian, or a Gaussian distribution of the document."""
        given = modifier.get("constraint_name") or modifier.get("constraint") or "Gauss"
        if given in ("Gauss", "Gaussian"):
            return
        if given not in self._distributions:
            raise ConfigError(f"HS3: modifier '{name}' of {where} has a {given} constraint; a Gaussian is known")
        self._constrain(given, None)

    def _gaussian_of(self, parameter: str) -> str | None:
        """Return the name of the Gaussian distribution that constrains a parameter."""
        for name, entry in self._distributions.items():
            if entry["type"] == "gaussian_dist" and parameter in (entry.get("mean"), entry.get("x")):
                return name
        return None

    def _constrain(self, name: str, observed: float | None) -> None:
        """Take over the centre and width of a Gaussian distribution.

        Raises:
            ConfigError: another distribution, or one that is not of one parameter with numbers beside it.
        """
        entry = self._get("distributions", name, "a constraint")
        mean, x, sigma = (entry.get(key) for key in ("mean", "x", "sigma"))
        parameter, centre = (mean, x) if isinstance(mean, str) else (x, mean)
        centre = centre if observed is None else observed
        if entry["type"] != "gaussian_dist" or not isinstance(parameter, str) or not isinstance(sigma, int | float):
            raise ConfigError(
                f"HS3: distribution '{name}' is a {entry['type']}; beside histfactory_dist only Gaussian constraints "
                "of one parameter with a number as width are known"
            )
        if not isinstance(centre, int | float):
            raise ConfigError(f"HS3: constraint '{name}' is centred on '{centre}'; give a number")
        self._setting(parameter).update(auxdata=[float(centre)], sigmas=[float(sigma)])

    def _settings(self, chosen: Mapping[str, Any]) -> None:
        """Take over bounds, starting values and constants; those of factors a bin go to their common name."""
        names = [*chosen.get("domains", []), *([chosen["domain"]] if "domain" in chosen else [])]
        axes = [axis for name in names for axis in self._get("domains", name, "an analysis")["axes"]]
        bounds = {axis["name"]: [float(axis["min"]), float(axis["max"])] for axis in axes}
        points = self._by_name("parameter_points")
        init = chosen.get("init") or next(iter(points), None)
        values = (
            {}
            if init is None
            else {p["name"]: p for p in self._get("parameter_points", init, "an analysis")["parameters"]}
        )
        inside = {member for members in self._vectors.values() for member in members}
        for name in dict.fromkeys([*bounds, *values]):
            if name in inside:
                continue
            setting = self._setting(name)
            if name in bounds:
                setting["bounds"] = [bounds[name]]
            if name in values:
                setting["inits"] = [float(values[name]["value"])]
                if values[name].get("const"):
                    setting["fixed"] = True
        for name, members in self._vectors.items():
            fixed = [bool(values.get(member, {}).get("const")) for member in members]
            if any(fixed) and not all(fixed):
                raise ConfigError(f"HS3: some factors of '{name}' are constant and some are not; make all the same")
            if members and name not in self._closed and all(member in bounds for member in members):
                self._setting(name)["bounds"] = [bounds[member] for member in members]
            if fixed and all(fixed):
                self._setting(name).update(fixed=True, inits=[float(values[member]["value"]) for member in members])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
