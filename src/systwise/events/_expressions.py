"""Expressions of column names, such as `abs(eta) < 2.5 & pt > 30`, evaluated without running any code.

The text is parsed by Python's own grammar and walked node by node: arithmetic, comparisons, logic and a list of
functions are all there is. The same expression is evaluated with NumPy as files are read and with JAX inside a
compiled step.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import operator
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from systwise.errors import ConfigError
from systwise.events._root import REDUCTIONS
from systwise.registry import suggestion

ELSEWHERE = {
    "pow": "x**y for pow(x, y)",
    "fabs": "abs",
    "Abs": "abs",
    "atan2": "arctan2",
    "atan": "arctan",
    "asin": "arcsin",
    "acos": "arccos",
    "min": "minimum(x, y), or min(vector) of a branch of vectors",
    "max": "maximum(x, y), or max(vector) of a branch of vectors",
    "sum": "sum(vector) of a branch of vectors",
    "len": "len(vector) of a branch of vectors",
    "any": "max(vector) > x for any(vector > x)",
}
"""How functions of other languages are written here."""
FUNCTIONS: dict[str, int] = {
    **dict.fromkeys(
        (
            "abs",
            "sqrt",
            "exp",
            "log",
            "log10",
            "log1p",
            "expm1",
            "sin",
            "cos",
            "tan",
            "arcsin",
            "arccos",
            "arctan",
            "sinh",
            "cosh",
            "tanh",
            "arcsinh",
            "arccosh",
            "arctanh",
            "floor",
            "ceil",
            "sign",
        ),
        1,
    ),
    **dict.fromkeys(("arctan2", "hypot", "minimum", "maximum"), 2),
    **dict.fromkeys(("where", "clip"), 3),
}
"""Functions that an expression may call, NumPy's, with their numbers of arguments."""
ROOT_HABITS = {
    "&&": "& for && and | for ||",
    "||": "& for && and | for ||",
    "!": "~ for ! and != for unequal",
    "::": "abs, sqrt, ... for TMath::Abs, TMath::Sqrt, ...",
    "?": "where(condition, a, b) for condition ? a : b",
    "/": "backquotes around a column's name that holds / or other signs",
}
"""What to write for what ROOT's formulas have."""

CONSTANTS = {"pi": np.pi, "True": True, "False": False}

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LOGIC: dict[type[ast.AST], str] = {
    ast.And: "logical_and",
    ast.BitAnd: "logical_and",
    ast.Or: "logical_or",
    ast.BitOr: "logical_or",
}


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_QUOTED = re.compile(r"`([^`]+)`")


