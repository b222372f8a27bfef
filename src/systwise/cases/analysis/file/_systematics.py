"""Systematic uncertainties in an analysis file: what each one varies."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from systwise.cases.analysis.file._parts import Formula, Label, Part, Paths, Words
from systwise.parameters import Kind


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


class Smoothing(Part):
    """Smoothing of a systematic uncertainty's templates, relative to the nominal ones; their totals stay."""

    algorithm: Literal["353QH, twice"] = "353QH, twice"
    """Running medians and means (CERN 74-23, p. 271), as in ROOT."""
    samples: Words | None = None
    """Samples, names or patterns; null: all that the uncertainty acts on."""
    regions: Words | None = None
    """Regions, names or patterns; null: all."""


class Systematic(Part):
    """A systematic uncertainty; several with one Name are one nuisance that acts in several ways."""

    name: Label
    """Name of the nuisance."""
    type: Literal["Normalization", "NormPlusShape"] = "NormPlusShape"
    """Whether it changes yields only."""
    kind: Kind | None = None
    """`detector`, `theory` or `norm`; reports warn where a score is made blind to theory."""
    samples: Words | None = None
    """Samples that it acts on, names or patterns; null: all simulated ones."""
    regions: Words | None = None
    """Regions that it acts in, names or patterns; null: all."""
    modifier_name: str | None = None
    """Name of the nuisance in place of Name: entries with one ModifierName are correlated."""
    smoothing: Smoothing | None = None
    """Smooth the effect on templates in bins."""
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
    label: Label = ""
    """Axis label."""
    unit: Label = ""
    """Unit."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Call the nuisance as ModifierName says."""
        name = value.get("ModifierName") if isinstance(value, dict) else None
        return value if name is None else {**value, "Name": name}

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
        both = next(
            (s for s in (self.up, self.down) if s and s.normalization is not None and (s.of_samples or s.weight)), None
        )
        if both is not None:
            raise ValueError(
                f"'{self.name}': Normalization beside other events or weights would be ignored; put it into their "
                "Weight, or into an entry of its own with the same Name"
            )
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
