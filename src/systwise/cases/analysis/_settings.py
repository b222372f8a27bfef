"""The file that describes an analysis; its words are those of cabinetry's configuration where it has them."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_pascal

from systwise.errors import ConfigError
from systwise.events import Expression
from systwise.parameters import Kind
from systwise.settings import Settings


def _expression(text: str) -> str:
    try:
        Expression(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


def _text(value: Any) -> Any:
    """Let a number stand where an expression may."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _list(value: Any) -> Any:
    """Let one word stand where a list of words may."""
    return [value] if isinstance(value, str) else value


Formula = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | float), AfterValidator(_expression)]
"""An expression of columns: arithmetic, comparisons, logic and functions such as sqrt or where."""
Words = Annotated[tuple[str, ...], BeforeValidator(_list, json_schema_input_type=str | tuple[str, ...])]
"""One word or a list of words."""
Paths = Words | dict[str, Words]
"""A file, a list of files (with * and ?), or these by sample; `{Sample}` stands for the sample's name."""


class Part(Settings):
    """A part of the file; keys begin with a capital letter, as cabinetry's do."""

    model_config = ConfigDict(alias_generator=to_pascal)


class General(Part):
    """What holds for the whole analysis."""

    measurement: str = "analysis"
    """Name of the measurement, for tables and the output folder."""
    poi: Words = Field(("mu",), alias="POI", min_length=1)
    """Parameters of interest, among the NormFactors; the first one is measured, the others are profiled."""
    input_path: str = "."
    """Folder of the files, relative to this file."""
    luminosity: float = Field(1.0, gt=0)
    """Integrated luminosity; scales the samples with a CrossSection, in its inverse unit."""
    event_id: Formula | None = None
    """Expression of the event number; the row's number where null."""
    undefined: float | None = None
    """Number that marks a feature that an event does not have, e.g. -999; also fills missing vector elements."""
    alternative: dict[str, float] = Field(default_factory=dict)
    """Parameters of interest of a hypothesis to tell from the nominal one (for EFT couplings); without it the
    samples that depend on a parameter of interest are told from all others."""


class Feature(Part):
    """A quantity that the classifiers see."""

    name: str
    """Its name; a column's unless Expression says otherwise."""
    expression: Formula | None = None
    """How it follows from columns."""
    label: str = ""
    """Axis label, with unit."""


def _feature(value: Any) -> Any:
    return {"Name": value} if isinstance(value, str) else value


class Region(Part):
    """The region of phase space."""

    name: str = "signal region"
    """Its name."""
    filter: Formula | None = None
    """Selection, an expression of columns; holds after every shift."""
    features: tuple[Annotated[Feature, BeforeValidator(_feature, json_schema_input_type=str | Feature)], ...] = Field(
        min_length=1
    )
    """What the classifiers see: columns, or names with an expression."""
    variable: Formula | None = None
    """A score of your own (strategy `column`), an expression of columns."""
    variable_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value of that score; values outside count in the first and last bin."""


class ComponentPart(Part):
    """A part of a sample that scales with parameters of interest in its own way."""

    formula: Formula
    """Its coefficient, a polynomial of the parameters of interest, e.g. c_t * c_g."""
    weight: Formula
    """Weight of each event in this part."""


class Sample(Part):
    """The events of a process."""

    name: str
    """Name of the process."""
    sample_path: Paths
    """File or files: ROOT, parquet, HDF5 or csv; * and ? match any."""
    tree: str | None = None
    """Tree (ROOT) or group (HDF5); may be left out where the file has only one."""
    filter: Formula | None = None
    """Selection of this sample, in place of the region's."""
    weight: Formula = "1"
    """Weight of an event."""
    cross_section: float | None = Field(None, gt=0)
    """Cross section; weights are then scaled to Luminosity x CrossSection / SumOfWeights."""
    sum_of_weights: float | None = Field(None, gt=0)
    """Sum of the weights of all generated events; null: the sum over the files before the selection."""
    formula: Formula | None = None
    """Coefficient of the expected events, a polynomial of the parameters of interest."""
    components: dict[str, ComponentPart] = Field(default_factory=dict)
    """Parts with weights of their own (EFT), instead of Weight and Formula."""


class NormFactor(Part):
    """A free factor: a parameter of interest, or a normalisation that the data determine."""

    name: str
    """Name of the parameter."""
    samples: Words | None = None
    """Samples that it multiplies; null: all, or those whose Formula uses it."""
    nominal: float = 1.0
    """Value of the nominal simulation."""
    bounds: tuple[float, float] | None = None
    """Lowest and highest value in a fit; null: -2 and 10 for a parameter of interest, else 0.05 and 5."""


class Template(Part):
    """One side of a systematic uncertainty; what is not given is as in the nominal sample."""

    sample_path: Paths | None = None
    """Files of shifted events."""
    tree: str | None = None
    """Tree of shifted events."""
    filter: Formula | None = None
    """Selection of shifted events."""
    weight: Formula | None = None
    """Weight of this variation; alone: a weight column of the nominal events."""
    normalization: float | None = Field(None, gt=-1)
    """Relative change of the yield, e.g. 0.05."""
    symmetrize: bool = False
    """This side is the mirror image of the other one."""

    @property
    def of_samples(self) -> bool:
        """Whether events of their own make this side."""
        return self.sample_path is not None or self.tree is not None or self.filter is not None


class Anchor(Template):
    """Events or weights at one value of a nuisance."""

    value: float
    """The nuisance's value."""


