"""Minimisation: starts, Newton's method, interval ends, many problems through one compiled function."""

from systwise.fit.minimise._batches import Prepared, Sets
from systwise.fit.minimise._minimum import Found, find_ends, find_minima
from systwise.fit.minimise._polish import Problems, polish
from systwise.fit.minimise._starts import Starts, start_points, theta_starts

__all__ = [
    "Found",
    "Prepared",
    "Problems",
    "Sets",
    "Starts",
    "find_ends",
    "find_minima",
    "polish",
    "start_points",
    "theta_starts",
]
