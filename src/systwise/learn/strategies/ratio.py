"""Learned density ratios of every component, for an unbinned likelihood."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from pydantic import Field

from systwise.cases import Progress, no_progress
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    Problem,
    Trained,
    feature_scaler,
    lesson_of,
    nuisance_scaler,
)
from systwise.learn.networks._network import NetworkSettings, multilayer
from systwise.learn.ratios._calibration import calibrated, normalised, reference_draw, shape_nuisances
from systwise.learn.ratios._calibrator import Method
from systwise.learn.ratios._game import Averaged, Posterior, component_task, contrast_points, present, ratio_controls
from systwise.learn.ratios._network import AbstractRatioNetwork, NetworkRatio, PolynomialRatio
from systwise.learn.ratios._ratio import RatioObservable
from systwise.learn.training._folds import train_folds
from systwise.learn.training._game import Draw, TrainingSettings
from systwise.learn.training._schedule import count_steps
from systwise.learn.training._training import History, train
from systwise.parameters import ChebyshevBasis, chebyshev_basis
from systwise.random import named_key

REFERENCE_POINTS = 64
"""Nuisance values over which the reference density is summed."""


@STRATEGIES.register
class Ratio(AbstractNetworkStrategy):
    """Learn p_k(x|z) / p_ref(x) of every component as a function of the nuisances, in one network.

    The network tells which component and which nuisance values made an event; then the ratios are
    normalised over the reference. Nuisances of kind `norm` change yields only and are not told.
    """

    name = "ratio"
    summary = "density ratios of every component as functions of the nuisances, for an unbinned fit (arXiv:1506.02169)"
    order = 55
    moving = True
    observables = ("unbinned",)

    network: NetworkSettings = Field(default_factory=lambda: NetworkSettings(layers=2, width=32, activation="silu"))
    """The network; a smooth activation, since the fit takes derivatives."""
    training: TrainingSettings = Field(
        default_factory=lambda: TrainingSettings(batch=4096, passes=10.0, patience=None, weight_decay=0.0)
    )
    """How it descends; the average of the last weights is kept."""
    form: Literal["polynomial", "network"] = "polynomial"
    """`polynomial`: ln r is a polynomial in the nuisances whose coefficients the network gives, so that a fit
    calls it once an event; `network`: the nuisances are inputs."""
    degree: int = Field(6, ge=1, le=12)
    """Total degree of the polynomials (of the normalisation only, in the network form)."""
    contrasts: int = Field(16, ge=1)
    """Other nuisance values against which an event is held in each step."""
    ensemble: int = Field(1, ge=1)
    """Networks, whose ln r is averaged."""
    averaged: float = Field(0.1, ge=0, le=1)
    """Length of the running average of the weights, as a fraction of the steps."""
    calibration_events: int = Field(2_000_000, ge=0)
    """Events that normalise (and calibrate) the ratios, at most; 0 leaves them as trained."""
    normalisation_degree: int = Field(3, ge=0, le=12)
    """Degrees of the normalisation beyond `degree`, in products of two nuisances at most: the integral of a
    density may need a higher polynomial than the events' ratios do, and its error is a bias."""
    calibrate: Literal["normalisation", "histogram", "isotonic"] = "normalisation"
    """`normalisation`: the mean over the reference is made 1; `histogram`, `isotonic`: a map of the classifier's
    output is added before, learnt on the events of validation, in steps or monotone."""

    def fit(self, problem: Problem, seed: int, progress: Progress = no_progress) -> Trained:
        """Train over the training ranges and normalise.

        Raises:
            DataError: a component has no positive weight, or the loss is not finite.
        """
        draw, basis = reference_draw(problem), ratio_basis(problem, self.degree)
        wider = normalisation_basis(basis, self.normalisation_degree)

        def one(fold: int, member: int, told: Progress) -> tuple[AbstractRatioNetwork, History]:
            return self._train(problem, draw, basis, fold, member, seed, told)

        def joined(networks: list[AbstractRatioNetwork]) -> RatioObservable:
            size = self.ensemble
            members = [networks[first : first + size] for first in range(0, len(networks), size)]
            observable = join(members, wider, problem, draw)
            if not self.calibration_events:
                return observable
            for fold in range(problem.split.folds):
                task = component_task(problem.table, problem.split.training(fold))
                observable = normalised(observable, problem, task, draw, fold, self.calibration_events, seed)
            if self.calibrate != "normalisation":
                observable = self._calibrated(observable, self.calibrate, problem, draw, seed)
            return observable

        return train_folds(problem, self.name, (self, seed), one, joined, progress, self.ensemble)

    def _calibrated(
        self, observable: RatioObservable, method: Method, problem: Problem, draw: Draw, seed: int
    ) -> RatioObservable:
        for fold in range(observable.folds):
            task = component_task(problem.table, problem.split.training(fold))
            given = problem, task, draw, fold, self.calibration_events, seed
            observable = normalised(calibrated(observable, method, *given), *given)
        return observable

    def _train(
        self,
        problem: Problem,
        draw: Draw,
        basis: ChebyshevBasis,
        fold: int,
        member: int,
        seed: int,
        progress: Progress,
    ) -> tuple[AbstractRatioNetwork, History]:
        task = component_task(problem.table, problem.split.training(fold))
        lesson = lesson_of(problem, fold, draw, task)
        # The first member shares its name with the training of a single network.
        words = (fold,) if member == 0 else (fold, member)
        network = self._fresh(problem, basis, lesson.training, named_key(seed, "network", *words))
        points = hypotheses(problem, draw, self.contrasts)
        players = Averaged(network, network, points, draw.low, draw.high - draw.low)
        controls = ratio_controls(self.training, self.averaged, count_steps(self.training, lesson.feed.count))
        game = Posterior(self.training, problem.case, present(problem.table))
        players, history = train(game, players, lesson, controls, seed, ("train", *words), progress)
        return players.average, history

    def _fresh(
        self, problem: Problem, basis: ChebyshevBasis, index: np.ndarray, key: Key[Array, ""]
    ) -> AbstractRatioNetwork:
        components, features = len(problem.table.component_names), len(problem.case.features)
        scaler = feature_scaler(problem, index, told=True, task=component_task(problem.table, index))
        if self.form == "polynomial":
            outputs = components * basis.terms
            mlp = multilayer(self.network, features, outputs, key)
            # From nothing: the uniform posterior, to which the linear part is added first.
            mlp = eqx.tree_at(lambda m: m.layers[-1].weight, mlp, replace_fn=jnp.zeros_like)
            linear = jnp.zeros((outputs, features), jnp.float32)
            return PolynomialRatio(scaler=scaler, linear=linear, mlp=mlp, basis=basis, components=components)
        inputs = features + len(problem.case.shape_nuisances)
        mlp = multilayer(self.network, inputs, components, key)
        told = nuisance_scaler(problem.case)
        return NetworkRatio(scaler=scaler, nuisance_scaler=told, mlp=mlp, components=components)


