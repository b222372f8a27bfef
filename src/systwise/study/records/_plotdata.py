"""The numbers behind the figures, kept in one npz without pickle.

A report is drawn from these and from `results.json` alone, so that it can be drawn again (in
another style, on another machine) without repeating the run.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from systwise.atomic import write_atomically
from systwise.errors import ConfigError
from systwise.study.records._plotrecords import (
    DecisionFunction,
    FeatureDistribution,
    LikelihoodScan,
    PlaneDensity,
    PlaneScan,
    RatioCheck,
    ScoreDistribution,
    ScoreTemplates,
    TradeOff,
    TrainingHistory,
    dimensions,
)
from systwise.study.significance._plots import SignificancePlane, SignificanceTradeOff

__all__ = [
    "DecisionFunction",
    "FeatureDistribution",
    "LikelihoodScan",
    "PlaneDensity",
    "PlaneScan",
    "PlotData",
    "RatioCheck",
    "ScoreDistribution",
    "ScoreTemplates",
    "TradeOff",
    "TrainingHistory",
]

FORMAT = "systwise/plots/1"


@dataclasses.dataclass(frozen=True)
class PlotData:
    """Everything that a report draws; any list may be empty.

    Attributes:
        components: names along every `component` axis; the first is drawn as the signal.
    """

    components: tuple[str, ...] = ("signal", "background")
    feature_distributions: tuple[FeatureDistribution, ...] = ()
    plane_densities: tuple[PlaneDensity, ...] = ()
    decision_functions: tuple[DecisionFunction, ...] = ()
    score_templates: tuple[ScoreTemplates, ...] = ()
    score_distributions: tuple[ScoreDistribution, ...] = ()
    likelihood_scans: tuple[LikelihoodScan, ...] = ()
    training_histories: tuple[TrainingHistory, ...] = ()
    trade_offs: tuple[TradeOff, ...] = ()
    ratio_checks: tuple[RatioCheck, ...] = ()
    plane_scans: tuple[PlaneScan, ...] = ()
    significance_planes: tuple[SignificancePlane, ...] = ()
    significance_trade_offs: tuple[SignificanceTradeOff, ...] = ()

    def save(self, path: Path) -> None:
        """Write one compressed npz; the file appears complete or not at all."""
        arrays: dict[str, np.ndarray] = {}
        manifest: dict[str, Any] = {"format": FORMAT, "components": list(self.components)}
        for group in _GROUPS:
            manifest[group] = []
            for number, record in enumerate(getattr(self, group)):
                entry = {}
                for field in dataclasses.fields(record):
                    value = getattr(record, field.name)
                    if isinstance(value, np.ndarray):
                        arrays[f"{group}.{number}.{field.name}"] = value
                    elif value is not None:
                        entry[field.name] = value
                manifest[group].append(entry)
        text = np.frombuffer(json.dumps(manifest, default=float).encode(), np.uint8)
        write_atomically(path, lambda file: np.savez_compressed(file, manifest=text, **arrays))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> PlotData:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file is missing, damaged or of another format.
        """
        try:
            # Opened here: np.load leaves a damaged archive open.
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                manifest = json.loads(archive["manifest"].tobytes())
                arrays = {name: archive[name] for name in archive.files if name != "manifest"}
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; point to the output directory of a finished run") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path}: cannot be read as plot data ({error}); repeat the run") from None
        if manifest.get("format") != FORMAT:
            raise ConfigError(
                f"{path}: format is {manifest.get('format')!r}, this version reads '{FORMAT}'; "
                "use the version that wrote the file"
            )
        groups: dict[str, Any] = {}
        for group, kind in _GROUPS.items():
            records = []
            for number, entry in enumerate(manifest.get(group, [])):
                own = {name: arrays.get(f"{group}.{number}.{name}") for name in dimensions(kind)}
                plain = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
                records.append(kind(**plain, **{name: value for name, value in own.items() if value is not None}))
            groups[group] = tuple(records)
        return cls(components=tuple(manifest["components"]), **groups)


_GROUPS: dict[str, type] = {
    "feature_distributions": FeatureDistribution,
    "plane_densities": PlaneDensity,
    "decision_functions": DecisionFunction,
    "score_templates": ScoreTemplates,
    "score_distributions": ScoreDistribution,
    "likelihood_scans": LikelihoodScan,
    "training_histories": TrainingHistory,
    "trade_offs": TradeOff,
    "ratio_checks": RatioCheck,
    "plane_scans": PlaneScan,
    "significance_planes": SignificancePlane,
    "significance_trade_offs": SignificanceTradeOff,
}
