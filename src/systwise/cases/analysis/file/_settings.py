"""The file that describes an analysis; its words are those of cabinetry's configuration where it has them."""

from __future__ import annotations

import functools
import itertools
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator, model_validator

from systwise.cases.analysis.file._parts import Formula, Label, Part, Paths, RegionKind, Words, matching
from systwise.cases.analysis.file._systematics import Systematic


class General(Part):
    """What holds for the whole analysis."""

    measurement: Label = "analysis"
    """Name of the measurement, for tables and the output folder."""
    poi: Words = Field(("mu",), alias="POI", min_length=1)
    """Parameters of interest, among the NormFactors; the first one is measured, the others are profiled."""
    label: Label = ""
    """Text above figures of data, in general luminosity and energy, such as `11.5 fb$^{-1}$ (8 TeV)`."""
    input_path: str = "."
    """Folder of the files, relative to this file; `{SamplePath}` in it stands for the file of a sample."""
    histogram_folder: str | None = None
    """Where cabinetry keeps its histograms; not used here."""
    luminosity: float = Field(1.0, gt=0)
    """Integrated luminosity; scales the samples with a CrossSection, in its inverse unit."""
    event_id: Formula | tuple[Formula, ...] | None = None
    """Expression of the event number, or several that name an event, `[run, event]`; null: the row's number."""
    undefined: float | None = None
    """Number that marks a feature that an event does not have, e.g. -999; also fills missing vector elements."""
    alternative: dict[str, float] = Field(default_factory=dict)
    """Parameters of interest of a hypothesis to tell from the nominal one (for EFT couplings); without it the
    samples that depend on a parameter of interest are told from all others."""

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The expressions that name an event together; none where it is the row's number."""
        return () if self.event_id is None else (self.event_id,) if isinstance(self.event_id, str) else self.event_id


class Feature(Part):
    """A quantity that the classifiers see."""

    name: Label
    """Its name; a column's unless Expression says otherwise."""
    expression: Formula | None = None
    """How it follows from columns."""
    label: Label = ""
    """Axis label, with unit."""


def _feature(value: Any) -> Any:
    # An odd name may be quoted as in an expression.
    return {"Name": value.removeprefix("`").removesuffix("`")} if isinstance(value, str) else value


class Lent(Part):
    """The observable of another region."""

    region: str
    """Name of the region, which has Features: its classifiers are used here, trained there."""


class Region(Part):
    """A region of phase space."""

    name: Label = "signal region"
    """Its name."""
    kind: RegionKind = "signal"
    """Signal regions are blinded until `systwise unblind`, control regions are fitted beside them, validation regions
    are predicted and never fitted."""
    filter: Formula | None = None
    """Selection, an expression of columns; holds after every shift."""
    features: tuple[Annotated[Feature, BeforeValidator(_feature, json_schema_input_type=str | Feature)], ...] = ()
    """What the classifiers see: columns, or names with an expression. Without it every strategy uses Variable."""
    observable: Lent | None = None
    """Instead of Features: the classifiers of another region, e.g. {Region: signal}. Density ratios are those of a
    region's own events and are trained here, with the features of that region."""
    variable: Formula | None = None
    """A given observable, an expression of columns: what is binned in a region without Features, and a score of your
    own (strategy `column`) in one with them."""
    binning: tuple[float, ...] | None = None
    """Edges of Variable, in its own unit; events outside do not count."""
    variable_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value of a Variable without Binning; values outside count in the first and last bin."""

    @field_validator("binning")
    @classmethod
    def _increasing(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges is not None and (len(edges) < 2 or any(b <= a for a, b in itertools.pairwise(edges))):
            raise ValueError("edges are two numbers or more, each larger than the one before")
        return edges

    @model_validator(mode="after")
    def _observable(self) -> Region:
        if self.features and self.observable is not None:
            raise ValueError(f"region '{self.name}': give its own Features, or the Observable of another region")
        names = [feature.name for feature in self.features]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"region '{self.name}': feature '{twice}' occurs twice")
        trained = bool(self.features) or self.observable is not None
        if not trained and self.variable is None:
            raise ValueError(
                f"region '{self.name}' has no observable; give Features to train on, or Variable and Binning"
            )
        if self.binning is not None and self.variable is None:
            raise ValueError(f"region '{self.name}': Binning has no Variable to bin; name it")
        if not trained and self.binning is None and "variable_range" not in self.model_fields_set:
            raise ValueError(f"region '{self.name}': give the edges of its Variable as Binning: [...]")
        return self


class ComponentPart(Part):
    """A part of a sample that scales with parameters of interest in its own way."""

    formula: Formula
    """Its coefficient, a polynomial of the parameters of interest, e.g. c_t * c_g."""
    weight: Formula
    """Weight of each event in this part."""


class Estimate(Part):
    """A sample made of data in another selection, where the process is found, less what simulation says is there."""

    filter: Formula | dict[str, Formula]
    """Selection of the data instead of the region's; by region where it differs."""
    scale: float = Field(1.0, gt=0)
    """Factor from that selection to the region."""
    subtract: Words = ()
    """Simulated samples that are subtracted in that selection, names or patterns."""