def hypotheses(problem: Problem, draw: Draw, count: int) -> Float[Array, "point nuisance"]:
    """Return `count` nuisance values spread over those at which training sees events."""
    points = jnp.asarray(contrast_points(np.asarray(draw.low), np.asarray(draw.high), count))
    return problem.case.settle_points(points, draw.low, draw.high, named_key(0, "hypotheses"))


def ratio_basis(problem: Problem, degree: int) -> ChebyshevBasis:
    """Return the polynomials over the training ranges, float32.

    Of a nuisance that training sees at n values only, no powers beyond n - 1, and no products of two such: nothing
    would determine them.
    """
    ranges = [n.training if n.training[1] > n.training[0] else n.range for n in problem.case.nuisances]
    basis = chebyshev_basis(ranges, degree, shape_nuisances(problem))
    names = [nuisance.name for nuisance in problem.case.nuisances]
    few = {names.index(name): count - 1 for name, count in problem.case.settled.items()}
    kept = tuple(
        row
        for row in basis.exponents
        if all(row[j] <= most for j, most in few.items()) and sum(row[j] > 0 for j in few) <= 1
    )
    basis = dataclasses.replace(basis, exponents=kept)
    return ChebyshevBasis(jnp.asarray(basis.centre, jnp.float32), jnp.asarray(basis.half, jnp.float32), basis.exponents)


def normalisation_basis(basis: ChebyshevBasis, extra: int) -> ChebyshevBasis:
    """Return `basis` and behind it what it lacks of the products up to `extra` degrees more, of two nuisances at most.

    >>> basis = chebyshev_basis([(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)], degree=1)
    >>> normalisation_basis(basis, 1).exponents[4:]
    ((0, 0, 2), (0, 1, 1), (0, 2, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))
    """
    highest = max((sum(row) for row in basis.exponents), default=0)
    rows = set()
    for pair in itertools.combinations_with_replacement(basis.active, 2):
        for powers in itertools.product(range(highest + extra + 1), repeat=2):
            row = [0] * len(basis.exponents[0])
            for j, power in zip(pair, powers, strict=True):
                row[j] += power
            if sum(row) <= highest + extra and tuple(row) not in basis.exponents:
                rows.add(tuple(row))
    more = sorted(rows, key=lambda row: (sum(row), row))
    return ChebyshevBasis(basis.centre, basis.half, (*basis.exponents, *more))


def join(
    networks: list[list[AbstractRatioNetwork]], basis: ChebyshevBasis, problem: Problem, draw: Draw
) -> RatioObservable:
    """Join the networks of all folds and members into one observable, not yet normalised."""
    flat = [network for members in networks for network in members]
    arrays, static = zip(*(eqx.partition(n, eqx.is_array) for n in flat), strict=True)
    folds, members, components = len(networks), len(networks[0]), flat[0].components
    stacked = jax.tree.map(
        lambda *leaves: jnp.asarray(np.stack(leaves).reshape(folds, members, *leaves[0].shape)), *arrays
    )
    totals = problem.table.weights.sum(axis=0, dtype=np.float64) * problem.case.components.reference()
    others = np.maximum(totals, 0.0)
    others[0] = 0.0
    with np.errstate(divide="ignore"):
        fractions = np.log(others / others.sum())
    return RatioObservable(
        networks=eqx.combine(stacked, static[0]),
        basis=basis,
        shift=jnp.zeros((folds, components, basis.terms), jnp.float32),
        calibrator=None,
        points=hypotheses(problem, draw, REFERENCE_POINTS),
        log_fractions=jnp.asarray(fractions, jnp.float32),
        folds=folds,
        members=members,
        moving=True,
    )
