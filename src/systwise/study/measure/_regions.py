"""What a strategy observes in the other regions of the likelihood, joined to what it observes in the first one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from systwise.cases import Progress, relabelled
from systwise.errors import TemplateError
from systwise.learn import AbstractObservable, AbstractStrategy, given_observable
from systwise.study.measure._anchored import anchored_setup
from systwise.study.measure._binned import binned_setups, moves
from systwise.study.measure._measure import Setup
from systwise.study.plan._plan import Plan
from systwise.study.store._store import Store
from systwise.templates import join_templates, restrict_templates


@dataclasses.dataclass(frozen=True)
class Observed:
    """A region with what is observed there.

    Attributes:
        plan: of the region; with all events where the observable is given.
        observable: trained or given.
        trained: whether a strategy made it.
    """

    plan: Plan
    observable: AbstractObservable
    trained: bool


def observe(
    plan: Plan,
    strategy: AbstractStrategy,
    first: AbstractObservable,
    name: str,
    label: str,
    seed: int,
    store: Store,
    progress: Progress,
) -> tuple[dict[str, Observed], float]:
    """Return what a strategy observes in all regions but the first, and the seconds of training it took.

    A region without Features has its given observable under every strategy, one with another's observable the
    classifiers that were trained there.

    Args:
        plan: the study.
        strategy: what to train, made for a true point where it is.
        first: what was trained in the first region.
        name: of the strategy.
        label: of its models in the store.
        seed: of the training.
        store: where models go.
        progress: told about training.
    """
    found: dict[str, Observed] = {}
    seconds = 0.0
    # Those that lend come before those that borrow.
    for region, own in sorted(plan.others.items(), key=lambda item: item[1].case.lender is not None):
        if own.case.given or (strategy.needs_score and own.case.score_edges is not None):
            whole = own.as_given()
            found[region] = Observed(whole, given_observable(own.case, 1), False)
            continue
        if own.case.lender is not None and "binned" in strategy.observables:
            lender = own.case.lender
            lent = first if lender == plan.case.region else found[lender].observable
            store.save_model(strategy, f"{label}-{file_word(region)}", seed, lent, own.case)
            found[region] = Observed(own.as_lent(plan.regions[lender].split.scheme), lent, True)
            continue
        made = strategy.fit(own.problem, seed, relabelled(progress, f"{name}, {region}"))
        seconds += made.seconds
        store.save_model(strategy, f"{label}-{file_word(region)}", seed, made.observable, own.case)
        found[region] = Observed(own, made.observable, True)
    return {region: found[region] for region in plan.others}, seconds


def file_word(name: str) -> str:
    """Return a region's name as part of a file name.

    >>> file_word("signal region/a")
    'signal_region_a'
    """
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


@dataclasses.dataclass
class RegionSetups:
    """Templates of the other regions, scored once for each way of binning.

    Attributes:
        observed: the regions.
        strategy, seed, points: labels of the setups.
        progress: told about scoring.
        warnings: what was noticed.
    """

    observed: Mapping[str, Observed]
    strategy: str
    seed: int
    points: tuple[dict[str, float], ...]
    progress: Progress
    warnings: list[str] = dataclasses.field(default_factory=list)
    _binned: dict[str, list[Setup]] = dataclasses.field(default_factory=dict)
    _cells: dict[str, Setup] = dataclasses.field(default_factory=dict)

    def joined(self, region: str, setups: Sequence[Setup]) -> list[Setup]:
        """Return the setups of region `region` with the bins of the others beside its own."""
        if not self.observed:
            return list(setups)
        return [self._with_others(region, setup) for setup in setups]

    def _with_others(self, region: str, setup: Setup) -> Setup:
        found = {name: self._setup(name, one, setup) for name, one in self.observed.items()}
        parts = {region: setup.templates, **{name: other.templates for name, other in found.items()}}
        cells = {name: other.joint for name, other in found.items() if other.joint is not None}
        every = join_templates(parts)
        fitted = [name for name in parts if name == region or self.observed[name].plan.case.kind != "validation"]
        return dataclasses.replace(
            setup, templates=restrict_templates(every, fitted), shown=setup.templates, every=every, cells=cells
        )

    def _setup(self, name: str, one: Observed, like: Setup) -> Setup:
        """Return a region's setup of the same kind as that of the first region, as far as its observable has one."""
        if like.joint is not None and one.trained and moves(one.plan, one.observable):
            if name not in self._cells:
                told = relabelled(self.progress, f"anchor {self.strategy}, {name}")
                setup, said = anchored_setup(one.plan, self.strategy, self.seed, one.observable, self.points, told)
                self._cells[name] = setup
                self.warnings += [f"region {name}: {warning}" for warning in said]
            return self._cells[name]
        return self.binned(name, like.binning)

    def binned(self, name: str, binning: str | None = None) -> Setup:
        """Return region `name` in bins: those called `binning`, or the last where there are none of that name."""
        one = self.observed[name]
        if name not in self._binned:
            label = f"{self.strategy}, {name}"
            try:
                found = binned_setups(one.plan, label, self.seed, one.observable, self.points, self.progress)
            except TemplateError as error:
                raise TemplateError(f"region '{name}': {error}") from None
            self._binned[name], said = found
            self.warnings += said
        setups = self._binned[name]
        return next((setup for setup in setups if setup.binning == binning), setups[-1])
