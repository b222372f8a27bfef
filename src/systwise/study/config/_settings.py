"""The settings of a study: one validated tree for the command line, a file and the API."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from systwise.cases import CASES, AbstractCase, Analysis, AnalysisSettings
from systwise.errors import ConfigError
from systwise.events import SplitSettings, StreamSettings
from systwise.fit import Convention
from systwise.learn import STRATEGIES, AbstractNetworkStrategy, AbstractStrategy
from systwise.settings import Settings, validate
from systwise.study.config._control import check_control
from systwise.study.config._strengths import TradeOffSettings
from systwise.study.config._yaml import parse_yaml
from systwise.study.significance._settings import SignificanceSettings

BinningName = Literal["uniform", "optimised", "signal_quantiles", "mixture_quantiles"]


class BinningSettings(Settings):
    """How the score is binned; every strategy is measured with every binning named here."""

    names: tuple[BinningName, ...] | None = None
    """Binnings: `uniform`, `optimised`, `signal_quantiles`, `mixture_quantiles`; the case's where null."""
    uniform: int | None = Field(None, ge=1)
    """Bins of the uniform binning; the case's (its paper's) number where null."""
    optimised: int | None = Field(None, ge=1)
    """Bins of all other binnings; the case's number where null."""
    minimum: float = Field(30.0, gt=0)
    """Smallest effective number of simulated events, (sum w)^2 / sum w^2, in a bin."""
    merge_below: float = Field(5.0, ge=0)
    """Merge a bin with its neighbour below this effective number of simulated events, at any anchor;
    0: never merge, and stop with an error where a bin is empty."""


class CorrelationSettings(Settings):
    """Correlation of what is known of two nuisances beforehand."""

    nuisances: tuple[str, str]
    """Their names."""
    value: float = Field(gt=-1, lt=1)
    """The correlation coefficient."""


class FitSettings(Settings):
    """How the likelihood is evaluated."""

    conventions: tuple[Convention, ...] = Field(("poisson", "drop", "deviance", "loggamma"), min_length=1)
    """Terms in the data alone that a moving observable keeps; the first one is shown in tables."""
    observables: tuple[Literal["binned", "anchored", "unbinned"], ...] = ("binned", "anchored", "unbinned")
    """Which observables of a strategy are measured, of those that it offers."""
    simulation: Literal["beside", "include"] = "beside"
    """Statistical uncertainty of the simulation (Barlow-Beeston lite): stated beside sigma, or included in it."""
    morph: Literal["factorised", "joint", "histfactory"] | None = None
    """Templates of several nuisances: one nuisance moved at a time and effects multiplied (`factorised`), all
    combinations of their anchors (`joint`: fixed observables only; as many templates as the product of the numbers of
    anchors), or templates at one standard deviation interpolated as HistFactory does, codes 4 and 4p (`histfactory`:
    fixed observables only). null: `histfactory` where nothing is trained in any region, as cabinetry, else
    `factorised`."""
    prune: float = Field(0.0, ge=0, lt=1)
    """Effects of a nuisance on a component that change no bin of a region by this fraction are left out; 0: none."""
    correlations: tuple[CorrelationSettings, ...] = ()
    """Correlations between Gaussian constraints, e.g. `[{nuisances: [tes, jes], value: 0.5}]`; none by default."""
    anchors: int | None = Field(None, ge=1)
    """Hypotheses at which an anchored observable is evaluated; null: chosen by the number of nuisances."""
    cells: int | None = Field(None, ge=2)
    """Cells of an anchored observable; null: as many as the simulated events can carry."""
    grid: Literal["paper"] | tuple[float, ...] | None = None
    """Nuisance values to profile over; null: continuously; `paper`: the case's paper's."""


class ToySettings(Settings):
    """Pseudo-experiments, which tell whether intervals hold what they promise."""

    count: int = Field(0, ge=0)
    """Pseudo-experiments a strategy, observable and true point; 0: none."""
    first: int = Field(0, ge=0)
    """Number of the first one: runs with other numbers are parts of the same set (`systwise merge`)."""
    moving: int = Field(200, ge=0)
    """At most so many for a moving observable, whose data are scored at every anchor."""
    source: Literal["auto", "events", "templates"] = "auto"
    """`events`: fresh ones, independent of everything fitted (cases that can draw them); `templates`: Poisson
    counts around the fitted templates; `auto`: events where they can be drawn."""


class InferenceSettings(Settings):
    """What the report says beyond one uncertainty: pulls, impacts, limit, significance, planes."""

    points: Literal["first", "all", "none"] | None = None
    """True points at which the uncertainty is taken apart (first training of each strategy); the case's where null."""
    level: float = Field(0.95, gt=0, lt=1)
    """Confidence level of upper limits."""
    plane: int = Field(21, ge=0, le=201)
    """Values a side of the planes of two parameters, everything else profiled; 0: no planes."""


