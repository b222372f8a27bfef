"""The architecture, held by tests: rooms import only from rooms before them, nothing runs at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import systwise

SOURCE = Path(systwise.__file__).parent
ROOMS = ["parameters", "events", "cases", "learn", "templates", "fit", "study", "report", "export", "sklearn", "cli"]
ROOT = ["atomic", "compilation", "errors", "optional", "random", "precision", "registry", "settings"]


def room_of(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0]
    return "cli" if part == "__main__.py" else part.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("systwise.")}
    return found


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py" or path.parent != SOURCE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_before_it(path):
    room = room_of(path)
    allowed = set(ROOT) if room in ROOT else {*ROOT, *ROOMS[: ROOMS.index(room) + 1]}
    assert imported(path) <= allowed
    if room == "fit":
        assert imported(path) <= {*ROOT, "parameters", "fit"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_uses_only_what_another_shows(path):
    """Private modules of one room are not imported by another."""
    room = room_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("systwise."):
            parts = node.module.split(".")[1:]
            assert parts[0] == room or not any(part.startswith("_") for part in parts), node.module


def test_importing_leaves_the_process_as_it_was():
    script = (
        "import logging, os, jax, warnings\n"
        "before = dict(os.environ), list(logging.root.handlers), jax.config.jax_enable_x64, list(warnings.filters)\n"
        "import matplotlib\n"
        "style = dict(matplotlib.rcParamsDefault)\n"
        "import systwise.cli, systwise.report, systwise.study\n"
        "after = dict(os.environ), list(logging.root.handlers), jax.config.jax_enable_x64\n"
        "assert before[:3] == after, 'import changed the process'\n"
        "assert dict(matplotlib.rcParamsDefault) == style\n"
        "print('clean')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "clean", done.stderr
