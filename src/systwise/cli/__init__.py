"""The words a person types, in the order in which `systwise --help` lists them."""

from systwise.cli import _runs

# isort: split
from systwise.cli import _fit

# isort: split
from systwise.cli import _exports

# isort: split
from systwise.cli import _analysis

# isort: split
from systwise.cli import _lists

# isort: split
from systwise.cli import _events, _unblind
from systwise.cli._app import app

COMMANDS = (_runs, _unblind, _fit, _exports, _analysis, _lists, _events)
"""Modules whose functions are commands."""

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    app()
