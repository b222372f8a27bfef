"""What a study found, as one validated JSON file that outlives the program.

`Results` holds one `Measurement` a strategy, binning, true point and seed. `summaries` (mean and
spread over seeds) are computed from the measurements whenever they are asked for, so that the two
cannot disagree. Numbers that are not finite never reach the file: they become null and the verdict
says which.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError, computed_field, model_validator

from systwise.atomic import write_atomically
from systwise.errors import ConfigError
from systwise.study.records._inference import InferenceRecord
from systwise.study.records._record import Finite, Number, Record, Tree
from systwise.study.records._summary import Summary, summarise
from systwise.study.significance._records import (
    ClassifierRecord,
    FakeRecord,
    RegionRecord,
    SignificanceRecord,
    ToldCheckRecord,
    ToyCheckRecord,
)

SCHEMA: Final = "systwise/results/1"
YARDSTICKS = ("true_nuisance", "optimal", "optimal_nominal")
"""Strategies that use knowledge no measurement has (the true nuisance, the exact densities)."""


class NuisanceRecord(Record):
    """What a reader needs to know of a nuisance."""

    name: str
    """As in every `true` and `nuisance_estimate` object."""
    nominal: Finite
    """Value at which the simulation was made."""
    kind: Literal["detector", "theory", "norm"] = "detector"
    """What it describes; a decorrelating strategy is no answer to a `theory` nuisance."""
    unit: str = ""
    """For axis labels."""
    label: str = ""
    """For axis labels (mathtext); the name where empty."""


class DataRecord(Record):
    """Where the events came from."""

    source: str
    """A path or a generator."""
    fingerprint: str
    """Hash of the content or of the generator's settings."""
    events: int = Field(ge=0)
    """Events in the table."""


class YieldRecord(Record):
    """What is expected of a component in a region, all parameters nominal."""

    region: str
    """Name of the region."""
    component: str
    """Name of the component."""
    expected: Finite
    """Events after the selection, the component's coefficient included."""
    error: Finite = Field(ge=0)
    """Statistical uncertainty of the simulation."""


class Timings(Record):
    """Wall-clock seconds."""

    generate: Number = None
    """Generating or loading the events."""
    train: dict[str, Number] = Field(default_factory=dict)
    """Training, by strategy, all seeds together."""
    score: dict[str, Number] = Field(default_factory=dict)
    """Scoring and templates, by strategy, all seeds together."""
    fit: Number = None
    """All fits."""
    inference: Number = None
    """Pulls, impacts, limits, planes and the second minimiser."""
    toys: Number = None
    """Pseudo-experiments."""
    report: Number = None
    """Figures and report."""
    total: Number = None
    """The whole run."""


