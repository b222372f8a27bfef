"""The likelihood: rows with a cost, curves of the nuisances as one table, exact derivatives by matrix products."""

from systwise.fit.likelihood._bins import BinnedData, Bins, Terms
from systwise.fit.likelihood._constraint_terms import ConstraintTerms, constraint_terms
from systwise.fit.likelihood._contents import monomials
from systwise.fit.likelihood._costs import CONVENTIONS, Convention
from systwise.fit.likelihood._curves import EMPTY, EXPONENT, PLAIN, SQUARE, Curve, Curves, curve_table, stack_curves
from systwise.fit.likelihood._events import BLOCK, EventData, Events
from systwise.fit.likelihood._grid import GridCurve
from systwise.fit.likelihood._likelihood import Likelihood, Observed

__all__ = [
    "BLOCK", "CONVENTIONS", "EMPTY", "EXPONENT", "PLAIN", "SQUARE",
    "BinnedData", "Bins", "ConstraintTerms", "Convention", "Curve", "Curves", "EventData", "Events", "GridCurve",
    "Likelihood", "Observed", "Terms", "constraint_terms", "curve_table", "monomials", "stack_curves",
]  # fmt: skip
