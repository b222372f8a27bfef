"""Examples in docstrings and in docs/ run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import systwise

MODULES = [m.name for m in pkgutil.walk_packages(systwise.__path__, "systwise.")]
DOCS = Path(__file__).parents[1] / "docs"


def test_examples_in_docstrings():
    tried = 0
    for name in MODULES:
        done = doctest.testmod(importlib.import_module(name))
        assert done.failed == 0, name
        tried += done.attempted
    assert tried >= 10


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_python_blocks_of_the_docs(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(compile(block, page.name, "exec"), {})
    assert not blocks or "converged" in capsys.readouterr().out