class Measurement(Record):
    """One fit: a strategy trained with one seed, on one data set, with one binning."""

    strategy: str
    """Name of the training strategy."""
    observable: Literal["fixed", "moving", "anchored", "unbinned"]
    """`fixed` score; `moving`: it depends on the hypothesised nuisance; `anchored`: the score at a few fixed
    hypotheses, binned jointly; `unbinned`: density ratios of every event."""
    convention: str
    """Terms in the data alone: `drop`, `poisson`, `deviance` or `loggamma`; matters where `moving`."""
    binning: str
    """`uniform`, `optimised` or another name; `joint` for cells of an anchored observable, `none` without bins."""
    bins: int = Field(ge=0)
    """Number of bins or cells; 0 without bins."""
    seed: int
    """Seed of the training."""
    data: Literal["asimov", "observed"] = "asimov"
    """Kind of the data set."""
    true: dict[str, Finite]
    """True values of nuisances and parameters of interest."""
    poi: str
    """Parameter of interest that was measured."""
    estimate: Number
    """Best-fit value."""
    sigma: Number
    """Half of the interval at delta NLL = 0.5; null where a side is missing."""
    sigma_down: Number
    """Distance from the estimate to the lower crossing."""
    sigma_up: Number
    """Distance from the estimate to the upper crossing."""
    sigma_stat_only: Number
    """The same with the nuisances fixed at their best-fit values."""
    sigma_simulation: Number = None
    """What the limited size of the simulation adds in quadrature (Barlow-Beeston lite)."""
    bound: Number = None
    """Cramér-Rao bound with the nuisances profiled; null where nobody knows it."""
    bound_stat_only: Number = None
    """Cramér-Rao bound with the nuisances known."""
    interval_95: tuple[Number, Number] = (None, None)
    """Where the profiled NLL rises by 2: (lower, upper)."""
    nuisance_estimate: dict[str, Number] = Field(default_factory=dict)
    """Best-fit nuisance values."""
    nuisance_sigma: dict[str, Number] = Field(default_factory=dict)
    """Their uncertainties from the Hessian."""
    second_minimum: dict[str, Number] | None = None
    """Another minimum: parameter values there, and `delta_nll` above the best."""
    auc: Number = None
    """Area under the ROC curve at the true nuisance."""
    ks_background: Number = None
    """Kolmogorov-Smirnov distance of the background score between the nominal and the true nuisance."""
    converged: bool
    """Whether gradient, Hessian, boundary and anchors all agree."""
    verdict: str = ""
    """One sentence on whether to believe it."""

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_not_finite(cls, values: Any) -> Any:
        """Name the quantities that become null in the verdict."""
        if not isinstance(values, Mapping):
            return values
        lost = [name for name, value in values.items() if _has_non_finite(value)]
        if not lost:
            return values
        sentence = f"not finite: {', '.join(lost)}"
        verdict = str(values.get("verdict", ""))
        return {**values, "verdict": f"{verdict.rstrip('. ')}; {sentence}" if verdict else sentence}


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_non_finite(entry) for entry in value.values())
    if isinstance(value, list | tuple):
        return any(_has_non_finite(entry) for entry in value)
    return isinstance(value, float | np.floating) and not math.isfinite(value)


class ToyRecord(Record):
    """Pseudo-experiments of one strategy, observable and binning at one true point."""

    strategy: str
    """Name of the training strategy."""
    observable: Literal["fixed", "moving", "anchored", "unbinned"]
    """As in `Measurement`."""
    convention: str
    """Terms in the data alone; matters where `moving`."""
    binning: str
    """As in `Measurement`."""
    seed: int
    """Seed of the training."""
    true: dict[str, Finite]
    """True values of nuisances and parameters of interest."""
    poi: str
    """Parameter of interest."""
    source: Literal["events", "templates"]
    """Where the data come from: events independent of everything fitted, or the fitted templates."""
    toys: int
    """Pseudo-experiments."""
    converged: int
    """Those whose fit converged; all else is over these."""
    mean: Finite
    """Mean estimate."""
    mean_error: Finite
    """Its statistical error."""
    rms: Finite
    """Standard deviation of the estimates."""
    rms_error: Finite
    """Its statistical error."""
    half_width: Number
    """Mean half of the interval at a rise of 0.5; null where no interval has two ends."""
    bias: Finite
    """(mean - true) / rms."""
    pull_mean: Finite
    """Mean of (estimate - true) over the error on the side of the truth."""
    pull_width: Finite
    """Its standard deviation."""
    coverage: Finite
    """Fraction of the 68.27 % intervals that hold the truth."""
    coverage_error: Finite
    """Binomial error at the wanted coverage."""
    coverage_two: Finite
    """Fraction of the 95.45 % intervals that hold the truth."""
    coverage_two_error: Finite
    """Binomial error at the wanted coverage."""
    bound: Number = None
    """Cramér-Rao bound with the nuisances profiled."""
    file: str
    """Rows of all pseudo-experiments, relative to the results."""


