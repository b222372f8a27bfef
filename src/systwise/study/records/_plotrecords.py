"""Records of what a report draws: NumPy arrays whose dimensions are checked.

The dimension names in the annotations are the check: one name has one size within a record, and
`x_edge` is one more than `x`.
"""

from __future__ import annotations

import dataclasses
import functools
import typing

import numpy as np
from jaxtyping import Float

from systwise.errors import ConfigError
from systwise.learn import RatioDiagnostics


@functools.cache
def dimensions(kind: type) -> dict[str, tuple[str, ...]]:
    """Return the array fields of a record and their dimension names, from its annotations."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        for option in (hint, *typing.get_args(hint)):
            if hasattr(option, "dim_str"):
                found[name] = tuple(option.dim_str.split())
    return found


class _Record:
    """Arrays become float64 NumPy and must agree in their named dimensions."""

    def __post_init__(self) -> None:
        """Convert and check."""
        sizes: dict[str, tuple[int, str]] = {}
        for name, dims in dimensions(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, np.float64)
            object.__setattr__(self, name, array)
            where = f"{type(self).__name__}.{name}"
            if array.ndim != len(dims):
                raise ConfigError(f"{where}: shape {array.shape} does not match [{', '.join(dims)}]")
            for dim, size in zip(dims, array.shape, strict=True):
                base, count = (dim.removesuffix("_edge"), size - 1) if dim.endswith("_edge") else (dim, size)
                known, other = sizes.setdefault(base, (count, name))
                if known != count:
                    raise ConfigError(f"{where}: shape {array.shape} does not match '{other}' in dimension '{dim}'")


@dataclasses.dataclass(frozen=True)
class FeatureDistribution(_Record):
    """Expected events in bins of one feature, at a few values of one nuisance.

    Attributes:
        feature: name as in the event table.
        label: for the axis, with unit (mathtext allowed).
        edges: bin edges.
        shown: nuisance values.
        counts: expected events at the stated luminosity.
        nuisance: which nuisance was varied.
    """

    feature: str
    label: str
    edges: Float[np.ndarray, " bin_edge"]
    shown: Float[np.ndarray, " shown"]
    counts: Float[np.ndarray, "shown component bin"]
    nuisance: str = ""


@dataclasses.dataclass(frozen=True)
class PlaneDensity(_Record):
    """Expected events in cells of the plane of two features, at a few values of one nuisance.

    Attributes:
        x_edges, y_edges: cell edges.
        shown: nuisance values.
        density: expected events a cell, any common scale.
        x_label, y_label: for the axes.
        nuisance: which nuisance was varied.
    """

    x_edges: Float[np.ndarray, " x_edge"]
    y_edges: Float[np.ndarray, " y_edge"]
    shown: Float[np.ndarray, " shown"]
    density: Float[np.ndarray, "shown component y x"]
    x_label: str = "$x_1$"
    y_label: str = "$x_2$"
    nuisance: str = ""


@dataclasses.dataclass(frozen=True)
class DecisionFunction(_Record):
    """The output of one strategy over the plane of two features.

    Attributes:
        strategy: name.
        x, y: grid points.
        z: hypothesised nuisance values (the true ones for a strategy trained at each).
        score: signal probability in (0, 1).
        x_label, y_label: for the axes.
        nuisance: which nuisance `z` is.
    """

    strategy: str
    x: Float[np.ndarray, " x"]
    y: Float[np.ndarray, " y"]
    z: Float[np.ndarray, " z"]
    score: Float[np.ndarray, "z y x"]
    x_label: str = "$x_1$"
    y_label: str = "$x_2$"
    nuisance: str = ""


@dataclasses.dataclass(frozen=True)
class ScoreTemplates(_Record):
    """Templates of one observable against one nuisance.

    Attributes:
        strategy, binning, nuisance: names.
        edges: bin edges of the score.
        anchors: nuisance values.
        counts: expected events.
        moving: whether the score depends on the hypothesised nuisance.
    """

    strategy: str
    binning: str
    nuisance: str
    edges: Float[np.ndarray, " bin_edge"]
    anchors: Float[np.ndarray, " anchor"]
    counts: Float[np.ndarray, "anchor component bin"]
    moving: bool = False


@dataclasses.dataclass(frozen=True)
class ScoreDistribution(_Record):
    """The score of one strategy at a few true nuisance values.

    Attributes:
        strategy: name.
        edges: bin edges of the score.
        z: true nuisance values, the nominal one first.
        counts: expected events; drawn as densities of unit area.
        ks: largest Kolmogorov-Smirnov distance of the background from the first value's.
        nuisance: which nuisance `z` is.
    """

    strategy: str
    edges: Float[np.ndarray, " bin_edge"]
    z: Float[np.ndarray, " z"]
    counts: Float[np.ndarray, "z component bin"]
    ks: float
    nuisance: str = ""


@dataclasses.dataclass(frozen=True)
class LikelihoodScan(_Record):
    """The likelihood of one data set around its minimum; all NLL values are above that minimum.

    Attributes:
        strategy, binning, convention: names.
        true: true values of nuisances and parameters of interest.
        poi_values: scanned values.
        profiled: NLL with the nuisances at their conditional best fit.
        stat_only: NLL with the nuisances at their overall best fit.
        nuisance_hat: conditional best fit of the drawn nuisance.
        map_poi, map_nuisance, map_nll: NLL over the plane.
        estimate_poi, estimate_nuisance: the minimum.
        second_minimum: nuisance value of another minimum, where there is one.
        nuisance: which nuisance is drawn.
        poi: which parameter of interest.
        observable: `fixed` or `moving`.
    """

    strategy: str
    binning: str
    convention: str
    true: dict[str, float]
    poi_values: Float[np.ndarray, " scan"]
    profiled: Float[np.ndarray, " scan"]
    stat_only: Float[np.ndarray, " scan"]
    nuisance_hat: Float[np.ndarray, " scan"]
    map_poi: Float[np.ndarray, " map_poi"]
    map_nuisance: Float[np.ndarray, " map_nuisance"]
    map_nll: Float[np.ndarray, "map_nuisance map_poi"]
    estimate_poi: float
    estimate_nuisance: float
    second_minimum: float | None = None
    nuisance: str = ""
    poi: str = "mu"
    observable: str = "fixed"


@dataclasses.dataclass(frozen=True)
class TrainingHistory(_Record):
    """Losses of one training.

    Attributes:
        strategy, seed: which training.
        epochs: passes over the events.
        training, validation: mean loss an event.
        adversary: loss of the adversary, where there is one.
    """

    strategy: str
    seed: int
    epochs: Float[np.ndarray, " epoch"]
    training: Float[np.ndarray, " epoch"]
    validation: Float[np.ndarray, " epoch"]
    adversary: Float[np.ndarray, " epoch"] | None = None


@dataclasses.dataclass(frozen=True)
class TradeOff(_Record):
    """What decorrelation costs: a strategy against the strength of its adversary or penalty.

    Attributes:
        strength: lambda.
        auc: area under the ROC curve.
        ks: Kolmogorov-Smirnov distance of the background score.
        sigma: profiled uncertainty on the parameter of interest.
        strategy: name.
    """

    strength: Float[np.ndarray, " scan"]
    auc: Float[np.ndarray, " scan"]
    ks: Float[np.ndarray, " scan"]
    sigma: Float[np.ndarray, " scan"]
    strategy: str = "adversarial"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatioCheck(RatioDiagnostics, _Record):
    """Whether learned density ratios can be trusted, on events that trained no network.

    Attributes:
        strategy: name.
        region: where, in a study of several regions.
    """

    strategy: str
    region: str = ""


@dataclasses.dataclass(frozen=True)
class PlaneScan(_Record):
    """The likelihood profiled over everything but two parameters.

    Attributes:
        strategy, binning, observable: labels.
        true: true values of nuisances and parameters of interest.
        names: the two parameters.
        x, y: their values.
        rise: NLL above the minimum; 1e6 where no expected counts are possible.
        best: both at the minimum.
        verdict: whether to believe it, in a sentence.
    """

    strategy: str
    binning: str
    observable: str
    true: dict[str, float]
    names: tuple[str, str]
    x: Float[np.ndarray, " plane_x"]
    y: Float[np.ndarray, " plane_y"]
    rise: Float[np.ndarray, "plane_x plane_y"]
    best: Float[np.ndarray, " plane_axis"]
    verdict: str = ""
