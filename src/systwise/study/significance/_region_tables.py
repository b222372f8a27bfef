"""From an observable to the histograms of a region: every variation, every hypothesis, every sample-wide value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int
from scipy.special import logit

from systwise.cases import AbstractCase, Progress, relabelled
from systwise.events import Events
from systwise.learn import AbstractObservable, HostObservable
from systwise.parameters import Components
from systwise.study.measure._anchored import choose_cells
from systwise.study.measure._binned import moves, own_bins
from systwise.study.plan._plan import Plan
from systwise.study.significance._bins import informative_edges, joined
from systwise.study.significance._region_table import NOMINAL, Anchors, RegionTable
from systwise.templates import JointBinning, in_order, joint_cells

BINS = 24
"""Bins of a score."""
SAMPLE_VALUES = 41
"""Sample-wide values at which a score that asks for one is tabulated, odd: the reference's own is one ..."""
REACH = 10.0
"""... up to this factor from it. Scores that follow the number closely have narrow peaks that move with it."""
CROWDING = 3.0
"""How much denser they are around it than at the ends, as sinh(x)/x: steps of 4 % there."""
MINIMUM = 30.0
"""Smallest effective number of simulated events in a bin."""
PROPORTIONAL = 5e-3
"""Relative difference of a sample-wide value from the rate below which it is a rate."""
BLOCK = 65_536


class _Variation(NamedTuple):
    """How the sample is varied.

    Attributes:
        name: in records.
        z: values of the nuisances that move events; the nominal ones for hold-outs.
        weights: of all events, where they are no function of z.
    """

    name: str
    z: Float64[np.ndarray, " nuisance"]
    weights: Float[np.ndarray, "event component"] | None = None