class Results(Record):
    """Everything a study found, and what it takes to repeat it."""

    schema_: Literal["systwise/results/1"] = Field(SCHEMA, alias="schema")
    """Name and version of this format."""
    case: str
    """Name of the physics case."""
    settings: Tree
    """The whole tree of settings."""
    seeds: list[int]
    """Seeds of the trainings."""
    versions: dict[str, str]
    """Versions of Python and of the packages that matter."""
    timings: Timings
    """Seconds spent."""
    data: DataRecord
    """Where the events came from."""
    command: str = ""
    """The command line that repeats the run; empty where it was not started from one."""
    nuisances: list[NuisanceRecord] = Field(default_factory=list)
    """The nuisances, in the order of the case."""
    yardsticks: list[str] = Field(default_factory=lambda: list(YARDSTICKS))
    """Strategies that use knowledge no measurement has; they do not compete."""
    warnings: list[str] = Field(default_factory=list)
    """Sentences that a reader must see."""
    yields: list[YieldRecord] = Field(default_factory=list)
    """Expected events of every component in every region."""
    measurements: list[Measurement]
    """One record a fit."""
    toys: list[ToyRecord] = Field(default_factory=list)
    """One record a set of pseudo-experiments."""
    inferences: list[InferenceRecord] = Field(default_factory=list)
    """What makes up the uncertainty, and the tests, of the observables that were examined."""

    significances: list[SignificanceRecord] = Field(default_factory=list)
    """Median expected significances with which hypotheses are told from a reference, where a study asks for it."""
    fakes: list[FakeRecord] = Field(default_factory=list)
    """Significances that wrong nuisances in the data fake."""
    toy_checks: list[ToyCheckRecord] = Field(default_factory=list)
    """The check of a median by pseudo-experiments."""
    classifiers: list[ClassifierRecord] = Field(default_factory=list)
    """Separation of each score and its residual dependence on nuisances."""
    regions: list[RegionRecord] = Field(default_factory=list)
    """What the reference expects in each region where hypotheses are told apart."""
    told_checks: list[ToldCheckRecord] = Field(default_factory=list)
    """Significances by the sample-wide value that scores are told."""

    @model_validator(mode="before")
    @classmethod
    def _drop_summaries(cls, values: Any) -> Any:
        """Forget stored summaries: they follow from the measurements."""
        if isinstance(values, Mapping):
            return {key: value for key, value in values.items() if key != "summaries"}
        return values

    @property
    def asimov(self) -> list[Measurement]:
        """The fits of expected data."""
        return [record for record in self.measurements if record.data == "asimov"]

    @property
    def observed(self) -> list[Measurement]:
        """The fits of observed data."""
        return [record for record in self.measurements if record.data == "observed"]

    @computed_field(description="Mean and spread over seeds, one a strategy, binning and true point.")  # type: ignore[prop-decorator]
    @functools.cached_property
    def summaries(self) -> list[Summary]:
        """Mean and spread over seeds of the measurements, in the order in which they were made."""
        return summarise(self.asimov, self.yardsticks)

    def with_report_seconds(self, seconds: float) -> Results:
        """Return the same results with the time that drawing the report took."""
        return self.model_copy(update={"timings": self.timings.model_copy(update={"report": seconds})})

    def save(self, path: Path) -> None:
        """Write the results as JSON; the file appears complete or not at all."""
        text = self.model_dump_json(indent=1, by_alias=True)
        write_atomically(path, lambda file: file.write(text.encode()))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read results and check them.

        Raises:
            ConfigError: the file is missing, is no JSON, has another schema, or a field does not fit.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; point to the output directory of a finished run") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as JSON ({error}); repeat the run") from None
        schema = values.get("schema") if isinstance(values, dict) else None
        if schema != SCHEMA:
            raise ConfigError(
                f"{path}: schema is {schema!r}, this version reads '{SCHEMA}'; use the version that wrote the file"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: {key}: {first['msg'].lower()}; the file was changed, repeat the run") from None


def results_schema() -> dict[str, Any]:
    """Return the JSON schema of `results.json`, as shipped in `results.schema.json`."""
    body = Results.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **body}


def schema_text() -> str:
    """Return the text of `results.schema.json`; a test keeps the shipped file equal to it."""
    return json.dumps(results_schema(), indent=1) + "\n"
