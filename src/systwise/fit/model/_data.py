"""Data of a fit: counts, fixed or moving, and the auxiliary data of the constraints.

Use `Model.data` for observed counts, `asimov` and `moving_asimov` for expected results, `Data` for drawn counts,
`MovingData` where the data's histogram depends on the hypothesis, `stack` to fit many data sets in one call.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float64

from systwise.errors import DataError, FitError
from systwise.fit.model._values import Values
from systwise.precision import in_float64

if TYPE_CHECKING:
    from systwise.fit.model._model import Model
    from systwise.fit.model._unbinned_model import UnbinnedModel

Kind = TypeVar("Kind", bound="AbstractData")


@dataclasses.dataclass(frozen=True)
class AbstractData(abc.ABC):
    """One data set, or a stack of them on a leading axis; float64 NumPy.

    Attributes:
        counts: what a subclass says.
        auxiliary: one array `[auxiliary]` a constraint, in the model's order: one a nuisance, then those of
            several nuisances.
        simulated: what is known of each bin's simulation factor, `[bin]`; 1 everywhere where None.
    """

    counts: Any
    auxiliary: tuple[np.ndarray, ...]
    simulated: np.ndarray | None = None

    @property
    @abc.abstractmethod
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The counts, as a tuple whatever their kind."""

    @property
    @abc.abstractmethod
    def stacked(self) -> bool:
        """Whether there is a leading axis of data sets."""

    @abc.abstractmethod
    def _of(
        self: Kind, arrays: Sequence[np.ndarray], auxiliary: Sequence[np.ndarray], simulated: np.ndarray | None
    ) -> Kind:
        """Return data of the same kind."""

    def __len__(self) -> int:
        """Return the number of data sets."""
        return len(self.arrays[0]) if self.stacked else 1

    def batch(self: Kind) -> Kind:
        """Return the data with a leading axis of data sets, adding one where there is none."""
        return self if self.stacked else stack([self])

    def __getitem__(self: Kind, index: int | slice | np.ndarray) -> Kind:
        """Return one data set, or some, of a stack."""
        if not self.stacked:
            raise FitError("data: only a stack of data sets can be indexed; build one with stack([...])")
        simulated = None if self.simulated is None else self.simulated[index]
        return self._of([c[index] for c in self.arrays], [a[index] for a in self.auxiliary], simulated)


@dataclasses.dataclass(frozen=True)
class Data(AbstractData):
    """Counts of a fixed observable; `Model.data` makes them from counts alone.

    Attributes:
        counts: `[bin]`.
        auxiliary: one array `[auxiliary]` a constraint, in the model's order: one a nuisance, then those of
            several nuisances.
        simulated: what is known of each bin's simulation factor, `[bin]`; 1 everywhere where None.
    """

    counts: np.ndarray

    def __post_init__(self) -> None:
        """Convert to float64 and refuse counts that are not finite or negative."""
        object.__setattr__(self, "counts", _checked(self.counts))
        object.__setattr__(self, "auxiliary", tuple(np.asarray(a, dtype=np.float64) for a in self.auxiliary))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The counts alone."""
        return (self.counts,)

    @property
    def stacked(self) -> bool:
        """Whether there is a leading axis of data sets."""
        return self.counts.ndim == 2

    def _of(
        self: Kind, arrays: Sequence[np.ndarray], auxiliary: Sequence[np.ndarray], simulated: np.ndarray | None
    ) -> Kind:
        return type(self)(arrays[0], tuple(auxiliary), simulated)


@dataclasses.dataclass(frozen=True)
class MovingData(AbstractData):
    """Counts of a moving observable, whose histogram of the data depends on the hypothesised nuisances.

    Attributes:
        counts: one array `[anchor, bin]` a nuisance (the others at their nominal values), interpolated between anchors
            exactly like the templates.
        auxiliary: as in `Data`.
        simulated: as in `Data`.
    """

    counts: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        """Convert to float64 and refuse counts that are not finite or negative."""
        object.__setattr__(self, "counts", tuple(_checked(array) for array in self.counts))
        object.__setattr__(self, "auxiliary", tuple(np.asarray(a, dtype=np.float64) for a in self.auxiliary))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The counts, one array a nuisance."""
        return self.counts

    @property
    def stacked(self) -> bool:
        """Whether there is a leading axis of data sets."""
        return self.counts[0].ndim == 3

    def _of(
        self: Kind, arrays: Sequence[np.ndarray], auxiliary: Sequence[np.ndarray], simulated: np.ndarray | None
    ) -> Kind:
        return type(self)(tuple(arrays), tuple(auxiliary), simulated)


def _checked(counts: np.ndarray) -> np.ndarray:
    """Return counts as float64.

    Raises:
        DataError: one is not finite or negative.
    """
    array = np.asarray(counts, dtype=np.float64)
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"data: bin {where[-1]} holds {array[where]:g} events; counts must be finite and not negative, "
            "so check the events' scores and weights"
        )
    return array


def stack(data: Sequence[Kind]) -> Kind:
    """Return the data sets stacked on a new leading axis.

    >>> len(stack([Data(np.ones(3), ()), Data(np.zeros(3), ())]))
    2
    """
    arrays = [np.stack(each) for each in zip(*(d.arrays for d in data), strict=True)]
    auxiliary = [np.stack(each) for each in zip(*(d.auxiliary for d in data), strict=True)]
    known = [d.simulated for d in data]
    simulated = None
    if any(k is not None for k in known):
        # Where a data set says nothing its factors are known to be 1.
        like = next(k for k in known if k is not None)
        simulated = np.stack([np.ones_like(like) if k is None else k for k in known])
    return data[0]._of(arrays, auxiliary, simulated)


