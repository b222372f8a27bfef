"""Variations by functions of the analyst, and rates that go with a shape."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import cloudpickle
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from systwise.cases.analysis.reading._layout import Layout
from systwise.errors import ConfigError, DataError
from systwise.events import AbstractVariation, Events, EventTable, Exactness, Expression
from systwise.registry import suggestion

Function = Callable[[dict[str, Array], Array], Mapping[str, Array]]
"""Takes columns `[event]` by name and nuisance values `[event]`, returns the columns that change."""

WEIGHT = "weight"
"""What a function returns under this name multiplies the weights."""


class FunctionVariation(AbstractVariation):
    """A function of columns and nuisance value; features are recomputed from the columns that it changes.

    Attributes:
        nuisance: its name.
        function: the analyst's.
        processes: codes of the processes that it acts on.
        columns: names of the table's columns from `first` on.
        first: place of the first of them.
        features: what each feature is, in the order of the `[feature]` axis.
    """

    nuisance: str = eqx.field(static=True)
    function: Function = eqx.field(static=True)
    processes: tuple[int, ...] = eqx.field(static=True)
    columns: tuple[str, ...] = eqx.field(static=True)
    first: int = eqx.field(static=True)
    features: tuple[Expression, ...] = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Return the events with what the function returns, and what follows from it."""
        known = {name: events.columns[:, self.first + i] for i, name in enumerate(self.columns)}
        changed = dict(self.function(dict(known), z))
        mine = jnp.isin(events.process, jnp.array(self.processes))
        weights, columns, features = events.weights, events.columns, events.features
        if WEIGHT in changed:
            weights = weights * jnp.where(mine, changed.pop(WEIGHT), 1)[:, None]
        for name, values in changed.items():
            known[name] = jnp.where(mine, values, known[name]).astype(columns.dtype)
            columns = columns.at[:, self.first + self.columns.index(name)].set(known[name])
        for place, expression in enumerate(self.features):
            if set(expression.names) & set(changed):
                value = jnp.asarray(expression.evaluate(known, jnp), features.dtype)
                features = features.at[:, place].set(jnp.where(mine, value, features[:, place]))
        return Events(features, weights, events.process, events.seed, columns)


class RateVariation(AbstractVariation):
    """A factor on the weights of some processes, `up^z` above zero and `down^-z` below; z in units of `width`.

    Attributes:
        nuisance: its name.
        nominal, width: where the factor is 1, and where it is `up`.
        down, up: the factors.
        processes: codes of the processes that it acts on.
    """

    nuisance: str = eqx.field(static=True)
    nominal: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    down: float = eqx.field(static=True)
    up: float = eqx.field(static=True)
    processes: tuple[int, ...] = eqx.field(static=True)
    exact: ClassVar[Exactness] = "continuous"

    def apply(self, events: Events, z: Float[Array, " event"]) -> Events:
        """Multiply the weights."""
        pull = (z - self.nominal) / self.width
        factor = jnp.where(pull >= 0, self.up**pull, self.down**-pull)
        mine = jnp.isin(events.process, jnp.array(self.processes))
        return eqx.tree_at(lambda e: e.weights, events, events.weights * jnp.where(mine, factor, 1)[:, None])


def import_function(text: str, folder: Path, where: str) -> Function:
    """Import `module:function`, the module beside the file that names it or anywhere on Python's path.

    Raises:
        ConfigError: there is no such module or function.
    """
    module_name, _, name = text.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    beside = folder / f"{module_name.replace('.', '/')}.py"
    try:
        module = _module_of(beside) if beside.exists() else importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{where}.Function: '{module_name}' cannot be imported ({error}); put it beside the file"
        ) from None
    finally:
        sys.path.remove(str(folder.resolve()))
    function = getattr(module, name, None)
    if not callable(function):
        near = suggestion(name, [key for key, value in vars(module).items() if callable(value)])
        raise ConfigError(f"{where}.Function: module '{module_name}' has no function '{name}'{near}")
    return function


def _module_of(path: Path) -> ModuleType:
    """Return the module of a file beside an analysis, the file as it is now.

    Python keeps one module a name: a file of that name in another folder, or before it was edited, is not this one.
    """
    path = path.resolve()
    content = path.read_bytes()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    # No other process finds it by its name.
    cloudpickle.register_pickle_by_value(module)
    return module


