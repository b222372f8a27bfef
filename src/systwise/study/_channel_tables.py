"""From a trained score to the histograms of a channel: every scale, every hypothesis, every sample-wide value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from systwise.cases import AbstractCase, Progress, relabelled
from systwise.errors import ConfigError
from systwise.events import Events
from systwise.learn import AbstractObservable, HostObservable
from systwise.study._channels import ChannelTable
from systwise.study._plan import Plan, make_plan
from systwise.study._settings import merge_settings
from systwise.study._strength_settings import trade_off_strategies
from systwise.templates import choose_joint_binning, joint_cells

BINS = 24
"""Bins of a score."""
SAMPLE_VALUES = 41
"""Cross sections at which a score that asks for one is tabulated, odd: the nominal hypothesis's own is one ..."""
REACH = 10.0
"""... up to this factor from it. Scores that follow the number closely have narrow peaks that move with it."""
CROWDING = 3.0
"""How much denser they are around it than at the ends, as sinh(x)/x: steps of 4 % there."""
MINIMUM = 30.0
"""Smallest effective number of simulated events in a bin."""
BLOCK = 65_536


def channel_plans(plan: Plan, progress: Progress) -> dict[str, Plan]:
    """Return a plan for each channel of the case; the study's own serves its own channel.

    Args:
        plan: the study.
        progress: told about loading.
    """
    plans = {}
    for name, changes in plan.case.channels.items():
        tree = merge_settings(plan.case.settings.model_dump(by_alias=True), dict(changes))
        if all(getattr(plan.case.settings, key) == value for key, value in changes.items()):
            plans[name] = plan
        else:
            plans[name] = make_plan(
                plan.case.name, plan.settings.model_copy(update={"case": tree}), progress, plan.problem.checkpoints
            )
    return plans


def strength_tables(
    channels: Mapping[str, Plan], seed: int, progress: Progress
) -> tuple[dict[str, dict[str, ChannelTable]], dict[str, float]]:
    """Return the histograms of the strategies of a scan of strengths, `name@strength`, and the strengths by that name.

    A training that the study has made already is not made again.

    Args:
        channels: plan of each channel.
        seed: of the trainings.
        progress: told about training and scoring.
    """
    tables: dict[str, dict[str, ChannelTable]] = {}
    strengths: dict[str, float] = {}
    for name, plan in channels.items():
        for strength, strategy in trade_off_strategies(plan.strategies, plan.settings.trade_off):
            label = f"{strategy.name}@{strength:g}"
            made = strategy.fit(plan.problem, seed, relabelled(progress, f"{label}, {name}"))
            tables.setdefault(label, {})[name] = channel_table(name, plan, label, seed, made.observable, progress)
            strengths[label] = strength
    return tables, strengths


def channel_table(
    name: str, plan: Plan, strategy: str, seed: int, observable: AbstractObservable, progress: Progress
) -> ChannelTable:
    """Score the events that build templates and return their histograms under every variation.

    Args:
        name: of the channel.
        plan: its events and split.
        strategy: for messages.
        seed: of the training.
        observable: the score; one that moves with the hypothesis is taken at fixed hypotheses, in joint cells.
        progress: told about scoring.
    """
    if len(plan.case.shape_nuisances) != 1:
        raise ConfigError(f"case '{plan.case.name}': channels need exactly one nuisance that moves events")
    told = relabelled(progress, f"tabulate {strategy}, {name}")
    rows = np.flatnonzero(plan.split.template)
    nominal = plan.case.components.reference() @ plan.table.weights.sum(axis=0, dtype=np.float64)
    if observable.moving:
        s_values = np.array([1.0])
        cells = _joint(plan, observable, seed, rows, told)[None]
    else:
        s_values = _sample_values(plan)
        cells = _binned(plan, observable, rows, s_values, told)
    names, anchors, weights = _variations(plan)
    totals = np.stack([w.sum(axis=0, dtype=np.float64) for w in weights])
    bins = int(cells.max()) + 1
    shape = (len(s_values), len(weights), len(plan.case.components.names), bins)
    counts, variances = np.zeros(shape), np.zeros(shape)
    for v, weight in enumerate(weights):
        own = weight[rows].astype(np.float64)
        scale = totals[v] / own.sum(axis=0)
        for s, cell in enumerate(cells):
            for k in range(shape[2]):
                column = own[:, k] * scale[k]
                counts[s, v, k] = np.bincount(cell, column, bins)
                variances[s, v, k] = np.bincount(cell, column**2, bins)
    per_picobarn = nominal / _cross_section(plan)
    return ChannelTable(
        name=name,
        component_names=plan.case.components.names,
        powers=plan.case.components.powers,
        s_values=s_values,
        variations=tuple(names),
        counts=counts,
        variances=variances,
        cross_sections=totals / per_picobarn,
        anchor_z=anchors,
        anchor_index=tuple(range(len(anchors))),
        holdout_index=tuple(range(len(anchors), len(names))),
    )


