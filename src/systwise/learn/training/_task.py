"""The classification task: which combination of components is told from which."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.cases import AbstractCase
from systwise.errors import DataError
from systwise.events import Events, EventTable


class Task(eqx.Module):
    """Two hypotheses, each a coefficient vector over the components.

    No labels: an event has a weight in both classes. The balance is fixed once at the nominal point,
    so a nuisance that changes a rate stays visible.

    Attributes:
        classes: `[class, component]`; of two, row 0 is the numerator (signal), row 1 the denominator.
        balance: `[class]` factors that give both classes the mean weight 1/2 an event at nominal.
        hypotheses: `[class, poi]` parameters of interest behind the classes, where they are hypotheses.
    """

    classes: Float[Array, "class component"]
    balance: Float[Array, " class"]
    hypotheses: Float[Array, "class poi"] | None = None

    def weights(self, events: Events) -> Float[Array, "event class"]:
        """Return each event's balanced weight in every class."""
        return (events.weights @ self.classes.T) * self.balance


def hypothesis_task(case: AbstractCase, table: EventTable, index: np.ndarray) -> Task:
    """Return the case's task: its two hypotheses, or what depends on a parameter of interest against all else.

    Raises:
        DataError: one of the classes has no positive total weight.
    """
    if case.hypotheses is None:
        signal, _ = case.components.contrast()
        return signal_task(table, index, signal if np.count_nonzero(signal) > 1 else None)
    theta = np.asarray(case.hypotheses, np.float32)
    classes = np.stack([np.asarray(case.components.coefficients(jnp.asarray(row))) for row in theta])
    totals = classes.astype(np.float64) @ table.weights[index].sum(axis=0, dtype=np.float64)
    for row, total in zip(theta, totals, strict=True):
        if not total > 0:
            point = ", ".join(f"{name}={value:g}" for name, value in zip(case.components.pois, row, strict=True))
            raise DataError(
                f"{table.source}: the training events have total weight {total:g} at {point}; it must be positive"
            )
    balance = jnp.asarray(0.5 * len(index) / totals, jnp.float32)
    return Task(jnp.asarray(classes), balance, jnp.asarray(theta))


def signal_task(table: EventTable, index: np.ndarray, signal: np.ndarray | None = None) -> Task:
    """Return the task of telling the first component from all others, balanced over `index`.

    Args:
        table: the events.
        index: training events.
        signal: `[component]` coefficients of the signal where it is more than the first component; those without
            one are background.

    Raises:
        DataError: one of the classes has no positive total weight.
    """
    count = len(table.component_names)
    classes = np.zeros((2, count), np.float32)
    classes[0] = np.arange(count) == 0 if signal is None else signal
    classes[1] = classes[0] == 0
    totals = classes.astype(np.float64) @ table.weights[index].sum(axis=0, dtype=np.float64)
    for row, total in zip(classes, totals, strict=True):
        if not total > 0:
            name = "+".join(name for name, c in zip(table.component_names, row, strict=True) if c)
            raise DataError(
                f"{table.source}: the training events of '{name}' have total weight {total:g}; it must be positive"
            )
    return Task(jnp.asarray(classes), jnp.asarray(0.5 * len(index) / totals, jnp.float32))