def region_table(
    plan: Plan,
    strategy: str,
    seed: int,
    observable: AbstractObservable,
    wrong: Mapping[str, Sequence[float]],
    points: Sequence[tuple[float, ...]],
    progress: Progress,
) -> RegionTable:
    """Observe the events that build templates and return their histograms under every variation.

    Bins in which a hypothesis expects nothing under some variation are joined to their neighbours.

    Args:
        plan: events and split of the region.
        strategy: for messages.
        seed: of the training.
        observable: what is observed; one that moves with the hypothesis is taken at fixed hypotheses, in joint cells.
        wrong: further values of nuisances at which histograms are made.
        points: parameters of interest of the hypotheses, the reference first.
        progress: told about scoring.
    """
    told = relabelled(progress, f"tabulate {strategy}, {plan.case.region}")
    case, rows = plan.case, np.flatnonzero(plan.split.template)
    variations, anchors = _variations(case, wrong)
    scale = None if moves(plan, observable) else _sample_scale(plan, variations, anchors)
    values = np.array([_nominal_value(case)])
    if scale is not None:
        values = values * REACH ** (np.sinh(CROWDING * np.linspace(-1, 1, SAMPLE_VALUES)) / np.sinh(CROWDING))
    cells = _Cells(plan, observable, seed, rows, values, told)
    nominal = cells.at(variations[NOMINAL].z)
    shape = (len(values), len(variations), len(case.components.names), cells.bins)
    counts, totals = np.zeros(shape), np.zeros(shape[1:3])
    for v, variation in enumerate(variations):
        weights, moved = (variation.weights, False) if variation.weights is not None else _varied(plan, variation.z)
        totals[v] = weights.sum(axis=0, dtype=np.float64)
        own = weights[rows].astype(np.float64)
        sums = own.sum(axis=0)
        own *= np.divide(totals[v], sums, out=np.zeros_like(sums), where=sums != 0)
        # Events of a shifted sample count nothing at the nominal point, and have no cell there.
        anew = variation.weights is None and (moved or np.any((nominal[0] < 0) & np.any(own != 0, axis=1)))
        for s, cell in enumerate(cells.at(variation.z) if anew else nominal):
            for k in range(shape[2]):
                counts[s, v, k] = np.bincount(np.maximum(cell, 0), own[:, k], shape[3])
    estimated = [name in case.estimated for name in case.components.names]
    counts[:, :, estimated] = np.maximum(counts[:, :, estimated], 0.0)
    return RegionTable(
        name=case.region,
        component_names=case.components.names,
        powers=case.components.powers,
        sample_values=values,
        variations=tuple(variation.name for variation in variations),
        counts=joined(counts, _expected(case.components, counts[len(values) // 2], points)),
        rates=totals * (1.0 if scale is None else scale),
        anchors=anchors,
        holdouts=tuple(v for v, variation in enumerate(variations) if variation.weights is not None),
    )


def _expected(
    components: Components,
    counts: Float64[np.ndarray, "variation component bin"],
    points: Sequence[tuple[float, ...]],
) -> Float64[np.ndarray, "hypothesis bin"]:
    """Return what hypotheses expect under all variations; those with a negative bin cannot be tested in any bins."""
    every = [np.einsum("k,vkb->vb", components.at(theta), counts) for theta in points]
    return np.concatenate([every[0], *(row for row in every[1:] if np.all(row >= 0))])


def _nominal_value(case: AbstractCase) -> float:
    """Return the sample-wide value of the nominal hypothesis at the nominal nuisances; 1 where there is not one."""
    if len(case.sample_features) != 1:
        return 1.0
    nominal = jnp.asarray([n.nominal for n in case.shape_nuisances], jnp.float32)
    return float(case.sample_values(jnp.asarray(case.components.nominal, jnp.float32), nominal)[0])


def _sample_scale(plan: Plan, variations: Sequence[_Variation], anchors: Sequence[Anchors]) -> float | None:
    """Return the sample-wide value over the rate; None where scores are told none, several, or one that is no rate."""
    case, components = plan.case, plan.case.components
    if len(case.sample_features) != 1:
        return None
    found = []
    # Beyond what training draws the number is extrapolated, as no score has learned it.
    ends = np.array([n.training for n in case.shape_nuisances]).reshape(-1, 2)
    drawn = [NOMINAL, *(i for one in anchors for i in one.variations)]
    for index in dict.fromkeys(drawn):
        z = variations[index].z
        if np.any((z < ends[:, 0]) | (z > ends[:, 1])):
            continue
        totals = _varied(plan, z)[0].sum(axis=0, dtype=np.float64)
        for theta in (components.nominal, components.alternative or components.nominal):
            value = case.sample_values(jnp.asarray(theta, jnp.float32), jnp.asarray(z, jnp.float32))
            found.append(float(value[0]) / float(components.at(theta) @ totals))
    return found[0] if np.ptp(found) < PROPORTIONAL * abs(found[0]) else None


def _variations(
    case: AbstractCase, wrong: Mapping[str, Sequence[float]]
) -> tuple[list[_Variation], tuple[Anchors, ...]]:
    """Return the nominal sample, those at the anchors of every nuisance, and the hold-outs."""
    nominal = np.array([n.nominal for n in case.shape_nuisances])
    found, anchors = [_Variation("nominal", nominal)], []
    for j, nuisance in enumerate(case.shape_nuisances):
        values = tuple(sorted({nuisance.nominal, *nuisance.anchors, *wrong.get(nuisance.name, ())}))
        index = []
        for value in values:
            index.append(NOMINAL if value == nuisance.nominal else len(found))
            if value != nuisance.nominal:
                z = np.where(np.arange(len(nominal)) == j, value, nominal)
                found.append(_Variation(f"{nuisance.name} = {value:g}", z))
        anchors.append(Anchors(nuisance.name, values, tuple(index)))
    found += [_Variation(name, nominal, weights) for name, weights in case.holdouts().items()]
    return found, tuple(anchors)


def _varied(plan: Plan, z: Float64[np.ndarray, " nuisance"]) -> tuple[Float[np.ndarray, "event component"], bool]:
    """Return the weights of all events at a nuisance point, and whether features differ from the nominal ones."""
    case, count = plan.case, len(plan.table)
    nominal = jnp.asarray([n.nominal for n in case.shape_nuisances], jnp.float32)
    size = min(BLOCK, count)
    parts = [
        _weights(case, events, jnp.asarray(z, jnp.float32), nominal)
        for _, events in plan.table.blocks(np.arange(count), size)
    ]
    weights = np.concatenate([np.asarray(own) for own, _ in parts])[:count]
    return weights, any(bool(moved) for _, moved in parts)


@eqx.filter_jit
def _weights(
    case: AbstractCase, events: Events, z: Float[Array, " nuisance"], nominal: Float[Array, " nuisance"]
) -> tuple[Float[Array, "event component"], Bool[Array, ""]]:
    varied, before = case.vary(events, z), case.vary(events, nominal)
    own = jnp.array([i for i, name in enumerate(case.features) if name not in case.sample_features], jnp.int32)
    still = jnp.array_equal(varied.features[:, own], before.features[:, own], equal_nan=True)
    return varied.weights, ~(still & jnp.array_equal(varied.columns, before.columns, equal_nan=True))


class _Cells:
    """Bins of one observable, chosen once.

    Attributes:
        bins: how many there are.
    """

    def __init__(
        self,
        plan: Plan,
        observable: AbstractObservable,
        seed: int,
        rows: Int[np.ndarray, " event"],
        values: Float64[np.ndarray, " s"],
        progress: Progress,
    ) -> None:
        """Choose edges, or joint cells, on events that build no templates."""
        self._plan, self._observable, self._rows, self._values = plan, observable, rows, values
        self._progress = progress
        self._joint: JointBinning | None = None
        self._rank = self._edges = np.zeros(0)
        nominal = np.array([n.nominal for n in plan.case.shape_nuisances])
        own = own_bins(observable)
        if moves(plan, observable):
            self._joint, self._rank = _joint(plan, observable, seed, rows, progress)
            self.bins = len(self._rank)
            return
        if own is not None:
            self._edges = logit(np.arange(1, own) / own)
        else:
            choosing = np.flatnonzero(plan.split.binning)
            middle = values[[len(values) // 2]]
            score = _scores(plan, observable, choosing, middle, nominal, progress)[0]
            self._edges = informative_edges(score, *_hypotheses(plan, choosing), BINS, MINIMUM)
        self.bins = len(self._edges) + 1

    def at(self, z: Float64[np.ndarray, " nuisance"]) -> Int[np.ndarray, "s event"]:
        """Return the bin of every event shifted to `z`, at each sample-wide value; -1 where it has no joint cell."""
        plan = self._plan
        if self._joint is None:
            scores = _scores(plan, self._observable, self._rows, self._values, z, self._progress)
            return np.searchsorted(self._edges, scores, side="right")
        cells = joint_cells(self._observable, plan.case, plan.table, self._rows, plan.split.scorer, z, self._joint)
        return np.where(cells < 0, -1, self._rank[cells])[None]


def _logits(
    observable: AbstractObservable,
    case: AbstractCase,
    events: Events,
    z: Float[Array, " nuisance"],
    values: Float[Array, " s"],
    fold: Int[Array, ""],
) -> Float[Array, "s event"]:
    """Return the score of every event at each of the sample-wide values, wherever the observable is evaluated."""
    if not isinstance(observable, HostObservable):
        return _compiled_logits(observable, case, events, z, values, fold)
    varied, hypothesis = _shifted(case, events, z)
    return jnp.stack([observable.output(_with_value(case, varied, value), hypothesis, fold) for value in values])


@eqx.filter_jit
def _compiled_logits(
    observable: AbstractObservable,
    case: AbstractCase,
    events: Events,
    z: Float[Array, " nuisance"],
    values: Float[Array, " s"],
    fold: Int[Array, ""],
) -> Float[Array, "s event"]:
    """Return the score of every event at each of the sample-wide values."""
    varied, hypothesis = _shifted(case, events, z)
    return jax.lax.map(lambda value: observable.output(_with_value(case, varied, value), hypothesis, fold), values)


@eqx.filter_jit
def _shifted(
    case: AbstractCase, events: Events, z: Float[Array, " nuisance"]
) -> tuple[Events, Float[Array, "event nuisance"]]:
    """Return the events at `z`, and the nominal point that a score is told for each: it is one observable."""
    nominal = jnp.asarray([n.nominal for n in case.shape_nuisances], jnp.float32)
    return case.vary(events, z), jnp.broadcast_to(nominal, (events.weights.shape[0], nominal.shape[0]))


def _with_value(case: AbstractCase, events: Events, value: Float[Array, ""]) -> Events:
    """Return the events with a sample-wide value in its column; where there are several they stay nominal."""
    if len(case.sample_features) != 1:
        return events
    (column,) = case.columns_of(case.sample_features)
    return dataclasses.replace(events, features=events.features.at[:, column].set(value))


def _scores(
    plan: Plan,
    observable: AbstractObservable,
    rows: Int[np.ndarray, " event"],
    values: Float64[np.ndarray, " s"],
    z: Float64[np.ndarray, " nuisance"],
    progress: Progress,
) -> Float[np.ndarray, "s event"]:
    """Return the scores of `rows` shifted to `z`, each from the network that never saw the event."""
    told, point = jnp.asarray(values, jnp.float32), jnp.asarray(z, jnp.float32)
    folds = np.zeros(len(rows), np.int64) if plan.split.scorer is None else plan.split.scorer[rows]

    def work(events: Events, fold: Int[Array, ""]) -> tuple[Array]:
        return (_logits(observable, plan.case, events, point, told, fold).T,)

    size = min(BLOCK, int(np.bincount(folds).max()))
    (found,) = in_order(work, plan.table, rows, folds, size, lambda done: progress("scores", done, len(rows)))
    return np.ascontiguousarray(found.T)


def _hypotheses(plan: Plan, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights of `rows` of what is to be told apart, of the nominal hypothesis, and of the background."""
    components = plan.case.components
    weights = plan.table.weights[rows].astype(np.float64)
    signal, background = components.contrast()
    return weights @ signal, weights @ components.reference(), weights @ background


def _joint(
    plan: Plan, observable: AbstractObservable, seed: int, rows: Int[np.ndarray, " event"], progress: Progress
) -> tuple[JointBinning, Int[np.ndarray, " cell"]]:
    """Return joint cells, and the place of each in increasing order of what it says for the alternative."""
    binning = choose_cells(plan, observable, seed, progress)
    z = np.array([n.nominal for n in plan.case.shape_nuisances])
    cells = joint_cells(observable, plan.case, plan.table, rows, plan.split.scorer, z, binning)
    used = cells >= 0
    alternative, nominal, _ = (np.bincount(cells[used], w[used], binning.bins) for w in _hypotheses(plan, rows))
    ratio = np.divide(alternative, nominal, out=np.zeros(binning.bins), where=nominal > 0)
    return binning, np.argsort(np.argsort(ratio))