class Systematic(Part):
    """A systematic uncertainty; several with one Name are one nuisance that acts in several ways."""

    name: str
    """Name of the nuisance."""
    type: Literal["Normalization", "NormPlusShape"] = "NormPlusShape"
    """Whether it changes yields only."""
    kind: Kind | None = None
    """`detector`, `theory` or `norm`; reports warn where a score is made blind to theory."""
    samples: Words | None = None
    """Samples that it acts on; null: all."""
    up: Template | None = None
    """One standard deviation up (Nominal + Width)."""
    down: Template | None = None
    """One standard deviation down (Nominal - Width)."""
    anchors: tuple[Anchor, ...] = ()
    """Events or weights at several values, instead of Up and Down."""
    envelope: tuple[Formula, ...] = ()
    """Weights of which Up and Down are the largest and the smallest of each event (and the nominal one): at least as
    large as the envelope of any histogram."""
    function: str | None = None
    """`module:function` of columns and nuisance value, pure JAX; the module may lie beside this file."""
    columns: Words = ()
    """Columns that the function needs beside those of features and selection."""
    constraint: Literal["gaussian", "uniform", "none"] = "gaussian"
    """What is known of it beforehand."""
    nominal: float = 0.0
    """Value of the nominal simulation."""
    width: float = Field(1.0, gt=0)
    """Standard deviation of the constraint, in the nuisance's unit."""
    range: tuple[float, float] | None = None
    """Values that a fit may reach; null: 2.5 widths (5 for a normalisation) on both sides."""
    training: tuple[float, float] | None = None
    """Values drawn in training; null: 2 widths on both sides, at most the range."""
    points: int = Field(7, ge=3)
    """Values at which templates are made, beside those with events or weights."""
    label: str = ""
    """Axis label."""
    unit: str = ""
    """Unit."""

    @model_validator(mode="after")
    def _one_way(self) -> Systematic:
        ways = {
            "Up/Down": self.up is not None or self.down is not None,
            "Anchors": bool(self.anchors),
            "Envelope": bool(self.envelope),
            "Function": self.function is not None,
        }
        given = [name for name, there in ways.items() if there]
        if len(given) != 1:
            raise ValueError(
                f"'{self.name}' needs exactly one of Up/Down, Anchors, Envelope and Function, not "
                f"{' and '.join(given) or 'none'}"
            )
        if given == ["Up/Down"]:
            self._two_sides()
        if self.function is not None and self.function.count(":") != 1:
            raise ValueError(f"'{self.name}': write Function as module:function")
        if self.anchors and any(anchor.value == self.nominal for anchor in self.anchors):
            raise ValueError(f"'{self.name}': leave out the anchor at the nominal value, which is the sample itself")
        if len({anchor.value for anchor in self.anchors}) < len(self.anchors):
            raise ValueError(f"'{self.name}': two anchors have one value")
        return self

    def _two_sides(self) -> None:
        for side, other in (("Up", "Down"), ("Down", "Up")):
            template: Template | None = getattr(self, side.lower())
            if template is None:
                raise ValueError(
                    f"'{self.name}' has no {side}; give it, or mirror the other one with {side}: {{Symmetrize: true}}"
                )
            facing = getattr(self, other.lower())
            if template.symmetrize and (facing is None or facing.symmetrize):
                raise ValueError(f"'{self.name}': one of Up and Down may be symmetrised, not both")
        kinds = {what_varies(t) for t in (self.up, self.down) if t is not None and not t.symmetrize}
        if None in kinds:
            raise ValueError(f"'{self.name}': Up and Down need SamplePath, Tree, Filter, Weight or Normalization")
        if len(kinds) > 1:
            raise ValueError(
                f"'{self.name}': Up and Down vary different things, {' and '.join(sorted(map(str, kinds)))}"
            )
        if self.type == "Normalization" and kinds != {"normalisation"}:
            raise ValueError(f"'{self.name}': Type Normalization takes Up and Down with Normalization")

    @property
    def way(self) -> Literal["samples", "weights", "normalisation", "function"]:
        """How it acts on events."""
        if self.function is not None:
            return "function"
        if self.envelope:
            return "weights"
        sides: tuple[Template, ...] = self.anchors or tuple(
            t for t in (self.up, self.down) if t is not None and not t.symmetrize
        )
        kinds = {what_varies(side) for side in sides}
        if "samples" in kinds:
            return "samples"
        return "weights" if "weights" in kinds else "normalisation"


def what_varies(template: Template) -> Literal["samples", "weights", "normalisation"] | None:
    """Return what a side of a systematic uncertainty varies, None where it says nothing."""
    if template.of_samples:
        return "samples"
    if template.weight is not None:
        return "weights"
    return "normalisation" if template.normalization is not None else None


class AnalysisSettings(Part):
    """An analysis: events, parameters, uncertainties."""

    general: General = Field(default_factory=General)
    """What holds for the whole analysis."""
    regions: tuple[Region, ...] = Field(min_length=1, max_length=1)
    """The region; one a file."""
    samples: tuple[Sample, ...] = Field(min_length=1)
    """The processes."""
    norm_factors: tuple[NormFactor, ...] = Field(min_length=1)
    """Free factors, the parameters of interest among them."""
    systematics: tuple[Systematic, ...] = ()
    """Systematic uncertainties."""
    folder: str = "."
    """Folder of the file that this was read from; relative paths start there."""

    @functools.cached_property
    def text(self) -> str:
        """The settings as JSON, which tells analyses apart."""
        return self.model_dump_json(by_alias=True)

    def __hash__(self) -> int:
        """Hash the whole tree, whose mappings have no hash of their own."""
        return hash(self.text)

    @property
    def region(self) -> Region:
        """The region."""
        return self.regions[0]