def _cross_section(plan: Plan) -> float:
    """Return the sample-wide value of the nominal hypothesis at the nominal nuisance, 1 where there is none."""
    if not plan.case.sample_features:
        return 1.0
    theta = jnp.asarray(plan.case.components.nominal, jnp.float32)
    z = jnp.asarray([n.nominal for n in plan.case.shape_nuisances], jnp.float32)
    return float(plan.case.sample_values(theta, z)[0])


def _sample_values(plan: Plan) -> Float64[np.ndarray, " s"]:
    if not plan.case.sample_features:
        return np.array([1.0])
    steps = np.sinh(CROWDING * np.linspace(-1, 1, SAMPLE_VALUES)) / np.sinh(CROWDING)
    return _cross_section(plan) * REACH**steps


def _variations(plan: Plan) -> tuple[list[str], tuple[float, ...], list[np.ndarray]]:
    """Return names, nuisance values of the continuous ones (first), and weights `[event, component]` of each."""
    nuisance = plan.case.shape_nuisances[0]
    anchors = tuple(sorted({nuisance.nominal, *nuisance.anchors}))
    weights = []
    for z in anchors:
        parts = [np.asarray(_weights(plan.case, e, jnp.array([z], jnp.float32))) for _, e in _blocks(plan)]
        weights.append(np.concatenate(parts)[: len(plan.table)])
    holdouts = plan.case.holdouts()
    names = [f"{nuisance.name} = {z:g}" for z in anchors]
    return [*names, *holdouts], anchors, [*weights, *holdouts.values()]


def _blocks(plan: Plan) -> list[tuple[np.ndarray, Events]]:
    size = min(BLOCK, len(plan.table))
    return list(plan.table.blocks(np.arange(len(plan.table)), size))


@eqx.filter_jit
def _weights(case: AbstractCase, events: Events, z: Float[Array, " nuisance"]) -> Float[Array, "event component"]:
    return case.vary(events, z).weights


def _logits(
    observable: AbstractObservable,
    events: Events,
    values: Float[Array, " s"],
    columns: tuple[int, ...],
    z: Float[Array, " nuisance"],
    fold: Int[Array, ""],
) -> Float[Array, "s event"]:
    """Return the score of every event at each of the sample-wide values, wherever the observable is evaluated."""
    if not isinstance(observable, HostObservable):
        return _compiled_logits(observable, events, values, columns, z, fold)
    hypothesis = jnp.broadcast_to(z, (events.weights.shape[0], z.shape[0]))
    varied = (_with_value(events, value, columns) for value in values)
    return jnp.stack([observable.output(part, hypothesis, fold) for part in varied])


def _with_value(events: Events, value: Float[Array, ""], columns: tuple[int, ...]) -> Events:
    """Return the events with a sample-wide value in its columns."""
    if not columns:
        return events
    return dataclasses.replace(events, features=events.features.at[:, jnp.array(columns, jnp.int32)].set(value))


@eqx.filter_jit
def _compiled_logits(
    observable: AbstractObservable,
    events: Events,
    values: Float[Array, " s"],
    columns: tuple[int, ...],
    z: Float[Array, " nuisance"],
    fold: Int[Array, ""],
) -> Float[Array, "s event"]:
    """Return the score of every event at each of the sample-wide values."""
    count = events.weights.shape[0]
    hypothesis = jnp.broadcast_to(z, (count, z.shape[0]))

    def at(value: Float[Array, ""]) -> Float[Array, " event"]:
        return observable.output(_with_value(events, value, columns), hypothesis, fold)

    return jax.lax.map(at, values)


def _scores(
    plan: Plan, observable: AbstractObservable, rows: np.ndarray, values: np.ndarray, progress: Progress
) -> Float[np.ndarray, "s event"]:
    """Return the scores of `rows`, each from the network that never saw the event."""
    case = plan.case
    columns = case.columns_of(case.sample_features)
    z = jnp.asarray([n.nominal for n in case.shape_nuisances], jnp.float32)
    scores = np.zeros((len(values), len(rows)), np.float32)
    folds = np.zeros(len(rows), np.int64) if plan.split.scorer is None else plan.split.scorer[rows]
    done = 0
    for fold in np.unique(folds):
        places = np.flatnonzero(folds == fold)
        size = min(BLOCK, len(places))
        for start in range(0, len(places), size):
            part = places[start : start + size]
            ((_, events),) = plan.table.blocks(rows[part], size)
            found = _logits(observable, events, jnp.asarray(values, jnp.float32), columns, z, jnp.asarray(fold))
            scores[:, part] = np.asarray(found)[:, : len(part)]
            done += len(part)
            progress("scores", done, len(rows))
    return scores


