"""Templates on disk: all that a likelihood needs, so that what is exported later needs no events and no training."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from systwise.atomic import write_atomically
from systwise.errors import ConfigError
from systwise.fit import Convention, Data, Model, histfactory_interpolation, study_auxiliary
from systwise.parameters import (
    Components,
    Normalisation,
    Nuisance,
    constraint_of,
)
from systwise.study.store._manifest import versions
from systwise.templates import JointBinning, ScoreTree, Templates, restrict_templates

FORMAT = "systwise/templates/2"
FOLDER = "templates"
CUTS = ("directions", "chosen", "thresholds", "labels")
"""Arrays of the tree of an anchored observable's cells."""


@dataclasses.dataclass(frozen=True)
class StoredTemplates:
    """The templates of one strategy, seed and binning, with everything that a likelihood needs.

    Attributes:
        case, strategy, seed, binning: what they belong to.
        components: components and their coefficients.
        nuisances: with the anchors of the templates.
        constraints: one record a constraint, as its `record` makes it.
        normalisations: nuisances that are exact factors.
        points: the true points, every parameter named.
        convention: terms in the data alone (they matter for a moving observable).
        simulation: whether the study's uncertainty includes that of the simulation.
        templates: expected counts at the anchors and at the true points.
        interpolation: `spline`, or `histfactory`.
        mirrored: nuisances with one side that mirrors the other, see `histfactory_interpolation`.
        kinds: kind of every region, where there are several.
        cells: anchors and cells of the regions whose observable is anchored.
        region: name of the first region.
        events: regions whose events are fitted one by one; their one bin holds the yields.
        versions: of the programs that made them.
    """

    case: str
    strategy: str
    seed: int
    binning: str
    components: Components
    nuisances: tuple[Nuisance, ...]
    constraints: tuple[Mapping[str, Any], ...]
    normalisations: tuple[Normalisation, ...]
    points: tuple[Mapping[str, float], ...]
    convention: Convention
    simulation: bool
    templates: Templates
    interpolation: str = "spline"
    mirrored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cells: Mapping[str, JointBinning] = dataclasses.field(default_factory=dict)
    region: str = "signal region"
    events: tuple[str, ...] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=lambda: versions())

    @property
    def observable(self) -> str:
        """`fixed`, `moving`, `anchored` or `unbinned`."""
        return self.templates.observable

    @property
    def fitted(self) -> StoredTemplates:
        """The same without regions that are not fitted."""
        return self.restricted([name for name, kind in self.kinds.items() if kind != "validation"])

    def restricted(self, names: Collection[str]) -> StoredTemplates:
        """Return what is known of some regions; nuisances that are factors and act in none of them go."""
        if not self.kinds:
            return self
        templates = restrict_templates(self.templates, names)
        rates = acting(self.normalisations, templates)
        known = {rate.nuisance for rate in rates}
        nuisances = tuple(n for n in self.nuisances if n.kind != "norm" or n.name in known)
        kept = {nuisance.name for nuisance in nuisances}
        return dataclasses.replace(
            self,
            templates=templates,
            normalisations=rates,
            nuisances=nuisances,
            constraints=tuple(c for c in self.constraints if set(constraint_of(c).nuisances) <= kept),
            kinds={name: kind for name, kind in self.kinds.items() if name in templates.regions},
            events=tuple(name for name in self.events if name in templates.regions),
        )

    @property
    def acting(self) -> tuple[Normalisation, ...]:
        """The normalisations that act in some of its regions."""
        return acting(self.normalisations, self.templates)

    def model(self, simulation: bool | None = None) -> Model:
        """Return the likelihood.

        Args:
            simulation: give every bin a simulation factor (Barlow-Beeston lite); the study's choice where None.

        Raises:
            ConfigError: a constraint is a formula, which no file holds.
        """
        included = self.simulation if simulation is None else simulation
        templates = self.templates
        model = Model.from_templates(
            self.components,
            self.nuisances,
            [constraint_of(record) for record in self.constraints],
            list(templates.counts) if templates.grid is None else [templates.grid],
            convention=self.convention,
            moving=templates.moving,
            normalisations=self.acting,
            variances=nominal_variances(templates, self.nuisances) if included else None,
            regions=region_bins(templates),
        )
        return (
            histfactory_interpolation(model, self.mirrored)
            if self.interpolation == "histfactory" and not model.moving
            else model
        )

    def data(self, model: Model, point: Mapping[str, float]) -> Data:
        """Return the Asimov data of a true point of the study, from events of that point itself.

        Raises:
            ConfigError: the study has no such point, or the observable moves.
        """
        if self.templates.moving:
            raise ConfigError("moving templates: their Asimov data are not stored; run the study again")
        number = self.point_number(point)
        full = self.points[number]
        theta = np.array([full[name] for name in self.components.pois])
        factors = normalisation_factors(self.normalisations, self.components.names, full, region_bins(self.templates))
        z = np.array([full[nuisance.name] for nuisance in self.nuisances])
        counts = model.coefficients(theta) @ (self.templates.truth[number] * factors)
        return Data(counts, study_auxiliary(model, z))

    def observed_data(self, model: Model, counts: Mapping[str, np.ndarray]) -> Data:
        """Return observed counts of the model's regions as data, auxiliary observations at their nominal values.

        Raises:
            ConfigError: a region has no counts.
        """
        names = list(model.regions) or [self.region]
        missing = [name for name in names if name not in counts]
        if missing:
            raise ConfigError(f"region '{missing[0]}': there are no observed counts of it")
        z = np.array([nuisance.nominal for nuisance in model.nuisances])
        return Data(np.concatenate([counts[name] for name in names]).astype(np.float64), study_auxiliary(model, z))

    def point_number(self, point: Mapping[str, float]) -> int:
        """Return the number of a true point; names that are missing are at their nominal values.

        Raises:
            ConfigError: the study has no such point, or a name is unknown.
        """
        nominal = dict(zip(self.components.pois, self.components.nominal, strict=True))
        nominal |= {nuisance.name: nuisance.nominal for nuisance in self.nuisances}
        unknown = [name for name in point if name not in nominal]
        if unknown:
            raise ConfigError(f"true point: unknown parameter '{unknown[0]}' (known: {', '.join(nominal)})")
        wanted = {**nominal, **point}
        for number, known in enumerate(self.points):
            if all(abs(known[name] - value) <= 1e-6 * max(1.0, abs(value)) for name, value in wanted.items()):
                return number
        shown = "; ".join(",".join(f"{name}={value:g}" for name, value in p.items()) for p in self.points)
        raise ConfigError(
            f"true point {','.join(f'{n}={v:g}' for n, v in wanted.items())}: the run did not study it "
            f"(it has {shown}); choose one of these with --true"
        )

    def save(self, path: Path) -> None:
        """Write one npz: the arrays, and `manifest`, everything else as JSON; complete or not at all."""
        t = self.templates
        manifest = {
            "format": FORMAT,
            **{
                name: getattr(self, name)
                for name in ("case", "strategy", "seed", "binning", "convention", "interpolation", "mirrored")
            },
            "observable": self.observable,
            "simulation": self.simulation,
            "components": dataclasses.asdict(self.components),
            "nuisances": [dataclasses.asdict(nuisance) for nuisance in self.nuisances],
            "constraints": list(self.constraints),
            "normalisations": [dataclasses.asdict(rate) for rate in self.normalisations],
            "points": [dict(point) for point in self.points],
            "kinds": dict(self.kinds),
            "region": self.region,
            "events": list(self.events),
            "cells": {name: binning.bins for name, binning in self.cells.items()},
            "templates": {
                "nuisances": t.nuisances,
                "component_names": t.component_names,
                "moving": t.moving,
                "regions": list(t.regions),
            },
            "versions": dict(self.versions),
        }
        arrays: dict[str, np.ndarray] = {"edges": t.edges, "true_points": t.true_points, "truth": t.truth}
        arrays |= {} if t.grid is None else {"grid": t.grid}
        for j in range(len(t.counts)):
            arrays |= {f"counts.{j}": t.counts[j], f"variances.{j}": t.variances[j]}
        arrays |= {f"anchors.{j}": values for j, values in enumerate(t.anchors)}
        arrays |= {f"region_edges.{i}": edges for i, edges in enumerate(t.regions.values())}
        for i, binning in enumerate(self.cells.values()):
            arrays[f"cells.{i}.anchors"] = np.asarray(binning.anchors)
            for field in CUTS:
                arrays[f"cells.{i}.{field}"] = np.asarray(getattr(binning.tree, field))
        text = np.frombuffer(json.dumps(manifest, default=float).encode(), np.uint8)
        write_atomically(path, lambda file: np.savez_compressed(file, manifest=text, **arrays))  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> StoredTemplates:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file is missing, damaged or of another format.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                manifest = json.loads(archive["manifest"].tobytes())
                arrays = {name: archive[name] for name in archive.files if name != "manifest"}
            if manifest.get("format") != FORMAT:
                raise ValueError(f"format is {manifest.get('format')!r}, this version reads '{FORMAT}'")
            return _assembled(manifest, arrays)
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; point to the output directory of a finished run") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path}: cannot be read as templates ({error}); repeat the run") from None