class StudySettings(Settings):
    """Everything that decides a study's numbers."""

    case: dict[str, Any] = Field(default_factory=dict)
    """Settings of the case, see `systwise cases`."""
    strategies: tuple[str, ...] | None = None
    """Strategies to run; `[all]`: all that exist for the case; null: those of them that are run by default."""
    strategy: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of single strategies, by name, see `systwise strategies`."""
    network: dict[str, Any] = Field(default_factory=dict)
    """Network settings of all strategies."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings of all strategies."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the events and of the first training."""
    seeds: int = Field(1, ge=1)
    """Trainings of each strategy, with seeds `seed`, `seed + 1`, ..."""
    true: tuple[dict[str, float] | Literal["control"], ...] | None = None
    """True points to study, `{name: value}` each; the case's where null. `control`: nuisances at a fit of the control
    regions to their data."""
    split: SplitSettings = Field(default_factory=SplitSettings)
    """Who trains on which event."""
    binning: BinningSettings = Field(default_factory=BinningSettings)
    """How the score is binned."""
    fit: FitSettings = Field(default_factory=FitSettings)
    """How the likelihood is evaluated."""
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    """What the report says beyond one uncertainty."""
    toys: ToySettings = Field(default_factory=ToySettings)
    """Pseudo-experiments."""
    stream: StreamSettings = Field(default_factory=StreamSettings)
    """When events stay on disk."""
    trade_off: TradeOffSettings = Field(default_factory=TradeOffSettings)
    """Strengths at which a decorrelating strategy is trained for the trade-off figure."""
    significance: SignificanceSettings = Field(default_factory=SignificanceSettings)
    """Which hypotheses are told from a reference; the case's where keys are not set."""


def merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the tree `over` laid on top."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge_settings(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_assignment(text: str) -> dict[str, Any]:
    """Turn `a.b=value` into a tree; the value is read as YAML.

    >>> parse_assignment("case.noise=0.5")
    {'case': {'noise': 0.5}}

    Raises:
        ConfigError: there is no `=`, no key, or the value is no YAML.
    """
    key, found, value = text.partition("=")
    if not found or not key.strip() or any(not part for part in key.strip().split(".")):
        raise ConfigError(f"'{text}': write key=value, e.g. case.noise=0.5")
    try:
        tree: Any = _number(yaml.safe_load(value))
    except yaml.YAMLError:
        raise ConfigError(f"{key}: '{value}' cannot be read; quote it as YAML asks") from None
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return tree


def _number(value: Any) -> Any:
    """Read `1e-3`, which YAML 1.1 takes for a word, as the number that was meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def parse_point(text: str) -> dict[str, float]:
    """Turn `angle=1.2` or `tes=0.9,mu=2` into a true point.

    Raises:
        ConfigError: a part is not `name=number`.
    """
    point = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        try:
            point[name.strip()] = float(value)
        except ValueError:
            found = ""
        if not found or not name.strip():
            raise ConfigError(f"'{part}': write name=number, e.g. angle=1.2")
    return point


def read_config(path: Path) -> dict[str, Any]:
    """Read a tree of settings from a YAML file.

    Raises:
        ConfigError: the file is missing, no YAML, or not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not valid YAML (no text); mend it there") from None
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold key: value pairs, e.g. 'seeds: 3'")
    return tree