def source_of(function: Function) -> str:
    """Return the source of the module that holds a function, which decides what a run finds; its name without one."""
    module = inspect.getmodule(function)
    try:
        return inspect.getsource(module if module is not None else function)
    except (OSError, TypeError):  # compiled code has none
        return f"{getattr(module, '__name__', '')}:{getattr(function, '__qualname__', '')}"


def check_function(function: Function, columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the columns that a function changes, after tracing it with 16 events without numbers.

    Raises:
        ConfigError: it fails, returns no mapping, a column that is not there, or another number of events.
    """
    events = 16
    column = jax.ShapeDtypeStruct((events,), jnp.float32)
    try:
        out: Any = jax.eval_shape(function, dict.fromkeys(columns, column), column)
    except jax.errors.NonConcreteBooleanIndexError:
        raise ConfigError(
            f"{where}.Function: selects events, which changes their number; return a 'weight' of zero instead"
        ) from None
    except KeyError as error:
        near = suggestion(str(error.args[0]), list(columns))
        raise ConfigError(
            f"{where}.Function: asks for column {error}{near}, which no feature or selection uses; name it in Columns"
        ) from None
    except Exception as error:  # whatever the analyst's code raises is told in one sentence
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"{where}.Function: fails ({type(error).__name__}: {reason}); write it in pure JAX") from None
    if not isinstance(out, Mapping):
        raise ConfigError(f"{where}.Function: must return a mapping of changed columns, not {type(out).__name__}")
    for name, value in out.items():
        if name != WEIGHT and name not in columns:
            raise ConfigError(
                f"{where}.Function: returns '{name}'{suggestion(name, list(columns))}, which is no column it was given "
                f"(known: {', '.join(columns)})"
            )
        if getattr(value, "shape", None) not in ((events,), ()):
            raise ConfigError(
                f"{where}.Function: changes the number of events: '{name}' has shape {getattr(value, 'shape', '?')} "
                f"for {events} events; return one number an event, and a 'weight' of zero for events to leave out"
            )
    return tuple(name for name in out if name != WEIGHT)


def check_at_nominal(function: Function, columns: Mapping[str, Array], nominal: float, where: str) -> None:
    """Refuse a function that changes events at the nominal value of its nuisance.

    Rounding is no change, nor is a full turn: an angle may come back on the other side of its cut.

    Raises:
        DataError: naming the first column that it changes there.
    """
    count = len(next(iter(columns.values())))
    out = function(dict(columns), jnp.full((count,), nominal, jnp.float32))
    for name, value in out.items():
        before = jnp.ones(count) if name == WEIGHT else columns[name]
        after = jnp.broadcast_to(value, (count,))
        size = jnp.abs(before)
        turned = jnp.abs(jnp.abs(after - before) - 2 * jnp.pi) < 1e-4
        away = (jnp.abs(after - before) > 1e-4 * size + 1e-5 * jnp.nanmedian(size) + 1e-10) & ~turned
        if bool(away.any()):
            first = int(jnp.argmax(away))
            raise DataError(
                f"{where}.Function: changes '{name}' of {int(away.sum())} of the first {count} events at the nominal "
                f"value {nominal:g} ({float(before[first]):.6g} becomes {float(after[first]):.6g}); there it must "
                "change nothing (or set Nominal)"
            )


def check_functions(layout: Layout, functions: Sequence[Function], table: EventTable, samples: Sequence[int]) -> None:
    """Refuse functions that change the events of a sample that they act on at their nominal values.

    Args:
        layout: where everything stands in the table.
        functions: in the order of the layout's.
        table: the events.
        samples: numbers of those to look at, the first thousand events of each.

    Raises:
        DataError: naming function and column.
    """
    for sample in samples:
        rows = np.flatnonzero(table.process == sample)[:1000]
        if not len(rows):
            continue
        held = table.slice(rows).columns
        columns = {name: held[:, layout.first_raw + i] for i, name in enumerate(layout.raw)}
        for action, function in zip(layout.functions, functions, strict=True):
            if sample in action.samples:
                check_at_nominal(function, columns, action.entry.nominal, action.where)