def _assembled(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> StoredTemplates:
    own = manifest["templates"]
    columns = len([name for name in arrays if name.startswith("counts.")])
    templates = Templates(
        edges=arrays["edges"],
        nuisances=tuple(own["nuisances"]),
        component_names=tuple(own["component_names"]),
        anchors=tuple(arrays[f"anchors.{j}"] for j in range(len(own["nuisances"]))),
        counts=tuple(arrays[f"counts.{j}"] for j in range(columns)),
        variances=tuple(arrays[f"variances.{j}"] for j in range(columns)),
        moving=own["moving"],
        true_points=arrays["true_points"],
        truth=arrays["truth"],
        at_true=(),
        observable=manifest["observable"],
        grid=arrays.get("grid"),
        regions={name: arrays[f"region_edges.{i}"] for i, name in enumerate(own["regions"])},
    )
    plain = {
        name: manifest[name]
        for name in ("case", "strategy", "seed", "binning", "convention", "simulation", "interpolation", "mirrored")
    }
    return StoredTemplates(
        **plain,
        components=Components(**_tuples(manifest["components"])),
        nuisances=tuple(Nuisance(**_tuples(record)) for record in manifest["nuisances"]),
        constraints=tuple(manifest["constraints"]),
        normalisations=tuple(Normalisation(**_tuples(record)) for record in manifest["normalisations"]),
        points=tuple(manifest["points"]),
        templates=templates,
        kinds=manifest["kinds"],
        region=manifest["region"],
        events=tuple(manifest.get("events", ())),
        cells={
            name: JointBinning(
                jnp.asarray(arrays[f"cells.{i}.anchors"]),
                ScoreTree(*(jnp.asarray(arrays[f"cells.{i}.{field}"]) for field in CUTS)),
                bins,
            )
            for i, (name, bins) in enumerate(manifest["cells"].items())
        },
        versions=manifest["versions"],
    )


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with lists as the tuples that JSON does not know."""

    def turned(value: Any) -> Any:
        return tuple(turned(entry) for entry in value) if isinstance(value, list) else value

    return {name: turned(value) for name, value in record.items()}


def acting(normalisations: Sequence[Normalisation], templates: Templates) -> tuple[Normalisation, ...]:
    """Return the normalisations that act in some region of the templates, said of these regions only."""
    if not templates.regions:
        return tuple(dataclasses.replace(rate, regions=None) for rate in normalisations)
    found = (rate.within(templates.regions) for rate in normalisations)
    return tuple(rate for rate in found if rate is not None)


def region_bins(templates: Templates) -> dict[str, int]:
    """Return the numbers of bins of each region; none where there is one region only."""
    return {name: len(edges) - 1 for name, edges in templates.regions.items()}


def normalisation_factors(
    normalisations: Sequence[Normalisation],
    components: Sequence[str],
    point: Mapping[str, float],
    regions: Mapping[str, int],
) -> Float64[np.ndarray, "component bin"]:
    """Return the product of the normalisations' factors, `[component, bin]`, one bin where no region is named.

    Args:
        normalisations: factors on yields.
        components: names.
        point: values of the nuisances.
        regions: names of regions with their numbers of bins.
    """
    factors = np.ones((len(components), sum(regions.values()) or 1))
    for rate in normalisations:
        factors = np.where(
            rate.acts(components, regions), factors * float(rate.factor(jnp.asarray(point[rate.nuisance]))), factors
        )
    return factors


def nominal_variances(templates: Templates, nuisances: tuple[Nuisance, ...]) -> Float64[np.ndarray, "component bin"]:
    """Return the variances of the templates at the nominal point."""
    nominal = [n.nominal for n in nuisances if n.name in templates.nuisances]
    variances = templates.variances[0]
    return variances[int(np.argmin(np.abs(templates.anchors[0] - nominal[0])))] if nominal else variances