def resolve_settings(
    case: str,
    preset: str | None = None,
    quick: bool = False,
    config: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> StudySettings:
    """Lay the layers of settings on top of each other: analysis file, preset, quick, file, command line.

    Raises:
        ConfigError: a case, preset or key is unknown, or a value does not fit.
    """
    presets = case_class(case).presets
    tree = read_analysis(case) if is_analysis(case) else {}
    for name in (preset, "quick" if quick else None):
        if name is None:
            continue
        if name not in presets:
            raise ConfigError(f"case '{case}' has no preset '{name}' (known: {', '.join(presets)})")
        tree = merge_settings(tree, presets[name])
    for layer in (config, overrides):
        tree = merge_settings(tree, layer or {})
    return validate(StudySettings, tree)


def is_analysis(case: str) -> bool:
    """Return whether a case's name is that of a file that describes an analysis."""
    return case.lower().endswith((".yaml", ".yml"))


def case_class(name: str) -> type[AbstractCase]:
    """Return the class of a case: `Analysis` for a YAML file, else a built-in one.

    Raises:
        ConfigError: there is no such case.
    """
    return Analysis if is_analysis(name) else CASES.get(name)


def read_analysis(name: str) -> dict[str, Any]:
    """Return the settings in an analysis file: those of its `study` section, and the rest as those of the case.

    Raises:
        ConfigError: the file is missing, no YAML, or has a key that does not exist.
    """
    path = Path(name)
    tree = read_config(path)
    study = tree.pop("study", None) or {}
    if not isinstance(study, dict):
        raise ConfigError(f"{path}: study: must hold key: value pairs, as `systwise run --set` takes them")
    if "case" in study:
        raise ConfigError(f"{path}: study.case: the file itself describes the case; leave it out")
    case = tree | {"Folder": str(path.parent)}
    validate(AnalysisSettings, case, str(path))
    return merge_settings(study, {"case": case})


def build_case(name: str, settings: StudySettings) -> AbstractCase:
    """Return the case with its settings.

    Raises:
        ConfigError: the name or one of the settings is unknown.
    """
    kind = case_class(name)
    return kind(validate(kind.settings_class, settings.case, "case"))


def build_strategies(case: AbstractCase, settings: StudySettings) -> list[AbstractStrategy]:
    """Return the strategies to run, in the order of their tables.

    Settings are laid on top of each other: the strategy's own defaults, `network` and `training`,
    then `strategy.<name>`.

    Raises:
        ConfigError: a name or key is unknown, or a strategy does not exist for the case.
    """
    known = STRATEGIES.names()
    scoreless = next((name for name, region in case.regions.items() if not region.has_score), None)
    for name in settings.strategy:
        STRATEGIES.get(name)
    wanted = settings.strategies
    if wanted is None or wanted == ("all",):
        wanted = tuple(n for n in known if wanted is not None or STRATEGIES.get(n).by_default)
        wanted = tuple(n for n in wanted if case.truth is not None or not STRATEGIES.get(n).needs_truth)
        wanted = tuple(n for n in wanted if scoreless is None or not STRATEGIES.get(n).needs_score)
        # What cannot be without settings, as somebody's own model, is run where it has them.
        wanted = tuple(n for n in wanted if n in settings.strategy or not _asks_for_settings(n))
        if case.given:
            wanted = tuple(n for n in wanted if STRATEGIES.get(n).needs_score)
        if not case.shape_nuisances:
            wanted = tuple(n for n in wanted if not STRATEGIES.get(n).needs_nuisances)
        if case.components.alternative is not None:
            # Components of a squared amplitude are no processes whose densities are worth learning one by one.
            wanted = tuple(n for n in wanted if "unbinned" not in STRATEGIES.get(n).observables)
    chosen = [STRATEGIES.get(name) for name in dict.fromkeys(wanted)]
    if not chosen:
        raise ConfigError(f"strategies: name at least one of {', '.join(known)}")
    built = []
    for kind in sorted(chosen, key=lambda kind: known.index(kind.name)):
        if kind.needs_truth and case.truth is None:
            raise ConfigError(
                f"strategy '{kind.name}' needs a known optimum, which case '{case.name}' has not; leave it out"
            )
        if case.given and not kind.needs_score:
            raise ConfigError(
                f"strategy '{kind.name}' is trained on features, and region '{case.region}' has none; give it "
                "Features, or leave the strategy out"
            )
        if kind.needs_score and scoreless is not None:
            where = f"region '{scoreless}'" if len(case.regions) > 1 else f"case '{case.name}'"
            raise ConfigError(
                f"strategy '{kind.name}' needs a score of your own, which {where} has not; name it as "
                "Variable of the region in an analysis file"
            )
        tree: dict[str, Any] = {}
        if issubclass(kind, AbstractNetworkStrategy):
            own = kind().model_dump(by_alias=True)
            tree = merge_settings(own, {"network": settings.network, "training": settings.training})
        tree = merge_settings(tree, settings.strategy.get(kind.name, {}))
        built.append(validate(kind, tree, f"strategy.{kind.name}"))
    return built


def _asks_for_settings(name: str) -> bool:
    return any(field.is_required() for field in STRATEGIES.get(name).model_fields.values())


def true_points(case: AbstractCase, settings: StudySettings) -> list[dict[str, float]]:
    """Return the true points, every nuisance and parameter of interest named; `control` is known after a fit only.

    Raises:
        ConfigError: a name is unknown, a value out of range, or there are no control regions to fit.
    """
    components = case.components
    nuisances = {nuisance.name: nuisance for nuisance in case.nuisances}
    pois = dict(zip(components.pois, components.ranges, strict=True))
    points: list[dict[str, float]] = []
    for given in settings.true if settings.true is not None else case.defaults.true:
        if isinstance(given, str):
            check_control(case)
            continue
        for name, value in given.items():
            if name in nuisances:
                nuisances[name].check(value)
            elif name in pois:
                low, high = pois[name]
                if not low <= value <= high:
                    raise ConfigError(f"true: {name}={value:g} is outside its range [{low:g}, {high:g}]")
            else:
                raise ConfigError(
                    f"true: case '{case.name}' has no parameter '{name}' (known: {', '.join([*nuisances, *pois])})"
                )
        point = {
            name: float(nuisance.snapped(given.get(name, nuisance.nominal))) for name, nuisance in nuisances.items()
        }
        nominal = zip(components.pois, components.nominal, strict=True)
        point |= {name: float(given.get(name, value)) for name, value in nominal}
        if point not in points:
            points.append(point)
    return points
