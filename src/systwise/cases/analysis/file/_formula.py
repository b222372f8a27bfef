"""Polynomials of the parameters of interest, written as formulas, as components."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from systwise.errors import ConfigError
from systwise.registry import suggestion

Polynomial = dict[tuple[int, ...], float]
"""Coefficients by the powers of the parameters of interest."""


def parse_polynomial(text: str, pois: Sequence[str], where: str) -> Polynomial:
    """Return a formula as a polynomial.

    Args:
        text: e.g. `c_t**2` or `1 - 0.5 * mu`.
        pois: names that may occur.
        where: path of the formula in the file, for messages.

    Raises:
        ConfigError: a name is no parameter of interest, or it is no polynomial.

    >>> parse_polynomial("(c_t + c_g)**2", ("c_t", "c_g"), "Formula")
    {(2, 0): 1.0, (1, 1): 2.0, (0, 2): 1.0}
    """

    def refuse(node: ast.AST) -> ConfigError:
        return ConfigError(
            f"{where}: '{ast.unparse(node)}' in '{text}' is no polynomial of {', '.join(pois)}; use +, -, * and whole "
            "powers"
        )

    def walk(node: ast.AST) -> Polynomial:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return {(0,) * len(pois): float(node.value)}
        if isinstance(node, ast.Name):
            if node.id not in pois:
                hint = suggestion(node.id, list(pois))
                raise ConfigError(f"{where}: unknown parameter '{node.id}'{hint} (known: {', '.join(pois)})")
            return {tuple(int(name == node.id) for name in pois): 1.0}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
            return {powers: sign * value for powers, value in walk(node.operand).items()}
        if not isinstance(node, ast.BinOp):
            raise refuse(node)
        left, right = walk(node.left), walk(node.right)
        if isinstance(node.op, ast.Add | ast.Sub):
            sign = -1.0 if isinstance(node.op, ast.Sub) else 1.0
            return {p: left.get(p, 0.0) + sign * right.get(p, 0.0) for p in {**left, **right}}
        if isinstance(node.op, ast.Mult):
            return multiply(left, right)
        number = right.get((0,) * len(pois)) if len(right) == 1 else None
        if isinstance(node.op, ast.Div) and number:
            return {powers: value / number for powers, value in left.items()}
        if isinstance(node.op, ast.Pow) and number is not None and number == int(number) and 0 <= number <= 8:
            out: Polynomial = {(0,) * len(pois): 1.0}
            for _ in range(int(number)):
                out = multiply(out, left)
            return out
        raise refuse(node)

    found = walk(ast.parse(text.strip().replace("^", "**"), mode="eval").body)
    return {powers: value for powers, value in found.items() if value}


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return the product of two polynomials."""
    out: Polynomial = {}
    for p, a in left.items():
        for q, b in right.items():
            powers = tuple(i + j for i, j in zip(p, q, strict=True))
            out[powers] = out.get(powers, 0.0) + a * b
    return out


def monomial(powers: Sequence[int], pois: Sequence[str]) -> str:
    """Return a monomial as a word.

    >>> monomial((1, 2), ("c_t", "c_g"))
    'c_t*c_g^2'
    """
    parts = [name if power == 1 else f"{name}^{power}" for name, power in zip(pois, powers, strict=True) if power]
    return "*".join(parts) or "1"
