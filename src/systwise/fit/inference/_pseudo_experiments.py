"""Pseudo-experiments: data drawn around a true point, with fluctuated auxiliary observations.

Number i of a seed is the same data set whatever else is drawn with it: a run may be split over machines,
stopped and continued, and its parts merged.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Key, UInt32

from systwise.errors import FitError
from systwise.fit.model._best_factors import simulated_part
from systwise.fit.model._data import Data, Values
from systwise.fit.model._model import Model
from systwise.parameters import AbstractConstraint, CorrelatedGaussian
from systwise.precision import in_float64
from systwise.random import named_key


@in_float64
def draw_auxiliary(
    constraints: Sequence[AbstractConstraint | CorrelatedGaussian],
    values: Sequence[np.ndarray | float],
    seed: int,
    numbers: Sequence[int] | np.ndarray,
) -> tuple[Float64[np.ndarray, "data auxiliary"], ...]:
    """Return auxiliary observations of pseudo-experiments, one array `[data, auxiliary]` a constraint.

    Args:
        constraints: the constraints.
        values: true value of each constraint's nuisance, or `[nuisance]` values of a correlated one.
        seed: seed of the run.
        numbers: which pseudo-experiments.
    """
    keys = toy_keys(seed, "auxiliary", numbers)
    drawn = []
    for j, (constraint, value) in enumerate(zip(constraints, values, strict=True)):
        own = jax.vmap(lambda key, j=j: jax.random.fold_in(key, j))(keys)
        truth = jnp.asarray(value, jnp.float64)
        drawn.append(np.asarray(jax.vmap(lambda key, c=constraint, z=truth: c.draw(key, z))(own)))
    return tuple(drawn)


def toy_keys(seed: int, word: str, numbers: Sequence[int] | np.ndarray) -> Key[Array, " data"]:
    """Return one random key a pseudo-experiment, which depends on the seed, the word and its number only."""
    return _keys(named_key(seed, "pseudo-experiment", word), jnp.asarray(np.asarray(numbers), jnp.uint32))


@jax.jit
def _keys(key: Key[Array, ""], numbers: UInt32[Array, " data"]) -> Key[Array, " data"]:
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def toy_generator(seed: int, word: str, number: int) -> np.random.Generator:
    """Return the stream of pseudo-experiment `number`, which depends on the seed, the word and it only.

    For draws of many counts: NumPy's Poisson generator is a hundred times faster than JAX's on CPU.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(word.encode()), number])))


@in_float64
def pseudo_data(
    model: Model,
    theta: Values,
    z: Values,
    seed: int,
    numbers: Sequence[int] | np.ndarray,
    expected: Float64[np.ndarray, " bin"] | None = None,
    factors: Float64[np.ndarray, " bin"] | None = None,
) -> Data:
    """Return stacked pseudo-experiments of a fixed observable: Poisson counts and drawn constraint centres.

    Args:
        model: the model that will be fitted.
        theta: true parameters of interest.
        z: true nuisances, around which constraint centres fluctuate.
        seed: seed of the run.
        numbers: which pseudo-experiments.
        expected: expected counts `[bin]` from events that did not build the templates. Where None they
            come from the templates; the simulation's own fluctuation (Barlow-Beeston models) is then drawn
            as well, by moving the centres of the simulation factors.
        factors: true simulation factors `[bin]`; ones where None.

    Raises:
        FitError: the observable moves with the hypothesis, so its data come from events.

    >>> from systwise.parameters import signal_strength
    >>> model = Model.from_templates(signal_strength(), (), (), np.array([[10.0], [90.0]]))
    >>> alone, among = pseudo_data(model, 1.0, (), 0, [7]), pseudo_data(model, 1.0, (), 0, range(10))
    >>> bool(alone.counts[0, 0] == among.counts[7, 0])
    True
    """
    if model.moving:
        raise FitError("pseudo_data: a moving observable's data come from events scored at every anchor")
    values = model.nuisance_values(z)
    names = [nuisance.name for nuisance in model.nuisances]
    of_joint = [np.array([values[names.index(n)] for n in c.nuisances]) for c in model.joint]
    auxiliary = draw_auxiliary([*model.constraints, *model.joint], [*values, *of_joint], seed, numbers)
    mean = model.expected(theta, z) if expected is None else np.asarray(expected, np.float64)
    if factors is not None:
        every = dict(zip(model.parameter_names, [*model.poi_values(theta), *values], strict=True))
        mean = mean + (factors - 1) * simulated_part(model, every)[0]
    if mean.shape != (model.bins,) or not np.all(np.isfinite(mean)) or np.any(mean < 0):
        raise FitError(f"pseudo_data: expected counts must be {model.bins} finite numbers, none negative")
    counts = np.stack([toy_generator(seed, "counts", int(i)).poisson(mean) for i in numbers]).astype(np.float64)
    simulated = None
    if model.variance is not None and expected is None:
        widths = np.sqrt(model.factor_variance(theta, z))
        pulls = np.stack([toy_generator(seed, "simulation", int(i)).standard_normal(model.bins) for i in numbers])
        simulated = (1 if factors is None else factors) + widths * pulls
    return Data(counts, auxiliary, simulated)