@dataclasses.dataclass(frozen=True)
class Expression:
    """A formula of column names.

    Names may hold dots (`jet.pt`), an element of a vector (`jet_pt[0]`), or stand in backquotes where they are no
    Python name. A column of texts is compared with one: `label == "signal"`. `&`, `|` and `~` are the logic of
    comparisons, which need brackets around them as in NumPy; `and`, `or` and `not` need none.

    Attributes:
        text: as written.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no expression, or calls what is not on the list."""
        self._check(self._tree)

    @functools.cached_property
    def _quoted(self) -> tuple[str, ...]:
        return tuple(_QUOTED.findall(self.text))

    @functools.cached_property
    def _tree(self) -> ast.expr:
        places = iter(range(len(self._quoted)))
        text = _QUOTED.sub(lambda _: f"_quoted_{next(places)}_", self.text)
        try:
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            hint = next((f"; write {words}" for sign, words in ROOT_HABITS.items() if sign in text), "")
            raise ConfigError(f"'{self.text}' is not an expression{hint}") from None

    @functools.cached_property
    def texts(self) -> frozenset[str]:
        """Names of the columns that are compared with texts, `label == "signal"`."""
        found = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                if any(_is_text(side) for side in sides):
                    found |= {name for side in sides if (name := self._name(side)) is not None}
        return frozenset(found)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in the expression, each once, in order of appearance."""
        found: dict[str, None] = {}

        def walk(node: ast.AST) -> None:
            name = self._name(node)
            if name is not None:
                if name not in CONSTANTS:
                    found[name] = None
                return
            children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
            for child in children:
                walk(child)

        walk(self._tree)
        return tuple(found)

    def evaluate(self, columns: Mapping[str, Any], numpy: ModuleType = np) -> Any:
        """Return the value at `columns`, arrays of one shape `[event]`.

        Args:
            columns: an array for each of `names`.
            numpy: NumPy, or `jax.numpy` inside compiled functions.

        Raises:
            ConfigError: `&` or `|` between things that are no comparisons.

        >>> cut = Expression("(pt > 30) & (abs(eta) < 2)")
        >>> cut.evaluate({"pt": np.array([20.0, 40.0]), "eta": np.zeros(2)}).tolist()
        [False, True]
        """
        return self._value(self._tree, columns, numpy)

    def parts(self) -> tuple[Expression, ...]:
        """Return the expressions that `and` or `&` join at the top, which may be applied one after the other."""

        def split(node: ast.expr) -> list[ast.expr]:
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
                return [part for value in node.values for part in split(value)]
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
                return split(node.left) + split(node.right)
            return [node]

        def text(node: ast.expr) -> str:
            return re.sub(r"_quoted_(\d+)_", lambda m: f"`{self._quoted[int(m[1])]}`", ast.unparse(node))

        return tuple(Expression(text(node)) for node in split(self._tree))

    def _name(self, node: ast.AST) -> str | None:
        """Return the column that a node names, or None."""
        if isinstance(node, ast.Name):
            quoted = re.fullmatch(r"_quoted_(\d+)_", node.id)
            return self._quoted[int(quoted[1])] if quoted else node.id
        if isinstance(node, ast.Attribute):
            owner = self._name(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        if isinstance(node, ast.Subscript):
            owner, place = self._name(node.value), _place(node.slice)
            return None if owner is None or place is None else f"{owner}[{place}]"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REDUCTIONS:
            owner = self._name(node.args[0]) if len(node.args) == 1 and not node.keywords else None
            return None if owner is None else f"{node.func.id}({owner})"
        return None

    def _check(self, node: ast.AST) -> None:
        if self._name(node) is not None:
            return
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
            if called not in FUNCTIONS:
                hint = f"; write {ELSEWHERE[called]}" if called in ELSEWHERE else suggestion(called, list(FUNCTIONS))
                raise ConfigError(f"'{self.text}': unknown function '{called}'{hint} (known: {', '.join(FUNCTIONS)})")
            if node.keywords:
                raise ConfigError(f"'{self.text}': give the arguments of '{called}' by position")
            wanted = FUNCTIONS[called]
            # A further argument is NumPy's `out`: it would be overwritten.
            if len(node.args) != wanted or any(isinstance(argument, ast.Starred) for argument in node.args):
                many = f"{wanted} argument{'s' if wanted > 1 else ''}"
                raise ConfigError(f"'{self.text}': '{called}' takes {many}, not {len(node.args)}")
            children: list[ast.AST] = list(node.args)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            children = []
        elif isinstance(node, ast.BinOp) and type(node.op) in {*_BINARY, *_LOGIC}:
            children = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp):
            children = [node.operand]
        elif isinstance(node, ast.BoolOp):
            children = list(node.values)
        elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            children = [node.left, *node.comparators]
            if any(map(_is_text, children)):
                equal = len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq)
                if not equal or not any(self._name(child) is not None for child in children):
                    raise ConfigError(f"'{self.text}': a text is compared with a column, by == or !=")
                children = []
        else:
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
                raise ConfigError(f"'{self.text}': '^' is not allowed; write ** for a power")
            raise ConfigError(
                f"'{self.text}': '{ast.unparse(node)}' is not allowed; use columns, numbers, arithmetic, comparisons "
                f"and the functions {', '.join(FUNCTIONS)}"
            )
        for child in children:
            self._check(child)

    def _value(self, node: ast.AST, columns: Mapping[str, Any], numpy: ModuleType) -> Any:
        name = self._name(node)
        if name is not None:
            return CONSTANTS[name] if name in CONSTANTS else columns[name]
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Call):
            function = getattr(numpy, node.func.id)  # type: ignore[attr-defined]
            return function(*(self._value(argument, columns, numpy) for argument in node.args))
        if isinstance(node, ast.Compare):
            values = [self._value(part, columns, numpy) for part in (node.left, *node.comparators)]
            if any(isinstance(value, str) for value in values):
                # Texts are compared as files are read, where columns are NumPy's.
                same = np.asarray(values[0] == values[1], bool)
                return same if isinstance(node.ops[0], ast.Eq) else ~same
            results = [_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, values[:-1], values[1:], strict=True)]
            return functools.reduce(numpy.logical_and, results)
        if isinstance(node, ast.BoolOp):
            values = [self._value(part, columns, numpy) for part in node.values]
            return functools.reduce(getattr(numpy, _LOGIC[type(node.op)]), values)
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, columns, numpy)
            if isinstance(node.op, ast.Not | ast.Invert):
                return numpy.logical_not(value)
            return -value if isinstance(node.op, ast.USub) else value
        if not isinstance(node, ast.BinOp):
            raise TypeError(f"a node that was not checked: {ast.dump(node)}")
        left, right = (self._value(part, columns, numpy) for part in (node.left, node.right))
        if type(node.op) in _LOGIC:
            if any(numpy.asarray(side).dtype.kind != "b" for side in (left, right)):
                raise ConfigError(f"'{self.text}': put brackets around the comparisons, as in (a > 1) & (b < 2)")
            return getattr(numpy, _LOGIC[type(node.op)])(left, right)
        if isinstance(node.op, ast.Pow):
            return self._power(left, right)
        return _BINARY[type(node.op)](left, right)

    def _power(self, base: Any, exponent: Any) -> Any:
        """Return a power; one of numbers alone must not grow beyond what a float holds.

        Raises:
            ConfigError: it does.
        """
        if not (isinstance(base, int | float) and isinstance(exponent, int | float)):
            return base**exponent
        try:
            value = float(base) ** exponent
        except (OverflowError, ZeroDivisionError):
            raise ConfigError(f"'{self.text}': {base} ** {exponent} is no finite number") from None
        # Whole numbers stay exact, for event numbers.
        whole = isinstance(base, int) and isinstance(exponent, int) and exponent >= 0 and abs(value) < 2**62
        return base**exponent if whole else value


def _place(node: ast.AST) -> int | None:
    """Return the whole number in square brackets, None where there is another thing."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found = _place(node.operand)
        return None if found is None else -found
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None