class Sample(Part):
    """The events of a process."""

    name: Label
    """Name of the process."""
    data: bool = False
    """Observed events; only `systwise unblind` and estimates read them."""
    regions: Words | None = None
    """Regions that it is in, names or patterns; null: all."""
    estimate: Estimate | None = None
    """Estimate the process from data in another selection, instead of SamplePath."""
    disable_staterror: bool = False
    """Leave the statistical uncertainty of this sample's simulation out of the fit."""
    sample_path: Paths = ()
    """File or files: ROOT, parquet, HDF5 or csv; * and ? match any."""
    tree: str | None = None
    """Tree (ROOT) or group (HDF5); may be left out where the file has only one."""
    filter: Formula | None = None
    """Selection of this sample, in place of the region's."""
    weight: Formula = "1"
    """Weight of an event."""
    cross_section: float | None = Field(None, gt=0)
    """Cross section; weights are then scaled to Luminosity x CrossSection / SumOfWeights."""
    sum_of_weights: PositiveFloat | str | None = None
    """Sum of the weights of all generated events, or where the files hold it, `Tree:branch` (`Runs:genEventSumw` of a
    skim), whose entries are added up; null: the sum over the files before the selection."""
    formula: Formula | None = None
    """Coefficient of the expected events, a polynomial of the parameters of interest."""
    components: dict[str, ComponentPart] = Field(default_factory=dict)
    """Parts with weights of their own (EFT), instead of Weight and Formula."""

    @model_validator(mode="after")
    def _one_source(self) -> Sample:
        if self.estimate is not None and (self.data or self.sample_path or self.components):
            raise ValueError(
                f"'{self.name}': an Estimate takes its events from data; leave out Data, SamplePath, Components"
            )
        if self.data and (self.formula or self.components or self.cross_section):
            raise ValueError(f"'{self.name}': data have no Formula, Components or CrossSection; leave them out")
        return self


class NormFactor(Part):
    """A free factor: a parameter of interest, or a normalisation that the data determine."""

    name: Label
    """Name of the parameter."""
    samples: Words | None = None
    """Samples that it multiplies, names or patterns; null: all, or those whose Formula uses it."""
    regions: Words | None = None
    """Regions in which it does, names or patterns; null: all. A parameter of interest acts in all."""
    nominal: float = 1.0
    """Value of the nominal simulation."""
    bounds: tuple[float, float] | None = None
    """Lowest and highest value in a fit; null: -2 and 10 for a parameter of interest, else 0.05 and 5."""
    fixed: bool = False
    """Hold it at its nominal value."""


class AnalysisSettings(Part):
    """An analysis: events, parameters, uncertainties."""

    general: General = Field(default_factory=General)
    """What holds for the whole analysis."""
    regions: tuple[Region, ...] = Field(min_length=1)
    """The regions; all are fitted together."""
    samples: tuple[Sample, ...] = Field(min_length=1)
    """The processes, and the data."""
    norm_factors: tuple[NormFactor, ...] = Field(min_length=1)
    """Free factors, the parameters of interest among them."""
    systematics: tuple[Systematic, ...] = ()
    """Systematic uncertainties."""
    folder: str = "."
    """Folder of the file that this was read from; relative paths start there."""

    @model_validator(mode="after")
    def _whole(self) -> AnalysisSettings:
        for what, named in (("Regions", self.regions), ("Samples", self.samples)):
            names = [one.name for one in named]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what}: '{twice}' occurs twice; give each its own Name")
        if all(region.kind != "signal" for region in self.regions):
            raise ValueError("Regions: none is of Kind signal; the parameter of interest is measured in one")
        features = {region.name: bool(region.features) for region in self.regions}
        for number, region in enumerate(self.regions):
            lender = None if region.observable is None else region.observable.region
            if lender is not None and not features.get(lender):
                raise ValueError(
                    f"Regions.{number}.Observable.Region: '{lender}' "
                    f"{'has no Features of its own' if lender in features else 'is no region'} (regions with Features: "
                    f"{', '.join(name for name, own in features.items() if own) or 'none'})"
                )
        if all(region.observable is not None for region in self.regions if region.kind == "signal"):
            raise ValueError("Regions: every signal region has the Observable of another one; give one its Features")
        if all(sample.data for sample in self.samples):
            raise ValueError("Samples: all are Data; describe the simulation of the processes too")
        if any(sample.estimate for sample in self.samples) and not any(sample.data for sample in self.samples):
            raise ValueError("Samples: an Estimate needs data; add a sample with Data: true")
        return self

    @functools.cached_property
    def text(self) -> str:
        """The settings as JSON, which tells analyses apart."""
        return self.model_dump_json(by_alias=True)

    def __hash__(self) -> int:
        """Hash the whole tree, whose mappings have no hash of their own."""
        return hash(self.text)

    @functools.cached_property
    def processes(self) -> tuple[Sample, ...]:
        """The samples that are expected: all but the data."""
        return tuple(sample for sample in self.samples if not sample.data)

    @functools.cached_property
    def observed(self) -> tuple[Sample, ...]:
        """The samples of data."""
        return tuple(sample for sample in self.samples if sample.data)

    def place(self, sample: Sample) -> str:
        """Return a sample's path in the file, for messages."""
        return f"Samples.{[other.name for other in self.samples].index(sample.name)}"

    def in_regions(self, patterns: Words | None, where: str) -> tuple[str, ...]:
        """Return the regions that patterns name; all where None.

        Raises:
            ConfigError: a pattern names none.
        """
        return matching(patterns, [region.name for region in self.regions], where, "region")