@in_float64
def study_auxiliary(model: Model | UnbinnedModel, z_true: Values) -> tuple[Float64[np.ndarray, " auxiliary"], ...]:
    """Return the auxiliary data of an Asimov study at true nuisance values.

    A belief (`constraint.measured` False) stays centred on the nominal value; a measurement taken
    along with the data follows the true one.
    """
    values = model.nuisance_values(z_true)
    nominal = np.array([nuisance.nominal for nuisance in model.nuisances])
    return _centred(model, [v if c.measured else n for c, v, n in zip(model.constraints, values, nominal, strict=True)])


@in_float64
def _auxiliary(model: Model, z: Values, auxiliary_at: Values | None) -> tuple[np.ndarray, ...]:
    if auxiliary_at is None:
        return study_auxiliary(model, z)
    return _centred(model, list(model.nuisance_values(auxiliary_at)))


def _centred(model: Model | UnbinnedModel, values: Sequence[float]) -> tuple[np.ndarray, ...]:
    """Return the auxiliary data whose best-fit values are `values`; those of several nuisances come last.

    A constraint of several nuisances is a belief: it goes with the values given for single ones.
    """
    names = [nuisance.name for nuisance in model.nuisances]
    single = [np.asarray(c.asimov(jnp.asarray(float(v)))) for c, v in zip(model.constraints, values, strict=True)]
    joint = [np.array([values[names.index(n)] for n in c.nuisances], dtype=np.float64) for c in model.joint]
    return (*single, *joint)


@in_float64
def observed_data(
    model: Model,
    counts: npt.ArrayLike,
    auxiliary: Mapping[str, float | Sequence[float]] | None,
) -> Data:
    """Return observed data of a fixed observable; see `Model.data`."""
    if model.moving:
        raise FitError(
            "data: the model's observable moves with the hypothesised nuisance, so counts alone are not its data; "
            "score the events at every anchor and build MovingData"
        )
    try:
        array = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"data: counts are no numbers ({error}); give [bin] or [data, bin]") from None
    if array.ndim not in (1, 2) or array.shape[-1] != model.bins:
        raise DataError(
            f"data: counts of shape {array.shape} for a model of {model.bins} bins; give [bin] or [data, bin]"
        )
    nominal = _centred(model, [nuisance.nominal for nuisance in model.nuisances])
    names = [c.nuisance for c in model.constraints] + [", ".join(c.nuisances) for c in model.joint]
    known = [name for name, value in zip(names, nominal, strict=True) if value.size]
    given = {} if auxiliary is None else dict(auxiliary)
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise DataError(f"data: no constraint on '{unknown}' (constrained: {'; '.join(known) or 'none'})")
    filled = []
    for name, value in zip(names, nominal, strict=True):
        own = np.atleast_1d(np.asarray(given.get(name, value), dtype=np.float64))
        if own.shape[-1] != value.size or not np.all(np.isfinite(own)):
            raise DataError(
                f"data: auxiliary observation of '{name}' needs {value.size} finite numbers, got {given.get(name)}"
            )
        filled.append(np.broadcast_to(own, (*array.shape[:-1], value.size)))
    return Data(array, tuple(filled))


def asimov(model: Model, theta: Values, z: Values, auxiliary_at: Values | None = None) -> Data:
    """Return the Asimov data of a fixed observable: `n_b = nu_b(theta, z)`.

    Args:
        model: the model.
        theta: true parameters of interest.
        z: true nuisance values.
        auxiliary_at: nuisance values on which all constraints are centred; by default those of a
            study at `z` (`study_auxiliary`).

    Raises:
        FitError: the observable moves with the hypothesis, so that counts at `z` come from events.
    """
    if model.moving:
        raise FitError(
            "asimov: the model's observable moves with the hypothesised nuisance, so its data cannot be read off "
            "the templates; use moving_asimov with events of the true nuisance scored at every anchor"
        )
    return Data(model.expected(theta, z), _auxiliary(model, z, auxiliary_at))


def moving_asimov(
    model: Model,
    theta: Values,
    z: Values,
    templates_at_true: np.ndarray | Sequence[np.ndarray],
    auxiliary_at: Values | None = None,
) -> MovingData:
    """Return the Asimov data of a moving observable: `n_b(z_h) = sum_k c_k(theta) T_kb(z_true; z_h)`.

    Args:
        model: the model.
        theta: true parameters of interest.
        z: true nuisance values (they centre measured constraints).
        templates_at_true: `[anchor, component, bin]` a nuisance (or one array where there is one):
            events at the true `z`, scored with the nuisance hypothesised at each anchor.
        auxiliary_at: nuisance values on which all constraints are centred.

    Raises:
        DataError: the shape does not match the model's templates.
    """
    arrays = [templates_at_true] if isinstance(templates_at_true, np.ndarray) else list(templates_at_true)
    coefficients = model.coefficients(theta)
    for j, array in zip(model.morphed, arrays, strict=True):
        nuisance = model.nuisances[j]
        shape = (len(nuisance.anchors), len(coefficients), model.bins)
        if np.shape(array) != shape:
            raise DataError(
                f"moving data: templates at the true value have shape {np.shape(array)} where nuisance "
                f"'{nuisance.name}' needs {shape} (anchor, component, bin)"
            )
    counts = tuple(np.einsum("k,akb->ab", coefficients, np.asarray(a, dtype=np.float64)) for a in arrays)
    return MovingData(counts, _auxiliary(model, z, auxiliary_at))