def _binned(
    plan: Plan, observable: AbstractObservable, rows: np.ndarray, values: np.ndarray, progress: Progress
) -> Int[np.ndarray, "s event"]:
    """Return the bin of every event at each sample-wide value; edges are chosen on events that build no templates."""
    choosing = np.flatnonzero(plan.split.binning)
    middle = np.array([_cross_section(plan)])
    edges = informative_edges(
        _scores(plan, observable, choosing, middle, progress)[0], *_hypotheses(plan, choosing), BINS, MINIMUM
    )
    cells = np.searchsorted(edges, _scores(plan, observable, rows, values, progress), side="right")
    return cells.astype(np.int32)


def _hypotheses(plan: Plan, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of `rows` under the alternative and the nominal hypothesis."""
    components = plan.case.components
    weights = plan.table.weights[rows].astype(np.float64)
    return weights @ components.at(components.alternative or components.nominal), weights @ components.reference()


def informative_edges(
    score: Float[np.ndarray, " event"],
    alternative: Float64[np.ndarray, " event"],
    nominal: Float64[np.ndarray, " event"],
    bins: int,
    minimum: float,
) -> Float64[np.ndarray, " edge"]:
    """Return inner edges of a score: half of the bins share the events, half what tells the hypotheses apart.

    The latter is `sum w (r - 1)^2`, r the ratio of an event's normalised weights: where most events look alike,
    as below the Higgs boson's high-momentum tail, quantiles of the events alone would put the tail into one bin.
    Edges that leave less than `minimum` effective events of the nominal hypothesis in a bin are left out.

    Args:
        score: of each event.
        alternative: weights under the alternative hypothesis.
        nominal: weights under the nominal one.
        bins: how many bins to aim at.
        minimum: effective events, (sum w)^2 / sum w^2.
    """
    order = np.argsort(score, kind="stable")
    base = np.maximum(nominal[order], 0.0)
    other = alternative[order] / alternative.sum() * nominal.sum()
    ratio = np.divide(other, base, out=np.ones_like(base), where=base > 0)
    parts = [np.cumsum(base), np.cumsum(base * (ratio - 1) ** 2)]
    level = sum(part / part[-1] for part in parts if part[-1] > 0) / 2
    places = np.searchsorted(level, level[-1] * np.arange(1, bins) / bins)
    sums, squares = np.cumsum(base), np.cumsum(base**2)

    def effective(first: int, last: int) -> float:
        w, q = (total[last] - (total[first] if first >= 0 else 0.0) for total in (sums, squares))
        return w**2 / q if q > 0 else 0.0

    kept: list[int] = []
    begin, end = -1, len(score) - 1
    for place in np.unique(places):
        if effective(begin, int(place)) >= minimum and effective(int(place), end) >= minimum:
            kept.append(int(place))
            begin = int(place)
    return np.unique(score[order][kept].astype(np.float64))


def _joint(
    plan: Plan, observable: AbstractObservable, seed: int, rows: np.ndarray, progress: Progress
) -> Int[np.ndarray, " event"]:
    """Return the joint cell of every event, cells in increasing order of what they say for the alternative."""
    settings, split = plan.settings, plan.split
    choosing = np.flatnonzero(split.binning if split.folds > 1 else ~split.template)
    binning = choose_joint_binning(
        observable,
        plan.case,
        plan.table,
        choosing,
        split.scorer,
        anchors=settings.fit.anchors,
        bins=settings.fit.cells or BINS,
        minimum=MINIMUM,
        template_events=len(rows),
        seed=seed,
        progress=progress,
    )
    z = np.array([n.nominal for n in plan.case.shape_nuisances])
    cells = joint_cells(observable, plan.case, plan.table, rows, split.scorer, z, binning)
    alternative, nominal = _hypotheses(plan, rows)
    sums = [np.bincount(cells, w, binning.bins) for w in (alternative, nominal)]
    ratio = np.divide(sums[0], sums[1], out=np.zeros(binning.bins), where=sums[1] > 0)
    rank = np.argsort(np.argsort(ratio))
    used = np.unique(rank[cells])
    return np.searchsorted(used, rank[cells]).astype(np.int32)
