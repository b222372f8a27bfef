"""Observed data of a finished run: control regions, goodness of fit, and then the measurement itself.

The bins are those that the run stored, the networks those that it trained. What was looked at goes into the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from systwise.atomic import write_atomically
from systwise.cases import AbstractCase, Analysis, AnalysisSettings, Progress, no_progress
from systwise.errors import ConfigError, FitError
from systwise.events import EventTable
from systwise.fit import (
    Data,
    FitResult,
    GoodnessOfFit,
    Measurement,
    Model,
    Yields,
    fit,
    goodness_of_fit,
    measure,
    measure_events,
    postfit_yields,
    predicted_yields,
    prefit_yields,
)
from systwise.study.measure._measure import fitted_fields
from systwise.study.plan._checked import selected_weights
from systwise.study.records._results import Measurement as Record
from systwise.study.records._results import Results
from systwise.study.run._placed import counts_of, observed_in, uniform_of
from systwise.study.run._unblind_events import event_likelihood
from systwise.study.store._manifest import Manifest
from systwise.study.store._templates import FOLDER, StoredTemplates

Stage = Literal["control", "gof", "full"]
STAGES: tuple[Stage, ...] = ("control", "gof", "full")
UNBLINDED = "unblinded"
"""Folder of what was looked at."""
PREFERRED = ("joint", "given", "optimised", "uniform")
"""Binnings of a strategy, the one that is looked at first."""


class Axis(NamedTuple):
    """The axis of a region's bins.

    Attributes:
        label: with unit.
        edges: in this unit.
    """

    label: str
    edges: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Unblinded:
    """What a stage showed of one observable; None where the stage does not show it.

    Attributes:
        stage: `control`, `gof` or `full`.
        row: the stored templates.
        regions: regions whose data were read.
        prefit: yields before the fit.
        postfit: yields after the fit of `regions`.
        validation: yields of the validation regions, predicted from the fit, with their data.
        result: the fit, with the parameter of interest at its nominal value in stage `control`; None in `gof`.
        goodness: goodness of fit.
        measured: everything about the measurement, in stage `full`.
        offset: what was added to the parameter of interest to hide it; None where it is not hidden.
        digests: of the observed events by region.
        axes: label and edges of the variable in regions that show one in its own bins.
        label: text above figures of data.
    """

    stage: Stage
    row: StoredTemplates
    regions: tuple[str, ...]
    prefit: Yields
    postfit: Yields | None
    validation: Yields | None
    result: FitResult | None
    goodness: GoodnessOfFit | None
    measured: Measurement | None
    offset: float | None
    digests: Mapping[str, str]
    axes: Mapping[str, Axis] = dataclasses.field(default_factory=dict)
    label: str = ""


def run_case(folder: Path) -> tuple[Manifest, Analysis]:
    """Return what a run directory belongs to, and its analysis.

    Raises:
        ConfigError: no run, or one of a built-in case.
    """
    manifest = Manifest.load(folder)
    if manifest is None:
        raise ConfigError(f"{folder}: holds no run; give the output directory of systwise run")
    tree = manifest.settings["case"]
    if "Samples" not in tree:
        raise ConfigError(f"{folder}: case '{manifest.case}' has no observed data; run an analysis file of your own")
    return manifest, Analysis(AnalysisSettings.model_validate(tree))


def stored_rows(
    folder: Path,
    strategies: Sequence[str] | None,
    observable: str | None,
    binning: str | None,
    seed: int | None,
    events: bool = True,
) -> list[StoredTemplates]:
    """Return one stored observable a strategy: the one that is asked for, else the anchored or best binned one.

    Args:
        folder: of the run.
        strategies: their names; all where None.
        observable: kind of the observable; any where None.
        binning: name of the binning; any where None.
        seed: of the training; any where None.
        events: whether unbinned ones are wanted.

    Raises:
        ConfigError: there is none.
    """
    every = [StoredTemplates.load(path) for path in sorted((folder / FOLDER).glob("*.npz"))]
    if not every:
        raise ConfigError(f"{folder}: holds no templates; wait for the run to finish, or run it again")
    known = list(dict.fromkeys(row.strategy for row in every))
    unknown = [name for name in strategies or () if name not in known]
    if unknown:
        raise ConfigError(f"strategy '{unknown[0]}': the run has {', '.join(known)}")
    found = []
    for name in strategies or known:
        rows = [
            row
            for row in every
            if row.strategy == name
            and row.observable != "moving"
            and observable in (None, row.observable)
            and binning in (None, row.binning)
            and seed in (None, row.seed)
            and (events or not row.events)
        ]
        if rows:
            order = {word: place for place, word in enumerate(PREFERRED)}
            found.append(min(rows, key=lambda row: (row.seed, order.get(row.binning, len(order)))))
        elif strategies:
            raise ConfigError(
                f"strategy '{name}': the run has no fixed or anchored observable of it with these choices; a score "
                "that moves with the hypothesis is measured as an anchored one"
            )
    if not found:
        raise ConfigError(f"{folder}: the run has no observable that observed data can be counted in")
    return found


def unblind(
    folder: Path,
    row: StoredTemplates,
    stage: Stage,
    *,
    toys: int = 0,
    seed: int = 0,
    level: float = 0.95,
    hide: int | None = None,
    command: str = "",
    progress: Progress = no_progress,
) -> Unblinded:
    """Fit the observed data with one observable of a run, and write down that they were looked at.

    Args:
        folder: of the run.
        row: the observable.
        stage: `control` reads control and validation regions only, `gof` shows how well the data fit and no value,
            `full` everything.
        toys: pseudo-experiments for goodness of fit, significance and limit.
        seed: their seed.
        level: confidence level of the limit.
        hide: seed of an offset that hides the value; none: it is shown.
        command: the command line, for the record.
        progress: told about reading.

    Raises:
        ConfigError: the analysis has no such region, or no data for one.
        DataError: the data are missing or unusable.
        FitError: the fit of the control regions fails.
    """
    manifest, case = run_case(folder)
    if not case.settings.observed:
        raise ConfigError(f"{folder}: the analysis has no data; add a sample with Data: true and run it again")
    kinds = dict(row.kinds) or {row.region: "signal"}
    read = [name for name, kind in kinds.items() if stage == "full" or stage == "gof" or kind != "signal"]
    fitted = [name for name in read if kinds[name] != "validation"]
    if not fitted:
        raise ConfigError(f"--stage {stage}: the analysis has no control region; see Kind of the Regions")
    if row.events and stage == "gof":
        raise ConfigError(
            f"--stage gof: {row.strategy}, unbinned: events one by one have no saturated goodness of fit; choose a "
            "binned observable"
        )
    counts, tables = {}, {}
    uniform = uniform_of(manifest, case)
    for name in read:
        tables[name] = case.regions[name].observed(progress)
        counts[name] = observed_counts(folder, row, case, name, tables[name], uniform)
    digests = {name: digest_of(table) for name, table in tables.items()}
    model = row.restricted(fitted).model()
    data = row.observed_data(model, counts)
    poi = model.components.pois[0]
    nominal = dict(zip(model.components.pois, model.components.nominal, strict=True))
    held = nominal if stage == "control" else None
    by_event = bool(set(fitted) & set(row.events))
    full = stage == "full"
    if by_event:
        likelihood = event_likelihood(folder, row, case, fitted, tables, counts)
        measured = measure_events(*likelihood, model, data, poi) if full else None
        result = fit(*likelihood, fixed=held) if measured is None else measured.result
    else:
        measured = measure(model, data, poi, level=level, toys=toys, seed=seed) if full else None
        result = fit(model, data, fixed=held) if measured is None else measured.result
    if stage == "control" and not result.minimum_found:
        raise FitError(f"--stage control: the fit of {', '.join(fitted)} has failed ({result.verdict})")
    validated = [name for name in read if kinds[name] == "validation"]
    validation = None
    if validated and stage != "gof" and hide is None:
        other = row.restricted(validated).model()
        validation = predicted_yields(other, result, row.observed_data(other, counts).counts)
    offset = None if hide is None or measured is None else _offset(hide, measured)
    if measured is not None and offset is not None:
        measured = measured.hidden(offset)
    goodness = None if measured is None else measured.goodness
    if stage == "gof":
        goodness = goodness_of_fit(model, data, toys=toys, seed=seed)
    found = Unblinded(
        stage,
        row,
        tuple(read),
        prefit_yields(model),
        measured.postfit if measured is not None else _postfit(model, data, result, held, by_event) if held else None,
        validation,
        result if stage == "control" else None if measured is None else measured.result,
        goodness,
        measured,
        offset,
        digests,
        _axes(row, case),
        case.settings.general.label,
    )
    labels = {"strategy": row.strategy, "observable": row.observable, "binning": row.binning, "seed": row.seed}
    manifest.looked(stage, digests, command, hidden=offset is not None, **labels).save(folder)
    if measured is not None and offset is None:
        _store(folder, row, measured)
        text = json.dumps({name: counts[name].tolist() for name in fitted}, indent=1)
        write_atomically(_counts_path(folder, row), lambda file: file.write(text.encode()))
    return found


def _postfit(model: Model, data: Data, result: FitResult, held: Mapping[str, float], by_event: bool) -> Yields:
    """Return yields after the fit; those of events are predicted from it."""
    return predicted_yields(model, result, data.counts) if by_event else postfit_yields(model, data, held)


def observed_counts(
    folder: Path, row: StoredTemplates, case: AbstractCase, region: str, table: EventTable, uniform: int
) -> np.ndarray:
    """Return the observed counts `[bin]` of a region in the bins of a stored observable.

    Args:
        folder: of the run.
        row: the observable.
        case: the analysis, as its first region sees it.
        region: which region.
        table: its observed events.
        uniform: bins of the run's uniform binning, which decide the fine bins.
    """
    if region in row.events:
        return np.array([selected_weights(case.regions[region], table).sum()])
    own, observable = observed_in(folder, row, case, region)
    return counts_of(row, own, observable, region, table, uniform)


def _axes(row: StoredTemplates, case: Analysis) -> dict[str, Axis]:
    """Return label and edges of each region whose bins are those of a given variable."""
    found = {}
    for name, edges in row.templates.region_edges(row.region).items():
        region = case.regions[name]
        given = region.score_edges
        if given is not None and len(given) == len(edges) and (region.given or row.binning == "given"):
            variable = region.view.region.variable or name
            found[name] = Axis(region.label(variable), given)
    return found


def _counts_path(folder: Path, row: StoredTemplates) -> Path:
    return folder / UNBLINDED / f"{row.strategy}-{row.observable}-{row.binning}-seed{row.seed}.json"


def read_counts(folder: Path, row: StoredTemplates) -> dict[str, list[float]]:
    """Return the observed counts by region that stage `full` left.

    Raises:
        ConfigError: the data were not looked at.
    """
    path = _counts_path(folder, row)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise ConfigError(
            f"{folder}: the signal region of {row.strategy}, {row.observable}, {row.binning} is blinded; run systwise "
            "unblind --stage full first"
        ) from None


def _offset(seed: int, measured: Measurement) -> float:
    """Return an offset of up to five standard deviations that the seed decides."""
    down, up = measured.result.interval
    width = (up - down) / 2 if up is not None and down is not None else 1.0
    return float(np.random.default_rng(seed).uniform(-5, 5) * width)


def digest_of(table: EventTable) -> str:
    """Return the digest of observed events."""
    digest = hashlib.sha256()
    for array in (table.features, table.weights, table.process, table.kin):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _store(folder: Path, row: StoredTemplates, measured: Measurement) -> None:
    """Add the measurement to the run's results, in place of an earlier one of the same observable."""
    results = Results.load(folder / "results.json")
    record = Record(
        strategy=row.strategy,
        observable=row.observable,
        convention=row.convention,
        binning=row.binning,
        bins=row.fitted.templates.bins,
        seed=row.seed,
        data="observed",
        true={},
        **fitted_fields(measured.result),
    )
    key = (record.strategy, record.observable, record.binning, record.seed)
    kept = [
        other
        for other in results.measurements
        if other.data != "observed" or (other.strategy, other.observable, other.binning, other.seed) != key
    ]
    results.model_copy(update={"measurements": [*kept, record]}).save(folder / "results.json")
